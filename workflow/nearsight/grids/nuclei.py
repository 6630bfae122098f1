"""A field near the nuclei: one number per atom."""

import numpy as np
from scipy.ndimage import map_coordinates

#: Standard deviation in Å of the Gaussian that a field is averaged with around a nucleus: about an atom.
NUCLEUS_WIDTH_A = 1.0


def around_nuclei(
    field: np.ndarray, cell: np.ndarray, positions: np.ndarray, width_A: float = NUCLEUS_WIDTH_A
) -> np.ndarray:
    """Mean of a periodic field with a Gaussian weight around every nucleus, shape (atoms,).

    field: shape (nx, ny, nz); cell: rows in Å; positions: (atoms, 3) in Å. A Fourier component of wave vector G is
    damped by exp(-G² width²/2); then cubic splines.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(cell)  # columns
    nx, ny, nz = field.shape
    numbers = (np.fft.fftfreq(nx, 1 / nx), np.fft.fftfreq(ny, 1 / ny), np.fft.rfftfreq(nz, 1 / nz))
    damped = np.fft.rfftn(field)
    for i, number in enumerate(numbers[0]):
        waves = sum(
            np.multiply.outer(count, reciprocal[:, axis])
            for axis, count in ((0, number), (1, numbers[1][:, None]), (2, numbers[2][None, :]))
        )
        damped[i] *= np.exp(-0.5 * width_A**2 * np.sum(waves**2, axis=-1))
    smooth = np.fft.irfftn(damped, s=field.shape, axes=(0, 1, 2))
    places = positions @ np.linalg.inv(cell) * field.shape
    return map_coordinates(smooth, places.T, order=3, mode="grid-wrap")

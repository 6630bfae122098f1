"""The real-space grid that Quantum ESPRESSO takes for a cell and a density cutoff."""

import numpy as np
from scipy.fft import next_fast_len

from nearsight import units
from nearsight.errors import InputError


def fft_shape(cell: np.ndarray, ecutrho_Ry: float) -> tuple[int, int, int]:
    """Grid (nx, ny, nz) of QE's density for `cell` and the cutoff, as its routine realspace_grid_init finds it.

    Along each axis: the largest Miller index m of all G with |G|² < ecutrho (Ry, |G| in 1/bohr), then 2 m + 1, then
    the next product of 2, 3 and 5, which suits its FFT best.

    cell: shape (3, 3), rows in Å. Raises InputError for a cell without volume or a cutoff that is not positive.
    """
    cell = np.asarray(cell, dtype=float)
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 1e-9:
        raise InputError(f"cell: expected three independent lattice vectors, got shape {cell.shape} without volume.")
    if not ecutrho_Ry > 0:
        raise InputError(f"ecutrho_Ry: expected a positive energy in Ry, got {ecutrho_Ry}.")
    reciprocal = 2 * np.pi * np.linalg.inv(cell / units.BOHR_A).T
    # |G| |a_i| >= 2π m_i bounds the Miller indices
    bounds = (np.sqrt(ecutrho_Ry) * np.linalg.norm(cell / units.BOHR_A, axis=1) / (2 * np.pi)).astype(int) + 1
    nx, ny, nz = (
        # real: products of 2, 3 and 5 alone
        next_fast_len(2 * _largest_index(reciprocal, bounds, axis, ecutrho_Ry) + 1, real=True)
        for axis in range(3)
    )
    return nx, ny, nz


def _largest_index(reciprocal: np.ndarray, bounds: np.ndarray, axis: int, cutoff: float) -> int:
    """Largest Miller index along `axis` of all G inside the sphere; the planes are tried from outside."""
    first, second = (other for other in range(3) if other != axis)
    j, k = np.meshgrid(*(np.arange(-bounds[other], bounds[other] + 1) for other in (first, second)), indexing="ij")
    plane = j[..., None] * reciprocal[first] + k[..., None] * reciprocal[second]
    for index in range(bounds[axis], 0, -1):
        if (np.square(plane + index * reciprocal[axis]).sum(axis=-1) < cutoff).any():
            return index
    return 0

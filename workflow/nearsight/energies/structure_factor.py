"""Structure factors: sums of a plane wave over all atoms, for all plane waves of a grid at once, in N log N."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.interpolate import BSpline

from nearsight.energies.fourier import Array, FourierGrid

#: Points of the B-spline along each axis. Orders 6 and 8 leave 2e-9 and 2e-10 Ry/atom of the xc energy.
SPLINE_ORDER = 8

#: Atoms that are spread on the mesh at a time, 8³ points each.
BATCH = 2048

#: Planes of the mesh that are filled at a time.
BLOCK_BYTES = 32 << 20


def structure_factor(scaled_positions: np.ndarray, grid: FourierGrid, weights: np.ndarray | None = None) -> Array:
    """S(G) = Σ_j w_j exp(-iG·r_j) inside the sphere, by smooth particle mesh.

    Every atom is a product of three B-splines on the grid; the transform of the sum is divided by the splines' own,
    Π sinc(m/n)^order. Near the Nyquist index m = n/2 the alias m - n is as strong as m itself. The mean with a second
    mesh, half a step off along all axes, is free of it: there it has the other sign (interlacing). What remains are
    aliases along two axes, [(m_x/(n-m_x)) (m_y/(n-m_y))]^order, and along one, (m/(2n-m))^order.

    scaled_positions: shape (atoms, 3), in lattice vectors; weights: shape (atoms,), 1 if None.
    """
    weights = np.ones(len(scaled_positions)) if weights is None else weights
    result, shifted = (
        grid.coefficients_of_planes(spread(scaled_positions * grid.shape + shift, weights, grid)) for shift in (0, 0.5)
    )
    (px, qx), (py, qy), (pz, qz) = (
        (n / np.sinc(m / n) ** SPLINE_ORDER, np.exp(1j * np.pi * m / n))
        for m, n in zip(grid.miller, grid.shape, strict=True)
    )
    for i in range(grid.shape[0]):
        result[i] += shifted[i] * (qx[i] * qy[:, None] * qz)
        result[i] *= 0.5 * px[i] * py[:, None] * pz
    return result


def spread(positions: np.ndarray, weights: np.ndarray, grid: FourierGrid) -> Iterator[np.ndarray]:
    """This rank's planes of the sum of all atoms' splines; positions: shape (atoms, 3), in grid steps."""
    nx, ny, nz = grid.shape
    half = SPLINE_ORDER // 2
    offsets = np.arange(1 - half, half + 1)
    spline = cardinal_spline()
    below_x = np.floor(positions[:, 0]).astype(int)
    step = max(BLOCK_BYTES // (8 * ny * nz), 1)
    own = grid.own_x
    for first in range(own.start, own.stop, step):
        count = min(step, own.stop - first)
        mesh = np.zeros((count, ny, nz))
        # atoms whose splines reach these planes
        near = np.flatnonzero((below_x - (first - half)) % nx < count + SPLINE_ORDER - 1)
        for start in range(0, len(near), BATCH):
            chosen = near[start : start + BATCH]
            position = positions[chosen]
            below = np.floor(position).astype(int)
            x, y, z = ((below[:, axis, None] + offsets) % grid.shape[axis] for axis in range(3))
            atom, plane = np.nonzero((x >= first) & (x < first + count))
            values = spline((position - below)[..., None] - offsets)  # (atoms, axis, order)
            values[:, 0] *= weights[chosen, None]
            products = values[atom, 0, plane][:, None, None] * values[atom, 1, :, None] * values[atom, 2, None, :]
            np.add.at(mesh, (x[atom, plane, None, None] - first, y[atom, :, None], z[atom, None, :]), products)
        yield from mesh


def cardinal_spline() -> Callable[[np.ndarray], np.ndarray]:
    """The centred B-spline of SPLINE_ORDER points with knots at whole numbers; zero outside."""
    knots = np.arange(SPLINE_ORDER + 1) - SPLINE_ORDER / 2
    element = BSpline.basis_element(knots, extrapolate=False)
    return lambda x: np.nan_to_num(element(x))

"""Core charge of all atoms, for the non-linear core correction."""

from collections.abc import Callable, Mapping

import numpy as np
from ase import Atoms
from scipy.integrate import simpson
from scipy.interpolate import BSpline, CubicSpline

from nearsight import units
from nearsight.energies.fourier import FourierGrid
from nearsight.reference.pseudopotential import CoreCharge

#: Points of the B-spline along each axis. Orders 6 and 8 leave 2e-9 and 2e-10 Ry/atom of the xc energy.
SPLINE_ORDER = 8

#: Where Quantum ESPRESSO ends radial integrals, Å.
LARGEST_RADIUS = 10 * units.BOHR_A

#: Step of the table of form factors, 1/Å: below a hundredth of the inverse of LARGEST_RADIUS.
FORM_FACTOR_STEP = 0.015

#: Atoms that are spread on the mesh at a time, 8³ points each.
BATCH = 2048


def core_coefficients(atoms: Atoms, cores: Mapping[str, CoreCharge | None], grid: FourierGrid) -> np.ndarray | None:
    """Coefficients n_c(G) of the core charge in 1/Å³, cut at the sphere as in QE; None if no element has a core.

    n_c(G) = (1/Ω) Σ_s f_s(|G|) S_s(G), f the Fourier transform of an atom's core charge, S the structure factor of
    the element's atoms, by a particle mesh.  cores: element -> core charge or None.  Cost: O(N log N).
    """
    total = None
    for element in sorted(set(atoms.symbols)):
        core = cores[element]
        if core is None:
            continue
        factor = form_factor(core, grid.largest_G)
        part = structure_factor(atoms.get_scaled_positions()[atoms.symbols == element], grid)
        for i in range(grid.shape[0]):
            length = np.sqrt(np.square(grid.plane_of_G(i)).sum(axis=0))
            part[i] *= factor(np.minimum(length, grid.largest_G)) / grid.volume
        if total is None:
            total = part
        else:
            total += part
    return total


def form_factor(core: CoreCharge, largest_G: float) -> CubicSpline:
    """f(G) = 4π ∫ r² n_c(r) sin(Gr)/(Gr) dr, a spline over G in 1/Å from 0 to largest_G; Simpson's rule as in QE."""
    count = int(np.searchsorted(core.radius, LARGEST_RADIUS)) + 1
    count = min(count, core.radius.size)
    count -= 1 - count % 2  # an odd number of points
    r, weight = core.radius[:count], 4 * np.pi * (core.radius**2 * core.density * core.step)[:count]
    G = np.linspace(0, largest_G, int(largest_G / FORM_FACTOR_STEP) + 2)
    return CubicSpline(G, simpson(weight * np.sinc(np.outer(G, r) / np.pi), dx=1.0, axis=1))


def structure_factor(scaled_positions: np.ndarray, grid: FourierGrid) -> np.ndarray:
    """S(G) = Σ_j exp(-iG·r_j) inside the sphere, by smooth particle mesh.

    Every atom is a product of three B-splines on the grid; the transform of the sum is divided by the splines' own,
    Π sinc(m/n)^order. Near the Nyquist index m = n/2 the alias m - n is as strong as m itself. The mean with a second
    mesh, half a step off along all axes, is free of it: there it has the other sign (interlacing). What is left are
    aliases along two axes, [(m_x/(n-m_x)) (m_y/(n-m_y))]^order, and along one, (m/(2n-m))^order.

    scaled_positions: shape (atoms, 3), in lattice vectors.
    """
    result = spread(scaled_positions * grid.shape, grid)
    shifted = spread(scaled_positions * grid.shape + 0.5, grid)
    (px, qx), (py, qy), (pz, qz) = (
        (n / np.sinc(m / n) ** SPLINE_ORDER, np.exp(1j * np.pi * m / n))
        for m, n in zip(grid.miller, grid.shape, strict=True)
    )
    for i in range(grid.shape[0]):
        result[i] += shifted[i] * (qx[i] * qy[:, None] * qz)
        result[i] *= 0.5 * px[i] * py[:, None] * pz
    return result


def spread(positions: np.ndarray, grid: FourierGrid) -> np.ndarray:
    """Coefficients of the sum of all atoms' splines; positions: shape (atoms, 3), in grid steps."""
    first, count = grid.own_x.start, len(grid.own_x)
    mesh = np.zeros((count, *grid.shape[1:]), dtype=grid.real)
    half = SPLINE_ORDER // 2
    offsets = np.arange(1 - half, half + 1)
    spline = cardinal_spline()
    for start in range(0, len(positions), BATCH):
        position = positions[start : start + BATCH]
        below = np.floor(position).astype(int)
        x, y, z = ((below[:, axis, None] + offsets) % grid.shape[axis] for axis in range(3))
        # planes of atoms that are this rank's
        atom, plane = np.nonzero((x >= first) & (x < first + count))
        weights = spline((position - below)[..., None] - offsets)  # (atoms, axis, order)
        values = weights[atom, 0, plane][:, None, None] * weights[atom, 1, :, None] * weights[atom, 2, None, :]
        np.add.at(mesh, (x[atom, plane, None, None] - first, y[atom, :, None], z[atom, None, :]), values)
    return grid.coefficients_of_planes(mesh)


def cardinal_spline() -> Callable[[np.ndarray], np.ndarray]:
    """The centred B-spline of SPLINE_ORDER points with knots at whole numbers; zero outside."""
    knots = np.arange(SPLINE_ORDER + 1) - SPLINE_ORDER / 2
    element = BSpline.basis_element(knots, extrapolate=False)
    return lambda x: np.nan_to_num(element(x))

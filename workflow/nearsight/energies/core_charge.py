"""Core charge of all atoms, for the non-linear core correction."""

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from scipy.interpolate import CubicSpline

from nearsight import units
from nearsight.energies.fourier import Array, FourierGrid
from nearsight.energies.structure_factor import structure_factor
from nearsight.reference.pseudopotential import CoreCharge

#: Where Quantum ESPRESSO ends radial integrals, Å.
LARGEST_RADIUS = 10 * units.BOHR_A

#: Step of the table of form factors, 1/Å: below a hundredth of the inverse of LARGEST_RADIUS.
FORM_FACTOR_STEP = 0.015


def core_coefficients(atoms: Atoms, cores: Mapping[str, CoreCharge | None], grid: FourierGrid) -> Array | None:
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
            continue
        for i in range(grid.shape[0]):
            total[i] += part[i]
    return total


def form_factor(core: CoreCharge, largest_G: float) -> CubicSpline:
    """f(G) = 4π ∫ r² n_c(r) sin(Gr)/(Gr) dr, a spline over G in 1/Å from 0 to largest_G; Simpson's rule as in QE."""
    # imported here: jobs that need no core charge must not wait for it
    from scipy.integrate import simpson

    count = int(np.searchsorted(core.radius, LARGEST_RADIUS)) + 1
    count = min(count, core.radius.size)
    count -= 1 - count % 2  # an odd number of points
    r, weight = core.radius[:count], 4 * np.pi * (core.radius**2 * core.density * core.step)[:count]
    G = np.linspace(0, largest_G, int(largest_G / FORM_FACTOR_STEP) + 2)
    return CubicSpline(G, simpson(weight * np.sinc(np.outer(G, r) / np.pi), dx=1.0, axis=1))

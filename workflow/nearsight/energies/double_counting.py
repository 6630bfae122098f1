"""How the total free energy feels an error of the density alone.

Band energy and entropy come from the DOS; the double-counting terms -E_H + E_xc - ∫ v_xc n come from the density. To
first order an error δn changes them by -∫ φ δn d³r, φ = v_H + ∫ f_xc(r, r') n(r') d³r' with f_xc = δv_xc/δn: the terms
with v_xc itself cancel.
"""

from collections.abc import Mapping

import numpy as np
from ase import Atoms

from nearsight import units
from nearsight.energies.core_charge import core_coefficients
from nearsight.energies.fourier import Array, FourierGrid
from nearsight.energies.method import functional_of
from nearsight.energies.screening import LONG_WAVE_A
from nearsight.energies.xc import xc_potential
from nearsight.reference.pseudopotential import Pseudopotential, select_pseudopotentials

#: Share of the valence density by which it is changed to differentiate v_xc.
STEP = 1e-5


def double_counting_potential(
    density: Array, atoms: Atoms, pseudopotentials: Mapping[str, Pseudopotential], ecutrho_Ry: float, *, screened: bool
) -> np.ndarray:
    """φ on the density's grid in eV, of mean 0.

    density: valence, 1/Å³, shape (nx, ny, nz); screened: leave out waves longer than LONG_WAVE_A, of which predictions
    take the response of a metal instead (nearsight.energies.screening). For small cells: a dozen fields in memory.
    """
    grid = FourierGrid(atoms.cell.array, density.shape, ecutrho_Ry)
    valence = grid.coefficients(density)
    chosen = select_pseudopotentials(atoms.symbols, pseudopotentials)
    functional = functional_of(chosen)
    core = core_coefficients(atoms, {element: found.core for element, found in chosen.items()}, grid)
    # ∫ f_xc n is the derivative of v_xc as the valence density is scaled
    changed = [(1 + sign * STEP) * valence + (0 if core is None else core) for sign in (1, -1)]
    more, less = (xc_potential(total, grid, functional) for total in changed)
    potential = grid.coefficients((more - less) / (2 * STEP))
    smallest = 2 * np.pi / LONG_WAVE_A if screened else 0.0
    for i, plane in enumerate(potential):
        squared = np.square(grid.plane_of_G(i)).sum(axis=0)
        kept = squared > smallest**2
        plane[kept] += 4 * np.pi * units.COULOMB_eV_A * valence[i][kept] / squared[kept]
        plane[~kept] = 0
    return grid.field(potential)

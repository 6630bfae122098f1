"""Hartree energy."""

import numpy as np

from nearsight import units
from nearsight.energies.fourier import Array, FourierGrid


def hartree_energy(coefficients: Array, grid: FourierGrid) -> float:
    """Hartree energy of a periodic density, in eV.

    E_H = (e²/2) 4π Ω Σ_{G≠0} |n(G)|²/G²; the G = 0 term cancels against the neutralising background.

    coefficients: n(G) in 1/Å³ as from `FourierGrid.coefficients`.  Cost: O(N) besides their transform.
    """
    return 2 * np.pi * units.COULOMB_eV_A * grid.volume * grid.sum_over_G(coefficients, np.reciprocal)

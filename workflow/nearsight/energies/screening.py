"""Charge that a density leaves unscreened over long waves: no local model sees it, and no small cell teaches it."""

import numpy as np
from ase import Atoms

from nearsight.energies.fourier import FourierGrid
from nearsight.energies.hartree import hartree_energy

#: Waves longer than this count, Å: about twice a descriptor's cutoff, and far more than the atoms' own clouds.
LONG_WAVE_A = 10.0

#: Phases exp(-iG·r) in memory at a time.
PHASES = 1 << 20


def unscreened_energy(
    valence: np.ndarray, grid: FourierGrid, atoms: Atoms, charges: dict[str, float], wave_A: float = LONG_WAVE_A
) -> float:
    """Electrostatic energy, in eV, of the net charge of ions and electrons in waves longer than `wave_A`.

    E = (e²/2) 4π Ω Σ_{0<|G|<2π/λ} |n(G) - S(G)/Ω|²/G², S(G) = Σ_a Z_a exp(-iG·r_a): the Hartree energy of that charge.

    A metal's electrons screen such charge all but completely. What a predicted density has of it is an error, which
    the Hartree energy contains, whose share per atom does not fall with the size of the cell, and which no
    local quantity shows. An insulator's polarisation may have some by right.

    valence: n(G) in 1/Å³ from `FourierGrid.coefficients`; charges: element -> valence. Every rank of the grid calls
    this and gets the result. Cost: O(N²), but of a small part of all G: 22 s for 131,072 atoms, 6 % of all terms; ranks
    share it.
    """
    # G·a = 2π m along the first axis bounds m
    near = np.abs(grid.miller[0]) <= np.linalg.norm(grid.cell[0]) / wave_A
    valences = np.array([charges[symbol] for symbol in atoms.symbols])

    def net_charge(i: int) -> np.ndarray:
        """n(G) - S(G)/Ω of plane i in long waves, zero in others."""
        plane = np.zeros(valence[i].shape, dtype=np.complex128)
        if near[i]:
            vectors = grid.plane_of_G(i)
            squared = np.square(vectors).sum(axis=0)
            chosen = (squared > 0) & (squared < (2 * np.pi / wave_A) ** 2)
            waves = vectors[:, chosen].T
            step = max(PHASES // max(len(waves), 1), 1)
            for start in range(0, len(atoms), step):
                block = slice(start, start + step)
                plane[chosen] -= np.exp(-1j * (waves @ atoms.positions[block].T)) @ valences[block] / grid.volume
            plane[chosen] += valence[i][chosen]
        return plane

    return hartree_energy((net_charge(i) for i in range(grid.shape[0])), grid)

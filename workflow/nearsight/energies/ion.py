"""Energy of the ions in a neutralising background, by particle-mesh Ewald summation.

vesin and torch-pme are imported where they are used: both load torch, which takes seconds and 200 MB, and of all ranks
of a job one alone sums the ions.
"""

from collections.abc import Mapping
from math import fsum

import numpy as np
from ase import Atoms
from scipy.special import erfc

from nearsight import units
from nearsight.errors import InputError

#: Cutoffs of the sum in real space to choose from. A longer one has wider Gaussians and a coarser mesh, but more pairs.
CUTOFFS_A = (8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0)

#: Cutoff in widths σ of the Gaussians: erfc(6.5/√2) leaves 8e-11 of a pair's energy out.
CUTOFF_PER_SMEARING = 6.5

#: Largest step of the mesh for the sum in reciprocal space, in widths; leaves 4e-8 Ry/atom of BeO with NODES points.
STEP_PER_SMEARING = 0.12

#: Points of Lagrange's interpolation along each axis, the most that torch-pme has.
NODES = 7

#: Pairs of atoms whose energies are added at a time.
BATCH = 1 << 20

#: Memory of a pair of atoms and of a point of the mesh, as measured.
PAIR_BYTES = 45
POINT_BYTES = 75


def ion_energy(atoms: Atoms, charges: Mapping[str, float], cutoff_A: float | None = None) -> float:
    """Electrostatic energy of periodic point charges in a uniform background that neutralises them, in eV.

    E = (e²/2) Σ_ij Σ_L Z_i Z_j/|r_i - r_j - L| in Ewald's limit, background included: the term -π (Σ Z)² σ²/Ω, σ the
    Gaussians' width, stands for what the G = 0 term leaves.

    charges: element -> charge Z of the ion in e; cutoff_A: of the sum in real space (None: the one that takes the
    least memory). Any cell, also triclinic ones smaller than the cutoff. Cost: O(N log N), on one MPI rank.
    """
    missing = sorted(set(atoms.symbols) - set(charges))
    if missing:
        raise InputError(
            f"charges: expected one for {missing[0]}, got those of {', '.join(sorted(charges)) or 'none'}."
        )
    if cutoff_A is None:
        cutoff_A = min(CUTOFFS_A, key=lambda cutoff: memory_bytes(atoms, cutoff))
    smearing = cutoff_A / CUTOFF_PER_SMEARING
    q = np.array([float(charges[symbol]) for symbol in atoms.symbols])
    positions, cell = atoms.get_positions(wrap=True), np.array(atoms.cell, dtype=np.float64)
    energy = energy_of_pairs(positions, cell, q, smearing, cutoff_A) + energy_of_mesh(positions, cell, q, smearing)
    return energy * units.COULOMB_eV_A


def energy_of_pairs(positions: np.ndarray, cell: np.ndarray, q: np.ndarray, smearing: float, cutoff_A: float) -> float:
    """Σ_pairs q_i q_j erfc(r/(√2 σ))/r within the cutoff, in e²/Å."""
    from vesin import NeighborList

    neighbors = NeighborList(cutoff=cutoff_A, full_list=False, sorted=False)
    pairs, distances = neighbors.compute(positions, cell, periodic=True, quantities="Pd", copy=False)
    parts = []
    for start in range(0, len(distances), BATCH):
        i, j = pairs[start : start + BATCH].T
        r = distances[start : start + BATCH]
        parts.append(float(np.sum(q[i] * q[j] * erfc(r / (np.sqrt(2) * smearing)) / r)))
    return fsum(parts)


def energy_of_mesh(positions: np.ndarray, cell: np.ndarray, q: np.ndarray, smearing: float) -> float:
    """The rest: reciprocal space, without the Gaussians' own energy, with the background; in e²/Å."""
    import torch
    from torchpme import CoulombPotential, PMECalculator

    calculator = PMECalculator(
        CoulombPotential(smearing=smearing), mesh_spacing=2 * STEP_PER_SMEARING * smearing, interpolation_nodes=NODES
    ).to(torch.float64)
    charges = torch.from_numpy(q)
    with torch.no_grad():
        potential = calculator(
            charges=charges[:, None],
            cell=torch.from_numpy(cell),
            positions=torch.from_numpy(positions),
            neighbor_indices=torch.empty((0, 2), dtype=torch.int64),
            neighbor_distances=torch.empty(0, dtype=torch.float64),
        )
    return float(charges @ potential[:, 0])


def memory_bytes(atoms: Atoms, cutoff_A: float) -> float:
    """Memory of `ion_energy` at its peak: of the pairs of atoms, or after them of the points of the mesh."""
    pairs = len(atoms) ** 2 / atoms.get_volume() * (2 / 3) * np.pi * cutoff_A**3
    return max(PAIR_BYTES * pairs, POINT_BYTES * float(np.prod(mesh_shape(atoms, cutoff_A))))


def least_memory_bytes(atoms: Atoms) -> float:
    """Memory of `ion_energy` with the cutoff that takes the least."""
    return min(memory_bytes(atoms, cutoff) for cutoff in CUTOFFS_A)


def mesh_shape(atoms: Atoms, cutoff_A: float) -> tuple[int, int, int]:
    """Points of the mesh as torch-pme takes them: L/h + 1 along each axis, rounded up to a power of two."""
    steps = atoms.cell.lengths() / (STEP_PER_SMEARING * cutoff_A / CUTOFF_PER_SMEARING) + 1
    nx, ny, nz = (int(n) for n in 2 ** np.ceil(np.log2(steps)))
    return nx, ny, nz

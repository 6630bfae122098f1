"""Radial distribution function and static structure factor, in a time that grows with the number of atoms."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from vesin import NeighborList

from nearsight import units
from nearsight.energies.core_charge import structure_factor
from nearsight.energies.fourier import FourierGrid
from nearsight.grids.plane_waves import fft_shape

#: Width of a bin of distances, Å.
BIN_A = 0.05


def radial_distribution(atoms: Atoms, cutoff_A: float, bins: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Distances r in Å (centres of the bins) and g(r) up to `cutoff_A`, both of shape (bins,), BIN_A wide if not given.

    g(r) = (pairs at r) / (N ρ 4π r² dr), all elements alike; 1 without order. By a cell list.
    """
    bins = bins or max(round(cutoff_A / BIN_A), 1)
    edges = np.linspace(0.0, cutoff_A, bins + 1)
    counts, _ = np.histogram(pair_distances(atoms, cutoff_A), edges)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    # every pair is listed once
    return (edges[1:] + edges[:-1]) / 2, 2 * counts / (len(atoms) ** 2 / atoms.get_volume() * shells)


def pair_distances(atoms: Atoms, cutoff_A: float) -> np.ndarray:
    """Distances in Å of all pairs up to `cutoff_A`, periodic images included, each pair once."""
    (distances,) = NeighborList(cutoff=float(cutoff_A), full_list=False).compute(
        points=atoms.positions, box=np.asarray(atoms.cell), periodic=True, quantities="d"
    )
    return distances


def static_structure_factor(
    atoms: Atoms, largest_q_per_A: float, bin_per_A: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Wave numbers q in 1/Å and S(q) = ⟨|Σ_j exp(-iq·r_j)|²⟩/N, averaged over the cell's q in shells.

    Both of shape (bins,); bins without a wave vector are left out. Cost: O(N log N), by a particle mesh.
    """
    ecutrho_Ry = (largest_q_per_A * units.BOHR_A) ** 2
    cell = np.asarray(atoms.cell)
    grid = FourierGrid(cell, fft_shape(cell, ecutrho_Ry), ecutrho_Ry)
    edges = np.arange(0.0, largest_q_per_A + bin_per_A, bin_per_A)
    sums, counts = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for length, values, multiplicity in _shells(structure_factor(atoms.get_scaled_positions(), grid), grid):
        sums += np.histogram(length, edges, weights=np.abs(values) ** 2 * multiplicity)[0]
        counts += np.histogram(length, edges, weights=multiplicity)[0]
    filled = counts > 0
    return ((edges[1:] + edges[:-1]) / 2)[filled], sums[filled] / counts[filled] / len(atoms)


def _shells(coefficients: np.ndarray, grid: FourierGrid) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """|G|, the coefficient and how many G it stands for, plane by plane, without G = 0."""
    double = np.broadcast_to(np.where(grid.miller[2] > 0, 2.0, 1.0), coefficients.shape[1:])
    for i, plane in enumerate(coefficients):
        squared = np.square(grid.plane_of_G(i)).sum(axis=0)
        wanted = grid.inside(i, squared) & (squared > 0)
        yield np.sqrt(squared[wanted]), plane[wanted], double[wanted]

"""Radial distribution function, in a time proportional to the number of atoms."""

import numpy as np
from ase import Atoms

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
    # imported here: only jobs that count pairs must wait for it
    from vesin import NeighborList

    (distances,) = NeighborList(cutoff=float(cutoff_A), full_list=False).compute(
        points=atoms.positions, box=np.asarray(atoms.cell), periodic=True, quantities="d"
    )
    return distances

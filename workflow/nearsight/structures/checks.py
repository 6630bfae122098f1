"""What is required of a structure before any job spends time on it."""

import logging
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial import cKDTree

from nearsight.errors import InputError

logger = logging.getLogger("nearsight")

#: Two atoms nearer than this fraction of the sum of their covalent radii overlap: no equilibrium and no MD at the
#: temperatures of condensed matter comes that near, a doubled atom or a wrong unit does.
OVERLAP_FRACTION = 0.5

#: Å; a longer lattice vector or position is a damaged number.
LONGEST_A = 1e5

#: Images of the cell within REACH_A (Å), or as far as atoms overlap: 27 for any but a small, flat or very skewed one.
MOST_IMAGES = 2000
REACH_A = 3.0


def check_structure(atoms: Atoms, source: str | Path = "structure") -> None:
    """Raise InputError unless `atoms` is a crystal: atoms that exist, a periodic right-handed cell, no overlap.

    source: the file's name, for the message.
    """
    if len(atoms) == 0:
        raise InputError(f"{source}: expected atoms, got an empty structure.")
    if not np.isfinite(atoms.positions).all():
        first = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise InputError(f"{source}: positions: expected finite numbers in Å, got NaN or infinity at atom {first}.")
    if not np.isfinite(atoms.cell).all():
        raise InputError(f"{source}: cell: expected finite numbers in Å, got NaN or infinity.")
    unknown = (atoms.numbers < 1) | (atoms.numbers >= len(covalent_radii))
    if unknown.any():
        first = int(np.flatnonzero(unknown)[0])
        raise InputError(
            f"{source}: expected chemical elements, got the atomic number {atoms.numbers[first]} at atom {first}."
        )
    if not (np.abs(atoms.cell).max() < LONGEST_A and np.abs(atoms.positions).max() < LONGEST_A):
        raise InputError(f"{source}: expected lengths below {LONGEST_A:g} Å, got longer ones. Check their unit (Å).")
    volume = np.linalg.det(atoms.cell)
    if not abs(volume) > 1e-6:
        raise InputError(
            f"{source}: cell: expected three lattice vectors that span a volume in Å³, got none. "
            'Give the file a cell (Lattice="..." in extended XYZ).'
        )
    if volume < 0:
        raise InputError(
            f"{source}: cell: expected right-handed lattice vectors, got a volume of {volume:.6g} Å³. "
            "Turn all three around (nearsight.structures.checks.turn_right_handed)."
        )
    if not atoms.pbc.all():
        raise InputError(
            f'{source}: pbc: expected periodicity along all three vectors, got {atoms.pbc.tolist()}. Set pbc="T T T"; '
            "a slab or molecule is a periodic cell with vacuum, for a model that was trained on such cells."
        )
    radii = OVERLAP_FRACTION * covalent_radii[atoms.numbers]
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell), axis=0)
    if np.prod(2 * np.ceil(max(2 * radii.max(), REACH_A) / heights) + 1) > MOST_IMAGES:
        raise InputError(
            f"{source}: cell: expected lattice planes at least a few tenths of an Å apart, got "
            f"{', '.join(f'{height:.3g}' for height in heights)} Å. Reduce the cell, or check its unit (Å)."
        )
    _expect_one_per_cube(atoms, 2 * radii.min(), source)
    first, second, distances = find_pairs(atoms, 2 * radii.max())
    overlap = distances < radii[first] + radii[second]
    if overlap.any():
        worst = int(np.argmin(np.where(overlap, distances, np.inf)))
        i, j = sorted((int(first[worst]), int(second[worst])))
        limit = radii[i] + radii[j]
        raise InputError(
            f"{source}: atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) overlap: expected at least "
            f"{limit:.2f} Å between them, got {distances[worst]:.3f} Å. Check positions, cell and their unit (Å)."
        )


def find_pairs(atoms: Atoms, cutoff_A: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers i, j and distance d in Å of all pairs of atoms nearer than a short cutoff, with images, once or twice.

    ASE's neighbour list would take 16 kB an atom, 16 GB for a million atoms.
    """
    places, numbers = atoms.get_scaled_positions(wrap=True), np.arange(len(atoms))
    margins = cutoff_A * np.linalg.norm(np.linalg.inv(atoms.cell), axis=0)
    for axis, margin in enumerate(margins):
        images, reach = [(places, numbers)], int(np.ceil(margin))
        for shift in (*range(-reach, 0), *range(1, reach + 1)):
            moved = places[:, axis] + shift
            near = (moved > -margin) & (moved < 1 + margin)
            images.append((places[near] + shift * np.eye(3)[axis], numbers[near]))
        places, numbers = (np.concatenate(parts) for parts in zip(*images, strict=True))
    positions = places @ atoms.cell.array
    pairs = cKDTree(positions).query_pairs(cutoff_A, output_type="ndarray")
    first, second = pairs[pairs.min(axis=1) < len(atoms)].T  # the atoms of the cell come first
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    return numbers[first], numbers[second], distances


def turn_right_handed(atoms: Atoms, source: str | Path = "structure") -> Atoms:
    """`atoms`, or a copy with all three lattice vectors turned around where they are left-handed.

    That is the same crystal: no atom moves, and a grid along the vectors keeps its numbers of points.
    """
    if not (np.isfinite(atoms.cell).all() and np.linalg.det(atoms.cell) < 0):
        return atoms
    logger.warning("%s: left-handed lattice vectors; all three are turned around, which is the same crystal.", source)
    turned = atoms.copy()
    turned.set_cell(-atoms.cell.array)
    return turned


def _expect_one_per_cube(atoms: Atoms, distance_A: float, source: str | Path) -> None:
    """Raise InputError where two atoms share a cube with an edge of half the smallest distance allowed.

    Their distance is below √3/2 of it. After this test atoms are so sparse that the search for overlaps is O(N); with a
    hundred thousand atoms in one place it would look at all pairs.
    """
    cubes = np.floor(atoms.get_positions(wrap=True) / (distance_A / 2)).astype(np.int64)
    _, index, counts = np.unique(cubes, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        first = int(index[int(np.argmax(counts))])
        raise InputError(
            f"{source}: atoms around atom {first} ({atoms.symbols[first]}) overlap: expected at least "
            f"{distance_A:.2f} Å between atoms, got {int(counts.max())} within {0.87 * distance_A:.3f} Å. Check "
            "positions, cell and their unit (Å)."
        )


def require_same_cell(atoms: Atoms, expected: Atoms, source: str | Path) -> None:
    """Raise InputError unless a frame has the expected structure's elements, in their order, and its cell (1e-3 Å)."""
    if len(atoms) != len(expected) or (atoms.numbers != expected.numbers).any():
        raise InputError(
            f"{source}: expected the atoms of its structure, {expected.get_chemical_formula()} in that order, got "
            f"{atoms.get_chemical_formula()}. Give the trajectory the structure that its frames belong to."
        )
    difference = np.abs(np.asarray(atoms.cell) - np.asarray(expected.cell)).max()
    if not difference < 1e-3:
        raise InputError(
            f"{source}: expected the cell of its structure within 0.001 Å, got one that is {difference:.3g} Å off. The "
            "k-points follow from the structure: give strained cells structures of their own."
        )

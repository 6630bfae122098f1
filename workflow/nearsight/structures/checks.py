"""What a structure must fulfil before any job spends time on it."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from nearsight.errors import InputError

#: Two atoms nearer than this fraction of the sum of their covalent radii overlap: no equilibrium and no MD at the
#: temperatures of condensed matter comes that near, a doubled atom or a wrong unit does.
OVERLAP_FRACTION = 0.5


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
    if (atoms.numbers < 1).any():
        first = int(np.flatnonzero(atoms.numbers < 1)[0])
        raise InputError(f"{source}: expected chemical elements, got the unknown element X at atom {first}.")
    volume = np.linalg.det(atoms.cell)
    if not abs(volume) > 1e-6:
        raise InputError(
            f"{source}: cell: expected three lattice vectors that span a volume in Å³, got none. "
            'Give the file a cell (Lattice="..." in extended XYZ).'
        )
    if volume < 0:
        raise InputError(
            f"{source}: cell: expected right-handed lattice vectors, got a volume of {volume:.6g} Å³. "
            "Swap two vectors and the fractional positions with them."
        )
    if not atoms.pbc.all():
        raise InputError(
            f'{source}: pbc: expected periodicity along all three vectors, got {atoms.pbc.tolist()}. Set pbc="T T T".'
        )
    radii = OVERLAP_FRACTION * covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list("ijd", atoms, cutoff=radii)
    if len(distances):
        worst = int(np.argmin(distances))
        i, j = int(first[worst]), int(second[worst])
        limit = radii[i] + radii[j]
        raise InputError(
            f"{source}: atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) overlap: expected at least "
            f"{limit:.2f} Å between them, got {distances[worst]:.3f} Å. Check positions, cell and their unit (Å)."
        )

"""A structure and the grid that its fields live on."""

from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.errors import InputError
from nearsight.options import LARGEST_GRID
from nearsight.structures.io import read_structure

#: Entry of `Atoms.info` with the grid (nx, ny, nz) of all fields of a structure.
GRID_SHAPE = "grid_shape"


def read_gridded_structure(path: Path) -> tuple[Atoms, tuple[int, int, int]]:
    """The structure and its grid. Raises InputError where the file or its grid_shape is unusable."""
    atoms = read_structure(path)
    return atoms, grid_of(atoms, path)


def grid_of(atoms: Atoms, source: str | Path = "structure") -> tuple[int, int, int]:
    """The grid (nx, ny, nz) of a structure's fields. Raises InputError where it has none; `source` is its file."""
    shape = atoms.info.get(GRID_SHAPE)
    values = np.asarray(shape)
    good = values.shape == (3,) and values.dtype.kind in "iu" and values.min() >= 1 and values.max() <= LARGEST_GRID
    if not good:
        raise InputError(
            f"{source}: {GRID_SHAPE}: expected three whole numbers from 1 to {LARGEST_GRID} in the structure's info, "
            f"got {str(shape)[:80]}. Write the points along the three lattice vectors into the comment line, as in "
            f'{GRID_SHAPE}="36 30 27"; in ASE: atoms.info["{GRID_SHAPE}"] = [36, 30, 27].'
        )
    nx, ny, nz = values.tolist()
    return nx, ny, nz

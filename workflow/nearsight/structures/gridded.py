"""A structure and the grid that its fields live on."""

from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.errors import InputError
from nearsight.grids.regions import check_shape
from nearsight.structures.io import read_structure


def read_gridded_structure(path: Path) -> tuple[Atoms, tuple[int, int, int]]:
    """The structure and its grid. Raises InputError where the file or its grid_shape is unusable."""
    atoms = read_structure(path)
    if "grid_shape" not in atoms.info:
        raise InputError(
            f"{path}: grid_shape: expected the numbers of grid points along the three lattice vectors in the "
            'comment line, as in grid_shape="36 30 27"; not found. In ASE: atoms.info["grid_shape"] = [36, 30, 27].'
        )
    return atoms, check_shape(np.ravel(atoms.info["grid_shape"]).tolist(), str(path))

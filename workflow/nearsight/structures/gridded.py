"""A structure and the grid that its fields live on."""

import logging
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.descriptors.bispectrum.compute import check_shape
from nearsight.errors import InputError
from nearsight.structures.io import read_structure

logger = logging.getLogger("nearsight")


def read_gridded_structure(path: Path) -> tuple[Atoms, tuple[int, int, int]]:
    """The structure and its grid. Raises InputError where the file or its grid_shape is unusable."""
    atoms = read_structure(path)
    if "grid_shape" not in atoms.info:
        raise InputError(
            f"{path}: grid_shape: expected the numbers of grid points along the three lattice vectors in the "
            'comment line, as in grid_shape="36 30 27"; not found. In ASE: atoms.info["grid_shape"] = [36, 30, 27].'
        )
    shape = check_shape(np.ravel(atoms.info["grid_shape"]).tolist(), str(path))
    warn_of_touching_atoms(atoms, shape, path)
    return atoms, shape


def warn_of_touching_atoms(atoms: Atoms, shape: tuple[int, int, int], path: Path | str) -> None:
    """Log a warning where an atom lies on a grid point: the bispectrum jumps there."""
    scaled = atoms.get_scaled_positions() * shape
    away = np.abs(scaled - np.round(scaled)) / shape @ np.abs(np.asarray(atoms.cell))
    if (touching := int((np.linalg.norm(away, axis=1) < 1e-10).sum())) > 0:
        logger.warning(
            "%s: %d atoms lie on a grid point within 1e-10 Å; the bispectrum there leaves the atom itself out, as "
            "LAMMPS defines it, and jumps. Shift the structure against the grid by a fraction of a step.",
            path, touching,
        )  # fmt: skip

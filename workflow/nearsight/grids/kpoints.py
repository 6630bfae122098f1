"""How dense a grid of k-points is."""

from collections.abc import Sequence

import numpy as np


def kpoint_spacing(cell: np.ndarray, kpoints: Sequence[int]) -> float:
    """Largest distance in 1/Å between neighbours of a k-point grid along the three reciprocal vectors, 2π included.

    cell: shape (3, 3), rows in Å; kpoints: points along each vector. A repeated cell has the spacing of its lattice's
    own cell where its grid folds onto the same points.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(np.asarray(cell, dtype=float)).T
    return float((np.linalg.norm(reciprocal, axis=1) / np.asarray(kpoints, dtype=float)).max())

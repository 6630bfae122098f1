"""Fields on a grid coarse enough for a browser: means over larger volumes, read plane by plane."""

from math import prod

import numpy as np
from scipy.sparse import csr_array

#: Points of a field in a page: 6 MB in float32, a surface in a tenth of a second.
MOST_POINTS = 1_500_000

#: Points along an axis: what every graphics processor takes as the side of a texture.
LONGEST_SIDE = 2048


def coarse_shape(
    shape: tuple[int, int, int], most_points: int = MOST_POINTS, longest_side: int = LONGEST_SIDE
) -> tuple[int, int, int]:
    """A grid of at most `most_points` with the proportions of `shape`, `shape` itself where it is no larger."""
    coarse, left = list(shape), float(most_points)
    axes = sorted(range(3), key=lambda axis: shape[axis])
    for place, axis in enumerate(axes):  # what the shortest axes cannot give is taken from the longer ones
        rest = [shape[other] for other in axes[place:]]
        length = max(shape[axis] * min((left / prod(rest)) ** (1 / len(rest)), 1.0), 1.0)
        coarse[axis] = min(int(length + 1e-9), longest_side)
        left /= length
    return tuple(coarse)


def volume_means(fine: int, coarse: int) -> csr_array:
    """Matrix (coarse, fine) that gives a periodic axis's means over `coarse` intervals around the points j/coarse.

    Point i of the fine axis stands for the interval from (i - 1/2)/fine to (i + 1/2)/fine and counts by the part of it
    that lies inside. The mean of all is kept. The identity for equal lengths.
    """
    rows, columns, parts = [], [], []
    for j in range(coarse):
        start, end = ((j + side) * fine / coarse + 0.5 for side in (-0.5, 0.5))
        inside = np.arange(np.floor(start), np.ceil(end))
        part = np.minimum(inside + 1, end) - np.maximum(inside, start)
        rows += [j] * inside.size
        columns.append(inside.astype(int) % fine)
        parts.append(part * coarse / fine)
    return csr_array((np.concatenate(parts), (rows, np.concatenate(columns))), shape=(coarse, fine))


def coarsen(field: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Means of a field over the volumes of a coarser periodic grid `shape`; its own values where the grid is its own.

    field: shape (nx, ny, nz), or what gives plane i of it as field[i]: one plane is in memory at a time. The integral
    stays the same.
    """
    along_x, along_y, along_z = (volume_means(*lengths) for lengths in zip(field.shape, shape, strict=True))
    weights = along_x.tocsc()
    coarse = np.zeros(shape)
    for i in range(field.shape[0]):
        plane = np.asarray(field[i], dtype=float)
        plane = (along_z @ (along_y @ plane).T).T
        for place in range(weights.indptr[i], weights.indptr[i + 1]):
            coarse[weights.indices[place]] += weights.data[place] * plane
    return coarse

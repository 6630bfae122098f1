"""Parts of the real-space grid: a region is a block of grid points.

A grid is cut into batches (one job, one file each), a batch into tiles (what a stopped job loses), a tile into what
its threads compute at a time; all of them are regions.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from nearsight.errors import InputError

#: Cuts fall on multiples of this where they can: the native kernel computes groups of points.
ALIGNMENT = 4


class Region(NamedTuple):
    """Grid points from start up to stop along x, y and z, as three pairs; possibly none."""

    x: tuple[int, int]
    y: tuple[int, int]
    z: tuple[int, int]

    @classmethod
    def whole(cls, shape: tuple[int, int, int]) -> "Region":
        """The whole grid."""
        return cls(*((0, n) for n in shape))

    @property
    def origin(self) -> tuple[int, int, int]:
        """The first point's indices."""
        return tuple(start for start, _ in self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of points along x, y, z."""
        return tuple(stop - start for start, stop in self)

    @property
    def points(self) -> int:
        """Number of grid points."""
        return prod(self.shape)

    def slices(self, origin: tuple[int, int, int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """An index into an array that begins at `origin` of the grid."""
        return tuple(slice(start - first, stop - first) for (start, stop), first in zip(self, origin, strict=True))


def split_evenly(region: Region, parts: int) -> list[Region]:
    """`parts` regions of nearly equal size that cover `region`, by halving the longest side; some may be empty."""
    if parts == 1:
        return [region]
    fewer = parts // 2
    axis = int(np.argmax(region.shape))
    start, stop = region[axis]
    cut = start + round((stop - start) * fewer / parts)
    aligned = round(cut / ALIGNMENT) * ALIGNMENT
    # alignment saves work at the seams; it must not cost more than it saves
    if start < aligned < stop and abs(aligned - cut) * 16 <= stop - start:
        cut = aligned
    low, high = list(region), list(region)
    low[axis], high[axis] = (start, cut), (cut, stop)
    return [*split_evenly(Region(*low), fewer), *split_evenly(Region(*high), parts - fewer)]


def split_compactly(region: Region, largest: int) -> list[Region]:
    """Compact regions of at most `largest` points, or a little more where cuts are aligned."""
    return [part for part in split_evenly(region, -(-region.points // largest)) if part.points > 0]


def split_in_runs(region: Region, largest: int) -> list[Region]:
    """Regions of at most `largest` points (at least one) that cover `region`; x is cut first, z last.

    Those of whole planes or rows are contiguous in a file.
    """
    if region.points <= max(largest, 1):
        return [region]
    axis = next(i for i in range(3) if region.shape[i] > 1)
    start, stop = region[axis]
    step = max(largest // (region.points // region.shape[axis]), 1)
    if step >= ALIGNMENT:
        step -= step % ALIGNMENT
    regions = []
    for low in range(start, stop, step):
        part = list(region)
        part[axis] = (low, min(low + step, stop))
        regions += split_in_runs(Region(*part), largest)
    return regions


def check_shape(shape: object) -> tuple[int, int, int]:
    """Three positive whole numbers of grid points. Raises InputError otherwise."""
    try:
        values = [int(n) for n in shape]
        good = len(values) == 3 and min(values) > 0 and all(v == n for v, n in zip(values, shape, strict=True))
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(f"grid_shape: expected three positive whole numbers of grid points, got {shape}.")
    return tuple(values)


def check_region(region: object, shape: tuple[int, int, int]) -> Region:
    """The region, or the whole grid where it is None. Raises InputError where it does not fit into the grid."""
    if region is None:
        return Region.whole(shape)
    try:
        pairs = [tuple(pair) for pair in region]
        good = len(pairs) == 3 and all(
            len(pair) == 2 and all(int(x) == x for x in pair) and 0 <= pair[0] <= pair[1] <= n
            for pair, n in zip(pairs, shape, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(
            f"region: expected ((x0, x1), (y0, y1), (z0, z1)) with 0 <= start <= stop <= {shape}, got {region!r}."
        )
    return Region(*((int(start), int(stop)) for start, stop in pairs))

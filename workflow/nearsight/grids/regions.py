"""Bricks of the grid: cut for any number of ranks, and in blocks of a size that memory holds."""

import numpy as np

from nearsight.errors import InputError

#: (start, stop) along x, y, z
Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: Cuts fall on multiples of this where they can: the native backend computes groups of points.
ALIGNMENT = 4


def lengths_of(region: Region) -> tuple[int, int, int]:
    """Numbers of points along x, y, z."""
    return tuple(stop - start for start, stop in region)


def split_evenly(region: Region, parts: int) -> list[Region]:
    """`parts` regions of nearly equal size that cover `region`, by halving the longest side; some may be empty."""
    if parts == 1:
        return [region]
    fewer = parts // 2
    axis = int(np.argmax(lengths_of(region)))
    start, stop = region[axis]
    cut = start + round((stop - start) * fewer / parts)
    aligned = round(cut / ALIGNMENT) * ALIGNMENT
    # alignment saves work at the seams; it must not cost more than it saves
    if start < aligned < stop and abs(aligned - cut) * 16 <= stop - start:
        cut = aligned
    low, high = list(region), list(region)
    low[axis], high[axis] = (start, cut), (cut, stop)
    return [*split_evenly(tuple(low), fewer), *split_evenly(tuple(high), parts - fewer)]


def split_in_blocks(region: Region, largest: int) -> list[Region]:
    """Regions of at most `largest` points (at least one) that cover `region`; x is cut first, z last.

    Blocks of whole planes or rows are contiguous in the file.
    """
    if np.prod(lengths_of(region)) <= max(largest, 1):
        return [region]
    axis = next(i for i in range(3) if lengths_of(region)[i] > 1)
    start, stop = region[axis]
    others = np.prod([n for i, n in enumerate(lengths_of(region)) if i != axis])
    step = max(int(largest // others), 1)
    if step >= ALIGNMENT:
        step -= step % ALIGNMENT
    blocks = []
    for low in range(start, stop, step):
        part = list(region)
        part[axis] = (low, min(low + step, stop))
        blocks += split_in_blocks(tuple(part), largest)
    return blocks


def slices_of(region: Region, origin: tuple[int, int, int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
    """The region as an index into an array that begins at `origin` of the grid."""
    return tuple(slice(start - first, stop - first) for (start, stop), first in zip(region, origin, strict=True))


def check_shape(shape: object, name: str = "structure") -> tuple[int, int, int]:
    """Three positive whole numbers of grid points. Raises InputError otherwise."""
    try:
        values = [int(n) for n in shape]
        good = len(values) == 3 and min(values) > 0 and all(v == n for v, n in zip(values, shape, strict=True))
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(f"{name}: grid_shape: expected three positive whole numbers of grid points, got {shape}.")
    return tuple(values)


def check_region(region: object, shape: tuple[int, int, int]) -> Region:
    """The region, or the whole grid where it is None. Raises InputError where it does not fit into the grid."""
    if region is None:
        return tuple((0, n) for n in shape)
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
    return tuple((int(start), int(stop)) for start, stop in pairs)

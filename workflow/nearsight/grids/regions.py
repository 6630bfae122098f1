"""Bricks of the grid: cut for any number of ranks, and in blocks of a size that memory holds."""

from dataclasses import dataclass

import numpy as np

#: (start, stop) along x, y, z
Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: Cuts fall on multiples of this where they can: the native backend computes groups of points.
ALIGNMENT = 4


@dataclass(frozen=True)
class Brick:
    """The grid points of one rank: a brick of the grid, possibly empty.

    start: index of its first point along x, y, z; values: shape (lx, ly, lz, components).
    """

    start: tuple[int, int, int]
    values: np.ndarray

    @property
    def stop(self) -> tuple[int, int, int]:
        """One past the index of the last point along x, y, z."""
        return tuple(first + length for first, length in zip(self.start, self.values.shape[:3], strict=True))


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

"""How a grid is cut: batches are slabs along x (one job, one file each), tiles are blocks inside a slab."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

from nearsight.errors import InputError


@dataclass(frozen=True)
class Block:
    """A box of grid points, `start` included and `stop` excluded along x, y and z."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of points along x, y and z."""
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The block as an index into an array of the whole grid."""
        return tuple(slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))

    def slices_within(self, outer: "Block") -> tuple[slice, slice, slice]:
        """The block as an index into an array of `outer`, which contains it."""
        return tuple(
            slice(start - origin, stop - origin)
            for start, stop, origin in zip(self.start, self.stop, outer.start, strict=True)
        )


def split_evenly(length: int, parts: int) -> list[tuple[int, int]]:
    """`parts` runs (start, stop) that cover 0..length in order and differ by one at most."""
    edges = [length * i // parts for i in range(parts + 1)]
    return list(pairwise(edges))


def plan_batches(shape: tuple[int, int, int], batches: int) -> list[Block]:
    """Cut the grid into slabs along x, one per batch. Raises InputError if there are more batches than planes."""
    if not 1 <= batches <= shape[0]:
        raise InputError(
            f"inference.batches: expected between 1 and {shape[0]} (the grid's planes along x), got {batches}."
        )
    return [Block((start, 0, 0), (stop, *shape[1:])) for start, stop in split_evenly(shape[0], batches)]


def choose_tile_shape(shape: tuple[int, int, int], tile_points: int) -> tuple[int, int, int]:
    """The largest block of whole rows along z, then y, then x, with at most `tile_points` points (at least 1)."""
    nz = min(shape[2], max(tile_points, 1))
    ny = min(shape[1], max(tile_points // nz, 1))
    nx = min(shape[0], max(tile_points // (nz * ny), 1))
    return nx, ny, nz


def iterate_tiles(region: Block, tile_shape: tuple[int, int, int]) -> Iterator[Block]:
    """The tiles of a region, in the order of memory; those at the upper faces are smaller."""
    axes = [
        [(start, min(start + size, stop)) for start in range(first, stop, size)]
        for first, stop, size in zip(region.start, region.stop, tile_shape, strict=True)
    ]
    for runs in product(*axes):
        yield Block(tuple(start for start, _ in runs), tuple(stop for _, stop in runs))

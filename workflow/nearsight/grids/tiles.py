"""How a grid is cut: batches (one job, one file each) into tiles (what a stopped job loses) into chunks (one core)."""

from math import prod

from nearsight.errors import InputError
from nearsight.grids.regions import Region, lengths_of, split_evenly
from nearsight.memory import inference_bytes

#: Most points of a tile: some seconds of one core.
LARGEST_TILE = 1 << 20

#: Most points of a chunk, a compact block: few points at its faces share their neighbours with another chunk.
CHUNK_POINTS = 1 << 15


def points_of(region: Region) -> int:
    """Number of grid points."""
    return prod(lengths_of(region))


def origin_of(region: Region) -> tuple[int, int, int]:
    """The region's first point."""
    return tuple(start for start, _ in region)


def plan_batches(shape: tuple[int, int, int], batches: int) -> list[Region]:
    """Cut the grid into `batches` blocks. Raises InputError if there are more batches than points."""
    parts = split_evenly(tuple((0, n) for n in shape), batches) if batches >= 1 else []
    if not parts or min(map(points_of, parts)) == 0:
        raise InputError(
            f"inference.batches: expected at least 1 and no more than a grid of {'x'.join(map(str, shape))} can be cut "
            f"into, got {batches}."
        )
    return parts


def cut(region: Region, largest: int) -> list[Region]:
    """Compact parts of at most `largest` points, or a little more where cuts are aligned."""
    return [part for part in split_evenly(region, -(-points_of(region) // largest)) if points_of(part) > 0]


def choose_tile_points(
    memory_GiB: float, threads: int, components: int, energies: int, atoms: int, *, keep_ldos: bool
) -> int:
    """Points of a tile that a job's memory holds. Raises InputError where there is too little of it.

    What a tile takes is in `memory.inference_bytes`, and grows linearly from one chunk on.
    """

    def needed(points: int) -> float:
        return inference_bytes(points, components, energies, atoms, CHUNK_POINTS, threads=threads, keep_ldos=keep_ldos)

    least = needed(CHUNK_POINTS)
    if memory_GiB * 2**30 < least:
        raise InputError(
            f"inference.memory_GiB: expected at least {least / 2**30:.2f} GiB for {threads} threads and {atoms} atoms, "
            f"got {memory_GiB:g}."
        )
    per_point = (needed(2 * CHUNK_POINTS) - least) / CHUNK_POINTS
    largest = CHUNK_POINTS + int((memory_GiB * 2**30 - least) / per_point)
    return min(largest, LARGEST_TILE)

"""How large the batches and tiles of a prediction are."""

from nearsight.errors import InputError
from nearsight.grids.regions import Region, split_evenly
from nearsight.memory import inference_bytes

#: Most points of a tile: some seconds of one core.
LARGEST_TILE = 1 << 20

#: Most points of the compact region that a thread computes at a time: few at its faces share their neighbours.
THREAD_POINTS = 1 << 15


def plan_batches(shape: tuple[int, int, int], batches: int) -> list[Region]:
    """Cut the grid into `batches` regions. Raises InputError if there are more batches than points."""
    parts = split_evenly(Region.whole(shape), batches) if batches >= 1 else []
    if not parts or min(part.points for part in parts) == 0:
        raise InputError(
            f"inference.batches: expected at least 1 and no more than a grid of {'x'.join(map(str, shape))} can be cut "
            f"into, got {batches}."
        )
    return parts


def choose_tile_points(
    memory_GiB: float, threads: int, components: int, energies: int, atoms: int, *, keep_ldos: bool
) -> int:
    """Points of a tile that a job's memory holds. Raises InputError where there is too little of it.

    What a tile takes is in `memory.inference_bytes`, and grows linearly from THREAD_POINTS on.
    """

    def needed(points: int) -> float:
        return inference_bytes(points, components, energies, atoms, THREAD_POINTS, threads=threads, keep_ldos=keep_ldos)

    least = needed(THREAD_POINTS)
    if memory_GiB * 2**30 < least:
        raise InputError(
            f"inference.memory_GiB: expected at least {least / 2**30:.2f} GiB for {threads} threads and {atoms} atoms, "
            f"got {memory_GiB:g}."
        )
    per_point = (needed(2 * THREAD_POINTS) - least) / THREAD_POINTS
    largest = THREAD_POINTS + int((memory_GiB * 2**30 - least) / per_point)
    return min(largest, LARGEST_TILE)

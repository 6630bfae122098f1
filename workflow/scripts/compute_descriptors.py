"""Compute the descriptors of a structure on its grid, on one or several MPI ranks.

The structure's info["grid_shape"] gives the grid. On two ranks:
mpiexec -n 2 python compute_descriptors.py --ranks 2 --structure ... --settings '{"twojmax": 10}' --output ...

The grid is cut into blocks that are dealt to the ranks; each rank writes its blocks into the one file. A job that was
stopped resumes with the missing blocks, on any number of ranks (backend lammps: it starts again).
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.datasets import reserve_field, variables_of_atoms
from nearsight.descriptors.interface import Descriptor, check_elements, check_threads, make_descriptor
from nearsight.descriptors.partial import PartialField, finish, open_partial
from nearsight.files import sha256_of
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, split_in_runs
from nearsight.jobs import make_parser, parse_settings, show_progress
from nearsight.memory import check_memory, descriptors_bytes
from nearsight.mpi import check_ranks, on_rank_0, run_parallel_job, world
from nearsight.provenance import collect_provenance
from nearsight.structures.gridded import read_gridded_structure
from nearsight.versions import STAGES

logger = logging.getLogger("nearsight")

#: Grid points per rank, and then per block, at which the numbers are verified.
CHECKED_POINTS = 8

#: Bytes of one block: what a rank holds at a time and what a stopped job loses; and the least number of blocks.
BLOCK_BYTES = 1 << 25
LEAST_BLOCKS = 64


def parse_arguments() -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help='extended XYZ with info["grid_shape"]')
    parser.add_argument("--settings", type=parse_settings, required=True, help="JSON: the section `descriptors`")
    parser.add_argument("--elements", nargs="+", help="elements that the study has (default: the structure's)")
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks that the job was promised")
    parser.add_argument("--threads", type=int, default=1, help="threads of each rank")
    parser.add_argument("--output", type=Path, required=True, help="descriptor dataset (HDF5)")
    return parser.parse_args()


def main(arguments: argparse.Namespace) -> None:
    """Read the structure, compute the blocks of each rank, write one file."""
    comm = world()
    on_rank_0(comm, lambda: check_ranks(comm, arguments.ranks))
    check_threads(arguments.threads)
    descriptor, atoms, grid = on_rank_0(comm, lambda: read_input(arguments))
    points, components, precision = grid.points, descriptor.components, descriptor.settings.precision
    logger.info(
        "%d atoms, grid %s: %d points, %d components in %s, %.1f MB; %d ranks x %d threads",
        len(atoms), "x".join(map(str, grid.shape)), points, components, precision,
        points * components * np.dtype(precision).itemsize * 1e-6, comm.size, arguments.threads,
    )  # fmt: skip
    needed = descriptors_bytes(
        points, components, len(atoms), BLOCK_BYTES, ranks=comm.size, whole=descriptor.whole_grid
    )
    given_MB = arguments.memory_MB and arguments.memory_MB * arguments.threads  # the rule gives it per core
    on_rank_0(comm, lambda: check_memory("compute_descriptors", needed, given_MB, comm.size))
    started = time.perf_counter()
    if descriptor.whole_grid:
        region, values = descriptor.compute_share(atoms, grid, np.dtype(precision), comm, threads=arguments.threads)
        descriptor.verify(atoms, grid, region, values, CHECKED_POINTS)
        comm.Barrier()
        partial = start_output(arguments, atoms, grid, descriptor)
        partial.write(region, values)
    else:
        partial = start_output(arguments, atoms, grid, descriptor)
        compute_blocks(partial, atoms, grid, descriptor, arguments.threads)
    comm.Barrier()
    seconds = time.perf_counter() - started
    cores = comm.size * arguments.threads
    logger.info("descriptors: %.1f s, %.3g µs per point and core", seconds, seconds * cores / points * 1e6)
    if comm.rank == 0:
        finish(partial, arguments.output)
    logger.info("written: %s", arguments.output)


def read_input(arguments: argparse.Namespace) -> tuple[Descriptor, Atoms, RealGrid]:
    """The descriptor, the structure and its grid."""
    atoms, shape = read_gridded_structure(arguments.structure)
    grid = RealGrid(atoms.cell, shape)
    descriptor = make_descriptor(arguments.settings, arguments.elements or set(atoms.symbols))
    check_elements(descriptor, atoms, str(arguments.structure))
    for warning in descriptor.warnings(atoms, grid):
        logger.warning("%s: %s", arguments.structure, warning)
    return descriptor, atoms, grid


def compute_blocks(partial: PartialField, atoms: Atoms, grid: RealGrid, descriptor: Descriptor, threads: int) -> None:
    """Compute and write this rank's share of the blocks that are not yet there."""
    comm = world()
    components = partial.shape[-1]
    largest = max(min(BLOCK_BYTES // (8 * components), grid.points // LEAST_BLOCKS), 1)
    blocks = split_in_runs(grid.whole, largest)
    known = on_rank_0(comm, partial.finished)
    missing = [block for block in blocks if block not in known]
    if len(missing) < len(blocks):
        logger.info("%d of %d blocks are there from an earlier run", len(blocks) - len(missing), len(blocks))
    mine: list[Region] = missing[comm.rank :: comm.size]
    to_check = CHECKED_POINTS
    for block in show_progress(mine, "descriptors", unit="block") if comm.rank == 0 else mine:
        values = np.empty((*block.shape, components), dtype=partial.dtype)
        descriptor.compute(atoms, grid, block, values, threads=threads)
        descriptor.verify(atoms, grid, block, values, to_check)
        to_check = 1  # a look at all atoms: where the first block is right, so are the others
        partial.write(block, values)
        partial.mark(block, comm.rank)


def start_output(arguments: argparse.Namespace, atoms: Atoms, grid: RealGrid, descriptor: Descriptor) -> PartialField:
    """The unfinished file of this job, an earlier run's where there is one; the same on all ranks."""
    section = descriptor.settings
    described = {**section.model_dump(exclude={"ranks", "threads"}), "elements": list(descriptor.elements)}
    whole = (*grid.shape, descriptor.components)
    inputs = {"settings": described, "shape": whole, "version": STAGES["descriptors"]}

    def start() -> PartialField:
        inputs["structure"] = sha256_of(arguments.structure)
        provenance = collect_provenance("descriptors", described, {"structure": arguments.structure})
        return open_partial(
            arguments.output,
            whole,
            section.precision,
            inputs,
            lambda path: reserve_field(
                path, "descriptors", whole, variables_of_atoms(atoms), described, provenance, section.precision
            ),
        )

    return on_rank_0(world(), start)


if __name__ == "__main__":
    run_parallel_job(main, parse_arguments())

"""Compute the bispectrum descriptors of a structure on its grid, on one or several MPI ranks.

The structure's info["grid_shape"] gives the grid. On two ranks:
mpiexec -n 2 python compute_descriptors.py --ranks 2 --structure ... --settings '{"twojmax": 10}' --output ...

The grid is cut into blocks that are dealt to the ranks; each rank writes its blocks into the one file. A job that
was stopped goes on with the missing blocks, on any number of ranks (backend lammps: it starts again).
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.datasets import reserve_field, variables_of_atoms
from nearsight.descriptors.bispectrum.components import identity_component
from nearsight.descriptors.bispectrum.compute import (
    BACKENDS,
    PRECISIONS,
    bispectrum_brick,
    check_elements,
    compute_region,
)
from nearsight.descriptors.bispectrum.lammps import elements_of
from nearsight.descriptors.bispectrum.settings import BispectrumSettings
from nearsight.descriptors.partial import PartialField, finish, open_partial
from nearsight.errors import InputError, NearsightError
from nearsight.files import sha256_of
from nearsight.grids.regions import Brick, Region, lengths_of, split_in_blocks
from nearsight.jobs import make_parser, parse_settings, show_progress
from nearsight.memory import check_memory, descriptors_bytes
from nearsight.mpi import check_ranks, on_rank_0, run_parallel_job, world
from nearsight.provenance import collect_provenance
from nearsight.structures.gridded import read_gridded_structure
from nearsight.versions import STAGES

logger = logging.getLogger("nearsight")

#: What a grid point with twojmax = 10 takes on one core (measured, hcp Be), for the estimate in the log.
MICROSECONDS_PER_POINT = {
    ("native", "float32"): 3.5, ("native", "float64"): 7.0, ("lammps", "float32"): 330.0, ("lammps", "float64"): 330.0,
    ("torch", "float32"): 10000.0, ("torch", "float64"): 10000.0,
}  # fmt: skip

#: Grid points per rank at which component 0 is compared with its closed form, and the largest relative deviation.
CHECKED_POINTS = 8
TOLERANCES = {"float32": 5e-5, "float64": 1e-9}

#: Bytes of one block: what a rank holds at a time and what a stopped job loses; and the least number of blocks.
BLOCK_BYTES = 1 << 25
LEAST_BLOCKS = 64


def parse_arguments() -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help='extended XYZ with info["grid_shape"]')
    parser.add_argument("--settings", type=parse_settings, required=True, help="JSON: twojmax, cutoff_A, rfac0, rmin0")
    parser.add_argument("--backend", default="native", help=f"one of {', '.join(BACKENDS)}")
    parser.add_argument("--precision", default="float64", help=f"one of {', '.join(PRECISIONS)}")
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks that the job was promised")
    parser.add_argument("--threads", type=int, default=1, help="threads of each rank (backend native)")
    parser.add_argument("--output", type=Path, required=True, help="descriptor dataset (HDF5)")
    return parser.parse_args()


def main(arguments: argparse.Namespace) -> None:
    """Read the structure, compute the blocks of each rank, write one file."""
    comm = world()
    on_rank_0(comm, lambda: check_ranks(comm, arguments.ranks))
    if arguments.backend not in BACKENDS:
        raise InputError(f"--backend: expected one of {', '.join(BACKENDS)}, got {arguments.backend!r}.")
    if arguments.precision not in PRECISIONS:
        raise InputError(f"--precision: expected one of {', '.join(PRECISIONS)}, got {arguments.precision!r}.")
    settings = on_rank_0(comm, lambda: BispectrumSettings.from_dict(arguments.settings))
    atoms, shape = on_rank_0(comm, lambda: read_structure_for(settings, arguments.structure))

    points = int(np.prod(shape))
    components = settings.number_of_components(len(elements_of(atoms)))
    logger.info(
        "%d atoms, grid %s: %d points, %d components, %.1f MB; %s in %s, %d ranks x %d threads; about %.0f s where "
        "twojmax is 10",
        len(atoms), "x".join(map(str, shape)), points, components,
        points * components * np.dtype(arguments.precision).itemsize * 1e-6, arguments.backend, arguments.precision,
        comm.size, arguments.threads,
        points * MICROSECONDS_PER_POINT[arguments.backend, arguments.precision] * 1e-6 / comm.size / arguments.threads,
    )  # fmt: skip
    whole = arguments.backend == "lammps"
    needed = descriptors_bytes(points, components, len(atoms), BLOCK_BYTES, ranks=comm.size, whole=whole)
    given_MB = arguments.memory_MB and arguments.memory_MB * arguments.threads  # the rule gives it per core
    on_rank_0(comm, lambda: check_memory("compute_descriptors", needed, given_MB, comm.size))
    started = time.perf_counter()
    if arguments.backend == "lammps":
        brick = bispectrum_brick(atoms, shape, settings, backend="lammps", precision=arguments.precision, comm=comm)
        check_brick(brick, atoms, shape, settings)
        comm.Barrier()
        partial = start_output(arguments, atoms, (*shape, components), settings)
        partial.write(tuple(zip(brick.start, brick.stop, strict=True)), brick.values)
    else:
        partial = start_output(arguments, atoms, (*shape, components), settings)
        compute_blocks(arguments, partial, atoms, settings)
    comm.Barrier()
    seconds = time.perf_counter() - started
    cores = comm.size * arguments.threads
    logger.info("descriptors: %.1f s, %.3g µs per point and core", seconds, seconds * cores / points * 1e6)
    if comm.rank == 0:
        finish(partial, arguments.output)
    logger.info("written: %s", arguments.output)


def compute_blocks(
    arguments: argparse.Namespace, partial: PartialField, atoms: Atoms, settings: BispectrumSettings
) -> None:
    """Compute and write this rank's share of the blocks that are not yet there."""
    comm = world()
    *shape, components = partial.shape
    largest = max(min(BLOCK_BYTES // (8 * components), int(np.prod(shape)) // LEAST_BLOCKS), 1)
    blocks = split_in_blocks(tuple((0, n) for n in shape), largest)
    known = on_rank_0(comm, partial.finished)
    missing = [block for block in blocks if block not in known]
    if len(missing) < len(blocks):
        logger.info("%d of %d blocks are there from an earlier run", len(blocks) - len(missing), len(blocks))
    mine: list[Region] = missing[comm.rank :: comm.size]
    to_check = CHECKED_POINTS
    for block in show_progress(mine, "descriptors", unit="block") if comm.rank == 0 else mine:
        values = np.empty((*lengths_of(block), components), dtype=partial.dtype)
        compute_region(
            atoms, tuple(shape), settings, block, values, backend=arguments.backend, threads=arguments.threads
        )
        brick = Brick(tuple(start for start, _ in block), values)
        check_brick(brick, atoms, tuple(shape), settings, to_check)
        to_check = 1  # the closed form looks at all atoms; where the first block is right, so are the others
        partial.write(block, values)
        partial.mark(block, comm.rank)


def read_structure_for(settings: BispectrumSettings, path: Path) -> tuple[Atoms, tuple[int, int, int]]:
    """The structure and its grid; raises InputError also where elements have no weight."""
    atoms, shape = read_gridded_structure(path)
    check_elements(atoms, settings, str(path))
    return atoms, shape


def check_brick(
    brick: Brick,
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: BispectrumSettings,
    count: int = CHECKED_POINTS,
) -> None:
    """Compare component 0 with its closed form at a few points of this rank's brick; refuse NaN."""
    if brick.values.size == 0:
        return
    if not all(np.isfinite(slab).all() for slab in brick.values):
        raise NearsightError("descriptors: expected finite numbers, got NaN or infinity from the backend.")
    if settings.chemical or not settings.switching or min(settings.weights.values(), default=1.0) < 0:
        return  # no closed form, or none that is far from 0
    lengths = brick.values.shape[:3]
    chosen = np.unravel_index(np.unique(np.linspace(0, np.prod(lengths) - 1, count).astype(int)), lengths)
    points = (np.stack(chosen, axis=1) + brick.start) / shape @ np.asarray(atoms.cell)
    expected = identity_component(
        atoms, points, settings.cutoff_A, settings.rmin0, settings.weights, settings.radii, settings.self_weight
    )
    found = brick.values[(*chosen, 0)].astype(float) + settings.bzero * settings.self_weight**3
    deviation = (np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)).max()
    if not deviation < TOLERANCES[brick.values.dtype.name]:
        raise NearsightError(
            f"descriptors: expected component 0 = (1 + Σ fc)³ at every point, got a deviation of {deviation:.1e}. "
            "Two atoms in one place, an atom within 1e-10 Å of a grid point, or a faulty build of the backend."
        )


def start_output(
    arguments: argparse.Namespace, atoms: Atoms, shape: tuple[int, int, int, int], settings: BispectrumSettings
) -> PartialField:
    """The unfinished file of this job, an earlier run's where there is one; the same on all ranks."""
    described = {
        **settings.to_dict(),
        "backend": arguments.backend,
        "precision": arguments.precision,
        "elements": elements_of(atoms),
    }
    inputs = {"settings": described, "shape": shape, "version": STAGES["descriptors"]}

    def start() -> PartialField:
        inputs["structure"] = sha256_of(arguments.structure)
        provenance = collect_provenance("descriptors", described, {"structure": arguments.structure})
        return open_partial(
            arguments.output,
            shape,
            arguments.precision,
            inputs,
            lambda path: reserve_field(
                path, "bispectrum", shape, variables_of_atoms(atoms), described, provenance, arguments.precision
            ),
        )

    return on_rank_0(world(), start)


if __name__ == "__main__":
    run_parallel_job(main, parse_arguments())

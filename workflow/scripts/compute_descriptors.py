"""Compute the bispectrum descriptors of a structure on its grid, on one or several MPI ranks.

The structure's info["grid_shape"] gives the grid. On two ranks:
mpiexec -n 2 python compute_descriptors.py --ranks 2 --structure ... --settings '{"twojmax": 10}' --output ...
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.datasets import create_field_file, variables_of_atoms
from nearsight.descriptors.bispectrum import (
    BACKENDS,
    Brick,
    bispectrum_brick,
    check_one_element,
    check_shape,
)
from nearsight.descriptors.components import identity_component, number_of_components
from nearsight.descriptors.ranks import check_ranks, on_rank_0, run_parallel_job, world, write_bricks
from nearsight.descriptors.settings import BispectrumSettings
from nearsight.errors import InputError, NearsightError
from nearsight.jobs import make_parser, parse_settings
from nearsight.provenance import collect_provenance
from nearsight.structures.io import read_structure

logger = logging.getLogger("nearsight")

#: What LAMMPS takes for a grid point with twojmax = 10 on one core (measured, hcp Be), for the estimate in the log.
MICROSECONDS_PER_POINT = 250.0

#: Grid points per rank at which component 0 is compared with its closed form.
CHECKED_POINTS = 8


def parse_arguments() -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help='extended XYZ with info["grid_shape"]')
    parser.add_argument("--settings", type=parse_settings, required=True, help="JSON: twojmax, cutoff_A, rfac0, rmin0")
    parser.add_argument("--backend", default="lammps", help=f"one of {', '.join(BACKENDS)}")
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks that the job was promised")
    parser.add_argument("--output", type=Path, required=True, help="descriptor dataset (HDF5)")
    return parser.parse_args()


def main(arguments: argparse.Namespace) -> None:
    """Read the structure, compute each rank's brick, write one file."""
    comm = world()
    on_rank_0(comm, lambda: check_ranks(comm, arguments.ranks))
    if arguments.backend not in BACKENDS:
        raise InputError(f"--backend: expected one of {', '.join(BACKENDS)}, got {arguments.backend!r}.")
    settings = on_rank_0(comm, lambda: BispectrumSettings.from_dict(arguments.settings))
    atoms, shape = on_rank_0(comm, lambda: read_gridded_structure(arguments.structure))

    points = int(np.prod(shape))
    components = number_of_components(settings.twojmax)
    logger.info(
        "%d atoms, grid %s: %d points, %d components, %.1f MB; %d ranks; about %.0f s where twojmax is 10",
        len(atoms), "x".join(map(str, shape)), points, components, points * components * 8e-6, comm.size,
        points * MICROSECONDS_PER_POINT * 1e-6 / comm.size,
    )  # fmt: skip
    started = time.perf_counter()
    brick = bispectrum_brick(atoms, shape, settings, backend=arguments.backend, comm=comm)
    check_brick(brick, atoms, shape, settings)
    comm.Barrier()
    seconds = time.perf_counter() - started
    logger.info("descriptors: %.1f s, %.0f µs per point and core", seconds, seconds * comm.size / points * 1e6)
    write_output(arguments, brick, atoms, shape, settings)
    logger.info("written: %s", arguments.output)


def read_gridded_structure(path: Path) -> tuple[Atoms, tuple[int, int, int]]:
    """The structure and its grid. Raises InputError where the file or its grid_shape is unusable."""
    atoms = read_structure(path)
    check_one_element(atoms, str(path))
    if "grid_shape" not in atoms.info:
        raise InputError(
            f"{path}: grid_shape: expected the numbers of grid points along the three lattice vectors in the "
            'comment line, as in grid_shape="36 30 27"; not found. In ASE: atoms.info["grid_shape"] = [36, 30, 27].'
        )
    shape = check_shape(np.ravel(atoms.info["grid_shape"]).tolist(), str(path))
    scaled = atoms.get_scaled_positions() * shape
    away = np.abs(scaled - np.round(scaled)) / shape @ np.abs(np.asarray(atoms.cell))
    if (touching := int((np.linalg.norm(away, axis=1) < 1e-10).sum())) > 0:
        logger.warning(
            "%s: %d atoms lie on a grid point within 1e-10 Å; the bispectrum there leaves the atom itself out, as "
            "LAMMPS defines it, and jumps. Shift the structure against the grid by a fraction of a step.",
            path, touching,
        )  # fmt: skip
    return atoms, shape


def check_brick(brick: Brick, atoms: Atoms, shape: tuple[int, int, int], settings: BispectrumSettings) -> None:
    """Compare component 0 with its closed form at a few points of this rank's brick; refuse NaN."""
    if brick.values.size == 0:
        return
    if not all(np.isfinite(slab).all() for slab in brick.values):
        raise NearsightError("descriptors: expected finite numbers, got NaN or infinity from the backend.")
    lengths = brick.values.shape[:3]
    chosen = np.unravel_index(np.unique(np.linspace(0, np.prod(lengths) - 1, CHECKED_POINTS).astype(int)), lengths)
    points = (np.stack(chosen, axis=1) + brick.start) / shape @ np.asarray(atoms.cell)
    expected = identity_component(atoms, points, settings.cutoff_A, settings.rmin0)
    deviation = np.abs(brick.values[(*chosen, 0)] / expected - 1.0).max()
    if not deviation < 1e-9:
        raise NearsightError(
            f"descriptors: expected component 0 = (1 + Σ fc)³ at every point, got a deviation of {deviation:.1e}. "
            "Two atoms in one place, an atom within 1e-10 Å of a grid point, or a faulty build of LAMMPS."
        )


def write_output(
    arguments: argparse.Namespace,
    brick: Brick,
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: BispectrumSettings,
) -> None:
    """One file by rank 0, from the bricks of all ranks; whole or not at all."""
    comm = world()
    if comm.rank > 0:
        write_bricks(comm, brick, shape, None)
        return
    elements = [str(s) for s in dict.fromkeys(atoms[np.argsort(atoms.numbers)].get_chemical_symbols())]
    described = {**settings.to_dict(), "backend": arguments.backend, "elements": elements}
    provenance = collect_provenance("descriptors", described, {"structure": arguments.structure})
    with create_field_file(
        arguments.output,
        "bispectrum",
        (*shape, brick.values.shape[-1]),
        variables_of_atoms(atoms),
        described,
        provenance,
    ) as dataset:
        write_bricks(comm, brick, shape, dataset)


if __name__ == "__main__":
    run_parallel_job(main, parse_arguments())

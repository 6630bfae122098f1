"""Make one snapshot by molecular dynamics with LAMMPS and an interatomic potential."""

import argparse
import logging
from pathlib import Path

from nearsight.grids.plane_waves import fft_shape
from nearsight.jobs import make_parser, parse_settings, run_job
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.structures.io import read_structure, write_structure
from nearsight.structures.lammps import run_lammps_md

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--cell", type=Path, required=True, help="structure to begin with")
    parser.add_argument(
        "--settings",
        type=parse_settings,
        required=True,
        help="temperature_K, lammps_steps, time_step_fs and pair_commands of the trajectory, as JSON",
    )
    parser.add_argument("--seed", type=int, required=True, help="seed of velocities and thermostat")
    parser.add_argument("--ecutrho-Ry", type=float, required=True, help="density cutoff in Ry, which sets the grid")
    parser.add_argument("--output", type=Path, required=True, help="snapshot (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Run LAMMPS and write the last structure with the grid of its fields."""
    settings = arguments.settings
    atoms = run_lammps_md(
        read_structure(arguments.cell),
        settings["temperature_K"],
        settings["lammps_steps"],
        arguments.seed,
        time_step_fs=settings["time_step_fs"],
        pair_commands=settings["pair_commands"],
    )
    atoms.info = {GRID_SHAPE: list(fft_shape(atoms.cell.array, arguments.ecutrho_Ry))}
    write_structure(arguments.output, atoms)


if __name__ == "__main__":
    run_job(main, parse_arguments())

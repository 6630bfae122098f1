"""Build a periodic cell from a lattice, or read it from a file."""

import argparse
import logging
from pathlib import Path

from nearsight.grids.plane_waves import fft_shape
from nearsight.jobs import make_parser, run_job
from nearsight.structures.builders import build_structure
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.structures.io import write_structure
from nearsight.study.sections import read_structure_section

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--settings", type=read_structure_section, required=True, help="entry of `structures`, as JSON")
    parser.add_argument("--ecutrho-Ry", type=float, required=True, help="density cutoff in Ry, which sets the grid")
    parser.add_argument("--output", type=Path, required=True, help="structure (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Build, check and write the structure with the grid of its fields."""
    atoms = build_structure(arguments.settings)
    atoms.info[GRID_SHAPE] = list(fft_shape(atoms.cell.array, arguments.ecutrho_Ry))
    write_structure(arguments.output, atoms)
    logger.info(
        "%s, %.3f Å³ per atom, grid %s", atoms.get_chemical_formula(), atoms.get_volume() / len(atoms), atoms.info
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

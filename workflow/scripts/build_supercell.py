"""Repeat a structure, with the grid of its fields."""

import argparse
import logging
from pathlib import Path

from nearsight.jobs import make_parser, run_job
from nearsight.structures.builders import build_supercell
from nearsight.structures.io import read_structure, write_structure

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="structure with grid_shape (extended XYZ)")
    parser.add_argument(
        "--repeat", type=int, nargs=3, required=True, metavar=("NX", "NY", "NZ"), help="repetitions of the vectors"
    )
    parser.add_argument("--output", type=Path, required=True, help="supercell (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write the supercell."""
    supercell = build_supercell(read_structure(arguments.structure), arguments.repeat)
    write_structure(arguments.output, supercell)
    logger.info("%d atoms, grid %s", len(supercell), supercell.info["grid_shape"])


if __name__ == "__main__":
    run_job(main, parse_arguments())

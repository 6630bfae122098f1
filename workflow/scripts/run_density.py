"""Write the electronic density of one snapshot as a cube file with pp.x."""

import argparse
import logging
from math import prod
from pathlib import Path

from nearsight.jobs import make_parser, run_job
from nearsight.memory import check_memory, density_bytes
from nearsight.reference.espresso.options import add_launch_options, launch_of
from nearsight.reference.espresso.outputs import read_electronic_structure, xml_of
from nearsight.reference.espresso.scf import run_density

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--scf", type=Path, required=True, help="folder that run_scf made")
    add_launch_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="density (cube file, 1/bohr³)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write the cube file, whole."""
    points = prod(read_electronic_structure(xml_of(arguments.scf)).grid)
    check_memory("run_density", density_bytes(points), arguments.memory_MB, arguments.ranks)
    run_density(arguments.scf, launch_of(arguments), arguments.output)


if __name__ == "__main__":
    run_job(main, parse_arguments())

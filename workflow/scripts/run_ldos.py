"""Compute the local density of states of one snapshot: a Gaussian-smeared non-SCF run with pw.x, then pp.x."""

import argparse
import logging
from math import prod
from pathlib import Path

from nearsight.jobs import make_parser, run_job
from nearsight.reference.espresso.ldos import run_ldos
from nearsight.reference.espresso.options import (
    add_launch_options,
    add_pseudopotential_option,
    check_dft_memory,
    launch_of,
    pseudopotentials_of,
)
from nearsight.reference.pseudopotential import count_electrons
from nearsight.structures.gridded import read_gridded_structure
from nearsight.study.sections import Dft, Ldos

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="the snapshot of the SCF (extended XYZ)")
    add_pseudopotential_option(parser)
    parser.add_argument("--scf", type=Path, required=True, help="folder that run_scf made")
    parser.add_argument("--settings", type=Dft.from_json, required=True, help="section `dft`, as JSON")
    parser.add_argument("--ldos", type=Ldos.from_json, required=True, help="section `ldos`, as JSON")
    add_launch_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder for the cube files, one per energy")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write the cube files, all or none."""
    atoms, grid = read_gridded_structure(arguments.structure)
    settings, pseudopotentials = arguments.settings, pseudopotentials_of(arguments)
    bands = settings.bands(count_electrons(atoms.symbols, pseudopotentials))
    check_dft_memory("run_ldos", atoms, prod(grid), settings, bands, arguments)
    run_ldos(
        atoms,
        grid,
        pseudopotentials,
        arguments.scf,
        settings,
        arguments.ldos,
        launch_of(arguments),
        arguments.output,
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

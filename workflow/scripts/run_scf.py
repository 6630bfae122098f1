"""Run the self-consistent field of one snapshot with pw.x."""

import argparse
import logging
from math import prod
from pathlib import Path

from nearsight.jobs import make_parser, run_job
from nearsight.reference.espresso.options import (
    add_launch_options,
    add_pseudopotential_option,
    check_dft_memory,
    launch_of,
    pseudopotentials_of,
)
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.pseudopotential import count_electrons
from nearsight.structures.gridded import read_gridded_structure
from nearsight.study.sections import Dft

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="snapshot with grid_shape (extended XYZ)")
    add_pseudopotential_option(parser)
    parser.add_argument("--settings", type=Dft.from_json, required=True, help="section `dft`, as JSON")
    parser.add_argument("--temperature-K", type=float, required=True, help="temperature of the electrons in K")
    add_launch_options(parser)
    parser.add_argument("--outdir", type=Path, required=True, help="folder for QE's data")
    parser.add_argument("--output-text", type=Path, required=True, help="pw.x's output; its input is put beside it")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Run the SCF; nothing is left of one that did not converge."""
    atoms, grid = read_gridded_structure(arguments.structure)
    settings, pseudopotentials = arguments.settings, pseudopotentials_of(arguments)
    bands = settings.bands(count_electrons(atoms.symbols, pseudopotentials))
    check_dft_memory("run_scf", atoms, prod(grid), settings, bands, arguments)
    run_scf(
        atoms,
        grid,
        pseudopotentials,
        settings,
        arguments.temperature_K,
        launch_of(arguments),
        arguments.outdir,
        arguments.output_text,
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

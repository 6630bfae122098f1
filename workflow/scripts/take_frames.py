"""Take the snapshots of a trajectory from a file of frames."""

import argparse
import logging
from pathlib import Path

from nearsight.grids.plane_waves import fft_shape
from nearsight.jobs import make_parser, run_job
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.structures.io import read_structure, take_frames, write_structure

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--frames", required=True, help="file of frames, or FILE@INDEX as in ASE")
    parser.add_argument("--cell", type=Path, required=True, help="structure whose cell and elements they have")
    parser.add_argument("--ecutrho-Ry", type=float, required=True, help="density cutoff in Ry, which sets the grid")
    parser.add_argument(
        "--outputs", type=Path, nargs="+", required=True, help="structures (extended XYZ), one per snapshot"
    )
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write the first frames, as many as there are outputs, each with the grid of its fields."""
    cell = read_structure(arguments.cell)
    for path, atoms in zip(arguments.outputs, take_frames(arguments.frames, cell, len(arguments.outputs)), strict=True):
        atoms.info[GRID_SHAPE] = list(fft_shape(atoms.cell.array, arguments.ecutrho_Ry))
        write_structure(path, atoms)


if __name__ == "__main__":
    run_job(main, parse_arguments())

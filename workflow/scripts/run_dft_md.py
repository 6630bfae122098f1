"""Run one segment of Born-Oppenheimer molecular dynamics with pw.x."""

import argparse
import logging
from math import prod
from pathlib import Path

import numpy as np

from nearsight.grids.plane_waves import fft_shape
from nearsight.jobs import make_parser, run_job
from nearsight.reference.espresso.dynamics import run_segment
from nearsight.reference.espresso.inputs import default_bands
from nearsight.reference.espresso.options import (
    add_launch_options,
    add_pseudopotential_option,
    check_dft_memory,
    launch_of,
    pseudopotentials_of,
)
from nearsight.reference.pseudopotential import count_electrons
from nearsight.structures.io import read_structure, write_structure
from nearsight.study.sections import Md

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--start", type=Path, required=True, help="state to continue from: the last frame of a segment, or the start"
    )
    add_pseudopotential_option(parser)
    parser.add_argument("--settings", type=Md.from_json, required=True, help="section `md`, as JSON")
    parser.add_argument("--temperature-K", type=float, required=True, help="temperature of ions and electrons in K")
    add_launch_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="frames of the segment (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Run the segment and write its frames, whole."""
    settings = arguments.settings
    start, pseudopotentials = read_structure(f"{arguments.start}@-1"), pseudopotentials_of(arguments)
    grid = fft_shape(start.cell, settings.ecutrho_Ry or 4 * settings.ecutwfc_Ry)
    bands = default_bands(count_electrons(start.symbols, pseudopotentials))
    check_dft_memory("run_dft_md", start, prod(grid), settings, bands, arguments)
    frames = run_segment(
        start,
        pseudopotentials,
        settings,
        arguments.temperature_K,
        launch_of(arguments),
        arguments.output,
    )
    write_structure(arguments.output, frames)
    logger.info(
        "%d frames up to %.1f fs, mean temperature %.0f K",
        len(frames),
        frames[-1].info["time_fs"],
        np.mean([frame.info["temperature_K"] for frame in frames]),
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Select decorrelated snapshots from a trajectory."""

import argparse
import logging
from pathlib import Path

from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape
from nearsight.jobs import make_parser, run_job
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.structures.io import read_frames, write_structure
from nearsight.structures.selection import select_frames, times_of

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--trajectory", type=Path, required=True, help="trajectory (extended XYZ)")
    parser.add_argument("--time-step-fs", type=float, help="time from frame to frame, which is checked")
    parser.add_argument("--equilibration-fs", type=float, default=0.0, help="initial time without snapshots")
    parser.add_argument("--ecutrho-Ry", type=float, required=True, help="density cutoff in Ry, which sets the grid")
    parser.add_argument(
        "--outputs", type=Path, nargs="+", required=True, help="structures (extended XYZ), one per snapshot"
    )
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Choose as many frames as there are outputs and write each with the grid of its fields."""
    frames = read_frames(arguments.trajectory)
    step = arguments.time_step_fs
    if step is not None and len(frames) > 1:
        first, second, *_ = times_of(frames)
        found = second - first
        if abs(found - step) > 1e-6 * step:
            raise InputError(f"{arguments.trajectory}: expected frames {step} fs apart, got {found} fs.")
    selection = select_frames(frames, len(arguments.outputs), arguments.equilibration_fs)
    if selection.spacing_fs is not None:
        logger.info(
            "%.1f fs apart, largest velocity autocorrelation of a pair %.2f",
            selection.spacing_fs,
            selection.autocorrelation,
        )
    for path, index in zip(arguments.outputs, selection.indices, strict=True):
        frame = frames[index]
        frame.info[GRID_SHAPE] = list(fft_shape(frame.cell.array, arguments.ecutrho_Ry))
        if selection.spacing_fs is not None:
            frame.info["selection_spacing_fs"] = selection.spacing_fs
            frame.info["selection_velocity_autocorrelation"] = selection.autocorrelation
        write_structure(path, frame)
        logger.info("%s: frame at %.1f fs, %.0f K", path, frame.info["time_fs"], frame.get_temperature())


if __name__ == "__main__":
    run_job(main, parse_arguments())

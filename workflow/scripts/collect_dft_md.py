"""Join the segments of a trajectory."""

import argparse
import logging
from pathlib import Path

from nearsight.errors import InputError
from nearsight.jobs import make_parser, run_job
from nearsight.structures.io import read_frames, write_structure

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--segments", type=Path, nargs="+", required=True, help="files of the segments, in order")
    parser.add_argument("--output", type=Path, required=True, help="trajectory (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write all frames in order of time. Raises InputError where time does not grow from segment to segment."""
    frames = []
    for path in arguments.segments:
        segment = read_frames(path)
        if frames and not segment[0].info["time_fs"] > frames[-1].info["time_fs"]:
            raise InputError(
                f"{path}: expected frames after {frames[-1].info['time_fs']} fs, got {segment[0].info['time_fs']} fs. "
                "Run the segments again in order."
            )
        frames.extend(segment)
    write_structure(arguments.output, frames)
    logger.info("%d frames, %.1f to %.1f fs", len(frames), frames[0].info["time_fs"], frames[-1].info["time_fs"])


if __name__ == "__main__":
    run_job(main, parse_arguments())

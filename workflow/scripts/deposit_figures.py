"""Copy the paper's figures and their data to where they are kept, with a manifest of checksums."""

import argparse
import logging
from pathlib import Path

from nearsight.figures.deposit import copy_whole, write_deposit
from nearsight.jobs import make_parser, parse_settings, run_job

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="records (JSON) and tables (CSV)")
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="pictures and captions")
    parser.add_argument("--settings", type=parse_settings, required=True, help="of the study, as JSON")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest; the data are put beside it")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Copy pictures and captions to the folder above, data beside the manifest, and write it."""
    folder = arguments.manifest.parent
    for path in arguments.figures:
        copy_whole(path, folder.parent / path.name)
    write_deposit(arguments.data, folder, arguments.settings)
    total = sum(path.stat().st_size for path in arguments.data)
    logger.info("%d files, %.1f MiB, in %s", len(arguments.data), total / 2**20, folder)


if __name__ == "__main__":
    run_job(main, parse_arguments())

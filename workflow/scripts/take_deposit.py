"""Take the data of the paper's figures from a deposit, after checking their checksums."""

import argparse
from pathlib import Path

from nearsight.figures.deposit import take_deposit
from nearsight.jobs import make_parser, run_job


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--deposit", type=Path, required=True, help="folder with the data and their manifest")
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, help="records (JSON) and tables (CSV)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Check and copy."""
    take_deposit(arguments.deposit, arguments.outputs)


if __name__ == "__main__":
    run_job(main, parse_arguments())

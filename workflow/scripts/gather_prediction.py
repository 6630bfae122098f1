"""Join the batches of a prediction: exact Fermi level, density, DOS, band energy and entropy."""

import argparse
from pathlib import Path

from nearsight.grids.tiles import LARGEST_TILE
from nearsight.inference.gather import gather_batches
from nearsight.jobs import make_parser, run_job
from nearsight.memory import check_memory, gathering_bytes


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan made by plan_tiles")
    parser.add_argument("--batches", type=Path, nargs="+", required=True, help="files of all batches, in order")
    parser.add_argument("--output", type=Path, required=True, help="prediction (HDF5): density, DOS, energies")
    parser.add_argument("--dos", type=Path, required=True, help="density of states (CSV)")
    parser.add_argument("--observables", type=Path, required=True, help="observables with units (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Sum the DOS, find μ, correct and join the density, check its integral, write the files."""
    needed = gathering_bytes(LARGEST_TILE, len(arguments.batches))
    check_memory("gather_prediction", needed, arguments.memory_MB)
    gather_batches(
        arguments.plan, arguments.batches, arguments.output, dos=arguments.dos, observables=arguments.observables
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

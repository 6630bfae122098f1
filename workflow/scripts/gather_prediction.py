"""Join the batches of a prediction: exact Fermi level, density, DOS, band energy and entropy.

A metal's density follows its ions' waves longer than 10 Å, which no local model sees (`nearsight.energies.screening`).
"""

import argparse
from pathlib import Path

from nearsight.inference.gather import gather_batches
from nearsight.inference.plan import PredictionPlan, check_origin
from nearsight.jobs import add_model_options, make_parser, run_job
from nearsight.model.bundle import load_bundle


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan made by plan_tiles")
    parser.add_argument("--batches", type=Path, nargs="+", required=True, help="files of all batches, in order")
    add_model_options(parser)
    parser.add_argument("--no-screening", action="store_true", help="leave long waves as the model has them")
    parser.add_argument("--output", type=Path, required=True, help="prediction (HDF5): density, DOS, energies")
    parser.add_argument("--dos", type=Path, required=True, help="density of states (CSV)")
    parser.add_argument("--observables", type=Path, required=True, help="observables with units (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Sum the DOS, find μ, correct and join the density, check its integral, write the files."""
    model = load_bundle(arguments.model, arguments.weights)
    check_origin(arguments.plan, {arguments.weights: PredictionPlan.from_file(arguments.plan).model_sha256})
    gather_batches(
        arguments.plan,
        model,
        arguments.batches,
        arguments.output,
        screening=not arguments.no_screening,
        dos=arguments.dos,
        observables=arguments.observables,
        memory_MB=arguments.memory_MB,
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

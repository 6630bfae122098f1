"""Write the card of a study's model: settings from its files, errors from its evaluations, nothing typed by hand."""

import argparse
import logging
from pathlib import Path

from nearsight.errors import InputError
from nearsight.evaluation.card import make_card, read_snapshot
from nearsight.jobs import add_model_options, make_parser, run_job
from nearsight.models.card import write_card

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    add_model_options(parser)
    parser.add_argument("--references", type=Path, nargs="+", required=True, help="snapshot datasets (HDF5)")
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True, help="errors on them (JSON), same order")
    parser.add_argument("--json", type=Path, required=True, help="card for programs")
    parser.add_argument("--markdown", type=Path, required=True, help="card for people")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Check that the files are of one study and write both cards."""
    references, evaluations = arguments.references, arguments.evaluations
    if len(references) != len(evaluations):
        raise InputError(f"--evaluations: expected {len(references)}, one per reference, got {len(evaluations)}.")
    snapshots = [read_snapshot(*pair) for pair in zip(references, evaluations, strict=True)]
    card = make_card(arguments.study, arguments.model, arguments.weights, snapshots)
    write_card(card, arguments.json, arguments.markdown)
    logger.info("written: %s, %s", arguments.json, arguments.markdown)


if __name__ == "__main__":
    run_job(main, parse_arguments())

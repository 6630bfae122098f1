"""Measure what a model costs and how far its predictions of snapshots are from DFT."""

import argparse
import logging
import tempfile
from pathlib import Path

from nearsight.evaluation.variants import score_model
from nearsight.files import write_json
from nearsight.inference.run import ModelFiles
from nearsight.jobs import NAMED_FILES, add_model_options, make_parser, run_job

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    add_model_options(parser)
    parser.add_argument("--references", **NAMED_FILES, help="snapshot datasets (HDF5) by name")
    parser.add_argument("--threads", type=int, default=1, help="threads of the predictions")
    parser.add_argument("--output", type=Path, required=True, help="cost and errors (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Predict every snapshot, compare, write."""
    files = ModelFiles(arguments.model, arguments.weights)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output.parent, prefix=".predictions-") as folder:
        score = score_model(files, dict(arguments.references), Path(folder), arguments.threads)
    if score["failure"]:
        logger.warning("%s: no prediction of all snapshots: %s", arguments.model, score["failure"])
    write_json(arguments.output, score)


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Draw the training curve."""

import argparse
from pathlib import Path

import numpy as np

from nearsight.errors import InputError
from nearsight.figures.output import write_figure, write_table
from nearsight.figures.training import draw_training
from nearsight.jobs import add_figure_options, make_parser, run_job

COLUMNS = ("epoch", "train_loss", "validation_loss", "learning_rate")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--history", type=Path, required=True, help="history of the training (CSV)")
    add_figure_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read the history, write figure and table."""
    history = np.atleast_1d(np.genfromtxt(arguments.history, delimiter=",", names=True))
    missing = [name for name in COLUMNS if name not in (history.dtype.names or ())]
    if missing or history.size == 0:
        raise InputError(f"{arguments.history}: expected rows with {', '.join(COLUMNS)}; run train_model again.")
    table = {name: history[name] for name in COLUMNS}
    write_figure(draw_training(*table.values()), arguments.png, arguments.pdf)
    write_table({name: values.tolist() for name, values in table.items()}, arguments.csv)


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Compare the variants of a training on the validation snapshots: table, CSV, and errors against cost."""

import argparse
import logging
from pathlib import Path

from nearsight.evaluation.variants import COLUMNS, choose, summarise, tabulate
from nearsight.figures.output import write_figure, write_table
from nearsight.figures.tables import table_of
from nearsight.figures.variants import draw_variants
from nearsight.files import read_json, write_text
from nearsight.jobs import NAMED_FILES, add_figure_options, make_parser, parse_settings, run_job

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--scores", **NAMED_FILES, help="cost and errors (JSON) by variant, the study's own first")
    parser.add_argument("--changes", type=parse_settings, required=True, help="JSON: what differs, by variant")
    parser.add_argument("--markdown", type=Path, required=True, help="table")
    add_figure_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read the scores, write table and figure."""
    scores = {name: read_json(path) for name, path in arguments.scores}
    rows = [summarise(name, arguments.changes.get(name, {}), score) for name, score in scores.items()]
    write_table(table_of(COLUMNS, rows), arguments.csv)
    chosen = choose(rows)
    write_text(arguments.markdown, "\n".join([*tabulate(rows), "", chosen]) + "\n")
    write_figure(draw_variants(rows), arguments.png, arguments.pdf)
    logger.info("%s", chosen)


if __name__ == "__main__":
    run_job(main, parse_arguments())

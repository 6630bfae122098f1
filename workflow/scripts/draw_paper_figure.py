"""Draw one figure of the paper from its record and tables, and write its caption with the numbers that it shows."""

import argparse
import textwrap
from pathlib import Path

from nearsight.figures.captions import caption_of
from nearsight.figures.output import write_figure
from nearsight.figures.paper.accuracy import describe_accuracy, draw_accuracy
from nearsight.figures.paper.cost import describe_cost, draw_cost
from nearsight.figures.paper.similarity import describe_similarity, draw_similarity
from nearsight.figures.paper.stacking_fault import describe_stacking_fault, draw_stacking_fault
from nearsight.figures.tables import FigureData, read_figure_data
from nearsight.files import write_text
from nearsight.jobs import make_parser, run_job

#: How each figure is drawn, and what sentences say of it.
FIGURES = {
    "1": (draw_stacking_fault, describe_stacking_fault),
    "2": (draw_cost, describe_cost),
    "3": (draw_accuracy, describe_accuracy),
    "4": (draw_similarity, describe_similarity),
}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="record (JSON) and tables (CSV) of a figure"
    )
    parser.add_argument("--png", type=Path, required=True, help="figure")
    parser.add_argument("--pdf", type=Path, required=True, help="figure")
    parser.add_argument("--caption", type=Path, required=True, help="its caption and numbers (text)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read the data, write figure and caption."""
    data = read_figure_data(arguments.data)
    draw, describe = FIGURES[data.figure]
    write_figure(draw(data), arguments.png, arguments.pdf)
    write_text(arguments.caption, write_caption(data, describe(data)))


def write_caption(data: FigureData, sentences: list[str]) -> str:
    """The caption, then the numbers and what is missing, one per line."""
    parts = [textwrap.fill(caption_of(data.figure, data.settings), 110)]
    parts += ["\n".join(f"- {sentence}" for sentence in lines) for lines in (sentences, data.missing) if lines]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    run_job(main, parse_arguments())

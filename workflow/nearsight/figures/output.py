"""Writing figures and their tables."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nearsight.figures.style import STYLE
from nearsight.files import write_whole


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """An empty figure in the project's style, without pyplot's global state."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, png: Path, pdf: Path) -> None:
    """Write a figure as PNG and PDF (without dates, so that equal data give equal files)."""
    with rc_context(STYLE):
        with write_whole(png) as path:
            figure.savefig(path, format="png")
        with write_whole(pdf) as path:
            figure.savefig(path, format="pdf", metadata={"CreationDate": None})


def write_table(columns: Mapping[str, Sequence], target: Path) -> None:
    """Write equally long columns as CSV; a column's name carries its unit."""
    with write_whole(target) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))

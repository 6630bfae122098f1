"""What the paper's figures share: a sheet as wide as a column, panel letters, notices, error bars, a view of a cell."""

import math
import textwrap

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from nearsight.figures.style import COLUMN_STYLE, MM_PER_INCH, OKABE_ITO, COLUMN_WIDTH_mm

#: Colour and marker of every source of numbers.
SOURCES = {
    "Quantum ESPRESSO": {"color": OKABE_ITO["black"], "marker": "o"},
    "Nearsight": {"color": OKABE_ITO["vermilion"], "marker": "D"},
    "Nearsight, this study": {"color": OKABE_ITO["vermilion"], "marker": "D"},
    "Nearsight, measured apart": {"color": OKABE_ITO["orange"], "marker": "^"},
}

#: For what has no colour of its own, in order.
OTHERS = [OKABE_ITO[name] for name in ("blue", "green", "purple", "sky", "orange")]

#: Colour and marker of every kind of cell.
KINDS = {
    "training": {"color": OKABE_ITO["black"], "marker": "."},
    "bulk": {"color": OKABE_ITO["vermilion"], "marker": "D"},
    "temperature": {"color": OKABE_ITO["orange"], "marker": "^"},
    "strain": {"color": OKABE_ITO["blue"], "marker": "s"},
    "vacancy": {"color": OKABE_ITO["green"], "marker": "o"},
    "stacking fault": {"color": OKABE_ITO["purple"], "marker": "v"},
    "imported": {"color": OKABE_ITO["sky"], "marker": "P"},
}

#: Direction from which the viewer looks at a cell: azimuth and elevation in degrees; the faces +x, -y and +z are seen.
AZIMUTH, ELEVATION = -62.0, 16.0


def new_column_figure(height_mm: float) -> Figure:
    """An empty figure of column width."""
    with rc_context(COLUMN_STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH_mm / MM_PER_INCH, height_mm / MM_PER_INCH), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def mark_panel(axes: Axes, letter: str) -> None:
    """Write a panel's letter at the figure's left edge, above the panel, where a title would be."""
    if not axes.get_title():
        axes.set_title(" ", pad=2, fontsize=9)
    text = axes.annotate(
        letter, (0.012, 1.0), xycoords=(axes.figure.transSubfigure, axes.transAxes), xytext=(0, 2),
        textcoords="offset points", fontsize=9, fontweight="bold", ha="left", va="baseline",
    )  # fmt: skip
    text.set_in_layout(False)


def label_plainly(axis: Axis) -> None:
    """Labels such as 0.5 and 20 on a logarithmic axis, between the powers of ten too where there are few of these."""
    low, high = sorted(axis.get_view_interval())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if high / low < 30:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    else:
        axis.set_minor_formatter(NullFormatter())


def show_notice(axes: Axes, text: str) -> None:
    """Say in a panel why it is empty."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, textwrap.fill(text, 44), transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.35",
        bbox={"boxstyle": "round,pad=0.6", "facecolor": "0.96", "edgecolor": "0.7", "linewidth": 0.6},
    )  # fmt: skip


def with_error(value: float, error: float | None) -> str:
    """A number with its standard error to one digit, -0.33 ± 0.01, between two and four digits; without, two."""
    digits = 2 if not error else min(max(2, -math.floor(math.log10(error))), 4)
    text = f"{value:.{digits}f}".replace("-", "−")
    return text if error is None else f"{text} ± {error:.{digits}f}"


def view(points: np.ndarray) -> np.ndarray:
    """Points, shape (..., 3), as (right, up, nearness) for a viewer far away, in the same unit."""
    azimuth, elevation = np.radians([AZIMUTH, ELEVATION])
    towards = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )  # fmt: skip
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.asarray(points) @ np.stack([right, np.cross(towards, right), towards], axis=1)


def box_edges(edges_A: np.ndarray) -> np.ndarray:
    """Ends of the twelve edges of a rectangular box at the origin, shape (12, 2, 3)."""
    corners = np.array(np.meshgrid(*[[0, 1]] * 3, indexing="ij")).reshape(3, -1).T
    pairs = [
        (one, other) for one in range(8) for other in range(one) if np.abs(corners[one] - corners[other]).sum() == 1
    ]
    return corners[np.array(pairs)] * np.asarray(edges_A)

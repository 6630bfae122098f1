"""Figure 4: radial distribution functions, their differences from the training set's, and extrapolation scores."""

import matplotlib
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from nearsight.figures.paper.panels import mark_panel, new_column_figure, show_notice
from nearsight.figures.style import COLUMN_STYLE, OKABE_ITO
from nearsight.figures.tables import FigureData, rows_of

#: Distance between the curves of two sets.
SHIFT = 0.2

TRAINING = "training"


def draw_similarity(data: FigureData) -> Figure:
    """Curves above, differences in the middle, scores below, the sets in one order and colour."""
    with rc_context(COLUMN_STYLE):
        sets = list(dict.fromkeys(data.tables["rdf"]["set"]))
        figure = new_column_figure(120 + 3.2 * max(len(sets), 1))
        if not sets:
            show_notice(figure.subplots(), " ".join(data.missing) or "No structures were prepared.")
            return figure
        colors = colors_of(sets)
        ratios = [1.0, 0.75, 0.25 + 0.06 * len(sets)]
        upper, lower = figure.subfigures(2, 1, height_ratios=[sum(ratios[:2]), ratios[2]])
        rdf, difference = upper.subplots(2, 1, sharex=True, height_ratios=ratios[:2])
        draw_rdfs(rdf, difference, data, sets, colors)
        mark_panel(rdf, "a")
        mark_panel(difference, "b")
        scores = lower.subplots()
        draw_scores(scores, data, sets, colors)
        mark_panel(scores, "c")
    return figure


def colors_of(sets: list[str]) -> dict[str, object]:
    """Black for the training set, and shades that grow lighter with the size for the others."""
    others = [name for name in sets if name != TRAINING]
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.78, max(len(others), 1)))
    return {TRAINING: OKABE_ITO["black"], **dict(zip(others, map(tuple, shades), strict=True))}


def draw_rdfs(rdf: Axes, difference: Axes, data: FigureData, sets: list[str], colors: dict) -> None:
    """Curves shifted by SHIFT each, the training set at the bottom; dashed: how far the descriptors see."""
    for i, name in enumerate(sets):
        rows = rows_of(data.tables["rdf"], set=name)
        r = np.array([row["distance_A"] for row in rows])
        rdf.plot(r, np.array([row["rdf"] for row in rows]) + SHIFT * i, color=colors[name], linewidth=0.8)
        if name != TRAINING and rows[0]["difference"] is not None:
            values = np.array([row["difference"] for row in rows])
            difference.plot(r, values, color=colors[name], linewidth=0.7, label=name)
    cutoff = data.found["cutoff_A"]
    for axes in (rdf, difference):
        axes.axvline(cutoff, color="0.4", linestyle="--", linewidth=0.7)
    first = max(
        min((r for r, g in zip(data.tables["rdf"]["distance_A"], data.tables["rdf"]["rdf"], strict=True) if g)), 0.4
    )
    rdf.set(ylabel="g(r), shifted", xlim=(first - 0.3, r.max()), ylim=(-0.15, None))
    rdf.annotate(
        "cutoff", (cutoff, 0.97), xycoords=("data", "axes fraction"), xytext=(-2, 0), textcoords="offset points",
        rotation=90, ha="right", va="top", fontsize=6, color="0.4",
    )  # fmt: skip
    difference.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    difference.set(xlabel="r (Å)", ylabel="g(r) − training set's")


def label_of(data: FigureData, name: str) -> str:
    """A set's name with its number of cells."""
    cells = rows_of(data.tables["rdf"], set=name)[0]["cells"]
    return f"{name} ({cells:.0f} cell{'s' if cells > 1 else ''})"


def draw_scores(axes: Axes, data: FigureData, sets: list[str], colors: dict) -> None:
    """Both scores of every cell; 1 is as far from the training set as the validation snapshots are."""
    for column, marker, label in (("descriptor_score", "o", "descriptors"), ("rdf_score", "x", "radial distribution")):
        for i, name in enumerate(sets):
            values = [row[column] for row in rows_of(data.tables["scores"], set=name)]
            axes.plot(
                values, [i + (0.15 if marker == "x" else -0.15)] * len(values), marker, color=colors[name],
                markersize=3, markeredgewidth=0.8, markerfacecolor="none",
            )  # fmt: skip
        axes.plot([], [], marker, color="0.3", markersize=3, markerfacecolor="none", label=label)
    for value, text in ((1.0, "like validation"), (3.0, "warning"), (10.0, "refused")):
        axes.axvline(value, color="0.6", linestyle=":", linewidth=0.7, zorder=0)
        axes.annotate(
            text, (value, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=5.5, color="0.4"
        )  # fmt: skip
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set(xlim=(min(low, 0.5), max(high, 14.0)), xlabel="extrapolation score", ylim=(len(sets) - 0.4, -0.6))
    axes.set_yticks(range(len(sets)), [label_of(data, name) for name in sets], fontsize=5.5)
    for label, name in zip(axes.get_yticklabels(), sets, strict=True):
        label.set_color(colors[name])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower right", fontsize=5.5)


def describe_similarity(data: FigureData) -> list[str]:
    """Sentences with the numbers that the figure shows."""
    sentences = [f"The descriptors see {data.found['cutoff_A']:g} Å far."]
    for label, found in data.found["sets"].items():
        parts = []
        if "mean_rdf_difference" in found and label != TRAINING:
            parts.append(
                f"|Δg| {found['mean_rdf_difference']:.3f} in the mean, {found['largest_rdf_difference']:.2f} at most"
            )
        if "mean_descriptor_score" in found:
            parts.append(
                f"mean scores {found['mean_descriptor_score']:.2f} (descriptors) and {found['mean_rdf_score']:.2f} "
                "(radial distribution)"
            )
        if parts:
            sentences.append(f"{label}: {'; '.join(parts)}.")
    return sentences

"""Figure 3: errors by system size, and predicted against DFT energies relative to the mean of their set."""

from itertools import pairwise

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from nearsight.figures.paper.panels import (
    KINDS,
    OTHERS,
    SOURCES,
    label_plainly,
    mark_panel,
    new_column_figure,
    show_notice,
)
from nearsight.figures.style import COLUMN_STYLE
from nearsight.figures.tables import FigureData, rows_of

#: The error that the paper calls acceptable in solids.
ACCEPTABLE_meV = 10.0

NEARSIGHT = "Nearsight"


def draw_accuracy(data: FigureData) -> Figure:
    """Errors of the free energy and of the density above, parity below."""
    with rc_context(COLUMN_STYLE):
        figure = new_column_figure(150)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.0, 1.0])
        energy, density = upper.subplots(2, 1, sharex=True)
        if data.tables["errors"]["name"]:
            draw_errors(energy, density, data)
            upper.legend(*density.get_legend_handles_labels(), loc="outside upper center", ncols=3, columnspacing=1.0)
        else:
            show_notice(energy, " ".join(data.missing))
            density.set_axis_off()
        mark_panel(energy, "a")
        parity = lower.subplots()
        draw_parity(parity, data)
        mark_panel(parity, "b")
    return figure


def draw_errors(energy: Axes, density: Axes, data: FigureData) -> None:
    """Every cell a point; cells of one size stand beside each other."""
    rows = rows_of(data.tables["errors"])
    sizes = sorted({row["atoms"] for row in rows})
    for axes, column in ((energy, "free_energy_error_meV_per_atom"), (density, "density_mape_percent")):
        for kind, style in KINDS.items():
            chosen = [row for row in rows if row["kind"] == kind]
            if not chosen:
                continue
            axes.plot(
                [row["atoms"] * spread(row, rows) for row in chosen], [abs(row[column]) for row in chosen],
                linestyle="none", markeredgewidth=0, alpha=0.9, label=LABELS[kind], **style,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log")
        # a whole decade at least, so that errors of one size do not look like noise
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, high / 10) / 1.2, high * 1.3)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(FixedLocator([]))
    energy.axhline(ACCEPTABLE_meV, color="0.5", linewidth=0.7, linestyle=":")
    energy.annotate(
        "10 meV/atom", (0.995, ACCEPTABLE_meV), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=5.5, color="0.4",
    )  # fmt: skip
    low, high = energy.get_ylim()
    energy.set_ylim(low, max(high, 1.6 * ACCEPTABLE_meV))
    energy.set_ylabel("|ΔA| (meV/atom)")
    density.set(xlabel="number of atoms", ylabel="Δn, MAPE (%)")
    crowded = [size for size, following in pairwise(sizes) if following / size < 1.15]
    density.set_xticks(sizes, ["" if size in crowded else f"{size:.0f}" for size in sizes])
    density.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
    for axes in (energy, density):
        label_plainly(axes.yaxis)


LABELS = {
    "training": "training",
    "bulk": "bulk",
    "temperature": "other temperature",
    "strain": "strained",
    "vacancy": "vacancy",
    "stacking fault": "stacking fault",
    "imported": "imported",
}


def spread(row: dict, rows: list[dict]) -> float:
    """Factor by which a cell's point is shifted, so that cells of one size can be told apart."""
    beside = [other["name"] for other in rows if other["atoms"] == row["atoms"]]
    place = beside.index(row["name"]) - (len(beside) - 1) / 2
    return float(np.exp(0.018 * place))


def draw_parity(axes: Axes, data: FigureData) -> None:
    """Differences from the mean of the set: the diagonal is DFT."""
    rows = rows_of(data.tables["parity"])
    if not rows:
        show_notice(axes, data.missing[-1] if data.missing else "No energies were prepared.")
        return
    methods = list(dict.fromkeys(row["method"] for row in rows))
    bound = 1.08 * max(
        abs(row[name]) for row in rows for name in ("dft_relative_meV_per_atom", "predicted_relative_meV_per_atom")
    )
    ends = np.array([-bound, bound])
    axes.plot(ends, ends, color="0.6", linewidth=0.7, zorder=1)
    for i, method in enumerate(methods):
        chosen = [row for row in rows if row["method"] == method]
        style = SOURCES.get(method) or {"color": OTHERS[i % len(OTHERS)], "marker": "so^v"[i % 4]}
        line = data.found["lines"].get(method)
        label = method
        if line:
            label += f": slope {line['slope']:.2f}"
            label += "" if line["r_squared"] is None else f", R² {line['r_squared']:.3f}"
            x = np.array([row["dft_relative_meV_per_atom"] for row in chosen])
            x = np.array([x.min(), x.max()])
            axes.plot(x, line["intercept"] + line["slope"] * x, color=style["color"], linewidth=0.9, zorder=2)
        axes.plot(
            [row["dft_relative_meV_per_atom"] for row in chosen],
            [row["predicted_relative_meV_per_atom"] for row in chosen],
            linestyle="none", markeredgewidth=0, alpha=0.9, zorder=3, label=label, **style,
        )  # fmt: skip
    axes.set(
        xlim=ends, ylim=ends, aspect="equal",
        xlabel="DFT − mean of its set (meV/atom)", ylabel="predicted − mean (meV/atom)",
    )  # fmt: skip
    axes.legend(loc="upper left")


def describe_accuracy(data: FigureData) -> list[str]:
    """Sentences with the numbers that the figure shows."""
    sentences = [
        f"{label}, {found['cells']:.0f} cell{'s' if found['cells'] > 1 else ''}: free energy off by "
        f"{found['mean_absolute_free_energy_error_meV_per_atom']:.2f} meV/atom, density by "
        f"{found['mean_density_mape_percent']:.3f} % in the mean."
        for label, found in data.found["sets"].items()
    ]
    for method, line in data.found["lines"].items():
        quality = "" if line["r_squared"] is None else f", R² {line['r_squared']:.4f}"
        sentences.append(
            f"{method} against DFT: slope {line['slope']:.3f}{quality}, root-mean-square deviation "
            f"{line['root_mean_square_deviation_meV_per_atom']:.2f} meV/atom, {line['points']:.0f} cells."
        )
    return sentences

"""Errors of the variants of a training against what a prediction with each costs."""

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from nearsight.evaluation.variants import find_front, point_cost
from nearsight.figures.output import new_figure
from nearsight.figures.style import OKABE_ITO, PREDICTION, REFERENCE, STYLE
from nearsight.study.sections import OWN_MODEL


def draw_variants(rows: Sequence[Mapping]) -> Figure:
    """Mean absolute error of the validation snapshots against µs per grid point; front and study's own by name."""
    known = [row for row in rows if row["mae_meV_per_atom"] is not None]
    with rc_context(STYLE):
        figure = new_figure(6.0, 4.2)
        axes = figure.subplots()
        costs, errors = [point_cost(row) for row in known], [row["mae_meV_per_atom"] for row in known]
        front = find_front(costs, errors)
        axes.plot(
            [costs[i] for i in front], [errors[i] for i in front], color=OKABE_ITO["sky"], drawstyle="steps-post",
            label="none is cheaper and better",
        )  # fmt: skip
        axes.plot(costs, errors, "o", markersize=4, color=OKABE_ITO["sky"], label="variants, see the table")
        for i, (row, cost, error) in enumerate(zip(known, costs, errors, strict=True)):
            own = row["variant"] == OWN_MODEL
            if own or i in front:
                look = REFERENCE if own else PREDICTION
                axes.plot(cost, error, "o", markersize=5, color=look["color"])
                place = {"xytext": (0, -14) if own else (0, 5), "textcoords": "offset points"}
                axes.annotate(row["variant"], (cost, error), **place, rotation=0 if own else 40, fontsize=7)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.margins(x=0.1)
        axes.set_xlabel("processor time per grid point (µs)")
        axes.set_ylabel("free energy, mean absolute error (meV/atom)")
        axes.legend()
    return figure

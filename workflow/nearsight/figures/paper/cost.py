"""Figure 2: processor time against the number of atoms, and the rules that lie between."""

from itertools import pairwise

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path

from nearsight.figures.paper.panels import SOURCES, mark_panel, new_column_figure, show_notice, with_error
from nearsight.figures.style import COLUMN_STYLE, OKABE_ITO
from nearsight.figures.tables import FigureData, rows_of

#: Colour of every stage of the workflow.
STAGES = {
    "reference": OKABE_ITO["sky"],
    "descriptors": OKABE_ITO["green"],
    "training": OKABE_ITO["purple"],
    "inference": OKABE_ITO["orange"],
    "energies": OKABE_ITO["yellow"],
    "figures": "#BBBBBB",
}

ESPRESSO = "Quantum ESPRESSO"

#: Room for a link that passes a layer, in that of a rule.
PASSING_SHARE = 0.25


def draw_cost(data: FigureData) -> Figure:
    """Times above, workflow below."""
    with rc_context(COLUMN_STYLE):
        layers = int(max(data.tables["rules"]["layer"], default=0)) + 1
        figure = new_column_figure(66 + 6.4 * layers)
        upper, lower = figure.subfigures(2, 1, height_ratios=[66, 6.4 * layers])
        times, rules = upper.subplots(), lower.subplots()
        draw_times(times, data)
        mark_panel(times, "a")
        draw_rules(rules, data)
        found = [stage for stage in STAGES if stage in data.tables["rules"]["stage"]]
        patches = [Patch(facecolor=STAGES[stage], edgecolor="0.25", linewidth=0.5, label=stage) for stage in found]
        lower.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=5.5, columnspacing=0.7,
                     handlelength=0.9, handletextpad=0.4)  # fmt: skip
        mark_panel(rules, "b")
    return figure


def draw_times(axes: Axes, data: FigureData) -> None:
    """Every run a point; power laws over the sizes that were measured, dashed beyond them."""
    rows = rows_of(data.tables["times"])
    if not rows:
        show_notice(axes, " ".join(data.missing) or "No times were prepared.")
        return
    largest = max(row["atoms"] for row in rows)
    for source in dict.fromkeys(row["source"] for row in rows):
        chosen = [row for row in rows if row["source"] == source]
        style = SOURCES[source]
        law = data.found["fits"].get(source)
        exponent = f": exponent {with_error(law['exponent'], law['exponent_error'])}" if law else ""
        axes.plot(
            [row["atoms"] for row in chosen], [row["cpu_s"] / 3600 for row in chosen], linestyle="none", zorder=3,
            label=source + exponent, markeredgewidth=0, alpha=0.85, **style,
        )  # fmt: skip
        if law:
            x = np.geomspace(law["first"], law["last"], 30)
            axes.plot(x, law["factor"] * x ** law["exponent"] / 3600, color=style["color"], zorder=2)
            if source == ESPRESSO and largest > law["last"]:
                x = np.geomspace(law["last"], largest, 30)
                axes.plot(
                    x, law["factor"] * x ** law["exponent"] / 3600, "--", color=style["color"], linewidth=0.8,
                    zorder=1, label="its fit, beyond what was measured",
                )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="number of atoms", ylabel="processor time (core hours)")
    axes.legend(loc="upper left")
    if speed_up := data.found["speed_up"]:  # the caption has those in between
        ends = speed_up if len(speed_up) < 3 else (speed_up[0], speed_up[-1])
        lines = [f"{item['atoms']:,.0f} atoms: {item['factor']:,.1f}" for item in ends]
        axes.text(
            0.97, 0.04, "\n".join(["speed-up", *lines]), transform=axes.transAxes, ha="right", va="bottom", fontsize=6
        )  # fmt: skip


def draw_rules(axes: Axes, data: FigureData) -> None:
    """Rules in layers, from the first to the last, with the paths of their files."""
    rows = rows_of(data.tables["rules"])
    axes.set_axis_off()
    if not rows:
        show_notice(axes, "No rules were prepared.")
        return
    ways = ways_of(rows, rows_of(data.tables["links"]))
    places = place_rules(rows, ways)
    layers = int(max(row["layer"] for row in rows)) + 1
    fullest = max(sum(row["layer"] == layer for row in rows) for layer in range(layers))
    width, height = min(0.3, 0.92 / fullest), 0.56
    for way in ways:
        points = np.array([places[name] for name in way])
        points[0, 1] -= height / 2
        points[-1, 1] += height / 2
        if len(points) > 2:
            # straight through the layers between, beside their rules
            inner = [(x, y + side * height / 2) for x, y in points[1:-1] for side in (1, -1)]
            points = np.array([points[0], *inner, points[-1]])
        axes.add_patch(
            FancyArrowPatch(
                path=Path(points), arrowstyle="-|>", mutation_scale=5, linewidth=0.6, color="0.45", zorder=1,
                joinstyle="round",
            )
        )  # fmt: skip
    for row in rows:
        x, y = places[row["rule"]]
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.02",
                mutation_aspect=8, facecolor=STAGES.get(row["stage"], "0.9"), edgecolor="0.25", linewidth=0.5, zorder=2,
            )
        )  # fmt: skip
        axes.text(x, y, row["rule"].replace("_", " "), ha="center", va="center", fontsize=5.4, zorder=3)
    axes.set(xlim=(-0.01, 1.01), ylim=(-layers + 0.4, 0.6))


def ways_of(rows: list[dict], links: list[dict]) -> list[list]:
    """The links as lists of what they pass: the rule, a place of their own in every layer between, the follower."""
    layers = {row["rule"]: int(row["layer"]) for row in rows}
    return [
        [
            link["rule"],
            *(
                (layer, link["rule"], link["follower"])
                for layer in range(layers[link["rule"]] + 1, layers[link["follower"]])
            ),
            link["follower"],
        ]
        for link in links
    ]


def place_rules(rows: list[dict], ways: list[list]) -> dict[object, tuple[float, float]]:
    """Place of every rule, and of every link in the layers that it passes: across in the order of what comes before."""
    layers: dict[int, list] = {}
    for row in rows:
        layers.setdefault(int(row["layer"]), []).append(row["rule"])
    for way in ways:
        for passed in way[1:-1]:
            layers[passed[0]].append(passed)
    places: dict[object, tuple[float, float]] = {}
    for layer in sorted(layers):

        def wish(name: object) -> float:
            before = [places[one][0] for way in ways for one, other in pairwise(way) if other == name and one in places]
            return float(np.mean(before)) if before else 0.5

        names = sorted(layers[layer], key=lambda name: (wish(name), str(name)))
        shares = np.array([1.0 if isinstance(name, str) else PASSING_SHARE for name in names])
        for name, middle in zip(names, (np.cumsum(shares) - shares / 2) / shares.sum(), strict=True):
            places[name] = (float(middle), -float(layer))
    return places


def describe_cost(data: FigureData) -> list[str]:
    """Sentences with the numbers that the figure shows."""
    sentences = [
        f"{name}: time grows as N^{with_error(law['exponent'], law['exponent_error'])}, {law['points']:.0f} points "
        f"from {law['first']:,.0f} to {law['last']:,.0f} atoms."
        for name, law in data.found["fits"].items()
    ]
    sentences += [
        f"Speed-up at {item['atoms']:,.0f} atoms, where both were measured: {item['factor']:.1f}."
        for item in data.found["speed_up"]
    ]
    if beyond := data.found.get("beyond"):
        sentences.append(
            f"If the power law of Quantum ESPRESSO went on to {beyond['atoms']:,.0f} atoms, which nobody measured, the "
            f"speed-up there would be {beyond['factor']:.2g}."
        )
    kpoints = sorted({(row["atoms"], row["kpoints"]) for row in rows_of(data.tables["times"], source=ESPRESSO)})
    if kpoints:
        listed = ", ".join(f"{points:.0f} for {atoms:.0f} atoms" for atoms, points in kpoints)
        sentences.append(f"All cells of Quantum ESPRESSO have one k-set, folded: k-points {listed}.")
    return sentences

"""Figure 1: a cell with a stacking fault and the density that it changes; what it costs against the number of atoms."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nearsight.figures.paper.panels import (
    SOURCES,
    box_edges,
    label_plainly,
    mark_panel,
    new_column_figure,
    show_notice,
    view,
    with_error,
)
from nearsight.figures.style import COLUMN_STYLE, OKABE_ITO
from nearsight.figures.tables import FigureData, rows_of

#: Diameter of a drawn atom, Å.
ATOM_A = 2.0

#: Gain and loss of density.
GAIN, LOSS = OKABE_ITO["vermilion"], OKABE_ITO["blue"]

#: The exponent that a fault in a cube has: its area grows as N^(2/3).
EXPECTED_EXPONENT = -1 / 3


def draw_stacking_fault(data: FigureData) -> Figure:
    """Atoms above, density below them, energies at the bottom."""
    with rc_context(COLUMN_STYLE):
        drawn = data.found.get("drawn")
        figure = new_column_figure(150 if drawn else 85)
        parts = figure.subfigures(2, 1, height_ratios=[1.75, 1.0] if drawn else [0.4, 1.0])
        if drawn:
            upper, lower = parts[0].subfigures(2, 1, height_ratios=[1.0, 0.8])
            atoms = upper.subplots()
            draw_atoms(atoms, data)
            mark_panel(atoms, "a")
            left, right = lower.subplots(1, 2, width_ratios=[1.15, 1.0])
            draw_slice(left, data)
            draw_isosurfaces(right, data)
        else:
            axes = parts[0].subplots()
            show_notice(axes, data.missing[-1] if data.missing else "No density was prepared.")
            mark_panel(axes, "a")
        axes = parts[1].subplots()
        draw_energies(axes, data)
        mark_panel(axes, "b")
    return figure


def draw_atoms(axes: Axes, data: FigureData) -> None:
    """The faces of the cell towards the viewer, each atom a disc with the colour of its parameter."""
    table, edges = data.tables["atoms"], np.array(data.found["drawn"]["edges_A"])
    places = view(np.stack([table["x_A"], table["y_A"], table["z_A"]], axis=1))
    values = np.array(table["centrosymmetry_A2"])
    order = np.argsort(places[:, 2])
    sizes = np.full(len(order), ATOM_A)
    discs = EllipseCollection(
        sizes, sizes, np.zeros(len(order)), units="xy", offsets=places[order, :2], transOffset=axes.transData,
        cmap="cividis", edgecolors="0.15", linewidths=0.15, rasterized=True,
    )  # fmt: skip
    discs.set_array(values[order])
    discs.set_clim(0.0, float(np.percentile(values, 98)))
    axes.add_collection(discs)
    corners = view(box_edges(edges)).reshape(-1, 3)
    margin = ATOM_A
    axes.set(
        xlim=(corners[:, 0].min() - margin, corners[:, 0].max() + margin),
        ylim=(corners[:, 1].min() - margin, corners[:, 1].max() + margin),
        aspect="equal",
    )
    axes.set_axis_off()
    bar = axes.figure.colorbar(discs, cax=axes.inset_axes([1.06, 0.15, 0.035, 0.7]), extend="max")
    bar.set_label("centrosymmetry parameter (Å²)")
    axes.set_title(f"{data.found['drawn']['atoms']:,} atoms with a stacking fault", pad=3)


def draw_slice(axes: Axes, data: FigureData) -> None:
    """The change of the density in a plane through the fault, normal to its layers."""
    table = data.tables["slice"]
    y, z = np.unique(table["y_A"]), np.unique(table["z_A"])
    values = np.array(table["density_change_per_A3"]).reshape(y.size, z.size)
    bound = float(np.abs(values).max()) or 1.0
    image = axes.pcolormesh(y, z, values.T, cmap="RdBu_r", vmin=-bound, vmax=bound, shading="gouraud", rasterized=True)
    axes.set(xlabel="y (Å)", ylabel="z from the fault (Å)", aspect="equal")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.9, aspect=22, pad=0.03)
    bar.set_label("Δn (1/Å³)")


def draw_isosurfaces(axes: Axes, data: FigureData) -> None:
    """Surfaces of equal gain and loss of density, lit from the upper left."""
    table, drawn = data.tables["isosurface"], data.found["drawn"]
    axes.set_axis_off()
    edges = view(box_edges(np.array(drawn["block_A"])))
    axes.add_collection(LineCollection(edges[..., :2], colors="0.6", linewidths=0.5, zorder=0))
    if table["sign"]:
        names = [f"{axis}{corner}_A" for corner in (1, 2, 3) for axis in "xyz"]
        triangles = np.stack([table[name] for name in names], axis=1).reshape(-1, 3, 3)
        seen = view(triangles)
        normals = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        # a surface has the same light on both of its sides
        light = np.abs(normals @ np.array([-0.35, 0.45, 0.82]))
        colors = np.array([to_rgb(GAIN if sign > 0 else LOSS) for sign in table["sign"]])
        shade = (0.4 + 0.6 * light)[:, None]
        order = np.argsort(seen[:, :, 2].mean(axis=1))
        faces = PolyCollection(
            seen[order][:, :, :2], facecolors=(shade * colors + 0.12 * (1 - shade))[order].clip(0, 1),
            edgecolors="none", linewidths=0, antialiaseds=False, rasterized=True,
        )  # fmt: skip
        axes.add_collection(faces)
    corners = edges.reshape(-1, 3)
    axes.set(
        xlim=(corners[:, 0].min() - 0.5, corners[:, 0].max() + 0.5),
        ylim=(corners[:, 1].min() - 0.5, corners[:, 1].max() + 0.5),
        aspect="equal",
    )
    axes.set_title(f"Δn = ±{drawn['isosurface_level_per_A3']:.2g} 1/Å³", pad=2)


def draw_energies(axes: Axes, data: FigureData) -> None:
    """The energy that the fault costs per atom against N, with the power law and the exponent -1/3."""
    rows = rows_of(data.tables["energies"])
    if not rows:
        show_notice(axes, data.missing[0] if data.missing else "No energies were prepared.")
        return
    for source in ("Nearsight", "Quantum ESPRESSO"):
        for same, filled in ((1.0, True), (0.0, False)):
            chosen = [row for row in rows if row["source"] == source and row["same_shape"] == same]
            if chosen:
                style = SOURCES[source]
                axes.plot(
                    [row["atoms"] for row in chosen],
                    [abs(row["difference_meV_per_atom"]) for row in chosen],
                    linestyle="none", zorder=3, markeredgewidth=0.8, **style,
                    markerfacecolor=style["color"] if filled else "white",
                    label=source if filled else f"{source}, cell of another shape",
                )  # fmt: skip
    sizes = np.array(sorted({row["atoms"] for row in rows}), dtype=float)
    law = data.found.get("laws", {}).get("Nearsight")
    if law:
        x = np.geomspace(law["first"], law["last"], 50)
        axes.plot(
            x, law["factor"] * x ** law["exponent"], color=SOURCES["Nearsight"]["color"], zorder=1,
            label=f"fit, exponent {with_error(law['exponent'], law['exponent_error'])}",
        )  # fmt: skip
        middle = np.sqrt(law["first"] * law["last"])
        x = np.geomspace(sizes.min(), sizes.max(), 50)
        axes.plot(
            x, law["factor"] * middle ** law["exponent"] * (x / middle) ** EXPECTED_EXPONENT, "--", color="0.45",
            linewidth=0.8, zorder=2, label="exponent −1/3",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="number of atoms N", ylabel="|ΔA| / N (meV/atom)")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.6, high * 2.2)
    label_plainly(axes.yaxis)
    if sizes.size == 1:
        axes.set_xlim(sizes[0] / 3, sizes[0] * 3)
    axes.legend(loc="upper right")
    lines = ["fault energy (mJ/m²)"]
    largest = [row for row in rows if row["source"] == "Nearsight"][-1:]
    espresso = [row for row in rows if row["source"] == "Quantum ESPRESSO"][:1]
    for row in (*largest, *espresso):
        lines.append(f"{row['source']}, {row['atoms']:,.0f} atoms: {row['fault_energy_mJ_per_m2']:.0f}")
    lines += [f"{label}: {value:.0f}" for label, value in data.found.get("literature_mJ_per_m2", {}).items()]
    axes.text(0.03, 0.05, "\n".join(lines), transform=axes.transAxes, fontsize=6, va="bottom")


def describe_stacking_fault(data: FigureData) -> list[str]:
    """Sentences with the numbers that the figure shows."""
    sentences = []
    for source, law in data.found.get("laws", {}).items():
        sentences.append(
            f"{source}: the energy difference per atom falls with the exponent "
            f"{with_error(law['exponent'], law['exponent_error'])} (expected −1/3), fitted to {law['points']:.0f} "
            f"cells of {law['first']:,.0f} to {law['last']:,.0f} atoms."
        )
    for row in rows_of(data.tables["energies"]):
        sentences.append(
            f"{row['source']}, {row['atoms']:,.0f} atoms: {row['difference_meV_per_atom']:.3f} meV/atom, "
            f"{row['fault_energy_mJ_per_m2']:.1f} mJ/m² for each of the two faults."
        )
    sentences += [
        f"Literature: {value:g} mJ/m² ({label})." for label, value in data.found.get("literature_mJ_per_m2", {}).items()
    ]
    if drawn := data.found.get("drawn"):
        sentences.append(
            f"Panel a shows {drawn['name']}, {drawn['atoms']:,} atoms; the surfaces are at "
            f"±{drawn['isosurface_level_per_A3']:.3g} 1/Å³."
        )
    return sentences

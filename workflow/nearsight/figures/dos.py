"""Density of states per atom: DFT, prediction, and their difference."""

from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from nearsight.figures.output import new_figure
from nearsight.figures.style import PREDICTION, REFERENCE, SECONDARY, STYLE


@dataclass(frozen=True)
class DosCurve:
    """One structure's DOS per atom in 1/eV at `energies_eV`; reference None where there is no DFT."""

    name: str
    energies_eV: np.ndarray
    prediction: np.ndarray
    fermi_energy_eV: float
    reference: np.ndarray | None = None


def draw_dos(curves: list[DosCurve]) -> Figure:
    """One column per structure: DOS above, prediction minus DFT below; the Fermi level is the dotted line."""
    with rc_context(STYLE):
        figure = new_figure(3.4 * len(curves), 3.8)
        axes = figure.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
        for (top, bottom), curve in zip(axes.T, curves, strict=True):
            if curve.reference is not None:
                top.plot(curve.energies_eV, curve.reference, **REFERENCE)
                bottom.plot(curve.energies_eV, curve.prediction - curve.reference, **SECONDARY)
            else:
                bottom.text(0.5, 0.5, "no DFT at this size", ha="center", va="center", transform=bottom.transAxes)
            top.plot(curve.energies_eV, curve.prediction, linestyle="--", **PREDICTION)
            bottom.axhline(0, color="0.6", linewidth=0.6)
            for axis in (top, bottom):
                axis.axvline(curve.fermi_energy_eV, color="0.5", linestyle=":", linewidth=1)
            top.annotate(
                "Fermi level",
                (curve.fermi_energy_eV, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(-3, 0),
                textcoords="offset points",
                rotation=90,
                ha="right",
                va="bottom",
                fontsize=7,
                color="0.4",
            )
            top.set_title(curve.name, fontsize=9)
            top.legend(loc="upper left")
            bottom.set_xlabel("energy (eV)")
        axes[0, 0].set_ylabel("DOS (1/eV/atom)")
        axes[1, 0].set_ylabel("difference\n(1/eV/atom)")
        axes[0, 0].set_ylim(bottom=0)
    return figure


def tabulate_dos(curves: list[DosCurve]) -> dict[str, list]:
    """The curves as a long table; an empty cell where there is no reference."""
    table = {"structure": [], "energy_eV": [], "dft_dos_per_eV_per_atom": [], "predicted_dos_per_eV_per_atom": []}
    for curve in curves:
        count = curve.energies_eV.size
        table["structure"] += [curve.name] * count
        table["energy_eV"] += curve.energies_eV.round(6).tolist()
        table["dft_dos_per_eV_per_atom"] += [""] * count if curve.reference is None else curve.reference.tolist()
        table["predicted_dos_per_eV_per_atom"] += curve.prediction.tolist()
    return table

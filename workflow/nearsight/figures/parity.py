"""Parity of band energies: prediction against DFT, beside the training set's mean."""

from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from nearsight.figures.output import new_figure
from nearsight.figures.style import STYLE

MARKERS = {"train": ("o", "#000000"), "validation": ("s", "#0072B2"), "test": ("D", "#D55E00")}


@dataclass(frozen=True)
class BandEnergyPair:
    """Band energies of one snapshot in eV per atom."""

    name: str
    role: str
    dft: float
    prediction: float
    reference_ldos: float


def draw_parity(pairs: list[BandEnergyPair], training_mean_eV_per_atom: float) -> Figure:
    """Prediction against DFT above the diagonal's neighbourhood; right: errors in meV per atom."""
    with rc_context(STYLE):
        figure = new_figure(6.8, 3.2)
        left, right = figure.subplots(1, 2)
        dft = np.array([pair.dft for pair in pairs])
        everything = np.concatenate([dft, [pair.prediction for pair in pairs], [training_mean_eV_per_atom]])
        margin = 0.15 * max(np.ptp(everything), 1e-3)
        ends = [everything.min() - margin, everything.max() + margin]
        left.plot(ends, ends, color="0.6", linewidth=0.8)
        left.axhline(training_mean_eV_per_atom, color="0.4", linestyle=":", linewidth=1, label="mean of training set")
        for role, (marker, color) in MARKERS.items():
            chosen = [pair for pair in pairs if pair.role == role]
            if chosen:
                left.plot(
                    [pair.dft for pair in chosen], [pair.prediction for pair in chosen], marker, color=color,
                    markersize=5, label=role,
                )  # fmt: skip
        left.set(xlim=ends, ylim=ends, aspect="equal")
        left.ticklabel_format(useOffset=False)
        left.tick_params(axis="x", labelrotation=30)
        left.set_xlabel("band energy, DFT (eV/atom)")
        left.set_ylabel("band energy, prediction (eV/atom)")
        left.legend()
        positions = np.arange(len(pairs))
        total = [1e3 * (pair.prediction - pair.dft) for pair in pairs]
        method = [1e3 * (pair.reference_ldos - pair.dft) for pair in pairs]
        colors = [MARKERS[pair.role][1] for pair in pairs]
        right.bar(positions, total, width=0.55, color=colors)
        right.plot(positions, method, "_", color="0.5", markersize=16, markeredgewidth=2, label="from the DFT's LDOS")
        right.axhline(0, color="0.6", linewidth=0.6)
        right.set_xticks(positions, [pair.name for pair in pairs], rotation=30)
        right.set_ylabel("prediction − DFT (meV/atom)")
        right.legend()
    return figure


def tabulate_parity(pairs: list[BandEnergyPair]) -> dict[str, list]:
    """One row per snapshot."""
    return {
        "structure": [pair.name for pair in pairs],
        "role": [pair.role for pair in pairs],
        "dft_band_energy_eV_per_atom": [pair.dft for pair in pairs],
        "predicted_band_energy_eV_per_atom": [pair.prediction for pair in pairs],
        "reference_ldos_band_energy_eV_per_atom": [pair.reference_ldos for pair in pairs],
    }

"""Models compared on one set of snapshots: what each costs, and how far its predictions are from DFT."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from ase import Atoms

from nearsight.datasets import atoms_of, open_dataset, settings_of
from nearsight.energies import FreeEnergy
from nearsight.errors import NearsightError, UnknownStructureError
from nearsight.evaluation.errors import mean_absolute_percentage_error
from nearsight.evaluation.summary import render_table
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import split_compactly
from nearsight.inference.plan import PredictionPlan
from nearsight.inference.predict import prepare_predictor
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.study.sections import Inference

#: Of the comparison: errors of the free energy, of the density its mean absolute deviation; refused: as extrapolation.
COLUMNS = (
    *("variant", "changes", "training_s", "descriptors_us", "network_us", "cells", "refused", "failure"),
    *("mae_meV_per_atom", "mean_error_meV_per_atom", "scatter_meV_per_atom", "density_percent"),
)

#: The cost is measured on so many grid points, so many times.
TIMED_POINTS = 50_000
REPETITIONS = 5


def score_snapshot(files: ModelFiles, reference: Path, folder: Path, threads: int) -> dict:
    """Errors of a prediction from the atoms against a snapshot dataset; folder: where the prediction goes.

    A structure that the model refuses, because it cannot know it, is predicted all the same and marked. Raises
    NearsightError where there is no prediction, as of a density that is negative.
    """
    with open_dataset(reference) as dataset:
        atoms, settings = atoms_of(dataset), settings_of(dataset)
        density = dataset["density"].values
        dft = {name: float(dataset[name]) for name in ("total_free_energy", "band_energy", "fermi_energy")}
    how = {"shape": density.shape, "temperature_K": settings["temperature_K"]}
    energies, bar, refused = predict_anyway(files, atoms, folder, threads, **how)
    with open_dataset(folder / "prediction.h5") as prediction:
        error = mean_absolute_percentage_error(prediction["density"].values, density)
    per_atom = 1e3 / len(atoms)
    return {
        "atoms": len(atoms),
        "dft_eV_per_atom": dft["total_free_energy"] / len(atoms),
        "free_energy_error_meV_per_atom": per_atom * (energies.total - dft["total_free_energy"]),
        "band_energy_error_meV_per_atom": per_atom * (energies.band - dft["band_energy"]),
        "fermi_energy_error_meV": 1e3 * (energies.fermi_energy - dft["fermi_energy"]),
        "density_mape_percent": error,
        "refused": refused,
        "error_bar_meV_per_atom": None if bar is None else 1e3 * bar,
    }


def predict_anyway(
    files: ModelFiles, atoms: Atoms, folder: Path, threads: int, **how: object
) -> tuple[FreeEnergy, float | None, bool]:
    """Energies of a prediction, its error bar in eV/atom if the model has them, and whether the model refuses it.

    A structure that the model cannot know is predicted all the same. how: grid and temperature as `predict_structure`
    takes them.
    """
    inference, refused = Inference(batches=1, threads=threads), False
    try:
        energies = predict_structure(files, atoms, folder, inference, alone(), overwrite=True, **how)
    except UnknownStructureError:
        refused = True
        accepting = inference.model_copy(update={"accept_extrapolation": True})
        energies = predict_structure(files, atoms, folder, accepting, alone(), overwrite=True, **how)
    return energies, PredictionPlan.from_file(folder / "plan.json").energy_deviation_eV_per_atom, refused


def measure_cost(files: ModelFiles, reference: Path) -> dict[str, float]:
    """Processor time of a grid point in µs on one thread, descriptors and network, and the training's seconds."""
    with open_dataset(reference) as dataset:
        atoms, shape = atoms_of(dataset), dataset["density"].shape
    grid = RealGrid(atoms.cell, shape)
    model = files.load(None)
    ready = prepare_predictor(model, atoms, grid, backend="native", precision="float32", threads=1)
    region = split_compactly(grid.whole, TIMED_POINTS)[0]
    projection = np.ones((model.energy_grid.count, 3))
    spent = [ready.predict(region, projection).seconds for _ in range(REPETITIONS)]
    points = np.prod(region.shape)
    return {
        "training_s": model.training["seconds"],
        "descriptors_us": 1e6 * median(one.descriptors for one in spent) / points,
        "network_us": 1e6 * median(one.network for one in spent) / points,
    }


def score_model(files: ModelFiles, references: Mapping[str, Path], folder: Path, threads: int) -> dict:
    """Cost and errors by snapshot of one model; `failure`: the message where it does not predict one of them."""
    scores: dict[str, dict] = {}
    failure = None
    for name, reference in references.items():
        try:
            scores[name] = score_snapshot(files, reference, folder / name, threads)
        except NearsightError as error:
            failure = f"{name}: {error}"
            break
    return {"cost": measure_cost(files, next(iter(references.values()))), "snapshots": scores, "failure": failure}


def summarise(name: str, changes: Mapping, score: Mapping) -> dict:
    """A row of the comparison: cost, and errors over the snapshots that the model does not refuse; see COLUMNS."""
    taken = [one for one in score["snapshots"].values() if not one["refused"]]
    row = {"variant": name, "changes": describe_changes(changes), **score["cost"]}
    row |= {"cells": len(taken), "refused": len(score["snapshots"]) - len(taken), "failure": score["failure"]}
    if taken and score["failure"] is None:
        errors = np.array([one["free_energy_error_meV_per_atom"] for one in taken])
        row |= {
            "mae_meV_per_atom": np.abs(errors).mean(),
            "mean_error_meV_per_atom": errors.mean(),
            "scatter_meV_per_atom": errors.std(),
            "density_percent": np.mean([one["density_mape_percent"] for one in taken]),
        }
    return {column: _rounded(row.get(column)) for column in COLUMNS}


def _rounded(value: object) -> object:
    return round(float(value), 4) if isinstance(value, float) else value


def describe_changes(changes: Mapping, prefix: str = "") -> str:
    """Nested keys and their values in words: `training.epochs = 4, snapshots = 2`."""
    parts = []
    for key, value in changes.items():
        if isinstance(value, Mapping):
            parts.append(describe_changes(value, f"{prefix}{key}."))
        elif value is not None:
            parts.append(f"{prefix}{key} = {value}")
    return ", ".join(filter(None, parts))


def find_front(costs: Sequence[float], errors: Sequence[float]) -> list[int]:
    """Numbers of the models of which none is both cheaper and better, cheapest first."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], errors[i]))
    front: list[int] = []
    for i in order:
        if not front or errors[i] < errors[front[-1]]:
            front.append(i)
    return front


def choose(rows: Sequence[Mapping]) -> str:
    """Which models a user chooses from, in words: those of the front."""
    known = [row for row in rows if row["mae_meV_per_atom"] is not None]
    if not known:
        return "No variant predicts all validation snapshots."
    front = find_front([point_cost(row) for row in known], [row["mae_meV_per_atom"] for row in known])
    names = ", ".join(known[i]["variant"] for i in front)
    return (
        f"None is both cheaper and better than these, from the cheapest to the best: {names}. Errors of few validation "
        "snapshots differ by chance: what is within their scatter is no difference."
    )


def point_cost(row: Mapping) -> float:
    """Processor time of a grid point, µs."""
    return row["descriptors_us"] + row["network_us"]


def tabulate(rows: Sequence[Mapping]) -> list[str]:
    """The comparison as a table of Markdown, from the rows of `summarise`."""
    header = ["variant", "changes", "training (s)", "µs per point: descriptors, network"]
    header += ["free energy: MAE (mean, scatter), meV/atom", "density (%)"]
    lines = []
    for row in rows:
        cost = f"{row['descriptors_us']:.2f}, {row['network_us']:.2f}"
        errors, density = "no prediction", ""
        if row["mae_meV_per_atom"] is not None:
            spread = f"{row['mean_error_meV_per_atom']:+.2f}, {row['scatter_meV_per_atom']:.2f}"
            errors, density = f"{row['mae_meV_per_atom']:.2f} ({spread})", f"{row['density_percent']:.2f}"
        lines.append([row["variant"], row["changes"] or "", f"{row['training_s']:.0f}", cost, errors, density])
    return render_table(header, lines).splitlines()

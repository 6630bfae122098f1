"""What the ingredients of a training gain: variants of a study's model, each on its validation and test snapshots.

Run the study first (snakemake --cores 2 --configfile config/beryllium.yaml). Every variant is trained on the study's
datasets by its own job and predicts every snapshot from the atoms; those that are there are kept: run it again to go
on. Decide by the validation snapshots; the test snapshots' errors stand beside them to be reported, not to choose by.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tables import fill_page
from tqdm import tqdm

from nearsight.datasets import atoms_of, open_dataset, settings_of
from nearsight.errors import InputError, UnknownStructureError
from nearsight.evaluation.errors import mean_absolute_percentage_error
from nearsight.evaluation.summary import render_table
from nearsight.files import write_whole
from nearsight.inference.plan import PredictionPlan
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.study.reading import load_study
from nearsight.study.sections import Inference, Study

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow/scripts"


@dataclass(frozen=True)
class Variant:
    """Changes to the study: of the sections `training` and `descriptors`, or fewer training snapshots.

    Of these so many, evenly from all, or by name.
    """

    changes: Mapping = field(default_factory=dict)
    descriptors: Mapping = field(default_factory=dict)
    snapshots: int | None = None
    names: tuple[str, ...] | None = None


#: The study's own model is the first.
VARIANTS = {
    "as in the study": Variant(),
    "last layer not corrected": Variant({"refit_last_layer": False}),
    "loss on the LDOS alone": Variant({"projection_loss": 0.0}),
    "neither": Variant({"projection_loss": 0.0, "refit_last_layer": False}),
    "1 snapshot": Variant(snapshots=1),
    "2 snapshots": Variant(snapshots=2),
    "4 snapshots": Variant(snapshots=4),
    "8 snapshots": Variant(snapshots=8),
}

COLUMNS = (
    "variant", "snapshot", "role", "atoms", "dft_eV_per_atom", "free_energy_error_meV_per_atom",
    "band_energy_error_meV_per_atom", "fermi_energy_error_meV", "density_mape_percent", "refused",
    "error_bar_meV_per_atom",
)  # fmt: skip


def main() -> None:
    """Train and evaluate the variants; write the errors of every snapshot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/beryllium.yaml"), help="a study that was run")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="those to look at")
    parser.add_argument("--threads", type=int, default=2, help="threads of training and prediction")
    parser.add_argument("--output", type=Path, default=Path("docs/beryllium.csv"), help="table (CSV)")
    parser.add_argument("--page", type=Path, help="page whose tables to write: states, variants if several")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    rows = []
    for name in arguments.variants:
        folder = Path("results") / study.study / "variants" / name.replace(" ", "-")
        model = train_variant(study, VARIANTS[name], folder, arguments.threads)
        for snapshot in tqdm(study.snapshot_names("validation", "test"), desc=name, disable=None):
            rows.append([name, *evaluate(study, model, snapshot, folder, arguments.threads)])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.output) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    tables = {"states": states_table(rows)}
    if len(arguments.variants) > 1:
        tables["variants"] = variants_table(rows)
    print(*tables.values(), sep="\n\n")
    if arguments.page is not None:
        fill_page(arguments.page, {name: text.splitlines() for name, text in tables.items()})


def train_variant(study: Study, variant: Variant, folder: Path, threads: int) -> ModelFiles:
    """The variant's model, trained where it is not there yet."""
    results = Path("results") / study.study
    if variant == Variant():
        return ModelFiles.find(results / "model")
    if not (folder / "model.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**json.loads(study.training.to_json("threads")), **variant.changes}
        chosen = list(variant.names or study.snapshot_names("train"))
        if variant.snapshots is not None:
            if variant.snapshots >= len(chosen):
                raise InputError(
                    f"study: expected more than {variant.snapshots} training snapshots, got {len(chosen)}."
                )
            chosen = [chosen[round(i)] for i in np.linspace(0, len(chosen) - 1, variant.snapshots)]
        validation = study.snapshot_names("validation")
        folders = {"reference": results / "reference", "descriptors": results / "descriptors"}
        if variant.descriptors:
            folders["descriptors"] = compute_descriptors(study, variant, [*chosen, *validation], folder, threads)
        command = [sys.executable, SCRIPTS / "train_model.py"]
        for role, names in (("train", chosen), ("validation", validation)):
            for kind, datasets in folders.items():
                command += [f"--{role}-{kind}", *(datasets / f"{name}.h5" for name in names)]
        for element in study.pseudopotentials:
            command += ["--pseudopotential", f"{element}={results / 'pseudo' / element}.upf"]
        command += ["--settings", json.dumps(settings), "--seed", str(study.seed), "--threads", str(threads)]
        command += ["--checkpoint", folder / "checkpoint.safetensors", "--weights", folder / "model.safetensors"]
        command += ["--bundle", folder / "model.json", "--history", folder / "history.csv"]
        subprocess.run(list(map(str, command)), check=True)
    return ModelFiles.find(folder)


def compute_descriptors(study: Study, variant: Variant, names: Sequence[str], folder: Path, threads: int) -> Path:
    """Folder of the variant's descriptors of these snapshots, computed where they are not there yet."""
    settings = {**json.loads(study.descriptors.to_json("ranks", "threads")), **variant.descriptors}
    for name in names:
        output = folder / "descriptors" / f"{name}.h5"
        if not output.exists():
            output.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, SCRIPTS / "compute_descriptors.py", "--settings", json.dumps(settings)]
            command += ["--structure", Path("results") / study.study / "structures" / f"{name}.extxyz"]
            command += ["--elements", *study.pseudopotentials, "--threads", threads, "--output", output]
            subprocess.run(list(map(str, command)), check=True)
    return folder / "descriptors"


def evaluate(study: Study, model: ModelFiles, snapshot: str, folder: Path, threads: int) -> list:
    """One row of the table without the variant's name: errors of a prediction against DFT.

    Structures that a prediction refuses, because the model cannot know them, are predicted all the same and marked.
    """
    with open_dataset(Path("results") / study.study / "reference" / f"{snapshot}.h5") as reference:
        atoms, settings = atoms_of(reference), settings_of(reference)
        density = reference["density"].values
        dft = {name: float(reference[name]) for name in ("total_free_energy", "band_energy", "fermi_energy")}
    target = folder / "predictions" / snapshot
    how = {"shape": density.shape, "temperature_K": settings["temperature_K"], "overwrite": True}
    inference, refused = Inference(batches=1, threads=threads), False
    try:
        energies = predict_structure(model, atoms, target, inference, alone(), **how)
    except UnknownStructureError:
        refused = True
        accepting = inference.model_copy(update={"accept_extrapolation": True})
        energies = predict_structure(model, atoms, target, accepting, alone(), **how)
    with open_dataset(target / "prediction.h5") as prediction:
        error = mean_absolute_percentage_error(prediction["density"].values, density)
        band, level = float(prediction["band_energy"]), float(prediction["fermi_energy"])
    bar = PredictionPlan.from_file(target / "plan.json").energy_deviation_eV_per_atom
    per_atom = 1e3 / len(atoms)
    return [
        snapshot, study.role(snapshot), len(atoms), f"{dft['total_free_energy'] / len(atoms):.6f}",
        f"{per_atom * (energies.total - dft['total_free_energy']):.3f}",
        f"{per_atom * (band - dft['band_energy']):.3f}", f"{1e3 * (level - dft['fermi_energy']):.1f}", f"{error:.3f}",
        "yes" if refused else "", "" if bar is None else f"{1e3 * bar:.2f}",
    ]  # fmt: skip


def states_table(rows: list[list]) -> str:
    """Errors of the first variant's predictions, by state: snapshots of one trajectory, of one size and temperature.

    Scatter: standard deviation of the errors, which is what differences of energies feel, beside that of DFT's
    energies in the same state. R² over all test snapshots that are not refused: 1 - Σ error² / Σ (E - mean E)².
    """
    ours = [row for row in rows if row[0] == rows[0][0]]
    header = ["state", "role", "cells", "atoms", "MAE (meV/atom)", "error bar", "mean error", "scatter",
              "DFT's scatter", "density (%)"]  # fmt: skip
    lines = []
    groups: dict[tuple, list[list]] = {}
    for row in ours:
        groups.setdefault((row[1].rpartition("-")[0], row[2], row[3]), []).append(row)
    for (state, role, atoms), those in groups.items():
        energies, errors = 1e3 * column(those, 4), column(those, 5)
        scatter = [f"{errors.std():.2f}", f"{energies.std():.2f}"] if len(those) > 1 else ["", ""]
        bar = f"{column(those, 10).mean():.1f}" if all(row[10] for row in those) else ""
        errors = [f"{np.abs(errors).mean():.2f}", bar, f"{errors.mean():+.2f}", *scatter]
        name = f"{state} (refused)" if all(row[9] for row in those) else state
        lines.append([name, role, str(len(those)), str(atoms), *errors, f"{column(those, 8).mean():.2f}"])
    test = [row for row in ours if row[2] == "test" and not row[9]]
    text = render_table(header, lines)
    if len(test) > 1:
        bars = column(test, 10) if all(row[10] for row in test) else None
        energies, errors = 1e3 * column(test, 4), column(test, 5)
        r_squared = 1 - (errors**2).sum() / ((energies - energies.mean()) ** 2).sum()
        mean = np.abs(errors).mean()
        text += f"\n\nAll {len(test)} test cells that a prediction takes: MAE {mean:.2f} meV/atom, R² {r_squared:.5f}."
        if bars is not None:
            within = [int((np.abs(errors) <= n * bars).sum()) for n in (1, 2)]
            text += f" Within one error bar (standard deviation): {within[0]} of {len(test)}, within two: {within[1]}."
    return text


def variants_table(rows: list[list]) -> str:
    """Mean absolute errors of each variant, on the validation and on the test snapshots that it does not refuse."""
    lines = []
    for name in dict.fromkeys(row[0] for row in rows):
        line = [name]
        for role in ("validation", "test"):
            those = [row for row in rows if row[0] == name and row[2] == role and not row[9]]
            errors = np.abs(column(those, 5))
            line += (
                [f"{errors.mean():.2f} ({errors.max():.2f}; {len(those)})", f"{column(those, 8).mean():.2f}"]
                if those
                else ["", ""]
            )
        lines.append(line)
    header = ["variant"]
    for role in ("validation", "test"):
        header += [f"{role}: MAE (largest; cells), meV/atom", "density, %"]
    return render_table(header, lines)


def column(rows: list[list], index: int) -> np.ndarray:
    """One column of the table as numbers."""
    return np.array([float(row[index]) for row in rows])


if __name__ == "__main__":
    main()

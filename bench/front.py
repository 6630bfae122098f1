"""What each ingredient of a model gains and costs: descriptors, network, training, points and snapshots to learn from.

    snakemake --cores 2 --configfile bench/front.yaml -- reference results/front/model/model.json
    python bench/front.py --page docs/beryllium.md

All variants learn from the same five cells of 64 atoms at 298 K unless fewer are said, and are tested on other cells of
that kind, from the atoms. Decide by the validation cells; the test cells' errors stand beside them to be reported, not
to choose by. Cost: processor time of a point on one thread, median of the repetitions. Models that are there are kept:
run it again to go on.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from accuracy import evaluate
from tables import report
from tqdm import tqdm

from nearsight.grids.regions import Region
from nearsight.inference.predict import prepare_predictor
from nearsight.inference.run import ModelFiles
from nearsight.structures.gridded import read_gridded_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Study

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow/scripts"
REPETITIONS = 5


@dataclass(frozen=True)
class Variant:
    """Changes to the study: of the sections `training` (hidden, activation: of its network) and `descriptors`.

    snapshots: so many of the training snapshots, evenly from all; names: these.
    """

    training: Mapping = field(default_factory=dict)
    descriptors: Mapping = field(default_factory=dict)
    snapshots: int | None = None
    names: tuple[str, ...] | None = None


#: The study's own model is the first.
VARIANTS = {
    "as in the study": Variant(),
    "last layer not corrected": Variant({"refit_last_layer": False}),
    "loss on the LDOS alone": Variant({"projection_loss": 0.0}),
    "neither": Variant({"projection_loss": 0.0, "refit_last_layer": False}),
    "leaky ReLU": Variant({"activation": "leaky_relu"}),
    "1 snapshot": Variant(snapshots=1),
    "2 snapshots": Variant(snapshots=2),
    "2J = 8": Variant(descriptors={"twojmax": 8}),
    "2J = 6": Variant(descriptors={"twojmax": 6}),
    "2J = 4": Variant(descriptors={"twojmax": 4}),
    "cutoff 3.7 Å": Variant(descriptors={"cutoff_A": 3.7}),
    "cutoff 5.7 Å": Variant(descriptors={"cutoff_A": 5.7}),
    "network 512-512": Variant({"hidden": [512, 512]}),
    "network 128-128": Variant({"hidden": [128, 128]}),
    "network 64-64": Variant({"hidden": [64, 64]}),
    "2J = 6, network 128-128": Variant({"hidden": [128, 128]}, {"twojmax": 6}),
    "half of the points": Variant({"points_share": 0.5}),
    "a quarter of the points": Variant({"points_share": 0.25}),
    "a tenth of the points": Variant({"points_share": 0.1}),
    "a quarter of the points, 32 epochs": Variant({"points_share": 0.25, "epochs": 32, "patience": 32}),
}


def main() -> None:
    """Train, predict, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("bench/front.yaml"), help="a study that was run")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help="some")
    parser.add_argument("--threads", type=int, default=2, help="threads of training and prediction (2)")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'front' is replaced")
    arguments = parser.parse_args()
    rows = measure(load_study(arguments.study), arguments.variants, arguments.threads)
    report(rows, table, arguments.output / "front.csv", arguments.page, "front")


def measure(study: Study, variants: Sequence[str], threads: int) -> Iterator[dict]:
    """A row for each variant; cells other than those that it learns from are left out."""
    learned = {study.structure_of(name.rpartition("-")[0]) for name in study.snapshot_names("train")}
    names = [
        name
        for name in study.snapshot_names("validation", "test")
        if study.structure_of(name.rpartition("-")[0]) in learned
    ]
    for variant in tqdm(variants, desc="models", disable=None):
        folder = Path("results") / study.study / "variants" / variant.replace(" ", "-")
        files = train_variant(study, VARIANTS[variant], folder, threads)
        found = [evaluate(study, files, name, folder / "predictions" / name, threads) for name in names]
        yield {
            "variant": variant,
            "training_s": f"{files.load(None).training['seconds']:.0f}",
            **cost(study, files, names[0]),
            **{f"{role}_{key}": value for role in ("validation", "test") for key, value in errors(found, role).items()},
        }


def train_variant(study: Study, variant: Variant, folder: Path, threads: int) -> ModelFiles:
    """The variant's model, trained by its own job where it is not there yet."""
    results = Path("results") / study.study
    if variant == Variant():
        return ModelFiles.find(results / "model")
    if not (folder / "model.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        chosen, validation = list(variant.names or study.snapshot_names("train")), study.snapshot_names("validation")
        if variant.snapshots is not None:
            chosen = [chosen[round(i)] for i in np.linspace(0, len(chosen) - 1, variant.snapshots)]
        folders = {"reference": results / "reference", "descriptors": results / "descriptors"}
        if variant.descriptors:
            folders["descriptors"] = compute_descriptors(study, variant, [*chosen, *validation], folder, threads)
        command = [sys.executable, SCRIPTS / "train_model.py"]
        for role, names in (("train", chosen), ("validation", validation)):
            for kind, datasets in folders.items():
                command += [f"--{role}-{kind}", *(datasets / f"{name}.h5" for name in names)]
        for element in study.pseudopotentials:
            command += ["--pseudopotential", f"{element}={results / 'pseudo' / element}.upf"]
        command += ["--settings", json.dumps(training_of(study, variant)), "--seed", study.seed, "--threads", threads]
        command += ["--checkpoint", folder / "checkpoint.safetensors", "--weights", folder / "model.safetensors"]
        command += ["--bundle", folder / "model.json", "--history", folder / "history.csv"]
        subprocess.run(list(map(str, command)), check=True)
    return ModelFiles.find(folder)


def training_of(study: Study, variant: Variant) -> dict:
    """The section `training` of a variant."""
    settings = json.loads(study.training.to_json("threads"))
    of_network = {key: value for key, value in variant.training.items() if key in settings["network"]}
    others = {key: value for key, value in variant.training.items() if key not in of_network}
    return {**settings, **others, "network": {**settings["network"], **of_network}}


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


def errors(found: Sequence[Mapping], role: str) -> dict:
    """Errors of the cells of one role that a prediction takes: free energy in meV/atom, density in percent."""
    those = [row for row in found if row["role"] == role and not row["refused"]]
    energies = np.array([float(row["free_energy_error_meV_per_atom"]) for row in those])
    return {
        "cells": len(those),
        "mae_meV_per_atom": f"{np.abs(energies).mean():.3f}",
        "mean_error_meV_per_atom": f"{energies.mean():.3f}",
        "scatter_meV_per_atom": f"{energies.std():.3f}",
        "density_percent": f"{np.mean([float(row['density_mape_percent']) for row in those]):.3f}",
    }


def cost(study: Study, files: ModelFiles, snapshot: str) -> dict:
    """Processor time of a point in µs: descriptors, network."""
    atoms, shape = read_gridded_structure(Path("results") / study.study / "structures" / f"{snapshot}.extxyz")
    model = files.load(None)
    ready = prepare_predictor(model, atoms, shape, backend="native", precision="float32", threads=1)
    projection = np.ones((model.energy_grid.count, 3))
    spent = [ready.predict(Region.whole(shape), projection).seconds for _ in range(REPETITIONS)]
    return {
        f"{stage}_us": f"{1e6 * median(getattr(seconds, stage) for seconds in spent) / np.prod(shape):.3f}"
        for stage in ("descriptors", "network")
    }


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    head = "| model | training (s) | descriptors, network: µs per point "
    for role in ("validation", "test"):
        head += f"| {role}, {rows[0][f'{role}_cells']} cells: MAE (mean, scatter), meV/atom | density (%) "
    lines = [f"{head}|", "|---" * 7 + "|"]
    for row in rows:
        cells = [row["variant"], str(row["training_s"]), f"{row['descriptors_us']:.2f}, {row['network_us']:.2f}"]
        for role in ("validation", "test"):
            mae, mean, scatter, density = (
                row[f"{role}_{key}"]
                for key in ("mae_meV_per_atom", "mean_error_meV_per_atom", "scatter_meV_per_atom", "density_percent")
            )
            cells += [f"{mae:.2f} ({mean:+.2f}, {scatter:.2f})", f"{density:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()

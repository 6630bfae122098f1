"""What a model costs against how good it is: fewer descriptors, smaller networks, fewer points to learn from.

    snakemake --cores 2 --configfile bench/front.yaml -- reference results/front/model/model.json
    python bench/front.py --page docs/beryllium.md

All learn from the same five cells of 64 atoms at 298 K, as in config/beryllium.yaml. Cost: processor time of a point on
one thread, median of the repetitions. Models that are there are kept: run it again to go on.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from accuracy import COLUMNS, Variant, evaluate, train_variant
from tables import report
from tqdm import tqdm

from nearsight.descriptors.interface import make_descriptor
from nearsight.grids.regions import Region
from nearsight.inference.predict import prepare_predictor
from nearsight.inference.run import ModelFiles
from nearsight.structures.gridded import read_gridded_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Study

#: twojmax, hidden layers, part of the points; the accuracy study's first.
CASES = (
    (10, (256, 256), 1.0),
    (8, (256, 256), 1.0),
    (6, (256, 256), 1.0),
    (4, (256, 256), 1.0),
    (10, (128, 128), 1.0),
    (6, (128, 128), 1.0),
    (10, (64, 64), 1.0),
    (10, (512, 512), 1.0),
    (10, (256, 256), 0.5),
    (10, (256, 256), 0.25),
    (10, (256, 256), 0.1),
)
REPETITIONS = 5


def main() -> None:
    """Train, predict, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("bench/front.yaml"), help="a study that was run")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training (2)")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'front' is replaced")
    arguments = parser.parse_args()
    rows = measure(load_study(arguments.study), arguments.threads)
    report(rows, table, arguments.output / "front.csv", arguments.page, "front")


def measure(study: Study, threads: int) -> Iterator[dict]:
    """A row for each case; cells other than those that the models learn from are left out."""
    learned = {study.structure_of(name.rpartition("-")[0]) for name in study.snapshot_names("train")}
    names = [
        name
        for name in study.snapshot_names("validation", "test")
        if study.structure_of(name.rpartition("-")[0]) in learned
    ]
    for twojmax, hidden, share in tqdm(CASES, desc="models", disable=None):
        widths = "-".join(map(str, hidden))
        folder = Path("results") / study.study / "variants" / f"2J{twojmax}-{widths}-{share:g}"
        variant = variant_of(study, twojmax, hidden, share)
        model = train_variant(study, variant, folder, threads)
        found = [dict(zip(COLUMNS[1:], evaluate(study, model, name, folder, threads), strict=True)) for name in names]
        yield {
            "twojmax": twojmax,
            "hidden": widths,
            "points_share": share,
            "training_s": f"{model.load(None).training['seconds']:.0f}",
            "components": make_descriptor({"twojmax": twojmax}, ["Be"], kind="bispectrum").components,
            **cost(study, model, names[0]),
            **{f"{role}_{key}": value for role in ("validation", "test") for key, value in errors(found, role).items()},
        }


def variant_of(study: Study, twojmax: int, hidden: tuple[int, ...], share: float) -> Variant:
    """What differs from the study; nothing for its own model."""
    network = {**study.training.network.model_dump(), "hidden": list(hidden)}
    changes = {"network": network, "points_share": share}
    training = json.loads(study.training.to_json())
    return Variant(
        {key: value for key, value in changes.items() if value != training[key]},
        {"twojmax": twojmax} if twojmax != study.descriptors.twojmax else {},
    )


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
    head = "| 2J | components | network | points | training (s) | descriptors, network: µs per point "
    for role in ("validation", "test"):
        head += f"| {role}, {rows[0][f'{role}_cells']} cells: MAE (mean, scatter), meV/atom | density (%) "
    lines = [f"{head}|", "|---" * 10 + "|"]
    for row in rows:
        cost = f"{row['descriptors_us']:.2f}, {row['network_us']:.2f}"
        cells = [row["twojmax"], row["components"], row["hidden"], f"{row['points_share']:g}", row["training_s"], cost]
        for role in ("validation", "test"):
            mae, mean, scatter, density = (
                row[f"{role}_{key}"]
                for key in ("mae_meV_per_atom", "mean_error_meV_per_atom", "scatter_meV_per_atom", "density_percent")
            )
            cells += [f"{mae:.2f} ({mean:+.2f}, {scatter:.2f})", f"{density:.2f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


if __name__ == "__main__":
    main()

"""What a prediction costs against how good it is: models with fewer descriptors and smaller networks.

    snakemake --cores 2 --configfile bench/front.yaml -- reference results/front/model/model.json
    python bench/front.py --page docs/beryllium.md

All learn from the same five cells of 64 atoms at 298 K, as in config/beryllium.yaml. Cost: processor time of a point on
one thread, median of the repetitions. Models that are there are kept: run it again to go on.
"""

import argparse
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

#: twojmax and hidden layers; the accuracy study's first.
CASES = (
    (10, (256, 256)),
    (8, (256, 256)),
    (6, (256, 256)),
    (4, (256, 256)),
    (10, (128, 128)),
    (6, (128, 128)),
    (10, (64, 64)),
    (10, (512, 512)),
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
    for twojmax, hidden in tqdm(CASES, desc="models", disable=None):
        folder = Path("results") / study.study / "variants" / f"2J{twojmax}-{'-'.join(map(str, hidden))}"
        variant = variant_of(study, twojmax, hidden)
        model = train_variant(study, variant, folder, threads)
        found = [dict(zip(COLUMNS[1:], evaluate(study, model, name, folder, threads), strict=True)) for name in names]
        yield {
            "twojmax": twojmax,
            "hidden": "-".join(map(str, hidden)),
            "components": make_descriptor({"twojmax": twojmax}, ["Be"], kind="bispectrum").components,
            **cost(study, model, names[0]),
            **{f"{role}_{key}": value for role in ("validation", "test") for key, value in errors(found, role).items()},
        }


def variant_of(study: Study, twojmax: int, hidden: tuple[int, ...]) -> Variant:
    """What differs from the study; nothing for its own model."""
    own = study.descriptors.twojmax == twojmax and tuple(study.training.network.hidden) == hidden
    network = {**study.training.network.model_dump(), "hidden": list(hidden)}
    return Variant() if own else Variant({"network": network}, {"twojmax": twojmax})


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
    head = "| 2J | components | network | descriptors, network: µs per point "
    for role in ("validation", "test"):
        head += f"| {role}, {rows[0][f'{role}_cells']} cells: MAE (mean, scatter), meV/atom | density (%) "
    lines = [f"{head}|", "|---" * 8 + "|"]
    for row in rows:
        cells = [
            row["twojmax"],
            row["components"],
            row["hidden"],
            f"{row['descriptors_us']:.2f}, {row['network_us']:.2f}",
        ]
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

"""What single precision costs in accuracy: descriptors of random crystals, and predictions of a cell of beryllium.

    python bench/precision.py --page docs/performance.md

Descriptors: largest deviation of float32 from float64 over the largest value of its column, native kernel, crystals of
at most eight atoms from tests/unit/native_cases.py, at least a given distance apart. Predictions: the network in each
of its precisions against float64, with the descriptors in the model's own precision.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tables import report
from tqdm import tqdm

from nearsight.datasets import open_dataset
from nearsight.energies import FreeEnergy
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.structures.io import read_structure
from nearsight.study.sections import Inference

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/unit"))
from native_cases import compute, largest_deviation, random_atoms

#: 2J and cutoff in Å of the descriptors; smallest distances of the atoms in Å.
DESCRIPTORS = ((6, 5.0), (10, 4.67637), (12, 6.0))
SPACINGS_A = (1.2, 0.8, 0.5, 0.3)
GRID = (4, 4, 4)

#: No test or training cell of the model.
STRUCTURE = Path(__file__).resolve().parents[1] / "config/beryllium/test-298-64.extxyz@3"
PRECISIONS = ("float64", "float32", "bfloat16")


def main() -> None:
    """Measure, print the tables, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=40, help="random crystals for each number (40)")
    parser.add_argument("--model", default="Be", help="name or folder of a model of beryllium (Be)")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose tables 'float32' and 'precision' are replaced")
    arguments = parser.parse_args()
    rows = measure_descriptors(arguments.crystals)
    report(rows, descriptors_table, arguments.output / "float32.csv", arguments.page, "float32")
    rows = measure_predictions(ModelFiles.find(arguments.model))
    report(rows, predictions_table, arguments.output / "precision.csv", arguments.page, "precision")


def measure_descriptors(crystals: int) -> Iterator[dict]:
    """A row for each distance and set of descriptors."""
    cases = [(spacing_A, *settings) for spacing_A in SPACINGS_A for settings in DESCRIPTORS]
    for spacing_A, twojmax, cutoff_A in tqdm(cases, desc="descriptors", disable=None):
        generator, settings = np.random.default_rng(1), {"twojmax": twojmax, "cutoff_A": cutoff_A}
        found = []
        for _ in range(crystals):
            atoms = random_atoms(generator, spacing_A=spacing_A)
            single, double = (compute(atoms, GRID, precision, **settings) for precision in ("float32", "float64"))
            found.append(largest_deviation(single, double))
        yield {
            "spacing_A": spacing_A,
            "twojmax": twojmax,
            "cutoff_A": cutoff_A,
            "crystals": crystals,
            "median": f"{np.median(found):.2g}",
            "worst": f"{max(found):.2g}",
        }


def measure_predictions(files: ModelFiles) -> Iterator[dict]:
    """A row for each precision of the network except float64, against which it is measured."""
    atoms = read_structure(STRUCTURE)
    (exact, energies), *others = (predict(files, precision) for precision in PRECISIONS)
    for precision, (density, found) in zip(PRECISIONS[1:], others, strict=True):
        deviation = np.abs(density - exact) / exact
        yield {
            "precision": precision,
            "density_largest": f"{deviation.max():.2g}",
            "density_mean": f"{deviation.mean():.2g}",
            "free_energy_meV_per_atom": f"{1e3 * (found.total - energies.total) / len(atoms):.4f}",
            "band_energy_meV_per_atom": f"{1e3 * (found.band - energies.band) / len(atoms):.4f}",
            "fermi_energy_meV": f"{1e3 * (found.fermi_energy - energies.fermi_energy):.4f}",
        }


def predict(files: ModelFiles, precision: str) -> tuple[np.ndarray, FreeEnergy]:
    """Density in 1/Å³ and energies in eV."""
    with tempfile.TemporaryDirectory() as name:
        settings = Inference(batches=1, precision=precision)
        energies = predict_structure(files, read_structure(STRUCTURE), Path(name), settings, alone())
        with open_dataset(Path(name) / "prediction.h5") as dataset:
            return dataset["density"].values, energies


def descriptors_table(rows: Sequence[dict]) -> list[str]:
    """A row for each distance, a column for each set of descriptors."""
    sets = list(dict.fromkeys((row["twojmax"], row["cutoff_A"]) for row in rows))
    heads = (f"2J = {twojmax}, {cutoff_A:.3g} Å: median, worst" for twojmax, cutoff_A in sets)
    lines = [f"| atoms at least | {' | '.join(heads)} |", "|---|" + "---|" * len(sets)]
    for spacing_A in dict.fromkeys(row["spacing_A"] for row in rows):
        found = (f"{row['median']:.1e}, {row['worst']:.1e}" for row in rows if row["spacing_A"] == spacing_A)
        lines.append(f"| {spacing_A:g} Å apart | {' | '.join(found)} |")
    return lines


def predictions_table(rows: Sequence[dict]) -> list[str]:
    """A row for each precision."""
    head = "| network | density: largest (mean) relative deviation | free energy (meV/atom) | band energy (meV/atom) "
    lines = [f"{head}| Fermi level (meV) |", "|---|---|---|---|---|"]
    for row in rows:
        energies = (row[key] for key in ("free_energy_meV_per_atom", "band_energy_meV_per_atom", "fermi_energy_meV"))
        density = f"{row['density_largest']:.1e} ({row['density_mean']:.1e})"
        lines.append(f"| {row['precision']} | {density} | {' | '.join(f'{value:+.4f}' for value in energies)} |")
    return lines


if __name__ == "__main__":
    main()

"""Is the energy zero of a cell what a local model gets wrong? A model of one density predicts other densities.

Quantum ESPRESSO counts energies from the mean potential of the cell, which depends on the number of atoms per volume:
if the crystal were made of superposed neutral atoms, as κ N/Ω with κ = -(2π/3) e² Σ q r² of the atomic density. A
vacancy or a strain elsewhere in the cell thus shifts the LDOS of an environment that is itself unchanged, and no local
descriptor sees it. Here a model that was trained on one density predicts all snapshots of a study with its energies
shifted by fractions of κ (N/Ω - N/Ω of the training): the one at which the error crosses zero is how much of κ the
crystal has.

Needs the datasets of a study (snakemake reference); trains in results/<study>/one-density.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accuracy import evaluate
from tables import report
from tqdm import tqdm

from nearsight import units
from nearsight.datasets import atoms_of, open_dataset
from nearsight.evaluation.summary import render_table
from nearsight.inference.run import ModelFiles
from nearsight.model.bundle import ModelBundle
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotential
from nearsight.study.reading import load_study
from nearsight.study.sections import Study

SCRIPT = Path(__file__).resolve().parents[1] / "workflow/scripts/train_model.py"

#: Atoms per volume of two cells are the same within this fraction.
SAME_DENSITY = 1e-3


@dataclass(frozen=True)
class ShiftedModel(ModelFiles):
    """A model of one density whose energies in other cells are Quantum ESPRESSO's there, and `shift_eV`."""

    density: float = 0.0
    shift_eV: float = 0.0

    def load(self, temperature_K: float | None) -> ModelBundle:
        """The model with its energies as they are in the cells of its training, shifted."""
        model = super().load(temperature_K)
        (zero,) = model.energy_zero_eV_A3.values() or (0.0,)
        grid = model.energy_grid.shifted(zero * self.density + self.shift_eV)
        return replace(model, energy_grid=grid, energy_zero_eV_A3={})


def main() -> None:
    """Train, predict without and with the whole shift, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/beryllium.yaml"), help="a study of one element")
    parser.add_argument("--threads", type=int, default=2, help="threads of training and prediction")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'zero' is replaced")
    arguments = parser.parse_args()
    rows = measure(load_study(arguments.study), arguments.threads)
    report(rows, table, arguments.output / "zero.csv", arguments.page, "zero")


def measure(study: Study, threads: int) -> Iterator[dict]:
    """A row for each snapshot that the model of one density does not learn from."""
    results = Path("results") / study.study
    densities = {name: number_density(results, name) for name in study.snapshot_names()}
    trained = densities[study.snapshot_names("train")[0]]
    folder = results / "one-density"
    chosen = [name for name in study.snapshot_names("train") if abs(densities[name] / trained - 1) < SAME_DENSITY]
    model = train(study, chosen, folder, threads)
    (element,) = study.pseudopotentials
    slope = zero_per_density(read_pseudopotential(results / "pseudo" / f"{element}.upf"))
    for name in tqdm([name for name in densities if name not in chosen], disable=None):
        shift = slope * (trained - densities[name])
        errors = []
        for part in (0.0, 1.0):
            shifted = ShiftedModel(model.bundle, model.weights, trained, part * shift)
            row = evaluate(study, shifted, name, folder / f"shift-{part:g}" / name, threads)
            errors.append(float(row["free_energy_error_meV_per_atom"]))
        yield {
            "snapshot": name,
            "density_change_percent": f"{100 * (densities[name] / trained - 1):+.2f}",
            "shift_eV": f"{shift:+.3f}",
            "error_without_meV_per_atom": f"{errors[0]:+.1f}",
            "error_with_shift_meV_per_atom": f"{errors[1]:+.1f}",
            "share_of_the_shift": "" if abs(shift) < 0.01 else f"{errors[0] / (errors[0] - errors[1]):.2f}",
        }


def train(study: Study, chosen: Sequence[str], folder: Path, threads: int) -> ModelFiles:
    """A model that learns from these snapshots, made by the study's own job if it is not there yet."""
    if not (folder / "model.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        results = Path("results") / study.study
        command = [sys.executable, SCRIPT]
        for role, names in (("train", chosen), ("validation", study.snapshot_names("validation"))):
            for kind in ("reference", "descriptors"):
                command += [f"--{role}-{kind}", *(results / kind / f"{name}.h5" for name in names)]
        for element in study.pseudopotentials:
            command += ["--pseudopotential", f"{element}={results / 'pseudo' / element}.upf"]
        command += [
            "--settings",
            study.training.to_json("ranks", "threads"),
            "--seed",
            study.seed,
            "--threads",
            threads,
        ]
        command += ["--checkpoint", folder / "checkpoint.safetensors", "--weights", folder / "model.safetensors"]
        command += ["--bundle", folder / "model.json", "--history", folder / "history.csv"]
        subprocess.run(list(map(str, command)), check=True)
    return ModelFiles.find(folder)


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    formats = ("", "+.2f", "+.3f", "+.1f", "+.1f", ".2f")
    cells = [
        ["" if value is None else format(value, how) for value, how in zip(row.values(), formats, strict=True)]
        for row in rows
    ]
    return render_table([name.replace("_", " ") for name in rows[0]], cells).splitlines()


def number_density(results: Path, name: str) -> float:
    """Atoms per volume in 1/Å³."""
    with open_dataset(results / "reference" / f"{name}.h5") as reference:
        atoms = atoms_of(reference)
    return len(atoms) / atoms.get_volume()


def zero_per_density(pseudopotential: Pseudopotential) -> float:
    """κ in eV Å³: -(2π/3) e² ∫ r² n(r) d³r of the pseudopotential's atomic density, e² in eV Å."""
    r, dr, density = (pseudopotential.numbers(tag) for tag in ("PP_R", "PP_RAB", "PP_RHOATOM"))
    second_moment = float(np.sum(density * r**2 * dr)) * units.BOHR_A**2
    return -2 * np.pi / 3 * units.COULOMB_eV_A * second_moment


if __name__ == "__main__":
    main()

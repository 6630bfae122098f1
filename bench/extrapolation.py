"""Does the extrapolation score rank structures as the error against Quantum ESPRESSO does?

Predicts structures ever farther from a study's training set, computes each with pw.x at the study's settings, and
compares the score with the error of the total free energy per atom. What pw.x leaves is kept: run it again to continue.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from scipy.stats import spearmanr

from nearsight.errors import InputError
from nearsight.files import read_json
from nearsight.grids.plane_waves import fft_shape
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, xml_of
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.pseudopotential import read_pseudopotentials
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Dft, Inference

#: Thermal displacements grow with the square root of the temperature.
HOT_K = 900.0

#: Of the snapshots, and of the electrons.
TEMPERATURE_K = 298.0


def main() -> None:
    """Predict, compute, print the table and the rank correlation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/quickstart.yaml"), help="a study that was run")
    parser.add_argument("--work", type=Path, default=Path("bench/work/extrapolation"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the table")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    results = Path("results") / study.study
    rows = []
    for name, atoms in structures(results, TEMPERATURE_K).items():
        folder = arguments.work / name
        folder.mkdir(parents=True, exist_ok=True)
        grid = fft_shape(np.asarray(atoms.cell), study.dft.ecutrho_Ry)
        # no atom on a grid point
        atoms.positions += 0.0137
        energies = predict_structure(
            ModelFiles.find(results / "model"),
            atoms,
            folder,
            Inference(batches=1, accept_extrapolation=True),
            alone(),
            shape=grid,
        )
        plan = read_json(folder / "plan.json")
        settings = study.dft_of(next(iter(study.structures)))
        expected = compute(atoms, settings, TEMPERATURE_K, folder, results).energies["total_free_energy"]
        error = 1e3 * (energies.total - expected) / len(atoms)
        score = max(plan["descriptor_score"], plan["rdf_score"])
        rows.append((name, len(atoms), plan["descriptor_score"], plan["rdf_score"], score, error))
        print(f"| {name} | {len(atoms)} | {rows[-1][2]:.2f} | {rows[-1][3]:.2f} | {error:+.1f} |", flush=True)
    correlation = spearmanr([row[4] for row in rows], [abs(row[5]) for row in rows]).statistic
    print(f"Spearman's rank correlation of score and |error|: {correlation:.2f}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    with open(arguments.output / "extrapolation.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "atoms", "descriptor_score", "rdf_score", "score", "error_meV_per_atom"])
        writer.writerows((*row[:2], *(f"{value:.4g}" for value in row[2:])) for row in rows)


def compute(atoms: Atoms, settings: Dft, temperature_K: float, folder: Path, results: Path) -> ElectronicStructure:
    """What pw.x finds; its run is kept in `folder`, the pseudopotentials are those in `results`."""
    scf = folder / "scf"
    if not scf.exists():
        folder.mkdir(parents=True, exist_ok=True)
        grid = fft_shape(atoms.cell.array, settings.ecutrho_Ry)
        pseudopotentials = read_pseudopotentials({e: results / "pseudo" / f"{e}.upf" for e in set(atoms.symbols)})
        run_scf(atoms, grid, pseudopotentials, settings, temperature_K, Launch(), scf, folder / "scf.out")
    return read_electronic_structure(xml_of(scf))


def structures(results: Path, temperature_K: float) -> dict[str, Atoms]:
    """Structures by name: snapshots of the study, and others less and less like them."""
    snapshots = sorted((results / "structures").glob("?-?.extxyz"))
    if not snapshots:
        raise InputError(f"{results}: expected a study that was run, found no snapshots. Run `make quickstart` first.")
    train, held_out = (read_structure(path) for path in (snapshots[0], snapshots[-1]))
    mean = np.mean([read_structure(path).positions for path in snapshots[:-1]], axis=0)
    hot = held_out.copy()
    hot.positions = mean + (held_out.positions - mean) * np.sqrt(HOT_K / temperature_K)
    strained = {}
    for percent in (-3, 3):
        atoms = held_out.copy()
        atoms.set_cell(atoms.cell * (1 + percent / 100), scale_atoms=True)
        strained[f"strain {percent:+d} %"] = atoms
    vacancy = held_out.copy()
    del vacancy[0]
    edge = (4 * held_out.get_volume() / len(held_out)) ** (1 / 3)
    fcc = bulk("Be", "fcc", a=edge, cubic=True).repeat((2, 1, 1))
    fcc.positions += np.random.default_rng(1).normal(scale=(held_out.positions - mean).std(), size=(len(fcc), 3))
    return {
        "training snapshot": train,
        "held-out snapshot": held_out,
        f"{HOT_K:g} K": hot,
        **strained,
        "vacancy": vacancy,
        "fcc": fcc,
    }


if __name__ == "__main__":
    main()

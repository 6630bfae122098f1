"""The equation of state of a study's crystal: its model against Quantum ESPRESSO at the study's settings.

The lattice's own cell, without displacements, at several linear strains. What pw.x leaves is kept: run it again to
continue, also with another model.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.eos import EquationOfState
from ase.units import GPa
from extrapolation import compute
from tables import fill_page
from tqdm import tqdm

from nearsight.evaluation.summary import render_table
from nearsight.files import write_whole
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.structures.builders import build_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Inference, Study

STRAINS_PERCENT = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def main() -> None:
    """Compute, predict, fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/beryllium.yaml"), help="a study that was run")
    parser.add_argument("--structure", help="one of its structures that is built from a lattice (default: the first)")
    parser.add_argument("--model", type=Path, help="another model than the study's")
    parser.add_argument("--temperature-K", type=float, default=298.0, help="temperature of the electrons in K")
    parser.add_argument("--work", type=Path, default=Path("bench/work/equation-of-state"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=Path("docs/beryllium-eos.csv"), help="table (CSV)")
    parser.add_argument("--page", type=Path, help="page whose table 'eos' to write")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    name = arguments.structure or next(iter(study.structures))
    results = Path("results") / study.study
    model = ModelFiles.find(arguments.model or results / "model")
    rows = []
    for strain in tqdm(STRAINS_PERCENT, desc="strains", disable=None):
        atoms = strained_cell(study, name, strain)
        folder = arguments.work / f"{study.study}-{name}" / f"{strain:+g}"
        # the k-point grid is the lattice's own
        dft = compute(atoms, study.dft, arguments.temperature_K, folder, results).energies["total_free_energy"]
        settings = Inference(batches=1, accept_extrapolation=True)
        target = folder / "prediction"
        found = predict_structure(
            model, atoms, target, settings, alone(), temperature_K=arguments.temperature_K, overwrite=True
        )
        rows.append((strain, *(value / len(atoms) for value in (atoms.get_volume(), dft, found.total))))
    with write_whole(arguments.output) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["strain_percent", "volume_A3_per_atom", "dft_eV_per_atom", "model_eV_per_atom"])
        writer.writerows((f"{row[0]:g}", *(f"{value:.6f}" for value in row[1:])) for row in rows)
    table = fits_table(np.array(rows))
    print(table)
    if arguments.page is not None:
        fill_page(arguments.page, {"eos": table.splitlines()})


def strained_cell(study: Study, name: str, strain_percent: float) -> Atoms:
    """The cell of the lattice itself, strained; its atoms off the grid points, where descriptors are not smooth."""
    section = study.structures[name].model_copy(update={"repeat": [1, 1, 1], "strain_percent": strain_percent})
    atoms = build_structure(section)
    atoms.positions += 0.0137
    return atoms


def fits_table(rows: np.ndarray) -> str:
    """Minimum and bulk modulus of the Birch-Murnaghan equation, and their errors; rows as in the CSV."""
    fits = [EquationOfState(rows[:, 1], rows[:, column], eos="birchmurnaghan").fit() for column in (2, 3)]
    lines = [
        [name, f"{volume:.4f}", f"{modulus / GPa:.1f}"]
        for name, (volume, _, modulus) in zip(("Quantum ESPRESSO", "model"), fits, strict=True)
    ]
    (volume, _, modulus), (ours, _, our_modulus) = fits
    length = 100 * ((ours / volume) ** (1 / 3) - 1)
    lines.append(["error", f"{length:+.2f} % (lattice constant)", f"{100 * (our_modulus / modulus - 1):+.1f} %"])
    return render_table(["", "volume at the minimum, Å³/atom", "bulk modulus, GPa"], lines)


if __name__ == "__main__":
    main()

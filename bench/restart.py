"""What a prediction is worth as a start for pw.x, and how far off it is: cells that neither model nor study has seen.

    python bench/restart.py --page docs/beryllium.md

Each cell is predicted and then computed by pw.x at the settings of config/beryllium.yaml, once from superposed atoms
and once from the predicted density (`nearsight export --format espresso`). The frames are those of the study's test
trajectories that the study leaves out. What is counted does not depend on the load of the machine: iterations,
and applications of the Hamiltonian (h_psi). Finished runs are kept: run it again to continue, also with more cells.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from ase import Atoms
from scf_start import Scf
from tables import read_csv, report
from tqdm import tqdm

from nearsight.datasets import open_dataset
from nearsight.evaluation.errors import mean_absolute_percentage_error
from nearsight.evaluation.summary import render_table
from nearsight.files import read_json
from nearsight.grids.plane_waves import fft_shape
from nearsight.inference.run import ModelFiles, predict_structure, write_pseudopotentials
from nearsight.mpi import alone
from nearsight.reference.espresso.programs import Launch
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Inference, Study, fold

ROOT = Path(__file__).resolve().parents[1]

#: What is computed: frames of config/beryllium with repeats of the four-atom cell, and the temperature in K.
CELLS = {
    "64, 298 K, d": ("test-298-64.extxyz@3", (4, 2, 2), 298.0),
    "64, 298 K, e": ("test-298-64.extxyz@4", (4, 2, 2), 298.0),
    "64, 900 K, b": ("test-900.extxyz@1", (4, 2, 2), 900.0),
    "128, 298 K, b": ("test-298-128.extxyz@1", (4, 4, 2), 298.0),
    "128, 298 K, c": ("test-298-128.extxyz@2", (4, 4, 2), 298.0),
    "128, 298 K, d": ("test-298-128.extxyz@3", (4, 4, 2), 298.0),
    "256, 298 K, a": ("test-298-256.extxyz@0", (8, 4, 2), 298.0),
}

#: What is counted of an SCF.
COUNTED = ("iterations", "h_psi", "first_accuracy_Ry")


def main() -> None:
    """Predict, compute, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Be", help="name or folder of a model of beryllium (Be)")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="CELL", help="some of them")
    parser.add_argument("--largest", type=int, default=128, help="atoms up to which pw.x starts from atoms too (128)")
    parser.add_argument("--ranks", type=int, default=1, help="MPI ranks of pw.x, as pools of k-points (1)")
    parser.add_argument("--launcher", default="mpirun.openmpi --bind-to none", help="what starts several ranks")
    parser.add_argument("--work", type=Path, default=Path("bench/work/restart"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'restart' is replaced")
    arguments = parser.parse_args()
    launch = Launch(arguments.launcher, arguments.ranks)
    study, files = load_study(ROOT / "config/beryllium.yaml"), ModelFiles.find(arguments.model)
    rows = measure(study, files, arguments.cells, arguments.largest, arguments.work, launch)
    report(rows, table, arguments.output / "restart.csv", arguments.page, "restart")


def measure(
    study: Study, files: ModelFiles, cells: Sequence[str], largest: int, work: Path, launch: Launch
) -> Iterator[dict]:
    """A row for each cell; largest: number of atoms beyond which none is computed from superposed atoms."""
    work.mkdir(parents=True, exist_ok=True)
    pseudopotentials = write_pseudopotentials(files.load(None), work)
    for name in tqdm(cells, desc="cells", disable=None):
        source, repeat, temperature_K = CELLS[name]
        atoms = read_structure(ROOT / "config/beryllium" / source)
        folder = work / source
        folder.mkdir(parents=True, exist_ok=True)
        found = predict(files, atoms, temperature_K, folder / "prediction")
        density, ours = found["density"].values, 1e3 * float(found["total_free_energy"]) / len(atoms)
        settings = study.dft.model_copy(update={"kpoints": fold(study.dft.kpoints, repeat)})
        pools = launch.in_pools(settings.kpoints, settings.kpoints_shift)
        grid = fft_shape(atoms.cell.array, settings.ecutrho_Ry)
        scf = Scf(folder, grid, pseudopotentials, settings, temperature_K, pools)
        starts = {"prediction": density} | ({"atoms": None} if len(atoms) <= largest else {})
        for start, first in starts.items():
            scf.run(f"from-{start}", atoms, first)
        counts = {start: scf.count(f"from-{start}") for start in starts}
        converged, energy = scf.density("from-prediction"), counts["prediction"]["free_energy_meV_per_atom"]
        yield {
            "cell": name,
            "atoms": len(atoms),
            "qe_meV_per_atom": energy,
            "error_meV_per_atom": round(ours - energy, 3),
            "error_bar_meV_per_atom": round(1e3 * found.attrs["deviation_eV_per_atom"], 3),
            "density_mape_percent": round(mean_absolute_percentage_error(density, converged), 3),
            "atoms_density_mape_percent": round(mean_absolute_percentage_error(scf.superpose(atoms), converged), 3),
            **{f"{key}_from_{start}": counts[start][key] for start in starts for key in COUNTED},
        }


def predict(files: ModelFiles, atoms: Atoms, temperature_K: float, folder: Path) -> xr.Dataset:
    """Density and total free energy of a prediction, with the model's error bar; existing ones are reused."""
    if not (folder / "energies.json").exists():
        predict_structure(files, atoms, folder, Inference(batches=1), alone(), temperature_K=temperature_K)
    energies = read_json(folder / "energies.json")
    with open_dataset(folder / "prediction.h5") as dataset:
        found = dataset[["density"]].load()
    found["total_free_energy"] = energies["energies_eV"]["total"]
    return found.assign_attrs(deviation_eV_per_atom=energies["energy_deviation_eV_per_atom"])


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    lines = [
        [
            row["cell"],
            f"{row['error_meV_per_atom']:+.2f}",
            f"{row['error_bar_meV_per_atom']:.1f}",
            f"{row['density_mape_percent']:.2f}",
            f"{row['atoms_density_mape_percent']:.1f}",
            *(f"{row[f'{key}_from_atoms'] or '-'}, {row[f'{key}_from_prediction']}" for key in COUNTED),
        ]
        for row in rows
    ]
    header = ["cell", "error (meV/atom)", "error bar", "density (%)", "superposed atoms (%)"]
    header += ["iterations: atoms, prediction", "h_psi", "first accuracy (Ry)"]
    text = render_table(header, lines).splitlines()
    return [*text, "", say_coverage(rows), *say_sizes(rows)]


def say_coverage(rows: Sequence[dict]) -> str:
    """Mean absolute error, and how often the model's own error bar covers it."""
    errors = np.abs([row["error_meV_per_atom"] for row in rows])
    parts = errors / [row["error_bar_meV_per_atom"] for row in rows]
    return (
        f"Mean absolute error of these {len(rows)} cells: {errors.mean():.2f} meV/atom. Within one error bar (standard "
        f"deviation): {(parts <= 1).sum()} of {len(rows)}, within two: {(parts <= 2).sum()}."
    )


def say_sizes(rows: Sequence[dict]) -> list[str]:
    """Mean absolute errors at 298 K by size, with the study's own test cells (docs/beryllium-states.csv)."""
    errors: dict[int, list[float]] = {}
    for row in rows:
        if "298 K" in row["cell"]:
            errors.setdefault(row["atoms"], []).append(row["error_meV_per_atom"])
    for row in read_csv(ROOT / "docs/beryllium-states.csv"):
        if row["snapshot"].startswith(("test64-", "test128-")):
            errors[row["atoms"]].append(row["free_energy_error_meV_per_atom"])
    sizes = [
        f"{np.abs(found).mean():.2f} for {atoms} atoms ({len(found)} cell{'s' if len(found) > 1 else ''}, mean "
        f"{np.mean(found):+.2f})"
        for atoms, found in sorted(errors.items())
    ]
    return [f"With the study's own test cells, at 298 K, in meV/atom: {', '.join(sizes)}."]


if __name__ == "__main__":
    main()

"""What a prediction is worth as a start for pw.x, in cells that neither model nor study has seen, and their energies.

    python bench/restart.py --page docs/beryllium.md

Each cell is predicted and then computed by pw.x at the settings of config/beryllium.yaml, once from superposed atoms
and once from the predicted density (`nearsight export --format espresso`). The frames are those of the study's test
trajectories that the study leaves out. What is counted does not depend on the load of the machine: iterations, and
applications of the Hamiltonian (h_psi). The energies are for bench/held_out.py. Finished runs are kept: run it again
to continue, also with more cells.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from scf_start import Scf
from tables import report
from tqdm import tqdm

from nearsight.datasets import open_dataset
from nearsight.evaluation.errors import mean_absolute_percentage_error
from nearsight.evaluation.summary import render_table
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
        density = predict(files, atoms, temperature_K, folder / "prediction")
        settings = study.dft.model_copy(update={"kpoints": fold(study.dft.kpoints, repeat)})
        pools = launch.in_pools(settings.kpoints, settings.kpoints_shift)
        grid = fft_shape(atoms.cell.array, settings.ecutrho_Ry)
        scf = Scf(folder, grid, pseudopotentials, settings, temperature_K, pools)
        starts = {"prediction": density} | ({"atoms": None} if len(atoms) <= largest else {})
        for start, first in starts.items():
            scf.run(f"from-{start}", atoms, first)
        counts = {start: scf.count(f"from-{start}") for start in starts}
        converged = scf.density("from-prediction")
        yield {
            "cell": name,
            "atoms": len(atoms),
            "qe_meV_per_atom": counts["prediction"]["free_energy_meV_per_atom"],
            "density_mape_percent": round(mean_absolute_percentage_error(density, converged), 3),
            "atoms_density_mape_percent": round(mean_absolute_percentage_error(scf.superpose(atoms), converged), 3),
            **{f"{key}_from_{start}": counts[start][key] for start in starts for key in COUNTED},
        }


def predict(files: ModelFiles, atoms: Atoms, temperature_K: float, folder: Path) -> np.ndarray:
    """The density of a prediction, 1/Å³; an existing one is reused."""
    if not (folder / "energies.json").exists():
        predict_structure(files, atoms, folder, Inference(batches=1), alone(), temperature_K=temperature_K)
    with open_dataset(folder / "prediction.h5") as dataset:
        return dataset["density"].values


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    lines = [
        [
            row["cell"],
            f"{row['density_mape_percent']:.2f}",
            f"{row['atoms_density_mape_percent']:.1f}",
            *(f"{row[f'{key}_from_atoms'] or '-'}, {row[f'{key}_from_prediction']}" for key in COUNTED),
        ]
        for row in rows
    ]
    header = ["cell", "density (%)", "superposed atoms (%)"]
    header += ["iterations: atoms, prediction", "h_psi", "first accuracy (Ry)"]
    return render_table(header, lines).splitlines()


if __name__ == "__main__":
    main()

"""What the sampling grid of a prediction costs in accuracy, and the egg-box error on it.

On DFT's own densities: each is taken at the points of coarser grids, continued to its own grid as a prediction is, and
compared, with the energies that follow from the density. With --model each structure is also predicted, on the
density's own grid and on coarser ones, and once more with all atoms moved by half a step of the density's grid.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.datasets import atoms_of, open_dataset, settings_of
from nearsight.energies import FourierGrid, density_energies
from nearsight.energies.continuation import continue_density, sampling_shape
from nearsight.files import write_text
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.reference.espresso.options import add_pseudopotential_option, pseudopotentials_of
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.study.sections import Inference

SHARES = (0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.3)


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("references", type=Path, nargs="+", help="snapshot datasets (HDF5)")
    add_pseudopotential_option(parser)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="sampling cutoffs in parts of ecutrho")
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the tables")
    arguments = parser.parse_args()
    lines = ["| cell | share of ecutrho | share of the points | free energy (meV/atom) | density (%) | estimate (%) |"]
    lines += ["|---|---|---|---|---|---|"]
    for path in arguments.references:
        lines += [line(path.stem, *row) for row in of_reference(path, arguments)]
    if arguments.model is not None:
        lines += [
            "",
            "| cell | share of ecutrho | free energy (meV/atom) | density (%) | estimate (%) | egg-box (meV/atom) |",
        ]
        lines += ["|---|---|---|---|---|---|"]
        for path in arguments.references:
            lines += [line(path.stem, *row) for row in of_prediction(path, arguments)]
    write_text(arguments.output / "sampling.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def line(*values: str | float) -> str:
    """A row of a table."""
    return "| " + " | ".join(value if isinstance(value, str) else f"{value:.4g}" for value in values) + " |"


def of_reference(path: Path, arguments: argparse.Namespace) -> list[tuple]:
    """Share of cutoff and points, error of the free energy's density terms, of the density, and its estimate."""
    pseudopotentials = pseudopotentials_of(arguments)
    with open_dataset(path) as dataset:
        density, atoms = dataset["density"].values, atoms_of(dataset)
        ecutrho_Ry = settings_of(dataset)["dft"]["ecutrho_Ry"]
    cell, shape = np.asarray(atoms.cell), density.shape
    grid = FourierGrid(cell, shape, ecutrho_Ry)
    coefficients = np.fft.fftn(grid.field(grid.coefficients(density))) / density.size

    def energy(density: np.ndarray) -> float:
        terms = density_energies(atoms, density, pseudopotentials, ecutrho_Ry=ecutrho_Ry)
        return 1e3 * (terms.xc - terms.hartree - terms.xc_potential) / len(atoms)

    exact, rows = energy(density), []
    for share in arguments.shares:
        sampled = at_points(coefficients, sampling_shape(cell, shape, share * ecutrho_Ry))
        planes, estimate = continue_density(sampled, cell, shape, share * ecutrho_Ry)
        found = np.stack(list(planes))
        error = 100 * np.mean(np.abs(found - density) / density)
        rows.append((share, sampled.size / density.size, f"{energy(found) - exact:+.3f}", error, 100 * estimate))
    return rows


def at_points(coefficients: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The field of coefficients at the points of another grid: all their waves, with nothing left out."""
    for axis, (waves, points) in enumerate(zip(coefficients.shape, shape, strict=True)):
        m = np.fft.fftfreq(waves, 1 / waves)
        phases = np.exp(2j * np.pi * np.outer(np.arange(points) / points, m))
        coefficients = np.moveaxis(np.tensordot(phases, coefficients, axes=(1, axis)), 0, axis)
    return coefficients.real


def of_prediction(path: Path, arguments: argparse.Namespace) -> list[tuple]:
    """Share of the cutoff, what it changes of predicted free energy and density, its estimate, the egg-box error."""
    with open_dataset(path) as dataset:
        atoms, shape = atoms_of(dataset), dataset["density"].shape
        ecutrho_Ry = settings_of(dataset)["dft"]["ecutrho_Ry"]
    moved = atoms.copy()
    moved.positions += 0.5 * (np.asarray(atoms.cell) / np.array(shape)[:, None]).sum(axis=0)
    rows, exact = [], None
    for share in (1.0, *arguments.shares):
        (energy, density, estimate), (other, _, _) = (
            predict(each, shape, share * ecutrho_Ry, arguments.model) for each in (atoms, moved)
        )
        exact = (energy, density) if exact is None else exact
        error = 100 * np.mean(np.abs(density - exact[1]) / exact[1])
        rows.append((share, f"{energy - exact[0]:+.3f}", error, 100 * estimate, f"{other - energy:+.3f}"))
    return rows


def predict(
    atoms: Atoms, shape: tuple[int, int, int], ecut_sample_Ry: float, model: Path
) -> tuple[float, np.ndarray, float]:
    """Total free energy in meV/atom, density, estimate of what the sampling leaves out of it."""
    atoms = atoms.copy()
    atoms.info[GRID_SHAPE] = list(shape)
    with tempfile.TemporaryDirectory() as folder:
        energies = predict_structure(
            ModelFiles.find(model),
            atoms,
            Path(folder),
            Inference(batches=1, accept_extrapolation=True, ecut_sample_Ry=ecut_sample_Ry),
            alone(),
        )
        with open_dataset(Path(folder) / "prediction.h5") as dataset:
            sampling = settings_of(dataset)["sampling"]
            density = dataset["density"].values
    return 1e3 * energies.total / len(atoms), density, sampling["aliasing"] if sampling else 0.0


if __name__ == "__main__":
    main()

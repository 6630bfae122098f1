"""What the sampling grid of a prediction costs in accuracy, and the egg-box error on it.

    snakemake --cores 2 --configfile bench/front.yaml -- reference
    python bench/sampling.py --page docs/prediction.md

On DFT's own densities: each is taken at the points of coarser grids, continued to its own grid as a prediction is, and
compared, with the energies that follow from the density; also exchange and correlation of the exact density on the
coarser grid itself. Each structure is also predicted, on the density's own grid and on coarser ones, and once more
with all atoms moved by half a step of the density's grid.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from tables import report
from tqdm import tqdm

from nearsight.datasets import atoms_of, open_dataset, settings_of
from nearsight.energies import FourierGrid, density_energies
from nearsight.energies.continuation import continue_density, sampling_shape
from nearsight.energies.core_charge import core_coefficients
from nearsight.energies.method import functional_of
from nearsight.energies.xc import xc_terms
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotentials
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.study.reading import load_study
from nearsight.study.sections import Inference, Study

SHARES = (0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.3)
CELLS = ("test64-0", "test_m2-0", "test_long-0")


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("bench/front.yaml"), help="a study that was run")
    parser.add_argument("--cells", nargs="+", default=CELLS, help=f"its snapshots ({' '.join(CELLS)})")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="sampling cutoffs over ecutrho")
    parser.add_argument("--model", default="Be", help="name or folder of a model (Be)")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'sampling' is replaced")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    rows = measure(study, arguments.cells, (1.0, *arguments.shares), ModelFiles.find(arguments.model))
    report(rows, table, arguments.output / "sampling.csv", arguments.page, "sampling")


def measure(study: Study, cells: Sequence[str], shares: Sequence[float], model: ModelFiles) -> Iterator[dict]:
    """A row for each cell and share of the cutoff: what it changes, of DFT's own density and of a prediction."""
    results = Path("results") / study.study
    pseudopotentials = read_pseudopotentials({e: results / "pseudo" / f"{e}.upf" for e in study.pseudopotentials})
    for cell in tqdm(cells, desc="cells", disable=None):
        with open_dataset(results / "reference" / f"{cell}.h5") as dataset:
            density, atoms = dataset["density"].values, atoms_of(dataset)
        of_dft = of_reference(atoms, density, pseudopotentials, study.dft.ecutrho_Ry, shares)
        of_model = of_prediction(atoms, density.shape, study.dft.ecutrho_Ry, shares, model)
        for share, dft, predicted in zip(shares, of_dft, of_model, strict=True):
            yield {"cell": cell, "atoms": len(atoms), "share": share, **dft, **predicted}


def table(rows: Sequence[dict]) -> list[str]:
    """A row for each share, in each column the cells one after the other."""
    heads = {
        "points": ("share_of_points", ".2f"),
        "DFT: energy": ("dft_energy_meV_per_atom", "+.2f"),
        "density (%)": ("dft_density_percent", ".3f"),
        "estimate (%)": ("dft_estimate_percent", ".3f"),
        "xc there": ("dft_xc_meV_per_atom", "+.2f"),
        "model: energy": ("model_energy_meV_per_atom", "+.2f"),
        "density (%) ": ("model_density_percent", ".3f"),
        "estimate (%) ": ("model_estimate_percent", ".2f"),
        "egg-box": ("egg_box_meV_per_atom", "+.2f"),
    }
    lines = [f"| share of ecutrho | {' | '.join(map(str.strip, heads))} |", "|---" * (1 + len(heads)) + "|"]
    for share in dict.fromkeys(row["share"] for row in rows):
        those = [row for row in rows if row["share"] == share]
        columns = (", ".join(format(row[key], digits) for row in those) for key, digits in heads.values())
        lines.append(f"| {share:g} | {' | '.join(columns)} |")
    return lines


def of_reference(
    atoms: Atoms,
    density: np.ndarray,
    pseudopotentials: dict[str, Pseudopotential],
    ecutrho_Ry: float,
    shares: Sequence[float],
) -> Iterator[dict]:
    """For each share: part of the points, error of the free energy's density terms, of the density, its estimate.

    Also that of E_xc - ∫ v_xc n if it alone were evaluated on the grid of that share.
    """
    cell, shape = np.asarray(atoms.cell), density.shape
    grid = FourierGrid(cell, shape, ecutrho_Ry)
    coefficients = np.fft.fftn(grid.field(grid.coefficients(density))) / density.size

    def energy(density: np.ndarray) -> float:
        terms = density_energies(atoms, density, pseudopotentials, ecutrho_Ry=ecutrho_Ry)
        return 1e3 * (terms.xc - terms.hartree - terms.xc_potential) / len(atoms)

    def xc(density: np.ndarray, ecut_Ry: float) -> float:
        grid = FourierGrid(cell, density.shape, ecut_Ry)
        valence = grid.coefficients(density)
        core = core_coefficients(atoms, {e: each.core for e, each in pseudopotentials.items()}, grid)
        terms = xc_terms(valence, valence if core is None else valence + core, grid, functional_of(pseudopotentials))
        return 1e3 * (terms.energy - terms.potential) / len(atoms)

    exact, exact_xc = energy(density), xc(density, ecutrho_Ry)
    for share in shares:
        found, sampled, estimate = density, density, 0.0
        if share < 1:
            sampled = at_points(coefficients, sampling_shape(cell, shape, share * ecutrho_Ry))
            planes, estimate = continue_density(sampled, cell, shape, share * ecutrho_Ry)
            found = np.stack(list(planes))
        yield {
            "share_of_points": f"{sampled.size / density.size:.4f}",
            "dft_energy_meV_per_atom": f"{energy(found) - exact:.4f}",
            "dft_density_percent": f"{100 * np.mean(np.abs(found - density) / density):.5f}",
            "dft_estimate_percent": f"{100 * estimate:.5f}",
            "dft_xc_meV_per_atom": f"{xc(sampled, share * ecutrho_Ry) - exact_xc:.4f}",
        }


def at_points(coefficients: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The field of coefficients at the points of another grid: all their waves, with nothing left out."""
    for axis, (waves, points) in enumerate(zip(coefficients.shape, shape, strict=True)):
        m = np.fft.fftfreq(waves, 1 / waves)
        phases = np.exp(2j * np.pi * np.outer(np.arange(points) / points, m))
        coefficients = np.moveaxis(np.tensordot(phases, coefficients, axes=(1, axis)), 0, axis)
    return coefficients.real


def of_prediction(
    atoms: Atoms, shape: tuple[int, int, int], ecutrho_Ry: float, shares: Sequence[float], model: ModelFiles
) -> Iterator[dict]:
    """For each share: what it changes of predicted free energy and density, its estimate, the egg-box error."""
    moved = atoms.copy()
    moved.positions += 0.5 * (np.asarray(atoms.cell) / np.array(shape)[:, None]).sum(axis=0)
    exact = None
    for share in shares:
        (energy, density, estimate), (other, _, _) = (
            predict(each, shape, share * ecutrho_Ry, model) for each in (atoms, moved)
        )
        exact = (energy, density) if exact is None else exact
        yield {
            "model_energy_meV_per_atom": f"{energy - exact[0]:.4f}",
            "model_density_percent": f"{100 * np.mean(np.abs(density - exact[1]) / exact[1]):.5f}",
            "model_estimate_percent": f"{100 * estimate:.5f}",
            "egg_box_meV_per_atom": f"{other - energy:.4f}",
        }


def predict(
    atoms: Atoms, shape: tuple[int, int, int], ecut_sample_Ry: float, model: ModelFiles
) -> tuple[float, np.ndarray, float]:
    """Total free energy in meV/atom, density, estimate of what the sampling leaves out of it."""
    atoms = atoms.copy()
    atoms.info[GRID_SHAPE] = list(shape)
    settings = Inference(batches=1, accept_extrapolation=True, ecut_sample_Ry=ecut_sample_Ry)
    with tempfile.TemporaryDirectory() as folder:
        energies = predict_structure(model, atoms, Path(folder), settings, alone())
        with open_dataset(Path(folder) / "prediction.h5") as dataset:
            sampling = settings_of(dataset)["sampling"]
            density = dataset["density"].values
    return 1e3 * energies.total / len(atoms), density, sampling["aliasing"] if sampling else 0.0


if __name__ == "__main__":
    main()

"""Reading a prediction's folder: all that a page shows, checked to come from one run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from ase import Atoms

from nearsight.datasets import atoms_of, open_foreign_dataset, provenance_of, require, settings_of
from nearsight.errors import InputError
from nearsight.files import read_json, sha256_of

#: Terms of the total free energy in the order in which they are summed, with their signs.
TERMS = {"band": 1, "hartree": -1, "xc": 1, "xc_potential": -1, "ion": 1, "entropy": 1, "broadening": 1}

#: What cells of two densities may differ by, in Å.
CELL_TOLERANCE_A = 1e-6


@dataclass(frozen=True)
class Spectrum:
    """A density of states in 1/eV at `energies_eV`, with its Fermi level where it is known."""

    energies_eV: np.ndarray
    dos: np.ndarray
    fermi_level_eV: float | None


@dataclass(frozen=True)
class Energies:
    """Terms of the total free energy in eV, of TERMS and "total", and the model's standard deviation of it.

    unscreened_eV_per_atom: energy of charge in long waves; screened: whether the prediction has corrected it, so that
    what is left is the metal's own.
    """

    terms_eV: dict[str, float]
    unscreened_eV_per_atom: float | None
    screened: bool
    deviation_eV_per_atom: float | None


@dataclass(frozen=True)
class Prediction:
    """What a prediction's folder holds.

    density: shape (nx, ny, nz), 1/Å³, read plane by plane (density[i]), None where there is none; scores: how far the
    structure is from the training set, by what is compared; atom_scores: shape (atoms,), the same of descriptors near
    each atom, None in older predictions.
    """

    name: str
    atoms: Atoms
    density: xr.DataArray | None
    spectrum: Spectrum | None
    energies: Energies | None
    scores: dict[str, float]
    atom_scores: np.ndarray | None
    temperature_K: float | None
    fermi_level_deviation_eV: float | None
    settings: dict
    provenance: dict


@contextmanager
def open_prediction(folder: Path) -> Iterator[Prediction]:
    """Yield the prediction of a folder, of `nearsight predict` or of a study.

    Raises InputError where the folder is not a prediction's, or one of its files is missing, or of another run.
    """
    source = find_prediction(folder)
    with open_foreign_dataset(source) as dataset:
        require(dataset, "cell", "positions", "atomic_numbers", path=source)
        provenance, settings = provenance_of(dataset), settings_of(dataset)
        plan = read_plan(folder / "plan.json", provenance, source)
        energies_file = find_energies(folder)
        yield Prediction(
            name=readable(folder.resolve().name),
            atoms=read_atoms(dataset, source),
            density=dataset.get("density"),
            spectrum=read_spectrum(dataset, source),
            energies=None if energies_file is None else read_energies(energies_file, source),
            scores=plan,
            atom_scores=read_atom_scores(dataset, source),
            temperature_K=number_of(settings, "temperature_K", source),
            fermi_level_deviation_eV=number_of(settings, "fermi_level_deviation_eV", source),
            settings=settings,
            provenance=provenance,
        )


@contextmanager
def open_other(path: Path, prediction: Prediction) -> Iterator[Prediction]:
    """Yield what a prediction is compared with: another one's folder, or a dataset such as DFT's snapshot.

    Raises InputError unless both densities are of one cell and one grid.
    """
    if path.is_dir():
        source, context = find_prediction(path), open_prediction(path)
    else:
        source, context = path, open_dataset_alone(path)
    with context as other:
        if prediction.density is None or other.density is None:
            missing = "the prediction" if prediction.density is None else str(source)
            raise InputError(f"--compare: expected two densities, found none in {missing}.")
        difference = np.abs(prediction.atoms.cell.array - other.atoms.cell.array).max()
        if difference > CELL_TOLERANCE_A:
            raise InputError(
                f"{source}: expected the cell of the prediction that it is compared with, got one whose vectors differ "
                f"by up to {difference:.3g} Å. Densities are compared point by point: name one of the same cell."
            )
        if prediction.density.shape != other.density.shape:
            ours, theirs = ("x".join(map(str, found.density.shape)) for found in (prediction, other))
            raise InputError(
                f"{source}: expected the grid of the prediction that it is compared with, {ours} points, got {theirs}. "
                f"Predict on one grid: nearsight predict --grid {ours.replace('x', ' ')}."
            )
        yield other


@contextmanager
def open_dataset_alone(path: Path) -> Iterator[Prediction]:
    """Yield the density and, where there is one, the DOS of a dataset."""
    with open_foreign_dataset(path) as dataset:
        require(dataset, "density", "cell", "positions", "atomic_numbers", path=path)
        yield Prediction(
            name=readable(path.stem),
            atoms=read_atoms(dataset, path),
            density=dataset["density"],
            spectrum=read_spectrum(dataset, path),
            energies=None,
            scores={},
            atom_scores=None,
            temperature_K=None,
            fermi_level_deviation_eV=None,
            settings=settings_of(dataset),
            provenance=provenance_of(dataset),
        )


def find_prediction(folder: Path) -> Path:
    """The dataset of a prediction's folder. Raises InputError where there is none."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise InputError(f"{folder}: expected the folder of a prediction (nearsight predict --out), got {found}.")
    if not (folder / "prediction.h5").exists():
        found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        raise InputError(
            f"{folder}: expected the folder of a prediction with prediction.h5, found "
            f"{', '.join(found[:3]) or 'no file'}{', ...' if len(found) > 3 else ''}. A prediction that was stopped "
            "resumes with the same command."
        )
    return folder / "prediction.h5"


def find_energies(folder: Path) -> Path | None:
    """The energies of a prediction: in its folder, or, in a study, in the one of energies; None for none in a study."""
    own, place = folder / "energies.json", folder.resolve()
    if own.exists() or (folder / "request.json").exists():  # `nearsight predict` writes them last
        return own
    of_study = place.parent.parent / "energies" / "prediction" / f"{place.name}.json"
    return of_study if of_study.exists() else None


def read_plan(path: Path, provenance: dict, source: Path) -> dict[str, float]:
    """Scores of a prediction's plan. Raises InputError where the plan is missing, or not the prediction's."""
    plan = read_json(path)
    check_origin(source, provenance, "plan", path)
    scores = {"descriptors": "descriptor_score", "radial distribution": "rdf_score"}
    found = {what: number_of(plan, key, path) for what, key in scores.items()}
    return {what: score for what, score in found.items() if score is not None}


def read_energies(path: Path, source: Path) -> Energies:
    """Energies of a prediction's file. Raises InputError where they are missing, damaged, or not the prediction's."""
    content = read_json(path)
    check_origin(path, content.get("provenance"), "fields", source)
    terms = content.get("energies_eV")
    if isinstance(terms, dict):
        terms = {"broadening": 0.0} | terms  # older predictions have none
    found = {name: number_of(terms, name, path) for name in (*TERMS, "total")} if isinstance(terms, dict) else {}
    if not found or None in found.values():
        raise InputError(
            f"{path}: expected energies_eV with {', '.join(TERMS)}, total, got {sorted(found) or 'none'}. "
            "Predict again to make it anew."
        )
    screening = content.get("screening")
    return Energies(
        terms_eV=found,
        unscreened_eV_per_atom=number_of(content, "unscreened_eV_per_atom", path),
        screened=isinstance(screening, dict) and screening.get("wave_vector_A") is not None,
        deviation_eV_per_atom=number_of(content, "energy_deviation_eV_per_atom", path),
    )


def check_origin(path: Path, provenance: object, name: str, origin: Path) -> None:
    """Raise InputError unless the provenance of `path` has the sum of the file `origin` as its input `name`."""
    inputs = provenance.get("inputs_sha256") if isinstance(provenance, dict) else None
    recorded = inputs.get(name) if isinstance(inputs, dict) else None
    if recorded != sha256_of(origin):
        raise InputError(
            f"{path}: expected it to be made from the {origin.name} that is there, got one of another run. "
            "Predict again into an empty folder, or get both files of one run."
        )


def readable(name: str) -> str:
    """A file's name as text that can be written, whatever bytes it has."""
    return name.encode("utf-8", errors="replace").decode("utf-8")


def number_of(content: dict, key: str, path: Path) -> float | None:
    """A number of a JSON object, None where there is none. Raises InputError for anything else."""
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(f"{path}: {key}: expected a number, got {str(value)[:40]!r}. Predict again to make it anew.")
    return float(value)


def read_atoms(dataset: xr.Dataset, path: Path) -> Atoms:
    """The structure of a dataset. Raises InputError where it is none of elements at finite places in a cell."""
    atoms = atoms_of(dataset)
    numbers_are_known = len(atoms) > 0 and atoms.numbers.min() >= 1 and atoms.numbers.max() <= 118
    if not numbers_are_known or not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise InputError(f"{path}: expected elements at finite positions, got others. Predict again to make it anew.")
    if not atoms.get_volume() > 0:
        raise InputError(f"{path}: cell: expected three lattice vectors that span a volume, got {atoms.cell.tolist()}.")
    return atoms


def read_atom_scores(dataset: xr.Dataset, path: Path) -> np.ndarray | None:
    """Extrapolation scores of the atoms, None where there are none. Raises InputError unless they are numbers."""
    if "extrapolation_score" not in dataset:
        return None
    scores = dataset["extrapolation_score"].values
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise InputError(f"{path}: extrapolation_score: expected finite numbers from 0 on. Predict again.")
    return scores


def read_spectrum(dataset: xr.Dataset, path: Path) -> Spectrum | None:
    """Density of states and Fermi level of a dataset, None where there is no density of states."""
    if "dos" not in dataset or "energy" not in dataset:
        return None
    level = float(dataset["fermi_energy"]) if "fermi_energy" in dataset else None
    spectrum = Spectrum(dataset["energy"].values, dataset["dos"].values, level)
    if spectrum.dos.size < 2 or not all(np.isfinite(part).all() for part in (spectrum.energies_eV, spectrum.dos)):
        raise InputError(
            f"{path}: dos: expected finite numbers at two energies or more. Predict again to make it anew."
        )
    return spectrum

"""The snapshots that a model of MALA was trained on, found by the names in its parameters, and what they show.

MALA's model does not say how its LDOS was broadened or what it was trained on; its data do.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.descriptors.interface import Descriptor, check_elements
from nearsight.errors import InputError
from nearsight.files import read_json
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region
from nearsight.imports.kernels import Broadening
from nearsight.imports.mala.arrays import read_field, without_xyz
from nearsight.imports.mala.parameters import MalaParameters, NamedSnapshot
from nearsight.imports.mala.snapshot import measure_broadening
from nearsight.model.domain import SAMPLES, TrainingDomain, density_range, measure_domain
from nearsight.model.scaling import Scaling
from nearsight.reference.espresso.text import read_text_run
from nearsight.structures.checks import check_structure
from nearsight.structures.correlation import radial_distribution

logger = logging.getLogger("nearsight")

#: Ends of the names of MALA's descriptor files, and what the text of pw.x and the additional data have instead.
ENDS = (".in.npy", ".in.h5")
TEXTS, FACTS = (".out", ".pw.scf.out"), ".info.json"

#: Largest difference between MALA's descriptors and ours of the same structure, relative to their spread: the text of
#: pw.x has seven digits of the positions, and MALA's files are in float32.
DESCRIPTOR_TOLERANCE = 1e-3

#: Number of bins of a radial distribution of which nothing is known, and a distance that no structure reaches.
NO_RDF_BINS, NO_RDF_DISTANCE = 1, 1e6


@dataclass(frozen=True)
class TrainingSnapshot:
    """A snapshot's structure and descriptors, shape (nx, ny, nz, components); ldos, text: its files, where they are."""

    name: str
    atoms: Atoms
    descriptors: np.ndarray
    ldos: Path | None
    text: Path | None


def find_snapshots(
    parameters: MalaParameters, folder: Path, descriptor: Descriptor
) -> tuple[list[TrainingSnapshot], list[TrainingSnapshot]]:
    """The snapshots of training and of validation that are in a folder, checked against our own descriptors.

    Raises InputError where there is none of the training, or where descriptors are not ours of the structure.
    """
    parts: dict[str, list[TrainingSnapshot]] = {"tr": [], "va": []}
    for named in parameters.snapshots:
        path = folder / named.descriptors
        if named.role in parts and path.is_file():
            parts[named.role].append(_read_snapshot(named, path, descriptor))
    wanted = [named.descriptors for named in parameters.snapshots if named.role == "tr"]
    if not parts["tr"]:
        raise InputError(
            f"{folder}: expected the training snapshots of the model's parameters ({', '.join(wanted[:3]) or 'none'}"
            f"{', ...' if len(wanted) > 3 else ''}), found none. Name their folder with --data, or leave it out."
        )
    if not parts["va"] and len(parts["tr"]) > 1:
        parts["va"] = [parts["tr"].pop()]
    logger.info("training set: %d snapshots of %d, validation: %d", len(parts["tr"]), len(wanted), len(parts["va"]))
    return parts["tr"], parts["va"]


def _read_snapshot(named: NamedSnapshot, path: Path, descriptor: Descriptor) -> TrainingSnapshot:
    stem = next((path.name.removesuffix(end) for end in ENDS if path.name.endswith(end)), path.stem)
    text = next((path.with_name(stem + end) for end in TEXTS if path.with_name(stem + end).is_file()), None)
    facts = path.with_name(stem + FACTS)
    if text is None and not facts.is_file():
        raise InputError(
            f"{path}: expected the structure beside it, {stem}{TEXTS[0]} (the text of pw.x) or {stem}{FACTS}, found "
            "none."
        )
    atoms = read_text_run(text)[0].atoms if text is not None else atoms_of_facts(read_json(facts), facts)
    check_structure(atoms, str(text or facts))
    check_elements(descriptor, atoms, str(text or facts))
    values = without_xyz(read_field(path, "Bispectrum"), descriptor.components, path)
    compare_descriptors(descriptor, atoms, values, path)
    ldos = path.with_name(named.ldos)
    return TrainingSnapshot(named.descriptors, atoms, values, ldos if ldos.is_file() else None, text)


def atoms_of_facts(facts: dict, path: Path | str) -> Atoms:
    """The structure of MALA's additional data (NAME.info.json). Raises InputError where it has none."""
    found = facts.get("atoms")
    try:
        numbers = np.array(found["numbers"], dtype=int)
        positions, cell = (np.array(found[key], dtype=float) for key in ("positions", "cell"))
        if positions.shape != (len(numbers), 3) or cell.shape != (3, 3) or numbers.min() < 1 or numbers.max() > 118:
            raise ValueError("other shapes")
        return Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: atoms: expected numbers, positions and a cell, got {type(error).__name__}: {str(error)[:80]}."
        ) from None


def compare_descriptors(descriptor: Descriptor, atoms: Atoms, values: np.ndarray, path: Path) -> None:
    """Raise InputError where MALA's descriptors of a structure, on a plane of the grid, are not ours."""
    grid = RealGrid(atoms.cell, values.shape[:3])
    plane = Region((0, 1), *((0, n) for n in grid.shape[1:]))
    ours = descriptor.compute(atoms, grid, plane, np.empty((*plane.shape, descriptor.components)))
    spread = np.maximum(np.std(values[plane.slices()], axis=(0, 1, 2), dtype=float), 1e-12)
    error = float((np.abs(values[plane.slices()] - ours).max(axis=(0, 1, 2)) / spread).max())
    logger.info("%s: descriptors differ from ours by %.1e of their spread", path.name, error)
    if not error < DESCRIPTOR_TOLERANCE:
        raise InputError(
            f"{path}: expected the bispectrum of the structure beside it, got one that differs from ours by "
            f"{error:.1e} of its spread. Is it of this structure, and with LAMMPS's input as MALA has it?"
        )


def measure_training_domain(
    training: Sequence[TrainingSnapshot], validation: Sequence[TrainingSnapshot], cutoff_A: float
) -> tuple[TrainingDomain, dict[str, float]]:
    """The domain of a training set, and the range of its atoms per volume by the keys of a bundle's `training`."""
    domain = measure_domain(
        *(_sample(part) for part in (training, validation)),
        *(np.stack([radial_distribution(one.atoms, cutoff_A)[1] for one in part]) for part in (training, validation)),
        cutoff_A,
        seed=0,
    )
    return domain, density_range([len(one.atoms) / one.atoms.get_volume() for one in training])


def _sample(snapshots: Sequence[TrainingSnapshot]) -> np.ndarray:
    """Descriptors of about SAMPLES points, shape (points, components), float64."""
    generator = np.random.default_rng(0)
    rows = []
    for one in snapshots:
        flat = one.descriptors.reshape(-1, one.descriptors.shape[-1])
        chosen = np.sort(generator.permutation(len(flat))[: max(SAMPLES // len(snapshots), 1)])
        rows.append(np.asarray(flat[chosen], dtype=np.float64))
    return np.concatenate(rows)


def domain_of_scaling(scaling: Scaling, cutoff_A: float) -> TrainingDomain:
    """A domain of which mean and deviation of each descriptor are known, and no radial distribution.

    A structure's score is the distance of its points from the mean in deviations, 1 where it is that of the training
    points, √n of n descriptors.
    """
    n = scaling.mean.size
    return TrainingDomain(
        mean=scaling.mean.copy(),
        components=np.diag(1 / scaling.scale),
        references=np.zeros((1, n), dtype=np.float32),
        distance=float(np.sqrt(n)),
        rdf=np.zeros(NO_RDF_BINS),
        rdf_cutoff_A=cutoff_A,
        rdf_distance=NO_RDF_DISTANCE,
    )


def broadening_of(snapshots: Sequence[TrainingSnapshot], parameters: MalaParameters) -> Broadening | None:
    """How the first LDOS that has its text of pw.x beside it is broadened; None where there is none."""
    for one in snapshots:
        if one.ldos is not None and one.text is not None:
            result, _ = read_text_run(one.text)
            return measure_broadening(read_field(one.ldos, "LDOS"), result, parameters.energy_grid, one.ldos).broadening
    return None

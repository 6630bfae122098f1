"""A whole prediction from a model and a structure, without a workflow; what the command `nearsight predict` runs.

It goes through the same steps and files as the workflow does: plan, one batch (resumable by tile), joined prediction,
energies. All ranks of an MPI job take part.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.datasets import create_field_file, variables_of_atoms
from nearsight.energies import FourierGrid
from nearsight.energies.place import place_energies
from nearsight.energies.report import write_energies
from nearsight.energies.total import FreeEnergy
from nearsight.errors import ConvergenceError
from nearsight.files import sha256_of, write_json, write_text
from nearsight.grids.plane_waves import fft_shape
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, check_region, split_compactly
from nearsight.inference.batch import predict_batch
from nearsight.inference.folder import Request, check_disk, check_folder, claim_folder, sha256_of_structure
from nearsight.inference.gather import LevelTooFar, gather_batches, place_gathering
from nearsight.inference.plan import PredictionPlan, choose_sampling, make_plan
from nearsight.inference.predict import prepare_predictor
from nearsight.memory import INFERENCE_PROCESS_BYTES, check_memory, limit_bytes
from nearsight.model.bundle import ModelBundle, load_bundle
from nearsight.models import find_model
from nearsight.mpi import on_rank_0
from nearsight.provenance import collect_provenance
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotentials
from nearsight.structures.checks import check_structure, turn_right_handed
from nearsight.structures.gridded import GRID_SHAPE, grid_of
from nearsight.structures.io import structure_text
from nearsight.study.sections import Inference

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

#: Most bytes of all files of a prediction per grid point.
DISK_BYTES_PER_POINT = 40

#: How often the Fermi level of the pre-pass is replaced by the one that follows from it.
MOST_REPEATS = 3


@dataclass(frozen=True)
class ModelFiles:
    """The two files of a bundle."""

    bundle: Path
    weights: Path

    @classmethod
    def find(cls, path: Path) -> "ModelFiles":
        """The files of a model that is given by its folder, its JSON file, or its name inside the package.

        Raises InputError where there is no such model.
        """
        path = find_model(path)
        bundle = path / "model.json" if path.is_dir() else path
        return cls(bundle, bundle.with_suffix(".safetensors"))

    def load(self, temperature_K: float | None) -> ModelBundle:
        """The model, at another temperature of the electrons where one is given."""
        model = load_bundle(self.bundle, self.weights)
        return model if temperature_K is None else replace(model, temperature_K=float(temperature_K))


def choose_grid(atoms: Atoms, model: ModelBundle, shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """The grid that is asked for, else the structure's own, else the one that Quantum ESPRESSO would take."""
    if shape is not None:
        return tuple(int(n) for n in shape)
    return grid_of(atoms) if GRID_SHAPE in atoms.info else fft_shape(np.asarray(atoms.cell), model.ecutrho_Ry)


def choose_cutoff(settings: Inference, model: ModelBundle, shape: tuple[int, int, int] | None) -> Inference:
    """The settings; all points of a grid that is asked for are predicted, unless a sampling cutoff is asked for too."""
    if shape is None or settings.ecut_sample_Ry is not None:
        return settings
    return settings.model_copy(update={"ecut_sample_Ry": model.ecutrho_Ry})


def predict_structure(
    files: ModelFiles,
    atoms: Atoms,
    folder: Path,
    settings: Inference,
    comm: "Comm",
    *,
    backend: str | None = None,
    shape: tuple[int, int, int] | None = None,
    temperature_K: float | None = None,
    ldos: Region | str | None = None,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Callable[[Iterable, str], Iterable] = lambda items, _: items,
) -> FreeEnergy:
    """Predict a structure and write everything into `folder`; a stopped prediction resumes where it was.

    Writes prediction.h5 (density, DOS, observables), dos.csv, observables.json, energies.json, structure.extxyz,
    plan.json, the model's pseudopotentials and, for the region `ldos` of the grid, ldos.h5. shape: of the grid of
    density and LDOS, all of whose points are predicted unless the settings have a sampling cutoff; temperature_K: of
    the electrons, the model's where it is None; ldos: a region, or 'all'; inputs: further files that were read, which
    `folder` must not hold; overwrite: the prediction of another structure in it; progress: wraps (items, what they
    are). Nothing is written before model, structure, grid, folder, memory and disk are checked and the pre-pass is
    over. Raises InputError, and StorageError, where something does not fit.
    """
    model, atoms = files.load(temperature_K), turn_right_handed(atoms)
    settings = choose_cutoff(settings, model, shape)
    shape = choose_grid(atoms, model, shape)
    region = None if ldos is None else check_region(None if ldos == "all" else ldos, shape)
    plan_file, structure = folder / "plan.json", folder / "structure.extxyz"

    def start() -> PredictionPlan:
        check_structure(atoms)
        grid = FourierGrid(np.asarray(atoms.cell), shape, model.ecutrho_Ry)
        request = Request(sha256_of_structure(atoms), sha256_of(files.weights))
        check_folder(folder, request, [files.bundle, files.weights, *inputs], overwrite=overwrite)
        for warning in model.descriptor(backend).warnings(atoms, grid):
            logger.warning("structure: %s", warning)
        sampled, _ = choose_sampling(model, grid, settings)
        ldos_bytes = 0 if region is None else 4 * region.points * model.energy_grid.count
        check_costs(atoms, shape, sampled.shape, folder, ldos_bytes, settings, comm)
        placed = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        placed.info = {GRID_SHAPE: list(shape)}
        text = structure_text(placed)
        plan = make_plan(
            model,
            atoms,
            shape,
            settings,
            backend=backend,
            model_sha256=request.model_sha256,
            structure_sha256=hashlib.sha256(text.encode()).hexdigest(),
            progress=lambda tiles: progress(tiles, "pre-pass"),
        )
        claim_folder(folder, request)
        write_text(structure, text)
        write_json(plan_file, plan.to_json())
        return plan

    plan = on_rank_0(comm, start)
    batch = folder / "batch-0.h5"
    for _ in range(MOST_REPEATS):
        inputs = {"plan": plan_file, "model": files.bundle, "weights": files.weights}
        predict_batch(
            plan,
            0,
            model,
            atoms,
            batch,
            plan_sha256=on_rank_0(comm, lambda: sha256_of(plan_file)),
            provenance=lambda record, inputs=inputs: collect_provenance("inference", record, inputs),
            threads=settings.threads,
            comm=comm,
            progress=lambda tiles: progress(tiles, "tiles"),
        )
        farther = on_rank_0(comm, lambda: _gather(plan_file, model, batch, folder, settings))
        if farther is None:
            break
        plan = plan.at_level(farther)
        on_rank_0(comm, lambda plan=plan: write_json(plan_file, plan.to_json()))
    else:
        raise ConvergenceError(
            f"Fermi level: expected it to settle in {MOST_REPEATS} passes, it did not. The spectrum is too sparse at "
            f"{model.temperature_K:g} K: predict at a higher temperature, or train with more k-points."
        )
    pseudopotentials = on_rank_0(comm, lambda: write_pseudopotentials(model, folder))
    energies = write_energies(
        folder / "prediction.h5",
        pseudopotentials,
        model.ecutrho_Ry,
        folder / "energies.json",
        comm,
        memory_GiB=settings.memory_GiB,
        process_bytes=INFERENCE_PROCESS_BYTES,
    )
    if region is not None:
        on_rank_0(comm, lambda: write_ldos(model, atoms, plan, settings, region, folder / "ldos.h5", progress))
    on_rank_0(comm, lambda: batch.unlink())
    return energies


def check_costs(
    atoms: Atoms,
    shape: tuple[int, int, int],
    sampled: tuple[int, int, int],
    folder: Path,
    ldos_bytes: int,
    settings: Inference,
    comm: "Comm",
) -> None:
    """Log how much memory and disk a prediction takes. Raises InputError or StorageError where there is less.

    On disk are the finished tiles (three numbers of 8 bytes a point) beside the batch that is joined from them (16),
    then the batch beside the density (8); and fields of gathering or energies that the settings' memory does not hold.
    """
    points = prod(shape)
    logger.info("grid: %d x %d x %d, %.3g points; %d atoms", *shape, points, len(atoms))
    if sampled != shape:
        logger.info("grid that is predicted: %d x %d x %d, %.3g points", *sampled, prod(sampled))
    limit, _ = limit_bytes(None, comm.size, memory_GiB=settings.memory_GiB)
    gathering = place_gathering(atoms, sampled, shape, 1, limit, screening=settings.screening)
    energies = place_energies(atoms, shape, limit, comm.size, INFERENCE_PROCESS_BYTES)
    for stage, place in (("gather_prediction", gathering), ("compute_energies", energies)):
        check_memory(stage, place.memory_bytes, None, comm.size, settings.memory_GiB)
    scratch_bytes = max(gathering.disk_bytes, energies.disk_bytes)
    check_disk(folder, DISK_BYTES_PER_POINT * points + scratch_bytes + ldos_bytes)


def _gather(plan_file: Path, model: ModelBundle, batch: Path, folder: Path, settings: Inference) -> float | None:
    """Join the batch; the new Fermi level where the plan's is too far from it."""
    try:
        gather_batches(
            plan_file,
            model,
            [batch],
            folder / "prediction.h5",
            screening=settings.screening,
            dos=folder / "dos.csv",
            observables=folder / "observables.json",
            memory_GiB=settings.memory_GiB,
        )
    except LevelTooFar as error:
        logger.warning("%s; repeating with the new Fermi level", error)
        return error.fermi_level_eV
    return None


def write_pseudopotentials(model: ModelBundle, folder: Path) -> dict[str, Pseudopotential]:
    """Write the model's pseudopotentials into a folder; what is in them by element."""
    paths = {element: folder / f"{element}.upf" for element in model.pseudopotentials}
    for element, text in model.pseudopotentials.items():
        write_text(paths[element], text)
    return read_pseudopotentials(paths)


def write_ldos(
    model: ModelBundle,
    atoms: Atoms,
    plan: PredictionPlan,
    settings: Inference,
    region: Region,
    output: Path,
    progress: Callable[[Iterable, str], Iterable],
) -> None:
    """Write the LDOS of a region of the density's grid, one tile in memory at a time."""
    grid = RealGrid(atoms.cell, plan.density_shape)
    predictor = prepare_predictor(
        model, atoms, grid, backend=plan.backend, precision=plan.precision, threads=settings.threads
    )
    record = {"region": region, "grid_shape": plan.density_shape, "backend": plan.backend, "precision": plan.precision}
    variables = {"energy": model.energies_of(atoms).energies_eV, **variables_of_atoms(atoms)}
    no_fields = np.zeros((model.energy_grid.count, 0))
    fields = {"ldos": (*region.shape, model.energy_grid.count)}
    provenance = collect_provenance("inference", record, {})
    with create_field_file(output, fields, variables, record, provenance) as targets:
        # the plan's tiles hold two numbers a point, these a spectrum
        points = max(plan.tile_points // model.energy_grid.count, 1)
        for tile in progress(split_compactly(region, points), "LDOS"):
            inside = tile.slices(region.origin)
            targets["ldos"][inside] = predictor.predict(tile, no_fields, keep_ldos=True).ldos

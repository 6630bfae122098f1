"""The plan of a prediction: its batches and tiles, and a first Fermi level from a pre-pass.

The pre-pass predicts the LDOS on a grid that is three times coarser along each axis (less for small grids). Its Fermi
level μ0 is close to the final one, so that the main pass can write n(r; μ0) and its derivatives with respect to μ
instead of an LDOS: that of a large cell is never stored.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.energies.continuation import sampling_cutoff, sampling_shape
from nearsight.errors import InputError
from nearsight.files import read_json, sha256_of
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, check_region, split_compactly
from nearsight.grids.tiles import LARGEST_TILE, THREAD_POINTS, choose_tile_points, plan_batches
from nearsight.inference.extrapolation import check_density, check_extrapolation, measure_extrapolation
from nearsight.inference.predict import StructurePredictor, prepare_predictor
from nearsight.ldos import check_window, fermi_weights, find_fermi_level
from nearsight.memory import check_memory, inference_bytes
from nearsight.model.bundle import ModelBundle
from nearsight.study.sections import Inference

logger = logging.getLogger("nearsight")

#: Largest stride of the pre-pass: every third point leaves the Fermi level of two beryllium atoms 0.08 meV off,
#: strides of six and more miss the structure of the density.
LARGEST_STRIDE = 3

#: Fewest points of the pre-pass, where the grid has them: they cost seconds, and fewer save little.
FEWEST_POINTS = 20_000


#: Standard deviations of a plan, which its prediction carries on.
DEVIATIONS = ("energy_deviation_eV_per_atom", "fermi_level_deviation_eV")


@dataclass(frozen=True)
class PredictionPlan:
    """Everything that the batches of one prediction share.

    shape: of the grid that is predicted; density_shape: of the one that the density is continued to, along no axis
    coarser; ecut_sample_Ry: cutoff of the former, None where both are one; batches: one region each; tile_points: grid
    points of one tile; fermi_level_eV: μ0; temperature_K: of the electrons; electrons: of the structure;
    prepass_stride: 1 if μ0 is that of the whole grid; backend: of the descriptors, the training's if None; precision:
    of the network; descriptor_score, rdf_score: how far the structure is from the training set (1: as far as the
    validation set); model_sha256 and structure_sha256: of the files that the plan was made from; *_deviation*: standard
    deviations of the free energy and the Fermi level, where the model has error bars.
    """

    shape: tuple[int, int, int]
    density_shape: tuple[int, int, int]
    ecut_sample_Ry: float | None
    batches: list[Region]
    tile_points: int
    fermi_level_eV: float
    temperature_K: float
    electrons: float
    prepass_stride: int
    backend: str | None
    precision: str
    keep_ldos: bool
    descriptor_score: float
    rdf_score: float
    model_sha256: str
    structure_sha256: str
    energy_deviation_eV_per_atom: float | None = None
    fermi_level_deviation_eV: float | None = None

    def to_json(self) -> dict:
        """The plan as plain JSON."""
        return asdict(self)

    def at_level(self, fermi_level_eV: float) -> "PredictionPlan":
        """The same plan around another Fermi level."""
        return replace(self, fermi_level_eV=fermi_level_eV)

    @classmethod
    def from_file(cls, path: str) -> "PredictionPlan":
        """Read a plan. Raises InputError where a key is missing."""
        content = read_json(path)
        try:
            content["batches"] = [Region(*((int(a), int(b)) for a, b in region)) for region in content["batches"]]
            for key in ("shape", "density_shape"):
                content[key] = tuple(int(n) for n in content[key])
            plan = cls(**content)
            plan.check()
        except (KeyError, TypeError, ValueError, OverflowError, InputError) as error:
            raise InputError(
                f"{path}: expected a plan made by plan_tiles, got {error}. "
                "Get a whole copy, or move it away and run the rule that makes it."
            ) from None
        return plan

    def check(self) -> None:
        """Raise InputError unless the batches fill the grid and every other value is of its kind."""
        for key in fields(self):
            value = getattr(self, key.name)
            if key.type in (bool, int, float, str) and type(value) is not key.type:
                raise InputError(f"{key.name} = {value!r}")
        if not 1 <= self.tile_points <= LARGEST_TILE or min(self.shape) < 1:
            raise InputError(f"tiles of {self.tile_points} points in a grid of {self.shape}")
        finer = len(self.density_shape) == 3 and all(
            n <= more for n, more in zip(self.shape, self.density_shape, strict=True)
        )
        if not finer or (self.ecut_sample_Ry is None) != (self.shape == self.density_shape):
            raise InputError(f"a grid of {self.shape} for a density of {self.density_shape}")
        if self.ecut_sample_Ry is not None and not self.ecut_sample_Ry > 0:
            raise InputError(f"ecut_sample_Ry = {self.ecut_sample_Ry!r}")
        filled = sum(check_region(region, self.shape).points for region in self.batches)
        if filled != prod(self.shape):
            raise InputError(f"batches of {filled} points for a grid of {self.shape}")


def check_origin(plan_file: Path, origins: Mapping[Path, str]) -> None:
    """Raise InputError unless the files (path -> SHA-256 in the plan) are those that a plan was made from."""
    for path, expected in origins.items():
        if (found := sha256_of(path)) != expected:
            raise InputError(
                f"{path}: expected the file that {plan_file} was made from (sha256 {expected[:12]}…), got another "
                f"({found[:12]}…). Run plan_tiles again."
            )


def count_valence_electrons(atoms: Atoms, model: ModelBundle) -> float:
    """Number of valence electrons of a structure whose elements the model knows."""
    return float(sum(model.electrons_per_element[symbol] for symbol in atoms.symbols))


def make_plan(
    model: ModelBundle,
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: Inference,
    *,
    backend: str | None = None,
    keep_ldos: bool = False,
    model_sha256: str,
    structure_sha256: str,
    memory_MB: float | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> PredictionPlan:
    """Check that model, structure and memory fit together, run the pre-pass and cut the grid.

    shape: of the density's grid; the one that is predicted is `choose_sampling`'s; backend: of the descriptors, the
    training's if None; keep_ldos: whether batches store the LDOS (small cells), all of the density's grid then;
    memory_MB: what the job was given; the tiles follow from the settings' memory_GiB. Raises InputError where the
    structure is too far from the training set and `settings` do not accept that.
    """
    grid, ecut_sample_Ry = choose_sampling(model, RealGrid(atoms.cell, shape), settings, keep_ldos=keep_ldos)
    stride = choose_stride(shape, settings.largest_stride)
    coarse = tuple(min(-(-n // stride), sampled) for n, sampled in zip(shape, grid.shape, strict=True))
    predictor = prepare_predictor(
        model,
        atoms,
        RealGrid(grid.cell, coarse),
        backend=backend,
        precision=settings.precision,
        threads=settings.threads,
    )
    electrons = count_valence_electrons(atoms, model)
    sizes = (model.network.inputs, model.energy_grid.count, len(atoms))
    tile_points = choose_tile_points(settings.memory_GiB, settings.threads, *sizes, keep_ldos=keep_ldos)
    prepass_tile = min(tile_points, predictor.grid.points)
    needed = inference_bytes(prepass_tile, *sizes, THREAD_POINTS, threads=settings.threads, keep_ldos=False)
    check_memory("plan_tiles", needed, memory_MB)
    batches = plan_batches(grid.shape, settings.batches)
    extrapolation = measure_extrapolation(model, atoms, grid, backend)
    check_extrapolation(extrapolation, accept=settings.accept_extrapolation)
    check_density(model, atoms, accept=settings.accept_extrapolation)
    if not model.descriptor(backend).whole_grid:  # else it has already computed all of it
        log_time(predictor, grid)
    dos, features = predictor.predict_spectrum(tile_points, progress)
    conditions = {"temperature_K": model.temperature_K, "broadening_eV": model.broadening_eV}
    energies = model.energies_of(atoms)
    level = find_fermi_level(dos, energies, electrons, **conditions)
    check_window(dos, energies, electrons, level, **conditions)
    deviations = {}
    if model.error_bars is not None:
        slope = fermi_weights(energies, level, **conditions).count_slope
        energy, fermi_level = model.error_bars.deviations(features, grid.volume, float(dos @ slope))
        deviations = {
            "energy_deviation_eV_per_atom": energy / len(atoms),
            "fermi_level_deviation_eV": fermi_level,
        }
    return PredictionPlan(
        shape=grid.shape,
        density_shape=shape,
        ecut_sample_Ry=ecut_sample_Ry,
        batches=batches,
        tile_points=tile_points,
        fermi_level_eV=level,
        temperature_K=model.temperature_K,
        electrons=electrons,
        prepass_stride=stride,
        backend=backend,
        precision=settings.precision,
        keep_ldos=keep_ldos,
        descriptor_score=extrapolation.descriptor_score,
        rdf_score=extrapolation.rdf_score,
        model_sha256=model_sha256,
        structure_sha256=structure_sha256,
        **deviations,
    )


def choose_sampling(
    model: ModelBundle, grid: RealGrid, settings: Inference, *, keep_ldos: bool = False
) -> tuple[RealGrid, float | None]:
    """The grid that is predicted for a density's grid, and its cutoff in Ry; None where both grids are one.

    Where the LDOS is kept it is that of the density's grid. Raises InputError for a cutoff above the model's.
    """
    cutoff = sampling_cutoff(settings.ecut_sample_Ry, model.ecut_sample_Ry, model.ecutrho_Ry)
    sampled = sampling_shape(grid.cell, grid.shape, cutoff)
    if cutoff == model.ecutrho_Ry or sampled == grid.shape:
        return grid, None
    if keep_ldos:
        logger.info("grid: with the LDOS kept, all points of the density's grid are predicted")
        return grid, None
    return RealGrid(grid.cell, sampled), cutoff


def log_time(predictor: StructurePredictor, grid: RealGrid) -> None:
    """Log how long a prediction will take, estimated from a small part of its pre-pass on one thread."""
    part = split_compactly(predictor.grid.whole, THREAD_POINTS)[0]
    started = time.perf_counter()
    predictor.predict(part, np.zeros((predictor.network.energies, 0)))
    seconds = (time.perf_counter() - started) / part.points * (grid.points + predictor.grid.points)
    logger.info("time: about %.3g s of one core, shared by all threads and ranks", seconds)


def choose_stride(shape: tuple[int, int, int], largest: int = LARGEST_STRIDE) -> int:
    """The largest stride, up to `largest`, that leaves FEWEST_POINTS points of the grid; 1 for small grids."""
    fitting = [s for s in range(1, largest + 1) if prod(-(-n // s) for n in shape) >= FEWEST_POINTS]
    return max(fitting, default=1)

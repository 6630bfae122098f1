"""From the batches to one prediction: exact Fermi level, density, band energy, entropy."""

import csv
import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import fsum, prod
from pathlib import Path

import numpy as np
import xarray as xr
from ase import Atoms

from nearsight.datasets import atoms_of, create_field_file, open_dataset, require, settings_of, variables_of_atoms
from nearsight.energies.continuation import continue_density
from nearsight.energies.continuation import disk_bytes as disk_of_continuation
from nearsight.energies.continuation import memory_bytes as memory_of_continuation
from nearsight.energies.place import Place, choose_place
from nearsight.energies.screening import LONG_WAVE_A, NO_LONG_WAVE, Screening, screen, states_at
from nearsight.energies.screening import memory_bytes as memory_of_screening
from nearsight.errors import ConvergenceError, InputError
from nearsight.files import sha256_of, write_json, write_whole
from nearsight.grids.real import RealGrid
from nearsight.inference.batch import TAYLOR_FIELDS
from nearsight.inference.extrapolation import score_atoms
from nearsight.inference.plan import DEVIATIONS, PredictionPlan
from nearsight.ldos import DosObservables, EnergyGrid, check_window, fermi_weights, integrate_dos
from nearsight.memory import check_memory, gathering_bytes, limit_bytes
from nearsight.model.bundle import ModelBundle
from nearsight.provenance import collect_provenance

logger = logging.getLogger("nearsight")

#: Largest relative error of the electron count that the densities' Taylor series in μ - μ0 may leave.
SERIES_TOLERANCE = 1e-6

#: Largest relative deviation of the density's integral from the number of electrons that rounding explains.
ELECTRON_TOLERANCE = 1e-5

#: Change of the density's long waves, relative to the mean density, above which the log warns: some 10 meV/atom.
LARGE_MOVE = 0.01

#: Waves beyond the sampling cutoff, relative to the mean density, above which the log warns: 0.2 meV/atom in beryllium.
LARGE_ALIASING = 1.5e-3


class LevelTooFar(ConvergenceError):
    """The plan's Fermi level is too far from the final one, which is `fermi_level_eV`."""

    def __init__(self, message: str, fermi_level_eV: float) -> None:
        super().__init__(message)
        self.fermi_level_eV = fermi_level_eV


@dataclass(frozen=True)
class LevelShift:
    """The exact observables and the shift μ - μ0 that the batches' densities are corrected by."""

    observables: DosObservables
    shift_eV: float


def solve_level(
    dos: np.ndarray,
    grid: EnergyGrid,
    electrons: float,
    temperature_K: float,
    broadening_eV: float | None,
    first_level_eV: float,
) -> LevelShift:
    """Observables of the summed DOS. Raises LevelTooFar if μ is too far from the pre-pass's μ0.

    The batches' densities are corrected by n'(μ - μ0) + n''(μ - μ0)²/2. What that leaves out is known for the whole
    cell, where the electrons are counted exactly: it has to be below SERIES_TOLERANCE.
    """
    observables = integrate_dos(dos, grid, electrons, temperature_K, broadening_eV)
    shift = observables.fermi_energy_eV - first_level_eV
    first = fermi_weights(grid, first_level_eV, temperature_K, broadening_eV)
    series = first.count + shift * first.count_slope + 0.5 * shift**2 * first.count_curvature
    error = abs(float(dos @ series) - observables.electrons) / electrons
    if error > SERIES_TOLERANCE:
        raise LevelTooFar(
            f"Fermi level: expected the pre-pass's {first_level_eV:.5f} eV to be so close to the final "
            f"{observables.fermi_energy_eV:.5f} eV that a second-order correction holds to {SERIES_TOLERANCE:.0e} of "
            f"the electrons, got {error:.1e}. The pre-pass samples this grid too coarsely: set "
            "inference.largest_stride to a smaller number (1: every point) and run again.",
            observables.fermi_energy_eV,
        )
    return LevelShift(observables, shift)


def check_electrons(counted: float, electrons: float, source: str) -> None:
    """Raise InputError unless a density integrates to the number of electrons."""
    if not abs(counted - electrons) <= ELECTRON_TOLERANCE * electrons:
        raise InputError(
            f"{source}: expected a density of {electrons:.6f} electrons, got {counted:.6f}. A batch is missing or was "
            f"made by another model; remove the batches and run again."
        )


@dataclass(frozen=True)
class JoinedDensity:
    """The density at μ on the grid of a plan's batches, read when a plane of it is asked for; 1/Å³."""

    batches: list[xr.Dataset]
    plan: PredictionPlan
    shift_eV: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the grid."""
        return self.plan.shape

    def __getitem__(self, i: int) -> np.ndarray:
        """Plane i of x, the same to the last bit however the grid is cut into batches."""
        plane = np.empty(self.shape[1:])
        for batch, region in zip(self.batches, self.plan.batches, strict=True):
            if region.x[0] <= i < region.x[1]:
                parts = (batch[name][i - region.x[0]].values for name in TAYLOR_FIELDS)
                plane[region.slices()[1:]] = expand(*parts, self.shift_eV)
        return plane


def gather_batches(
    plan_file: Path,
    model: ModelBundle,
    files: list[Path],
    output: Path,
    *,
    screening: bool,
    dos: Path,
    observables: Path,
    memory_MB: float | None = None,
    memory_GiB: float | None = None,
) -> LevelShift:
    """Join a plan's batches and write the prediction (HDF5), its DOS (CSV) and its observables (JSON).

    model: what the batches were predicted with; screening: whether a metal's long waves are corrected, which keeps the
    electrons; memory_MB: what the job was given; memory_GiB: what the user gives it. Memory is that of some planes of
    the density, and of the sampled density's coefficients where they fit; else these are on disk. Raises InputError
    where a batch is of another plan or the density does not hold the electrons, ConvergenceError where the plan's Fermi
    level is too far from the final one.
    """
    plan = PredictionPlan.from_file(plan_file)
    with ExitStack() as stack:
        batches = [stack.enter_context(open_dataset(path)) for path in files]
        check_batches(batches, files, plan, sha256_of(plan_file))
        settings = {key: settings_of(batches[0])[key] for key in ("temperature_K", "broadening_eV", "electrons")}
        atoms = atoms_of(batches[0])
        limit, _ = limit_bytes(memory_MB, memory_GiB=memory_GiB)
        place = place_gathering(atoms, plan.shape, plan.density_shape, len(files), limit, screening=screening)
        check_memory("gather_prediction", place.memory_bytes, memory_MB, memory_GiB=memory_GiB)
        grid = EnergyGrid.from_energies(batches[0]["energy"].values)
        spectrum = np.sum([batch["dos"].values for batch in batches], axis=0)
        level = solve_level(
            spectrum,
            grid,
            plan.electrons,
            settings["temperature_K"],
            settings["broadening_eV"],
            plan.fermi_level_eV,
        )
        found = level.observables
        conditions = {key: settings[key] for key in ("temperature_K", "broadening_eV")}
        check_window(spectrum, grid, plan.electrons, found.fermi_energy_eV, **conditions)
        variables = {
            "dos": spectrum,
            "energy": grid.energies_eV,
            "fermi_energy": found.fermi_energy_eV,
            "electrons": plan.electrons,
            "band_energy": found.band_energy_eV,
            "entropy_energy": found.entropy_energy_eV,
            "extrapolation_score": score_atoms(model, atoms, RealGrid(atoms.cell, plan.shape), plan.backend),
            **variables_of_atoms(atoms),
        }
        deviations = {name: getattr(plan, name) for name in DEVIATIONS if getattr(plan, name) is not None}
        density = JoinedDensity(batches, plan, level.shift_eV)
        if plan.ecut_sample_Ry is None:
            planes, sampling = (density[i] for i in range(plan.shape[0])), None
        else:
            scratch = place.scratch(output.parent)
            if scratch is not None:
                logger.info("sampling: the density's coefficients are on disk, %.2f GB", place.disk_bytes / 1e9)
            planes, aliasing = continue_density(
                density, np.asarray(atoms.cell), plan.density_shape, plan.ecut_sample_Ry, scratch
            )
            sampling = {"ecut_sample_Ry": plan.ecut_sample_Ry, "grid_shape": plan.shape, "aliasing": aliasing}
            log_sampling(plan, aliasing)
        done = None
        if screening:
            states = states_at(found.fermi_energy_eV, spectrum, grid, settings["temperature_K"])
            change, waves, done = screen(density, atoms, model.electrons_per_element, states, model.screening_k_A)
            log_screening(done)
            if done.wave_vector_A is not None:
                planes = (
                    n + more for n, more in zip(planes, waves.planes(change, shape=plan.density_shape), strict=True)
                )
        left = model.broadening_error_eV_per_atom(settings["temperature_K"])
        record = {"screening": None if done is None else asdict(done), "sampling": sampling}
        record["broadening_error_eV_per_atom"] = left
        settings |= deviations | record
        provenance = collect_provenance("inference", settings, {"plan": plan_file})
        sums = []
        with create_field_file(output, {"density": plan.density_shape}, variables, settings, provenance) as targets:
            for i, plane in enumerate(planes):
                targets["density"][i] = plane
                sums.append(float(plane.sum()))
            counted = fsum(sums) * atoms.get_volume() / prod(plan.density_shape)
            check_electrons(counted, plan.electrons, str(output))
    write_dos(dos, grid.energies_eV, spectrum)
    write_json(
        observables,
        {
            "atoms": len(atoms),
            "grid_shape": plan.density_shape,
            **asdict(found),
            "electrons_of_density": counted,
            "band_energy_eV_per_atom": found.band_energy_eV / len(atoms),
            "entropy_energy_eV_per_atom": found.entropy_energy_eV / len(atoms),
            "first_fermi_level_eV": plan.fermi_level_eV,
            **deviations,
            **record,
            "provenance": provenance,
        },
    )
    logger.info(
        "%d atoms: Fermi level %.4f eV (pre-pass off by %.3f meV), band energy %.6f eV/atom",
        len(atoms), found.fermi_energy_eV, 1e3 * level.shift_eV, found.band_energy_eV / len(atoms),
    )  # fmt: skip
    return level


def place_gathering(
    atoms: Atoms,
    sampled: tuple[int, int, int],
    shape: tuple[int, int, int],
    batches: int,
    limit_bytes: float,
    *,
    screening: bool,
) -> Place:
    """Where a density's coefficients lie while it is continued from the grid of the batches to its own."""
    waves = memory_of_screening(atoms) if screening else 0.0
    return choose_place(
        lambda block: gathering_bytes(prod(shape[1:]), batches, waves + memory_of_continuation(sampled, shape, block)),
        disk_of_continuation(sampled, shape),
        limit_bytes,
    )


def log_sampling(plan: PredictionPlan, aliasing: float) -> None:
    """Log which grid was predicted, with a warning where it is too coarse for the density."""
    logger.info(
        "sampling: %d x %d x %d points (%g Ry) continued to %d x %d x %d; waves beyond that cutoff have %.3f %% of the "
        "density",
        *plan.shape, plan.ecut_sample_Ry, *plan.density_shape, 100 * aliasing,
    )  # fmt: skip
    if aliasing > LARGE_ALIASING:
        logger.warning(
            "sampling: expected waves beyond the sampling cutoff of %g Ry with at most %g %% of the density, got "
            "%.2f %%: the energies may be off by more than 0.2 meV/atom. Predict with a larger ecut_sample_Ry (at most "
            "the model's ecutrho; docs/prediction.md).",
            plan.ecut_sample_Ry, 100 * LARGE_ALIASING, 100 * aliasing,
        )  # fmt: skip


def log_screening(done: Screening) -> None:
    """Log what was done to the long waves; a warning where it was much, or where it should have been more."""
    if done.wave_vector_A is None:
        if done.why_not != NO_LONG_WAVE:
            logger.warning(
                "screening: the density's waves longer than %g Å are left as the model has them (%s); the "
                "unscreened charge there has %.2f meV/atom.",
                LONG_WAVE_A, done.why_not, 1e3 * done.unscreened_eV_per_atom_before,
            )  # fmt: skip
        return
    logger.info(
        "screening: waves longer than %g Å follow the ions with k = %.3f 1/Å; unscreened charge %.2f meV/atom, before "
        "%.2f; the density moved by %.2f %%",
        LONG_WAVE_A, done.wave_vector_A, 1e3 * done.unscreened_eV_per_atom_after,
        1e3 * done.unscreened_eV_per_atom_before, 100 * done.moved,
    )  # fmt: skip
    if done.moved > LARGE_MOVE:
        logger.warning(
            "screening: the density's waves longer than %g Å had to be moved by %.1f %% of the mean density, more than "
            "%.0f %%: the model knows little of such a structure, and its band energy is not corrected. Train on "
            "cells that are longer than such waves (docs/prediction.md).",
            LONG_WAVE_A, 100 * done.moved, 100 * LARGE_MOVE,
        )  # fmt: skip


def expand(density: np.ndarray, slope: np.ndarray, curvature: np.ndarray, shift_eV: float) -> np.ndarray:
    """The density at μ0 + shift by its Taylor series."""
    return density + shift_eV * (slope + np.float32(0.5 * shift_eV) * curvature)


def check_batches(batches: list[xr.Dataset], paths: list[Path], plan: PredictionPlan, plan_sha256: str) -> None:
    """Raise InputError unless the files are the plan's batches, all of them and in order."""
    if len(batches) != len(plan.batches):
        raise InputError(f"batches: expected {len(plan.batches)} files, as planned, got {len(batches)}.")
    for batch, path, region in zip(batches, paths, plan.batches, strict=True):
        require(batch, "dos", "energy", *TAYLOR_FIELDS, path=path)
        settings = settings_of(batch)
        if settings["plan_sha256"] != plan_sha256 or [tuple(pair) for pair in settings["region"]] != list(region):
            raise InputError(
                f"{path}: expected the batch of the plan with the grid points {region}, got one of another plan. "
                "Get a whole copy, or move it away and run the rule that makes it."
            )


def write_dos(path: Path, energies_eV: np.ndarray, dos: np.ndarray) -> None:
    """Write a DOS as a table of two columns."""
    with write_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["energy_eV", "dos_per_eV"])
        writer.writerows(zip((f"{e:.10g}" for e in energies_eV), (f"{d:.17g}" for d in dos), strict=True))

"""From the batches to one prediction: exact Fermi level, density, band energy, entropy."""

import csv
import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.datasets import atoms_of, create_field_file, open_dataset, require, settings_of, variables_of_atoms
from nearsight.errors import ConvergenceError, InputError
from nearsight.files import sha256_of, write_json, write_whole
from nearsight.grids.regions import split_compactly
from nearsight.grids.tiles import LARGEST_TILE
from nearsight.inference.batch import TAYLOR_FIELDS
from nearsight.inference.plan import DEVIATIONS, PredictionPlan
from nearsight.ldos import DosObservables, EnergyGrid, check_window, fermi_weights, integrate_dos
from nearsight.provenance import collect_provenance

logger = logging.getLogger("nearsight")

#: Largest relative error of the electron count that the densities' Taylor series in μ - μ0 may leave.
SERIES_TOLERANCE = 1e-6

#: Largest relative deviation of the density's integral from the number of electrons, as rounding explains it.
ELECTRON_TOLERANCE = 1e-5


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


def gather_batches(plan_file: Path, files: list[Path], output: Path, *, dos: Path, observables: Path) -> LevelShift:
    """Join a plan's batches and write the prediction (HDF5), its DOS (CSV) and its observables (JSON).

    Memory is that of a tile. Raises InputError where a batch is of another plan or the density does not hold the
    electrons, ConvergenceError where the plan's Fermi level is too far from the final one.
    """
    plan = PredictionPlan.from_file(plan_file)
    with ExitStack() as stack:
        batches = [stack.enter_context(open_dataset(path)) for path in files]
        check_batches(batches, files, plan, sha256_of(plan_file))
        settings = {key: settings_of(batches[0])[key] for key in ("temperature_K", "broadening_eV", "electrons")}
        atoms = atoms_of(batches[0])
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
            **variables_of_atoms(atoms),
        }
        deviations = {name: getattr(plan, name) for name in DEVIATIONS if getattr(plan, name) is not None}
        settings |= deviations
        provenance = collect_provenance("inference", settings, {"plan": plan_file})
        counted = 0.0
        with create_field_file(output, {"density": plan.shape}, variables, settings, provenance) as targets:
            for batch, region in zip(batches, plan.batches, strict=True):
                for part in split_compactly(region, LARGEST_TILE):
                    inside = part.slices(region.origin)
                    density = expand(*(batch[name][inside].values for name in TAYLOR_FIELDS), level.shift_eV)
                    targets["density"][part.slices()] = density
                    counted += float(density.sum())
            counted *= atoms.get_volume() / np.prod(plan.shape)
            check_electrons(counted, plan.electrons, str(output))
    write_dos(dos, grid.energies_eV, spectrum)
    write_json(
        observables,
        {
            "atoms": len(atoms),
            "grid_shape": plan.shape,
            **asdict(found),
            "electrons_of_density": counted,
            "band_energy_eV_per_atom": found.band_energy_eV / len(atoms),
            "entropy_energy_eV_per_atom": found.entropy_energy_eV / len(atoms),
            "first_fermi_level_eV": plan.fermi_level_eV,
            **deviations,
            "provenance": provenance,
        },
    )
    logger.info(
        "%d atoms: Fermi level %.4f eV (pre-pass off by %.3f meV), band energy %.6f eV/atom",
        len(atoms), found.fermi_energy_eV, 1e3 * level.shift_eV, found.band_energy_eV / len(atoms),
    )  # fmt: skip
    return level


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

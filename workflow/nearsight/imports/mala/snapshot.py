"""A snapshot dataset from MALA's arrays of one structure and the text of its pw.x run."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from scipy.special import expit

from nearsight import units
from nearsight.energies.method import functional_of
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.imports.espresso import (
    FinishedRun,
    check_total,
    dft_keys,
    find_problems,
    make_ldos,
    refuse,
    window_problems,
)
from nearsight.imports.kernels import OF_DATASETS, Broadening, find_broadening
from nearsight.imports.mala.arrays import first_not_finite, read_field
from nearsight.imports.mala.pseudopotentials import find_pseudopotentials
from nearsight.ldos import density_from_ldos, dos_from_ldos, fermi_weights, find_fermi_level
from nearsight.memory import check_memory, reference_bytes
from nearsight.provenance import collect_provenance
from nearsight.reference.espresso.collect import make_snapshot
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.reference.espresso.text import WIDTH_ROUNDING_Ry, read_text_run
from nearsight.reference.pseudopotential import Pseudopotential, count_electrons
from nearsight.reference.snapshot import Snapshot, describe_settings, write_snapshot
from nearsight.structures.checks import check_structure
from nearsight.study.sections import Dft, Ldos

logger = logging.getLogger("nearsight")

#: Units of an LDOS that MALA knows, in 1/(eV Å³); its own first.
LDOS_UNITS = {
    "1/(eV*A^3)": 1.0,
    "1/(eV*Bohr^3)": 1 / units.BOHR_A**3,
    "1/(Ry*Bohr^3)": units.PER_RYDBERG_BOHR3,
}

#: Largest error of a DOS against the broadened eigenvalues, relative to its maximum: float32 and cube files of five
#: digits; and, divided by the width, the rounding of eigenvalues in a text, eV.
DOS_TOLERANCE = 3e-5
EIGENVALUE_ROUNDING_eV = 1e-4

#: Largest error of a density's integral, relative: MALA's density is that of a cube file of five digits.
ELECTRONS_TOLERANCE = 1e-5


@dataclass(frozen=True)
class MeasuredLdos:
    """What the eigenvalues say about an LDOS: its broadening, and its unit in 1/(eV Å³)."""

    broadening: Broadening
    unit: float


def import_snapshot(
    ldos: Path,
    text: Path,
    output: Path,
    grid: EnergyGrid,
    *,
    pseudopotentials: Path,
    density: Path | None = None,
    width_eV: float | None = None,
    temperature_K: float | None = None,
    accept_coarse: bool = False,
) -> Snapshot:
    """Write the snapshot dataset of an LDOS, whole or not at all, and return it.

    text: of pw.x, with eigenvalues; grid: energies of the LDOS; pseudopotentials: folder of the UPF files; density: its
    array, in place of the LDOS's own; width_eV: of the broadening (degauss_ldos), measured where it is not given;
    temperature_K: of the electrons with more digits than the text has; accept_coarse: also import what no study would
    have computed this way, with a warning each. Raises InputError with everything that does not fit.
    """
    result, conditions = read_text_run(text)
    check_structure(result.atoms, str(text))
    if temperature_K is not None:
        result, conditions = at_temperature(result, conditions, temperature_K, text)
    elements = sorted(set(result.atoms.symbols))
    potentials = find_pseudopotentials(pseudopotentials, elements, conditions.pseudopotentials)
    run = FinishedRun(text, conditions, result, potentials)
    values = read_field(ldos, "LDOS")
    check_memory("import", reference_bytes(prod(values.shape[:3]), values.shape[3]), None)
    check_shape(values, (*result.grid, grid.count), ldos)
    measured = measure_broadening(values, result, grid, ldos, width_eV)
    section, problems = describe_window(grid, measured.broadening)
    problems += find_problems(run, True)
    if wrong := _electrons_problem(result, potentials):
        problems.append(wrong)
    problems += window_problems(run, result, section)
    accept(text, problems, accept_coarse)
    spectrum = np.asarray(values * np.float32(measured.unit), dtype=np.float32)
    field = read_density(density, result) if density is not None else density_of(spectrum, run, section)
    if density is not None:
        try:
            check_total(run, field)
        except InputError as error:
            accept(text, [str(error).removeprefix(f"{text}: ")], accept_coarse)
    snapshot = make_snapshot(result.atoms, result, result, field, spectrum, section)
    # without a study's limits, where breaking them is accepted
    dft = (Dft.model_construct if accept_coarse else Dft)(**dft_keys(run))
    settings = describe_settings(dft, section, run.temperature_K, functional_of(potentials), potentials)
    settings["ldos"] |= measured.broadening.settings()
    settings["density"] = "that of DFT" if density is not None else "of the LDOS"
    inputs = {"LDOS": ldos, "pw.x's text": text} | ({} if density is None else {"density": density})
    inputs |= {f"pseudopotential {element}": one.path for element, one in potentials.items()}
    provenance = collect_provenance("reference", settings, inputs, {"Quantum ESPRESSO": conditions.version})
    write_snapshot(output, snapshot, settings, provenance)
    return snapshot


def accept(path: Path, problems: list[str], coarse: bool) -> None:
    """Raise InputError with all problems, or warn of each where they are accepted."""
    if not coarse:
        refuse(path, problems)
    for problem in problems:
        logger.warning("%s: accepted: %s", path, problem)


def at_temperature(result: ElectronicStructure, conditions, temperature_K: float, path: Path):
    """The run at a temperature with all its digits. Raises InputError where the text says another one."""
    width_eV = units.thermal_energy(temperature_K)
    if not abs(width_eV - conditions.width_eV) <= WIDTH_ROUNDING_Ry * units.RYDBERG_eV:
        raise InputError(
            f"{path}: smearing: expected the width of {temperature_K:g} K, {width_eV / units.RYDBERG_eV:.4f} Ry, got "
            f"{conditions.width_eV / units.RYDBERG_eV:.4f} Ry. Leave --temperature-K out, or correct it."
        )
    occupations = expit((result.fermi_energy - result.eigenvalues) / width_eV)
    return replace(result, occupations=occupations), replace(conditions, width_eV=width_eV)


def check_shape(values: np.ndarray, expected: tuple[int, ...], path: Path) -> None:
    """Raise InputError unless an array is of this shape and finite."""
    if values.shape != expected:
        raise InputError(
            f"{path}: expected the shape {expected} of the run's grid and the window's energies, got {values.shape}. "
            "MALA keeps an LDOS of several windows with one energy more at each seam: this is not supported; "
            "compute it again in one window."
        )
    if (bad := first_not_finite(values)) is not None:
        raise InputError(f"{path}: expected finite numbers, got NaN or infinity at {bad}. Get a whole copy.")


def measure_broadening(
    values: np.ndarray, result: ElectronicStructure, grid: EnergyGrid, path: Path, width_eV: float | None = None
) -> MeasuredLdos:
    """Kernel, width and unit of an LDOS, shape (*grid, energies), by the eigenvalues that it has to sum to.

    Raises InputError where none of them does: another structure's, another window, or bands that are missing.
    """
    if values.shape[-1] != grid.count:
        raise InputError(f"{path}: expected {grid.count} energies, got {values.shape[-1]}. Is it of this window?")
    voxel = result.atoms.get_volume() / prod(values.shape[:3])
    dos = sum(dos_from_ldos(plane, voxel) for plane in values)
    best = None
    for name, unit in LDOS_UNITS.items():
        broadening, error = find_broadening(dos * unit, result, grid, width_eV)
        tolerance = DOS_TOLERANCE + EIGENVALUE_ROUNDING_eV / broadening.width_eV
        if error < tolerance:
            logger.info(
                "%s: in %s, broadened by %s of %g eV; %.1e of the maximum from the eigenvalues",
                path, name, broadening.kernel, broadening.width_eV, error,
            )  # fmt: skip
            return MeasuredLdos(broadening, unit)
        best = min(best or (error, broadening), (error, broadening), key=lambda one: one[0])
    error, broadening = best
    raise InputError(
        f"{path}: expected an LDOS that sums to the eigenvalues of pw.x's text, broadened by {' or '.join(OF_DATASETS)}"
        f" functions of one width, got one that is {error:.1e} of the maximum off at best ({broadening.kernel}, "
        f"{broadening.width_eV:g} eV). Are energies, text and LDOS of one run, with all its bands?"
    )


def describe_window(grid: EnergyGrid, broadening: Broadening) -> tuple[Ldos, list[str]]:
    """The section `ldos` of a window, with the width of the Gaussian of the same variance, and what a study refuses."""
    numbers = (grid.minimum_eV, grid.maximum_eV, grid.spacing_eV, broadening.gaussian_eV)
    problems = []
    try:
        make_ldos(*numbers, "espresso")
    except InputError as error:
        problems.append(str(error))
    keys = ("energy_min_eV", "energy_max_eV", "spacing_eV", "broadening_eV")
    return Ldos.model_construct(backend="espresso", **dict(zip(keys, numbers, strict=True))), problems


def _electrons_problem(result: ElectronicStructure, potentials: Mapping[str, Pseudopotential]) -> str | None:
    expected = count_electrons(result.atoms.symbols, potentials)
    if abs(expected - result.electrons) < 1e-3:
        return None
    return f"number of electrons: expected the pseudopotentials' {expected:g}, got {result.electrons:g}."


def read_density(path: Path, result: ElectronicStructure) -> np.ndarray:
    """The density in 1/Å³ of MALA's array. Raises InputError where it is of another grid or number of electrons."""
    values = read_field(path, "Density")
    if values.shape != (*result.grid, 1):
        raise InputError(f"{path}: expected the shape {(*result.grid, 1)} of the run's grid, got {values.shape}.")
    density = np.array(values[..., 0], dtype=np.float64)
    volume = result.atoms.get_volume()
    for unit in (1.0, units.BOHR_A**-3):
        found = density.mean() * unit * volume
        if abs(found - result.electrons) < ELECTRONS_TOLERANCE * result.electrons:
            return density * unit
    raise InputError(
        f"{path}: expected a density of {result.electrons:g} electrons, got {density.mean() * volume:.6f} in 1/Å³. Is "
        "it of this run?"
    )


def density_of(spectrum: np.ndarray, run: FinishedRun, ldos: Ldos) -> np.ndarray:
    """The density in 1/Å³ of the LDOS at the level that holds the electrons, where DFT's own is missing."""
    result, grid = run.result, ldos.grid
    dos = dos_from_ldos(spectrum, result.atoms.get_volume() / prod(result.grid))
    level = find_fermi_level(dos, grid, result.electrons, run.temperature_K, ldos.broadening_eV)
    logger.warning(
        "density: no --density was given; it is that of the LDOS at its Fermi level, %.4f eV, and not DFT's own, whose "
        "level is %.4f eV", level, result.fermi_energy,
    )  # fmt: skip
    return density_from_ldos(spectrum, fermi_weights(grid, level, run.temperature_K, ldos.broadening_eV))

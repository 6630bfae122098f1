"""A snapshot dataset from any finished run of pw.x that was not made by a study."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from nearsight import units
from nearsight.energies.method import check_method, functional_of
from nearsight.energies.total import assemble, density_energies
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.imports.kernels import name_kernel
from nearsight.memory import check_memory, one_pass_bytes, reference_bytes
from nearsight.provenance import collect_provenance
from nearsight.reference.espresso.collect import (
    DOS_TOLERANCE,
    TAIL_WIDTHS,
    compare_atoms,
    describe_difference,
    dos_deviation,
    elements_of,
    make_snapshot,
)
from nearsight.reference.espresso.conditions import RunConditions, read_conditions
from nearsight.reference.espresso.cube import read_cube
from nearsight.reference.espresso.one_pass import WORK_BYTES, compute_ldos
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.espresso.workspace import XML
from nearsight.reference.pseudopotential import Pseudopotential, count_electrons, read_pseudopotential
from nearsight.reference.snapshot import describe_settings, write_snapshot
from nearsight.study.sections import Dft, Ldos

logger = logging.getLogger("nearsight")

#: The comment of a cube file that pp.x writes for an LDOS; four decimals.
_HEADER = re.compile(r"Energy =\s*([-+]?\d{1,9}\.\d{0,20}) eV, broadening =\s*(\d{1,9}\.\d{0,20}) eV")
HEADER_ROUNDING_eV = 1e-4

#: Largest difference between QE's total energy and our terms on QE's density and eigenvalues, eV/atom. It is of first
#: order in what the SCF has left; 1e-9 Ry leaves some 1e-5.
ENERGY_TOLERANCE_eV = 1e-3

#: Largest error of a density's integral from a cube file of pp.x, which has five digits, relative.
CUBE_ELECTRONS_TOLERANCE = 1e-5

#: Coarsest SCF that is a reference: that of a study's `dft.conv_thr_Ry`.
COARSEST_CONV_THR_Ry = 1e-5


@dataclass(frozen=True)
class FinishedRun:
    """A run of pw.x with all that was read from it before its large files; path: of its XML file, or of its text."""

    path: Path
    conditions: RunConditions
    result: ElectronicStructure
    pseudopotentials: Mapping[str, Pseudopotential]

    @property
    def save(self) -> Path:
        """The save folder of a run that has one."""
        return self.path.parent

    @property
    def temperature_K(self) -> float:
        """Temperature of the electrons."""
        return self.conditions.width_eV / units.thermal_energy(1.0)


def import_run(
    outdir: Path,
    output: Path,
    *,
    window: Ldos | None = None,
    cubes: Sequence[Path] = (),
    density: Path | None = None,
    nscf: Path | None = None,
    pseudopotentials: Path | None = None,
    work_bytes: int = WORK_BYTES,
) -> ElectronicStructure:
    """Write the snapshot dataset of a run, whole or not at all, and return what was computed.

    outdir: pw.x's outdir, or its PREFIX.save; window: energies and width of the LDOS, which is computed from the wave
    functions where there are no `cubes` of pp.x (plot_num = 3), and has to be theirs where there are; density: a cube
    (plot_num = 0) in place of the save folder's; nscf: outdir of the non-SCF run that pp.x has read, where it is
    another; pseudopotentials: folder of UPF files that the save folder lacks. Raises InputError with everything that
    does not fit.
    """
    run = read_run(find_save(outdir), pseudopotentials)
    states, problems = run.result, []
    if nscf is not None:
        states, problems = read_states(find_save(nscf), run)
    ldos = window and window.in_cell(run.result.atoms)
    if cubes:
        ldos = ldos_of_cubes(cubes, ldos)
    elif window is None:
        raise InputError(
            f"{run.path}: expected energies for the LDOS: cube files of pp.x (--ldos), a study whose section `ldos` "
            "has them (--study), or --energy-min-eV and --energy-max-eV. Found none."
        )
    problems += find_problems(run, bool(cubes)) + window_problems(run, states, ldos)
    refuse(run.path, problems)
    points, count = prod(run.result.grid), ldos.count
    needed = reference_bytes(points, count)
    if not cubes:
        atoms, bands = len(run.result.atoms), run.result.eigenvalues.shape[1]
        needed = one_pass_bytes(points, count, atoms, bands, work_bytes)
    check_memory("import", needed, None)
    field = read_density(run, density)
    check_total(run, field)
    if cubes:
        spectrum = read_cubes(cubes, run.result, count)
    else:
        spectrum = compute_ldos(run.save, run.pseudopotentials, ldos.grid, ldos.broadening_eV, work_bytes=work_bytes)
    snapshot = make_snapshot(run.result.atoms, run.result, states, field, spectrum, ldos)
    check_kernel(snapshot.dos, states, ldos, cubes[0] if cubes else run.path)
    described = ldos if window is None else window.model_copy(update={"backend": ldos.backend})
    write_snapshot(output, snapshot, *describe_run(run, described, cubes, density, nscf))
    return run.result


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Raise InputError that lists all problems, where there are any."""
    if problems:
        head = f"{path}: {len(problems)} thing{'s' if len(problems) > 1 else ''} that no reference may have:"
        raise InputError("\n- ".join([head, *problems]))


def find_save(outdir: Path) -> Path:
    """The save folder that is, or lies in, a folder. Raises InputError where there is none, or several."""
    if (outdir / XML).is_file():
        return outdir
    found = sorted(path.parent for path in outdir.glob(f"*.save/{XML}")) if outdir.is_dir() else []
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found[:5])
        raise InputError(f"{outdir}: expected one finished run of pw.x, found {names}. Name one of these folders.")
    raise InputError(
        f"{outdir}: expected pw.x's outdir, or the folder PREFIX.save with {XML} in it, found none. Runs of "
        "pw.x before 6.2 write another file: run the SCF again with a newer one."
    )


def read_run(save: Path, folder: Path | None) -> FinishedRun:
    """XML and pseudopotentials of a run. Raises InputError where they cannot be read."""
    conditions = read_conditions(save / XML)
    labels = [name for name in conditions.pseudopotentials if name not in chemical_symbols[1:]]
    if labels:
        raise InputError(
            f"{save / XML}: species: expected chemical symbols, got {', '.join(labels)[:80]}. Run the SCF with species "
            "that are named by their element alone."
        )
    if conditions.polarised:
        raise InputError(f"{save / XML}: expected a run without spin polarisation, got one with it.")
    result = read_electronic_structure(save / XML)
    pseudopotentials = {}
    for element in elements_of(result.atoms):
        name = Path(conditions.pseudopotentials.get(element, "")).name
        places = [place / name for place in (save, folder) if place is not None]
        path = next((place for place in places if name and place.is_file()), None)
        if path is None:
            raise InputError(
                f"{save / (name or element)}: expected the pseudopotential of {element} beside the run, found none. "
                "Name its folder with --pseudopotentials."
            )
        pseudopotentials[element] = read_pseudopotential(path, element)
    return FinishedRun(save / XML, conditions, result, pseudopotentials)


def read_states(save: Path, run: FinishedRun) -> tuple[ElectronicStructure, list[str]]:
    """The non-SCF run that pp.x has read, and what in it does not fit the SCF."""
    states = read_electronic_structure(save / XML)
    problems = []
    if different := compare_atoms(states.atoms, run.result.atoms, 1e-6):
        problems.append(f"{save}: expected a non-SCF run of the SCF's structure, got another one's ({different}).")
    if states.eigenvalues.shape != run.result.eigenvalues.shape or not np.allclose(states.weights, run.result.weights):
        problems.append(
            f"{save}: expected the SCF's k-points and bands {run.result.eigenvalues.shape}, got "
            f"{states.eigenvalues.shape}. Run it with the SCF's K_POINTS and nbnd."
        )
    if states.grid != run.result.grid:
        problems.append(f"{save}: expected the SCF's grid {run.result.grid}, got {states.grid}.")
    return states, problems


def find_problems(run: FinishedRun, cubes: bool) -> list[str]:
    """What a study of ours would not have computed in this way."""
    found, result, problems = run.conditions, run.result, []
    if found.calculation != "scf":
        problems.append(
            f"calculation: expected 'scf', got {found.calculation!r}. Run an SCF of the intended structure; a "
            "non-SCF run that pp.x has read goes with --nscf."
        )
    if not found.converged and (found.converged is not None or found.accuracy_Ry > found.conv_thr_Ry):
        problems.append(
            f"convergence: expected an SCF converged to conv_thr = {found.conv_thr_Ry:g} Ry, got an estimated accuracy "
            f"of {found.accuracy_Ry:.1e} Ry."
        )
    if found.conv_thr_Ry > COARSEST_CONV_THR_Ry:
        problems.append(
            f"conv_thr: expected at most {COARSEST_CONV_THR_Ry:g} Ry, got {found.conv_thr_Ry:g} Ry. Lower it (1e-9 Ry "
            "is usual)."
        )
    if not result.energies:
        problems.append("total energy: expected that of an SCF, found none.")
    if found.smearing != "fermi-dirac":
        problems.append(
            "occupations: expected smearing = 'fermi-dirac', whose degauss is k_B T, got "
            + (f"smearing = {found.smearing!r}" if found.smearing else "fixed ones")
            + ". Run the SCF with it: models learn free energies of electrons at finite temperature."
        )
    if found.kpoints is None:
        problems.append("k-points: expected an automatic grid, got a list. Run the SCF with K_POINTS automatic.")
    elif abs(result.weights.sum() - 2) > 1e-6:
        problems.append(f"k-points: expected weights that sum to 2, got {result.weights.sum():.6f}.")
    if result.symmetries != 1 and not cubes:
        problems.append(
            f"k-points: expected a set that only time reversal reduces, got one that {result.symmetries} symmetries "
            "reduce, whose states alone do not give the LDOS. Run the SCF with nosym = .true., or give pp.x's cubes."
        )
    if found.further_terms:
        problems.append(
            f"total energy: expected a functional of the density alone, got {' and '.join(found.further_terms)}, which "
            "no LDOS gives. Run the SCF without."
        )
    if abs(found.charge) > 1e-9:
        problems.append(f"tot_charge: expected a neutral cell, got {found.charge:g}.")
    for element, pseudopotential in run.pseudopotentials.items():
        try:
            check_method(pseudopotential.functional, pseudopotential.kind, element)
        except InputError as error:
            problems.append(str(error))
    return problems


def window_problems(run: FinishedRun, states: ElectronicStructure, ldos: Ldos) -> list[str]:
    """Where window and bands do not hold every state that an occupied energy needs (`collect.check_energy_window`)."""
    margin, problems = TAIL_WIDTHS * ldos.broadening_eV, []
    lowest, bottom, top = float(states.eigenvalues.min()), ldos.grid.minimum_eV, ldos.grid.maximum_eV
    if bottom > lowest - margin:
        problems.append(
            f"LDOS: expected energies from at most {lowest - margin:.2f} eV on (4 broadenings below the lowest "
            f"eigenvalue, {lowest:.2f} eV), got {bottom:.2f} eV."
        )
    needed = run.result.fermi_energy + units.fermi_reach(run.temperature_K)
    if top < needed:
        problems.append(
            f"LDOS: expected energies to at least {needed:.2f} eV (25 k_B T above the Fermi energy, "
            f"{run.result.fermi_energy:.2f} eV), got {top:.2f} eV."
        )
    highest = float(states.eigenvalues[:, -1].min())
    if highest < top + margin:
        problems.append(
            f"bands: expected enough for the highest one to lie above {top + margin:.2f} eV (4 broadenings above the "
            f"LDOS's highest energy) at every k-point, got {states.eigenvalues.shape[1]}, whose highest begins at "
            f"{highest:.2f} eV. Raise nbnd, or end the LDOS below (at least {needed:.2f} eV)."
        )
    return problems


def expand_patterns(patterns: Sequence[str]) -> list[Path]:
    """The files of names and patterns as a shell would expand them. Raises InputError for one that matches nothing."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        matches = [path]
        if not path.exists():
            try:
                anchor, parts = (Path(path.anchor), path.parts[1:]) if path.anchor else (Path(), path.parts)
                matches = sorted(anchor.glob("/".join(parts))) if parts else []
            except (ValueError, NotImplementedError, OSError):
                matches = []
        if not matches:
            raise InputError(f"--ldos: expected cube files of pp.x, found none that match {pattern[:80]!r}.")
        found |= dict.fromkeys(matches)
    return list(found)


def ldos_of_cubes(cubes: Sequence[Path], window: Ldos | None) -> Ldos:
    """Energies and width of an LDOS from the comments of its cube files, which have four decimals.

    window: if given, its exact numbers, which have to be the files'. Raises InputError where the files are not of one
    LDOS with even spacing.
    """
    energies, widths = [], set()
    for path in cubes:
        energy, width = read_header(path)
        energies.append(energy)
        widths.add(width)
    order = np.argsort(energies)
    ascending = np.array(energies)[order]
    where = f"{Path(cubes[0]).parent}: LDOS"
    if len(widths) != 1:
        raise InputError(f"{where}: expected one broadening, got {', '.join(f'{w:g} eV' for w in sorted(widths)[:5])}.")
    steps = np.diff(ascending) if len(ascending) > 1 else np.zeros(1)
    if len(ascending) < 3 or steps.min() <= 0 or np.ptp(steps) > 2.02 * HEADER_ROUNDING_eV:
        raise InputError(
            f"{where}: expected at least 3 cube files of evenly spaced energies, got {len(ascending)} with steps "
            f"from {steps.min():g} to {steps.max():g} eV. Is one missing, or there twice?"
        )
    spacing = round((ascending[-1] - ascending[0]) / (len(ascending) - 1), 10)
    found = EnergyGrid(float(ascending[0]), float(spacing), len(ascending))
    (width,) = widths
    if window is not None:
        same = window.count == found.count and np.allclose(
            window.grid.energies_eV, ascending, rtol=0, atol=1.01 * HEADER_ROUNDING_eV
        )
        if not same or abs(window.broadening_eV - width) > 1.01 * HEADER_ROUNDING_eV:
            raise InputError(
                f"{where}: expected {window.count} energies from {window.energy_min_eV:g} to "
                f"{window.energy_max_eV:g} eV with a broadening of {window.broadening_eV:g} eV, as in the study, got "
                f"{found.count} from {ascending[0]:g} to {ascending[-1]:g} eV with {width:g} eV."
            )
        return window.model_copy(update={"backend": "espresso"})
    return make_ldos(found.minimum_eV, found.maximum_eV, found.spacing_eV, width, "espresso")


def make_ldos(minimum_eV: float, maximum_eV: float, spacing_eV: float, broadening_eV: float, backend: str) -> Ldos:
    """The section `ldos` of these numbers. Raises InputError where no study may have them."""
    steps = (maximum_eV - minimum_eV) / spacing_eV
    if not (steps > 1.5 and abs(steps - round(steps)) < 1e-3):
        raise InputError(
            f"LDOS: expected a window that its spacing divides, got {minimum_eV:g} to {maximum_eV:g} eV in steps of "
            f"{spacing_eV:g} eV."
        )
    keys = {"energy_min_eV": minimum_eV, "energy_max_eV": maximum_eV, "spacing_eV": spacing_eV}
    try:
        return Ldos(backend=backend, broadening_eV=broadening_eV, **keys)
    except ValueError as error:
        first = error.errors()[0]
        raise InputError(f"LDOS: {first['loc'][-1]}: {first['msg']}, got {first['input']}.") from None


def read_header(path: Path) -> tuple[float, float]:
    """Energy and broadening in eV from a cube file's comment. Raises InputError where it has none."""
    try:
        with open(path, "rb") as handle:
            lines = [handle.readline(1000) for _ in range(2)]
    except OSError as error:
        raise InputError(f"{path}: expected a cube file of pp.x, got: {error.strerror}.") from None
    match = _HEADER.search(lines[1].decode("utf-8", errors="replace"))
    if match is None:
        raise InputError(
            f"{path}: expected a cube file of pp.x with plot_num = 3, whose second line is 'Energy = ... eV, "
            f"broadening = ... eV', got {lines[1][:80]!r}."
        )
    return float(match.group(1)), float(match.group(2))


def read_cubes(cubes: Sequence[Path], result: ElectronicStructure, count: int) -> np.ndarray:
    """LDOS of shape (*grid, energies), float32, in 1/(eV Å³), by ascending energy."""
    values = np.empty((*result.grid, count), dtype=np.float32)
    for index, path in enumerate(sorted(cubes, key=lambda path: read_header(path)[0])):
        values[..., index] = read_field(path, result) * units.PER_RYDBERG_BOHR3
    return values


def read_field(path: Path, result: ElectronicStructure) -> np.ndarray:
    """Values of a cube file on the run's grid, in its own unit. Raises InputError where it is of another structure."""
    cube = read_cube(path)
    if different := describe_difference(cube, result.atoms, result.grid):
        raise InputError(f"{path}: expected {different}. Is it of this run?")
    return cube.values


def read_density(run: FinishedRun, cube: Path | None) -> np.ndarray:
    """The density in 1/Å³, of the save folder or of a cube file. Raises InputError unless it holds the electrons."""
    if cube is None:
        density, tolerance = read_save_density(run.save, run.result.grid), 1e-6
    else:
        density, tolerance = read_field(cube, run.result) / units.BOHR_A**3, CUBE_ELECTRONS_TOLERANCE
    found, expected = density.mean() * run.result.atoms.get_volume(), run.result.electrons
    if not abs(found - expected) <= tolerance * expected:
        raise InputError(
            f"{cube or run.save}: expected a density of {expected:g} electrons, got {found:.6f}. Is it of "
            "this run (plot_num = 0 in pp.x)?"
        )
    return density


def check_total(run: FinishedRun, density: np.ndarray) -> None:
    """Raise InputError unless the terms that we know add up to QE's total free energy.

    On QE's own density, eigenvalues and entropy: what is missing then is a term that no LDOS gives, such as a field, a
    correction for isolated cells, or another density.
    """
    result = run.result
    terms = density_energies(result.atoms, density, pseudopotentials=run.pseudopotentials, ecutrho_Ry=result.ecutrho_Ry)
    total = assemble(
        terms,
        band=result.band_energy,
        entropy=result.energies["entropy_energy"],
        fermi_energy=result.fermi_energy,
        electrons=result.electrons,
    ).total
    error = (total - result.energies["total_free_energy"]) / len(result.atoms)
    logger.info("terms of the energy: %+.4f meV/atom from the run's total", 1e3 * error)
    if not abs(error) <= ENERGY_TOLERANCE_eV:
        raise InputError(
            f"{run.path}: expected a total free energy of the terms that density and eigenvalues give, got one that is "
            f"{1e3 * error:+.2f} meV/atom off. Is the SCF converged, the density its own, and without fields or "
            "corrections for isolated cells?"
        )


def check_kernel(dos: np.ndarray, states: ElectronicStructure, ldos: Ldos, path: Path) -> None:
    """Raise InputError unless the LDOS sums to the eigenvalues, broadened by Gaussians; it names any other kernel."""
    error = dos_deviation(dos, states, ldos)
    if error < DOS_TOLERANCE + (HEADER_ROUNDING_eV / ldos.broadening_eV if ldos.backend == "espresso" else 0.0):
        return
    other = name_kernel(dos, states, ldos)
    raise InputError(
        f"{path}: expected an LDOS that sums to the eigenvalues, broadened by Gaussians of {ldos.broadening_eV:g} eV, "
        + (
            f"got one broadened by {other}, which is what pp.x takes from the run that it reads. Leave --ldos out: the "
            "LDOS is computed from the wave functions; or run pp.x after a non-SCF run with smearing = 'gaussian'."
            if other
            else f"got one that is {error:.1e} of the maximum off. Is it of this run, with all its bands? The non-SCF "
            "run that pp.x has read goes with --nscf."
        )
    )


def dft_keys(run: FinishedRun) -> dict:
    """What the section `dft` of a study would have been for a run; one k-point where it names no grid of them."""
    found, result = run.conditions, run.result
    electrons = count_electrons(result.atoms.symbols, run.pseudopotentials)
    return {
        "ecutwfc_Ry": result.ecutwfc_Ry,
        "ecutrho_Ry": result.ecutrho_Ry,
        "kpoints": list(found.kpoints or (1, 1, 1)),
        "kpoints_shift": list(found.shift),
        "bands_per_occupied": 2 * result.eigenvalues.shape[1] / electrons,
        "conv_thr_Ry": found.conv_thr_Ry,
        "electron_maxstep": found.electron_maxstep,
        "mixing_beta": found.mixing_beta,
    }


def describe_run(
    run: FinishedRun, ldos: Ldos, cubes: Sequence[Path], density: Path | None, nscf: Path | None
) -> tuple[dict, dict]:
    """Settings and provenance of the dataset, as the job collect_reference has them."""
    functional = functional_of(run.pseudopotentials)
    settings = describe_settings(Dft(**dft_keys(run)), ldos, run.temperature_K, functional, run.pseudopotentials)
    inputs = {"data-file-schema.xml": run.path}
    inputs |= {f"pseudopotential {element}": one.path for element, one in run.pseudopotentials.items()}
    inputs |= {f"cube {path.name}": path for path in [*cubes, *([] if density is None else [density])]}
    if nscf is not None:
        inputs["nscf data-file-schema.xml"] = find_save(nscf) / XML
    return settings, collect_provenance("reference", settings, inputs, {"Quantum ESPRESSO": run.conditions.version})

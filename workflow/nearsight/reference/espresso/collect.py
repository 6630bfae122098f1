"""One snapshot's reference data, from Quantum ESPRESSO's files to the variables of a dataset."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular
from nearsight.grids.energies import EnergyGrid, find_energy_zero
from nearsight.jobs import show_progress
from nearsight.reference.espresso.cube import Cube, read_cube
from nearsight.reference.espresso.ldos import check_cube_energy, cube_name
from nearsight.reference.espresso.one_pass import WORK_BYTES, Kernel, compute_ldos, gaussian
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, text_energies, xml_of
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.pseudopotential import Pseudopotential
from nearsight.reference.snapshot import Snapshot
from nearsight.study.sections import Ldos

logger = logging.getLogger("nearsight")

#: Largest error of the density's integral, relative.
ELECTRONS_TOLERANCE = 1e-6

#: Largest error of ∫ d(ε, r) d³r against the broadened eigenvalues, relative to its maximum.
DOS_TOLERANCE = 1e-5

#: Broadenings from a state to where its Gaussian ends.
TAIL_WIDTHS = 4

#: Bytes of the largest text of pw.x that is read: that of an SCF of thousands of atoms has some MB.
LARGEST_TEXT = 256 << 20


def collect_snapshot(
    atoms: Atoms,
    grid: Sequence[int],
    scf: str | Path,
    scf_text: str | Path,
    pseudopotentials: Mapping[str, Pseudopotential],
    ldos: Ldos,
    temperature_K: float,
    cubes: str | Path | None = None,
    work_bytes: int = WORK_BYTES,
) -> Snapshot:
    """The snapshot of an SCF run and its LDOS.

    cubes: folder that run_ldos made, if pp.x computed the LDOS; without it, the LDOS is computed here, with
    `work_bytes` of memory for the states at once. Every file is checked against the structure and the settings, the
    energy window against the eigenvalues, the LDOS against their DOS. Raises InputError where they do not fit together.
    """
    result = read_electronic_structure(xml_of(scf))
    _check_atoms(result.atoms, atoms, xml_of(scf), 1e-6)
    _check_text(result, scf_text)
    if result.grid != tuple(int(n) for n in grid):
        raise InputError(f"{xml_of(scf)}: expected the grid {tuple(grid)} of the structure, got {result.grid}.")
    if result.forces is None or not result.energies:
        raise InputError(f"{xml_of(scf)}: expected energies and forces of an SCF run, found none. Run run_scf again.")
    states = result if cubes is None else _read_nscf(Path(cubes) / "nscf.xml", result, atoms)
    check_energy_window(result, states, ldos, temperature_K)
    window = ldos.in_cell(atoms)
    density = read_save_density(scf, result.grid)
    _check_electrons(density, result, scf)
    if cubes is None:
        spectrum = compute_ldos(scf, pseudopotentials, window.grid, ldos.broadening_eV, work_bytes=work_bytes)
    else:
        spectrum = read_ldos(cubes, atoms, result.grid, window)
    snapshot = make_snapshot(atoms, result, states, density, spectrum, window)
    _check_dos(snapshot.dos, states, window, scf if cubes is None else cubes)
    return snapshot


def make_snapshot(
    atoms: Atoms,
    result: ElectronicStructure,
    states: ElectronicStructure,
    density: np.ndarray,
    spectrum: np.ndarray,
    ldos: Ldos,
) -> Snapshot:
    """The snapshot of what was read.

    result: of the SCF; states: of the run that the LDOS comes from, the same or a non-SCF run after it; ldos: with the
    window in the energies of this cell.
    """
    return Snapshot(
        atoms=atoms,
        density=density,
        ldos=spectrum,
        energy_grid=ldos.grid,
        eigenvalues=result.eigenvalues,
        ldos_eigenvalues=states.eigenvalues,
        kpoint_weights=result.weights,
        fermi_energy=result.fermi_energy,
        electrons=result.electrons,
        band_energy=result.band_energy,
        energies=result.energies,
        forces=result.forces,
    )


def _read_nscf(path: Path, scf: ElectronicStructure, atoms: Atoms) -> ElectronicStructure:
    """The non-SCF run that pp.x read; it must have the SCF's structure, k-points and bands."""
    nscf = read_electronic_structure(path)
    _check_atoms(nscf.atoms, atoms, path, 1e-6)
    if nscf.eigenvalues.shape != scf.eigenvalues.shape or not np.allclose(nscf.weights, scf.weights):
        raise InputError(
            f"{path}: expected the SCF's k-points and bands {scf.eigenvalues.shape}, "
            f"got {nscf.eigenvalues.shape}. Run run_ldos again."
        )
    return nscf


def _check_electrons(density: np.ndarray, scf: ElectronicStructure, path: str | Path) -> None:
    """Raise InputError unless the density integrates to the number of electrons."""
    found = density.mean() * scf.atoms.get_volume()
    if abs(found - scf.electrons) > ELECTRONS_TOLERANCE * scf.electrons:
        raise InputError(
            f"{path}: expected a density of {scf.electrons:g} electrons, got {found:.6f}. Run run_scf again."
        )


def dos_deviation(dos: np.ndarray, states: ElectronicStructure, ldos: Ldos) -> float:
    """Largest deviation of a DOS from the eigenvalues, broadened by Gaussians, as a share of the maximum."""
    expected = broadened_dos(states.eigenvalues, states.weights, ldos.grid, ldos.broadening_eV)
    error = np.abs(dos - expected).max() / expected.max()
    logger.info("DOS: %.1e of its maximum from the broadened eigenvalues", error)
    return error


def _check_dos(dos: np.ndarray, states: ElectronicStructure, ldos: Ldos, path: str | Path) -> None:
    """Raise InputError unless the LDOS sums to the broadened eigenvalues: pp.x may have broadened in another way."""
    error = dos_deviation(dos, states, ldos)
    if not error < DOS_TOLERANCE:
        raise InputError(
            f"{path}: expected an LDOS that sums to the eigenvalues, broadened by {ldos.broadening_eV:g} eV, to "
            f"{DOS_TOLERANCE:g} of the maximum, got one that is {error:.1e} off. Run the jobs of this snapshot again."
        )


def broadened_dos(
    eigenvalues: np.ndarray, weights: np.ndarray, grid: EnergyGrid, broadening_eV: float, kernel: Kernel = gaussian
) -> np.ndarray:
    """DOS in 1/eV, shape (energies,), of broadened eigenvalues in eV, shape (kpoints, bands), with k-point weights."""
    dos = np.zeros(grid.count)
    for weight, bands in zip(weights, eigenvalues, strict=True):
        dos += weight * kernel(grid.energies_eV[:, None] - bands, broadening_eV).sum(axis=1)
    return dos


def read_ldos(folder: str | Path, atoms: Atoms, grid: tuple[int, int, int], ldos: Ldos) -> np.ndarray:
    """LDOS of shape (*grid, energies), float32, in 1/(eV Å³), from pp.x's cube files."""
    values = np.empty((*grid, ldos.count), dtype=np.float32)
    for index, energy in enumerate(show_progress(ldos.grid.energies_eV, "LDOS", unit="energy")):
        path = Path(folder) / cube_name(index)
        check_cube_energy(path, energy, ldos.broadening_eV)
        cube = read_cube(path)
        _check_cube(cube, atoms, grid, path)
        values[..., index] = cube.values * units.PER_RYDBERG_BOHR3
    return values


def check_energy_window(scf: ElectronicStructure, nscf: ElectronicStructure, ldos: Ldos, temperature_K: float) -> None:
    """Raise InputError unless window and bands hold every state that an occupied energy needs.

    The window reaches from 4 s below the lowest eigenvalue to 25 k_B T above the Fermi energy, and the highest band's
    lowest energy lies 4 s above the window: s is the broadening, whose tails end there. All are relative to the cell's
    energy zero, as the window is.
    """
    margin = TAIL_WIDTHS * ldos.broadening_eV
    zero = find_energy_zero(scf.atoms, ldos.energy_zero_eV_A3)
    lowest, fermi_energy = float(nscf.eigenvalues.min()) - zero, scf.fermi_energy - zero
    if ldos.grid.energies_eV[0] > lowest - margin:
        raise InputError(
            f"ldos.energy_min_eV: expected at most {lowest - margin:.2f} eV (4 broadenings below the lowest "
            f"eigenvalue, {lowest:.2f} eV), got {ldos.grid.energies_eV[0]:.2f} eV. Lower it."
        )
    needed = fermi_energy + units.fermi_reach(temperature_K)
    top = float(ldos.grid.energies_eV[-1])
    if top < needed:
        raise InputError(
            f"ldos.energy_max_eV: expected at least {needed:.2f} eV (25 k_B T above the Fermi "
            f"energy, {fermi_energy:.2f} eV), got {top:.2f} eV. Raise it."
        )
    highest = float(nscf.eigenvalues[:, -1].min()) - zero
    if highest < top + margin:
        raise InputError(
            f"dft.bands_per_occupied: expected enough bands for the highest one to lie above {top + margin:.2f} eV (4 "
            f"broadenings above ldos.energy_max_eV) at every k-point, got {nscf.eigenvalues.shape[1]} bands, whose "
            f"highest begins at {highest:.2f} eV. Raise it, or lower ldos.energy_max_eV (at least {needed:.2f} eV)."
        )


def elements_of(atoms: Atoms) -> list[str]:
    """Chemical symbols of a structure, sorted by atomic number."""
    return [chemical_symbols[number] for number in sorted(set(atoms.numbers))]


def _check_text(result: ElectronicStructure, path: str | Path) -> None:
    """The text and the XML must be of the same run."""
    content = read_regular(path, "pw.x's output of the SCF", "Run run_scf again.", LARGEST_TEXT)
    printed = text_energies(content.decode("utf-8", errors="replace"))
    for name, value in result.energies.items():
        if name in printed and abs(printed[name] - value) > 1e-6 * units.RYDBERG_eV:
            raise InputError(
                f"{path}: {name}: expected {value:.8f} eV, as in the run's XML file, got {printed[name]:.8f} eV. "
                "Run run_scf again."
            )
    if "total_free_energy" not in printed:
        raise InputError(f"{path}: expected a converged SCF's total energy, found none. Run run_scf again.")


def _check_cube(cube: Cube, atoms: Atoms, grid: tuple[int, int, int], path: str | Path) -> None:
    if different := describe_difference(cube, atoms, grid):
        raise InputError(f"{path}: expected {different}. Run the job again.")


def describe_difference(cube: Cube, atoms: Atoms, grid: tuple[int, int, int]) -> str | None:
    """What was expected of a cube file and what it is, where it is not of this structure and grid."""
    if cube.values.shape != tuple(grid):
        return f"a grid of {tuple(grid)}, got {cube.values.shape}"
    # cube files have six decimals
    if different := compare_atoms(cube.atoms, atoms, 1e-4):
        return f"the data of the given structure, got another one's ({different})"
    return None


def _check_atoms(found: Atoms, expected: Atoms, path: str | Path, tolerance: float) -> None:
    """Raise InputError unless cell, species and positions agree (Å; up to a lattice vector)."""
    if different := compare_atoms(found, expected, tolerance):
        raise InputError(
            f"{path}: expected the data of the given structure, got another one's ({different}). Run the jobs of this "
            "snapshot again."
        )


def compare_atoms(found: Atoms, expected: Atoms, tolerance: float) -> str | None:
    """What differs between two structures by more than rounding to `tolerance` in Å; None where nothing does."""
    if len(found) != len(expected) or (found.numbers != expected.numbers).any():
        return f"{found.get_chemical_formula()} for {expected.get_chemical_formula()}"
    # a cube's cell is its grid step times the grid, which multiplies the step's rounding
    if np.abs(found.cell - expected.cell).max() > 10 * tolerance:
        return "cell"
    shift = np.linalg.solve(np.asarray(expected.cell).T, (found.positions - expected.positions).T).T
    if np.abs((shift - np.round(shift)) @ np.asarray(expected.cell)).max() > 10 * tolerance:
        return "positions"
    return None

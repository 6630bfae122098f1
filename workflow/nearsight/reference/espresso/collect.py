"""One snapshot's reference data, from Quantum ESPRESSO's files to the variables of a dataset."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from nearsight import units
from nearsight.datasets import variables_of_atoms
from nearsight.errors import InputError
from nearsight.files import read_regular
from nearsight.jobs import show_progress
from nearsight.reference.espresso.cube import Cube, read_cube
from nearsight.reference.espresso.inputs import LdosSettings
from nearsight.reference.espresso.ldos import check_cube_energy, cube_name
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, text_energies, xml_of

logger = logging.getLogger("nearsight")

#: Largest deviation of an integral of the LDOS or the density that counts as rounding of the cube files.
ELECTRONS_TOLERANCE = 1e-4

#: Bytes of the largest text of pw.x that is read: that of an SCF of thousands of atoms has some MB.
LARGEST_TEXT = 256 << 20


def collect_variables(
    atoms: Atoms,
    grid: Sequence[int],
    scf: str | Path,
    scf_text: str | Path,
    ldos_folder: str | Path,
    density: str | Path,
    ldos: LdosSettings,
    temperature_K: float,
) -> dict[str, np.ndarray | float]:
    """All variables of a snapshot dataset by the names of `fields.FIELDS`, in eV and Å.

    Every file is checked against the structure and the settings, the energy window against the eigenvalues.
    Raises InputError where they do not fit together.
    """
    result = read_electronic_structure(xml_of(scf))
    _check_atoms(result.atoms, atoms, xml_of(scf), 1e-6)
    _check_text(result, scf_text)
    if result.grid != tuple(int(n) for n in grid):
        raise InputError(f"{xml_of(scf)}: expected the grid {tuple(grid)} of the structure, got {result.grid}.")
    if result.forces is None or not result.energies:
        raise InputError(f"{xml_of(scf)}: expected energies and forces of an SCF run, found none. Run run_scf again.")
    nscf_path = Path(ldos_folder) / "nscf.xml"
    nscf = read_electronic_structure(nscf_path)
    _check_atoms(nscf.atoms, atoms, nscf_path, 1e-6)
    if nscf.eigenvalues.shape != result.eigenvalues.shape or not np.allclose(nscf.weights, result.weights):
        raise InputError(
            f"{nscf_path}: expected the SCF's k-points and bands {result.eigenvalues.shape}, "
            f"got {nscf.eigenvalues.shape}. Run run_ldos again."
        )
    check_energy_window(result, nscf, ldos, temperature_K)
    field = read_density(density, atoms, result.grid, result.electrons)
    spectrum = read_ldos(ldos_folder, atoms, result.grid, ldos)
    voxel = atoms.get_volume() / np.prod(result.grid)
    return {
        **variables_of_atoms(atoms),
        "forces": result.forces,
        "density": field,
        "ldos": spectrum,
        "energy": ldos.energies_eV,
        "dos": spectrum.sum(axis=(0, 1, 2), dtype=np.float64) * voxel,
        "eigenvalues": result.eigenvalues,
        "ldos_eigenvalues": nscf.eigenvalues,
        "kpoint_weights": result.weights,
        "fermi_energy": result.fermi_energy,
        "electrons": result.electrons,
        "band_energy": result.band_energy,
        **result.energies,
    }


def read_density(path: str | Path, atoms: Atoms, grid: tuple[int, int, int], electrons: float) -> np.ndarray:
    """Density of shape `grid` in 1/Å³ from pp.x's cube file; it must integrate to the number of electrons."""
    cube = read_cube(path)
    _check_cube(cube, atoms, grid, path)
    density = cube.values / units.BOHR_A**3
    found = density.sum() * atoms.get_volume() / density.size
    if abs(found - electrons) > ELECTRONS_TOLERANCE * electrons:
        raise InputError(
            f"{path}: expected a density of {electrons:g} electrons, got {found:.6f}. Run run_density again."
        )
    return density


def read_ldos(folder: str | Path, atoms: Atoms, grid: tuple[int, int, int], ldos: LdosSettings) -> np.ndarray:
    """LDOS of shape (*grid, energies), float32, in 1/(eV Å³), from pp.x's cube files."""
    values = np.empty((*grid, ldos.count), dtype=np.float32)
    for index, energy in enumerate(show_progress(ldos.energies_eV, "LDOS", unit="energy")):
        path = Path(folder) / cube_name(index)
        check_cube_energy(path, energy, ldos.broadening_eV)
        cube = read_cube(path)
        _check_cube(cube, atoms, grid, path)
        values[..., index] = cube.values * units.PER_RYDBERG_BOHR3
    return values


def check_energy_window(
    scf: ElectronicStructure, nscf: ElectronicStructure, ldos: LdosSettings, temperature_K: float
) -> None:
    """Raise InputError unless window and bands hold every state that an occupied energy needs.

    The window reaches from 4 s below the lowest eigenvalue to 25 k_B T + 4 s above the Fermi energy, and the highest
    band's lowest energy lies 4 s above the window: s is the broadening, whose tails end there.
    """
    margin = 4 * ldos.broadening_eV
    lowest = float(nscf.eigenvalues.min())
    if ldos.energies_eV[0] > lowest - margin:
        raise InputError(
            f"ldos.energy_min_eV: expected at most {lowest - margin:.2f} eV (4 broadenings below the lowest "
            f"eigenvalue, {lowest:.2f} eV), got {ldos.energies_eV[0]:.2f} eV. Lower it."
        )
    needed = scf.fermi_energy + units.fermi_reach(temperature_K) + margin
    top = float(ldos.energies_eV[-1])
    if top < needed:
        raise InputError(
            f"ldos.energy_max_eV: expected at least {needed:.2f} eV (25 k_B T and 4 broadenings above the Fermi "
            f"energy, {scf.fermi_energy:.2f} eV), got {top:.2f} eV. Raise it."
        )
    highest = float(nscf.eigenvalues[:, -1].min())
    if highest < top + margin:
        raise InputError(
            f"dft.bands: expected so many bands that the highest one lies above {top + margin:.2f} eV (4 broadenings "
            f"above ldos.energy_max_eV) at every k-point, got {nscf.eigenvalues.shape[1]} bands, whose highest "
            f"begins at {highest:.2f} eV. Raise dft.bands, or lower ldos.energy_max_eV (at least {needed:.2f} eV)."
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
    if cube.values.shape != grid:
        raise InputError(f"{path}: expected a grid of {grid}, got {cube.values.shape}. Run the job again.")
    _check_atoms(cube.atoms, atoms, path, 1e-4)  # cube files have six decimals


def _check_atoms(found: Atoms, expected: Atoms, path: str | Path, tolerance: float) -> None:
    """Raise InputError unless cell, species and positions agree (Å; up to a lattice vector)."""
    message = f"{path}: expected the data of the given structure, got another one's"
    if len(found) != len(expected) or (found.numbers != expected.numbers).any():
        raise InputError(f"{message}: {found.get_chemical_formula()} for {expected.get_chemical_formula()}.")
    # a cube's cell is its grid step times the grid, which multiplies the step's rounding
    if np.abs(found.cell - expected.cell).max() > 10 * tolerance:
        raise InputError(f"{message} (cell). Run the jobs of this snapshot again.")
    shift = np.linalg.solve(np.asarray(expected.cell).T, (found.positions - expected.positions).T).T
    if np.abs((shift - np.round(shift)) @ np.asarray(expected.cell)).max() > 10 * tolerance:
        raise InputError(f"{message} (positions). Run the jobs of this snapshot again.")

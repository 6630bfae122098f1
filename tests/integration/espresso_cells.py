"""The cells on which the energies are compared with Quantum ESPRESSO, for the tests and for bench/free_energy.py.

The two atoms of hcp beryllium, eight and 64 displaced ones, four in a sheared cell, and beryllium oxide.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight import units
from nearsight.energies import assemble, density_energies, total_free_energy
from nearsight.grids.plane_waves import fft_shape
from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, find_fermi_level
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.one_pass import compute_ldos, gaussian
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, xml_of
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotentials
from nearsight.study.sections import Dft, Ldos

Ry = units.RYDBERG_eV
TEMPERATURE_K = 298.0
LDOS = Ldos(energy_min_eV=-5.0, energy_max_eV=10.9, spacing_eV=0.1, broadening_eV=0.2)
LAUNCH = Launch("mpirun.openmpi --bind-to none", 2)


@dataclass
class Cell:
    """One structure with the settings of its SCF. What a run leaves in its folder is not run again."""

    atoms: Atoms
    ecutwfc_Ry: float
    kpoints: list[int]
    shift: list[int]
    bands: int
    conv_thr_Ry: float = 1e-11
    settings: Dft = field(init=False)

    def __post_init__(self) -> None:
        electrons = 2.0 * len(self.atoms)
        self.settings = Dft(
            ecutwfc_Ry=self.ecutwfc_Ry,
            ecutrho_Ry=4 * self.ecutwfc_Ry,
            kpoints=list(self.kpoints),
            kpoints_shift=list(self.shift),
            bands_per_occupied=2 * self.bands / electrons,
            conv_thr_Ry=self.conv_thr_Ry,
        )

    def run_scf(
        self, folder: Path, pseudopotentials: dict[str, Pseudopotential]
    ) -> tuple[ElectronicStructure, np.ndarray]:
        """Result and density of the SCF in folder/scf."""
        if not (folder / "scf").exists():
            grid = fft_shape(self.atoms.cell.array, self.settings.ecutrho_Ry)
            run_scf(
                self.atoms, grid, pseudopotentials, self.settings, TEMPERATURE_K, LAUNCH,
                folder / "scf", folder / "scf.out",
            )  # fmt: skip
        result = read_electronic_structure(xml_of(folder / "scf"))
        return result, read_save_density(folder / "scf", result.grid)

    def ldos(self, folder: Path, pseudopotentials: dict[str, Pseudopotential]) -> np.ndarray:
        """LDOS of the SCF in folder/scf."""
        return compute_ldos(folder / "scf", pseudopotentials, LDOS.grid, LDOS.broadening_eV)


def displaced(atoms: Atoms) -> Atoms:
    atoms.positions += np.random.default_rng(5).normal(0, 0.08, atoms.positions.shape)
    return atoms


def hcp(*repeat: int) -> Atoms:
    """Orthorhombic cell of four atoms, repeated."""
    places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 5 / 6, 0.5], [0, 1 / 3, 0.5]]
    return Atoms("Be4", cell=[2.2706, 2.2706 * np.sqrt(3), 3.5868], scaled_positions=places, pbc=True).repeat(repeat)


def two_atoms() -> Atoms:
    a, c = 2.25982587, 3.56987856
    return Atoms(
        "Be2",
        cell=[[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]],
        positions=[[1.7528828707, 0.3210037143, 2.6776725841], [-0.6229700257, 1.6360627414, 0.8922054159]],
        pbc=True,
    )


def sheared() -> Atoms:
    atoms = hcp(1, 1, 1)
    shear = [[1.02, 0.06, -0.03], [0.11, 0.98, 0.08], [-0.05, 0.09, 1.01]]
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return displaced(atoms)


def oxide() -> Atoms:
    a, c = 2.698, 4.377
    places = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.378], [2 / 3, 1 / 3, 0.878]]
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    return displaced(Atoms("Be2O2", cell=cell, scaled_positions=places, pbc=True))


COARSE = {
    "two": Cell(two_atoms(), 40, [3, 3, 3], [0, 0, 0], 8),
    "eight": Cell(displaced(hcp(2, 1, 1)), 30, [2, 2, 2], [1, 1, 1], 14),
    "triclinic": Cell(sheared(), 30, [3, 2, 2], [1, 1, 1], 8),
    # its stiff potential asks for a tighter SCF: the total from eigenvalues is of first order in the residual
    "oxide": Cell(oxide(), 40, [2, 2, 1], [0, 0, 0], 10, 1e-13),
}
DENSE = {
    "two": Cell(two_atoms(), 40, [8, 8, 8], [0, 0, 0], 10),
    "eight": Cell(displaced(hcp(2, 1, 1)), 30, [4, 4, 4], [1, 1, 1], 19),
    "triclinic": Cell(sheared(), 30, [10, 6, 6], [1, 1, 1], 12),
    "sixtyfour": Cell(displaced(hcp(4, 2, 2)), 30, [2, 2, 2], [1, 1, 1], 92, 1e-10),
}


def make_pseudopotentials(folder: Path) -> dict[str, Pseudopotential]:
    """Those of beryllium and oxygen, by Quantum ESPRESSO's ld1.x."""
    sources = Path(__file__).resolve().parents[2] / "config/pseudo"
    files = {element: folder / f"{element}.upf" for element in ("Be", "O")}
    for element, path in files.items():
        if not path.exists():
            generate_pseudopotential(sources / f"{element}.pbe-rrkjus.in", element, path)
    return read_pseudopotentials(files)


@dataclass(frozen=True)
class TermErrors:
    """Errors per atom of the terms on QE's density against QE's, and of the total with QE's eigenvalues."""

    hartree_Ry: float
    xc_Ry: float
    ewald_Ry: float
    total_meV: float


def errors_of_terms(
    cell: Cell, result: ElectronicStructure, density: np.ndarray, pseudopotentials: dict[str, Pseudopotential]
) -> TermErrors:
    """The terms on QE's own density, with all its digits."""
    found = density_energies(result.atoms, density, pseudopotentials, ecutrho_Ry=cell.settings.ecutrho_Ry)
    total = assemble(
        found,
        band=result.band_energy,
        entropy=result.energies["entropy_energy"],
        fermi_energy=result.fermi_energy,
        electrons=result.electrons,
    ).total
    atoms, expected = len(result.atoms), result.energies
    return TermErrors(
        hartree_Ry=(found.hartree - expected["hartree_energy"]) / Ry / atoms,
        xc_Ry=(found.xc - expected["xc_energy"]) / Ry / atoms,
        ewald_Ry=(found.ion - expected["ewald_energy"]) / Ry / atoms,
        total_meV=1e3 * (total - expected["total_free_energy"]) / atoms,
    )


@dataclass(frozen=True)
class LdosErrors:
    """Errors of what follows from an LDOS: total per atom, density, Fermi level.

    The level is compared with that of the equally broadened eigenvalues, and with QE's.
    """

    total_meV: float
    density_mape: float
    level_under_the_same_weights_meV: float
    level_meV: float


def broadened_dos(result: ElectronicStructure, grid: EnergyGrid, broadening_eV: float) -> np.ndarray:
    """DOS of eigenvalues under the LDOS's kernel, 1/eV."""
    spread = gaussian(grid.energies_eV[:, None, None] - result.eigenvalues, broadening_eV)
    return np.einsum("ekb,k->e", spread, result.weights)


def errors_of_ldos(
    cell: Cell,
    result: ElectronicStructure,
    density: np.ndarray,
    ldos: np.ndarray,
    pseudopotentials: dict[str, Pseudopotential],
    corrected: bool,
) -> LdosErrors:
    """The total free energy of the LDOS with the density that it has, corrected for its broadening or not."""
    grid = LDOS.grid
    dos = dos_from_ldos(ldos, result.atoms.get_volume() / density.size)
    conditions = {"temperature_K": TEMPERATURE_K, "broadening_eV": LDOS.broadening_eV if corrected else None}
    level = find_fermi_level(dos, grid, result.electrons, **conditions)
    from_ldos = density_from_ldos(ldos, fermi_weights(grid, level, **conditions))
    found = total_free_energy(
        result.atoms, from_ldos, dos, LDOS.grid.energies_eV,
        pseudopotentials=pseudopotentials, ecutrho_Ry=cell.settings.ecutrho_Ry, **conditions,
    )  # fmt: skip
    assert found.fermi_energy == level
    same = find_fermi_level(broadened_dos(result, grid, LDOS.broadening_eV), grid, result.electrons, **conditions)
    return LdosErrors(
        total_meV=1e3 * (found.total - result.energies["total_free_energy"]) / len(result.atoms),
        density_mape=float(np.mean(np.abs(from_ldos - density) / density)),
        level_under_the_same_weights_meV=1e3 * (level - same),
        level_meV=1e3 * (level - result.fermi_energy),
    )

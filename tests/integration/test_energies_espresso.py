"""Every energy term on Quantum ESPRESSO's own densities, and the total free energy of its LDOS.

Cells: the two atoms of hcp beryllium, eight and 64 displaced ones, four in a sheared cell, and beryllium oxide. The
terms agree at any cutoff and any k-set, so that coarse ones do; an LDOS needs a denser set (slow tests).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nearsight import units
from nearsight.energies import assemble, density_energies, total_free_energy
from nearsight.errors import InputError
from nearsight.espresso.grid import fft_shape
from nearsight.espresso.inputs import DftSettings, LdosSettings
from nearsight.espresso.ldos import run_ldos
from nearsight.espresso.outputs import ElectronicStructure, read_electronic_structure, xml_of
from nearsight.espresso.programs import Launch
from nearsight.espresso.pseudopotential import generate_pseudopotential
from nearsight.espresso.reference import read_density, read_ldos
from nearsight.espresso.save import read_save_density
from nearsight.espresso.scf import run_density, run_scf
from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, find_fermi_level

pytestmark = [pytest.mark.qe, pytest.mark.mpi]

Ry = units.RYDBERG_eV
TEMPERATURE_K = 298.0
LDOS = LdosSettings(energy_min_eV=-5.0, energy_max_eV=10.9, spacing_eV=0.1, broadening_eV=0.2)
LAUNCH = Launch("mpirun.openmpi --bind-to none", 2)


@dataclass
class Cell:
    """One structure with the settings of its SCF."""

    atoms: Atoms
    ecutwfc_Ry: float
    kpoints: list[int]
    shift: list[int]
    bands: int
    conv_thr_Ry: float = 1e-11
    settings: DftSettings = field(init=False)

    def __post_init__(self):
        self.settings = DftSettings(
            self.ecutwfc_Ry, 4 * self.ecutwfc_Ry, self.kpoints, self.shift, self.bands, self.conv_thr_Ry
        )


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


@pytest.fixture(scope="session")
def pseudopotentials(tmp_path_factory, repository) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pseudo")
    for element in ("Be", "O"):
        generate_pseudopotential(
            repository / f"config/pseudo/{element}.pbe-rrkjus.in", element, folder / f"{element}.upf"
        )
    return {element: folder / f"{element}.upf" for element in ("Be", "O")}


@pytest.fixture(scope="session")
def scf(tmp_path_factory, pseudopotentials):
    """A function that runs a cell's SCF once and gives its folder, result and density."""
    done = {}

    def run(key: str, cell: Cell) -> tuple[Path, ElectronicStructure, np.ndarray]:
        if key not in done:
            folder = tmp_path_factory.mktemp(key)
            grid = fft_shape(cell.atoms.cell.array, cell.settings.ecutrho_Ry)
            run_scf(
                cell.atoms, grid, pseudopotentials, cell.settings, TEMPERATURE_K, LAUNCH,
                folder / "scf", folder / "scf.out",
            )  # fmt: skip
            result = read_electronic_structure(xml_of(folder / "scf"))
            done[key] = folder, result, read_save_density(folder / "scf", result.grid)
        return done[key]

    return run


def check_terms(result, density, cell, pseudopotentials):
    """All terms against QE's, at the tolerances that are promised."""
    atoms = len(result.atoms)
    found = density_energies(result.atoms, density, pseudopotentials, ecutrho_Ry=cell.settings.ecutrho_Ry)
    assert found.hartree == pytest.approx(result.energies["hartree_energy"], abs=1e-6 * Ry * atoms)
    assert found.xc == pytest.approx(result.energies["xc_energy"], abs=1e-5 * Ry * atoms)
    assert found.ion == pytest.approx(result.energies["ewald_energy"], abs=1e-7 * Ry * atoms)
    total = assemble(
        found,
        band=result.band_energy,
        entropy=result.energies["entropy_energy"],
        fermi_energy=result.fermi_energy,
        electrons=result.electrons,
    ).total
    assert total == pytest.approx(result.energies["total_free_energy"], abs=0.05e-3 * atoms)


@pytest.mark.parametrize("name", COARSE)
def test_terms_on_quantum_espressos_density(scf, pseudopotentials, name):
    cell = COARSE[name]
    _, result, density = scf(f"{name}-coarse", cell)
    assert density.sum() * result.atoms.get_volume() / density.size == pytest.approx(result.electrons, abs=1e-8)
    check_terms(result, density, cell, pseudopotentials)


def test_save_density_is_the_cubes_with_more_digits(scf):
    folder, result, density = scf("two-coarse", COARSE["two"])
    run_density(folder / "scf", LAUNCH, folder / "density.cube")
    cube = read_density(folder / "density.cube", result.atoms, result.grid, result.electrons)
    assert density == pytest.approx(cube, rel=3e-5)


def test_a_damaged_save_density_is_refused(scf, tmp_path):
    folder, result, _ = scf("two-coarse", COARSE["two"])
    save = tmp_path / "scf/nearsight.save"
    save.mkdir(parents=True)
    (save / "data-file-schema.xml").write_text("")
    with pytest.raises(InputError, match="expected a file of the SCF run"):
        read_save_density(tmp_path / "scf", result.grid)
    whole = (folder / "scf/nearsight.save/charge-density.dat").read_bytes()
    (save / "charge-density.dat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="expected Quantum ESPRESSO's density"):
        read_save_density(tmp_path / "scf", result.grid)
    (save / "charge-density.dat").write_bytes(whole)
    with pytest.raises(InputError, match=r"expected Miller indices that fit on the grid \(9, 9, 9\)"):
        read_save_density(tmp_path / "scf", (9, 9, 9))
    (save / "charge-density.dat").rename(save / "charge-density.hdf5")
    with pytest.raises(InputError, match="built with HDF5"):
        read_save_density(tmp_path / "scf", result.grid)


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
def test_total_free_energy_from_the_ldos(scf, pseudopotentials, name):
    """Within 1 meV/atom of QE, level within 1 meV of the eigenvalues' under the same weights, density 0.1 %."""
    cell = DENSE[name]
    folder, result, density = scf(f"{name}-dense", cell)
    check_terms(result, density, cell, pseudopotentials)
    run_ldos(cell.atoms, result.grid, pseudopotentials, folder / "scf", cell.settings, LDOS, LAUNCH, folder / "ldos")
    ldos = read_ldos(folder / "ldos", result.atoms, result.grid, LDOS)
    dos = dos_from_ldos(ldos, result.atoms.get_volume() / density.size)
    grid = EnergyGrid.from_energies(LDOS.energies_eV)
    conditions = {"temperature_K": TEMPERATURE_K, "broadening_eV": LDOS.broadening_eV}
    level = find_fermi_level(dos, grid, result.electrons, **conditions)
    from_ldos = density_from_ldos(ldos, fermi_weights(grid, level, **conditions))
    found = total_free_energy(
        result.atoms, from_ldos, dos, LDOS.energies_eV,
        pseudopotentials=pseudopotentials, ecutrho_Ry=cell.settings.ecutrho_Ry, **conditions,
    )  # fmt: skip
    assert found.total == pytest.approx(result.energies["total_free_energy"], abs=1e-3 * len(result.atoms))
    assert found.fermi_energy == level
    nscf = read_electronic_structure(folder / "ldos/nscf.xml")
    kernel = np.exp(-(((LDOS.energies_eV[:, None, None] - nscf.eigenvalues) / LDOS.broadening_eV) ** 2))
    broadened = np.einsum("ekb,k->e", kernel, nscf.weights) / (LDOS.broadening_eV * np.sqrt(np.pi))
    assert level == pytest.approx(find_fermi_level(broadened, grid, result.electrons, **conditions), abs=1e-3)
    assert np.mean(np.abs(from_ldos - density) / density) < 1e-3

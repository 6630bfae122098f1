"""Every energy term on Quantum ESPRESSO's own densities, and the total free energy of its LDOS.

The terms agree at any cutoff and any k-set, so that coarse ones do; an LDOS needs a denser set (slow tests).
bench/free_energy.py writes the errors of the same cells.
"""

from pathlib import Path

import numpy as np
import pytest
from espresso_cells import (
    COARSE,
    DENSE,
    Cell,
    TermErrors,
    errors_of_ldos,
    errors_of_terms,
    hcp,
    make_pseudopotentials,
)

from nearsight.energies import FourierGrid
from nearsight.energies.screening import free_electron_states, long_ion_waves, screen, unscreened_energy
from nearsight.errors import InputError
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.reference.espresso.save import read_save_density

pytestmark = [pytest.mark.qe, pytest.mark.mpi]


@pytest.fixture(scope="session")
def pseudopotentials(tmp_path_factory) -> dict[str, Path]:
    return make_pseudopotentials(tmp_path_factory.mktemp("pseudo"))


@pytest.fixture(scope="session")
def scf(tmp_path_factory, pseudopotentials):
    """A function that runs a cell's SCF once and gives its folder, result and density."""
    done = {}

    def run(key: str, cell: Cell) -> tuple[Path, ElectronicStructure, np.ndarray]:
        if key not in done:
            folder = tmp_path_factory.mktemp(key)
            done[key] = folder, *cell.run_scf(folder, pseudopotentials)
        return done[key]

    return run


def check_terms(errors: TermErrors) -> None:
    """Errors per atom within the tolerances that are promised."""
    assert abs(errors.hartree_Ry) < 1e-6
    assert abs(errors.xc_Ry) < 1e-5
    assert abs(errors.ewald_Ry) < 1e-7
    assert abs(errors.total_meV) < 0.05


@pytest.mark.parametrize("name", COARSE)
def test_terms_on_quantum_espressos_density(scf, pseudopotentials, name):
    cell = COARSE[name]
    _, result, density = scf(f"{name}-coarse", cell)
    assert density.sum() * result.atoms.get_volume() / density.size == pytest.approx(result.electrons, abs=1e-8)
    check_terms(errors_of_terms(cell, result, density, pseudopotentials))


def test_a_metal_screens_long_waves(scf, pseudopotentials):
    """Beryllium with a longitudinal wave, 14.3 Å long, 0.1 Å high: QE leaves less than 1 % of the ions' energy."""
    atoms = hcp(1, 1, 4)
    height = atoms.cell[2, 2]
    atoms.positions[:, 2] += 0.1 * np.sin(2 * np.pi * atoms.positions[:, 2] / height)
    cell = Cell(atoms, 20.0, [4, 3, 1], [1, 1, 0], 24, conv_thr_Ry=1e-9)
    _, result, density = scf("wave", cell)
    grid = FourierGrid(np.asarray(result.atoms.cell), density.shape, cell.settings.ecutrho_Ry)
    left = unscreened_energy(grid.coefficients(density), grid, result.atoms, {"Be": 2.0})
    bare = unscreened_energy(grid.coefficients(np.full(density.shape, density.mean())), grid, result.atoms, {"Be": 2.0})
    assert bare / len(atoms) > 0.1
    assert 0 < left < 0.01 * bare
    # any density with the wrong wave gets QE's: n/n_ion is 0.96, and Thomas and Fermi's 0.5 % off
    states = 0.3 * free_electron_states(2 * len(atoms), atoms.get_volume())
    change, few, done = screen(np.full(density.shape, density.mean()), result.atoms, {"Be": 2.0}, states)
    ions, expected = long_ion_waves(result.atoms, {"Be": 2.0}, few), few.coefficients(density)
    assert abs(change[0, 0, 1] - expected[0, 0, 1]) < 0.01 * abs(ions[0, 0, 1])
    assert 1e3 * done.unscreened_eV_per_atom_before == pytest.approx(1e3 * bare / len(atoms), rel=1e-6)
    assert 1e3 * done.unscreened_eV_per_atom_after == pytest.approx(1e3 * left / len(atoms), abs=0.1)


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
    with pytest.raises(InputError, match=r"charge-density\.hdf5: expected a whole HDF5"):
        read_save_density(tmp_path / "scf", result.grid)


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
def test_total_free_energy_from_the_ldos(scf, pseudopotentials, name):
    """Within 1 meV/atom of QE, level within 1 meV of the eigenvalues' under the same weights, density 0.1 %."""
    cell = DENSE[name]
    folder, result, density = scf(f"{name}-dense", cell)
    check_terms(errors_of_terms(cell, result, density, pseudopotentials))
    ldos = cell.ldos(folder, pseudopotentials)
    errors = errors_of_ldos(cell, result, density, ldos, pseudopotentials, corrected=True)
    assert abs(errors.total_meV) < 1.0
    assert abs(errors.level_under_the_same_weights_meV) < 1.0
    assert errors.density_mape < 1e-3

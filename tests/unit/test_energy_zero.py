"""Where energies count from: the same environment has the same LDOS in cells of several densities."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from model_files import REFERENCE_SETTINGS, ENERGIES_eV, write_pair

from nearsight.cli import main
from nearsight.datasets import atoms_of, open_dataset, variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.evaluation.energy_zero import fit_energy_zero
from nearsight.grids.energies import find_energy_zero
from nearsight.model.data import describe_snapshots
from nearsight.reference.espresso.collect import check_energy_window
from nearsight.study.sections import Ldos

Z = {"Be": 85.0, "O": -20.0}
WINDOW = {"energy_min_eV": -17.0, "energy_max_eV": -0.6, "spacing_eV": 0.2, "broadening_eV": 0.4}


def test_it_goes_with_the_atoms_per_volume():
    atoms = bulk("Be", a=2.27, c=3.57)
    zero = find_energy_zero(atoms, Z)
    assert zero == pytest.approx(85.0 * 2 / atoms.get_volume())
    assert find_energy_zero(atoms.repeat((2, 3, 4)), Z) == pytest.approx(zero, rel=1e-14)
    cell = atoms.repeat(2)
    del cell[0]
    assert find_energy_zero(cell, Z) == pytest.approx(zero * 15 / 16)
    assert find_energy_zero(atoms, {}) == find_energy_zero(atoms, {"O": 3.0}) == 0.0
    oxide = bulk("BeO", "wurtzite", a=2.7, c=4.4)
    assert find_energy_zero(oxide, Z) == pytest.approx(2 * (85.0 - 20.0) / oxide.get_volume())


def test_a_window_in_the_energies_of_a_cell():
    atoms = bulk("Be", a=2.27, c=3.57)
    zero = find_energy_zero(atoms, Z)
    ldos = Ldos(**WINDOW, energy_zero_eV_A3=Z)
    here = ldos.in_cell(atoms)
    assert np.allclose(here.grid.energies_eV, ldos.grid.energies_eV + zero, atol=1e-12)
    assert here.in_cell(atoms) == here
    assert Ldos(**WINDOW).in_cell(atoms) == Ldos(**WINDOW)


@pytest.mark.parametrize(
    ("lowest", "level", "highest", "message"),
    [
        (-15.3, -2.7, 1.5, None),
        (-15.5, -2.7, 1.5, r"energy_min_eV: expected at most -17\.10 eV .*eigenvalue, -15\.50 eV\), got -17\.00"),
        (-15.3, -1.0, 1.5, r"energy_max_eV: expected at least -0\.36 eV .*-1\.00 eV\), got -0\.60"),
        (-15.3, -2.7, 0.9, r"highest one to lie above 1\.00 eV .*begins at 0\.90 eV"),
    ],
)
def test_states_are_counted_from_it_too(lowest, level, highest, message):
    atoms = bulk("Be", a=2.27, c=3.57)
    zero = find_energy_zero(atoms, Z)
    run = SimpleNamespace(atoms=atoms, eigenvalues=np.array([[lowest, highest]]) + zero, fermi_energy=level + zero)
    ldos = Ldos(**WINDOW, energy_zero_eV_A3=Z)
    if message is None:
        check_energy_window(run, run, ldos, 298.0)
    else:
        with pytest.raises(InputError, match=message):
            check_energy_window(run, run, ldos, 298.0)


def write_cells(folder: Path, zeros: list[dict], *, shifted: bool = True) -> tuple[list[Path], list[Path]]:
    """Training files of two densities, whose energies are those of each cell."""
    pairs = []
    for number, (scale, zero) in enumerate(zip((1.0, 1.05), zeros, strict=True)):
        settings = {"ldos": {**REFERENCE_SETTINGS["ldos"], "energy_zero_eV_A3": zero}}
        plain = write_pair(folder, f"plain {number}", number, cell_scale=scale)
        with open_dataset(plain[0]) as dataset:
            shift = find_energy_zero(atoms_of(dataset), zero) if shifted else 0.0
            ldos = dataset["ldos"].values
        other = {"energies": ENERGIES_eV + shift, "ldos": ldos, "reference": settings}
        pairs.append(write_pair(folder, str(number), number, cell_scale=scale, **other))
    return tuple(map(list, zip(*pairs, strict=True)))


def test_cells_of_several_densities_train_one_model(tmp_path):
    _, data = describe_snapshots(*write_cells(tmp_path, [{"Be": 85.0}, {"Be": 85.0}]))
    assert np.allclose(data.energy_grid.energies_eV, ENERGIES_eV, atol=1e-8)
    assert data.energy_zero_eV_A3 == {"Be": 85.0}


def test_other_zeros_do_not_train_one_model(tmp_path):
    with pytest.raises(InputError, match=r"energy_zero_eV_A3\.Be: expected 85\.0 as in .*0 reference\.h5, got 84\.0"):
        describe_snapshots(*write_cells(tmp_path, [{"Be": 85.0}, {"Be": 84.0}]))


def test_energies_that_do_not_fit_the_zero_are_refused(tmp_path):
    with pytest.raises(InputError, match="energies: expected 9 from"):
        describe_snapshots(*write_cells(tmp_path, [{"Be": 85.0}, {"Be": 85.0}], shifted=False))


def test_the_fit_finds_what_the_levels_were_made_of():
    cells = [bulk("Be", a=a, c=3.57) for a in (2.2, 2.27, 2.3)]
    cells += [bulk("BeO", "wurtzite", a=a, c=4.4) for a in (2.7, 2.75)]
    found = fit_energy_zero(cells, [-2.7 + find_energy_zero(atoms, Z) for atoms in cells])
    assert found.energy_zero_eV_A3 == pytest.approx(Z)
    assert found.spread_eV < 1e-9 < 1 < found.spread_without_eV
    with pytest.raises(InputError, match="at least 2 densities for Be, got 3 files"):
        fit_energy_zero([cells[0]] * 3, [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="at least 3 densities for Be, O, got 2 files"):
        fit_energy_zero(cells[-2:], [1.0, 2.0])


def test_the_command_fits_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nearsight.evaluation.labels.measure_floors", lambda *_: FLOORS)
    paths = []
    for name, a in (("one", 2.2), ("two", 2.3)):
        atoms = bulk("Be", a=a, c=3.57)
        level = -2.7 + find_energy_zero(atoms, Z)
        paths.append(str(tmp_path / f"{name}.h5"))
        write_dataset(paths[-1], {**variables_of_atoms(atoms), "fermi_energy": level}, {}, {})
    assert main(["check", paths[0], "--zero", paths[1]]) == 0
    assert "ldos.energy_zero_eV_A3: {Be: 85.0}; the Fermi levels are then within 0 meV" in capsys.readouterr().out


FLOORS = SimpleNamespace(scf=0, window=0, bands=0, broadening=0, electrons=0, ldos=None, kpoints=None, total=0)

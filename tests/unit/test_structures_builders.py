"""Crystals by name, and supercells."""

import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import get_distances

from nearsight import units
from nearsight.errors import InputError
from nearsight.structures.builders import build_structure, build_supercell, hcp_orthorhombic
from nearsight.structures.gridded import grid_of
from nearsight.structures.io import write_structure
from nearsight.structures.large import stacking_sequence
from nearsight.study.sections import BuiltStructure, FileStructure

BERYLLIUM = {"formula": "Be", "lattice": "hcp", "density_g_cm3": 1.896, "c_over_a": 1.5797}


def test_density_and_shape():
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    a, b, c = atoms.cell.lengths()
    assert b / a == pytest.approx(np.sqrt(3))
    assert c / a == pytest.approx(1.5797)
    assert atoms.get_masses().sum() * units.AMU_g / (atoms.get_volume() * 1e-24) == pytest.approx(1.896)


def test_it_is_hexagonal_close_packing():
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    a = atoms.cell.lengths()[0]
    primitive = bulk("Be", "hcp", a=a, c=1.5797 * a)

    def shells(crystal):
        crystal = crystal.repeat(4)
        middle = crystal.positions[np.argmin(np.linalg.norm(crystal.positions - crystal.cell.sum(axis=0) / 2, axis=1))]
        distances = get_distances([middle], crystal.positions, cell=crystal.cell, pbc=True)[1].ravel()
        return np.sort(distances)[:40]

    assert shells(atoms)[:13] == pytest.approx(shells(primitive)[:13])


def test_repeat():
    atoms = build_structure(BuiltStructure(**BERYLLIUM, repeat=[2, 1, 1]))
    assert len(atoms) == 8
    assert len(build_structure(BuiltStructure(**BERYLLIUM))) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formula": "Bf"}, "structures: formula: expected the symbol of an element, got 'Bf'"),
        ({"formula": "Xx", "lattice": "bcc"}, "structures: expected a crystal Xx, bcc"),
        ({"vacancies": [4]}, r"vacancies: expected different atoms from 0 to 3, not all of them, got \[4\]"),
        ({"vacancies": [1, 1]}, "vacancies: expected different atoms"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        build_structure(BuiltStructure(**BERYLLIUM | change))


@pytest.mark.parametrize(
    ("formula", "lattice", "atoms", "nearest_A"),
    [
        ("Al", "fcc", 4, 4.05 / np.sqrt(2)),
        ("Fe", "bcc", 2, 4.05 * np.sqrt(3) / 2),
        ("C", "diamond", 8, 4.05 * np.sqrt(3) / 4),
        ("MgO", "rocksalt", 8, 4.05 / 2),
        ("ZnS", "zincblende", 8, 4.05 * np.sqrt(3) / 4),
    ],
)
def test_lattices_by_name(formula, lattice, atoms, nearest_A):
    by_constant = build_structure(BuiltStructure(formula=formula, lattice=lattice, a_A=4.05))
    assert len(by_constant) == atoms
    distances = by_constant.get_all_distances(mic=True)
    assert distances[distances > 0].min() == pytest.approx(nearest_A)
    density = by_constant.get_masses().sum() * units.AMU_g / (by_constant.get_volume() * 1e-24)
    by_density = build_structure(BuiltStructure(formula=formula, lattice=lattice, density_g_cm3=density))
    assert by_density.cell.array == pytest.approx(by_constant.cell.array)


def test_strain_vacancies_and_a_stacking_fault():
    built = BuiltStructure(**BERYLLIUM, repeat=[2, 2, 3])
    perfect = build_structure(built)
    strained = build_structure(built.model_copy(update={"strain_percent": 2.0, "vacancies": [3, 7]}))
    assert strained.cell.array == pytest.approx(1.02 * perfect.cell.array)
    assert strained.positions == pytest.approx(1.02 * np.delete(perfect.positions, [3, 7], axis=0))
    faulted = build_structure(built.model_copy(update={"stacking_fault_layer": 0}))
    a = perfect.cell[0, 0] / 2
    assert stacking_sequence(perfect, a, perfect.cell[2, 2] / 6) == "ABABAB"
    assert set(stacking_sequence(faulted, a, perfect.cell[2, 2] / 6)) == set("ABC")


def test_from_a_file(tmp_path):
    path = tmp_path / "my 'cell'.extxyz"
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms.info["note"] = "dropped"
    write_structure(path, atoms)
    found = build_structure(FileStructure(file=str(path), repeat=[1, 1, 2]))
    assert len(found) == 8
    assert found.info == {}
    with pytest.raises(InputError, match=r"none\.extxyz: expected a structure file"):
        build_structure(FileStructure(file=str(tmp_path / "none.extxyz")))


def test_a_supercell_keeps_its_voxels():
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms.info["grid_shape"] = np.array([18, 30, 27])
    supercell = build_supercell(atoms, [2, 3, 1])
    assert len(supercell) == 24
    assert grid_of(supercell) == (36, 90, 27)
    assert supercell.positions[:4] == pytest.approx(atoms.positions)
    assert supercell.cell.array / np.array([[2], [3], [1]]) == pytest.approx(atoms.cell.array)


def test_a_supercell_needs_a_grid():
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    with pytest.raises(
        InputError, match="grid_shape: expected three whole numbers from 1 to 100000 in the structure's info, got None"
    ):
        build_supercell(atoms, [2, 2, 2])
    atoms.info["grid_shape"] = [18, 30, 27]
    with pytest.raises(InputError, match="repeat: expected three whole numbers"):
        build_supercell(atoms, [2, 2, -2])

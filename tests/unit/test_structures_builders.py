"""Crystals by name, and supercells."""

import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import get_distances

from nearsight import units
from nearsight.errors import InputError
from nearsight.structures.builders import build_structure, build_supercell, grid_of, hcp_orthorhombic
from nearsight.structures.io import write_structure

BERYLLIUM = {"element": "Be", "lattice": "hcp", "density_g_cm3": 1.896, "c_over_a": 1.5797}


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
    atoms = build_structure({**BERYLLIUM, "repeat": [2, 1, 1]})
    assert len(atoms) == 8
    assert len(build_structure(BERYLLIUM)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"element": "Bf"}, "structure.element: expected the symbol of an element, got 'Bf'"),
        ({"density_g_cm3": -1.9}, "structure.density_g_cm3: expected a positive density in g/cm³, got -1.9"),
        ({"c_over_a": 0}, "structure.c_over_a: expected a positive ratio"),
        ({"lattice": "bcc"}, "structure.lattice: expected 'hcp', got 'bcc'"),
        ({"lattice": None}, "structure.lattice: expected a value"),
        ({"repeat": [2, 0, 1]}, r"structure.repeat: expected three whole numbers of at least 1, got \[2, 0, 1\]"),
        ({"repeat": [2, 1]}, "structure.repeat: expected three"),
        ({"density_g_cm3": 1896.0}, "tenths of an Å apart.*its unit"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        build_structure(BERYLLIUM | change)


def test_from_a_file(tmp_path):
    path = tmp_path / "my 'cell'.extxyz"
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms.info["note"] = "dropped"
    write_structure(path, atoms)
    found = build_structure({"file": str(path), "repeat": [1, 1, 2]})
    assert len(found) == 8
    assert found.info == {}
    with pytest.raises(InputError, match=r"none\.extxyz: expected a structure file"):
        build_structure({"file": str(tmp_path / "none.extxyz")})


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

"""A structure that cannot be a crystal stops the job that reads it."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from nearsight.errors import InputError
from nearsight.structures.checks import check_structure, find_pairs
from nearsight.structures.io import read_frames, read_structure, write_structure


@pytest.fixture
def beryllium():
    return bulk("Be", "hcp", a=2.26, c=3.57)


def test_a_crystal_passes(beryllium):
    check_structure(beryllium)


def broken(atoms, change):
    atoms = atoms.copy()
    change(atoms)
    return atoms


def swap_vectors(atoms):
    atoms.cell = atoms.cell.array[[1, 0, 2]]


def set_nan(atoms):
    atoms.positions[1, 2] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_nan, "my file: positions: expected finite numbers in Å, got NaN or infinity at atom 1"),
        (lambda atoms: atoms.set_cell(np.full((3, 3), np.nan)), "cell: expected finite numbers"),
        (lambda atoms: atoms.set_cell(np.zeros((3, 3))), "cell: expected three lattice vectors"),
        (lambda atoms: atoms.set_cell([[1, 0, 0], [2, 0, 0], [0, 0, 3]]), "cell: expected three lattice vectors"),
        (swap_vectors, "expected right-handed lattice vectors"),
        (lambda atoms: atoms.set_pbc([True, True, False]), r"pbc: expected periodicity.*\[True, True, False\]"),
        (lambda atoms: atoms.set_atomic_numbers([4, 0]), "atomic number 0 at atom 1"),
        (lambda atoms: atoms.__delitem__([0, 1]), "empty structure"),
    ],
)
def test_what_is_no_crystal(beryllium, change, message):
    with pytest.raises(InputError, match=message):
        check_structure(broken(beryllium, change), "my file")


def test_overlapping_atoms_are_named_with_their_distance(beryllium):
    atoms = beryllium + Atoms("Be", positions=[beryllium.positions[1] + [0, 0, 0.25]])
    with pytest.raises(InputError, match=r"atoms 1 \(Be\) and 2 \(Be\) overlap.*0\.96 Å.*got 0\.250 Å"):
        check_structure(atoms)


def test_overlap_through_the_boundary(beryllium):
    atoms = beryllium + Atoms("Be", positions=[beryllium.positions[0] + beryllium.cell[2] - [0, 0, 0.1]])
    with pytest.raises(InputError, match=r"atoms 0 \(Be\) and 2 \(Be\) overlap"):
        check_structure(atoms)


def test_a_wrong_unit_is_told(beryllium):
    beryllium.set_cell(beryllium.cell / 10, scale_atoms=True)
    with pytest.raises(InputError, match="its unit"):
        check_structure(beryllium)


@pytest.mark.parametrize("name", ["a b.extxyz", "it's $HOME; `x` & 'y' @1:*.extxyz", "POSCAR"])
def test_files_with_any_name(tmp_path, monkeypatch, beryllium, name):
    monkeypatch.chdir(tmp_path)
    if name == "POSCAR":
        beryllium.write(name, format="vasp")
    else:
        write_structure(name, beryllium)
    found = read_structure(name)
    assert found.positions == pytest.approx(beryllium.positions, abs=1e-7)
    assert found.cell.array == pytest.approx(beryllium.cell.array, abs=1e-7)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_frames_and_info_come_back(tmp_path, beryllium):
    frames = []
    for step in range(3):
        frame = beryllium.copy()
        frame.info = {"time_fs": 2.0 * step, "grid_shape": [18, 18, 27]}
        frame.set_velocities(np.full((2, 3), 0.01 * step))
        frames.append(frame)
    write_structure(tmp_path / "x.extxyz", frames)
    found = read_frames(tmp_path / "x.extxyz")
    assert [frame.info["time_fs"] for frame in found] == [0.0, 2.0, 4.0]
    assert found[2].get_velocities() == pytest.approx(frames[2].get_velocities(), rel=1e-6)
    assert tuple(found[0].info["grid_shape"]) == (18, 18, 27)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a structure file, found none"),
        ("2\n\nBe 0 0 0\n", "2 atoms announced, fewer lines"),
        ("2 x\n\nBe 0 0 0\n", "expected a structure in a format that ASE reads"),
        ("", "expected a structure"),
        ("1\n\nBe 0 0 0\n", "cell: expected three lattice vectors"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nBe nan 0 0\n', "NaN or infinity at atom 0"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T F"\nBe 0 0 0\n', "pbc"),
    ],
)
def test_files_that_hold_no_crystal(tmp_path, content, message):
    path = tmp_path / "bad.extxyz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_structure(path)
    assert "bad.extxyz" in str(caught.value)


@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_those_of_ases_neighbour_list(seed):
    """In compact, thin and skewed cells, with a cutoff beyond the cell's own height."""
    generator = np.random.default_rng(seed)
    cell = generator.normal(size=(3, 3)) * generator.uniform(0.5, 4.0, size=(3, 1))
    cell *= np.sign(np.linalg.det(cell))
    atoms = Atoms(f"Be{1 + seed}", scaled_positions=generator.uniform(-1, 2, (1 + seed, 3)), cell=cell, pbc=True)
    cutoff_A = generator.uniform(0.3, 2.0)
    first, second, distances = find_pairs(atoms, cutoff_A)
    i, j, d = neighbor_list("ijd", atoms, cutoff_A)
    found, expected = (
        sorted(set(zip(np.minimum(a, b).tolist(), np.maximum(a, b).tolist(), r.round(8).tolist(), strict=True)))
        for a, b, r in ((first, second, distances), (i, j, d))
    )
    np.testing.assert_allclose(found, expected, atol=1e-7)

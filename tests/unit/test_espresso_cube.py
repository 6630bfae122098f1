"""Cube files: whole and ours, or an error that says what is wrong."""

import numpy as np
import pytest
from ase import Atoms
from ase.io.cube import write_cube

from nearsight.errors import InputError
from nearsight.reference.espresso.cube import read_cube
from nearsight.reference.espresso.ldos import check_cube_energy


@pytest.fixture
def cube(tmp_path):
    """A cube file of 3 x 4 x 5 values on a skewed cell of two atoms, with those values and the atoms."""
    atoms = Atoms("BeO", positions=[[0.1, 0.2, 0.3], [1, 1, 1]], cell=[[2, 0, 0], [1, 3, 0], [0, 0, 4]], pbc=True)
    values = np.random.default_rng(1).random((3, 4, 5))
    path = tmp_path / "a cube.cube"
    with open(path, "w") as handle:
        write_cube(handle, atoms, values)
    lines = path.read_text().split("\n")
    lines[1] = "  Energy =  -4.0000 eV, broadening =   0.2000 eV"  # as pp.x writes it
    path.write_text("\n".join(lines))
    return path, atoms, values


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_values_and_structure(cube):
    path, atoms, values = cube
    found = read_cube(path)
    assert found.values == pytest.approx(values, abs=1e-6)
    assert found.atoms.positions == pytest.approx(atoms.positions, abs=1e-5)
    assert found.atoms.cell.array == pytest.approx(atoms.cell.array, abs=1e-5)
    assert (found.atoms.numbers == atoms.numbers).all()


def test_a_truncated_file_names_both_counts(cube):
    path = cube[0]
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]))
    with pytest.raises(InputError, match=r"a cube\.cube: expected 60 values \(3 x 4 x 5\), got 57.*truncated"):
        read_cube(path)


@pytest.mark.parametrize("lines", [0, 1, 2, 4, 7])
def test_a_file_without_its_header(cube, lines):
    path = cube[0]
    path.write_text("\n".join(path.read_text().splitlines()[:lines]))
    with pytest.raises(InputError, match="expected"):
        read_cube(path)


def test_missing_binary_and_unreadable(cube, tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_cube(tmp_path / "none.cube")
    (tmp_path / "binary").write_bytes(b"\x89\xff\x00\xfe")
    with pytest.raises(InputError, match="got binary data"):
        read_cube(tmp_path / "binary")
    path = cube[0]
    last = path.read_text().split()[-1]
    rewrite(path, last, "*" * 11)
    with pytest.raises(InputError, match="expected numbers"):
        read_cube(path)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-1e308"])
def test_values_that_are_not_finite(cube, number):
    """The last one is finite, but not in 1/Å³."""
    path = cube[0]
    rewrite(path, path.read_text().split()[-1], number)
    with pytest.raises(InputError, match="NaN, infinity"):
        read_cube(path)


def test_exponents_of_three_digits_without_their_letter(cube):
    path = cube[0]
    rewrite(path, path.read_text().split()[-1], "0.12345-101")
    assert read_cube(path).values[-1, -1, -1] == pytest.approx(0.12345e-101)


def test_energy_of_a_cube(cube, tmp_path):
    path = cube[0]
    check_cube_energy(path, -4.0, 0.2)
    with pytest.raises(InputError, match=r"at -3\.9000 eV.*broadening of 0\.2000 eV"):
        check_cube_energy(path, -3.9, 0.2)
    with pytest.raises(InputError, match=r"0\.3000 eV"):
        check_cube_energy(path, -4.0, 0.3)
    with pytest.raises(InputError, match="found no file"):
        check_cube_energy(tmp_path / "ldos001.cube", -4.0, 0.2)

"""Cube files of pp.x, read strictly: a truncated or foreign file is an error, never a short array."""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular

#: Bytes of the largest cube file that is read: 600³ points of pp.x.
LARGEST_CUBE = 3 << 30

#: bohr; a longer step or position is a damaged number.
LONGEST = 1e6

#: Fortran leaves the letter out of three-digit exponents: 0.12345-101.
_BARE_EXPONENT = re.compile(r"(\d)([+-]\d{3})\b")


@dataclass(frozen=True)
class Cube:
    """One cube file: comment line, structure, and values of shape (nx, ny, nz) in the file's own unit."""

    comment: str
    atoms: Atoms
    values: np.ndarray


def read_cube(path: str | Path) -> Cube:
    """Read a cube file whole.

    The file's index order is (x, y, z), x slowest, as ours. Raises InputError where the file is missing, its header
    is damaged, a number is unreadable or not finite, or the count of values is not nx ny nz.
    """
    content = read_regular(path, "a cube file", "Run the rule that makes it.", LARGEST_CUBE)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: expected a cube file, got binary data. "
            "Get a whole copy, or move it away and run the rule that makes it."
        ) from None
    lines = text.split("\n", 6)
    try:
        count = int(lines[2].split()[0])
        grid = [lines[3 + axis].split() for axis in range(3)]
        shape = tuple(int(words[0]) for words in grid)
        steps = np.array([[float(x) for x in words[1:4]] for words in grid])
        *atom_lines, rest = lines[6].split("\n", count)
        atom_rows = [line.split() for line in atom_lines]
        if len(atom_rows) != count or count < 1 or steps.shape != (3, 3) or min(shape) < 1:
            raise ValueError("too few lines")
        if prod(shape) > len(rest):
            raise ValueError(f"a grid of {' x '.join(map(str, shape))} points in {len(content)} bytes")
        numbers = [int(row[0]) for row in atom_rows]
        if not all(0 < number < len(chemical_symbols) for number in numbers):
            raise ValueError(f"the atomic numbers {min(numbers)} to {max(numbers)}")
        positions = np.array([[float(x) for x in row[2:5]] for row in atom_rows])
        if not (np.abs(steps).max() < LONGEST and np.abs(positions).max() < LONGEST):
            raise ValueError(f"lengths that are no numbers, or of more than {LONGEST:g} bohr")
        atoms = Atoms(
            numbers=numbers,
            positions=positions * units.BOHR_A,
            cell=steps * np.array(shape)[:, None] * units.BOHR_A,
            pbc=True,
        )
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"{path}: expected the header of a cube file, got {error}. "
            "Get a whole copy, or move it away and run the rule that makes it."
        ) from None
    values = _numbers(rest, path)
    expected = prod(shape)
    if values.size != expected:
        raise InputError(
            f"{path}: expected {expected} values ({' x '.join(map(str, shape))}), got {values.size}: "
            "the file is truncated or damaged. Get a whole copy, or move it away and run the rule that makes it."
        )
    if not units.are_finite(values):
        raise InputError(
            f"{path}: expected finite values, got NaN, infinity, or one beyond {units.LARGEST_NUMBER:g}. "
            "Check the run that made it."
        )
    return Cube(comment=lines[1].strip(), atoms=atoms, values=values.reshape(shape))


def _numbers(text: str, path: str | Path) -> np.ndarray:
    try:
        return np.array(text.split(), dtype=float)
    except ValueError:
        pass
    try:
        return np.array(_BARE_EXPONENT.sub(r"\1E\2", text).split(), dtype=float)
    except ValueError as error:
        raise InputError(
            f"{path}: expected numbers, got {error}. Get a whole copy, or move it away and run the rule that makes it."
        ) from None

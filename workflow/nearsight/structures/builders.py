"""Crystals by name, and supercells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from nearsight import units
from nearsight.errors import InputError
from nearsight.options import LARGEST_GRID
from nearsight.structures.checks import check_structure
from nearsight.structures.io import read_structure

#: Entry of `Atoms.info` with the grid (nx, ny, nz) of all fields of a structure.
GRID_SHAPE = "grid_shape"


def hcp_orthorhombic(element: str, density_g_cm3: float, c_over_a: float) -> Atoms:
    """Hexagonal close packing in its orthorhombic cell of four atoms, edges a, a√3, c.

    a follows from the mass density: 4 m = ρ a³ √3 (c/a). Raises InputError for an unknown element or numbers that
    are not positive.
    """
    if element not in atomic_numbers or element == "X":
        raise InputError(f"structure.element: expected the symbol of an element, got {element!r}.")
    if not density_g_cm3 > 0:
        raise InputError(f"structure.density_g_cm3: expected a positive density in g/cm³, got {density_g_cm3}.")
    if not c_over_a > 0:
        raise InputError(f"structure.c_over_a: expected a positive ratio (ideal: 1.633), got {c_over_a}.")
    mass_g = atomic_masses[atomic_numbers[element]] * units.AMU_g
    volume = 4 * mass_g / density_g_cm3 * 1e24  # cm³ to Å³
    a = (volume / (np.sqrt(3) * c_over_a)) ** (1 / 3)
    return Atoms(
        symbols=[element] * 4,
        cell=[a, a * np.sqrt(3), a * c_over_a],
        scaled_positions=[[0, 0, 0], [1 / 2, 1 / 2, 0], [1 / 2, 1 / 6, 1 / 2], [0, 2 / 3, 1 / 2]],
        pbc=True,
    )


def build_structure(settings: dict) -> Atoms:
    """The cell of the configuration's section `structure`: from its `file`, or built, then repeated.

    Raises InputError on a missing key, an unknown lattice or a structure that cannot be a crystal.
    """
    if settings.get("file"):
        atoms = read_structure(settings["file"])
        atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    else:
        for key in ("element", "lattice", "density_g_cm3", "c_over_a"):
            if settings.get(key) is None:
                raise InputError(f"structure.{key}: expected a value, or structure.file, found none.")
        if settings["lattice"] != "hcp":
            raise InputError(
                f"structure.lattice: expected 'hcp', got {settings['lattice']!r}. "
                "Give other crystals as structure.file."
            )
        atoms = hcp_orthorhombic(settings["element"], settings["density_g_cm3"], settings["c_over_a"])
    atoms = atoms.repeat(_repeats(settings.get("repeat") or (1, 1, 1), "structure.repeat"))
    check_structure(atoms, settings.get("file") or "structure")
    return atoms


def build_repetition(atoms: Atoms, repeat: Sequence[int], key: str) -> Atoms:
    """`atoms` repeated along its vectors, without a grid. Raises InputError where repeats are not positive."""
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    return plain.repeat(_repeats(repeat, key))


def build_supercell(atoms: Atoms, repeat: Sequence[int]) -> Atoms:
    """`atoms` repeated along its vectors; its grid is repeated with it, so that voxels keep their size and place.

    Raises InputError where repeats are not positive or the structure has no grid.
    """
    repeat = _repeats(repeat, "repeat")
    supercell = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True).repeat(repeat)
    shape = [int(n * factor) for n, factor in zip(grid_of(atoms), repeat, strict=True)]
    supercell.info = {GRID_SHAPE: shape, "repeat": list(repeat)}
    return supercell


def grid_of(atoms: Atoms, source: str | Path = "structure") -> tuple[int, int, int]:
    """The grid (nx, ny, nz) of a structure's fields. Raises InputError where it has none; `source` is its file."""
    shape = atoms.info.get(GRID_SHAPE)
    values = np.asarray(shape)
    good = values.shape == (3,) and values.dtype.kind in "iu" and values.min() >= 1 and values.max() <= LARGEST_GRID
    if not good:
        raise InputError(
            f"{source}: {GRID_SHAPE}: expected three whole numbers from 1 to {LARGEST_GRID} in the structure's info, "
            f"got {str(shape)[:80]}. Make the file with select_snapshots, build_structure or build_supercell."
        )
    nx, ny, nz = values.tolist()
    return nx, ny, nz


def _repeats(repeat: Sequence[int], key: str) -> tuple[int, int, int]:
    values = tuple(int(n) for n in repeat)
    if len(values) != 3 or min(values) < 1 or any(n != m for n, m in zip(values, repeat, strict=True)):
        raise InputError(f"{key}: expected three whole numbers of at least 1, got {list(repeat)}.")
    return values

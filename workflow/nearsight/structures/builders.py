"""Crystals by name, and supercells."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

from nearsight import units
from nearsight.errors import InputError
from nearsight.structures.checks import check_structure
from nearsight.structures.gridded import GRID_SHAPE, grid_of
from nearsight.structures.io import read_structure
from nearsight.structures.large import add_stacking_fault, layers_of
from nearsight.study.sections import BuiltStructure, FileStructure


def hcp_orthorhombic(element: str, density_g_cm3: float, c_over_a: float) -> Atoms:
    """Hexagonal close packing in its orthorhombic cell of four atoms, edges a, a√3, c.

    a follows from the mass density: 4 m = ρ a³ √3 (c/a). Raises InputError for an unknown element or numbers that
    are not positive.
    """
    if element not in atomic_numbers or element == "X":
        raise InputError(f"structures: formula: expected the symbol of an element, got {element!r}.")
    if not density_g_cm3 > 0:
        raise InputError(f"structures: density_g_cm3: expected a positive density in g/cm³, got {density_g_cm3}.")
    if not c_over_a > 0:
        raise InputError(f"structures: c_over_a: expected a positive ratio (ideal: 1.633), got {c_over_a}.")
    mass_g = atomic_masses[atomic_numbers[element]] * units.AMU_g
    volume = 4 * mass_g / density_g_cm3 * 1e24  # cm³ to Å³
    a = (volume / (np.sqrt(3) * c_over_a)) ** (1 / 3)
    return Atoms(
        symbols=[element] * 4,
        cell=[a, a * np.sqrt(3), a * c_over_a],
        scaled_positions=[[0, 0, 0], [1 / 2, 1 / 2, 0], [1 / 2, 1 / 6, 1 / 2], [0, 2 / 3, 1 / 2]],
        pbc=True,
    )


def build_lattice(settings: BuiltStructure) -> Atoms:
    """The lattice's own cell: hcp orthorhombic, wurtzite hexagonal, all others cubic.

    Its size follows from a_A, or from the mass density. Raises InputError where ASE knows no such crystal.
    """
    if settings.lattice == "hcp":
        unit = hcp_orthorhombic(settings.formula, settings.density_g_cm3 or 1.0, settings.c_over_a)
    else:
        shape = {"c": settings.c_over_a} if settings.lattice == "wurtzite" else {"cubic": True}
        try:
            unit = bulk(settings.formula, settings.lattice, a=1.0, **shape)
        except (ValueError, KeyError) as error:
            raise InputError(
                f"structures: expected a crystal {settings.formula}, {settings.lattice}: {error}."
            ) from None
    if settings.a_A is not None:
        scale = settings.a_A / unit.cell.lengths()[0]
    else:
        scale = 1.0 if settings.lattice == "hcp" else (mass_density(unit) / settings.density_g_cm3) ** (1 / 3)
    unit.set_cell(unit.cell * scale, scale_atoms=True)
    return unit


def mass_density(atoms: Atoms) -> float:
    """Mass density in g/cm³."""
    return float(atoms.get_masses().sum() * units.AMU_g / (atoms.get_volume() * 1e-24))  # 1 Å³ is 1e-24 cm³


def build_structure(settings: BuiltStructure | FileStructure) -> Atoms:
    """The cell of an entry of `structures`: built or read, strained, repeated, faulted, without its vacancies.

    Raises InputError where it cannot be a crystal.
    """
    if isinstance(settings, FileStructure):
        source, fault = settings.file, None
        found = read_structure(source)
        unit = Atoms(numbers=found.numbers, positions=found.positions, cell=found.cell, pbc=True)
    else:
        source, fault = "structures", settings.stacking_fault_layer
        unit = build_lattice(settings)
    unit.set_cell(unit.cell * (1 + settings.strain_percent / 100), scale_atoms=True)
    atoms = unit.repeat(settings.repeat)
    if fault is not None:
        atoms = add_stacking_fault(atoms, *layers_of(unit), fault)
    wrong = [index for index in settings.vacancies if not 0 <= index < len(atoms)]
    if wrong or len(set(settings.vacancies)) != len(settings.vacancies) or len(settings.vacancies) == len(atoms):
        raise InputError(
            f"structures: vacancies: expected different atoms from 0 to {len(atoms) - 1}, not all of them, got "
            f"{settings.vacancies}."
        )
    del atoms[settings.vacancies]
    check_structure(atoms, source)
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


def _repeats(repeat: Sequence[int], key: str) -> tuple[int, int, int]:
    values = tuple(int(n) for n in repeat)
    if len(values) != 3 or min(values) < 1 or any(n != m for n, m in zip(values, repeat, strict=True)):
        raise InputError(f"{key}: expected three whole numbers of at least 1, got {list(repeat)}.")
    return values

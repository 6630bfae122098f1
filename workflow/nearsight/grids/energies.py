"""The energies on which an LDOS is known, and their zero."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from nearsight.errors import InputError

#: Largest deviation from an even spacing, relative to the spacing, that rounding explains.
SPACING_TOLERANCE = 1e-6

#: Atoms per volume that differ by a smaller share are the same, up to the rounding of a structure file.
SAME_DENSITY = 1e-5


@dataclass(frozen=True)
class EnergyGrid:
    """`count` energies in eV, from `minimum_eV` upwards in steps of `spacing_eV`."""

    minimum_eV: float
    spacing_eV: float
    count: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.minimum_eV) and np.isfinite(self.spacing_eV) and self.spacing_eV > 0):
            raise InputError(
                f"energy grid: expected a finite minimum and a spacing above 0 eV, got {self.minimum_eV} eV and "
                f"{self.spacing_eV} eV."
            )
        if self.count < 3:
            raise InputError(f"energy grid: expected at least 3 energies, got {self.count}.")

    @classmethod
    def from_window(cls, minimum_eV: float, maximum_eV: float, spacing_eV: float) -> "EnergyGrid":
        """The grid from minimum to maximum, both included where the spacing divides the window."""
        return cls(minimum_eV, spacing_eV, int(np.floor((maximum_eV - minimum_eV) / spacing_eV + 1e-6)) + 1)

    @classmethod
    def from_energies(cls, energies_eV: np.ndarray) -> "EnergyGrid":
        """The grid of given energies, shape (n,). Raises InputError unless they ascend evenly."""
        energies = np.asarray(energies_eV, dtype=float)
        if energies.ndim != 1 or energies.size < 3 or not np.isfinite(energies).all():
            raise InputError(
                f"energies: expected at least 3 finite numbers in eV, got an array of shape {energies.shape}."
            )
        steps = np.diff(energies)
        spacing = (energies[-1] - energies[0]) / (energies.size - 1)
        if not (steps > 0).all() or np.abs(steps - spacing).max() > SPACING_TOLERANCE * spacing:
            raise InputError(
                f"energies: expected ascending, evenly spaced energies in eV, got steps from {steps.min():.6g} "
                f"to {steps.max():.6g} eV."
            )
        return cls(float(energies[0]), float(spacing), energies.size)

    def shifted(self, shift_eV: float) -> "EnergyGrid":
        """The same grid, `shift_eV` higher."""
        return replace(self, minimum_eV=self.minimum_eV + shift_eV)

    @property
    def energies_eV(self) -> np.ndarray:
        """The energies, shape (count,)."""
        return self.minimum_eV + self.spacing_eV * np.arange(self.count)

    @property
    def maximum_eV(self) -> float:
        """The highest energy."""
        return self.minimum_eV + self.spacing_eV * (self.count - 1)


def find_energy_zero(atoms: Atoms, energy_zero_eV_A3: Mapping[str, float]) -> float:
    """Zero of a local LDOS's energies on DFT's scale in this cell, in eV: Σ z/Ω over the atoms.

    DFT's energies are relative to the mean electrostatic potential of the cell. The potential of neutral atoms has a
    mean of its own, proportional to the atoms per volume: relative to it, an environment has the same LDOS in every
    cell. energy_zero_eV_A3: z of each element (0 where it has none); for superposed atoms z = (2π/3) e² ∫ r² n(r) d³r
    of the atomic valence density, and less in a crystal.
    """
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    zeros = (energy_zero_eV_A3.get(chemical_symbols[number], 0.0) for number in numbers)
    return float(np.dot(list(zeros), counts) / atoms.get_volume())

"""The energies on which an LDOS is known."""

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError

#: Largest deviation from an even spacing, relative to the spacing, that rounding explains.
SPACING_TOLERANCE = 1e-6


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

    @property
    def energies_eV(self) -> np.ndarray:
        """The energies, shape (count,)."""
        return self.minimum_eV + self.spacing_eV * np.arange(self.count)

    @property
    def maximum_eV(self) -> float:
        """The highest energy."""
        return self.minimum_eV + self.spacing_eV * (self.count - 1)

"""From the batches to one prediction: exact Fermi level, density, band energy, entropy."""

from dataclasses import dataclass

import numpy as np

from nearsight.errors import ConvergenceError, InputError
from nearsight.ldos import DosObservables, EnergyGrid, integrate_dos
from nearsight.units import thermal_energy

#: Largest |μ - μ0| in units of k_B T. The density is linear in μ - μ0; what is left out is of second order,
#: below (μ-μ0)²/(k_B T) D(μ)/(4 N): 1e-6 of the density of a metal at this limit and room temperature.
LEVEL_SHIFT_LIMIT_kT = 0.04

#: Largest relative deviation of the density's integral from the number of electrons, as rounding explains it.
ELECTRON_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LevelShift:
    """The exact observables and the shift μ - μ0 that the batches' densities are corrected by."""

    observables: DosObservables
    shift_eV: float


def solve_level(
    dos: np.ndarray,
    grid: EnergyGrid,
    electrons: float,
    temperature_K: float,
    broadening_eV: float | None,
    first_level_eV: float,
) -> LevelShift:
    """Observables of the summed DOS. Raises ConvergenceError if μ is too far from the pre-pass's μ0."""
    observables = integrate_dos(dos, grid, electrons, temperature_K, broadening_eV)
    shift = observables.fermi_energy_eV - first_level_eV
    limit = LEVEL_SHIFT_LIMIT_kT * thermal_energy(temperature_K)
    if abs(shift) > limit:
        raise ConvergenceError(
            f"Fermi level: expected the pre-pass's {first_level_eV:.5f} eV to be within {1e3 * limit:.2f} meV of the final "
            f"one, got {observables.fermi_energy_eV:.5f} eV. Lower inference.prepass_stride and run again."
        )
    return LevelShift(observables, shift)


def check_electrons(counted: float, electrons: float, source: str) -> None:
    """Raise InputError unless a density integrates to the number of electrons."""
    if not abs(counted - electrons) <= ELECTRON_TOLERANCE * electrons:
        raise InputError(
            f"{source}: expected a density of {electrons:.6f} electrons, got {counted:.6f}. A batch is missing or was made "
            f"by another model; delete the batches and run again."
        )

"""From the batches to one prediction: exact Fermi level, density, band energy, entropy."""

from dataclasses import dataclass

import numpy as np

from nearsight.errors import ConvergenceError, InputError
from nearsight.ldos import DosObservables, EnergyGrid, fermi_weights, integrate_dos

#: Largest relative error of the electron count that the densities' linear correction in μ - μ0 may leave.
LINEARITY_TOLERANCE = 1e-6

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
    """Observables of the summed DOS. Raises ConvergenceError if μ is too far from the pre-pass's μ0.

    The batches' densities are corrected by dn/dμ (μ - μ0). What that leaves out is known for the whole cell, where
    the electrons are counted exactly: it has to be below LINEARITY_TOLERANCE.
    """
    observables = integrate_dos(dos, grid, electrons, temperature_K, broadening_eV)
    shift = observables.fermi_energy_eV - first_level_eV
    first = fermi_weights(grid, first_level_eV, temperature_K, broadening_eV)
    error = abs(float(dos @ (first.count + shift * first.count_slope)) - electrons) / electrons
    if error > LINEARITY_TOLERANCE:
        raise ConvergenceError(
            f"Fermi level: expected the pre-pass's {first_level_eV:.5f} eV to be so close to the final "
            f"{observables.fermi_energy_eV:.5f} eV that a linear correction holds to {LINEARITY_TOLERANCE:.0e} of the "
            f"electrons, got {error:.1e}. The pre-pass samples this grid too coarsely; refine the grid."
        )
    return LevelShift(observables, shift)


def check_electrons(counted: float, electrons: float, source: str) -> None:
    """Raise InputError unless a density integrates to the number of electrons."""
    if not abs(counted - electrons) <= ELECTRON_TOLERANCE * electrons:
        raise InputError(
            f"{source}: expected a density of {electrons:.6f} electrons, got {counted:.6f}. A batch is missing or was "
            f"made by another model; delete the batches and run again."
        )

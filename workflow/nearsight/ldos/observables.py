"""Fermi level, electrons, band energy and entropy of a DOS; density of an LDOS."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from nearsight.errors import ConvergenceError, InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.ldos.fermi import GAUSSIAN_VARIANCE_PER_S2, FermiWeights, fermi_weights

#: The correction moves the Fermi level by less than the broadening's standard deviation s/√2: roots farther away from
#: the uncorrected one belong to other features of the spectrum.
ROOT_REACH_PER_S = np.sqrt(GAUSSIAN_VARIANCE_PER_S2)

#: The corrected electron count is searched for roots every 1/ROOT_SAMPLES_PER_SPACING of the energy spacing.
ROOT_SAMPLES_PER_SPACING = 16


@dataclass(frozen=True)
class DosObservables:
    """What a density of states gives, in eV; `entropy_energy_eV` is the term -TS."""

    fermi_energy_eV: float
    electrons: float
    band_energy_eV: float
    entropy_energy_eV: float


def dos_from_ldos(ldos: np.ndarray, voxel_volume_A3: float) -> np.ndarray:
    """DOS in 1/eV, shape (energies,), of an LDOS in 1/(eV Å³), shape (..., energies); sums in float64."""
    return ldos.reshape(-1, ldos.shape[-1]).sum(axis=0, dtype=np.float64) * voxel_volume_A3


def density_from_ldos(ldos: np.ndarray, weights: FermiWeights) -> np.ndarray:
    """Density in 1/Å³, shape (...), of an LDOS in 1/(eV Å³), shape (..., energies)."""
    _check_spectrum(ldos, weights.count.size)
    return ldos @ weights.count


def count_electrons(
    dos: np.ndarray, grid: EnergyGrid, fermi_level_eV: float, temperature_K: float, broadening_eV: float | None
) -> float:
    """N(μ) = ∫ D f dε of a DOS in 1/eV."""
    return float(dos @ fermi_weights(grid, fermi_level_eV, temperature_K, broadening_eV).count)


def find_fermi_level(
    dos: np.ndarray,
    grid: EnergyGrid,
    electrons: float,
    temperature_K: float,
    broadening_eV: float | None = None,
) -> float:
    """The Fermi level μ in eV at which a DOS in 1/eV, shape (energies,), holds the given electrons.

    broadening_eV: see `fermi_weights`; with it N(μ) need not be monotonic, so the root is sought around that of
    the uncorrected count. Raises InputError if the window holds no root, ConvergenceError if it holds several.
    """
    _check_spectrum(dos, grid.count)

    def excess(level_eV: float, width_eV: float | None) -> float:
        return count_electrons(dos, grid, level_eV, temperature_K, width_eV) - electrons

    low, high = grid.minimum_eV, grid.maximum_eV
    if not excess(low, None) < 0 < excess(high, None):
        raise InputError(
            f"Fermi level: expected it in the energy window {low:.3f} to {high:.3f} eV, but the DOS holds "
            f"{excess(low, None) + electrons:.6g} electrons at its lower and {excess(high, None) + electrons:.6g} at "
            f"its upper end, and {electrons:.6g} are asked for. Widen ldos.energy_min_eV and ldos.energy_max_eV."
        )
    plain = brentq(excess, low, high, args=(None,), xtol=1e-12)
    if broadening_eV is None:
        return plain
    reach = ROOT_REACH_PER_S * broadening_eV
    steps = int(np.ceil(2 * reach / grid.spacing_eV * ROOT_SAMPLES_PER_SPACING))
    samples = np.linspace(plain - reach, plain + reach, steps + 1)
    values = np.array([excess(level, broadening_eV) for level in samples])
    crossings = np.flatnonzero(np.signbit(values[1:]) != np.signbit(values[:-1]))
    roots = [brentq(excess, samples[i], samples[i + 1], args=(broadening_eV,), xtol=1e-12) for i in crossings]
    if len(roots) != 1:
        found = ", ".join(f"{root:.4f}" for root in roots) or "none"
        raise ConvergenceError(
            f"Fermi level: expected one level with {electrons:.6g} electrons within {reach:.3f} eV of {plain:.4f} eV "
            f"(the level without the broadening correction), found {found}. The spectrum is too sparse: use more "
            f"k-points or a smaller ldos.broadening_eV."
        )
    return roots[0]


def integrate_dos(
    dos: np.ndarray,
    grid: EnergyGrid,
    electrons: float,
    temperature_K: float,
    broadening_eV: float | None = None,
) -> DosObservables:
    """All observables of a DOS in 1/eV at the Fermi level that holds the given electrons."""
    level = find_fermi_level(dos, grid, electrons, temperature_K, broadening_eV)
    weights = fermi_weights(grid, level, temperature_K, broadening_eV)
    return DosObservables(
        fermi_energy_eV=level,
        electrons=float(dos @ weights.count),
        band_energy_eV=float(dos @ weights.band_energy),
        entropy_energy_eV=float(dos @ weights.entropy_energy),
    )


def _check_spectrum(spectrum: np.ndarray, count: int) -> None:
    if spectrum.shape[-1] != count:
        raise InputError(
            f"density of states: expected {count} energies along the last axis, got an array of shape {spectrum.shape}."
        )
    if not np.isfinite(spectrum).all():
        raise InputError("density of states: expected finite numbers, got NaN or infinity.")

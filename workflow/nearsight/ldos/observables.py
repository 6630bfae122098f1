"""Fermi level, electrons, band energy and entropy of a DOS; density of an LDOS."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from nearsight.errors import ConvergenceError, InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.ldos.fermi import GAUSSIAN_VARIANCE_PER_S2, FermiWeights, fermi_weights
from nearsight.units import fermi_reach

#: The correction moves the Fermi level by less than the broadening's standard deviation s/√2: roots farther away from
#: the uncorrected one belong to other features of the spectrum. Next to a gap the nearest one may be as far as the
#: broadened edge reaches, 3 s.
ROOT_REACHES_PER_S = (np.sqrt(GAUSSIAN_VARIANCE_PER_S2), 3.0)

#: The corrected electron count is searched for roots every 1/ROOT_SAMPLES_PER_SPACING of the energy spacing.
ROOT_SAMPLES_PER_SPACING = 16

#: Several roots are one where their free energies agree to this, in eV per electron.
SAME_ENERGY_eV = 1e-3

#: In a gap the count is constant and equals the number of electrons up to this fraction: Quantum ESPRESSO's
#: densities and the LDOS in its files integrate to some 2e-6.
GAP_TOLERANCE = 5e-6

#: Largest fraction of the electrons that may be missing below the energy window.
LOST_ELECTRONS = 1e-4


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

    In a gap that is the gap's middle (of the part in the window that Fermi functions do not leave). broadening_eV: see
    `fermi_weights`; with it N(μ) need not be monotonic, so the root is sought around that of the uncorrected count, as
    F. J. dos Santos and N. Marzari, Phys. Rev. B 107, 195122 (2023), do for cold smearing. Raises InputError if the
    window holds no root, ConvergenceError if no root is near, or several with different energies are.
    """
    _check_spectrum(dos, grid.count)

    def excess(level_eV: float, width_eV: float | None = None, target: float = electrons) -> float:
        return count_electrons(dos, grid, level_eV, temperature_K, width_eV) - target

    slack = GAP_TOLERANCE * electrons
    low, high = grid.minimum_eV, grid.maximum_eV
    if not excess(low) < -slack or not excess(high) >= -slack:
        raise InputError(
            f"Fermi level: expected it in the energy window {low:.3f} to {high:.3f} eV, but the DOS holds "
            f"{excess(low) + electrons:.6g} electrons at its lower and {excess(high) + electrons:.6g} at "
            f"its upper end, and {electrons:.6g} are asked for. Widen ldos.energy_min_eV and ldos.energy_max_eV."
        )
    inside = high - fermi_reach(temperature_K)
    valence = brentq(excess, low, high, args=(None, electrons - slack)) if excess(high) > -slack else high
    conduction = brentq(excess, valence, high, args=(None, electrons + slack)) if excess(high) > slack else inside
    if min(conduction, inside) - valence > grid.spacing_eV:
        middle = (valence + min(conduction, inside)) / 2
        if abs(excess(middle, broadening_eV)) <= slack:
            return middle
    plain = brentq(excess, low, high, xtol=1e-12) if excess(high) > 0 else high
    if broadening_eV is None:
        return plain
    for reach in np.multiply(ROOT_REACHES_PER_S, broadening_eV):
        steps = int(np.ceil(2 * reach / grid.spacing_eV * ROOT_SAMPLES_PER_SPACING))
        samples = np.linspace(plain - reach, plain + reach, steps + 1)
        values = np.array([excess(level, broadening_eV) for level in samples])
        crossings = np.flatnonzero(np.signbit(values[1:]) != np.signbit(values[:-1]))
        roots = [brentq(excess, samples[i], samples[i + 1], args=(broadening_eV,), xtol=1e-12) for i in crossings]
        if roots:
            break
    energies = [_free_energy(dos, grid, root, temperature_K, broadening_eV) for root in roots]
    if not roots or np.ptp(energies) > SAME_ENERGY_eV * electrons:
        found = ", ".join(f"{root:.4f}" for root in roots) or "none"
        raise ConvergenceError(
            f"Fermi level: expected one level with {electrons:.6g} electrons within {reach:.3f} eV of {plain:.4f} eV "
            f"(the level without the broadening correction), found {found}. The spectrum is too sparse: use more "
            f"k-points or a smaller ldos.broadening_eV."
        )
    return min(roots, key=lambda root: abs(root - plain))


def check_window(
    dos: np.ndarray,
    grid: EnergyGrid,
    electrons: float,
    level_eV: float,
    temperature_K: float,
    broadening_eV: float | None = None,
) -> None:
    """Raise InputError unless the window of a DOS in 1/eV holds all that is occupied at a Fermi level.

    Above it the Fermi function has to end inside, 25 k_B T above the level, and the DOS has to begin
    inside: what it has at the lower end, times its broadening, is missing below.
    """
    top = level_eV + fermi_reach(temperature_K)
    if top > grid.maximum_eV:
        raise InputError(
            f"temperature_K: expected a Fermi function that ends in the model's energy window (to "
            f"{grid.maximum_eV:.2f} eV), got one that reaches {top:.2f} eV (25 k_B T above the Fermi level, "
            f"{level_eV:.2f} eV, at {temperature_K:g} K). Lower the temperature, or train with a larger "
            "ldos.energy_max_eV."
        )
    lost = abs(float(dos[0])) * (broadening_eV or grid.spacing_eV)
    if lost > LOST_ELECTRONS * electrons:
        raise InputError(
            f"density of states: expected none at the lower end of the model's energy window "
            f"({grid.minimum_eV:.2f} eV), got {dos[0]:.3g}/eV: some {lost:.2g} of {electrons:g} electrons are below "
            "it. Train with a smaller ldos.energy_min_eV."
        )


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


def _free_energy(
    dos: np.ndarray, grid: EnergyGrid, level_eV: float, temperature_K: float, broadening_eV: float
) -> float:
    """Band energy less TS in eV."""
    weights = fermi_weights(grid, level_eV, temperature_K, broadening_eV)
    return float(dos @ (weights.band_energy + weights.entropy_energy))


def _check_spectrum(spectrum: np.ndarray, count: int) -> None:
    if spectrum.shape[-1] != count:
        raise InputError(
            f"density of states: expected {count} energies along the last axis, got an array of shape {spectrum.shape}."
        )
    if not np.isfinite(spectrum).all():
        raise InputError("density of states: expected finite numbers, got NaN or infinity.")

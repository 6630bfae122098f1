"""Charge that a density leaves unscreened in long waves: no local model sees it, and no small cell teaches it.

A metal's electrons follow every long wave of their ions, n(G) = n_ion(G) [1 - G²/(G² + k²)], where n_ion is the density
that would neutralise the ions (N. W. Ashcroft, N. D. Mermin, Solid State Physics, chapter 17). A predicted density that
differs from this is corrected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.optimize import minimize_scalar

from nearsight import units
from nearsight.energies.fourier import Array, FourierGrid
from nearsight.energies.hartree import hartree_energy
from nearsight.energies.ion import ATOM_BYTES, POINT_BYTES, ion_coefficients
from nearsight.ldos import EnergyGrid, fermi_weights

#: Waves longer than this count, Å: about twice a descriptor's cutoff, and far more than the atoms' own clouds.
LONG_WAVE_A = 10.0

#: Why nothing is done in small cells.
NO_LONG_WAVE = f"no wave is longer than {LONG_WAVE_A:g} Å"

#: How much finer than its waves the mesh for the ions' sum is; leaves 1e-9 of it (`structure_factor`).
FINER = 4

#: Largest root mean square of the ions' long waves, relative to their mean density: beyond (surfaces, voids) the
#: response is not linear, nor that of one mean density.
LARGEST_WAVES = 0.2

#: Least density of states at the Fermi level, relative to the free electrons': below it there may be a gap.
LEAST_STATES = 0.1

#: Standard deviation of ln(k²/k_TF²) before any density is known: Thomas-Fermi theory has neither exchange nor bands.
PRIOR_WIDTH = 0.3

#: Least scatter of a wave's response around the fitted one, relative to the ions' waves, from nonlinear response.
LEAST_SCATTER = 3e-3


def long_waves(cell: np.ndarray, wave_A: float = LONG_WAVE_A) -> FourierGrid:
    """The grid of all waves longer than `wave_A`; in small cells of none but the mean."""
    return FourierGrid.of_sphere(cell, 2 * np.pi / wave_A)


def long_ion_waves(atoms: Atoms, charges: Mapping[str, float], grid: FourierGrid) -> np.ndarray:
    """n_ion(G) on a grid of few waves, in 1/Å³; O(N) in the number of atoms, where their direct sum takes O(N²)."""
    finer = _finer(grid)
    return finer.restrict(ion_coefficients(atoms, charges, finer), grid)


def _finer(grid: FourierGrid) -> FourierGrid:
    """The mesh for the ions' sum."""
    return FourierGrid.of_sphere(grid.cell, grid.largest_G, FINER)


def memory_bytes(atoms: Atoms) -> float:
    """Memory of `screen` at its peak, and of `unscreened_energy`, beside a plane of the density."""
    return ATOM_BYTES * len(atoms) + POINT_BYTES * _finer(long_waves(np.asarray(atoms.cell))).points


def unscreened_energy(
    valence: Array, grid: FourierGrid, atoms: Atoms, charges: Mapping[str, float], wave_A: float = LONG_WAVE_A
) -> float:
    """Electrostatic energy, in eV, of the net charge of ions and electrons in waves longer than `wave_A`.

    E = (e²/2) 4π Ω Σ_{0<|G|<2π/λ} |n(G) - n_ion(G)|²/G²: the Hartree energy of that charge.

    A metal's electrons screen such charge all but completely. Any of it in a predicted density is an error, which
    enters the Hartree energy, does not fall per atom with the size of the cell, and shows in no local quantity. In an
    insulator, polarisation may rightly cause some.

    valence: n(G) in 1/Å³ from `FourierGrid.coefficients`; charges: element -> valence. Every rank of the grid calls
    this and gets the result.
    """
    few = long_waves(grid.cell, wave_A)
    return hartree_energy(grid.restrict(valence, few) - long_ion_waves(atoms, charges, few), few)


@dataclass(frozen=True)
class Screening:
    """What was done to a density's long waves.

    wave_vector_A: k in 1/Å, None where nothing was done, for the reason `why_not`; unscreened_eV_per_atom_before,
    _after: `unscreened_energy`; moved: root mean square of the change, relative to the mean density.
    """

    wave_vector_A: float | None
    why_not: str | None
    unscreened_eV_per_atom_before: float
    unscreened_eV_per_atom_after: float
    moved: float


def thomas_fermi_wave_vector(density: float) -> float:
    """k_TF = √(4 k_F/(π a_0)) in 1/Å of free electrons, density in 1/Å³; k_F = (3π² n)^(1/3)."""
    return float(np.sqrt(4 * np.cbrt(3 * np.pi**2 * density) / (np.pi * units.BOHR_A)))


def states_at(level_eV: float, dos: np.ndarray, grid: EnergyGrid, temperature_K: float) -> float:
    """Density of states at the Fermi level in 1/eV, dN/dμ, as broadened as the DOS is.

    A correction for the broadening would have the noise of the second derivative of a small cell's sparse spectrum.
    """
    return float(dos @ fermi_weights(grid, level_eV, temperature_K, None).count_slope)


def free_electron_states(electrons: float, volume: float) -> float:
    """Density of states of free electrons at their Fermi level, 3 N/(2 E_F) in 1/eV; volume in Å³."""
    k_F = np.cbrt(3 * np.pi**2 * electrons / volume)
    return 1.5 * electrons / (units.HARTREE_eV * 0.5 * (k_F * units.BOHR_A) ** 2)


def screen(
    density: np.ndarray,
    atoms: Atoms,
    charges: Mapping[str, float],
    states_per_eV: float,
    wave_vector_A: float | None = None,
) -> tuple[np.ndarray, FourierGrid, Screening]:
    """What has to be added to a density so that its long waves are those of a metal's response to the ions.

    density: shape (nx, ny, nz), 1/Å³, or anything with a shape that gives planes by density[i]; charges: element ->
    valence; states_per_eV: `states_at`, which identifies a metal; wave_vector_A: k of the response in 1/Å (None:
    Thomas-Fermi, of the mean density). Returns coefficients of the change, their grid, and what was done; the change of
    the density is `grid.planes(change, shape=density.shape)`.
    """
    grid = long_waves(np.asarray(atoms.cell))
    ions = long_ion_waves(atoms, charges, grid)
    found = grid.coefficients(density)
    mean = float(ions[0, 0, 0].real)
    k = thomas_fermi_wave_vector(mean) if wave_vector_A is None else wave_vector_A
    why_not = reason_against(ions, grid, states_per_eV)
    change = np.zeros_like(found)
    if why_not is None:
        for i in range(grid.shape[0]):
            squared = np.square(grid.plane_of_G(i)).sum(axis=0)
            change[i] = (ions[i] * k**2 / (squared + k**2) - found[i]) * (grid.inside(i, squared) & (squared > 0))
    before, after = (hartree_energy(n - ions, grid) / len(atoms) for n in (found, found + change))
    moved = root_mean_square(change, grid) / mean
    return change, grid, Screening(None if why_not else k, why_not, before, after, moved)


def reason_against(ions: np.ndarray, grid: FourierGrid, states_per_eV: float) -> str | None:
    """Why the ions' long waves are not screened as in a bulk metal; None where they are."""
    mean = float(ions[0, 0, 0].real)
    waves = root_mean_square(ions, grid) / mean
    share = states_per_eV / free_electron_states(mean * grid.volume, grid.volume)
    if count_waves(grid) == 0:
        return NO_LONG_WAVE
    if share < LEAST_STATES:
        return f"no metal: {share:.2g} of the free electrons' states at the Fermi level"
    if waves > LARGEST_WAVES:
        return f"the ions' long waves have {waves:.2g} of their mean density: a surface or a void"
    return None


@dataclass(frozen=True)
class Response:
    """How the electrons of one cell follow the long waves of its ions.

    squared: |G|² of its waves in 1/Å², one of G and -G each; ions, electrons: n_ion(G) and n(G) in 1/Å³; all of shape
    (waves,); mean: density of the electrons, 1/Å³.
    """

    squared: np.ndarray
    ions: np.ndarray
    electrons: np.ndarray
    mean: float


def measure_response(
    density: Array, atoms: Atoms, charges: Mapping[str, float], states_per_eV: float
) -> Response | None:
    """The response that a density shows; None without long waves or a bulk metal. Arguments as for `screen`."""
    grid = long_waves(np.asarray(atoms.cell))
    ions = long_ion_waves(atoms, charges, grid)
    if reason_against(ions, grid, states_per_eV) is not None:
        return None
    found, parts = grid.coefficients(density), []
    mx, my, mz = grid.miller
    for i in range(grid.shape[0]):
        squared = np.square(grid.plane_of_G(i)).sum(axis=0)
        # one half of the plane m_z = 0, which holds both G and -G
        half = (mz > 0) | ((mz == 0) & ((my > 0) | ((my == 0) & (mx[i] > 0)))[:, None])
        chosen = grid.inside(i, squared) & half
        parts.append((squared[chosen], ions[i][chosen], found[i][chosen]))
    return Response(*(np.concatenate(values) for values in zip(*parts, strict=True)), mean=float(ions[0, 0, 0].real))


def fit_wave_vector(responses: Sequence[Response]) -> float:
    """The k in 1/Å of the response n_ion(G) k²/(G² + k²) that densities show, with Thomas-Fermi as the prior.

    Maximum of the posterior of ln k²: Gaussian prior around k_TF² of the mean density, of PRIOR_WIDTH; Gaussian scatter
    of the n(G) around the response, whose size follows from the waves themselves (profiled, at least LEAST_SCATTER of
    the ions' waves). Few or uninformative waves leave k close to Thomas-Fermi.
    """
    squared, ions, electrons = (
        np.concatenate([getattr(response, name) for response in responses]) for name in ("squared", "ions", "electrons")
    )
    prior = np.log(thomas_fermi_wave_vector(float(np.mean([response.mean for response in responses]))) ** 2)
    power = np.sum(np.abs(ions) ** 2)

    def surprise(log_k2: float) -> float:
        k2 = np.exp(log_k2)
        scatter = np.sum(np.abs(electrons - ions * k2 / (squared + k2)) ** 2) / power
        return squared.size * np.log(scatter + LEAST_SCATTER**2) + 0.5 * ((log_k2 - prior) / PRIOR_WIDTH) ** 2

    bounds = (prior - 5 * PRIOR_WIDTH, prior + 5 * PRIOR_WIDTH)
    return float(np.exp(0.5 * minimize_scalar(surprise, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


def count_waves(grid: FourierGrid) -> int:
    """Number of waves, without the mean, in the half space of a grid's coefficients."""
    squared = (np.square(grid.plane_of_G(i)).sum(axis=0) for i in range(grid.shape[0]))
    return sum(int(np.count_nonzero(grid.inside(i, values) & (values > 0))) for i, values in enumerate(squared))


def root_mean_square(coefficients: np.ndarray, grid: FourierGrid) -> float:
    """Root mean square of a field without its mean."""
    return float(np.sqrt(grid.sum_over_G(coefficients, np.ones_like)))

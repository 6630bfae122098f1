"""Errors of a prediction against DFT, beside those of trivial predictors.

The trivial predictor of fields is the training set's mean LDOS at every point; that of energies is the training
set's mean energy per atom. Errors of the method (reference LDOS against eigenvalues) and of the network
(prediction against reference LDOS) are kept apart.
"""

from dataclasses import dataclass

import numpy as np

from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, integrate_dos


@dataclass(frozen=True)
class FieldErrors:
    """Errors of LDOS, density and DOS, in percent.

    ldos: Σ|d - d_ref| / Σ|d_ref|; density_mape: grid mean of |n - n_ref|/n_ref; density_integrated:
    ∫|n - n_ref| / N_e; dos: ∫|D - D_ref| dε / ∫|D_ref| dε.
    """

    ldos_percent: float
    density_mape_percent: float
    density_integrated_percent: float
    dos_percent: float


def relative_error_percent(values: np.ndarray, reference: np.ndarray) -> float:
    """100 Σ|v - r| / Σ|r|, summed in float64."""
    difference = np.subtract(values, reference, dtype=np.float64)
    np.abs(difference, out=difference)
    return float(100 * difference.sum() / np.abs(reference).sum(dtype=np.float64))


def mean_absolute_percentage_error(values: np.ndarray, reference: np.ndarray) -> float:
    """MAPE: 100 times the mean over the grid of |v - r| / r, for a positive reference."""
    return float(100 * np.mean(np.abs(values - reference) / reference))


def compare_fields(
    ldos: np.ndarray, density: np.ndarray, dos: np.ndarray, references: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> FieldErrors:
    """Errors of an LDOS (broadcast against the reference), density and DOS against (LDOS, density, DOS)."""
    reference_ldos, reference_density, reference_dos = references
    return FieldErrors(
        ldos_percent=relative_error_percent(ldos, reference_ldos),
        density_mape_percent=mean_absolute_percentage_error(density, reference_density),
        density_integrated_percent=relative_error_percent(density, reference_density),
        dos_percent=relative_error_percent(dos, reference_dos),
    )


def evaluate_fields(
    predicted_ldos: np.ndarray,
    predicted_density: np.ndarray,
    reference_ldos: np.ndarray,
    reference_density: np.ndarray,
    mean_ldos: np.ndarray,
    grid: EnergyGrid,
    electrons: float,
    temperature_K: float,
    broadening_eV: float | None,
    volume_A3: float,
) -> dict[str, FieldErrors]:
    """Field errors of the network and of the mean-LDOS predictor.

    LDOS of shape (nx, ny, nz, energies) in 1/(eV Å³), densities (nx, ny, nz) in 1/Å³, mean_ldos (energies,).
    The reference density is DFT's own; each predictor's density follows from its LDOS at its own Fermi level.
    """
    points = reference_density.size
    references = (reference_ldos, reference_density, dos_from_ldos(reference_ldos, volume_A3 / points))
    mean_dos = mean_ldos * volume_A3
    level = integrate_dos(mean_dos, grid, electrons, temperature_K, broadening_eV).fermi_energy_eV
    weights = fermi_weights(grid, level, temperature_K, broadening_eV)
    mean_density = np.full_like(reference_density, density_from_ldos(mean_ldos, weights))
    return {
        "network": compare_fields(
            predicted_ldos, predicted_density, dos_from_ldos(predicted_ldos, volume_A3 / points), references
        ),
        "mean_ldos": compare_fields(mean_ldos, mean_density, mean_dos, references),
    }

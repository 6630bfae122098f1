"""Integrals of a piecewise-linear LDOS against the Fermi function, as weight vectors.

Between its energies ε_i the LDOS is linear, d(ε) = Σ_i d_i hat_i(ε), so that every observable is a scalar
product d·w with w_i = ∫ hat_i(ε) g(ε) dε. With a second antiderivative G'' = g this is a second difference,

    w_i = [G(ε_{i+1}) - 2 G(ε_i) + G(ε_{i-1})] / Δ,

and for g = f, εf and f ln f + (1-f) ln(1-f) the antiderivatives are polylogarithms: with x = (ε-μ)/k_B T and
L_s(x) = -Li_s(-e^{-x}), ∫_x^∞ L_s = L_{s+1} and L_0 = f (Fiedler et al., npj Comput. Mater. 9, 115 (2023) use
the same integrals; here they are evaluated in float64 at every temperature above 0 K).
"""

from dataclasses import dataclass
from math import factorial, pi

import numpy as np
from scipy.special import expit, log1p, spence, zeta

from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.units import thermal_energy

#: Gaussian broadening exp(-(ε/s)²)/(s√π) has the variance s²/2.
GAUSSIAN_VARIANCE_PER_S2 = 0.5


@dataclass(frozen=True)
class FermiWeights:
    """Weight vectors at one Fermi level and temperature, each of shape (energies,).

    With a DOS D in 1/eV or an LDOS d in 1/(eV Å³): `count` gives electrons (or the density in 1/Å³),
    `count_slope` and `count_curvature` their derivatives with respect to μ (1/eV, 1/eV²), `band_energy` ∫ ε D f dε in
    eV, and `entropy_energy` the term -TS in eV.
    """

    count: np.ndarray
    count_slope: np.ndarray
    count_curvature: np.ndarray
    band_energy: np.ndarray
    entropy_energy: np.ndarray


def fermi_weights(
    grid: EnergyGrid, fermi_level_eV: float, temperature_K: float, broadening_eV: float | None
) -> FermiWeights:
    """Weight vectors of the observables at a Fermi level.

    broadening_eV: width s of the LDOS's Gaussian exp(-(ε/s)²); the weights then undo, to leading order, what the
    broadening (variance s²/2) and the linear interpolation (Δ²/12) add: w - (s²/4 + Δ²/12) w''. None
    switches the correction off. Raises InputError for a temperature of 0 K or below.
    """
    if not (np.isfinite(temperature_K) and temperature_K > 0):
        raise InputError(f"temperature_K: expected a temperature above 0 K, got {temperature_K}.")
    if not np.isfinite(fermi_level_eV):
        raise InputError(f"fermi_level_eV: expected a finite energy in eV, got {fermi_level_eV}.")
    kT, spacing = thermal_energy(temperature_K), grid.spacing_eV
    energies = grid.energies_eV
    x = (energies - fermi_level_eV) / kT
    l1, l2, l3 = fermi_dirac_log(x), minus_polylog2(x), minus_polylog3(x)
    f = expit(-x)
    peak = f * expit(x) / kT  # -df/dε
    softness = -(l1 + x * f)  # f ln f + (1-f) ln(1-f)

    # g, g' = dg/dε, and its first and second integrals from ε to infinity
    count = _Integrand(f, -peak, kT * l1, kT**2 * l2)
    slope = _Integrand(peak, peak * (2 * f - 1) / kT, f, kT * l1)
    # d/dμ of the slope's integrand is minus its derivative with respect to ε
    steepness = peak * (2 * f - 1) / kT
    curvature = _Integrand(-steepness, 2 * peak**2 / kT - steepness * (2 * f - 1) / kT, peak, f)
    first_moment = _Integrand(x * f, f / kT - x * peak, kT * (x * l1 + l2), kT**2 * (x * l2 + 2 * l3))
    entropy = _Integrand(softness, x * peak, -kT * (x * l1 + 2 * l2), -(kT**2) * (x * l2 + 3 * l3))

    variance = None if broadening_eV is None else GAUSSIAN_VARIANCE_PER_S2 * broadening_eV**2
    w_count = count.hat_integrals(spacing, variance)
    return FermiWeights(
        count=w_count,
        count_slope=slope.hat_integrals(spacing, variance),
        count_curvature=curvature.hat_integrals(spacing, variance),
        # ε = μ + k_B T x
        band_energy=fermi_level_eV * w_count + kT * first_moment.hat_integrals(spacing, variance),
        entropy_energy=kT * entropy.hat_integrals(spacing, variance),
    )


@dataclass(frozen=True)
class _Integrand:
    """A function g of energy at the grid's energies, its derivative and its integrals ∫_ε^∞ g and ∫_ε^∞∫ g."""

    value: np.ndarray
    derivative: np.ndarray
    integral: np.ndarray
    double_integral: np.ndarray

    def hat_integrals(self, spacing: float, variance: float | None) -> np.ndarray:
        """∫ hat_i g, less (variance/2 + Δ²/12) ∫ hat_i g'' where a variance is given."""
        # the first integral is minus an antiderivative, the second a second antiderivative
        weights = _integrate_hats(self.double_integral, -self.integral, spacing)
        if variance is not None:
            curvature = _integrate_hats(self.value, self.derivative, spacing)
            weights = weights - (variance / 2 + spacing**2 / 12) * curvature
        return weights


def _integrate_hats(second: np.ndarray, first: np.ndarray, spacing: float) -> np.ndarray:
    """∫ hat_i h for h = d second/dε = d² first/..., by parts: second differences; half hats at both ends."""
    weights = np.empty_like(second)
    weights[1:-1] = (second[2:] - 2 * second[1:-1] + second[:-2]) / spacing
    weights[0] = (second[1] - second[0]) / spacing - first[0]
    weights[-1] = first[-1] - (second[-1] - second[-2]) / spacing
    return weights


def fermi_dirac_log(x: np.ndarray) -> np.ndarray:
    """L_1(x) = ln(1 + e^{-x}), the integral of the Fermi function from x to infinity."""
    return np.maximum(-x, 0.0) + log1p(np.exp(-np.abs(x)))


def minus_polylog2(x: np.ndarray) -> np.ndarray:
    """L_2(x) = -Li_2(-e^{-x}); for x < 0 by the inversion formula L_2(x) = π²/6 + x²/2 - L_2(-x)."""
    tail = -spence(1.0 + np.exp(-np.abs(x)))  # scipy's spence(z) is Li_2(1 - z)
    return np.where(x >= 0, tail, pi**2 / 6 + x**2 / 2 - tail)


def minus_polylog3(x: np.ndarray) -> np.ndarray:
    """L_3(x) = -Li_3(-e^{-x}); for x < 0 by the inversion formula L_3(x) = L_3(-x) + |x|³/6 + π²|x|/6."""
    y = np.abs(x)
    tail = np.where(y < 1.0, _polylog3_taylor(np.minimum(y, 1.0)), _polylog3_series(np.maximum(y, 1.0)))
    return np.where(x >= 0, tail, tail + y**3 / 6 + pi**2 * y / 6)


def _dirichlet_eta(s: int) -> float:
    """η(s) = (1 - 2^{1-s}) ζ(s), continued to integers s ≤ 1 (ζ(-m) = -B_{m+1}/(m+1); η(1) = ln 2)."""
    if s == 1:
        return float(np.log(2.0))
    if s > 1:
        return float((1 - 2.0 ** (1 - s)) * zeta(s))
    if s == 0:
        return 0.5
    if s % 2 == 0:
        return 0.0
    m = 1 - s  # even: the functional equation gives ζ(1-m) = 2 (2π)^{-m} cos(πm/2) Γ(m) ζ(m)
    return float((1 - 2.0**m) * 2 * (2 * pi) ** -m * (-1) ** (m // 2) * factorial(m - 1) * zeta(m))


#: L_3(x) = Σ_k η(3-k) (-x)^k / k! converges for |x| < π; 36 terms leave 1e-18 at |x| = 1.
_TAYLOR = np.array([_dirichlet_eta(3 - k) * (-1.0) ** k / factorial(k) for k in range(36)])


def _polylog3_taylor(y: np.ndarray) -> np.ndarray:
    return np.polynomial.polynomial.polyval(y, _TAYLOR)


def _polylog3_series(y: np.ndarray) -> np.ndarray:
    """Σ_k (-1)^{k+1} e^{-ky}/k³, 38 terms: e^{-38} is below the rounding of the first for y ≥ 1."""
    z = np.exp(-y)
    coefficients = np.array([0.0] + [(-1.0) ** (k + 1) / k**3 for k in range(1, 39)])
    return np.polynomial.polynomial.polyval(z, coefficients)

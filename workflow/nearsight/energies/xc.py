"""Exchange and correlation on valence plus core charge: LDA and the relatives of PBE, without spin.

LDA: Slater's exchange with J. P. Perdew, A. Zunger, Phys. Rev. B 23, 5048 (1981), or J. P. Perdew, Y. Wang, Phys. Rev.
B 45, 13244 (1992). PBE: J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996); revPBE: Y. Zhang,
W. Yang, 80, 890 (1998); RPBE: B. Hammer et al., Phys. Rev. B 59, 7413 (1999); PBEsol: J. P. Perdew et al., Phys. Rev.
Lett. 100, 136406 (2008); WC: Z. Wu, R. E. Cohen, Phys. Rev. B 73, 235116 (2006). The parameters are in Hartree atomic
units, so functions of densities take and return these; libxc uses the same digits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import fsum

import numpy as np

from nearsight import units
from nearsight.energies.fourier import Array, FourierGrid

KAPPA = 0.804
MU = 0.2195149727645171
BETA = 0.06672455060314922
GAMMA = (1 - np.log(2)) / np.pi**2

#: Coefficient of s² in the slowly varying gas.
MU_GAS = 10 / 81

#: As in Quantum ESPRESSO, in atomic units: no energy below the first density, no gradient correction below the second
#: nor below the square of a gradient.
SMALLEST_DENSITY = 1e-10
SMALLEST_DENSITY_OF_GRADIENTS = 1e-6
SMALLEST_GRADIENT_SQUARED = 1e-10

#: Points of a plane at which a functional is evaluated at a time, so that all its arrays stay in the processor's cache.
CHUNK_POINTS = 1 << 13


@dataclass(frozen=True)
class Functional:
    """A functional of the density and its gradient.

    correlation: ε_c(n) of the homogeneous gas and its derivative; enhancement: F(s²) of the exchange and its derivative
    (None: no gradients, LDA); beta: of PBE's gradient correction of the correlation.
    """

    correlation: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    enhancement: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    beta: float = BETA

    def __call__(self, n: np.ndarray, squared: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energy per volume e(n, σ), ∂e/∂n and ∂e/∂σ, σ = |∇n|², in Hartree atomic units.

        e = n [ε_x(n) F(s²) + ε_c(n) + H(n, t²)], s² = σ/(2 k_F n)², t² = σ/(2 k_s n)², k_s² = 4 k_F/π.
        """
        inside = n > SMALLEST_DENSITY
        with_gradient = (n > SMALLEST_DENSITY_OF_GRADIENTS) & (squared > SMALLEST_GRADIENT_SQUARED)
        n = np.where(inside, n, 1.0)
        exchange = slater(n)
        correlation, slope = self.correlation(n)
        if self.enhancement is None:
            energy, by_n = n * (exchange + correlation), 4 / 3 * exchange + correlation + n * slope
            return energy * inside, by_n * inside, np.zeros_like(n)
        squared = np.where(with_gradient, squared, 0.0)
        k_F = np.cbrt(3 * np.pi**2 * n)

        s2_by_sigma = 1 / (2 * k_F * n) ** 2
        s2 = squared * s2_by_sigma
        enhancement, by_s2 = self.enhancement(s2)
        energy = n * exchange * enhancement
        by_n = exchange * (4 / 3 * enhancement - 8 / 3 * s2 * by_s2)
        by_sigma = n * exchange * by_s2 * s2_by_sigma

        t2_by_sigma = s2_by_sigma * k_F * np.pi / 4
        t2 = squared * t2_by_sigma
        h, h_by_correlation, h_by_t2 = gradient_correlation(correlation, t2, self.beta)
        energy += n * (correlation + h)
        # t² goes with n^(-7/3) at constant σ
        by_n += correlation + h + n * slope * (1 + h_by_correlation) - 7 / 3 * t2 * h_by_t2
        by_sigma += n * h_by_t2 * t2_by_sigma
        return energy * inside, by_n * inside, by_sigma * with_gradient


@dataclass(frozen=True)
class XcTerms:
    """E_xc[n + n_core] and ∫ v_xc n d³r over the valence density n, both in eV."""

    energy: float
    potential: float


def xc_terms(valence: Array, total: Array, grid: FourierGrid, functional: str = "PBE") -> XcTerms:
    """Exchange-correlation energy of a total density and ∫ v_xc n over its valence part.

    With e(n, |∇n|²) on the total density, ∫ v_xc n = ∫ (∂e/∂n) n_val + ∫ 2 (∂e/∂|∇n|²) ∇n·∇n_val: no divergence is
    needed. Gradients are those of the coefficients, cut at the sphere.

    valence, total: coefficients in 1/Å³, total = valence + core (the same array: no core charge); functional: a key of
    FUNCTIONALS. Memory: four fields beside those given, each as large as one of them. Cost: four transforms along x,
    eight of planes, O(N log N).
    """
    evaluate = FUNCTIONALS[functional]
    to_density, to_gradient = units.BOHR_A**3, units.BOHR_A**8
    energies, potentials = [], []
    fields = (total,) if total is valence else (total, valence)
    streams = (planes_with_slopes(field, grid, evaluate) for field in fields)
    step = max(CHUNK_POINTS // grid.shape[2], 1)
    for planes in zip(*streams, strict=True):
        for start in range(0, grid.shape[1], step):
            rows = slice(start, start + step)
            (n, slope), (n_valence, slope_valence) = ((a[rows], b[:, rows]) for a, b in (planes[0], planes[-1]))
            squared, mixed = np.square(slope).sum(axis=0), (slope * slope_valence).sum(axis=0)
            # QE, too, takes the magnitude of a density that rounding or the cut made negative
            e, by_density, by_gradient = evaluate(np.abs(n) * to_density, squared * to_gradient)
            energies.append(float(np.sum(np.sign(n) * e)))
            potentials.append(
                float(np.sum(by_density * n_valence) * to_density)
                + float(np.sum(2 * by_gradient * np.sign(n) * mixed) * to_gradient)
            )
    unit = units.HARTREE_eV * grid.volume / units.BOHR_A**3 / grid.points
    return XcTerms(energy=grid.sum(fsum(energies)) * unit, potential=grid.sum(fsum(potentials)) * unit)


def xc_potential(total: Array, grid: FourierGrid, functional: str = "PBE") -> np.ndarray:
    """v_xc = ∂e/∂n - 2 ∇·[(∂e/∂σ) ∇n] of a total density in eV, shape of the grid; its waves are cut at the sphere.

    total: coefficients of valence and core in 1/Å³. All fields are in memory: for small cells.
    """
    evaluate = FUNCTIONALS[functional]
    planes = list(planes_with_slopes(total, grid, evaluate))
    n, slope = np.stack([plane for plane, _ in planes]), np.stack([slope for _, slope in planes], axis=1)
    squared = np.square(slope).sum(axis=0)
    _, by_density, by_gradient = evaluate(np.abs(n) * units.BOHR_A**3, squared * units.BOHR_A**8)
    result = grid.coefficients(by_density)
    flow = [grid.coefficients(2 * by_gradient * np.sign(n) * one * units.BOHR_A**5) for one in slope]
    for i in range(grid.shape[0]):
        result[i] -= 1j * sum(G * one[i] for G, one in zip(grid.plane_of_G(i), flow, strict=True))
    return units.HARTREE_eV * grid.field(result)


def planes_with_slopes(
    field: Array, grid: FourierGrid, functional: Functional
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Planes of a field and of its gradient, which is left at zero where the functional has no use for it."""
    if functional.enhancement is not None:
        return grid.planes_with_slopes(field)
    return ((plane, np.broadcast_to(0.0, (3, *plane.shape))) for plane in grid.planes(field))


def slater(n: np.ndarray) -> np.ndarray:
    """Exchange energy per electron of the homogeneous gas, -(3/4)(3n/π)^(1/3)."""
    return -0.75 * np.cbrt(3 / np.pi * n)


def perdew_wang(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation energy per electron of the homogeneous gas and its derivative with respect to n.

    ε_c = -2A (1 + α r) ln[1 + 1/(2A (β1 √r + β2 r + β3 r^(3/2) + β4 r²))], r = (3/(4πn))^(1/3).
    """
    # A was published as 0.031091; all codes use one more digit
    A, alpha, beta1, beta2, beta3, beta4 = 0.0310907, 0.21370, 7.5957, 3.5876, 1.6382, 0.49294
    r = np.cbrt(3 / (4 * np.pi * n))
    root = np.sqrt(r)
    q = 2 * A * (beta1 * root + beta2 * r + beta3 * root * r + beta4 * r**2)
    q_by_r = 2 * A * (beta1 / (2 * root) + beta2 + 1.5 * beta3 * root + 2 * beta4 * r)
    logarithm = np.log1p(1 / q)
    by_r = -2 * A * alpha * logarithm + 2 * A * (1 + alpha * r) * q_by_r / (q**2 + q)
    return -2 * A * (1 + alpha * r) * logarithm, -by_r * r / (3 * n)


def perdew_zunger(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by Perdew and Zunger: γ/(1 + β1 √r + β2 r) for r ≥ 1, A ln r + B + C r ln r + D r below."""
    gamma, beta1, beta2 = -0.1423, 1.0529, 0.3334
    A, B, C, D = 0.0311, -0.048, 0.0020, -0.0116
    r = np.cbrt(3 / (4 * np.pi * n))
    root, logarithm = np.sqrt(r), np.log(r)
    thin = gamma / (1 + beta1 * root + beta2 * r)
    thin_by_r = -(thin**2) / gamma * (beta1 / (2 * root) + beta2)
    dense = A * logarithm + B + C * r * logarithm + D * r
    dense_by_r = A / r + C * (logarithm + 1) + D
    by_r = np.where(r < 1, dense_by_r, thin_by_r)
    return np.where(r < 1, dense, thin), -by_r * r / (3 * n)


def saturating(kappa: float, mu: float) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """F = 1 + κ - κ/(1 + μ s²/κ) and dF/ds²: PBE and functionals with other parameters."""
    return lambda s2: (1 + kappa - kappa / (1 + mu * s2 / kappa), mu / (1 + mu * s2 / kappa) ** 2)


def exponential(s2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RPBE: F = 1 + κ [1 - exp(-μ s²/κ)]."""
    decay = np.exp(-MU * s2 / KAPPA)
    return 1 + KAPPA * (1 - decay), MU * decay


def wu_cohen(s2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """WC: F = 1 + κ - κ/(1 + x/κ), x = 10/81 s² + (μ - 10/81) s² exp(-s²) + ln(1 + c s⁴)."""
    c = 146 / 2025 * 4 / 9 - 73 / 405 * 2 / 3 + (MU - MU_GAS)
    decay = (MU - MU_GAS) * np.exp(-s2)
    x = MU_GAS * s2 + s2 * decay + np.log1p(c * s2**2)
    x_by_s2 = MU_GAS + decay * (1 - s2) + 2 * c * s2 / (1 + c * s2**2)
    return 1 + KAPPA - KAPPA / (1 + x / KAPPA), x_by_s2 / (1 + x / KAPPA) ** 2


def gradient_correlation(
    correlation: np.ndarray, t2: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PBE's H(ε_c, t²), ∂H/∂ε_c and ∂H/∂t².

    H = γ ln[1 + (β/γ) t² (1 + A t²)/(1 + A t² + A² t⁴)], A = (β/γ)/(exp(-ε_c/γ) - 1).
    """
    ratio = beta / GAMMA
    A = ratio / np.expm1(-correlation / GAMMA)
    A_by_correlation = A**2 / beta * np.exp(-correlation / GAMMA)
    x = A * t2
    denominator = 1 + x + x**2
    p = t2 * (1 + x) / denominator
    outer = beta / (1 + ratio * p)  # dH/dp
    by_A = -outer * x * t2**2 * (2 + x) / denominator**2
    return GAMMA * np.log1p(ratio * p), by_A * A_by_correlation, outer * (1 + 2 * x) / denominator**2


#: By the names of `nearsight.reference.pseudopotential`.
FUNCTIONALS: dict[str, Functional] = {
    "PZ": Functional(perdew_zunger),
    "PW92": Functional(perdew_wang),
    "PBE": Functional(perdew_wang, saturating(KAPPA, MU)),
    "PBEsol": Functional(perdew_wang, saturating(KAPPA, MU_GAS), beta=0.046),
    "revPBE": Functional(perdew_wang, saturating(1.245, MU)),
    "RPBE": Functional(perdew_wang, exponential),
    "WC": Functional(perdew_wang, wu_cohen),
}

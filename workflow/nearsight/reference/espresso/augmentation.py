"""Augmentation of ultrasoft and PAW pseudopotentials: projectors β_i, and charges Q_ij(r), in reciprocal space.

    n(r) = Σ |ψ(r)|² + Σ_ij Q_ij(r - R) <β_i|ψ><ψ|β_j>,  Q_ij = Σ_LM C(LM; l_i m_i, l_j m_j) Y_LM(r̂) Q_nm^L(r)

in Quantum ESPRESSO's conventions (its init_us_1, init_us_2, qvan2, ylmr2), to reproduce its numbers to rounding:
integrals by Simpson's rule up to the largest cutoff radius, tables in steps of 0.01/bohr, interpolated by cubics. With
PAW these are the compensation charges, and the density is the smooth one, as in QE's own files. Lengths in bohr.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import spherical_jn

from nearsight import units
from nearsight.errors import InputError
from nearsight.reference.pseudopotential import Pseudopotential, is_true

#: Step of the tables, 1/bohr: `dq` of Quantum ESPRESSO.
TABLE_STEP = 0.01

#: Largest angular momentum of a projector: f.
LARGEST_MOMENTUM = 3

#: Points of the largest radial mesh and number of the most projectors of a pseudopotential.
LARGEST_MESH, MOST_PROJECTORS = 20_000, 30

ADVICE = "Get the file again, or choose ldos.backend: espresso."


@dataclass(frozen=True)
class Augmentation:
    """Projectors and augmentation charges of one element by their radial transforms, tabulated from q = 0 on.

    momenta: l of each projector; projectors: ∫ r² β_n(r) j_l(qr) dr, shape (n, table); charges: (n, m, L) with n <= m
    -> ∫ r² Q_nm^L(r) j_L(qr) dr, shape (table,).
    """

    momenta: tuple[int, ...]
    projectors: np.ndarray
    charges: dict[tuple[int, int, int], np.ndarray]

    @cached_property
    def functions(self) -> list[tuple[int, int]]:
        """(n, lm) of all β_i: projector n times the real spherical harmonic lm."""
        return [(n, degree**2 + m) for n, degree in enumerate(self.momenta) for m in range(2 * degree + 1)]

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices i <= j of all pairs of functions."""
        return np.triu_indices(len(self.functions))

    @cached_property
    def channels(self) -> list[tuple[int, int, int, int]]:
        """(n, m, L, LM) of all radial charges times a harmonic: what the Q_ij are made of."""
        return [(n, m, degree, degree**2 + k) for n, m, degree in self.charges for k in range(2 * degree + 1)]

    @cached_property
    def mixing(self) -> np.ndarray:
        """C(LM; i, j) of pairs and channels, shape (pairs, channels), twice for i < j: Q_ij and Q_ji are one."""
        gaunt = gaunt_coefficients(max(self.momenta))
        matrix = np.zeros((len(self.pairs[0]), len(self.channels)))
        for row, (i, j) in enumerate(zip(*self.pairs, strict=True)):
            (n, first), (m, second) = self.functions[i], self.functions[j]
            for column, (*radial, _, harmonic) in enumerate(self.channels):
                if tuple(radial) == (n, m):
                    matrix[row, column] = gaunt[harmonic, first, second] * (1 if i == j else 2)
        return matrix

    def transform_projectors(self, vectors: np.ndarray, volume: float) -> np.ndarray:
        """<k+G|β_i> of an atom at the origin, complex128 of shape (functions, waves); vectors: k+G, shape (waves, 3).

        (4π/√Ω) (-i)^l Y_lm(k+G) ∫ r² β(r) j_l(|k+G| r) dr
        """
        harmonics = real_harmonics(max(self.momenta), vectors)
        radial = _interpolate(self.projectors, np.linalg.norm(vectors, axis=1))
        factor = 4 * np.pi / np.sqrt(volume)
        return np.array([factor * (-1j) ** self.momenta[n] * harmonics[lm] * radial[n] for n, lm in self.functions])

    def transform_charges(self, vectors: np.ndarray, volume: float) -> np.ndarray:
        """Fourier coefficients of the channels of an atom at the origin, shape (channels, waves); vectors: G.

        (4π/Ω) (-i)^L Y_LM(G) ∫ r² Q^L(r) j_L(|G| r) dr, in 1/Å³ as all densities
        """
        harmonics = real_harmonics(2 * max(self.momenta), vectors)
        radial = _interpolate(np.array(list(self.charges.values())), np.linalg.norm(vectors, axis=1))
        radial = dict(zip(self.charges, radial, strict=True))
        factor = 4 * np.pi / (volume * units.BOHR_A**3)
        return np.array(
            [factor * (-1j) ** degree * harmonics[lm] * radial[n, m, degree] for n, m, degree, lm in self.channels]
        )


def read_augmentation(pseudopotential: Pseudopotential, largest_wave: float) -> Augmentation | None:
    """Projectors and charges (UPF of version 2) up to waves of this length (1/bohr); None if norm-conserving.

    Raises InputError where the file is damaged, or ultrasoft in a format that is not read.
    """
    if pseudopotential.kind == "NC":
        return None
    path = pseudopotential.path
    header = _attributes(pseudopotential, "PP_HEADER")
    mesh = _whole_number(header, "mesh_size", path, 1, LARGEST_MESH)
    count = _whole_number(header, "number_of_proj", path, 1, MOST_PROJECTORS)
    betas = [_section(pseudopotential, f"PP_BETA.{n + 1}", mesh) for n in range(count)]
    momenta = tuple(_whole_number(about, "angular_momentum", path, 0, LARGEST_MOMENTUM) for about, _ in betas)
    charge = _attributes(pseudopotential, "PP_AUGMENTATION")
    ends = [_point(about, "cutoff_radius_index", path, mesh) for about, _ in betas]
    if pseudopotential.kind == "PAW":
        reach = _point(charge, "cutoff_r_index", path, mesh)
        ends.append(reach)
    else:
        reach = mesh
    end = max(ends)
    radius = _section(pseudopotential, "PP_R", mesh)[1]
    weight = _section(pseudopotential, "PP_RAB", mesh)[1][:end] * _simpson(end)
    table = np.arange(int(largest_wave / TABLE_STEP) + 5) * TABLE_STEP
    bessel = [spherical_jn(degree, table[:, None] * radius[:end]) for degree in range(2 * max(momenta) + 1)]
    charges = {
        (n, m, degree): bessel[degree] @ (values[:end] * weight)
        for (n, m, degree), values in _radial_charges(pseudopotential, charge, momenta, radius, reach).items()
    }
    projectors = [
        bessel[degree] @ (values[:end] * radius[:end] * weight)
        for degree, (_, values) in zip(momenta, betas, strict=True)
    ]
    if not all(units.are_finite(values) for values in (*projectors, *charges.values())):
        raise InputError(f"{path}: expected projectors and charges with finite transforms, got others. {ADVICE}")
    return Augmentation(momenta, np.array(projectors), charges)


def _radial_charges(
    pseudopotential: Pseudopotential,
    about: Mapping[str, str],
    momenta: tuple[int, ...],
    radius: np.ndarray,
    reach: int,
) -> dict[tuple[int, int, int], np.ndarray]:
    """r² Q_nm^L(r) of all pairs n <= m and their L, up to the point `reach`: given for each L, or for all together."""
    path = pseudopotential.path
    by_momentum = is_true(about.get("q_with_l", "F"))
    coefficients = _whole_number({"nqf": 0} | dict(about), "nqf", path, 0, 100)
    momenta_of_charges = _whole_number({"nqlc": 0} | dict(about), "nqlc", path, 0, 100) or 2 * max(momenta) + 1
    if coefficients and not by_momentum:
        shape = (len(momenta), len(momenta), momenta_of_charges, coefficients)
        inside = _section(pseudopotential, "PP_QFCOEF", int(np.prod(shape)))[1].reshape(shape)
        inner = _section(pseudopotential, "PP_RINNER", momenta_of_charges)[1]
    charges = {}
    for n, first in enumerate(momenta):
        for m, second in enumerate(momenta[n:], start=n):
            for degree in range(abs(first - second), min(first + second + 1, momenta_of_charges), 2):
                name = f"PP_QIJL.{n + 1}.{m + 1}.{degree}" if by_momentum else f"PP_QIJ.{n + 1}.{m + 1}"
                if reach < radius.size and pseudopotential.section(name) is None:
                    continue  # PAW: a charge that vanishes is left out
                values = _section(pseudopotential, name, radius.size)[1].copy()
                values[reach:] = 0
                if coefficients and not by_momentum and inner[degree] > 0:
                    r = radius[radius < inner[degree]]
                    values[: r.size] = r ** (degree + 2) * np.polynomial.polynomial.polyval(r**2, inside[m, n, degree])
                charges[n, m, degree] = values
    if not charges:
        raise InputError(f"{path}: PP_AUGMENTATION: expected augmentation charges, found none. {ADVICE}")
    return charges


def _simpson(points: int) -> np.ndarray:
    """Simpson's weights; with an even number of points the last one counts for nothing, as in Quantum ESPRESSO."""
    weights = np.zeros(points)
    odd = points - 1 + points % 2
    weights[:odd:2], weights[1:odd:2] = 2 / 3, 4 / 3
    weights[0] = weights[odd - 1] = 1 / 3
    return weights


def _interpolate(tables: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Values of tables, shape (tables, lengths), at the q of `lengths`, by cubics through four points."""
    position = lengths / TABLE_STEP
    lowest = position.astype(int)
    p = position - lowest
    u, v, w = 1 - p, 2 - p, 3 - p
    f = [tables[:, lowest + k] for k in range(4)]
    return f[0] * u * v * w / 6 + f[1] * p * w * v / 2 - f[2] * p * w * u / 2 + f[3] * p * u * v / 6


def _attributes(pseudopotential: Pseudopotential, tag: str) -> Mapping[str, str]:
    """Attributes of a section. Raises InputError where there are none."""
    found = pseudopotential.section(tag)
    if found is None or not found.attributes:
        raise InputError(
            f"{pseudopotential.path}: {tag}: expected it with attributes, as in UPF of version 2, found none. {ADVICE}"
        )
    return found.attributes


def _section(pseudopotential: Pseudopotential, tag: str, count: int) -> tuple[Mapping[str, str], np.ndarray]:
    """Attributes and `count` numbers of a section."""
    found = pseudopotential.section(tag)
    if found is None:
        raise InputError(f"{pseudopotential.path}: {tag}: expected {count} numbers, found none. {ADVICE}")
    values = pseudopotential.numbers(tag)
    if values.size != count:
        raise InputError(f"{pseudopotential.path}: {tag}: expected {count} numbers, got {values.size}. {ADVICE}")
    return found.attributes, values


def _point(about: Mapping[str, str], name: str, path: str | Path, mesh: int) -> int:
    """Number of mesh points up to a radius; all where the file does not say."""
    return _whole_number({name: mesh} | dict(about), name, path, 2, mesh)


def _whole_number(about: Mapping, name: str, path: str | Path, least: int, most: int) -> int:
    """An attribute that is a whole number within bounds."""
    try:
        value = int(about[name])
        if not least <= value <= most:
            raise ValueError(value)
    except (KeyError, ValueError):
        raise InputError(
            f"{path}: {name}: expected a whole number from {least} to {most}, got {str(about.get(name))[:80]}. {ADVICE}"
        ) from None
    return value


def real_harmonics(largest: int, vectors: np.ndarray) -> np.ndarray:
    """Real spherical harmonics up to l = largest of the directions of `vectors`, shape ((largest + 1)², vectors).

    Order and signs of Quantum ESPRESSO's ylmr2: m = 0, then cos and sin of m = 1, 2, ...; index l² for m = 0.
    """
    x, y, z = np.asarray(vectors, dtype=float).T
    length = np.sqrt(x**2 + y**2 + z**2)
    cos = np.divide(z, length, out=np.zeros_like(z), where=length > 0)
    sin = np.sqrt(np.maximum(0, 1 - cos**2))
    angle = np.arctan2(y, x)
    legendre = {(0, 0): np.ones_like(cos)}
    for n in range(1, largest + 1):
        for m in range(n - 1):
            above = np.sqrt(((n - 1) ** 2 - m**2) / (n**2 - m**2)) * legendre[n - 2, m]
            legendre[n, m] = cos * (2 * n - 1) / np.sqrt(n**2 - m**2) * legendre[n - 1, m] - above
        legendre[n, n - 1] = cos * np.sqrt(2 * n - 1) * legendre[n - 1, n - 1]
        legendre[n, n] = -np.sqrt((2 * n - 1) / (2 * n)) * sin * legendre[n - 1, n - 1]
    rows = []
    for n in range(largest + 1):
        norm = np.sqrt((2 * n + 1) / (4 * np.pi))
        rows.append(norm * legendre[n, 0])
        for m in range(1, n + 1):
            rows += [norm * np.sqrt(2) * legendre[n, m] * wave(m * angle) for wave in (np.cos, np.sin)]
    return np.array(rows)


def gaunt_coefficients(largest: int) -> np.ndarray:
    """∫ Y_LM Y_i Y_j of real harmonics up to l = largest for i and j, 2·largest for LM, shape (LM, i, j).

    By a quadrature that is exact for polynomials of degree 4·largest: Gauss-Legendre in cos θ, even steps in φ.
    """
    cos, weights = np.polynomial.legendre.leggauss(2 * largest + 1)
    angles = 2 * np.pi * np.arange(4 * largest + 1) / (4 * largest + 1)
    sin = np.sqrt(1 - cos**2)[:, None]
    points = np.stack(
        np.broadcast_arrays(sin * np.cos(angles), sin * np.sin(angles), cos[:, None] + 0 * angles), axis=-1
    ).reshape(-1, 3)
    every = np.repeat(weights, angles.size) * 2 * np.pi / angles.size
    big, small = real_harmonics(2 * largest, points), real_harmonics(largest, points)
    coefficients = np.einsum("p,ap,ip,jp->aij", every, big, small, small, optimize=True)
    coefficients[np.abs(coefficients) < 1e-14] = 0
    return coefficients

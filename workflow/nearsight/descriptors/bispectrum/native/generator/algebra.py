"""Angular momentum: Clebsch-Gordan coefficients, and the Wigner matrices as polynomials of the unit quaternion.

All angular momenta are doubled (j = 0, 1, 2, ...), rows and columns count from 0: m = mb - j/2, m' = ma - j/2.
Conventions of LAMMPS's SNA; Thompson et al., J. Comput. Phys. 285, 316 (2015).
"""

from decimal import Decimal, getcontext
from fractions import Fraction
from functools import cache
from math import factorial, sqrt

# far more digits than a double has, because expansions in monomials cancel
getcontext().prec = 50


def triples(twojmax: int) -> list[tuple[int, int, int]]:
    """(j1, j2, j) of all components, in LAMMPS's order."""
    return [
        (j1, j2, j)
        for j1 in range(twojmax + 1)
        for j2 in range(j1 + 1)
        for j in range(j1 - j2, min(twojmax, j1 + j2) + 1, 2)
        if j >= j1
    ]


@cache
def clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j: int) -> float:
    """Coefficient <j1 m1 j2 m2 | j m1+m2> from Racah's sum; m1 and m2 count from 0. 0 outside of the range."""
    a, b = 2 * m1 - j1, 2 * m2 - j2
    if abs(a + b) > j:
        return 0.0
    c = a + b
    first = max(0, -(j - j2 + a) // 2, -(j - j1 - b) // 2)
    last = min((j1 + j2 - j) // 2, (j1 - a) // 2, (j2 + b) // 2)
    total = sum(
        Fraction(
            (-1) ** z,
            factorial(z)
            * factorial((j1 + j2 - j) // 2 - z)
            * factorial((j1 - a) // 2 - z)
            * factorial((j2 + b) // 2 - z)
            * factorial((j - j2 + a) // 2 + z)
            * factorial((j - j1 - b) // 2 + z),
        )
        for z in range(first, last + 1)
    )
    triangle = Fraction(
        factorial((j1 + j2 - j) // 2) * factorial((j1 - j2 + j) // 2) * factorial((-j1 + j2 + j) // 2),
        factorial((j1 + j2 + j) // 2 + 1),
    )
    norm = (j + 1) * triangle
    for top in ((j1 + a), (j1 - a), (j2 + b), (j2 - b), (j + c), (j - c)):
        norm *= factorial(top // 2)
    return float(total) * sqrt(norm)


# A polynomial of the quaternion: exponents of (a*, a, b*, b) -> coefficient, with |a|² + |b|² = 1.
Polynomial = dict[tuple[int, int, int, int], Decimal]


def wigner_matrices(twojmax: int) -> list[dict[tuple[int, int], Polynomial]]:
    """u[j][mb, ma] for all j, by the recursion of LAMMPS's compute_uarray (rows mb <= j/2, then symmetry)."""
    matrices: list[dict[tuple[int, int], Polynomial]] = [{(0, 0): {(0, 0, 0, 0): Decimal(1)}}]
    for j in range(1, twojmax + 1):
        before, now = matrices[-1], {}
        for mb in range(j // 2 + 1):
            row: list[Polynomial] = [{} for _ in range(j + 1)]
            for ma in range(j):
                _add(row[ma], before[mb, ma], (1, 0, 0, 0), (Decimal(j - ma) / (j - mb)).sqrt())
                _add(row[ma + 1], before[mb, ma], (0, 0, 1, 0), -(Decimal(ma + 1) / (j - mb)).sqrt())
            for ma in range(j + 1):
                now[mb, ma] = row[ma]
        for mb in range(j // 2 + 1):
            for ma in range(j + 1):
                sign = -1 if (ma + mb) % 2 else 1
                if (j - mb, j - ma) not in now:
                    now[j - mb, j - ma] = {(k, i, n, m): sign * value for (i, k, m, n), value in now[mb, ma].items()}
        matrices.append(now)
    return matrices


def _add(target: Polynomial, source: Polynomial, factor: tuple[int, ...], scale: Decimal) -> None:
    for exponents, value in source.items():
        key = tuple(x + y for x, y in zip(exponents, factor, strict=True))
        target[key] = target.get(key, Decimal(0)) + scale * value


def torus_expansion(polynomial: Polynomial) -> tuple[int, int, list[float]]:
    """The element as (a*)^P (b*)^Q Σ_k c_k T_k(w), w = |a|² - |b|²; a negative power means that of a or b.

    Returns P, Q and c. T_k are Chebyshev polynomials: sums of them lose few digits in float32, sums of monomials
    lose three.
    """
    charges = {(i - k, m - n) for i, k, m, n in polynomial}
    if len(charges) != 1:
        raise ArithmeticError(f"expected one pair of charges in a Wigner function, got {charges}")
    (p, q) = charges.pop()
    powers = [Decimal(0)]  # of w: |a|² = (1 + w)/2, |b|² = (1 - w)/2
    for (i, k, m, n), value in polynomial.items():
        term = [value]
        for _ in range(min(i, k)):
            term = _times(term, Decimal("0.5"), Decimal("0.5"))
        for _ in range(min(m, n)):
            term = _times(term, Decimal("0.5"), Decimal("-0.5"))
        powers += [Decimal(0)] * (len(term) - len(powers))
        for index, x in enumerate(term):
            powers[index] += x
    return p, q, [float(x) for x in _to_chebyshev(powers)]


def _times(series: list[Decimal], constant: Decimal, linear: Decimal) -> list[Decimal]:
    result = [Decimal(0)] * (len(series) + 1)
    for index, x in enumerate(series):
        result[index] += constant * x
        result[index + 1] += linear * x
    return result


def _to_chebyshev(powers: list[Decimal]) -> list[Decimal]:
    """Horner's scheme in the Chebyshev basis: w T_0 = T_1, w T_k = (T_{k-1} + T_{k+1})/2."""
    result = [Decimal(0)] * len(powers)
    for coefficient in reversed(powers):
        shifted = [Decimal(0)] * (len(powers) + 1)
        for k, x in enumerate(result):
            if k == 0:
                shifted[1] += x
            else:
                shifted[k - 1] += x / 2
                shifted[k + 1] += x / 2
        result = shifted[: len(powers)]
        result[0] += coefficient
    return result


def torus_rows(group: int) -> list[tuple[int, int, int]]:
    """Rows (q, k, part) of the functions b^q T_k(w) with q + 2k = group; part 0 is real, 1 imaginary."""
    rows = []
    for k in range(group // 2 + 1):
        q = group - 2 * k
        rows += [(q, k, 0), (q, k, 1)] if q else [(q, k, 0)]
    return rows


class TorusLayout:
    """Where Σ b^q T_k(w) a^p is in memory: group q + 2k, then the row of b^q T_k, then the column of a^p.

    Degree q + 2k + p <= twojmax, so that group s is a full matrix of s + 1 rows and 2 (twojmax - s) + 1 columns:
    the sum over neighbours is a sequence of rank-one updates. Column 0 is 1, 2p - 1 and 2p are Re and Im of a^p.
    """

    def __init__(self, twojmax: int) -> None:
        self.twojmax = twojmax
        self.columns = [2 * (twojmax - group) + 1 for group in range(twojmax + 1)]
        self.rows = [torus_rows(group) for group in range(twojmax + 1)]
        self.start = [0]
        for group in range(twojmax + 1):
            self.start.append(self.start[-1] + len(self.rows[group]) * self.columns[group])
        self.size = self.start[-1]

    def index(self, p: int, p_part: int, q: int, q_part: int, k: int) -> int:
        """Place of Σ part(b^q) T_k part(a^p)."""
        group = q + 2 * k
        row = self.rows[group].index((q, k, q_part))
        column = 0 if p == 0 else 2 * p - 1 + p_part
        return self.start[group] + row * self.columns[group] + column

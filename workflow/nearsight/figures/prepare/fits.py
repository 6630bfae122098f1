"""Straight lines through points, with the errors of their slopes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x by least squares.

    slope_error: standard error from the scatter about the line, None for two points; r_squared: share of the variance
    of y that the line explains, None where y does not vary.
    """

    slope: float
    intercept: float
    slope_error: float | None
    r_squared: float | None
    points: int


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """The line through points; None where there are not two different x."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    spread = float(((x - x.mean()) ** 2).sum()) if x.size else 0.0
    if x.size < 2 or spread <= 1e-24 * max(float((x**2).sum()), 1e-300):
        return None
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    intercept = float(y.mean() - slope * x.mean())
    residual = float(((y - intercept - slope * x) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return Line(
        slope=slope,
        intercept=intercept,
        slope_error=float(np.sqrt(residual / (x.size - 2) / spread)) if x.size > 2 else None,
        r_squared=1 - residual / total if total > 0 else None,
        points=int(x.size),
    )


@dataclass(frozen=True)
class PowerLaw:
    """y = factor x^exponent, a straight line in the logarithms; error as for `Line`; from, to: ends of the x fitted."""

    exponent: float
    factor: float
    exponent_error: float | None
    points: int
    first: float
    last: float


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The power law through positive points; None where there are not two different x, or a y is not positive."""
    if not len(x) or min(x) <= 0 or min(y) <= 0:
        return None
    line = fit_line(np.log(x), np.log(y))
    if line is None:
        return None
    return PowerLaw(
        exponent=line.slope,
        factor=float(np.exp(line.intercept)),
        exponent_error=line.slope_error,
        points=line.points,
        first=float(min(x)),
        last=float(max(x)),
    )

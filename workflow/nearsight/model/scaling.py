"""Feature-wise standardisation, from moments that are summed block by block in float64."""

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError


@dataclass
class Moments:
    """Number, mean and sum of squared deviations of the rows seen so far, per feature (Chan, Golub, LeVeque 1979)."""

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, features: int) -> "Moments":
        """Moments of no rows."""
        return cls(0, np.zeros(features), np.zeros(features))

    def add(self, rows: np.ndarray) -> None:
        """Include rows, shape (n, features)."""
        rows = np.asarray(rows, dtype=np.float64)
        if len(rows) == 0:
            return
        mean = rows.mean(axis=0)
        squares = ((rows - mean) ** 2).sum(axis=0)
        difference = mean - self.mean
        total = self.count + len(rows)
        self.squares = self.squares + squares + difference**2 * (self.count * len(rows) / total)
        self.mean = self.mean + difference * (len(rows) / total)
        self.count = total

    def deviation(self) -> np.ndarray:
        """Standard deviation per feature."""
        return np.sqrt(self.squares / max(self.count, 1))


@dataclass(frozen=True)
class Scaling:
    """x -> (x - mean)/scale per feature; float64, shape (features,)."""

    mean: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        """Raise InputError unless both are finite float64 vectors of one length and the scale is positive."""
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values.ndim != 1 or values.dtype != np.float64 or not np.isfinite(values).all():
                raise InputError(
                    f"scaling.{name}: expected a vector of finite float64, got {values.dtype} {values.shape}."
                )
        if self.mean.shape != self.scale.shape or not (self.scale > 0).all():
            raise InputError(
                f"scaling: expected positive scales, one per feature, got {self.mean.shape} means and "
                f"{self.scale.shape} scales with a minimum of {self.scale.min(initial=np.inf):.3g}."
            )

    @classmethod
    def from_moments(cls, moments: Moments, floor: float) -> "Scaling":
        """Standardisation by mean and standard deviation.

        floor: smallest scale as a fraction of the largest one, so that features which hardly vary (an energy below
        the bands, a component that is constant) are not blown up to noise. Constant features are scaled by 1.
        """
        deviation = moments.deviation()
        scale = np.maximum(deviation, floor * deviation.max(initial=0.0))
        # a rounding of the mean is no variation
        scale = np.where(scale > 1e-14 * np.abs(moments.mean), scale, 0.0)
        return cls(moments.mean.copy(), np.where(scale > 0.0, scale, 1.0))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Scaled rows, shape (n, features), computed in float64, returned as float32."""
        return ((rows - self.mean) / self.scale).astype(np.float32)

    def invert(self, rows: np.ndarray) -> np.ndarray:
        """Rows in their own unit, shape (n, features), computed in float64, returned as float32."""
        return (rows.astype(np.float64) * self.scale + self.mean).astype(np.float32)

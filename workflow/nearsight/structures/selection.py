"""Snapshots out of a trajectory."""

import logging
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nearsight.errors import InputError

logger = logging.getLogger("nearsight")

#: Frames count as decorrelated where the velocity autocorrelation has fallen below 1/e in magnitude.
DECORRELATED = float(np.exp(-1.0))


@dataclass(frozen=True)
class Selection:
    """Chosen frames, their spacing in fs and the normalised velocity autocorrelation at that lag (None for one)."""

    indices: list[int]
    spacing_fs: float | None
    autocorrelation: float | None


def select_frames(frames: list[Atoms], count: int, equilibration_fs: float) -> Selection:
    """Choose `count` frames: equilibration is dropped, the rest is divided evenly in time, its last frame included.

    The number is fixed beforehand, so the criterion is a check: frames are decorrelated when the normalised
    velocity autocorrelation at their smallest spacing is below 1/e in magnitude; if not, the log warns.
    frames: with `time_fs` in info and momenta. Raises InputError where too few frames are left.
    """
    times = np.array([frame.info["time_fs"] for frame in frames], dtype=float)
    start = int(np.searchsorted(times, equilibration_fs - 1e-6))
    rest = len(frames) - start
    if count < 1 or rest < count:
        raise InputError(
            f"trajectory: expected at least {count} frames after {equilibration_fs} fs of equilibration, got {rest} "
            f"of {len(frames)}. Raise the trajectory's segments, or lower md.equilibration_fs or its snapshots."
        )
    # the middle of the equilibrated stretch belongs to nobody: n frames end n equal intervals
    indices = [start + round((i + 1) * rest / count) - 1 for i in range(count)]
    if count == 1:
        return Selection(indices, None, None)
    lag = min(b - a for a, b in zip(indices, indices[1:], strict=False))
    autocorrelation = velocity_autocorrelation(np.array([frame.get_velocities() for frame in frames[start:]]), lag)
    spacing = float(times[start + lag] - times[start])
    if abs(autocorrelation) >= DECORRELATED:
        logger.warning(
            "snapshots %.1f fs apart are still correlated: velocity autocorrelation %.2f, expected below %.2f in "
            "magnitude. More segments give more spacing.",
            spacing,
            autocorrelation,
            DECORRELATED,
        )
    return Selection(indices, spacing, autocorrelation)


def velocity_autocorrelation(velocities: np.ndarray, lag: int) -> float:
    """<v(t)·v(t + lag)> / <v²> over all atoms and starting times; velocities: shape (frames, atoms, 3)."""
    later, earlier = velocities[lag:], velocities[: len(velocities) - lag]
    scale = np.sqrt(np.mean(later**2) * np.mean(earlier**2))
    return float(np.mean(later * earlier) / scale)

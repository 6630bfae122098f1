"""Selecting snapshots from a trajectory."""

import logging
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nearsight.errors import InputError

logger = logging.getLogger("nearsight")

#: Two frames count as decorrelated where the normalised velocity autocorrelation at their lag is below 1/e.
#: A negative one is welcome: the atoms then move the other way, so that the structures differ most.
DECORRELATED = float(np.exp(-1.0))


@dataclass(frozen=True)
class Selection:
    """Indices of the chosen frames, their spacing in fs, and the largest autocorrelation among their pairs.

    Spacing and autocorrelation are None for a single frame.
    """

    indices: list[int]
    spacing_fs: float | None
    autocorrelation: float | None


def select_frames(frames: list[Atoms], count: int, equilibration_fs: float) -> Selection:
    """Choose `count` evenly spaced frames after the equilibration; the last one is the trajectory's last.

    Criterion: the widest spacing for which no pair of frames is correlated, that is for which the velocity
    autocorrelation is below 1/e at every multiple of the spacing up to the lag from the first frame to the last (in a
    crystal it recurs after a period of vibration). Where no spacing fulfils it, the one with the smallest correlation
    is taken and the log warns: the number of snapshots is fixed before the dynamics is known.

    frames: equally spaced, with `time_fs` in info and momenta. Raises InputError where too few frames are left, or they
    are not a trajectory.
    """
    times = np.array(times_of(frames))
    start = int(np.searchsorted(times, equilibration_fs - 1e-6))
    rest = len(frames) - start
    if count < 1 or rest < count:
        raise InputError(
            f"trajectory: expected at least {count} frames after {equilibration_fs} fs of equilibration, got {rest} "
            f"of {len(frames)}. Raise the trajectory's segments, or lower md.equilibration_fs or its snapshots."
        )
    last = len(frames) - 1
    if count == 1:
        return Selection([last], None, None)
    velocities = np.array([frame.get_velocities() for frame in frames[start:]])
    widest = (rest - 1) // (count - 1)
    largest = [
        max(velocity_autocorrelation(velocities, spacing * multiple) for multiple in range(1, count))
        for spacing in range(1, widest + 1)
    ]
    fitting = [spacing for spacing, value in enumerate(largest, start=1) if value < DECORRELATED]
    chosen = fitting[-1] if fitting else 1 + int(np.argmin(largest))
    autocorrelation = largest[chosen - 1]
    spacing_fs = float(times[last] - times[last - chosen])
    if not fitting:
        logger.warning(
            "snapshots %.1f fs apart are still correlated: velocity autocorrelation %.2f, expected below %.2f. "
            "More segments give more room.",
            spacing_fs,
            autocorrelation,
            DECORRELATED,
        )
    return Selection([last - chosen * i for i in reversed(range(count))], spacing_fs, autocorrelation)


def times_of(frames: list[Atoms]) -> list[float]:
    """The times of a trajectory's frames in fs.

    Raises InputError where a frame has none, comes before the one before it, or has other atoms.
    """
    times = []
    for number, frame in enumerate(frames):
        time = frame.info.get("time_fs")
        if isinstance(time, bool) or not isinstance(time, int | float | np.number) or not np.isfinite(time):
            raise InputError(
                f"trajectory: frame {number}: expected its time in fs in the comment line, as in time_fs=2.0, got "
                f"{time!r}. In ASE: atoms.info['time_fs'] = 2.0."
            )
        if times and not time > times[-1]:
            raise InputError(f"trajectory: frame {number}: expected a time after {times[-1]} fs, got {time} fs.")
        if len(frame) != len(frames[0]) or (frame.numbers != frames[0].numbers).any():
            raise InputError(f"trajectory: frame {number}: expected the atoms of the first frame, got others.")
        times.append(float(time))
    return times


def velocity_autocorrelation(velocities: np.ndarray, lag: int) -> float:
    """<v(t)·v(t + lag)> / <v²> over all atoms and starting times; velocities: shape (frames, atoms, 3)."""
    later, earlier = velocities[lag:], velocities[: len(velocities) - lag]
    scale = np.sqrt(np.mean(later**2) * np.mean(earlier**2))
    return float(np.mean(later * earlier) / scale) if scale > 0 else 1.0

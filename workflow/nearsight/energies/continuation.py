"""A density on the fine grid of DFT from the coarser one that it was predicted on, by its Fourier coefficients.

A density is smooth, and few of its waves are as short as the fine grid can hold: that grid is made for the products of
the exchange and correlation, not for the density. What a coarser grid's points say is continued exactly where the
field has no shorter waves; shorter ones are missing and, folded back, added to longer ones (aliasing).

The coarser grid is that of a sampling cutoff. All of its waves are kept, also those beyond the cutoff in the corners
of the box: without them the error in beryllium is two to ten times as large (docs/prediction.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from nearsight import units
from nearsight.energies.fourier import Array, FourierGrid
from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape

#: Sampling cutoff in parts of ecutrho where none is given.
SAMPLING_SHARE = 1.0

#: Points of a sampled density from which on its coefficients are on disk: 0.5 GB and as much for their transform.
DISK_FROM_POINTS = 1 << 26

#: What a coefficient takes, per point of the grid: half as many complex numbers as points.
POINT_BYTES = 8


@dataclass(frozen=True)
class BoxGrid(FourierGrid):
    """All waves that the points of a grid tell apart, without a cutoff; not the Nyquist ones, whose phase is lost."""

    ecutrho_Ry: float = np.inf

    def check_cutoff(self) -> None:
        """There is none."""


def sampling_cutoff(ecut_sample_Ry: float | None, ecutrho_Ry: float) -> float:
    """The sampling cutoff in Ry, by default SAMPLING_SHARE of ecutrho. Raises InputError where it is above ecutrho."""
    if ecut_sample_Ry is None:
        return SAMPLING_SHARE * ecutrho_Ry
    if ecut_sample_Ry > ecutrho_Ry:
        raise InputError(
            f"ecut_sample_Ry: expected at most the density's cutoff of {ecutrho_Ry:g} Ry (which predicts on the "
            f"density's own grid), got {ecut_sample_Ry:g}."
        )
    return ecut_sample_Ry


def sampling_shape(cell: np.ndarray, shape: tuple[int, int, int], ecut_sample_Ry: float) -> tuple[int, int, int]:
    """The grid of a sampling cutoff, along no axis finer than the density's grid `shape`; cell: rows in Å."""
    return tuple(min(pair) for pair in zip(fft_shape(cell, ecut_sample_Ry), shape, strict=True))


def continue_density(
    density: Array, cell: np.ndarray, shape: tuple[int, int, int], ecut_sample_Ry: float, folder: Path
) -> tuple[Iterator[np.ndarray], float]:
    """Planes of a density on a finer grid `shape` of its cell, and an estimate of the error.

    density: anything with a shape that gives planes by density[i], each once and in order; cell: rows in Å; folder:
    for coefficients that memory shall not hold. The mean, and so the number of electrons, stays. Cost: O(N log N);
    memory: `memory_bytes`.

    Estimate: root mean square of the waves beyond the sampling cutoff that the box still holds, in parts of the mean
    density. What the box does not hold is of that size or less, where waves get weaker the shorter they are.
    """
    grid = BoxGrid(cell, density.shape, scratch=folder if prod(density.shape) >= DISK_FROM_POINTS else None)
    coefficients = grid.coefficients(density)
    largest = ecut_sample_Ry / units.BOHR_A**2
    beyond = grid.sum_over_G(coefficients, lambda squared: (squared > largest).astype(float))
    mean = float(np.asarray(coefficients[0])[0, 0].real)
    return grid.planes(coefficients, shape=shape), float(np.sqrt(beyond)) / mean


def memory_bytes(sampled: tuple[int, int, int], shape: tuple[int, int, int]) -> float:
    """Memory of `continue_density` from one grid to another at its peak, beside some planes."""
    points = prod(sampled)
    return 0.0 if points >= DISK_FROM_POINTS else POINT_BYTES * points * (1 + shape[0] / sampled[0])


def disk_bytes(sampled: tuple[int, int, int], shape: tuple[int, int, int]) -> float:
    """What `continue_density` takes on disk at its peak."""
    points = prod(sampled)
    return POINT_BYTES * points * (1 + shape[0] / sampled[0]) if points >= DISK_FROM_POINTS else 0.0

"""A density on the fine grid of DFT from the coarser one that it was predicted on, by its Fourier coefficients.

A density is smooth, and few of its waves are as short as the fine grid can hold: that grid is needed for the products
in exchange and correlation, not for the density. A field on the coarser grid is continued exactly if it has no shorter
waves; shorter ones are lost and, folded back, added to longer ones (aliasing).

The coarser grid is that of a sampling cutoff. All of its waves are kept, including those beyond the cutoff in the
corners of the box: without them the error in beryllium is two to ten times as large.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from nearsight import units
from nearsight.energies.disk import Scratch
from nearsight.energies.fourier import Array, FourierGrid
from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape
from nearsight.memory import BLOCKS_AT_WORK, block_of_columns

#: Sampling cutoffs that a training tries, as fractions of ecutrho. A predicted density also has short waves of the
#: network's own making, so that less than the first costs more than DFT's density alone suggests (docs/prediction.md).
SHARES = (0.7, 0.8, 0.9)

#: Largest error of the training cells' densities at the sampling cutoff: root mean square relative to the mean.
LARGEST_LOSS = 5e-4

#: Bytes of the coefficients per grid point: half as many complex numbers as points.
POINT_BYTES = 8


@dataclass(frozen=True)
class BoxGrid(FourierGrid):
    """All waves that the points of a grid resolve, without a cutoff; not the Nyquist ones, whose phase is lost."""

    ecutrho_Ry: float = np.inf

    def check_cutoff(self) -> None:
        """Nothing to check: there is no cutoff."""


def sampling_losses(density: Array, cell: np.ndarray, ecutrho_Ry: float) -> np.ndarray:
    """What each of SHARES costs a known density: root mean square error relative to the mean, shape (shares,).

    density: as in `FourierGrid.coefficients`, on the grid of ecutrho. Waves that the smallest grid of the cutoff does
    not hold count twice: they are missing, and they are folded back onto others.
    """
    grid = BoxGrid(cell, density.shape)
    coefficients = grid.coefficients(density)
    mx, my, mz = (np.abs(m) for m in grid.miller)
    double = np.where(mz > 0, 2.0, 1.0)
    radii = np.sqrt(np.array(SHARES) * ecutrho_Ry) / units.BOHR_A
    bounds = np.floor(np.outer(radii, np.linalg.norm(grid.cell, axis=1)) / (2 * np.pi))
    lost = np.zeros(len(SHARES))
    for i in range(grid.shape[0]):
        power = double * np.abs(coefficients[i]) ** 2
        for number, (x, y, z) in enumerate(bounds):
            lost[number] += power.sum() - power[my <= y][:, mz <= z].sum() * (mx[i] <= x)
    return np.sqrt(2 * np.maximum(lost, 0.0)) / float(coefficients[0][0, 0].real)


def smallest_cutoff(losses: np.ndarray, ecutrho_Ry: float) -> float:
    """The smallest cutoff in Ry whose losses, shape (densities, shares), are all small; ecutrho where there is none."""
    fitting = [share for share, loss in zip(SHARES, losses.max(axis=0), strict=True) if loss <= LARGEST_LOSS]
    return min(fitting, default=1.0) * ecutrho_Ry


def sampling_cutoff(ecut_sample_Ry: float | None, of_training_Ry: float | None, ecutrho_Ry: float) -> float:
    """The sampling cutoff in Ry: the one that is asked for, else the one that the training found, else ecutrho.

    Raises InputError where it is above ecutrho.
    """
    if ecut_sample_Ry is None:
        return min(of_training_Ry or ecutrho_Ry, ecutrho_Ry)
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
    density: Array,
    cell: np.ndarray,
    shape: tuple[int, int, int],
    ecut_sample_Ry: float,
    scratch: Scratch | None = None,
) -> tuple[Iterator[np.ndarray], float]:
    """Planes of a density on a finer grid `shape` of its cell, and an estimate of the error.

    density: anything with a shape that gives planes by density[i], each once and in order; cell: rows in Å; scratch:
    where its coefficients lie on disk (None: in memory). The mean, and so the number of electrons, is kept. Cost:
    O(N log N); memory: `memory_bytes`.

    Estimate: root mean square of the waves beyond the sampling cutoff that the box still holds, relative to the mean
    density. What the box does not hold is of that size or less, if waves get weaker the shorter they are.
    """
    grid = BoxGrid(cell, density.shape, scratch=scratch)
    coefficients = grid.coefficients(density)
    largest = ecut_sample_Ry / units.BOHR_A**2
    beyond = grid.sum_over_G(coefficients, lambda squared: (squared > largest).astype(float))
    mean = float(np.asarray(coefficients[0])[0, 0].real)
    return grid.planes(coefficients, shape=shape), float(np.sqrt(beyond)) / mean


def memory_bytes(sampled: tuple[int, int, int], shape: tuple[int, int, int], block_bytes: int | None = None) -> float:
    """Memory of `continue_density` from one grid to another at its peak, besides some planes; none for the same grid.

    block_bytes: of its columns in memory where the coefficients are on disk (None: all are in memory).
    """
    if sampled == shape:
        return 0.0
    blocks = BLOCKS_AT_WORK * block_of_columns(max(sampled[0], shape[0]) * sampled[2], block_bytes)
    return blocks + (disk_bytes(sampled, shape) if block_bytes is None else 0.0)


def disk_bytes(sampled: tuple[int, int, int], shape: tuple[int, int, int]) -> float:
    """Bytes of the coefficients, in memory or on disk, and of their transform along x to the finer grid."""
    return 0.0 if sampled == shape else POINT_BYTES * prod(sampled) * (1 + shape[0] / sampled[0])

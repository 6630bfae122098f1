"""Plane waves of a periodic cell: what all energy terms of a density share.

Fields are transformed one plane of x at a time along z and y, and only the transform along x sees the whole grid. So a
density is never in memory beside its coefficients, and a real field of coefficients comes back as a stream of planes.

Over several MPI ranks each has some planes of x of a field and, of the coefficients, whole columns along x for some
indices along y. Between the transforms along y and x mpi4py-fft exchanges one for the other. The numbers of ranks and
of planes need not divide each other.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from nearsight import units
from nearsight.errors import InputError
from nearsight.grids.real import RealGrid

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: A supercell has the repeated cell's grid times the repeat, which may miss the outermost points of its own sphere:
#: what a grid may lack of the 2 m + 1 points along an axis (and two points more, since m is a bound).
LARGEST_LACK = 0.1


@dataclass(frozen=True)
class FourierGrid(RealGrid):
    """Grid and plane waves of one cell: all G with |G|² up to the density's cutoff.

    cell, shape: as in `RealGrid`; ecutrho_Ry: cutoff of the density in Ry as QE takes it;
    single: store fields in single precision (all reductions stay in double precision); comm: the MPI ranks that share
    the grid, at most as many as it has planes of x and of y (None: this process alone).

    Coefficients n(G) are those of n(r) = Σ_G n(G) exp(iG·r), an array of shape (nx, own y, nz//2 + 1): the half space
    m_z ≥ 0 of a real field, zero outside the sphere, and of it the indices `own_y` along y, all of them on one rank.
    """

    ecutrho_Ry: float
    single: bool = False
    comm: "Comm | None" = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.isfinite(self.ecutrho_Ry) and self.ecutrho_Ry > 0):
            raise InputError(f"ecutrho_Ry: expected a positive energy in Ry, got {self.ecutrho_Ry}.")
        # the plane of all G with the index m along an axis is 2π m/|a| away from the origin
        needed = 2 * (self.largest_G * np.linalg.norm(self.cell, axis=1) / (2 * np.pi)).astype(int) + 1
        if (np.array(self.shape) < (1 - LARGEST_LACK) * needed - 2).any():
            raise InputError(
                f"density: expected a grid of about {tuple(needed.tolist())} points for ecutrho = {self.ecutrho_Ry:g} "
                f"Ry in this cell, got {self.shape}. Is it the grid of this cell?"
            )
        if self.comm is not None and self.comm.size > min(self.shape[:2]):
            raise InputError(
                f"comm: expected at most {min(self.shape[:2])} MPI ranks, one per plane of the grid {self.shape}, got "
                f"{self.comm.size}."
            )

    @property
    def largest_G(self) -> float:
        """Radius of the sphere of plane waves, 1/Å."""
        return float(np.sqrt(self.ecutrho_Ry)) / units.BOHR_A

    @property
    def real(self) -> np.dtype:
        """Type of stored real fields."""
        return np.dtype(np.float32 if self.single else np.float64)

    @cached_property
    def own_x(self) -> range:
        """Planes of x of a real field that this rank has."""
        return range(self.shape[0]) if self.alone else _range(self._pencils[0], axis=0)

    @cached_property
    def own_y(self) -> range:
        """Indices along y of coefficients that this rank has."""
        return range(self.shape[1]) if self.alone else _range(self._pencils[1], axis=1)

    @property
    def alone(self) -> bool:
        """Whether this process has the whole grid."""
        return self.comm is None or self.comm.size == 1

    @cached_property
    def _pencils(self) -> tuple:
        """mpi4py-fft's parts of the coefficients: planes of x, and columns along x."""
        from mpi4py import MPI
        from mpi4py_fft.pencil import Pencil

        nx, ny, nz = self.shape
        planes = Pencil([self.comm, MPI.COMM_SELF, MPI.COMM_SELF], (nx, ny, nz // 2 + 1), axis=1)
        return planes, planes.pencil(0)

    def sum(self, value: float) -> float:
        """A number summed over all ranks, the same on each."""
        return value if self.alone else self.comm.allreduce(value)

    @property
    def miller(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Miller indices along the three axes of this rank's coefficients."""
        nx, ny, nz = self.shape
        mx, my = (np.rint(np.fft.fftfreq(n, 1 / n)) for n in (nx, ny))
        return mx, my[self.own_y.start : self.own_y.stop], np.arange(nz // 2 + 1.0)

    def plane_of_G(self, i: int) -> np.ndarray:
        """Cartesian G of plane i of this rank's coefficients, shape (3, own y, nz//2 + 1), 1/Å."""
        reciprocal = 2 * np.pi * np.linalg.inv(self.cell).T
        mx, my, mz = self.miller
        return (mx[i] * reciprocal[0])[:, None, None] + np.add(
            my[:, None] * reciprocal[1][:, None, None], mz * reciprocal[2][:, None, None]
        )

    def inside(self, i: int, squared: np.ndarray) -> np.ndarray:
        """Mask of plane i: |G|² within the sphere, without the Nyquist index, whose sign is not known."""
        nx, ny, nz = self.shape
        mx, my, mz = self.miller
        inner = (2 * np.abs(my) < ny)[:, None] & (2 * mz < nz)
        return (squared <= self.largest_G**2) & inner & bool(2 * abs(mx[i]) < nx)

    def coefficients(self, field: np.ndarray) -> np.ndarray:
        """Coefficients of a real field of shape (nx, ny, nz), cut at the sphere; O(N log N).

        field: anything with a shape that gives planes by field[i], an open dataset too; each rank reads its own planes,
        once and in order.
        """
        if tuple(field.shape) != self.shape:
            raise InputError(f"field: expected the shape {self.shape} of the grid, got {tuple(field.shape)}.")
        return self.coefficients_of_planes(field[i] for i in self.own_x)

    def coefficients_of_planes(self, planes: Iterable[np.ndarray]) -> np.ndarray:
        """The same of a field of which each rank gives its own planes, shape (ny, nz)."""
        nx, ny, nz = self.shape
        result = np.empty((len(self.own_x), ny, nz // 2 + 1), dtype=np.result_type(self.real, np.complex64))
        for row, plane in zip(result, planes, strict=True):
            row[:] = scipy.fft.fft(
                scipy.fft.rfft(np.asarray(plane, np.float64), norm="forward"), axis=0, norm="forward"
            )
        result = scipy.fft.fft(self._columns(result), axis=0, norm="forward", overwrite_x=True)
        for i in range(nx):
            result[i] *= self.inside(i, np.square(self.plane_of_G(i)).sum(axis=0))
        return result

    def planes(self, coefficients: np.ndarray, axis: int | None = None) -> Iterator[np.ndarray]:
        """This rank's planes (ny, nz) of the real field of coefficients, or of its derivative along a Cartesian axis.

        They are float64, in the order of `own_x`.
        """
        nx, _, nz = self.shape
        work = coefficients.copy()
        if axis is not None:
            for i in range(nx):
                work[i] *= 1j * self.plane_of_G(i)[axis]
        work = self._planes(scipy.fft.ifft(work, axis=0, norm="forward", overwrite_x=True))
        for plane in work:
            half = scipy.fft.ifft(plane.astype(np.complex128), axis=0, norm="forward", overwrite_x=True)
            yield scipy.fft.irfft(half, n=nz, norm="forward", overwrite_x=True)

    def field(self, coefficients: np.ndarray) -> np.ndarray:
        """This rank's planes of the real field of coefficients, shape (own x, ny, nz), float64."""
        return np.stack(list(self.planes(coefficients)))

    def _columns(self, planes: np.ndarray) -> np.ndarray:
        """Give planes of x away and get whole columns along x."""
        return planes if self.alone else self._exchange(planes, forward=True)

    def _planes(self, columns: np.ndarray) -> np.ndarray:
        """Give columns along x away and get whole planes of x."""
        return columns if self.alone else self._exchange(columns, forward=False)

    def _exchange(self, array: np.ndarray, forward: bool) -> np.ndarray:
        planes, columns = self._pencils
        transfer = planes.transfer(columns, array.dtype)
        result = np.empty((columns if forward else planes).subshape, array.dtype)
        (transfer.forward if forward else transfer.backward)(np.ascontiguousarray(array), result)
        transfer.destroy()
        return result

    def sum_over_G(self, coefficients: Iterable[np.ndarray], kernel: Callable[[np.ndarray], np.ndarray]) -> float:
        """Σ_G |n(G)|² k(|G|²) over the whole space, without G = 0; kernel: function of |G|² in 1/Å²."""
        # all with m_z > 0 stand for -G too
        double = np.where(self.miller[2] > 0, 2.0, 1.0)
        parts = []
        for i, plane in enumerate(coefficients):
            if not plane.any():
                continue  # outside the sphere
            squared = np.square(self.plane_of_G(i)).sum(axis=0)
            values = kernel(np.where(squared > 0, squared, 1.0)) * (squared > 0)
            parts.append(float(np.sum(np.abs(plane.astype(np.complex128)) ** 2 * values * double)))
        return self.sum(fsum(parts))


def _range(pencil, axis: int) -> range:
    """This rank's indices along a distributed axis."""
    return range(pencil.substart[axis], pencil.substart[axis] + pencil.subshape[axis])

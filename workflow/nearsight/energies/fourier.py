"""Plane waves of a periodic cell, which all energy terms of a density share.

Fields are transformed along z and y one plane of constant x at a time; only the transform along x sees the whole grid.
So a density is never in memory together with its coefficients, and coefficients turn back into a stream of planes.

With several MPI ranks, each has some planes of x of a field and, of its coefficients, whole columns along x for some
indices along y. Between the transforms along y and x mpi4py-fft exchanges one for the other. The number of ranks need
not divide the number of planes.

A field and its coefficients need not have the same grid: the coefficients of a density that was sampled on a coarser
grid continue it to a finer one, and in the same way a few long waves are taken from a fine field.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from nearsight import units
from nearsight.energies.disk import DiskArray, Scratch
from nearsight.errors import InputError, MissingProgramError
from nearsight.grids.real import RealGrid
from nearsight.memory import BLOCK_BYTES

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: A supercell has the repeated cell's grid times the repeat, which may miss the outermost points of its own sphere:
#: what a grid may lack of the 2 m + 1 points along an axis (and two points more, since m is a bound).
LARGEST_LACK = 0.1

#: A field or its coefficients: planes by array[i], columns by array[:, a:b].
Array = np.ndarray | DiskArray


@dataclass(frozen=True)
class FourierGrid(RealGrid):
    """Grid and plane waves of one cell: all G with |G|² up to the density's cutoff.

    cell, shape: as in `RealGrid`; ecutrho_Ry: cutoff of the density in Ry as QE takes it;
    single: store fields in single precision (all reductions stay in double precision); comm: the MPI ranks that share
    the grid, at most as many as it has planes of x and of y (None: this process alone); scratch: where fields and
    coefficients lie on disk, some planes and columns of them in memory (None: all in memory).

    Coefficients n(G) are those of n(r) = Σ_G n(G) exp(iG·r), an array of shape (nx, own y, nz//2 + 1): the half space
    m_z ≥ 0 of a real field, zero outside the sphere, and of it the indices `own_y` along y, all of them on one rank.
    """

    ecutrho_Ry: float
    single: bool = False
    comm: "Comm | None" = None
    scratch: Scratch | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_cutoff()
        if self.comm is not None and self.comm.size > min(self.shape[:2]):
            raise InputError(
                f"comm: expected at most {min(self.shape[:2])} MPI ranks, one per plane of the grid {self.shape}, got "
                f"{self.comm.size}."
            )

    def check_cutoff(self) -> None:
        """Raise InputError unless the cutoff is one, and the grid is made for it."""
        if not (np.isfinite(self.ecutrho_Ry) and self.ecutrho_Ry > 0):
            raise InputError(f"ecutrho_Ry: expected a positive energy in Ry, got {self.ecutrho_Ry}.")
        # the plane of all G with the index m along an axis is 2π m/|a| away from the origin
        needed = 2 * (self.largest_G * np.linalg.norm(self.cell, axis=1) / (2 * np.pi)).astype(int) + 1
        if (np.array(self.shape) < (1 - LARGEST_LACK) * needed - 2).any():
            raise InputError(
                f"density: expected a grid of about {tuple(needed.tolist())} points for ecutrho = {self.ecutrho_Ry:g} "
                f"Ry in this cell, got {self.shape}. Is it the grid of this cell?"
            )

    @classmethod
    def of_sphere(cls, cell: np.ndarray, largest_G: float, finer: int = 1) -> "FourierGrid":
        """A grid of this process alone for all G up to `largest_G` (1/Å), `finer` times as fine as it must be."""
        bounds = (largest_G * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
        shape = tuple(scipy.fft.next_fast_len(finer * (2 * int(m) + 1), real=True) for m in bounds)
        return cls(cell, shape, (largest_G * units.BOHR_A) ** 2)

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
        return self.own_planes(self.shape[0])

    def own_planes(self, nx: int) -> range:
        """Those of a field with nx planes."""
        return range(nx) if self.alone else _range(self._pencils(nx, 1)[0], axis=0)

    @cached_property
    def own_y(self) -> range:
        """Indices along y of coefficients that this rank has."""
        return range(self.shape[1]) if self.alone else _range(self._pencils(self.shape[0], 1)[1], axis=1)

    @property
    def alone(self) -> bool:
        """Whether this process has the whole grid."""
        return self.comm is None or self.comm.size == 1

    def zeros(self, *shape: int, dtype: np.dtype | None = None) -> Array:
        """A new field, in memory or on disk; dtype: of real fields if None."""
        dtype = self.real if dtype is None else dtype
        return np.zeros(shape, dtype) if self.scratch is None else DiskArray(shape, dtype, self.scratch.folder)

    @property
    def block_bytes(self) -> int:
        """Columns along x that are transformed at a time."""
        return BLOCK_BYTES if self.scratch is None else self.scratch.block_bytes

    @property
    def complex(self) -> np.dtype:
        """Type of stored coefficients."""
        return np.result_type(self.real, np.complex64)

    def _pencils(self, nx: int, depth: int) -> tuple:
        """mpi4py-fft's parts of nx planes of `depth` indices along z: planes of x, and columns along x."""
        from mpi4py import MPI

        try:
            from mpi4py_fft.pencil import Pencil
        except ImportError as error:
            raise MissingProgramError(
                f"mpi4py-fft: expected for energies on {self.comm.size} MPI ranks, not found ({error}). Install it "
                "with `pip install 'nearsight[mpi]'` (it needs a compiler and FFTW), or run on one rank."
            ) from error

        planes = Pencil([self.comm, MPI.COMM_SELF, MPI.COMM_SELF], (nx, self.shape[1], depth), axis=1)
        return planes, planes.pencil(0)

    def _blocks(self, nx: int) -> list[slice]:
        """This rank's indices along y, in blocks of some columns along x."""
        count, size = len(self.own_y), nx * (self.shape[2] // 2 + 1) * np.dtype(np.complex128).itemsize
        step = max(self.block_bytes // size, 1)
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def sum(self, value: float) -> float:
        """A number summed over all ranks, the same on each."""
        return value if self.alone else self.comm.allreduce(value)

    @property
    def miller(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Miller indices along the three axes of this rank's coefficients."""
        nx, ny, nz = self.shape
        mx, my = (np.rint(np.fft.fftfreq(n, 1 / n)) for n in (nx, ny))
        return mx, my[self.own_y.start : self.own_y.stop], np.arange(nz // 2 + 1.0)

    @property
    def reciprocal(self) -> np.ndarray:
        """Reciprocal vectors, rows, 1/Å."""
        return 2 * np.pi * np.linalg.inv(self.cell).T

    def plane_of_G(self, i: int) -> np.ndarray:
        """Cartesian G of plane i of this rank's coefficients, shape (3, own y, nz//2 + 1), 1/Å."""
        reciprocal = self.reciprocal
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

    def inside_columns(self, part: slice) -> np.ndarray:
        """The same mask of some columns along x of all planes, shape (nx, len(part), nz//2 + 1)."""
        mx, my, mz = self.miller
        squared = np.zeros((len(mx), len(my[part]), len(mz)))
        for bx, by, bz in self.reciprocal.T:
            component = np.add.outer(mx * bx, np.add.outer(my[part] * by, mz * bz))
            squared += np.square(component, out=component)
        inner = [2 * np.abs(m) < n for m, n in zip((mx, my[part], mz), self.shape, strict=True)]
        return (squared <= self.largest_G**2) & np.logical_and.outer(inner[0], np.logical_and.outer(*inner[1:]))

    def coefficients(self, field: Array) -> Array:
        """Coefficients of a real field of shape (nx, ny, nz), cut at the sphere; O(N log N).

        field: anything with a shape that gives planes by field[i], an open dataset too; each rank reads its own planes,
        once and in order. It may be on a coarser or finer grid of this cell: waves that this grid lacks are cut, and
        those that the field's own grid lacks are zero.
        """
        if len(field.shape) != 3 or min(field.shape) < 1:
            raise InputError(f"field: expected a grid of three dimensions, got the shape {tuple(field.shape)}.")
        if self.comm is not None and self.comm.size > field.shape[0]:
            raise InputError(f"field: expected a plane for each of {self.comm.size} MPI ranks, got {field.shape[0]}.")
        return self.coefficients_of_planes((field[i] for i in self.own_planes(field.shape[0])), field.shape[0])

    def coefficients_of_planes(self, planes: Iterable[np.ndarray], count: int | None = None) -> Array:
        """The same for a field of which each rank gives its own planes, shape (ny, nz); count: number of all planes."""
        nx, ny, nz = self.shape
        count = nx if count is None else count
        half = nz // 2 + 1
        work = self.zeros(len(self.own_planes(count)), ny, half, dtype=self.complex)
        for i, plane in enumerate(planes):
            rows = scipy.fft.rfft(np.asarray(plane, np.float64), norm="forward")
            columns = scipy.fft.fft(_resize_half(rows, plane.shape[1], nz), axis=0, norm="forward")
            work[i] = _resize(columns, ny, axis=0)
        work = self._exchange(work, count, forward=True)
        result = work if count == nx else self.zeros(nx, len(self.own_y), half, dtype=self.complex)
        for part in self._blocks(max(nx, count)):
            columns = _resize(scipy.fft.fft(work[:, part], axis=0, norm="forward"), nx, axis=0)
            columns *= self.inside_columns(part)
            result[:, part] = columns
        return result

    def planes(self, coefficients: Array, shape: tuple[int, int, int] | None = None) -> Iterator[np.ndarray]:
        """This rank's planes of the real field of coefficients.

        shape: of the grid of that field (None: this one). The planes, shape (ny, nz), are float64, in the order of
        `own_planes`.
        """
        count, ny, nz = self.shape if shape is None else shape
        columns = self._along_x(coefficients, count)
        for i in range(len(columns)):
            yield self._across(columns[i].astype(np.complex128), ny, nz)

    def planes_with_slopes(self, coefficients: Array) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same planes on this grid, each with the gradient of the field there, shape (3, ny, nz), 1/Å.

        Only the field and i m_x n(G) are transformed along x: the other derivatives are taken plane by plane.
        """
        nx, ny, nz = self.shape
        my, mz = np.rint(np.fft.fftfreq(ny, 1 / ny))[:, None], np.arange(nz // 2 + 1.0)
        columns, slopes = (self._along_x(coefficients, nx, slope=slope) for slope in (False, True))
        for i in range(len(columns)):
            plane, slope = (array[i].astype(np.complex128) for array in (columns, slopes))
            gradient = np.empty((3, ny, nz))
            for axis, (bx, by, bz) in enumerate(self.reciprocal.T):
                gradient[axis] = self._across(plane * (1j * (my * by + mz * bz)) + slope * bx, ny, nz)
            yield self._across(plane, ny, nz), gradient

    def _along_x(self, coefficients: Array, count: int, *, slope: bool = False) -> Array:
        """Coefficients, or i m_x times them, transformed along x to `count` planes, of which each rank gets its own."""
        work = self.zeros(count, len(self.own_y), coefficients.shape[2], dtype=self.complex)
        factor = (1j * self.miller[0]).astype(self.complex)[:, None, None] if slope else None
        for part in self._blocks(max(count, self.shape[0])):
            columns = coefficients[:, part] if factor is None else coefficients[:, part] * factor
            work[:, part] = scipy.fft.ifft(_resize(columns, count, axis=0), axis=0, norm="forward")
        return self._exchange(work, count, forward=False)

    def _across(self, plane: np.ndarray, ny: int, nz: int) -> np.ndarray:
        """The real plane, shape (ny, nz), of coefficients along y and z."""
        columns = scipy.fft.ifft(_resize(plane, ny, axis=0), axis=0, norm="forward")
        return scipy.fft.irfft(_resize_half(columns, self.shape[2], nz), n=nz, norm="forward", overwrite_x=True)

    def field(self, coefficients: Array) -> np.ndarray:
        """This rank's planes of the real field of coefficients, shape (own x, ny, nz), float64."""
        return np.stack(list(self.planes(coefficients)))

    def restrict(self, coefficients: Array, smaller: "FourierGrid") -> np.ndarray:
        """The coefficients of the waves of a smaller grid of this cell, which every rank gets whole."""
        result = np.zeros((*smaller.shape[:2], smaller.shape[2] // 2 + 1), np.complex128)
        depth, near = result.shape[2], [i for i, m in enumerate(self.miller[1]) if 2 * abs(m) < smaller.shape[1]]
        columns = self.miller[1][near].astype(int)
        for m in smaller.miller[0].astype(int):
            if 2 * abs(m) < smaller.shape[0]:
                result[m, columns] = coefficients[int(m) % self.shape[0]][near, :depth]
        for i in range(smaller.shape[0]):
            result[i] *= smaller.inside(i, np.square(smaller.plane_of_G(i)).sum(axis=0))
        return result if self.alone else self.comm.allreduce(result)

    def _exchange(self, array: Array, count: int, forward: bool) -> Array:
        """Exchange planes of x for whole columns along x, or, backward, the reverse; `count` planes in all.

        On disk some indices along z at a time.
        """
        if self.alone:
            return array
        depth = array.shape[2]
        step = depth
        if self.scratch is not None:
            step = max(self.block_bytes * depth // max(array[0].nbytes * len(array), 1), 1)
        order = slice(None, None, 1 if forward else -1)
        result = self.zeros(*self._pencils(count, depth)[order][1].subshape, dtype=array.dtype)
        for start in range(0, depth, step):
            z = slice(start, min(start + step, depth))
            pencils = self._pencils(count, z.stop - z.start)
            given, taken = (np.empty(pencil.subshape, array.dtype) for pencil in pencils[order])
            for i in range(len(given)):
                given[i] = array[i][:, z]
            transfer = pencils[0].transfer(pencils[1], array.dtype)
            (transfer.forward if forward else transfer.backward)(given, taken)
            transfer.destroy()
            for i in range(len(taken)):
                plane = result[i]
                plane[:, z] = taken[i]
                result[i] = plane
        return result

    def sum_over_G(self, coefficients: Array, kernel: Callable[[np.ndarray], np.ndarray]) -> float:
        """Σ_G |n(G)|² k(|G|²) over the whole space, without G = 0; kernel: function of |G|² in 1/Å²."""
        # all with m_z > 0 stand for -G too
        double = np.where(self.miller[2] > 0, 2.0, 1.0)
        parts = []
        for i in range(len(coefficients)):
            plane = coefficients[i]
            if not plane.any():
                continue  # outside the sphere
            squared = np.square(self.plane_of_G(i)).sum(axis=0)
            values = kernel(np.where(squared > 0, squared, 1.0)) * (squared > 0)
            parts.append(float(np.sum(np.abs(plane.astype(np.complex128)) ** 2 * values * double)))
        return self.sum(fsum(parts))


def _range(pencil, axis: int) -> range:
    """This rank's indices along a distributed axis."""
    return range(pencil.substart[axis], pencil.substart[axis] + pencil.subshape[axis])


def _resize(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The waves of values that `count` Miller indices along an axis can have, all others zero."""
    if values.shape[axis] == count:
        return values
    shape = list(values.shape)
    shape[axis] = count
    result = np.zeros(shape, values.dtype)
    for part in _common(values.shape[axis], count):
        index = (slice(None),) * axis + (part,)
        result[index] = values[index]
    return result


def _resize_half(values: np.ndarray, before: int, after: int) -> np.ndarray:
    """The same along the last axis of a half space, of fields with so many points before and after."""
    if before == after:
        return values
    result = np.zeros((*values.shape[:-1], after // 2 + 1), values.dtype)
    common = (min(before, after) - 1) // 2 + 1
    result[..., :common] = values[..., :common]
    return result


def _common(first: int, second: int) -> tuple[slice, ...]:
    """Indices of the waves whose sign is known with both numbers of points: not the Nyquist index."""
    largest = (min(first, second) - 1) // 2
    return (slice(0, largest + 1), *((slice(-largest, None),) if largest else ()))

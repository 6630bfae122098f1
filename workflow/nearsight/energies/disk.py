"""Three-dimensional arrays on disk, for fields that do not fit into memory."""

import os
import tempfile
import weakref
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from nearsight.files import explain_storage
from nearsight.memory import BLOCK_BYTES


@dataclass(frozen=True)
class Scratch:
    """Where fields that do not fit in memory are kept: a folder, and how many bytes of columns are read at a time."""

    folder: Path
    block_bytes: int = BLOCK_BYTES


class DiskArray:
    """An array of zeros, shape (nx, ny, nz), in an unnamed file that vanishes with the process, however that ends.

    It supports array[i], a plane, and array[:, a:b], some columns of all planes; both are copies in memory, and can be
    assigned. It is read and written rather than mapped, so that none of it counts as the process's memory. Raises
    StorageError where the disk is full or refuses.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype, folder: Path) -> None:
        self.shape, self.dtype, self._folder = tuple(shape), np.dtype(dtype), folder
        with explain_storage(folder / "fields"):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as the array
            weakref.finalize(self, self._file.close)
            # a full disk fails here, and not after hours
            os.posix_fallocate(self._file.fileno(), 0, max(prod(self.shape) * self.dtype.itemsize, 1))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | tuple[slice, slice]) -> np.ndarray:
        planes, columns = self._parts(index)
        result = np.empty((len(planes), len(columns), self.shape[2]), self.dtype)
        for row, i in zip(result, planes, strict=True):
            view = memoryview(row).cast("B")
            place, done = self._place(i, columns.start), 0
            while done < len(view):
                done += os.preadv(self._file.fileno(), [view[done:]], place + done)
        return result if isinstance(index, tuple) else result[0]

    def __setitem__(self, index: int | tuple[slice, slice], values: np.ndarray) -> None:
        planes, columns = self._parts(index)
        shape = (len(planes), len(columns), self.shape[2])
        values = np.ascontiguousarray(np.broadcast_to(values, shape), self.dtype)
        with explain_storage(self._folder / "fields"):
            for row, i in zip(values, planes, strict=True):
                view = memoryview(row).cast("B")
                place, done = self._place(i, columns.start), 0
                while done < len(view):
                    done += os.pwrite(self._file.fileno(), view[done:], place + done)

    def _parts(self, index: int | tuple[slice, slice]) -> tuple[range, range]:
        """Planes and columns of an index."""
        if isinstance(index, tuple):
            planes, columns = index
            return range(*planes.indices(self.shape[0])), range(*columns.indices(self.shape[1]))
        if not -self.shape[0] <= index < self.shape[0]:
            raise IndexError(f"plane {index} of {self.shape[0]}")
        return range(index % self.shape[0], index % self.shape[0] + 1), range(self.shape[1])

    def _place(self, i: int, column: int) -> int:
        """Byte where a column of plane i begins."""
        return (i * self.shape[1] + column) * self.shape[2] * self.dtype.itemsize

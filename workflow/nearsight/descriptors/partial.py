"""A field on the grid that many processes fill in, block by block, and that a restarted job completes.

The unfinished file and the list of finished blocks are in a hidden folder beside the target; the target appears
when all blocks are there. Every rank writes its blocks directly to their places in the file: nothing is gathered.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import StorageError
from nearsight.files import explain_storage
from nearsight.grids.regions import Region
from nearsight.resume import open_folder

#: The unfinished file.
FIELD = "field.h5"


@dataclass(frozen=True)
class PartialField:
    """Where the field is: the file in `folder`, its first byte at `place`; shape: (nx, ny, nz, components)."""

    folder: Path
    place: int
    shape: tuple[int, int, int, int]
    dtype: str

    @property
    def path(self) -> Path:
        """The unfinished file."""
        return self.folder / FIELD

    def write(self, block: Region, values: np.ndarray) -> None:
        """Write the numbers of a block, shape (*lengths of block, components), to the disk.

        Raises StorageError where the machine refuses to write.
        """
        with explain_storage(self.path):
            self._write(block, values)

    def _write(self, block: Region, values: np.ndarray) -> None:
        (x0, x1), (y0, y1), (z0, z1) = block
        values = np.ascontiguousarray(values, dtype=self.dtype)
        _, ny, nz, components = self.shape
        size = components * values.dtype.itemsize
        whole_rows = (z0, z1) == (0, nz)
        try:
            handle = os.open(self.path, os.O_WRONLY)
        except FileNotFoundError:
            raise StorageError(
                f"{self.path}: expected the unfinished file, found none: another job finished it. Is one of an earlier "
                "run still in the queue (squeue --me)? Run again when it has ended."
            ) from None
        try:
            if whole_rows and (y0, y1) == (0, ny):
                _write_all(handle, values, self.place + x0 * ny * nz * size)
            else:
                for x in range(x0, x1):
                    if whole_rows:
                        _write_all(handle, values[x - x0], self.place + (x * ny + y0) * nz * size)
                        continue
                    for y in range(y0, y1):
                        _write_all(handle, values[x - x0, y - y0], self.place + ((x * ny + y) * nz + z0) * size)
            os.fsync(handle)
        finally:
            os.close(handle)

    def mark(self, block: Region, rank: int) -> None:
        """Note that a block is on the disk."""
        path = self.folder / f"done-{rank}"
        with explain_storage(path), open(path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(block) + "\n")

    def finished(self) -> set[Region]:
        """The blocks that are on the disk, whichever rank of whichever run wrote them."""
        blocks = set()
        for path in self.folder.glob("done-*"):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    blocks.add(tuple(tuple(pair) for pair in json.loads(line)))
                except json.JSONDecodeError:
                    continue  # the run was killed while it wrote this line
        return blocks


def open_partial(
    target: Path, shape: tuple[int, int, int, int], dtype: str, inputs: dict, reserve: Callable[[Path], int]
) -> PartialField:
    """The unfinished field of `target`, or a new one where there is none or it was made from other inputs.

    inputs: all that the numbers depend on, as JSON; reserve: writes the file without its numbers and returns the place
    of the first one. For one process alone.
    """
    folder, noted = open_folder(
        target, "partial", inputs, begin=lambda folder: {"place": reserve(folder / FIELD)}, needs=[FIELD]
    )
    return PartialField(folder, noted["place"], shape, dtype)


def finish(partial: PartialField, target: Path) -> None:
    """Let the target appear and remove the folder. For one process, when all blocks are written."""
    os.replace(partial.path, target)
    shutil.rmtree(partial.folder)


def _write_all(handle: int, values: np.ndarray, place: int) -> None:
    data = memoryview(values).cast("B")
    while len(data):
        written = os.pwrite(handle, data, place)  # may write less than asked for, 2 GiB at most
        data, place = data[written:], place + written

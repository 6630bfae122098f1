"""Where the numbers are in the HDF5 files of a Quantum ESPRESSO that was built with HDF5.

Only a separate process opens such a file with the HDF5 library (`nearsight.hdf5` says why) and reports where in the
file the numbers are; they are then read as from any other file.
"""

import json
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path

import h5py
import numpy as np

from nearsight.errors import InputError
from nearsight.files import open_regular
from nearsight.hdf5 import look, look_apart

#: Bytes of the largest file that is read.
LARGEST_FILE = 1 << 42

#: Bytes of the largest attribute: three numbers, or a sentence about the data.
LARGEST_ATTRIBUTE = 1024


@dataclass(frozen=True)
class Array:
    """An array of a file: place of its first number in bytes, shape, type."""

    first: int
    shape: tuple[int, ...]
    dtype: str

    def read(self, path: str | Path, dtype: str) -> np.ndarray:
        """All its numbers, which must be of this type (else ValueError), shape as in the file."""
        if self.dtype != dtype:
            raise ValueError(f"numbers of type {self.dtype}")
        with open_regular(path, "Quantum ESPRESSO's HDF5 file", "Run run_scf again.", LARGEST_FILE) as handle:
            handle.seek(self.first)
            content = handle.read(prod(self.shape) * np.dtype(dtype).itemsize)
        return np.frombuffer(content, dtype).reshape(self.shape)


def locate_numbers(path: str | Path) -> tuple[dict[str, object], dict[str, Array]]:
    """Attributes of a file and of its arrays (numbers, lists of numbers, texts), and its arrays, by name.

    Raises InputError where the file is damaged, or where an array does not lie in it in one piece.
    """
    found = json.loads(look_apart(__name__, path))
    arrays = {name: Array(first, tuple(shape), dtype) for name, (first, shape, dtype) in found["arrays"].items()}
    size = Path(path).stat().st_size
    for name, array in arrays.items():
        if array.first + prod(array.shape) * np.dtype(array.dtype).itemsize > size:
            raise InputError(f"{path}: {name}: expected an array inside the file, got one beyond its end.")
    return found["attributes"], arrays


def says_gamma_only(attributes: dict[str, object]) -> bool:
    """Whether a file is of a run with Γ alone, which is a Fortran word."""
    return str(attributes["gamma_only"]).strip().upper() == ".TRUE."


def _inspect(path: str) -> str:
    attributes, arrays = {}, {}
    with h5py.File(path, "r") as file:
        holders = [file]
        for name in file:
            array = file[name]
            first = array.id.get_offset() if isinstance(array, h5py.Dataset) else None
            kind = next((kind for kind in ("<i4", "<f8") if array.dtype == np.dtype(kind)), None)
            if first is None or kind is None or array.external or not array.shape:
                raise InputError(f"{path}: {name}: expected plain numbers in one piece, got others.")
            arrays[name] = (first, array.shape, kind)
            holders.append(array)
        for holder in holders:
            for name in holder.attrs:
                if holder.attrs.get_id(name).get_storage_size() > LARGEST_ATTRIBUTE:
                    raise InputError(f"{path}: {name}: expected at most {LARGEST_ATTRIBUTE} bytes, got more.")
                value = np.asarray(holder.attrs[name]).tolist()
                attributes[name] = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return json.dumps({"attributes": attributes, "arrays": arrays})


if __name__ == "__main__":
    look(sys.argv[1], _inspect)

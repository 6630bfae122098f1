"""Tensors of a file that torch.save has written, in its old format and in its new one, without torch.

The old one (which MALA's networks and pickled scalers have) is a row of pickles followed by the numbers: a magic
number, the version, facts of the machine, the object, the keys of its storages; then, for each key, the number of
elements and their bytes. The new one is a zip archive: data.pkl with the object, data/KEY with the bytes of a storage.
"""

import io
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.errors import InputError
from nearsight.imports.mala.archive import open_archive, read_member
from nearsight.imports.mala.pickles import KNOWN, STORAGES, Record, Storage, StridedTensor, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001

#: The first bytes of a zip archive.
ZIP = b"PK\x03\x04"

#: Bytes of the largest file of weights that is read.
LARGEST_FILE = 4 << 30


def read_state(content: bytes, path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors of the state of a network by name, and its attributes (torch's `_metadata`, which lists all modules).

    Raises InputError where the file is damaged, or holds anything but a dictionary of tensors.
    """
    found, fetch = _read_zip(content, path) if content.startswith(ZIP) else _read_old(content, path, Record)
    tensors = {}
    for name, value in found.items.items():
        if not isinstance(name, str) or not isinstance(value, StridedTensor):
            raise InputError(f"{path}: {str(name)[:80]}: expected a tensor, got a {type(value).__name__}.")
        tensors[name] = array_of(value, fetch(value.storage), f"{path}: {name[:80]}")
    return tensors, found.attributes


def read_storage(content: bytes, path: str) -> Storage:
    """The storage that is alone in a file of the old format: how a tensor is kept in a pickle of other things."""
    found, fetch = _read_old(content, path, Storage)
    return Storage(found.kind, found.key, found.count, fetch(found))


def array_of(tensor: StridedTensor, content: bytes, where: str) -> np.ndarray:
    """The numbers of a tensor. Raises InputError where they are not all in its storage, or some is not finite."""
    values = np.frombuffer(content, STORAGES[tensor.storage.kind])
    count = prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if count > values.size or (count and last >= values.size):
        raise InputError(f"{where}: expected {count} numbers of a storage of {values.size}, got some beyond its end.")
    if count == 0:
        return np.empty(tensor.shape, values.dtype)
    steps = [step * values.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps).copy()


def _expect(found: Any, kind: type, path: str) -> Any:
    """The object of a file. Raises InputError where it is of another kind."""
    if not isinstance(found, kind) or (isinstance(found, Record) and not found.items):
        what = "the state of a network (a dictionary of tensors)" if kind is Record else "the numbers of a tensor"
        raise InputError(
            f"{path}: expected {what}, got a {type(found).__name__.lower()}. Save it with "
            "torch.save(network.state_dict())."
        )
    return found


def _read_old(content: bytes, path: str, kind: type) -> tuple[Any, Callable[[Storage], bytes]]:
    """The object of a file of the old format, and a function that gives the bytes of a storage."""
    handle = io.BytesIO(content)
    # a file of another kind is told from a damaged one by its first pickle
    if content[:1] != b"\x80" or read_pickle(handle, path, {}) != MAGIC or read_pickle(handle, path, {}) != VERSION:
        raise InputError(f"{path}: expected a file of torch.save, got another. Save the model again with MALA.")
    facts = read_pickle(handle, path, {})
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise InputError(f"{path}: expected numbers of a little-endian machine, got others. Save it on such a one.")
    found = _expect(read_pickle(handle, path, KNOWN), kind, path)
    keys = read_pickle(handle, path, {})
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise InputError(f"{path}: expected the keys of the storages, got a {type(keys).__name__}.")
    places, place = {}, handle.tell()
    # the type of a storage is given by the object that has it
    kinds = {storage.key: storage for storage in _storages_of(found)}
    for key in keys:
        if key not in kinds:
            raise InputError(f"{path}: expected storages of tensors alone, got another one, {key[:40]!r}.")
        size = np.dtype(STORAGES[kinds[key].kind]).itemsize * kinds[key].count
        count = int.from_bytes(content[place : place + 8], "little")
        if count != kinds[key].count or place + 8 + size > len(content):
            raise InputError(
                f"{path}: expected {kinds[key].count} numbers in the storage {key[:40]!r}, got {count} in what is left "
                f"of the file, {max(len(content) - place - 8, 0)} bytes. Get a whole copy."
            )
        places[key] = slice(place + 8, place + 8 + size)
        place += 8 + size

    def fetch(storage: Storage) -> bytes:
        if storage.key not in places:
            raise InputError(f"{path}: expected the storage {storage.key[:40]!r}, found none. Get a whole copy.")
        return content[places[storage.key]]

    return found, fetch


def _storages_of(found: Any) -> list[Storage]:
    if isinstance(found, Storage):
        return [found]
    values = found.items.values() if isinstance(found, Record) else ()
    return [value.storage for value in values if isinstance(value, StridedTensor)]


def _read_zip(content: bytes, path: str) -> tuple[Any, Callable[[Storage], bytes]]:
    """The same of the new format."""
    archive = open_archive(content, path)
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise InputError(f"{path}: expected a file of torch.save with one data.pkl, got {len(names)} of them.")
    folder = Path(names[0]).parent.as_posix()
    order = f"{folder}/byteorder"
    if order in archive.namelist() and read_member(archive, order, path, 64) != b"little":
        raise InputError(f"{path}: expected numbers of a little-endian machine, got others. Save it on such a one.")
    pickled = io.BytesIO(read_member(archive, names[0], path, LARGEST_FILE))
    found = _expect(read_pickle(pickled, path, KNOWN), Record, path)

    def fetch(storage: Storage) -> bytes:
        size = np.dtype(STORAGES[storage.kind]).itemsize * storage.count
        numbers = read_member(archive, f"{folder}/data/{storage.key}", path, size)
        if len(numbers) != size:
            raise InputError(f"{path}: expected {size} bytes in the storage {storage.key[:40]!r}, got {len(numbers)}.")
        return numbers

    return found, fetch

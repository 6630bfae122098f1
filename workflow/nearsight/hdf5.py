"""What an HDF5 file declares, checked before its numbers are read, in a separate process that may crash.

The HDF5 library trusts a structure whose checksums are right. A stranger can make them right, and such a file can crash
or hang the process that opens it (fuzzing found some after a few thousand tries). So `require_harmless` runs all checks
of this module in a separate process with limits on time and memory.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import numpy as np

from nearsight.errors import InputError, raise_if_stopped
from nearsight.fields import FIELDS
from nearsight.files import bounded_memory, open_regular

#: The first bytes of a file in HDF5's format, and the number after them from 1.8 on.
SIGNATURE = b"\x89HDF\r\n\x1a\n"
OLDEST_SUPERBLOCK = 2

#: Bytes of the longest attribute (settings, provenance) and of the largest file.
LARGEST_TEXT = 64 << 20
LARGEST_FILE = 1 << 50

#: What a look may take: seconds of processor time, bytes of memory beyond Python's own. A million chunks take a second.
LOOK_SECONDS = 10
LOOK_BYTES = 1 << 30

#: Exit status of a look whose message is on standard error.
REFUSED = 3


def open_file(path: str | Path) -> h5py.File:
    """Open a dataset's file. Raises InputError where it is missing, truncated or of another kind or format."""
    with open_regular(path, "a dataset (HDF5)", "Run the rule that makes it.", LARGEST_FILE) as handle:
        start = handle.read(len(SIGNATURE) + 1)
    # the library may read the format from before 1.8, which has no checksums, for ever (fuzzing found it)
    if not start.startswith(SIGNATURE) or start[-1] < OLDEST_SUPERBLOCK:
        raise InputError(
            f"{path}: expected a whole HDF5 dataset in the format of 1.10, got another file or a format from before "
            "1.8. Get a whole copy, or move it away and run the rule that makes it."
        )
    with named_damage(path):
        return h5py.File(path, "r")


def inspect_file(file: h5py.File, path: str | Path) -> tuple[dict[str, str], dict[str, h5py.Dataset]]:
    """Attributes and variables of the registry in a file, checked as far as possible without reading their numbers.

    Raises InputError where they are not those of a dataset of Nearsight (`nearsight.datasets`), whole and plain.
    """
    with named_damage(path):
        attributes = {name: _read_object(file, name, path) for name in ("nearsight_settings", "nearsight_provenance")}
        variables: dict[str, h5py.Dataset] = {}
        lengths: dict[str, int] = {}
        for name in file:
            if name not in FIELDS:
                continue  # the scales of other netCDF readers
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"{path}: {name}: expected numbers inside the file, got a link. Get the file again.")
            variables[name] = file[name]
            _check_variable(variables[name], name, path)
            for dim, length in zip(FIELDS[name].dims, variables[name].shape, strict=True):
                if lengths.setdefault(dim, length) != length:
                    raise InputError(
                        f"{path}: {name}: expected {lengths[dim]} along {dim}, as in other variables, got {length}."
                    )
    return attributes, variables


def require_harmless(path: str | Path) -> None:
    """Raise InputError unless a process of its own can open and inspect the file."""
    look_apart(__name__, path)


def look_apart(module: str, path: str | Path) -> str:
    """The output of a module that inspects a file in a process of its own. Raises InputError where that fails."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", module, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    check_end(path, done.returncode, done.stderr.strip())
    return done.stdout


def check_end(path: str | Path, status: int, messages: str) -> None:
    """Raise InputError unless a process that looked at the file ended well."""
    if status == 0:
        return
    if status == REFUSED:
        raise InputError(messages)
    raise_if_stopped(status)
    end = f"the end of its reader by {signal.Signals(-status).name}" if status < 0 else f"{messages[-500:]} ({status})"
    raise InputError(
        f"{path}: expected a whole HDF5 dataset, got {end}. The file is damaged or was made to do harm. "
        "Get a whole copy, or move it away and run the rule that makes it."
    )


def _inspect_dataset(path: str) -> str:
    with open_file(path) as file:
        inspect_file(file, path)
    return ""


def look(path: str, inspect: Callable[[str], str] = _inspect_dataset) -> None:
    """What that process does: bound its time and memory, inspect the file, print what was found, end."""
    for kind, most in ((resource.RLIMIT_CPU, LOOK_SECONDS), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
    try:
        with bounded_memory(LOOK_BYTES), named_damage(path):
            found = inspect(path)
    except InputError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(REFUSED)
    sys.stdout.write(found)
    sys.stdout.flush()
    # nothing more is done with what a stranger's file may have left in the library's memory
    os._exit(0)


@contextmanager
def named_damage(path: str | Path) -> Iterator[None]:
    """Raise what the HDF5 library finds in a file, when it opens, reads or closes it, as InputError.

    All of it: h5py raises another type for every kind of damage (OSError, RuntimeError, KeyError, ValueError, ...).
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise damaged(path, error) from error


def damaged(path: str | Path, error: Exception) -> InputError:
    """The error of a file that the HDF5 library finds to be damaged."""
    return InputError(
        f"{path}: expected a whole HDF5 dataset, got {type(error).__name__}: {error}. "
        "Get a whole copy, or move it away and run the rule that makes it."
    )


def _check_variable(variable: object, name: str, path: str | Path) -> None:
    """Raise InputError unless a variable has the registry's dimensions and the file holds all its numbers, as they are.

    A few bytes can declare 10¹² points, name another file as the place of the numbers, or unpack to any size.
    """
    field = FIELDS[name]
    if not isinstance(variable, h5py.Dataset) or variable.shape is None or len(variable.shape) != len(field.dims):
        raise InputError(f"{path}: {name}: expected an array of the dimensions {field.dims}, got {variable}.")
    # exactly these types: the library converts each number of any other
    if not any(variable.id.get_type().equal(h5py.h5t.py_create(np.dtype(kind))) for kind in ("f4", "f8", "i4")):
        raise InputError(f"{path}: {name}: expected numbers of type {field.dtype}, got {variable.dtype}.")
    layout = variable.id.get_create_plist()
    filters = {layout.get_filter(index)[0] for index in range(layout.get_nfilters())}
    if variable.is_virtual or variable.external or filters - {h5py.h5z.FILTER_FLETCHER32}:
        raise InputError(f"{path}: {name}: expected plain numbers inside the file, got packed or external ones.")
    needed, stored = prod(variable.shape) * variable.dtype.itemsize, variable.id.get_storage_size()
    size = Path(path).stat().st_size
    chunk_bytes = prod(variable.chunks or (0,)) * variable.dtype.itemsize
    if not needed <= stored <= size or chunk_bytes > size:
        raise InputError(
            f"{path}: {name}: expected the {needed} bytes of an array of shape {variable.shape}, got {stored} in a "
            f"file of {size}. Get a whole copy, or move it away and run the rule that makes it."
        )
    if variable.chunks:
        _check_chunks(variable, name, path, chunk_bytes, size)


def _check_chunks(variable: h5py.Dataset, name: str, path: str | Path, chunk_bytes: int, size: int) -> None:
    """Raise InputError unless every chunk has its numbers, with their checksum, inside the file."""
    bad: list[object] = []

    def look_at(chunk: h5py.h5d.StoreInfo) -> None:
        summed = variable.fletcher32 and chunk.filter_mask == 0
        if chunk.size != chunk_bytes + (4 if summed else 0) or chunk.byte_offset + chunk.size > size:
            bad.append(chunk)

    variable.id.chunk_iter(look_at)
    if bad:
        raise InputError(
            f"{path}: {name}: expected chunks of {chunk_bytes} bytes inside the file, got {len(bad)} others. "
            "Get a whole copy, or move it away and run the rule that makes it."
        )


def _read_object(file: h5py.File, name: str, path: str | Path) -> str:
    """The text of an attribute, which must be a JSON object."""
    if name not in file.attrs:
        raise InputError(f"{path}: expected a dataset of Nearsight, got an HDF5 file without its attributes.")
    attribute = file.attrs.get_id(name)
    kind = h5py.check_string_dtype(attribute.dtype)
    if attribute.shape != () or kind is None or kind.length is None or attribute.get_storage_size() > LARGEST_TEXT:
        raise InputError(f"{path}: {name}: expected a text of fixed length, got {attribute.dtype} {attribute.shape}.")
    value = file.attrs[name]
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    if not isinstance(json.loads(text), dict):
        raise InputError(
            f"{path}: {name}: expected a JSON object, got {text[:80]}. "
            "Get a whole copy, or move it away and run the rule that makes it."
        )
    return text


if __name__ == "__main__":
    look(sys.argv[1])

"""MALA's openPMD files (HDF5): one mesh of an iteration, a component for each feature, without openPMD's library.

Their layout is openPMD 1.1's: /data/ITERATION/meshes/NAME/FEATURE. Only a process of its own opens such a file with
the HDF5 library (why: `nearsight.hdf5`), and says where in the file the numbers are; they are then read as from any
other file.
"""

import json
import sys
from math import prod
from pathlib import Path

import h5py
import numpy as np

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import open_regular
from nearsight.hdf5 import look, look_apart

#: A mesh's name -> what its unit is in SI: of 1/(eV Å³), 1/Å³, and none.
UNITS_SI = {"LDOS": 1e30 / units.ELECTRONVOLT_J, "Density": 1e30, "Bispectrum": 1.0}

#: Largest difference of a unit, relative, that other values of the constants explain.
UNIT_TOLERANCE = 1e-6

#: Bytes of the largest file that is read.
LARGEST_FILE = 1 << 50

#: Features and pieces of one feature, of the largest file.
MOST_FEATURES = 65536
MOST_PIECES = 4_000_000


def read_mesh(path: Path, name: str) -> np.ndarray:
    """The first iteration's mesh of this name, shape (nx, ny, nz, features), float32 or float64, in MALA's units.

    Raises InputError where there is none, where it is packed, or where it is in other units.
    """
    what, advice = "an openPMD file (HDF5)", "Name one that MALA has written."
    with open_regular(path, what, advice, LARGEST_FILE):
        found = json.loads(look_apart(__name__, path))
    if name not in found:
        raise InputError(
            f"{path}: expected the mesh {name} of MALA's openPMD files, found {', '.join(found)[:80] or 'none'}."
        )
    mesh = found[name]
    if not abs(mesh["unit_SI"] / UNITS_SI[name] - 1) < UNIT_TOLERANCE:
        raise InputError(
            f"{path}: {name}: unitSI: expected MALA's unit, {UNITS_SI[name]:.9g}, got {mesh['unit_SI']:.9g}. Write it "
            "again with MALA."
        )
    shape, kind = tuple(mesh["shape"]), np.dtype(mesh["dtype"])
    components = mesh["components"]
    values = np.empty((*shape, len(components)), kind)
    piece = tuple(mesh["piece"])
    size = prod(piece) * kind.itemsize
    with open_regular(path, what, advice, LARGEST_FILE) as handle:
        for feature, pieces in enumerate(components):
            for *corner, place in pieces:
                handle.seek(place)
                block = np.frombuffer(handle.read(size), kind)
                if block.size != prod(piece):
                    raise InputError(f"{path}: {name}/{feature}: expected its numbers, got the end of the file.")
                ends = [min(at + n, length) for at, n, length in zip(corner, piece, shape, strict=True)]
                inside = tuple(slice(at, end) for at, end in zip(corner, ends, strict=True))
                cut = tuple(slice(end - at) for at, end in zip(corner, ends, strict=True))
                values[(*inside, feature)] = block.reshape(piece)[cut]
    return values


def _inspect(path: str) -> str:
    """Units, shapes and places of all meshes of the first iteration, as JSON; what the process of its own finds."""
    with h5py.File(path, "r") as file:
        if int(_attribute(file, "is_mala_data", path)) != 1:
            raise InputError(f"{path}: expected data of MALA (is_mala_data = 1), got others. Write it with MALA.")
        iterations = _members(file, "data")
        first = min((name for name in iterations if name.isdigit()), key=int, default=None)
        if first is None:
            raise InputError(f"{path}: data: expected an iteration, found none.")
        meshes = _members(file, f"data/{first}/meshes")
        return json.dumps({name: _locate(file, f"data/{first}/meshes/{name}", path) for name in meshes if
                           name in UNITS_SI})  # fmt: skip


def _locate(file: h5py.File, name: str, path: str) -> dict:
    """Where the numbers of a mesh's components lie."""
    features = sorted(int(key) for key in _members(file, name) if key.isdigit())
    if not 1 <= len(features) <= MOST_FEATURES or features != list(range(len(features))):
        raise InputError(f"{path}: {name}: expected components 0, 1, 2, ..., got {len(features)} others.")
    size, first, pieces, components = Path(path).stat().st_size, None, 0, []
    for feature in features:
        where = f"{name}/{feature}"
        array = file[where]
        kind = next((k for k in ("<f4", "<f8") if isinstance(array, h5py.Dataset) and array.dtype == np.dtype(k)), None)
        if kind is None or len(array.shape) != 3 or 0 in array.shape or array.external or array.is_virtual:
            raise InputError(f"{path}: {where}: expected plain numbers on a grid inside the file, got others.")
        if array.id.get_create_plist().get_nfilters():
            raise InputError(
                f"{path}: {where}: expected numbers that are not packed, got packed ones. Repack the file without "
                "(h5repack -f NONE), or save .npy."
            )
        facts = {
            "shape": array.shape,
            "dtype": kind,
            "piece": array.chunks or array.shape,
            "unit_SI": float(_attribute(array, "unitSI", path)),
        }
        first = first or facts
        if facts != first:
            raise InputError(f"{path}: {where}: expected shape, type and unit of component 0, got others.")
        components.append(_pieces(array, prod(facts["piece"]) * array.dtype.itemsize, size, f"{path}: {where}"))
        pieces += len(components[-1])
        if pieces > MOST_PIECES:
            raise InputError(f"{path}: {name}: expected at most {MOST_PIECES} pieces, got more.")
    return {**first, "components": components}


def _pieces(array: h5py.Dataset, bytes_each: int, size: int, where: str) -> list[tuple[int, ...]]:
    """First point and place in the file of every piece of an array, all of which have to be there."""
    if array.chunks is None:
        place = array.id.get_offset()
        found = [] if place is None else [(0, 0, 0, place)]
        expected = 1
    else:
        found = []
        array.id.chunk_iter(lambda chunk: found.append((*chunk.chunk_offset, chunk.byte_offset)))
        expected = prod(-(-n // piece) for n, piece in zip(array.shape, array.chunks, strict=True))
    inside = all(
        0 <= place <= size - bytes_each and all(0 <= at < n for at, n in zip(corner, array.shape, strict=True))
        for *corner, place in found
    )
    if len({tuple(corner) for *corner, _ in found}) != expected or len(found) != expected or not inside:
        raise InputError(f"{where}: expected {expected} pieces inside the file, got {len(found)}.")
    return [tuple(int(n) for n in piece) for piece in found]


def _members(file: h5py.File, name: str) -> list[str]:
    """Names of a group's members, none of which may be a link to elsewhere."""
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        return []
    return [key for key in group if isinstance(group.get(key, getlink=True), h5py.HardLink)]


def _attribute(holder: h5py.File | h5py.Dataset, name: str, path: str) -> float:
    """A number. Raises InputError where it is none."""
    if name not in holder.attrs or holder.attrs.get_id(name).shape not in ((), (1,)):
        raise InputError(f"{path}: {name}: expected the number of MALA's openPMD files, found none.")
    return float(np.asarray(holder.attrs[name]).reshape(-1)[0])


if __name__ == "__main__":
    look(sys.argv[1], _inspect)

"""HDF5 datasets: written completely or not at all, named by the registry, read lazily through xarray.

Files are written in HDF5's format 1.10, whose structure carries checksums, and so do numbers that are written at once
(Fletcher's sum of each chunk): damage is found on reading. What a file declares is checked before its numbers are read,
and no link is followed. Files that may come from anybody go through `open_foreign_dataset`, because a hostile file can
crash the HDF5 library and the process that opened it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from ase import Atoms
from xarray.backends import BackendArray
from xarray.core import indexing

from nearsight.errors import InputError
from nearsight.fields import FIELDS, GRID, Field
from nearsight.files import write_whole
from nearsight.hdf5 import damaged, inspect_file, open_file, require_harmless

#: Bytes of one chunk of a field on the grid: large enough for streaming, small enough for a laptop's cache.
CHUNK_BYTES = 1 << 20

#: HDF5's format: the oldest one with checksums of its structure and without a limit on the size of attributes.
FORMAT = "v110"


def variables_of_atoms(atoms: Atoms) -> dict[str, np.ndarray]:
    """The geometry of `atoms` under the registry's names."""
    return {
        "cell": np.asarray(atoms.cell),
        "positions": atoms.positions,
        "atomic_numbers": atoms.numbers.astype(np.int32),
    }


def atoms_of(dataset: xr.Dataset) -> Atoms:
    """The periodic structure stored in a dataset."""
    return Atoms(
        numbers=dataset["atomic_numbers"].values,
        positions=dataset["positions"].values,
        cell=dataset["cell"].values,
        pbc=True,
    )


def write_dataset(
    target: str | Path, variables: dict[str, np.ndarray | float], settings: dict, provenance: dict
) -> None:
    """Write variables of the registry to one HDF5 file, whole or not at all.

    variables: name in `fields.FIELDS` -> array of that field's dimensions. Equal dimensions must have equal
    lengths. Raises InputError on an unknown name, a wrong number of dimensions, or a value that is not finite.
    """
    with write_whole(target) as path, h5py.File(path, "w", libver=FORMAT) as file:
        _write_attributes(file, settings, provenance)
        lengths: dict[str, int] = {}
        for name, values in variables.items():
            field = _field(name)
            values = np.asarray(values, dtype=field.dtype)
            if values.ndim != len(field.dims):
                raise InputError(
                    f"{target}: {name}: expected dimensions {field.dims}, got an array of shape {values.shape}."
                )
            if not _all_finite(values):
                raise InputError(f"{target}: {name}: expected finite numbers in {field.unit}, got NaN or infinity.")
            for dim, length in zip(field.dims, values.shape, strict=True):
                if lengths.setdefault(dim, length) != length:
                    raise InputError(
                        f"{target}: {name}: expected {lengths[dim]} along {dim}, as in other variables, got {length}."
                    )
            _create_variable(file, name, values.shape, values)
        _attach_scales(file)


@contextmanager
def create_field_file(
    target: str | Path,
    fields: dict[str, tuple[int, ...]],
    variables: dict[str, np.ndarray | float],
    settings: dict,
    provenance: dict,
) -> Iterator[dict[str, h5py.Dataset]]:
    """Yield the empty fields of a new file, to be filled block by block; the file appears once it is complete.

    fields: name -> shape; variables: other, small variables of the same file, written at once.
    """
    with write_whole(target) as path, h5py.File(path, "w", libver=FORMAT) as file:
        _write_attributes(file, settings, provenance)
        _write_variables(file, variables)
        yield {name: _create_variable(file, name, shape, None) for name, shape in fields.items()}
        _attach_scales(file)


def reserve_field(
    path: str | Path,
    name: str,
    shape: tuple[int, ...],
    variables: dict[str, np.ndarray | float],
    settings: dict,
    provenance: dict,
    dtype: str | None = None,
) -> int:
    """Write a file whose field `name` is still empty; return the place of its first byte in the file.

    The field's numbers follow one another there in C order (no chunks), in the machine's byte order, so that any
    number of processes can fill in their parts without an HDF5 library built with MPI. dtype: instead of the
    registry's.
    """
    field = _field(name)
    with h5py.File(path, "w", libver=FORMAT) as file:
        _write_attributes(file, settings, provenance)
        _write_variables(file, variables)
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        kind = h5py.h5t.py_create(np.dtype(dtype or field.dtype))
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), layout)
        variable = file[name]
        _describe(variable, field)
        _attach_scales(file)
        place = variable.id.get_offset()
    if place is None:
        raise InputError(f"{path}: {name}: expected at least one number, got the shape {shape}.")
    return place


@contextmanager
def open_dataset(path: str | Path) -> Iterator[xr.Dataset]:
    """Yield a dataset of our own stages, read lazily; others' go through `open_foreign_dataset`.

    Numbers are read where they are used. Raises InputError where the file is missing, truncated or of another kind, and
    where what is read is found to be damaged.
    """
    with open_file(path) as file:
        attributes, found = inspect_file(file, path)
        variables = {}
        for name, variable in found.items():
            field = FIELDS[name]
            about = {"unit": field.unit, "meaning": field.meaning}
            variables[name] = xr.Variable(field.dims, indexing.LazilyIndexedArray(_LazyArray(variable, path)), about)
        yield xr.Dataset(variables, attrs=attributes)


@contextmanager
def open_foreign_dataset(path: str | Path) -> Iterator[xr.Dataset]:
    """Yield a dataset that may come from anybody, once a process of its own has looked at it: see `nearsight.hdf5`."""
    require_harmless(path)
    with open_dataset(path) as dataset:
        yield dataset


def settings_of(dataset: xr.Dataset) -> dict:
    """The settings under which the dataset was computed."""
    return json.loads(dataset.attrs["nearsight_settings"])


def provenance_of(dataset: xr.Dataset) -> dict:
    """The provenance record of the dataset."""
    return json.loads(dataset.attrs["nearsight_provenance"])


def require(dataset: xr.Dataset, *names: str, path: str | Path = "dataset") -> None:
    """Raise InputError unless the dataset holds all the named variables."""
    missing = [name for name in names if name not in dataset]
    if missing:
        raise InputError(f"{path}: expected the variables {', '.join(names)}; {', '.join(missing)} not found.")


def _field(name: str) -> Field:
    try:
        return FIELDS[name]
    except KeyError:
        raise InputError(f"{name}: expected a name of fields.FIELDS ({', '.join(FIELDS)}).") from None


def _all_finite(values: np.ndarray) -> bool:
    # one slab at a time: a mask of a whole LDOS would double the memory
    if values.ndim == 0 or values.dtype.kind in "iu":
        return bool(np.isfinite(values).all())
    return all(np.isfinite(slab).all() for slab in values)


class _LazyArray(BackendArray):
    """A variable that is read where it is used."""

    def __init__(self, variable: h5py.Dataset, path: str | Path) -> None:
        self.shape, self.dtype = variable.shape, variable.dtype
        self._variable, self._path = variable, path

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        try:
            return self._variable[key]
        except OSError as error:
            raise damaged(self._path, error) from error


def _write_attributes(file: h5py.File, settings: dict, provenance: dict) -> None:
    _write_text(file, "nearsight_settings", json.dumps(settings, sort_keys=True))
    _write_text(file, "nearsight_provenance", json.dumps(provenance, sort_keys=True))


def _write_variables(file: h5py.File, variables: dict[str, np.ndarray | float]) -> None:
    for name, values in variables.items():
        values = np.asarray(values, dtype=_field(name).dtype)
        _create_variable(file, name, values.shape, values)


def _create_variable(file: h5py.File, name: str, shape: tuple[int, ...], values: np.ndarray | None) -> h5py.Dataset:
    field = _field(name)
    if shape:
        chunks = _chunk_shape(shape, np.dtype(field.dtype).itemsize) if field.dims[:3] == GRID else shape
        storage = {"chunks": chunks, "fletcher32": True} if prod(shape) else {}
        variable = file.create_dataset(name, shape=shape, dtype=field.dtype, data=values, **storage)
    else:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.COMPACT)  # in its header, whose checksum covers it too
        kind = h5py.h5t.py_create(np.dtype(field.dtype))
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR), layout)
        variable = file[name]
        variable[()] = values
    _describe(variable, field)
    return variable


def _describe(variable: h5py.Dataset, field: Field) -> None:
    _write_text(variable, "unit", field.unit)
    _write_text(variable, "meaning", field.meaning)


def _write_text(holder: h5py.File | h5py.Dataset, name: str, text: str) -> None:
    """An attribute of fixed length: HDF5 keeps texts of any length in a heap without checksums."""
    content = text.encode("utf-8")
    holder.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", len(content)))


def _chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of whole rows along z (and of whole spectra), about CHUNK_BYTES each: tiles are runs of rows."""
    row = int(np.prod(shape[2:])) * itemsize
    return (1, int(np.clip(CHUNK_BYTES // max(row, 1), 1, shape[1])), *shape[2:])


def _attach_scales(file: h5py.File) -> None:
    """Name every dimension by a netCDF scale, so that xarray (and other netCDF readers) find them."""
    lengths = {}
    for name, variable in file.items():
        lengths.update(zip(FIELDS[name].dims, variable.shape, strict=True))
    for dim, length in lengths.items():
        if dim not in file:
            file.create_dataset(dim, shape=(length,), dtype="int32", data=np.arange(length, dtype=np.int32))
        file[dim].make_scale(dim)
    for name, variable in file.items():
        if name in FIELDS and name not in lengths:
            for axis, dim in enumerate(FIELDS[name].dims):
                variable.dims[axis].attach_scale(file[dim])

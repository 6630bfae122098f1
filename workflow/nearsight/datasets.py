"""HDF5 datasets: written whole, named by the registry, read lazily through xarray."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from ase import Atoms

from nearsight.errors import InputError
from nearsight.fields import FIELDS, GRID, Field
from nearsight.files import write_whole

#: Bytes of one chunk of a field on the grid: large enough for streaming, small enough for a laptop's cache.
CHUNK_BYTES = 1 << 20


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
    with write_whole(target) as path, h5py.File(path, "w") as file:
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
    """Yield the empty fields of a new file, to be filled block by block; the file appears when all is well.

    fields: name -> shape; variables: further, small variables of the same file, written at once.
    """
    with write_whole(target) as path, h5py.File(path, "w") as file:
        _write_attributes(file, settings, provenance)
        for other, values in variables.items():
            values = np.asarray(values, dtype=_field(other).dtype)
            _create_variable(file, other, values.shape, values)
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
    number of processes can fill in their parts without an HDF5 library that knows of MPI. dtype: in place of the
    registry's.
    """
    field = _field(name)
    with h5py.File(path, "w") as file:
        _write_attributes(file, settings, provenance)
        for other, values in variables.items():
            values = np.asarray(values, dtype=_field(other).dtype)
            _create_variable(file, other, values.shape, values)
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        kind = h5py.h5t.py_create(np.dtype(dtype or field.dtype))
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), layout)
        variable = file[name]
        variable.attrs["unit"] = field.unit
        variable.attrs["meaning"] = field.meaning
        _attach_scales(file)
        place = variable.id.get_offset()
    if place is None:
        raise InputError(f"{path}: {name}: expected at least one number, got the shape {shape}.")
    return place


@contextmanager
def open_dataset(path: str | Path) -> Iterator[xr.Dataset]:
    """Yield a dataset, read lazily. Raises InputError where the file is missing, truncated or of another kind."""
    if not Path(path).is_file():
        raise InputError(f"{path}: expected a dataset (HDF5), found no file. Run the rule that makes it.")
    try:
        dataset = xr.open_dataset(path, engine="h5netcdf", decode_cf=False)
    except Exception as error:  # the reader raises a different type for every kind of damage
        raise InputError(
            f"{path}: expected a whole HDF5 dataset, got {type(error).__name__}: {error}. Delete it and run again."
        ) from error
    try:
        if "nearsight_settings" not in dataset.attrs:
            raise InputError(f"{path}: expected a dataset of Nearsight, got an HDF5 file without its attributes.")
        yield dataset
    finally:
        dataset.close()


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


def _write_attributes(file: h5py.File, settings: dict, provenance: dict) -> None:
    file.attrs["nearsight_settings"] = json.dumps(settings, sort_keys=True)
    file.attrs["nearsight_provenance"] = json.dumps(provenance, sort_keys=True)


def _create_variable(file: h5py.File, name: str, shape: tuple[int, ...], values: np.ndarray | None) -> h5py.Dataset:
    field = _field(name)
    chunks = _chunk_shape(shape, np.dtype(field.dtype).itemsize) if field.dims[:3] == GRID else None
    variable = file.create_dataset(name, shape=shape, dtype=field.dtype, data=values, chunks=chunks)
    variable.attrs["unit"] = field.unit
    variable.attrs["meaning"] = field.meaning
    return variable


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

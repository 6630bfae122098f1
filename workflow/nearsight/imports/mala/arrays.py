"""MALA's arrays on a grid, shape (nx, ny, nz, features): .npy files of numpy, and openPMD in HDF5 (`openpmd`)."""

from pathlib import Path

import numpy as np

from nearsight.errors import InputError
from nearsight.files import open_regular
from nearsight.imports.mala.openpmd import LARGEST_FILE, read_mesh

#: Columns with the position of a point before the descriptors (MALA's `descriptors_contain_xyz`).
XYZ_COLUMNS = 3


def read_field(path: Path, mesh: str) -> np.ndarray:
    """An array of four dimensions in MALA's own units, float32 or float64, its numbers on disk where they can stay.

    mesh: openPMD's name of it, `LDOS` (1/(eV Å³)), `Density` (1/Å³) or `Bispectrum`; a .npy file may leave out a last
    dimension of 1. Raises InputError where the file is damaged or of another kind.
    """
    values = read_mesh(path, mesh) if path.suffix.lower() in (".h5", ".hdf5") else read_npy(path)
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or 0 in values.shape:
        raise InputError(
            f"{path}: expected an array of shape (nx, ny, nz, features), got {values.shape}. Is it MALA's {mesh}?"
        )
    return values


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, which may lie on disk. Raises InputError for objects, which are pickles, too."""
    advice = "Name a file that MALA or numpy has written."
    with open_regular(path, "an array (.npy)", advice, LARGEST_FILE) as handle:
        try:
            version = np.lib.format.read_magic(handle)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, kind = header(handle)
        # numpy raises many kinds of errors; the header is a text that is parsed, not run
        except Exception as error:
            raise InputError(
                f"{path}: expected a whole .npy file, got {type(error).__name__}: {str(error)[:120]}. {advice}"
            ) from None
        first, size = handle.tell(), path.stat().st_size
    if kind not in (np.dtype("<f4"), np.dtype("<f8")):
        raise InputError(f"{path}: expected numbers of type float32 or float64, got {str(kind)[:60]}. {advice}")
    count = 1
    for length in shape:
        count *= length
    if min(shape, default=0) < 1 or first + count * kind.itemsize != size:
        raise InputError(
            f"{path}: expected the numbers of an array of shape {str(shape)[:120]}, got {size - first} bytes. Get a "
            "whole copy."
        )
    return np.memmap(path, kind, "r", first, shape, "F" if fortran else "C")


def without_xyz(values: np.ndarray, components: int, path: Path) -> np.ndarray:
    """Descriptors without the columns of the position. Raises InputError for another number of components."""
    found = values.shape[-1]
    if found not in (components, components + XYZ_COLUMNS):
        raise InputError(
            f"{path}: expected {components} descriptors of each point, or {components + XYZ_COLUMNS} with its "
            f"position, got {found}. Are they of this model?"
        )
    return values[..., found - components :]


def first_not_finite(values: np.ndarray) -> tuple[int, ...] | None:
    """Where an array first has a number that is not finite; it is searched plane by plane."""
    for x, plane in enumerate(values):
        bad = ~np.isfinite(plane)
        if bad.any():
            return (x, *(int(n) for n in np.argwhere(bad)[0]))
    return None

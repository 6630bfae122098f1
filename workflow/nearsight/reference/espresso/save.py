"""The density in Quantum ESPRESSO's save folder, with all digits."""

from pathlib import Path

import numpy as np
import scipy.fft

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular
from nearsight.reference.espresso.hdf5_numbers import locate_numbers, says_gamma_only
from nearsight.reference.espresso.workspace import require_save

#: Bytes of the largest density that is read: 28 for each plane wave.
LARGEST_DENSITY = 16 << 30

ADVICE = "Run run_scf again."


def read_save_density(scf: str | Path, grid: tuple[int, int, int]) -> np.ndarray:
    """Valence density of shape `grid` in 1/Å³ from the save folder of an SCF run, in double precision.

    The file charge-density.dat (.hdf5 from a Quantum ESPRESSO with HDF5) lists Miller indices and n(G) in 1/bohr³, of
    one half of the sphere if the run used Γ alone. Raises InputError where the file is missing, damaged,
    spin-polarised, or does not fit on the grid.
    """
    path = require_save(scf) / "charge-density.dat"
    if not path.exists():
        path = path.with_suffix(".hdf5")
    try:
        gamma_only, spins, miller, values = (_read_binary if path.suffix == ".dat" else _read_hdf5)(path)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: expected Quantum ESPRESSO's density, got {error}. {ADVICE}") from None
    count = len(miller)
    if spins != 1 or values.shape != (count,):
        raise InputError(f"{path}: expected {count} coefficients without spin, got {values.size} and {spins} spins.")
    if not units.are_finite(values.view(np.float64)):
        raise InputError(
            f"{path}: expected finite coefficients, got NaN, infinity, or one beyond {units.LARGEST_NUMBER:g}. {ADVICE}"
        )
    if count < 1 or (2 * np.abs(miller).max(axis=0) >= np.array(grid)).any():
        raise InputError(
            f"{path}: expected Miller indices that fit on the grid {tuple(grid)}, got up to "
            f"{tuple(np.abs(miller).max(axis=0).tolist())}. Is it another structure's density?"
        )
    coefficients = np.zeros(grid, dtype=np.complex128)
    if gamma_only:
        coefficients[tuple(-miller.T)] = values.conj()
    coefficients[tuple(miller.T)] = values
    return scipy.fft.ifftn(coefficients, norm="forward").real / units.BOHR_A**3


def _read_binary(path: Path) -> tuple[bool, int, np.ndarray, np.ndarray]:
    """Γ alone or not, number of spins, Miller indices, n(G). Raises ValueError where they are not in the file."""
    content = read_regular(path, "the density in Fortran's binary format", ADVICE, LARGEST_DENSITY)
    header, _, miller, values, *_ = fortran_records(content)  # the second: reciprocal lattice vectors
    gamma_only, count, spins = np.frombuffer(header, np.int32).tolist()
    if count < 0:
        raise ValueError(f"{count} coefficients")
    miller = np.frombuffer(miller, np.int32).reshape(count, 3).astype(np.int64)
    return bool(gamma_only), spins, miller, np.frombuffer(values, np.complex128)


def _read_hdf5(path: Path) -> tuple[bool, int, np.ndarray, np.ndarray]:
    """The same from the format of a Quantum ESPRESSO with HDF5."""
    attributes, arrays = locate_numbers(path)
    miller = arrays["MillerIndices"].read(path, "<i4").reshape(-1, 3).astype(np.int64)
    values = arrays["rhotot_g"].read(path, "<f8").reshape(-1, 2).view(np.complex128).ravel()
    return says_gamma_only(attributes), int(attributes["nspin"]), miller, values


def fortran_records(content: bytes) -> list[memoryview]:
    """The records of an unformatted Fortran file, each between two marks with its length in bytes (int32).

    Raises ValueError where a mark is wrong or the file ends inside a record.
    """
    view, records, place = memoryview(content), [], 0
    while place < len(view):
        if place + 8 > len(view):
            raise ValueError(f"the end of the file inside record {len(records) + 1}")
        length = int.from_bytes(view[place : place + 4], "little", signed=True)
        end = place + 4 + length
        if length < 0 or end + 4 > len(view) or view[place : place + 4] != view[end : end + 4]:
            raise ValueError(f"record {len(records) + 1} of {length} bytes, which the file does not hold")
        records.append(view[place + 4 : end])
        place = end + 4
    return records

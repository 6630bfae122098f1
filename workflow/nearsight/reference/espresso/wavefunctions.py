"""Wave functions in Quantum ESPRESSO's save folder (6.x, 7.x): plane-wave coefficients, read a few bands at a time."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import open_regular
from nearsight.reference.espresso.hdf5_numbers import LARGEST_FILE, locate_numbers, says_gamma_only
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.reference.espresso.workspace import require_save

#: Largest difference of a k-point or lattice from the run's, relative, that rounding in its XML explains.
ROUNDING = 1e-8

ADVICE = "Run run_scf again."


@dataclass(frozen=True)
class WaveFunctions:
    """The wave functions of one k-point, and where in their file the coefficients lie.

    miller: Miller indices of the plane waves, shape (waves, 3), both halves of the sphere where the run used Γ alone
    and the file holds one; first, stride: of the bands' numbers, in bytes.
    """

    path: Path
    miller: np.ndarray
    bands: int
    gamma_only: bool
    first: int
    stride: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Coefficients of the bands start..stop-1, complex128 of shape (bands, waves); Σ |c|² = 1 without augmentation.

        Raises InputError where the file ends before them or holds anything but numbers.
        """
        stored = len(self.miller) if not self.gamma_only else (len(self.miller) + 1) // 2
        values = np.empty((stop - start, stored), dtype=np.complex128)
        with _open(self.path) as handle:
            for row, band in zip(values, range(start, stop), strict=True):
                handle.seek(self.first + band * self.stride)
                if handle.readinto(row.view(np.uint8)) != row.nbytes:
                    raise _damaged(self.path, f"its end inside band {band + 1}")
        if not units.are_finite(values.view(np.float64)):
            raise _damaged(self.path, "coefficients that are no finite numbers")
        # ψ is real: c(-G) = c*(G); the first plane wave is G = 0
        return values if not self.gamma_only else np.hstack([values, values[:, 1:].conj()])


@dataclass(frozen=True)
class _Contents:
    """What a file says of itself. kpoint, reciprocal lattice vectors (rows): 1/bohr."""

    index: int
    kpoint: np.ndarray
    spin: int
    gamma_only: bool
    scale: float
    polarisations: int
    bands: int
    reciprocal: np.ndarray
    miller: np.ndarray
    first: int
    stride: int


def open_wavefunctions(scf: str | Path, run: ElectronicStructure, index: int) -> WaveFunctions:
    """The wave functions of k-point `index` (from 0) of an SCF, checked against the run's XML but for the coefficients.

    Raises InputError where the file is missing, truncated, of another run, or polarised.
    """
    save = require_save(scf)
    path = save / f"wfc{index + 1}.dat"
    if path.exists():
        contents = _read_binary(path)
    elif (other := path.with_suffix(".hdf5")).exists():
        path, contents = other, _read_hdf5(other)
    else:
        raise InputError(f"{path}: expected the wave functions of k-point {index + 1}, found none. {ADVICE}")
    _check(contents, run, index, path)
    miller = contents.miller
    if contents.gamma_only:
        miller = np.vstack([miller, -miller[1:]])
    return WaveFunctions(path, miller, contents.bands, contents.gamma_only, contents.first, contents.stride)


def _check(found: _Contents, run: ElectronicStructure, index: int, path: Path) -> None:
    """Raise InputError unless the file is of this run and k-point."""
    if found.polarisations != 1 or found.spin != 1 or found.scale != 1.0:
        raise InputError(f"{path}: expected wave functions without spin, got others. {ADVICE}")
    cell = run.atoms.cell.array / units.BOHR_A
    if not np.allclose(found.reciprocal @ cell.T, 2 * np.pi * np.eye(3), rtol=0, atol=2 * np.pi * ROUNDING):
        raise InputError(f"{path}: expected the lattice of the run's XML file, got another one. {ADVICE}")
    expected = (index + 1, run.plane_waves[index], run.eigenvalues.shape[1], run.gamma_only)
    given = (found.index, len(found.miller), found.bands, found.gamma_only)
    if given != expected or np.abs(found.kpoint @ cell.T / (2 * np.pi) - run.kpoints[index]).max() > ROUNDING:
        raise InputError(
            f"{path}: expected k-point {index + 1} of the run with {expected[1]} plane waves and {expected[2]} bands, "
            f"got k-point {given[0]} of another one with {given[1]} and {given[2]}. {ADVICE}"
        )
    kinetic = np.square((found.miller + run.kpoints[index]) @ found.reciprocal).sum(axis=1)
    different = len(np.unique(found.miller, axis=0)) == len(found.miller)
    fits = (np.ptp(found.miller, axis=0) < run.grid).all()
    if (
        not (different and fits)
        or kinetic.max() > run.ecutwfc_Ry * (1 + ROUNDING)
        or (found.gamma_only and found.miller[0].any())
    ):
        raise InputError(f"{path}: expected different plane waves below {run.ecutwfc_Ry} Ry, got others. {ADVICE}")


def _read_binary(path: Path) -> _Contents:
    """The head of wfc*.dat: Fortran's records of one k-point, the lattice, Miller indices, then one for each band."""
    with _open(path) as handle:
        index, *kpoint, spin, gamma_only, scale = struct.unpack("<i3diid", _record(handle, path, 44))
        _, waves, polarisations, bands = struct.unpack("<4i", _record(handle, path, 16))
        reciprocal = np.frombuffer(_record(handle, path, 72)).reshape(3, 3)
        if min(waves, polarisations, bands) < 1:
            raise _damaged(path, f"{waves} plane waves and {bands} bands")
        length = 16 * waves * polarisations
        first = handle.tell() + 12 * waves + 8 + 4
        size = os.fstat(handle.fileno()).st_size
        # Fortran splits longer records, for which no run of QE is large enough
        if length >= 2**31 or size != first + bands * (length + 8) - 4:
            raise _damaged(path, f"{size} bytes for {bands} bands of {waves} plane waves")
        miller = np.frombuffer(_record(handle, path, 12 * waves), np.int32).reshape(waves, 3).astype(np.int64)
        for band in range(bands):
            for place in (first - 4 + band * (length + 8), first + band * (length + 8) + length):
                handle.seek(place)
                if handle.read(4) != struct.pack("<i", length):
                    raise _damaged(path, f"no record of {length} bytes for band {band + 1}")
    if not units.are_finite(np.array([*kpoint, scale, *reciprocal.ravel()])):
        raise _damaged(path, "a k-point or lattice that is no finite number")
    return _Contents(
        index,
        np.array(kpoint),
        spin,
        bool(gamma_only),
        scale,
        polarisations,
        bands,
        reciprocal,
        miller,
        first,
        length + 8,
    )


def _read_hdf5(path: Path) -> _Contents:
    """The head of wfc*.hdf5: the same as attributes, Miller indices, and an array of all bands' coefficients."""
    try:
        attributes, arrays = locate_numbers(path)
        miller, coefficients = arrays["MillerIndices"], arrays["evc"]
        names = ("xk", "bg1", "bg2", "bg3", "scale_factor")
        numbers = {name: np.array(attributes[name], dtype=float) for name in names}
        bands, waves, polarisations = (int(attributes[name]) for name in ("nbnd", "igwx", "npol"))
        shapes = (miller.shape, coefficients.shape, coefficients.dtype)
        if shapes != ((waves, 3), (bands, 2 * waves * polarisations), "<f8") or min(bands, waves) < 1:
            raise ValueError(f"arrays of {miller.shape} and {coefficients.shape} for {bands} bands of {waves} waves")
        if not all(units.are_finite(values) for values in numbers.values()):
            raise ValueError("a k-point or lattice that is no finite number")
        return _Contents(
            int(attributes["ik"]),
            numbers["xk"].reshape(3),
            int(attributes["ispin"]),
            says_gamma_only(attributes),
            float(numbers["scale_factor"]),
            polarisations,
            bands,
            np.array([numbers["bg1"], numbers["bg2"], numbers["bg3"]]).reshape(3, 3),
            miller.read(path, "<i4").astype(np.int64),
            coefficients.first,
            16 * waves * polarisations,
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, repr(error)[:200]) from None


def _record(handle: BinaryIO, path: Path, length: int) -> bytes:
    """The next Fortran record, which must have this length in bytes."""
    content = handle.read(length + 8)
    mark = struct.pack("<i", length)
    if len(content) != length + 8 or content[:4] != mark or content[-4:] != mark:
        raise _damaged(path, f"no record of {length} bytes at byte {handle.tell() - len(content)}")
    return content[4:-4]


def _open(path: Path):
    return open_regular(path, "Quantum ESPRESSO's wave functions", ADVICE, LARGEST_FILE)


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"{path}: expected Quantum ESPRESSO's wave functions, whole, got {found}. {ADVICE}")

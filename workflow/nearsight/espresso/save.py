"""The density in Quantum ESPRESSO's save folder, with all its digits."""

from pathlib import Path

import numpy as np
import scipy.fft
from scipy.io import FortranFile

from nearsight import units
from nearsight.errors import InputError
from nearsight.espresso.workspace import require_save


def read_save_density(scf: str | Path, grid: tuple[int, int, int]) -> np.ndarray:
    """Valence density of shape `grid` in 1/Å³ from the save folder of an SCF run, in double precision.

    The file charge-density.dat lists Miller indices and n(G) in 1/bohr³, of one half of the sphere if the run used
    Γ alone. Raises InputError where the file is missing, damaged, spin-polarised, or does not fit on the grid.
    """
    path = require_save(scf) / "charge-density.dat"
    try:
        with FortranFile(path) as file:
            gamma_only, count, spins = file.read_ints(np.int32)
            file.read_reals()  # reciprocal lattice vectors
            miller = file.read_ints(np.int32).reshape(count, 3)
            values = file.read_record(np.complex128)
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected the density in Fortran's binary format, found none. A Quantum ESPRESSO built with HDF5 "
            "writes charge-density.hdf5, which is not read; use the cube file of run_density."
        ) from None
    except Exception as error:  # scipy raises a different type for every kind of damage
        raise InputError(
            f"{path}: expected Quantum ESPRESSO's density, got {type(error).__name__}: {error}. Run run_scf again."
        ) from None
    if spins != 1 or values.shape != (count,):
        raise InputError(f"{path}: expected {count} coefficients without spin, got {values.size} and {spins} spins.")
    if (2 * np.abs(miller).max(axis=0) >= np.array(grid)).any():
        raise InputError(
            f"{path}: expected Miller indices that fit on the grid {tuple(grid)}, got up to "
            f"{tuple(np.abs(miller).max(axis=0).tolist())}. Is it another structure's density?"
        )
    coefficients = np.zeros(grid, dtype=np.complex128)
    if gamma_only:
        coefficients[tuple(-miller.T)] = values.conj()
    coefficients[tuple(miller.T)] = values
    return scipy.fft.ifftn(coefficients, norm="forward").real / units.BOHR_A**3

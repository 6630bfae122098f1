"""A density in the form that pw.x reads with startingpot = 'file': charge-density.dat, or .hdf5 if it has HDF5.

pw.x does not look at the Miller indices in the file: the coefficients have to stand in its own order of plane waves.
"""

from pathlib import Path

import h5py
import numpy as np
import scipy.fft
from ase import Atoms

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import write_whole

#: Squares of plane waves, in (2π/alat)², that differ by less are of one shell for pw.x (eps8 of its ggen).
SHELL_WIDTH = 1e-8

#: Bytes of the longest record that Fortran writes in one piece.
LONGEST_RECORD = 2**31 - 9

#: Largest part of the electrons that may lie in plane waves beyond the cutoff, or be missing.
ELECTRONS_TOLERANCE = 1e-4

DENSITY_FILES = ("charge-density.dat", "charge-density.hdf5")


def order_plane_waves(cell: np.ndarray, grid: tuple[int, int, int], ecutrho_Ry: float) -> np.ndarray:
    """Miller indices of all plane waves with |G|² <= ecutrho in pw.x's order, shape (waves, 3).

    By |G|², and within a shell by the indices, the third fastest (ggen and hpsort_eps of pw.x 6.x and 7.x). cell: rows
    in Å; alat is the length of its first row, as pw.x takes it with ibrav = 0. Raises InputError where the grid does
    not hold the sphere.
    """
    vectors = np.asarray(cell, dtype=float) / units.BOHR_A
    alat = np.linalg.norm(vectors[0])
    reciprocal = np.linalg.inv(vectors).T * alat  # in 2π/alat
    cutoff = ecutrho_Ry * (alat / (2 * np.pi)) ** 2
    halves = [(n - 1) // 2 for n in grid]
    reach = (np.sqrt(ecutrho_Ry) * np.linalg.norm(vectors, axis=1) / (2 * np.pi)).astype(int)
    ranges = [np.arange(-min(h, r), min(h, r) + 1) for h, r in zip(halves, reach, strict=True)]
    waves, squares = [], []
    plane = np.stack(np.meshgrid(ranges[1], ranges[2], indexing="ij"), axis=-1).reshape(-1, 2)
    for first in ranges[0]:
        miller = np.column_stack([np.full(len(plane), first), plane])
        square = np.square(miller @ reciprocal).sum(axis=1)
        inside = square <= cutoff
        waves.append(miller[inside].astype(np.int32))
        squares.append(square[inside])
    miller, square = np.concatenate(waves), np.concatenate(squares)
    if len(miller) < 2:
        raise InputError(f"grid: expected one that holds plane waves up to {ecutrho_Ry:g} Ry, got {grid}.")
    order = np.argsort(square, kind="stable")
    shell = np.concatenate([[0], np.cumsum(np.diff(square[order]) > SHELL_WIDTH)])
    return miller[order[np.lexsort((order, shell))]]


def write_save_density(folder: Path, atoms: Atoms, density: np.ndarray, ecutrho_Ry: float, electrons: float) -> int:
    """Write a density in 1/Å³ on the grid into a save folder, in both formats; the number of plane waves.

    electrons: of the structure; the density is scaled to them, as pw.x does with one of superposed atoms. Raises
    InputError where it is far from them, or does not fit in one record.
    """
    density = np.asarray(density, dtype=float)
    held = float(density.mean()) * atoms.get_volume()
    if not abs(held - electrons) <= ELECTRONS_TOLERANCE * electrons:
        raise InputError(f"density: expected {electrons:g} electrons, got {held:.6f}. Predict the structure again.")
    cell, grid = np.asarray(atoms.cell), density.shape
    miller = order_plane_waves(cell, grid, ecutrho_Ry)
    if 16 * len(miller) > LONGEST_RECORD:
        raise InputError(
            f"density: expected at most {LONGEST_RECORD // 16:,} plane waves, which one record of Fortran holds, got "
            f"{len(miller):,}. Lower the cutoff."
        )
    coefficients = scipy.fft.fftn(density, norm="forward")[tuple(miller.T)] * units.BOHR_A**3 * (electrons / held)
    vectors = 2 * np.pi * np.linalg.inv(cell / units.BOHR_A).T
    head = np.array([0, len(miller), 1], dtype=np.int32)  # no half of the sphere, one spin
    with write_whole(folder / DENSITY_FILES[0]) as path, open(path, "wb") as file:
        for record in (head, vectors, miller, coefficients):
            mark = np.int32(record.nbytes).tobytes()
            file.write(mark + np.ascontiguousarray(record).tobytes() + mark)
    with write_whole(folder / DENSITY_FILES[1]) as path, h5py.File(path, "w") as file:
        file.attrs.update({"gamma_only": np.bytes_(".FALSE."), "ngm_g": head[1], "nspin": head[2]})
        file.create_dataset("MillerIndices", data=miller)
        file["MillerIndices"].attrs.update({f"bg{axis + 1}": vectors[axis] for axis in range(3)})
        file.create_dataset("rhotot_g", data=coefficients.view(np.float64))
    return len(miller)

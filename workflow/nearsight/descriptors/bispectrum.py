"""One entrance to the bispectrum for all backends."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.descriptors.settings import BispectrumSettings
from nearsight.errors import InputError
from nearsight.structures.checks import check_structure

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Backends by name; a backend is chosen by the user and never guessed.
BACKENDS = ("lammps",)


@dataclass(frozen=True)
class Brick:
    """The grid points of one rank: a brick of the grid, possibly empty.

    start: index of its first point along x, y, z; values: shape (lx, ly, lz, components), float64.
    """

    start: tuple[int, int, int]
    values: np.ndarray

    @property
    def stop(self) -> tuple[int, int, int]:
        """One past the index of the last point along x, y, z."""
        return tuple(first + length for first, length in zip(self.start, self.values.shape[:3], strict=True))


def bispectrum(
    atoms: Atoms,
    shape: tuple[int, int, int],
    *,
    twojmax: int = 10,
    cutoff_A: float = 4.67637,
    rfac0: float = 0.99363,
    rmin0: float = 0.0,
    backend: str = "lammps",
    comm: "Comm | None" = None,
) -> np.ndarray:
    """Bispectrum of the atoms around every point of a grid, shape (*shape, components), float64.

    atoms: a periodic structure, any cell; shape: points along the three lattice vectors, r_ijk = i a/nx + j b/ny
    + k c/nz. comm: an mpi4py communicator over whose ranks the grid is split; every rank gets the whole array
    (`bispectrum_brick` leaves it distributed). Raises InputError for a bad structure, setting or backend name,
    MissingProgramError where the backend is not installed.
    """
    settings = BispectrumSettings(twojmax, cutoff_A, rfac0, rmin0)
    brick = bispectrum_brick(atoms, shape, settings, backend=backend, comm=comm)
    if comm is None or comm.size == 1:
        return brick.values
    whole = np.empty((*shape, brick.values.shape[-1]))
    for rank in range(comm.size):
        start, lengths = comm.bcast((brick.start, brick.values.shape[:3]), root=rank)
        values = brick.values if rank == comm.rank else np.empty((*lengths, brick.values.shape[-1]))
        comm.Bcast(values, root=rank)
        whole[tuple(slice(i, i + n) for i, n in zip(start, lengths, strict=True))] = values
    return whole


def bispectrum_brick(
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: BispectrumSettings,
    *,
    backend: str = "lammps",
    comm: "Comm | None" = None,
) -> Brick:
    """The bispectrum on this rank's brick of the grid; all ranks of `comm` must call it."""
    if backend not in BACKENDS:
        raise InputError(f"descriptors.backend: expected one of {', '.join(BACKENDS)}, got {backend!r}.")
    check_structure(atoms)
    check_one_element(atoms)
    shape = check_shape(shape)
    from nearsight.descriptors import lammps

    return lammps.bispectrum_brick(atoms, shape, settings, comm)


def check_one_element(atoms: Atoms, name: str = "structure") -> None:
    """Raise InputError where the atoms are of several elements."""
    elements = sorted(set(atoms.get_chemical_symbols()))
    if len(elements) > 1:
        # with equal weights the bispectrum would take all elements for one
        raise InputError(
            f"{name}: expected atoms of one element, got {', '.join(elements)}. "
            "Descriptors of several elements need weights per element, which are not available yet."
        )


def check_shape(shape: object, name: str = "structure") -> tuple[int, int, int]:
    """Three positive whole numbers of grid points. Raises InputError otherwise."""
    try:
        values = [int(n) for n in shape]
        good = len(values) == 3 and min(values) > 0 and all(v == n for v, n in zip(values, shape, strict=True))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"{name}: grid_shape: expected three positive whole numbers of grid points, got {shape}.")
    return tuple(values)

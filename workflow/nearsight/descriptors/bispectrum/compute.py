"""One entrance to the bispectrum for all backends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.descriptors.bispectrum.settings import BispectrumSettings
from nearsight.errors import InputError
from nearsight.grids.regions import Brick, Region, lengths_of, split_evenly
from nearsight.structures.checks import check_structure

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Backends by name; a backend is chosen by the user and never guessed.
BACKENDS = ("native", "lammps", "torch")

PRECISIONS = ("float32", "float64")


def bispectrum(
    atoms: Atoms,
    shape: tuple[int, int, int],
    *,
    twojmax: int = 10,
    cutoff_A: float = 4.67637,
    backend: str = "native",
    precision: str = "float64",
    region: Region | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
    comm: "Comm | None" = None,
    **settings,
) -> np.ndarray:
    """Bispectrum of the atoms around every point of a grid, shape (*shape, components).

    atoms: a periodic structure, any cell; shape: points along the three lattice vectors, r_ijk = i a/nx + j b/ny
    + k c/nz. settings: rfac0, rmin0, switching, self_weight, bzero, quadratic, chemical, weights, radii, as in
    BispectrumSettings. region: ((x0, x1), (y0, y1), (z0, z1)), a part of the grid, whose array is returned
    (LAMMPS computes the whole grid all the same). threads: of the backend native. out: the array to fill, C order,
    of the right shape and precision. comm: an mpi4py communicator over whose ranks the grid is split; every rank
    gets the whole array (`bispectrum_brick` leaves it distributed). Raises InputError for a bad structure, setting,
    array or backend name, MissingProgramError where the backend is not installed.
    """
    chosen = BispectrumSettings.from_dict({"twojmax": twojmax, "cutoff_A": cutoff_A, **settings})
    shape = check_shape(shape)
    region = check_region(region, shape)
    check_structure(atoms)
    check_elements(atoms, chosen)
    components = chosen.number_of_components(len(set(atoms.numbers.tolist())))
    result = check_out(out, (*lengths_of(region), components), check_precision(precision))
    if comm is None or comm.size == 1:
        return compute_region(atoms, shape, chosen, region, result, backend=backend, threads=threads)
    brick = bispectrum_brick(atoms, shape, chosen, backend=backend, precision=precision, threads=threads, comm=comm)
    for rank in range(comm.size):
        start, lengths = comm.bcast((brick.start, brick.values.shape[:3]), root=rank)
        values = brick.values if rank == comm.rank else np.empty((*lengths, components), dtype=result.dtype)
        comm.Bcast(values, root=rank)
        _copy_overlap(Brick(start, values), region, result)
    return result


def bispectrum_brick(
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: BispectrumSettings,
    *,
    backend: str = "native",
    precision: str = "float64",
    threads: int = 1,
    comm: "Comm | None" = None,
) -> Brick:
    """The bispectrum on this rank's brick of the grid; all ranks of `comm` must call it."""
    check_backend(backend)
    check_structure(atoms)
    check_elements(atoms, settings)
    shape = check_shape(shape)
    dtype = check_precision(precision)
    if backend == "lammps":
        from nearsight.descriptors.bispectrum import lammps

        brick = lammps.bispectrum_brick(atoms, shape, settings, comm)
        return Brick(brick.start, brick.values.astype(dtype, copy=False))
    whole = tuple((0, n) for n in shape)
    region = whole if comm is None else split_evenly(whole, comm.size)[comm.rank]
    components = settings.number_of_components(len(set(atoms.numbers.tolist())))
    values = np.empty((*lengths_of(region), components), dtype=dtype)
    compute_region(atoms, shape, settings, region, values, backend=backend, threads=threads)
    return Brick(tuple(start for start, _ in region), values)


def compute_region(
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: BispectrumSettings,
    region: Region,
    out: np.ndarray,
    *,
    backend: str = "native",
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Fill `out` with a region's components, on this process alone, and return it; checks no structure."""
    check_backend(backend)
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 4096:
        raise InputError(f"threads: expected a whole number between 1 and 4096, got {threads!r}.")
    if backend == "native":
        from nearsight.descriptors.bispectrum import kernel

        return kernel.bispectrum_region(atoms, shape, settings, region, out, threads=threads, progress=progress)
    if backend == "torch":
        from nearsight.descriptors.bispectrum import autograd

        return autograd.bispectrum_region(atoms, shape, settings, region, out)
    from nearsight.descriptors.bispectrum import lammps

    _copy_overlap(lammps.bispectrum_brick(atoms, shape, settings), region, out)
    return out


def check_elements(atoms: Atoms, settings: BispectrumSettings, name: str = "structure") -> None:
    """Raise InputError where the atoms are of several elements and their weights are not given."""
    elements = sorted(set(atoms.get_chemical_symbols()))
    missing = [element for element in elements if element not in settings.weights]
    if len(elements) > 1 and missing and not settings.chemical:
        # with equal weights the bispectrum would take all elements for one
        raise InputError(
            f"{name}: expected atoms of one element or a weight for each, got {', '.join(elements)} without weights "
            f"for {', '.join(missing)}. Give descriptors.weights, as in {{Be: 1.0, H: 0.3}}."
        )


def check_backend(backend: str) -> None:
    """Raise InputError unless there is such a backend."""
    if backend not in BACKENDS:
        raise InputError(f"descriptors.backend: expected one of {', '.join(BACKENDS)}, got {backend!r}.")


def check_precision(precision: str) -> np.dtype:
    """The type of numbers of a precision. Raises InputError where there is none."""
    if precision not in PRECISIONS:
        raise InputError(f"descriptors.precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    return np.dtype(precision)


def check_shape(shape: object, name: str = "structure") -> tuple[int, int, int]:
    """Three positive whole numbers of grid points. Raises InputError otherwise."""
    try:
        values = [int(n) for n in shape]
        good = len(values) == 3 and min(values) > 0 and all(v == n for v, n in zip(values, shape, strict=True))
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(f"{name}: grid_shape: expected three positive whole numbers of grid points, got {shape}.")
    return tuple(values)


def check_region(region: object, shape: tuple[int, int, int]) -> Region:
    """The region, or the whole grid where it is None. Raises InputError where it does not fit into the grid."""
    if region is None:
        return tuple((0, n) for n in shape)
    try:
        pairs = [tuple(pair) for pair in region]
        good = len(pairs) == 3 and all(
            len(pair) == 2 and all(int(x) == x for x in pair) and 0 <= pair[0] <= pair[1] <= n
            for pair, n in zip(pairs, shape, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(
            f"region: expected ((x0, x1), (y0, y1), (z0, z1)) with 0 <= start <= stop <= {shape}, got {region!r}."
        )
    return tuple((int(start), int(stop)) for start, stop in pairs)


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array to fill, a new one where it is None. Raises InputError where it has another shape or type."""
    if out is None:
        return np.empty(shape, dtype=dtype)
    expected = f"a writable C-ordered array of shape {shape}, {dtype}"
    if not isinstance(out, np.ndarray):
        raise InputError(f"out: expected {expected}, got {type(out).__name__}.")
    flags = out.flags
    if out.shape != shape or out.dtype != dtype or not (flags.c_contiguous and flags.writeable and flags.aligned):
        kind = " ".join(
            word for word, there in (("read-only", not flags.writeable), ("strided", not flags.c_contiguous)) if there
        )
        raise InputError(f"out: expected {expected}, got {kind or 'one'} of shape {out.shape}, {out.dtype}.")
    return out


def _copy_overlap(brick: Brick, region: Region, out: np.ndarray) -> None:
    """Copy what `brick` holds of `region` into the region's array."""
    low = [max(first, start) for first, (start, _) in zip(brick.start, region, strict=True)]
    high = [min(last, stop) for last, (_, stop) in zip(brick.stop, region, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return
    target = tuple(slice(a - start, b - start) for a, b, (start, _) in zip(low, high, region, strict=True))
    source = tuple(slice(a - first, b - first) for a, b, first in zip(low, high, brick.start, strict=True))
    out[target] = brick.values[source]

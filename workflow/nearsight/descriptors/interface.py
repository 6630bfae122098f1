"""What a descriptor is: numbers that describe the surroundings of a grid point to the network.

A descriptor is a module (a folder here, or another distribution's entry point: `nearsight.plugins`), found by the
`kind` of its section of the study file. The module has

- `Settings`: its section, a subclass of `study.sections.Descriptors`, which holds the keys that the job of any
  descriptor needs;
- `limits(settings, elements)`: pairs (key, message) for what cannot be computed with these settings; it is called
  before the first job of a study and imports nothing heavy;
- `build_descriptor(settings, elements)`: the `Descriptor`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import BaseModel, ValidationError

from nearsight.errors import InputError, NearsightError
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, check_region, check_shape, split_evenly
from nearsight.plugins import DESCRIPTORS, find_kind
from nearsight.structures.checks import check_structure
from nearsight.study.messages import explain

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


class Descriptor(ABC):
    """`components` numbers per grid point, of the atoms within `cutoff_A`, for structures of `elements`.

    The same neighbours give the same numbers, wherever the point is and however the structure is turned. elements: by
    atomic number; a structure may lack some of them.
    """

    settings: BaseModel
    elements: tuple[str, ...]
    #: Whether the descriptor computes only whole grids (which several processes then split among themselves).
    whole_grid = False

    @property
    @abstractmethod
    def components(self) -> int:
        """How many numbers a grid point has."""

    @property
    @abstractmethod
    def cutoff_A(self) -> float:
        """Distance in Å beyond which no atom counts."""

    @abstractmethod
    def compute(self, atoms: Atoms, grid: RealGrid, region: Region, out: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """Fill `out`, shape (*lengths of region, components), C order, float32 or float64, and return it.

        atoms: periodic, in the grid's cell; those within the cutoff of the region suffice. The numbers do not depend
        on how a grid is cut into regions, nor on the threads.
        """

    def compute_share(
        self, atoms: Atoms, grid: RealGrid, dtype: np.dtype, comm: "Comm", *, threads: int = 1
    ) -> tuple[Region, np.ndarray]:
        """The region of a grid that falls to this rank, with its numbers; all ranks of `comm` call it."""
        region = split_evenly(grid.whole, comm.size)[comm.rank]
        out = np.empty((*region.shape, self.components), dtype=dtype)
        return region, self.compute(atoms, grid, region, out, threads=threads)

    def warnings(self, atoms: Atoms, grid: RealGrid) -> list[str]:
        """What is awkward about a structure on this grid."""
        return []

    def verify(self, atoms: Atoms, grid: RealGrid, region: Region, values: np.ndarray, points: int) -> None:
        """Raise NearsightError where a check at some `points` of the region finds wrong numbers."""
        if not all(np.isfinite(slab).all() for slab in values):
            raise NearsightError("descriptors: expected finite numbers, got NaN or infinity.")


def make_descriptor(settings: Mapping, elements: Sequence[str], **changes: object) -> Descriptor:
    """The descriptor that a section of a study file or of a model describes; `changes` replace its keys.

    elements: of all structures that it is meant for. Raises InputError where there is no such kind, or where it cannot
    be computed with these settings.
    """
    settings = {**settings, **changes}
    module = find_kind(DESCRIPTORS, settings.get("kind"), "descriptors.kind")
    try:
        section = module.Settings.model_validate(settings)
    except ValidationError as error:
        raise InputError("\n".join(explain(item, module.Settings, "descriptors") for item in error.errors())) from None
    elements = tuple(sorted(set(elements), key=atomic_numbers.__getitem__))
    if wrong := list(module.limits(section, elements)):
        raise InputError("\n".join(f"descriptors.{key}: {text}" for key, text in wrong))
    return module.build_descriptor(section, elements)


def describe(
    descriptor: Descriptor,
    atoms: Atoms,
    shape: tuple[int, int, int],
    *,
    precision: str = "float64",
    region: Region | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Descriptors of a grid, shape (*shape, components), or of a region of it, with all arguments checked.

    out: the array to fill, C order, of the right shape and precision. Raises InputError for a bad structure, grid,
    region or array.
    """
    shape = check_shape(shape)
    region = check_region(region, shape)
    check_structure(atoms)
    grid = RealGrid(atoms.cell, shape)
    check_elements(descriptor, atoms)
    check_threads(threads)
    if precision not in ("float32", "float64"):
        raise InputError(f"descriptors.precision: expected one of float32, float64, got {precision!r}.")
    result = _check_out(out, (*region.shape, descriptor.components), np.dtype(precision))
    return descriptor.compute(atoms, grid, region, result, threads=threads)


def check_elements(descriptor: Descriptor, atoms: Atoms, name: str = "structure") -> None:
    """Raise InputError where a structure has an element that the descriptor was not made for."""
    if unknown := sorted(set(atoms.symbols) - set(descriptor.elements)):
        raise InputError(
            f"{name}: expected the elements {', '.join(descriptor.elements)}, got {', '.join(unknown)}. Train a model "
            "on these elements first."
        )


def check_threads(threads: object) -> None:
    """Raise InputError unless it is a number of threads."""
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 4096:
        raise InputError(f"threads: expected a whole number between 1 and 4096, got {threads!r}.")


def _check_out(out: object, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
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

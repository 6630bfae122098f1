"""Whether fields lie in memory or on disk: in memory where they fit, else in files that vanish with the process."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ase import Atoms

from nearsight.energies.disk import Scratch
from nearsight.energies.ion import memory_bytes as memory_of_ions
from nearsight.energies.screening import memory_bytes as memory_of_screening
from nearsight.memory import ENERGIES_PROCESS_BYTES, energies_bytes, field_bytes

#: Columns along x that are in memory at a time, where the fields are on disk: the more, the fewer and longer reads.
BLOCKS_BYTES = tuple(n << 20 for n in (2, 8, 32, 128, 512))

#: From this number of grid points on, fields are stored in float32, half the bytes, about 30,000 atoms: the total free
#: energy then changes by less than 1e-6 eV/atom (docs/performance.md).
SINGLE_FROM_POINTS = 1 << 27

#: Fields that the energies have on disk at the peak, in xc: both densities' coefficients and two transforms of each;
#: one more while several ranks exchange planes for columns.
DISK_FIELDS = 7


@dataclass(frozen=True)
class Place:
    """Where a stage's fields lie.

    block_bytes: columns in memory at a time, None where all fields are in memory; memory_bytes: of one rank at the
    peak; disk_bytes: of all ranks.
    """

    block_bytes: int | None
    memory_bytes: float
    disk_bytes: float

    def scratch(self, folder: Path) -> Scratch | None:
        """Files for the fields in a folder; None where they are in memory."""
        return None if self.block_bytes is None else Scratch(folder, self.block_bytes)


def choose_place(needed_bytes: Callable[[int | None], float], disk_bytes: float, limit_bytes: float) -> Place:
    """Memory where it holds all fields, else disk with the largest blocks that fit.

    needed_bytes: what a rank takes with blocks of so many bytes, and with all in memory (None). Where nothing fits, the
    smallest is chosen; the caller refuses it.
    """
    if needed_bytes(None) <= limit_bytes:
        return Place(None, needed_bytes(None), 0.0)
    fitting = [size for size in BLOCKS_BYTES if needed_bytes(size) <= limit_bytes]
    size = max(fitting, default=BLOCKS_BYTES[0])
    return Place(size, needed_bytes(size), disk_bytes)


def is_single(shape: tuple[int, ...]) -> bool:
    """Whether the energies of a density on this grid store their fields in float32."""
    return prod(shape) >= SINGLE_FROM_POINTS


def place_energies(
    atoms: Atoms,
    shape: tuple[int, int, int],
    limit_bytes: float,
    ranks: int = 1,
    process_bytes: int = ENERGIES_PROCESS_BYTES,
) -> Place:
    """Where the energies of a density on this grid have their fields; process_bytes: what the process has already."""
    single = is_single(shape)

    def needed_bytes(block_bytes: int | None) -> float:
        ions = memory_of_ions(atoms, on_disk=block_bytes is not None)
        return energies_bytes(
            shape,
            max(ions, memory_of_screening(atoms)),
            single=single,
            ranks=ranks,
            block_bytes=block_bytes,
            process_bytes=process_bytes,
        )

    return choose_place(needed_bytes, DISK_FIELDS * field_bytes(shape, single=single), limit_bytes)

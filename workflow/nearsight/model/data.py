"""Training data: pairs of snapshot and descriptor datasets, checked, and read in a shuffled stream.

Policy. Where all scaled rows fit into the memory budget, they are kept in memory and every epoch visits them in one
global permutation. Otherwise every epoch reads blocks (runs of grid points within one plane) of *all* snapshots in
one permutation of the blocks into a buffer of the budget's size, and draws batches from the shuffled buffer. Both
orders depend on the seed and the epoch alone, so that a resumed training sees the rows as an uninterrupted one does.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from nearsight.datasets import atoms_of, open_dataset, require, settings_of
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.model.method import Method, find_key, positive_number, read_method, require_one_method
from nearsight.model.scaling import Moments, Scaling
from nearsight.structures.correlation import radial_distribution

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Grid points of one block, the unit of reading (a whole chunk of the files, or more).
BLOCK_POINTS = 4096

#: Bytes of scaled rows that are kept in memory, all of them or as the shuffle buffer.
MEMORY_BYTES = 2 << 30

#: Smallest scale of an energy, relative to the largest, and of a descriptor component.
LDOS_SCALE_FLOOR = 1e-3
DESCRIPTOR_SCALE_FLOOR = 0.0

#: Planes of a snapshot that are read for a sample of its points.
SAMPLED_PLANES = 16

#: Å; positions in text files have eight decimals.
POSITION_TOLERANCE_A = 1e-6

#: Keys of descriptor datasets that do not change the numbers.
NEUTRAL_KEYS = ("backend", "precision")


#: A plane's number, its first row and the one after its last.
Block = tuple[int, int, int]

#: Scaled descriptors, scaled LDOS, number of the snapshot.
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Snapshot:
    """One pair of files, already checked; shape: the grid's; temperature_K: of the electrons; electrons: number."""

    reference: Path
    descriptors: Path
    shape: tuple[int, int, int]
    temperature_K: float
    electrons: float
    volume_A3: float
    atoms: int

    @property
    def points(self) -> int:
        """Number of grid points."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class DataDescription:
    """What all files of a training have in common.

    temperature_K: of the electrons of the first snapshot, the default of predictions; elements: of the descriptors;
    pseudopotential_sha256: by element, None where no snapshot states it; energy_grid: from each cell's energy zero,
    which energy_zero_eV_A3 gives (grids.energies).
    """

    components: int
    energy_grid: EnergyGrid
    energy_zero_eV_A3: dict[str, float]
    broadening_eV: float
    temperature_K: float
    descriptor_settings: dict
    elements: list[str]
    electrons_per_element: dict[str, float]
    ecutrho_Ry: float
    pseudopotential_sha256: dict[str, str | None]


def describe_snapshots(
    references: Sequence[Path], descriptors: Sequence[Path]
) -> tuple[list[Snapshot], DataDescription]:
    """Check that all files fit together. Raises InputError naming both files and the key that differs."""
    if len(references) != len(descriptors) or not references:
        raise InputError(
            f"training data: expected one descriptor dataset per snapshot dataset and at least one, got "
            f"{len(references)} snapshots and {len(descriptors)} descriptor datasets."
        )
    pairs = [_describe_pair(Path(one), Path(other)) for one, other in zip(references, descriptors, strict=True)]
    snapshots, methods, found = map(list, zip(*pairs, strict=True))
    for snapshot, facts in zip(snapshots, found, strict=True):
        _expect_equal(found[0], facts, snapshots[0], snapshot)
    require_one_method(methods)
    first = found[0]
    valence = {element: electrons for one in methods for element, electrons in one.valence.items()}
    sums = {element: found for one in methods for element, found in one.sha256.items() if found is not None}
    if missing := sorted(set(first["elements"]) - set(valence)):
        raise InputError(
            f"{snapshots[0].descriptors}: elements: expected a snapshot with each, found none with "
            f"{', '.join(missing)}. Train on structures that have them."
        )
    return snapshots, DataDescription(
        components=first["components"],
        energy_grid=EnergyGrid.from_energies(np.array(methods[0].energies_eV)),
        energy_zero_eV_A3={e: zero for one in methods for e, zero in one.energy_zero_eV_A3.items() if zero != 0},
        broadening_eV=methods[0].broadening_eV,
        temperature_K=snapshots[0].temperature_K,
        descriptor_settings=first["descriptors"],
        elements=first["elements"],
        electrons_per_element={element: valence[element] for element in first["elements"]},
        ecutrho_Ry=methods[0].ecutrho_Ry,
        pseudopotential_sha256={element: sums.get(element) for element in first["elements"]},
    )


def measure_scalings(snapshots: Sequence[Snapshot], components: int, energies: int) -> tuple[Scaling, Scaling]:
    """Scalings of descriptors and LDOS over all grid points, in one streaming pass."""
    x, y = Moments.empty(components), Moments.empty(energies)
    for snapshot in snapshots:
        with SnapshotReader(snapshot) as reader:
            for block in blocks_of(snapshot.shape):
                descriptors, ldos = reader.read(block)
                _expect_finite(descriptors, snapshot.descriptors, "descriptors")
                _expect_finite(ldos, snapshot.reference, "ldos")
                x.add(descriptors)
                y.add(ldos)
    return Scaling.from_moments(x, DESCRIPTOR_SCALE_FLOOR), Scaling.from_moments(y, LDOS_SCALE_FLOOR)


def sample_field(snapshots: Sequence[Snapshot], name: str, points: int, seed: int) -> np.ndarray:
    """`descriptors` or `ldos` of about `points` random grid points, shape (points, features), float64.

    Few planes are read.
    """
    generator = np.random.default_rng(seed)
    share = max(points // len(snapshots), 1)
    rows = []
    for snapshot in snapshots:
        nx, ny, nz = snapshot.shape
        planes = np.sort(generator.permutation(nx)[:SAMPLED_PLANES])
        with h5py.File(snapshot.descriptors if name == "descriptors" else snapshot.reference, "r") as file:
            for x in planes:
                plane = file[name][x].reshape(ny * nz, -1)
                rows.append(plane[generator.permutation(ny * nz)[: -(-share // len(planes))]])
    return np.concatenate(rows).astype(np.float64)


def radial_distributions(snapshots: Sequence[Snapshot], cutoff_A: float) -> np.ndarray:
    """g(r) of each snapshot up to the cutoff, shape (snapshots, bins)."""
    distributions = []
    for snapshot in snapshots:
        with open_dataset(snapshot.reference) as dataset:
            distributions.append(radial_distribution(atoms_of(dataset), cutoff_A)[1])
    return np.stack(distributions)


def count_chosen(shape: tuple[int, int, int], share: float) -> int:
    """Points of a snapshot that are taken where a share of each block is."""
    return sum(round_up((high - low) * shape[2], share) for _, low, high in blocks_of(shape))


def round_up(points: int, share: float) -> int:
    """A share of points, one of them at least."""
    return math.ceil(points * share)


def blocks_of(shape: tuple[int, int, int], points: int = BLOCK_POINTS) -> list[Block]:
    """Blocks (x, first y, last y + 1) that cover a grid; whole rows along z, at most `points` points or one row."""
    rows = max(points // shape[2], 1)
    return [(x, y, min(y + rows, shape[1])) for x in range(shape[0]) for y in range(0, shape[1], rows)]


class ShuffledRows:
    """Scaled rows of all snapshots in batches, shuffled anew in every epoch (see the module's policy).

    Batches are (descriptors, LDOS, snapshot), float32 of shape (batch_size, components) and (batch_size, energies), and
    the number of each row's snapshot, int32; the last one of an epoch may be smaller. share: part of the points of each
    block that are taken, chosen at random, the same in every epoch.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        descriptor_scaling: Scaling,
        ldos_scaling: Scaling,
        batch_size: int,
        seed: int,
        memory_bytes: int = MEMORY_BYTES,
        share: float = 1.0,
    ) -> None:
        self.snapshots = list(snapshots)
        self._share = share
        self._scalings = (descriptor_scaling, ldos_scaling)
        self._batch_size = batch_size
        self._seed = seed
        self._row_bytes = 4 * (descriptor_scaling.mean.size + ldos_scaling.mean.size + 1)
        self.points = sum(count_chosen(snapshot.shape, share) for snapshot in self.snapshots)
        self._buffer_points = max(memory_bytes // self._row_bytes, batch_size)
        self.in_memory = self.points <= self._buffer_points
        self._rows: Rows | None = None

    @property
    def batches(self) -> int:
        """Batches of one epoch."""
        return -(-self.points // self._batch_size)

    def epoch(self, number: int) -> Iterator[Rows]:
        """The batches of one epoch, every row once, in an order given by the seed and the epoch's number."""
        generator = np.random.default_rng([self._seed, number])
        if self.in_memory:
            yield from self._from_memory(generator)
        else:
            yield from self._from_files(generator)

    def in_order(self, comm: "Comm | None" = None) -> Iterator[tuple[int, Rows]]:
        """All rows once in the order of the files, in blocks, which the ranks take in turn: for sums over all rows.

        Each block comes with the number of its first row.
        """
        return self._in_order() if comm is None else islice(self._in_order(), comm.rank, None, comm.size)

    def _in_order(self) -> Iterator[tuple[int, Rows]]:
        if self.in_memory:
            rows = self._all_rows()
            for start in range(0, self.points, BLOCK_POINTS):
                yield start, tuple(part[start : start + BLOCK_POINTS] for part in rows)
            return
        start = 0
        for number, snapshot in enumerate(self.snapshots):
            with SnapshotReader(snapshot) as reader:
                for block in blocks_of(snapshot.shape):
                    rows = self._read(reader, block, number)
                    yield start, rows
                    start += len(rows[0])

    def _read(self, reader: "SnapshotReader", block: Block, number: int) -> Rows:
        rows = reader.read(block)
        if self._share < 1:
            generator = np.random.default_rng([self._seed, number, *block])
            points = len(rows[0])
            chosen = np.sort(generator.permutation(points)[: round_up(points, self._share)])
            rows = tuple(part[chosen] for part in rows)
        x, y = (scaling.apply(part) for scaling, part in zip(self._scalings, rows, strict=True))
        return x, y, np.full(len(x), number, dtype=np.int32)

    def _all_rows(self) -> Rows:
        if self._rows is None:
            x, y = (np.empty((self.points, scaling.mean.size), dtype=np.float32) for scaling in self._scalings)
            which = np.empty(self.points, dtype=np.int32)
            filled = 0
            for number, snapshot in enumerate(self.snapshots):
                with SnapshotReader(snapshot) as reader:
                    for block in blocks_of(snapshot.shape):
                        read = self._read(reader, block, number)
                        for whole, part in zip((x, y, which), read, strict=True):
                            whole[filled : filled + len(part)] = part
                        filled += len(read[0])
            self._rows = x, y, which
        return self._rows

    def _from_memory(self, generator: np.random.Generator) -> Iterator[Rows]:
        rows = self._all_rows()
        order = generator.permutation(self.points)
        for start in range(0, self.points, self._batch_size):
            yield tuple(part[order[start : start + self._batch_size]] for part in rows)

    def _from_files(self, generator: np.random.Generator) -> Iterator[Rows]:
        blocks = [
            (index, block) for index, snapshot in enumerate(self.snapshots) for block in blocks_of(snapshot.shape)
        ]
        generator.shuffle(blocks)
        waiting: list[Rows] = []
        held = 0
        with ExitStack() as stack:
            readers = [stack.enter_context(SnapshotReader(snapshot)) for snapshot in self.snapshots]
            for number, (index, block) in enumerate(blocks, start=1):
                waiting.append(self._read(readers[index], block, index))
                held += len(waiting[-1][0])
                last = number == len(blocks)
                if held < self._buffer_points and not last:
                    continue
                rows = [np.concatenate(arrays) for arrays in zip(*waiting, strict=True)]
                order = generator.permutation(held)
                usable = held if last else held - held % self._batch_size
                for start in range(0, usable, self._batch_size):
                    yield tuple(part[order[start : min(start + self._batch_size, usable)]] for part in rows)
                # rows that do not fill a batch wait for the next buffer
                waiting, held = [tuple(part[order[usable:]] for part in rows)], held - usable


class SnapshotReader:
    """Reads blocks of one snapshot's two files."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._files: list[h5py.File] = []

    def __enter__(self) -> "SnapshotReader":
        self._files = [h5py.File(self._snapshot.descriptors, "r"), h5py.File(self._snapshot.reference, "r")]
        self._fields = (self._files[0]["descriptors"], self._files[1]["ldos"])
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def read(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Descriptors (float64) and LDOS (float32, 1/(eV Å³)) of a block, one row per grid point."""
        x, low, high = block
        try:
            rows = [field[x, low:high] for field in self._fields]
        except OSError as error:
            raise InputError(
                f"{self._snapshot.descriptors} or {self._snapshot.reference}: expected whole HDF5 files, got {error}. "
                "Move the damaged one away and run again."
            ) from error
        return tuple(part.reshape(-1, part.shape[-1]) for part in rows)


def _describe_pair(reference: Path, descriptors: Path) -> tuple[Snapshot, Method, dict]:
    with open_dataset(reference) as ours, open_dataset(descriptors) as theirs:
        require(ours, "ldos", "energy", "positions", "cell", "atomic_numbers", path=reference)
        require(theirs, "descriptors", "positions", "cell", "atomic_numbers", path=descriptors)
        shape, other = ours["ldos"].shape[:3], theirs["descriptors"].shape[:3]
        if shape != other:
            raise InputError(
                f"{descriptors}: grid: expected {shape} as in {reference}, got {other}. Compute the descriptors again."
            )
        a, b = atoms_of(ours), atoms_of(theirs)
        same = len(a) == len(b) and (a.numbers == b.numbers).all()
        if same:
            cells = np.abs(np.asarray(a.cell) - np.asarray(b.cell)).max()
            fractional = (a.positions - b.positions) @ np.linalg.inv(np.asarray(a.cell))
            moved = np.abs((fractional - np.round(fractional)) @ np.asarray(a.cell)).max()
            same = max(cells, moved) < POSITION_TOLERANCE_A
        if not same:
            raise InputError(
                f"{descriptors}: atoms: expected the structure of {reference}, got another one. Compute the "
                "descriptors of the same snapshot."
            )
        method, settings, described = read_method(ours, reference), settings_of(ours), settings_of(theirs)
        facts = {
            "components": int(theirs["descriptors"].shape[-1]),
            "elements": list(find_key(described, "elements", path=descriptors)),
            "descriptors": {k: v for k, v in described.items() if k != "elements"},
        }
        if len(method.energies_eV) != ours["ldos"].shape[-1]:
            raise InputError(
                f"{reference}: ldos: expected {len(method.energies_eV)} energies, got {ours['ldos'].shape[-1]}."
            )
        if missing := sorted(set(a.symbols) - set(method.valence)):
            raise InputError(f"{reference}: valence: expected one for {', '.join(missing)}, found none.")
        key = "electron_temperature_K" if settings.get("electron_temperature_K") is not None else "temperature_K"
        temperature = positive_number(settings, key, path=reference)
        electrons = float(sum(method.valence[symbol] for symbol in a.symbols))
        numbers = (temperature, electrons, float(a.get_volume()), len(a))
    return Snapshot(reference, descriptors, tuple(int(n) for n in shape), *numbers), method, facts


def _expect_equal(first: dict, second: dict, one: Snapshot, other: Snapshot) -> None:
    """Raise InputError unless two descriptor datasets say the same, but for what changes no number."""
    for key, expected in first.items():
        got = second[key]
        if key == "descriptors":
            names = sorted({*expected, *got} - set(NEUTRAL_KEYS))
            names = [name for name in names if expected.get(name) != got.get(name)]
            expected, got = (", ".join(f"{name} = {value.get(name)}" for name in names) for value in (expected, got))
        if got != expected:
            raise InputError(
                f"{other.descriptors}: {key}: expected {expected} as in {one.descriptors}, got {got}. All snapshots of "
                "a training need the same settings: run the rule that made the file again."
            )


def _expect_finite(rows: np.ndarray, path: Path, name: str) -> None:
    if not np.isfinite(rows).all():
        raise InputError(
            f"{path}: {name}: expected finite numbers, got NaN or infinity. "
            "Get a whole copy, or move it away and run the rule that makes it."
        )

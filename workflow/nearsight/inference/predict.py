"""From atoms to DOS and density on a part of the grid: descriptors, network and reduction, chunk by chunk."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms

from nearsight.descriptors.interface import Descriptor, check_elements
from nearsight.errors import NearsightError
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, split_compactly
from nearsight.grids.tiles import THREAD_POINTS
from nearsight.inference.network import FoldedNetwork, fold_network
from nearsight.model.bundle import ModelBundle
from nearsight.structures.checks import check_structure

#: (atoms near the region, region) -> descriptors of its points, shape (*lengths of region, components)
DescriptorSource = Callable[[Atoms, Region], np.ndarray]


@dataclass
class StageSeconds:
    """Processor time of all threads together, by stage, in s; `network` includes the reduction."""

    descriptors: float = 0.0
    network: float = 0.0

    def add(self, other: "StageSeconds") -> None:
        """Include another's."""
        self.descriptors += other.descriptors
        self.network += other.network


@dataclass(frozen=True)
class TilePrediction:
    """What is known of a region: its share of the DOS in 1/eV, shape (energies,), and its fields, all in float64.

    fields: shape (*lengths of region, k), integrals of the LDOS over energy with k weight vectors; ldos: shape
    (*lengths of region, energies) in 1/(eV Å³), float32, where it was asked for; features: the network's, summed over
    the region, shape (width,), unless the tile was read from a file.
    """

    region: Region
    dos: np.ndarray
    fields: np.ndarray
    ldos: np.ndarray | None = None
    seconds: StageSeconds = field(default_factory=StageSeconds)
    features: np.ndarray | None = None


@dataclass(frozen=True)
class StructurePredictor:
    """A model and a structure on a grid, ready to predict any region of it on `threads` threads.

    reach_A: the cutoff of the descriptors.
    """

    network: FoldedNetwork
    source: DescriptorSource
    atoms: Atoms
    grid: RealGrid
    reach_A: float
    threads: int

    def predict(self, region: Region, projection: np.ndarray, *, keep_ldos: bool = False) -> TilePrediction:
        """Predict a region; projection: weight vectors of its fields, shape (energies, k).

        Bitwise the same fields whatever regions the grid is cut into. Raises NearsightError where a number is not
        finite.
        """
        near = atoms_near(self.atoms, self.grid, region, self.reach_A)
        lengths, origin = region.shape, region.origin
        fields = np.empty((*lengths, projection.shape[1]))
        ldos = np.empty((*lengths, self.network.energies), dtype=np.float32) if keep_ldos else None

        def predict_chunk(part: Region) -> tuple[np.ndarray, StageSeconds]:
            started = time.thread_time()
            rows = self.source(near, part)
            rows = rows.reshape(-1, rows.shape[-1])
            described = time.thread_time()
            sums = self.network.reduce(rows, projection, keep_ldos=keep_ldos)
            if not np.isfinite(sums.total).all():
                raise NearsightError(
                    f"prediction: expected finite numbers, got NaN or infinity in the block of grid points {part}: "
                    "two atoms in one place, or a damaged model."
                )
            inside = part.slices(origin)
            fields[inside] = sums.values.reshape(*part.shape, -1)
            if ldos is not None:
                ldos[inside] = sums.ldos.reshape(*part.shape, -1)
            return sums.total, StageSeconds(described - started, time.thread_time() - described)

        total, seconds = np.zeros(self.network.width), StageSeconds()
        with one_torch_thread(), ThreadPoolExecutor(self.threads) as pool:
            for chunk_total, chunk_seconds in pool.map(predict_chunk, split_compactly(region, THREAD_POINTS)):
                total += chunk_total
                seconds.add(chunk_seconds)
        dos = self.network.dos(total, region.points, self.grid.voxel)
        return TilePrediction(region, dos, fields, ldos, seconds, total)

    def predict_spectrum(
        self, tile_points: int, progress: Callable[[Iterable], Iterable] = iter
    ) -> tuple[np.ndarray, np.ndarray]:
        """DOS of the whole grid in 1/eV, shape (energies,), and mean of the network's features, shape (width,)."""
        no_fields = np.zeros((self.network.energies, 0))
        tiles = split_compactly(self.grid.whole, tile_points)
        parts = [self.predict(tile, no_fields) for tile in progress(tiles)]
        features = np.sum([part.features for part in parts], axis=0) / self.grid.points
        return np.sum([part.dos for part in parts], axis=0), features


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch from splitting its products over threads: each of ours has chunks of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_predictor(
    model: ModelBundle,
    atoms: Atoms,
    grid: RealGrid,
    *,
    backend: str | None = None,
    precision: str,
    threads: int,
) -> StructurePredictor:
    """Check that the structure suits the model, fold the network, choose the source of descriptors.

    backend: of the descriptors, the one of the training if None; precision: float64, float32 or bfloat16, of the
    network; descriptors are in float64 for the first, else float32. Raises InputError for an element that the model
    does not know or a structure that cannot be a crystal.
    """
    check_structure(atoms)
    descriptor = model.descriptor(backend)
    check_elements(descriptor, atoms)
    network = fold_network(model, precision)
    return StructurePredictor(
        network=network,
        source=make_source(descriptor, atoms, grid, network.input_dtype),
        atoms=atoms,
        grid=grid,
        reach_A=descriptor.cutoff_A,
        threads=threads,
    )


def make_source(descriptor: Descriptor, atoms: Atoms, grid: RealGrid, dtype: np.dtype) -> DescriptorSource:
    """How chunks get their descriptors. Where only whole grids can be computed, one array is held in memory."""
    if descriptor.whole_grid:
        whole = np.empty((*grid.shape, descriptor.components), dtype=dtype)
        descriptor.compute(atoms, grid, grid.whole, whole)
        return lambda _, region: np.ascontiguousarray(whole[region.slices()])

    def compute(near: Atoms, region: Region) -> np.ndarray:
        return descriptor.compute(near, grid, region, np.empty((*region.shape, descriptor.components), dtype))

    return compute


def atoms_near(atoms: Atoms, grid: RealGrid, region: Region, reach_A: float) -> Atoms:
    """The atoms of which some periodic image may be within `reach_A` of a grid point of the region, in their order.

    Compares distances between lattice planes along each axis: a few more atoms than needed, never too few.
    """
    # distances between opposite faces of the cell
    heights = 1 / np.linalg.norm(np.linalg.inv(grid.cell), axis=0)
    near = np.ones(len(atoms), dtype=bool)
    scaled = atoms.get_scaled_positions(wrap=False)
    for axis, ((start, stop), n) in enumerate(zip(region, grid.shape, strict=True)):
        margin = reach_A / heights[axis] + 1e-9
        length = (stop - 1 - start) / n
        # the way from the lower end of the interval, less the margin, upwards around the cell
        near &= np.mod(scaled[:, axis] - (start / n - margin), 1.0) <= length + 2 * margin
    return atoms[near]

"""One batch of a prediction: its tiles, dealt to threads and ranks, and its file."""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.datasets import create_field_file, variables_of_atoms
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, split_compactly
from nearsight.inference.plan import PredictionPlan
from nearsight.inference.predict import StageSeconds, prepare_predictor
from nearsight.inference.store import TileStore, open_store
from nearsight.ldos import fermi_weights
from nearsight.model.bundle import ModelBundle
from nearsight.mpi import on_rank_0
from nearsight.versions import STAGES

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

#: The density at the plan's μ0 and its derivatives with respect to μ, as a batch's file stores them.
TAYLOR_FIELDS = ("density", "density_slope", "density_curvature")


def predict_batch(
    plan: PredictionPlan,
    number: int,
    model: ModelBundle,
    atoms: Atoms,
    output: Path,
    *,
    plan_sha256: str,
    provenance: Callable[[dict], dict],
    threads: int,
    comm: "Comm",
    progress: Callable[[Iterable], Iterable] = iter,
) -> StageSeconds:
    """Predict batch `number` of the plan and write its file; all ranks of `comm` call it, each takes some tiles.

    The tiles that an earlier run finished are not computed again. provenance: settings -> record of the file's origin;
    progress: wraps the sizes (in points) of this rank's tiles. Memory is set by the plan's tile.
    """
    region = plan.batches[number]
    tiles = split_compactly(region, plan.tile_points)
    identity = {"plan": plan_sha256, "level": plan.fermi_level_eV, "batch": number, "version": STAGES["inference"]}
    store = on_rank_0(comm, lambda: open_store(output, identity))
    missing = on_rank_0(comm, lambda: [tile for tile in tiles if not store.has(tile)])
    if len(missing) < len(tiles):
        logger.info("%d of %d tiles are there from an earlier run", len(tiles) - len(missing), len(tiles))
    weights = fermi_weights(model.energies_of(atoms), plan.fermi_level_eV, plan.temperature_K, model.broadening_eV)
    projection = np.stack([weights.count, weights.count_slope, weights.count_curvature], axis=1)
    grid = RealGrid(atoms.cell, plan.shape)
    predictor = prepare_predictor(model, atoms, grid, backend=plan.backend, precision=plan.precision, threads=threads)
    started = time.perf_counter()
    mine = missing[comm.rank :: comm.size]
    for tile in progress(mine) if comm.rank == 0 else mine:
        store.write(predictor.predict(tile, projection, keep_ldos=plan.keep_ldos))
    comm.Barrier()
    seconds = time.perf_counter() - started

    def finish() -> StageSeconds:
        spent = join_tiles(store, tiles, region, plan, model, atoms, output, plan_sha256, provenance)
        store.remove()
        return spent

    spent = on_rank_0(comm, finish)
    points = max(region.points, 1)
    cores = threads * comm.size
    logger.info(
        "batch %d: %d points, %d ranks x %d threads, %.1f s (%.2f µs per point and core); descriptors %.2f, "
        "network %.2f µs per point",
        number, points, comm.size, threads, seconds, seconds * cores / points * 1e6, spent.descriptors / points * 1e6,
        spent.network / points * 1e6,
    )  # fmt: skip
    return spent


def join_tiles(
    store: TileStore,
    tiles: list[Region],
    region: Region,
    plan: PredictionPlan,
    model: ModelBundle,
    atoms: Atoms,
    output: Path,
    plan_sha256: str,
    provenance: Callable[[dict], dict],
) -> StageSeconds:
    """Write the batch's file from its tiles, one tile in memory at a time."""
    settings = {
        "region": region,
        "grid_shape": plan.shape,
        "fermi_level_eV": plan.fermi_level_eV,
        "electrons": plan.electrons,
        "temperature_K": plan.temperature_K,
        "broadening_eV": model.broadening_eV,
        "plan_sha256": plan_sha256,
    }
    spent = StageSeconds()
    dos = np.zeros(model.energy_grid.count)
    fields = dict.fromkeys(TAYLOR_FIELDS, region.shape)
    if plan.keep_ldos:
        fields["ldos"] = (*region.shape, model.energy_grid.count)
    variables = {"dos": dos, "energy": model.energies_of(atoms).energies_eV, **variables_of_atoms(atoms)}
    with create_field_file(output, fields, variables, settings, provenance(settings)) as targets:
        for number in tiles:
            tile = store.read(number)
            inside = tile.region.slices(region.origin)
            for index, name in enumerate(TAYLOR_FIELDS):
                targets[name][inside] = tile.fields[..., index]
            if plan.keep_ldos:
                targets["ldos"][inside] = tile.ldos
            dos += tile.dos
            spent.add(tile.seconds)
        targets["density"].file["dos"][...] = dos
    return spent

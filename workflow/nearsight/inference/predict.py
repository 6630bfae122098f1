"""The main pass: a batch of tiles to density, dn/dμ and DOS at the pre-pass's Fermi level."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from nearsight.inference.tiles import Block, iterate_tiles
from nearsight.ldos import FermiWeights, dos_from_ldos
from nearsight.model.bundle import ModelBundle


@dataclass(frozen=True)
class BatchPrediction:
    """One batch: DOS share in 1/eV, shape (energies,); density at μ0 in 1/Å³ and dn/dμ in 1/(eV Å³) on the block.

    ldos: shape (*block, energies) in 1/(eV Å³) where it was asked for, else None.
    """

    block: Block
    dos: np.ndarray
    density: np.ndarray
    density_slope: np.ndarray
    ldos: np.ndarray | None


def predict_batch(
    model: ModelBundle,
    descriptors: xr.Dataset,
    block: Block,
    tile_shape: tuple[int, int, int],
    weights: FermiWeights,
    voxel_volume_A3: float,
    *,
    keep_ldos: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> BatchPrediction:
    """Predict a block of the grid tile by tile; memory is set by the tile (and by the LDOS only if it is kept)."""
    count = model.energy_grid.count
    dos = np.zeros(count)
    density, slope = np.empty(block.shape), np.empty(block.shape)
    kept = np.empty((*block.shape, count), dtype=np.float32) if keep_ldos else None
    projection = np.stack([weights.count, weights.count_slope], axis=1)
    for tile in progress(list(iterate_tiles(block, tile_shape))):
        features = descriptors["bispectrum"][tile.slices].values
        ldos = model.predict_ldos(features.reshape(-1, features.shape[-1]))
        inside = tile.slices_within(block)
        values = (ldos @ projection).reshape(*tile.shape, 2)
        density[inside], slope[inside] = values[..., 0], values[..., 1]
        dos += dos_from_ldos(ldos, voxel_volume_A3)
        if kept is not None:
            kept[inside] = ldos.reshape(*tile.shape, count)
    return BatchPrediction(block, dos, density, slope, kept)

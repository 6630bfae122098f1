"""The finished tiles of a batch on disk, so that a killed job resumes where it stopped.

They lie in a hidden folder beside the batch's file, one file each, whole; the batch's file appears when all are there.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from nearsight.files import write_whole
from nearsight.grids.regions import Region
from nearsight.inference.predict import StageSeconds, TilePrediction
from nearsight.resume import open_folder


@dataclass(frozen=True)
class TileStore:
    """Tiles of one batch in `folder`."""

    folder: Path

    def write(self, tile: TilePrediction) -> None:
        """Write a tile, whole or not at all."""
        seconds = np.array([tile.seconds.descriptors, tile.seconds.network])
        arrays = {"dos": tile.dos, "fields": tile.fields, "seconds": seconds}
        if tile.ldos is not None:
            arrays["ldos"] = tile.ldos
        with write_whole(self._path(tile.region)) as path:
            safetensors.numpy.save_file(arrays, path)

    def read(self, region: Region) -> TilePrediction | None:
        """The tile of a region; None where there is none, or a damaged one."""
        try:
            arrays = safetensors.numpy.load_file(self._path(region))
        except (OSError, safetensors.SafetensorError):
            return None
        dos, fields, seconds = (arrays.get(name, np.empty(0)) for name in ("dos", "fields", "seconds"))
        ldos = arrays.get("ldos")
        lengths = region.shape
        good = dos.ndim == 1 and seconds.shape == (2,) and fields.shape[:-1] == lengths
        good &= ldos is None or (ldos.shape == (*lengths, dos.size) and ldos.dtype == np.float32)
        good &= all(array.dtype == np.float64 and np.isfinite(array).all() for array in (dos, fields, seconds))
        return TilePrediction(region, dos, fields, ldos, StageSeconds(*seconds.tolist())) if good else None

    def has(self, region: Region) -> bool:
        """Whether there is a whole, undamaged tile of the region."""
        return self._path(region).is_file() and self.read(region) is not None

    def remove(self) -> None:
        """Remove all tiles."""
        shutil.rmtree(self.folder)

    def _path(self, region: Region) -> Path:
        return self.folder / ("tile-" + "-".join(f"{start}.{stop}" for start, stop in region) + ".safetensors")


def open_store(output: Path, identity: dict) -> TileStore:
    """The store of a batch's file, an earlier run's if it was made from the same input. By one process alone.

    identity: all that the numbers depend on, as JSON.
    """
    return TileStore(open_folder(output, "tiles", identity)[0])

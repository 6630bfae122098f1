"""The finished tiles of a batch on disk, so that a job that was killed goes on where it stopped.

They lie in a hidden folder beside the batch's file, one file each, whole; the batch's file appears when all are there.
"""

import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.descriptors.bricks import Region
from nearsight.files import explain_storage, write_json, write_whole
from nearsight.inference.predict import StageSeconds, TilePrediction


@dataclass(frozen=True)
class TileStore:
    """Tiles of one batch in `folder`."""

    folder: Path

    def write(self, tile: TilePrediction) -> None:
        """Write a tile, whole or not at all."""
        arrays = {"dos": tile.dos, "fields": tile.fields, "seconds": [tile.seconds.descriptors, tile.seconds.network]}
        if tile.ldos is not None:
            arrays["ldos"] = tile.ldos
        with write_whole(self._path(tile.region)) as path:
            np.savez(path, **arrays)

    def read(self, region: Region) -> TilePrediction | None:
        """The tile of a region; None where there is none, or a damaged one."""
        try:
            with open(self._path(region), "rb") as file, np.load(file, allow_pickle=False) as arrays:
                ldos = arrays["ldos"] if "ldos" in arrays.files else None
                return TilePrediction(region, arrays["dos"], arrays["fields"], ldos, StageSeconds(*arrays["seconds"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def has(self, region: Region) -> bool:
        """Whether there is a whole, undamaged tile of the region."""
        return self._path(region).is_file() and self.read(region) is not None

    def remove(self) -> None:
        """Remove all tiles."""
        shutil.rmtree(self.folder)

    def _path(self, region: Region) -> Path:
        return self.folder / ("tile-" + "-".join(f"{start}.{stop}" for start, stop in region) + ".npz")


def open_store(output: Path, identity: dict) -> TileStore:
    """The store of a batch's file, an earlier run's if it was made from the same input. By one process alone.

    identity: all that the numbers depend on, as JSON.
    """
    folder = output.with_name(f".{output.stem}.tiles")
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    try:
        known = json.loads((folder / "job.json").read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known != fingerprint:
        with explain_storage(output):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        write_json(folder / "job.json", {"fingerprint": fingerprint})
    return TileStore(folder)

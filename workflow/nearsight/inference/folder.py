"""The folder of a prediction: whose it is, so that nobody else's files are ever overwritten."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ase import Atoms

from nearsight.errors import InputError, StorageError
from nearsight.files import explain_storage, read_json, write_json

logger = logging.getLogger("nearsight")

#: The file by which a folder is known to be a prediction's.
MARKER = "request.json"

#: What a prediction may leave in its folder, besides pseudopotentials (*.upf).
PRODUCTS = (
    *("plan.json", "structure.extxyz", "prediction.h5", "dos.csv", "observables.json", "energies.json", "ldos.h5"),
    *("batch-0.h5", "view.html"),
)


@dataclass(frozen=True)
class Request:
    """What a folder's prediction is of: SHA-256 of the structure and of the model's weights."""

    structure_sha256: str
    model_sha256: str


def sha256_of_structure(atoms: Atoms) -> str:
    """SHA-256 of elements, cell and positions, bit by bit."""
    digest = hashlib.sha256()
    for array in (atoms.numbers.astype("<i4"), atoms.cell.array.astype("<f8"), atoms.positions.astype("<f8")):
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_folder(folder: Path, request: Request, inputs: Sequence[Path] = (), *, overwrite: bool = False) -> None:
    """Raise InputError unless `folder` is new, empty, or of this very request; nothing is written.

    inputs: files that the prediction reads, which must not lie in the folder. overwrite: whether the folder may be of
    another prediction; it may never be one of other files.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder for the results, got a file. Name another one with --out.")
    for path in inputs:
        if path.resolve().parent == folder.resolve():
            raise InputError(
                f"{folder}: expected a folder of its own for the results, got the one of {path.name}, which is read. "
                "Name another one with --out."
            )
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if not found:
        return
    if MARKER not in found:
        raise InputError(
            f"{folder}: expected a new or empty folder, or one of an earlier prediction, got one with "
            f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}. Name another one with --out."
        )
    marker = read_json(folder / MARKER)
    different = [
        what
        for what, key in (("structure", "structure_sha256"), ("model", "model_sha256"))
        if marker.get(key) != getattr(request, key)
    ]
    if different and not overwrite:
        raise InputError(
            f"{folder}: expected a folder of this structure and model, got the prediction of another "
            f"{' and another '.join(different)}. Name another one with --out, or give --overwrite to replace it."
        )


def claim_folder(folder: Path, request: Request) -> None:
    """Make the folder this request's: write its marker, and remove all products of an earlier one."""
    with explain_storage(folder / MARKER):
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / MARKER).exists() and read_json(folder / MARKER) != asdict(request):
            shutil.rmtree(folder / ".batch-0.tiles", ignore_errors=True)
        for path in (*(folder / name for name in PRODUCTS), *folder.glob("*.upf")):
            path.unlink(missing_ok=True)
    write_json(folder / MARKER, asdict(request))


def check_disk(folder: Path, needed_bytes: float) -> None:
    """Log what a prediction takes on disk. Raises StorageError where there is less free."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    # what an earlier run left is overwritten, or used
    old = sum(path.stat().st_size for path in folder.glob(".batch-0.tiles/*")) if folder.exists() else 0
    logger.info("disk: about %.2f GB at most, %.2f GB free", needed_bytes / 1e9, free / 1e9)
    if needed_bytes > free + old:
        raise StorageError(
            f"{folder}: expected {needed_bytes / 1e9:.2f} GB of free disk for this grid, got {free / 1e9:.2f} GB. Free "
            "space, name a folder on a larger disk with --out, or take a coarser grid."
        )

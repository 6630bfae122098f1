"""Folders for Quantum ESPRESSO's files: scratch that is always removed, results that appear only when complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.errors import InputError
from nearsight.files import explain_storage, remove_leftovers

#: QE's `prefix` in all runs; the folder around it tells the runs apart.
PREFIX = "nearsight"
SAVE = f"{PREFIX}.save"

#: What identifies a save folder.
XML = "data-file-schema.xml"


@contextmanager
def scratch_folder(beside: str | Path) -> Iterator[Path]:
    """Yield a new folder beside the path `beside`, removed at the end, also after an error.

    What a killed job left is removed by the next one. Raises StorageError where the machine refuses to write.
    """
    beside = Path(beside)
    with explain_storage(beside):
        beside.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(beside, "scratch")
        folder = beside.with_name(f".{beside.name}.scratch-{os.getpid()}")
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """Yield a new folder that becomes `target` if the block succeeds; after an error nothing is left."""
    target = Path(target)
    with scratch_folder(target) as scratch:
        folder = scratch / "whole"
        folder.mkdir()
        yield folder
        if target.exists():
            shutil.rmtree(target)
        os.replace(folder, target)


def copy_save(scf: str | Path, folder: Path, *, wavefunctions: bool) -> None:
    """Copy an SCF's save folder into `folder`, for a run that writes in it or beside it.

    Raises InputError where `scf` is not a whole folder of run_scf.
    """
    save = require_save(scf)
    (folder / SAVE).mkdir()
    for path in save.iterdir():
        if path.is_file() and (wavefunctions or not path.name.startswith("wfc")):
            shutil.copyfile(path, folder / SAVE / path.name)


def save_of(folder: str | Path) -> Path:
    """The save folder of a run in `folder`, or the folder itself where it is one, of whatever prefix."""
    return Path(folder) if (Path(folder) / XML).is_file() else Path(folder) / SAVE


def require_save(scf: str | Path) -> Path:
    """The save folder of a whole SCF run. Raises InputError where its parts are missing."""
    save = save_of(scf)
    # a QE built with HDF5 writes the density in that format
    for names in ((XML,), ("charge-density.dat", "charge-density.hdf5")):
        if not any((save / name).is_file() for name in names):
            raise InputError(f"{save / names[0]}: expected a file of the SCF run, found none. Run run_scf again.")
    return save

"""Deposits of the data behind the paper's figures: small files and a manifest of checksums."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nearsight import __version__
from nearsight.errors import InputError
from nearsight.figures.contents import MANIFEST, TABLES, data_names
from nearsight.figures.tables import LARGEST_TABLE
from nearsight.files import read_json, sha256_of, write_json, write_whole


def write_deposit(files: Sequence[Path], folder: Path, settings: dict) -> None:
    """Copy figure data to a folder and write its manifest, last. Raises InputError where a file is too large."""
    for path in files:
        if path.stat().st_size > 2 * LARGEST_TABLE:
            raise InputError(f"{path}: expected at most {2 * LARGEST_TABLE >> 20} MiB in a deposit. Prepare it again.")
    for path in files:
        copy_whole(path, folder / path.name)
    write_json(
        folder / MANIFEST,
        {
            "nearsight": __version__,
            "settings": settings,
            "sha256": {path.name: sha256_of(folder / path.name) for path in sorted(files, key=lambda path: path.name)},
        },
    )


def take_deposit(folder: Path, outputs: Sequence[Path]) -> None:
    """Copy a deposit's files to the outputs with their names, once all match the manifest.

    Raises InputError where one is missing or not what was deposited.
    """
    sums = read_json(folder / MANIFEST).get("sha256")
    wanted = sorted(name for figure in TABLES for name in data_names(figure))
    if not isinstance(sums, dict) or sorted(sums) != wanted:
        raise InputError(f"{folder / MANIFEST}: expected the checksums of {', '.join(wanted)}. Get a whole copy.")
    for path in outputs:
        source = folder / path.name
        if not source.is_file() or sha256_of(source) != sums.get(path.name):
            found = "a changed file" if source.is_file() else "none"
            raise InputError(f"{source}: expected the file that was deposited, found {found}. Get a whole copy.")
    for path in outputs:
        copy_whole(folder / path.name, path)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file's bytes, whole or not at all."""
    with write_whole(target) as path:
        shutil.copyfile(source, path)

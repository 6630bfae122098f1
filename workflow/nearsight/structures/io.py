"""Structures on disk, through ASE; whatever is read is checked."""

from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms
from ase.io.formats import filetype, ioformats

from nearsight.errors import InputError
from nearsight.files import write_whole
from nearsight.structures.checks import check_structure


def read_structure(path: str | Path) -> Atoms:
    """The last structure of a file in any format that ASE knows, checked.

    Raises InputError where the file is missing or unreadable or the structure cannot be a crystal.
    """
    return read_frames(path)[-1]


def read_frames(path: str | Path) -> list[Atoms]:
    """All structures of a file, each checked. Raises InputError as read_structure does."""
    if not Path(path).is_file():
        raise InputError(
            f"{path}: expected a structure file, found none. Check the path, or run the rule that makes it."
        )
    # an object, not the name: in a name ASE would read '@' and '*' as an index and a pattern
    try:
        file_format = filetype(str(path))
        mode = "rb" if ioformats[file_format].isbinary else "r"
        with open(path, mode, encoding=None if mode == "rb" else "utf-8") as handle:
            # parallel=False: under MPI, ASE would make this a collective call, and one rank alone may be reading
            frames = ase.io.read(handle, index=":", format=file_format, parallel=False)
    except Exception as error:  # every reader of ASE raises errors of its own
        raise InputError(
            f"{path}: expected a structure in a format that ASE reads, got {type(error).__name__}: {error}. "
            "Check the file and its suffix."
        ) from error
    if not frames:
        raise InputError(f"{path}: expected a structure, got an empty file. Run the rule that makes it again.")
    for frame in frames:
        check_structure(frame, path)
    return frames


def write_structure(path: str | Path, atoms: Atoms | Sequence[Atoms]) -> None:
    """Write one structure or a trajectory as extended XYZ, whole or not at all."""
    with write_whole(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        ase.io.write(handle, atoms, format="extxyz")

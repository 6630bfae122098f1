"""Structures on disk, through ASE; whatever is read is checked."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import ase.io
from ase import Atoms
from ase.io.formats import filetype

from nearsight.errors import InputError
from nearsight.files import bounded_memory, open_regular, write_whole
from nearsight.structures.checks import check_structure

#: Formats that are read: plain text, by readers of ASE that parse numbers and no more. Others of its eighty start
#: programs, open further files that the first one names, or hold objects.
FORMATS = ("extxyz", "cif", "vasp", "espresso-in", "xsf")

#: Bytes of the largest file: a trajectory of a hundred thousand atoms over some hundred steps.
LARGEST_STRUCTURE = 4 << 30

#: Memory that ASE may take beside what the process has, and for each byte of the file: a few bytes of text can announce
#: 10¹² atoms or columns, for which its readers make room.
MEMORY_BYTES = 256 << 20
MEMORY_PER_BYTE = 50


def read_structure(path: str | Path) -> Atoms:
    """The last structure of a file in one of FORMATS, checked.

    Raises InputError where the file is missing or unreadable or the structure cannot be a crystal.
    """
    return read_frames(path)[-1]


def read_frames(path: str | Path) -> list[Atoms]:
    """All structures of a file, each checked. Raises InputError as read_structure does."""
    advice = "Check the path, or run the rule that makes it."
    with open_regular(path, "a structure file", advice, LARGEST_STRUCTURE) as handle:
        try:
            file_format = filetype(str(path))
            if file_format not in FORMATS:
                raise ValueError(f"the format {file_format}, which is not read from others' files")
            # an object, not the name: in a name ASE would read '@' and '*' as an index and a pattern
            text = io.TextIOWrapper(handle, encoding="utf-8")
            size = os.fstat(handle.fileno()).st_size
            # parallel=False: under MPI, ASE would make this a collective call, and one rank alone may be reading
            if file_format == "extxyz":
                check_numbers_of_atoms(text)
            with bounded_memory(MEMORY_BYTES + MEMORY_PER_BYTE * size):
                frames = ase.io.read(text, index=":", format=file_format, parallel=False)
        except Exception as error:  # every reader of ASE raises errors of its own
            raise InputError(
                f"{path}: expected a structure in a format that ASE reads ({', '.join(FORMATS)}), got "
                f"{type(error).__name__}: {str(error)[:500]}. Check the file and its suffix."
            ) from error
    if not frames:
        raise InputError(f"{path}: expected a structure, got an empty file. Run the rule that makes it again.")
    for frame in frames:
        check_structure(frame, path)
    return frames


def check_numbers_of_atoms(text: TextIO) -> None:
    """Raise ValueError where a frame of an XYZ file announces more atoms than there are lines; rewind the file.

    ASE's reader counts to the number that it is told, also past the end: to 10¹⁵ in a file of two lines.
    """
    header = text.readline()
    while header.strip():
        count = int(header)
        for _ in range(count + 1):  # and the comment
            if not text.readline():
                raise ValueError(f"{count} atoms announced, fewer lines")
        header = text.readline()
        while header.lstrip().startswith("VEC"):
            header = text.readline()
    text.seek(0)


def write_structure(path: str | Path, atoms: Atoms | Sequence[Atoms]) -> None:
    """Write one structure or a trajectory as extended XYZ, whole or not at all."""
    with write_whole(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        ase.io.write(handle, atoms, format="extxyz", parallel=False)

"""Structures on disk, through ASE: everything read is checked, and what cannot be used is refused or named."""

import bz2
import gzip
import io
import logging
import lzma
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TextIO

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io.espresso import read_fortran_namelist
from ase.io.formats import filetype

from nearsight.errors import InputError
from nearsight.files import bounded_memory, open_regular, write_whole
from nearsight.structures.checks import check_structure, require_same_cell, turn_right_handed

logger = logging.getLogger("nearsight")

#: Formats that are read: plain text, by readers of ASE that parse numbers and no more. Others of its eighty start
#: programs, open further files that the first one names, or hold objects.
FORMATS = ("extxyz", "cif", "vasp", "vasp-xdatcar", "espresso-in", "xsf", "lammps-dump-text")

#: What extended XYZ says of its columns where there are elements and positions alone.
PLAIN_COLUMNS = "Properties=species:S:1:pos:R:3"

#: Bytes of the largest file: a trajectory of a hundred thousand atoms over some hundred steps. A packed one is unpacked
#: in memory.
LARGEST_STRUCTURE = 4 << 30
LARGEST_UNPACKED = 256 << 20

#: Memory that ASE may take besides what the process has, and for each byte of the file: a few bytes of text can
#: announce 10¹² atoms or columns, for which its readers make room.
MEMORY_BYTES = 256 << 20
MEMORY_PER_BYTE = 50

UNPACKERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

#: Entries of `Atoms.info`, arrays and results of calculators that no prediction takes into account.
CHARGES = ("charge", "total_charge", "net_charge", "tot_charge")
UNUSED = {
    "charges of the atoms": ("initial_charges", "charges", "charge"),
    "magnetic moments": ("initial_magmoms", "magmoms", "magmom"),
}


def read_structure(source: str | Path) -> Atoms:
    """One structure of a file in one of FORMATS, checked: `FILE@INDEX`, counted from 0, or from -1 backwards.

    Without an index it is the last one, and a warning says so where there are others, which are not looked at. Raises
    InputError where the file is missing or unreadable, the structure cannot be a crystal, or the file says of it what
    no prediction can take into account.
    """
    path, index = split_index(source)
    chosen = -1 if index is None else index
    with _opened(path) as (text, file_format):
        blocks = cif_blocks(text.read()) if file_format == "cif" else None
        count = _count_frames(text, file_format) if blocks is None else len(blocks)
        if not -count <= chosen < count:
            raise InputError(f"expected a structure from @0 to @{count - 1} (or @-1, the last one), got @{index}.")
        if count > 1 and index is None:
            logger.warning("%s: %d structures; the last one is taken. %s@0 is the first.", path, count, path)
        if blocks is not None:
            text, chosen = io.StringIO(blocks[chosen]), -1
        atoms = _read_plain_xyz(text) if file_format == "extxyz" and count == 1 else None
        if atoms is None:
            text.seek(0)
            atoms = ase.io.read(text, index=chosen, format=file_format, parallel=False)
        text.seek(0)
        atoms = _usable(atoms, path, text.read() if file_format in ("cif", "espresso-in") else "")
    check_structure(atoms, source)
    return atoms


def read_frames(source: str | Path) -> list[Atoms]:
    """The structures of a file, each checked: all, or those of `FILE@INDEX` or `FILE@START:STOP:STEP`, as in ASE.

    Raises InputError as read_structure does, and where there is none.
    """
    path, chosen = split_frames(source)
    with _opened(path) as (text, file_format):
        if file_format != "cif":
            _count_frames(text, file_format)
        frames = ase.io.read(text, index=chosen, format=file_format, parallel=False)
        frames = [_usable(frame, path) for frame in frames]
    if not frames:
        raise InputError(f"{source}: expected at least one structure, got none.")
    for frame in frames:
        check_structure(frame, source)
    return frames


def take_frames(source: str | Path, cell: Atoms, count: int) -> list[Atoms]:
    """The first `count` frames of a file, with exactly the cell of the structure that they are of.

    Raises InputError where there are fewer, or one has other elements, another cell, or overlapping atoms.
    """
    frames = read_frames(source)
    if len(frames) < count:
        raise InputError(f"{source}: expected at least {count} frames, one per snapshot, got {len(frames)}.")
    taken = []
    for number, frame in enumerate(frames[:count]):
        require_same_cell(frame, cell, f"{source}: frame {number}")
        taken.append(Atoms(numbers=frame.numbers, positions=frame.positions, cell=cell.cell, pbc=True))
        check_structure(taken[-1], f"{source}: frame {number}")
    return taken


def split_index(source: str | Path) -> tuple[Path, int | None]:
    """File and index of `FILE@INDEX`; a file whose name has an @ itself comes first."""
    found = re.fullmatch(r"(.+)@(-?\d{1,9})", str(source), re.DOTALL)
    if found is None or os.path.lexists(source):
        return Path(source), None
    return Path(found[1]), int(found[2])


def split_frames(source: str | Path) -> tuple[Path, slice]:
    """File and frames of `FILE@INDEX` or `FILE@START:STOP:STEP`; a file whose name has an @ itself comes first."""
    path, index = split_index(source)
    if index is not None:
        return path, slice(index, index + 1 or None)
    number = r"(-?\d{1,9})?"
    found = re.fullmatch(rf"(.+)@{number}:{number}(?::{number})?", str(source), re.DOTALL)
    if found is None or os.path.lexists(source):
        return path, slice(None)
    start, stop, step = (int(word) if word else None for word in found.groups()[1:])
    if step is not None and step < 1:
        raise InputError(f"{source}: expected a step of at least 1 after @START:STOP:, got {step}.")
    return Path(found[1]), slice(start, stop, step)


@contextmanager
def _opened(path: Path | str) -> Iterator[tuple[TextIO, str]]:
    """Yield a structure file's text and format under a limit of memory; any error of the block is an InputError.

    The message of an InputError of the block is prefixed with the file's name.
    """
    advice = "Check the path, or run the rule that makes it."
    with open_regular(path, "a structure file", advice, LARGEST_STRUCTURE) as handle, warnings.catch_warnings():
        try:
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: logger.warning("%s: %s", path, message)
            file_format = filetype(str(path))
            if file_format not in FORMATS:
                raise ValueError(f"the format {file_format}, which is not read from others' files")
            content, size = _unpacked(handle, Path(path).suffix)
            # an object, not the name: in a name ASE would read '@' and '*' as an index and a pattern; names of authors
            # in old CIF files are in other encodings
            text = io.TextIOWrapper(content, encoding="utf-8", errors="replace")
            # parallel=False, in all calls: under MPI, ASE would make this a collective call, and one rank alone may be
            # reading
            with bounded_memory(MEMORY_BYTES + MEMORY_PER_BYTE * size):
                yield text, file_format
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:  # every reader of ASE raises errors of its own
            raise InputError(
                f"{path}: expected a structure in a format that ASE reads ({', '.join(FORMATS)}), got "
                f"{type(error).__name__}: {str(error)[:500]}. Check the file and its suffix."
            ) from error


def _unpacked(handle: BinaryIO, suffix: str) -> tuple[BinaryIO, int]:
    """A file's content, unpacked where its suffix says that it is packed, and its bytes."""
    if suffix not in UNPACKERS:
        return handle, os.fstat(handle.fileno()).st_size
    content = io.BytesIO()
    with bounded_memory(MEMORY_BYTES + 2 * LARGEST_UNPACKED):
        packed = UNPACKERS[suffix](handle)
        while part := packed.read(1 << 20):  # a larger number might be reserved at once
            if content.write(part) and content.tell() > LARGEST_UNPACKED:
                raise InputError(f"expected at most {LARGEST_UNPACKED >> 20} MiB when unpacked. Unpack it first.")
    size = content.tell()
    content.seek(0)
    return content, size


def _count_frames(text: TextIO, file_format: str) -> int:
    """How many structures a file other than CIF holds; rewind it.

    Raises InputError where it says too little of them. XSF and XDATCAR are read whole, so that all have to be sound.
    """
    count = 1
    if file_format == "extxyz":
        count = count_xyz_frames(text)
    elif file_format == "vasp":
        check_vasp_elements(text)
    elif file_format == "lammps-dump-text":
        count = check_lammps_dump(text)
    elif file_format in ("xsf", "vasp-xdatcar"):
        count = len(ase.io.read(text, index=":", format=file_format, parallel=False))
    text.seek(0)
    return count


def count_xyz_frames(text: TextIO) -> int:
    """How many frames an XYZ file holds. Raises InputError where one announces more atoms than there are lines.

    ASE's reader counts to the number in the file, even past its end: to 10¹⁵ in a file of two lines.
    """
    frames = 0
    header = text.readline()
    while header.strip():
        frames += 1
        count = int(header)
        for _ in range(count + 1):  # and the comment
            if not text.readline():
                raise InputError(f"expected as many lines as atoms, got {count} atoms announced, fewer lines.")
        header = text.readline()
        while header.lstrip().startswith("VEC"):
            header = text.readline()
    return frames


def _read_plain_xyz(text: TextIO) -> Atoms | None:
    """The only frame of an extended XYZ file with elements and positions alone; None where it says more of its atoms.

    ASE makes objects of all words, 16 kB an atom; here it reads the header with the first atom, and NumPy the others.
    """
    count, comment, first = (text.readline() for _ in range(3))
    if PLAIN_COLUMNS not in comment.split():
        return None
    atoms = ase.io.read(io.StringIO(f"1\n{comment}{first}"), format="extxyz", parallel=False)
    if atoms.calc is not None:
        return None
    columns = np.dtype([("symbol", "U3"), ("position", float, 3)])
    rows = np.loadtxt(chain([first], text), columns, comments=None, max_rows=int(count), ndmin=1)
    symbols, which = np.unique(rows["symbol"], return_inverse=True)
    numbers = np.array([atomic_numbers[symbol.capitalize()] for symbol in symbols])[which]
    return Atoms(numbers, rows["position"], cell=atoms.cell, pbc=atoms.pbc, info=atoms.info)


def check_vasp_elements(text: TextIO) -> None:
    """Raise InputError where a POSCAR of VASP 4, whose sixth line holds numbers, does not begin with its elements.

    ASE would make elements of any words there, or look for them in other files.
    """
    lines = [text.readline().split() for _ in range(6)]
    if lines[5] and lines[5][0].isdigit():
        known = all(word in chemical_symbols[1:] for word in lines[0])
        if not known or len(lines[0]) != len(lines[5]):
            raise InputError(
                "expected the elements, got a POSCAR of VASP 4, which does not name them. Put a line with them, such "
                "as `Mg O`, before the sixth line, which counts the atoms."
            )


def check_lammps_dump(text: TextIO) -> int:
    """How many frames a dump of LAMMPS holds. Raises InputError where it has no elements.

    ASE would take LAMMPS's types for atomic numbers.
    """
    frames, named = 0, False
    for line in text:
        frames += line.startswith("ITEM: TIMESTEP")
        if line.startswith("ITEM: ATOMS"):
            named = "element" in line.split()
            if not named:
                break
    if not named:
        raise InputError(
            "expected the elements of the atoms, got a dump without them. Write it with `dump 1 all custom 100 FILE id "
            "element x y z` and `dump_modify 1 element Be`."
        )
    return frames


def cif_blocks(text: str) -> list[str]:
    """The data blocks of a CIF file that hold atoms. Raises InputError where there is none."""
    blocks: list[list[str]] = [[]]
    inside = False  # a text between lines that begin with a semicolon
    for line in text.splitlines(keepends=True):
        inside ^= line.startswith(";")
        if not inside and line.lower().startswith("data_"):
            blocks.append([])
        blocks[-1].append(line)
    found = [block for block in map("".join, blocks) if "_atom_site_" in block.lower()]
    if not found:
        raise InputError("expected a data block with atoms (_atom_site_...), found none.")
    return found


def _usable(atoms: Atoms, path: Path | str, text: str = "") -> Atoms:
    """The structure with right-handed vectors; what the file says that no prediction takes into account is named.

    text: of a CIF block or a pw.x input. Raises InputError where it would then be another structure: a site that is not
    one whole atom, or a charged cell.
    """
    for site, occupants in atoms.info.pop("occupancy", {}).items():
        values = [1.0 if isinstance(value, str) else float(value) for value in occupants.values()]
        if len(values) != 1 or not abs(values[0] - 1) < 1e-3:
            words = " and ".join(f"{value:g} {element}" for element, value in zip(occupants, values, strict=True))
            raise InputError(
                f"expected one whole atom on every site, got {words} on site {int(site) + 1}. Make an ordered cell of "
                "it, such as a supercell with the atoms chosen at random."
            )
    system = read_fortran_namelist(io.StringIO(text))[0].get("system", {}) if "&system" in text.lower() else {}
    for key, value in [*((key, atoms.info.get(key)) for key in CHARGES), ("tot_charge", system.get("tot_charge"))]:
        if isinstance(value, int | float) and abs(value) > 1e-6:
            raise InputError(f"expected a neutral cell, got {key} = {value:g}. Remove that to predict the neutral one.")
    holders = (atoms.arrays, atoms.calc.results if atoms.calc is not None else {})
    unused = [
        what
        for what, names in UNUSED.items()
        if any(_is_large(holder[name]) for holder in holders for name in names if name in holder)
    ]
    if system.get("nspin", 1) != 1 or system.get("noncolin") or "_atom_site_moment" in text.lower():
        unused.append("spin polarisation")
    if unused:
        logger.warning("%s: %s: not taken into account by predictions.", path, ", ".join(unused))
    return turn_right_handed(atoms, path)


def _is_large(values: object) -> bool:
    values = np.asarray(values)
    return values.dtype.kind in "if" and bool(np.abs(values).max(initial=0) > 0.01)


def write_structure(path: str | Path, atoms: Atoms | Sequence[Atoms]) -> None:
    """Write one structure or a trajectory as extended XYZ, whole or not at all."""
    with write_whole(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        ase.io.write(handle, atoms, format="extxyz", parallel=False)


def structure_text(atoms: Atoms) -> str:
    """One structure as extended XYZ."""
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz", parallel=False)
    return text.getvalue()

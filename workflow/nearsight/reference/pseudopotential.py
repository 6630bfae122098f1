"""Pseudopotentials: made by QE's ld1.x, or a given UPF file that is what it claims to be."""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular, write_whole
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.workspace import scratch_folder

#: Bytes of the largest UPF file that is read: those with all projectors and waves of a heavy element have 5 MB.
LARGEST_UPF = 64 << 20

#: A deck of ld1.x has some hundred lines.
LARGEST_DECK = 1 << 20

#: Characters of the largest header of version 2, an element with some forty attributes.
LARGEST_HEADER = 20_000

#: Where ld1.x writes the day: an attribute of the header, and a line of the comment.
_DATE = re.compile(rb'(?<=\bdate=")[^"]*(?=")|(?<=Generation date:)[^\n]*')


@dataclass(frozen=True)
class PseudopotentialHeader:
    """What a UPF file says of itself: element, number of valence electrons, QE's name of the functional."""

    element: str
    valence: float
    functional: str = ""


@dataclass(frozen=True)
class CoreCharge:
    """The partial core charge n_c(r) of one atom, for the non-linear core correction.

    radius: r in Å; step: dr/di in Å, for integrals over the mesh's index i; density: n_c in 1/Å³; all of one length.
    """

    radius: np.ndarray
    step: np.ndarray
    density: np.ndarray


def read_upf(path: str | Path) -> PseudopotentialHeader:
    """Header of a UPF file, version 1 or 2. Raises InputError where it is missing, truncated or of another kind.

    Only the header is read, by its own tags: the input deck inside many files makes them no valid XML.
    """
    text = read_upf_text(path)
    if match := re.search(r"<PP_HEADER\s", text):
        head = text[match.end() : match.end() + LARGEST_HEADER].partition(">")[0]
        attributes = {key: value.strip() for key, value in re.findall(r'\b(\w+)\s*=\s*"([^"]*)"', head)}
        element, valence = attributes.get("element"), attributes.get("z_valence")
        functional = attributes.get("functional", "")
        end = "</UPF>"
    elif header := upf_section(text, "PP_HEADER"):
        lines = header.splitlines()
        element = next((line.split()[0] for line in lines if "Element" in line), None)
        valence = next((line.split()[0] for line in lines if "Z valence" in line), None)
        functional = next((line.split("Exch")[0].strip() for line in lines if "Exchange-Corr" in line), "")
        end = "</PP_RHOATOM>"
    else:
        raise InputError(f"{path}: expected a pseudopotential in UPF format, got a file without PP_HEADER.")
    if element is None or valence is None:
        raise InputError(f"{path}: PP_HEADER: expected element and z_valence, got none.")
    if end not in text:
        raise InputError(f"{path}: expected a whole UPF file, got none of its end ({end}): truncated. Get it again.")
    charge = upf_numbers(valence, path, "PP_HEADER: z_valence")
    if charge.size != 1 or not 0 < charge[0] < len(chemical_symbols):
        raise InputError(f"{path}: PP_HEADER: z_valence: expected a number of valence electrons, got {valence[:80]!r}.")
    return PseudopotentialHeader(element, float(charge[0]), functional)


def read_core_charge(path: str | Path) -> CoreCharge | None:
    """Core charge of a UPF file; None if its header says that it has none.

    Raises InputError where the header promises a core charge and the file holds none, or one of another length.
    """
    read_upf(path)  # is it a whole UPF file?
    text = read_upf_text(path)
    promised = re.search(r'core_correction\s*=\s*"\s*\.?([tTfF])', text) or re.search(
        r"^\s*\.?([tTfF])\S*\s+Nonlinear Core Correction", text, re.MULTILINE | re.IGNORECASE
    )
    if promised is None or promised.group(1) not in "tT":
        return None
    columns = {}
    for tag in ("PP_R", "PP_RAB", "PP_NLCC"):
        column = upf_section(text, tag)
        if column is None:
            raise InputError(
                f"{path}: {tag}: expected it, since the header announces a core charge, found none. Get the file again."
            )
        columns[tag] = upf_numbers(column, path, tag)
    lengths = {tag: column.size for tag, column in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputError(f"{path}: expected PP_R, PP_RAB and PP_NLCC of one length, got {lengths}. Get the file again.")
    return CoreCharge(
        columns["PP_R"] * units.BOHR_A, columns["PP_RAB"] * units.BOHR_A, columns["PP_NLCC"] / units.BOHR_A**3
    )


def read_upf_text(path: str | Path) -> str:
    """The text of a UPF file. Raises InputError where it is missing or no regular file of a usual size."""
    advice = "Check `pseudopotentials` in the configuration."
    return read_regular(path, "a pseudopotential (UPF)", advice, LARGEST_UPF).decode("utf-8", errors="replace")


def upf_section(text: str, tag: str) -> str | None:
    """What stands between the first <tag ...> and the next </tag>; no pattern, which many open tags would keep busy."""
    start = text.find(f"<{tag}>")
    if start < 0:
        match = re.search(rf"<{tag}\s", text)
        start = match.start() if match else -1
    begin = text.find(">", start) if start >= 0 else -1
    end = text.find(f"</{tag}>", begin) if begin >= 0 else -1
    return text[begin + 1 : end] if end >= 0 else None


def upf_numbers(text: str, path: str | Path, name: str) -> np.ndarray:
    """Finite numbers as Fortran writes them."""
    try:
        values = np.array([float(word) for word in text.upper().replace("D", "E").split()])
    except ValueError as error:
        raise InputError(f"{path}: {name}: expected numbers, got {str(error)[:80]}. Get the file again.") from None
    if not units.are_finite(values):
        raise InputError(
            f"{path}: {name}: expected finite numbers, got NaN, infinity, or one beyond {units.LARGEST_NUMBER:g}. "
            "Get the file again."
        )
    return values


def require_element(path: str | Path, element: str) -> PseudopotentialHeader:
    """Header of a UPF file that must be of `element`; raises InputError otherwise."""
    header = read_upf(path)
    if header.element.lower() != element.lower():
        raise InputError(f"{path}: expected a pseudopotential of {element}, got one of {header.element}.")
    return header


def read_headers(
    elements: Iterable[str], pseudopotentials: Mapping[str, str | Path]
) -> dict[str, PseudopotentialHeader]:
    """Header of every element's pseudopotential, in alphabetical order. Raises InputError where one is missing."""
    elements = sorted(set(elements))
    missing = [element for element in elements if element not in pseudopotentials]
    if missing:
        raise InputError(
            f"pseudopotentials: expected one for {missing[0]}, got those of "
            f"{', '.join(sorted(pseudopotentials)) or 'no element'}. Add it to `pseudopotentials` in the configuration."
        )
    return {element: require_element(pseudopotentials[element], element) for element in elements}


def count_electrons(symbols: Iterable[str], pseudopotentials: Mapping[str, str | Path]) -> float:
    """Number of valence electrons of atoms with these symbols. Raises InputError for one without pseudopotential."""
    symbols = list(symbols)
    headers = read_headers(symbols, pseudopotentials)
    return sum(headers[symbol].valence for symbol in symbols)


def generate_pseudopotential(deck: str | Path, element: str, output: str | Path) -> PseudopotentialHeader:
    """Run ld1.x on an input deck and write the pseudopotential that it makes, whole.

    The deck names its product in `file_pseudopw`. Raises InputError where it does not, or makes another element's.
    """
    advice = f"Check pseudopotentials.{element}.ld1_input in the configuration."
    text = read_regular(deck, f"an input of ld1.x for {element}", advice, LARGEST_DECK).decode("utf-8", "replace")
    check_deck(text, deck)
    match = re.search(r"file_pseudopw\s*=\s*['\"]([^'\"]+)['\"]", text)
    if match is None:
        raise InputError(f"{deck}: expected `file_pseudopw = 'NAME'` in &inputp, found none.")
    with scratch_folder(output) as folder:
        run_program("ld1.x", text, folder, Launch(), "ld1")
        product = folder / Path(match.group(1)).name
        if not product.is_file():
            raise InputError(f"{deck}: expected ld1.x to write {product.name}, found none. Check iswitch = 3.")
        header = require_element(product, element)
        # without the day of its making, the same deck makes the same file and the same SHA-256
        content = _DATE.sub(b"", product.read_bytes())
        with write_whole(output) as path:
            path.write_bytes(content)
    return header


def check_deck(text: str, deck: str | Path) -> None:
    """Raise InputError where a deck names a file outside of the folder that ld1.x runs in.

    ld1.x reads and writes under any name that a deck gives it. A path needs a slash; otherwise a slash only ends a
    namelist, as the last character of a line.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.lstrip().startswith("!") and re.search(r"/(?!\s*$)|\S/", line):
            raise InputError(
                f"{deck}: line {number}: expected file names without folders, since ld1.x runs in a folder of its "
                f"own, got {line.strip()[:80]!r}. Name files without a slash; a namelist's own stands on a line alone."
            )


def install_pseudopotential(source: str | Path, sha256: str, element: str, output: str | Path) -> PseudopotentialHeader:
    """Copy a given UPF file to `output` if it is the one that was meant; raises InputError if it is not."""
    header = require_element(source, element)
    # read once, so that what is checked is what is copied
    content = read_regular(source, "a pseudopotential (UPF)", "Check `pseudopotentials`.", LARGEST_UPF)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise InputError(
            f"{source}: expected the SHA-256 {sha256}, got {found}. Use the file that was meant, or correct "
            f"pseudopotentials.{element}.sha256 in the configuration."
        )
    with write_whole(output) as path:
        path.write_bytes(content)
    return header


def place_pseudopotentials(pseudopotentials: dict[str, Path], elements: set[str], folder: Path) -> dict[str, str]:
    """Copy the pseudopotentials of `elements` into a run's folder under short names; return element -> name.

    Raises InputError for an element without pseudopotential.
    """
    names = {element: f"{element}.upf" for element in read_headers(elements, pseudopotentials)}
    for element, name in names.items():
        shutil.copyfile(pseudopotentials[element], folder / name)
    return names

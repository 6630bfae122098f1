"""Pseudopotentials: made by QE's ld1.x, or a given UPF file that is what it claims to be."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight import units
from nearsight.errors import InputError
from nearsight.espresso.programs import Launch, run_program
from nearsight.espresso.workspace import scratch_folder
from nearsight.files import sha256_of, write_whole

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
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected a pseudopotential (UPF), found no file. Check `pseudopotentials` in the configuration."
        ) from None
    if match := re.search(r"<PP_HEADER\s([^>]*?)/?>", text):
        attributes = {key: value.strip() for key, value in re.findall(r'(\w+)\s*=\s*"([^"]*)"', match.group(1))}
        element, valence = attributes.get("element"), attributes.get("z_valence")
        functional = attributes.get("functional", "")
        end = "</UPF>"
    elif match := re.search(r"<PP_HEADER>(.*?)</PP_HEADER>", text, re.DOTALL):
        lines = match.group(1).splitlines()
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
    return PseudopotentialHeader(element, _numbers(valence)[0], functional)


def read_core_charge(path: str | Path) -> CoreCharge | None:
    """Core charge of a UPF file; None if its header says that it has none.

    Raises InputError where the header promises a core charge and the file holds none, or one of another length.
    """
    read_upf(path)  # is it a whole UPF file?
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    promised = re.search(r'core_correction\s*=\s*"\s*\.?([tTfF])', text) or re.search(
        r"^\s*\.?([tTfF])\S*\s+Nonlinear Core Correction", text, re.MULTILINE | re.IGNORECASE
    )
    if promised is None or promised.group(1) not in "tT":
        return None
    columns = {}
    for tag in ("PP_R", "PP_RAB", "PP_NLCC"):
        match = re.search(rf"<{tag}(?:\s[^>]*)?>(.*?)</{tag}>", text, re.DOTALL)
        if match is None:
            raise InputError(
                f"{path}: {tag}: expected it, since the header announces a core charge, found none. Get the file again."
            )
        columns[tag] = np.array(_numbers(match.group(1)))
    lengths = {tag: column.size for tag, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{path}: expected PP_R, PP_RAB and PP_NLCC of one length, got {lengths}. Get the file again.")
    return CoreCharge(
        columns["PP_R"] * units.BOHR_A, columns["PP_RAB"] * units.BOHR_A, columns["PP_NLCC"] / units.BOHR_A**3
    )


def _numbers(text: str) -> list[float]:
    """Numbers as Fortran writes them."""
    return [float(word) for word in text.upper().replace("D", "E").split()]


def require_element(path: str | Path, element: str) -> PseudopotentialHeader:
    """Header of a UPF file that must be of `element`; raises InputError otherwise."""
    header = read_upf(path)
    if header.element.lower() != element.lower():
        raise InputError(f"{path}: expected a pseudopotential of {element}, got one of {header.element}.")
    return header


def generate_pseudopotential(deck: str | Path, element: str, output: str | Path) -> PseudopotentialHeader:
    """Run ld1.x on an input deck and write the pseudopotential that it makes, whole.

    The deck names its product in `file_pseudopw`. Raises InputError where it does not, or makes another element's.
    """
    try:
        text = Path(deck).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{deck}: expected an input of ld1.x for {element}, found no file. "
            f"Check pseudopotentials.{element}.ld1_input in the configuration."
        ) from None
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


def install_pseudopotential(source: str | Path, sha256: str, element: str, output: str | Path) -> PseudopotentialHeader:
    """Copy a given UPF file to `output` if it is the one that was meant; raises InputError if it is not."""
    header = require_element(source, element)
    found = sha256_of(source)
    if found != sha256.lower():
        raise InputError(
            f"{source}: expected the SHA-256 {sha256}, got {found}. Use the file that was meant, or correct "
            f"pseudopotentials.{element}.sha256 in the configuration."
        )
    with write_whole(output) as path:
        shutil.copyfile(source, path)
    return header


def place_pseudopotentials(pseudopotentials: dict[str, Path], elements: set[str], folder: Path) -> dict[str, str]:
    """Copy the pseudopotentials of `elements` into a run's folder under short names; return element -> name.

    Raises InputError for an element without pseudopotential.
    """
    missing = sorted(elements - set(pseudopotentials))
    if missing:
        raise InputError(
            f"pseudopotentials: expected one for {missing[0]}, got those of "
            f"{', '.join(sorted(pseudopotentials)) or 'no element'}. Add it to `pseudopotentials` in the configuration."
        )
    names = {}
    for element in sorted(elements):
        require_element(pseudopotentials[element], element)
        names[element] = f"{element}.upf"
        shutil.copyfile(pseudopotentials[element], folder / names[element])
    return names

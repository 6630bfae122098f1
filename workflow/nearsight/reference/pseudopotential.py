"""Pseudopotentials in UPF format (versions 1 and 2), parsed once and passed on."""

import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular
from nearsight.reference.xml import parse_xml

#: Bytes of the largest UPF file that is read: those with all projectors and waves of a heavy element have 5 MB.
LARGEST_UPF = 64 << 20

#: A tag of a UPF file that need not be XML. Quotes of both kinds may hold `<` and `>`; possessive: no backtracking,
#: which many open tags would make slow.
_TAG = re.compile(r"""<(PP_[\w.]++|UPF)((?:\s++[\w:.-]++\s*+=\s*+(?:"[^"]*+"|'[^']*+'))*+)\s*+/?>""")
_ATTRIBUTE = re.compile(r"""([\w:.-]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""")

#: Free text, in which nothing is a tag: comments, and the paper trail with the input of ld1.x.
_FREE_TEXT = (("<!--", "-->"), ("<PP_INFO", "</PP_INFO>"))

#: Quantum ESPRESSO's names of functionals, short and in full, -> the names that are used here.
FUNCTIONALS = {
    "PZ": "PZ",
    "LDA": "PZ",
    "SLA PZ": "PZ",
    "PW": "PW92",
    "SLA PW": "PW92",
    "PBE": "PBE",
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "PBESOL": "PBEsol",
    "SLA PW PSX PSC": "PBEsol",
    "REVPBE": "revPBE",
    "SLA PW REVX PBC": "revPBE",
    "SLA PW RPB PBC": "revPBE",
    "RPBE": "RPBE",
    "SLA PW HHNX PBC": "RPBE",
    "PW91": "PW91",
    "SLA PW GGX GGC": "PW91",
    "WC": "WC",
    "SLA PW WCX PBC": "WC",
    "BP": "BP",
    "B88 P86": "BP",
    "SLA P86 B88 P86": "BP",
    "BLYP": "BLYP",
    "B88 BLYP": "BLYP",
    "SLA LYP B88 BLYP": "BLYP",
}


@dataclass(frozen=True)
class CoreCharge:
    """The partial core charge n_c(r) of one atom, for the non-linear core correction.

    radius: r in Å; step: dr/di in Å, for integrals over the mesh's index i; density: n_c in 1/Å³; all of one length.
    """

    radius: np.ndarray
    step: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class Section:
    """A section of a UPF file: attributes of its tag, and the text up to the next tag or its end."""

    attributes: Mapping[str, str]
    text: str


@dataclass(frozen=True, eq=False)
class Pseudopotential:
    """A pseudopotential as its UPF file describes it.

    path: where it was read; content: the whole file; version: of the format, 1 or 2; valence: number of electrons;
    functional: one of the values of `FUNCTIONALS`, or another name as it stands; kind: "NC" (norm-conserving), "US"
    (ultrasoft) or "PAW"; core: partial core charge, None without non-linear core correction.
    """

    path: Path
    content: bytes = field(repr=False)
    version: int
    element: str
    valence: float
    functional: str
    kind: str
    core: CoreCharge | None = field(repr=False)
    sections: Mapping[str, Section] = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def text(self) -> str:
        """The whole file as text."""
        return self.content.decode("utf-8", errors="replace")

    def require_sha256(self, expected: str) -> None:
        """Raise InputError unless the file is the intended one."""
        if self.sha256 != expected.lower():
            raise InputError(
                f"{self.path}: expected the SHA-256 {expected}, got {self.sha256}. Use the intended file, or "
                f"correct pseudopotentials.{self.element}.sha256 in the configuration."
            )

    def section(self, tag: str) -> Section | None:
        """The first section <tag> of the file outside comments and PP_INFO, such as "PP_BETA.1"; None if absent."""
        return self.sections.get(tag)

    def numbers(self, tag: str) -> np.ndarray:
        """The numbers of a section, in the file's own units. Raises InputError where there are none."""
        found = self.section(tag)
        if found is None:
            raise InputError(f"{self.path}: {tag}: expected numbers, found no such section. Get the file again.")
        return upf_numbers(found.text, self.path, tag)


def read_pseudopotential(path: str | Path, element: str | None = None) -> Pseudopotential:
    """Read a UPF file, which must be of `element` where one is given.

    Raises InputError where it is missing, truncated, damaged, or of another kind or element.
    """
    advice = "Check `pseudopotentials` in the configuration."
    content = read_regular(path, "a pseudopotential (UPF)", advice, LARGEST_UPF)
    return parse_pseudopotential(content, path, element)


def parse_pseudopotential(content: bytes, path: str | Path, element: str | None = None) -> Pseudopotential:
    """The pseudopotential of a UPF file's content; path: its name for messages. Raises as `read_pseudopotential`."""
    sections, closed = _read_sections(content)
    header = sections.get("PP_HEADER")
    if header is None:
        raise InputError(f"{path}: expected a pseudopotential in UPF format, got a file without PP_HEADER.")
    version = 2 if header.attributes else 1
    about = header.attributes if version == 2 else _header_of_version_1(header.text)
    if not about.get("element", "").strip() or not about.get("z_valence", "").strip():
        raise InputError(f"{path}: PP_HEADER: expected element and z_valence, got none.")
    end = "UPF" if version == 2 else "PP_RHOATOM"
    if end not in closed:
        raise InputError(f"{path}: expected a whole UPF file, got none of its end (</{end}>): truncated. Get it again.")
    valence = upf_numbers(about["z_valence"], path, "PP_HEADER: z_valence")
    if valence.size != 1 or not 0 < valence[0] < len(chemical_symbols):
        raise InputError(
            f"{path}: PP_HEADER: z_valence: expected a number of valence electrons, got {about['z_valence'][:80]!r}."
        )
    found = about["element"].strip()
    if element is not None and found.lower() != element.lower():
        raise InputError(f"{path}: expected a pseudopotential of {element}, got one of {found[:20]}.")
    return Pseudopotential(
        path=Path(path),
        content=content,
        version=version,
        element=found.capitalize(),
        valence=float(valence[0]),
        functional=name_functional(about.get("functional", "")),
        kind=_kind_of(about),
        core=_core_charge(sections, path) if is_true(about.get("core_correction", "F")) else None,
        sections=sections,
    )


def name_functional(name: str) -> str:
    """The one name of a functional: from `FUNCTIONALS`, or as it stands, with single blanks.

    "SLA+PW+PBX+PBC", "sla-pw-pbe-pbe", "SLA PW PBE PBE" and "PBE" are the same; NOGX and NOGC mean no gradients.
    """
    words = [word for word in re.split(r"[\s+-]+", name.upper()) if word not in ("", "NOGX", "NOGC", "NONE")]
    return FUNCTIONALS.get(" ".join(words), " ".join(name.split()))


def is_true(text: str) -> bool:
    """Whether a logical value, as Fortran or XML write it, is true."""
    return text.strip(". \n\t")[:1].upper() == "T"


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


def read_pseudopotentials(paths: Mapping[str, str | Path]) -> dict[str, Pseudopotential]:
    """Pseudopotentials of files by element. Raises InputError where one is not of its element."""
    return {element: read_pseudopotential(path, element) for element, path in paths.items()}


def select_pseudopotentials(
    symbols: Iterable[str], pseudopotentials: Mapping[str, Pseudopotential]
) -> dict[str, Pseudopotential]:
    """Those of the elements of these atoms, in alphabetical order. Raises InputError where one is missing."""
    elements = sorted(set(symbols))
    missing = [element for element in elements if element not in pseudopotentials]
    if missing:
        raise InputError(
            f"pseudopotentials: expected one for {missing[0]}, got those of "
            f"{', '.join(sorted(pseudopotentials)) or 'no element'}. Add it to `pseudopotentials` in the configuration."
        )
    return {element: pseudopotentials[element] for element in elements}


def count_electrons(symbols: Iterable[str], pseudopotentials: Mapping[str, Pseudopotential]) -> float:
    """Number of valence electrons of atoms with these symbols. Raises InputError for one without pseudopotential."""
    symbols = list(symbols)
    found = select_pseudopotentials(symbols, pseudopotentials)
    return sum(found[symbol].valence for symbol in symbols)


def _read_sections(content: bytes) -> tuple[dict[str, Section], set[str]]:
    """The sections of a UPF file by tag, and the tags that are closed.

    By an XML reader where the file is XML. Many are not: an input of ld1.x with `<` and `&` in PP_INFO, several roots
    (version 1); then tags are looked for outside comments and free text, as pw.x does.
    """
    try:
        root = parse_xml(content)
    except ValueError:
        return _sections_of_text(content.decode("utf-8", errors="replace"))
    sections: dict[str, Section] = {}
    _add_elements(root, sections)
    return sections, set(sections)


def _add_elements(root: ElementTree.Element, sections: dict[str, Section]) -> None:
    """Add an XML element and those inside it, the first of each tag, but nothing of PP_INFO."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        sections.setdefault(element.tag, Section(element.attrib, element.text or ""))
        if element.tag != "PP_INFO":
            waiting.extend(reversed(element))


def _sections_of_text(text: str) -> tuple[dict[str, Section], set[str]]:
    """The sections of a text that is not XML: each reaches to the next tag."""
    text = _without_free_text(text)
    tags = list(_TAG.finditer(text))
    sections: dict[str, Section] = {}
    for tag in tags:
        if tag[1] not in sections:
            attributes = {key: double or single for key, double, single in _ATTRIBUTE.findall(tag[2])}
            end = text.find("<", tag.end())
            sections[tag[1]] = Section(attributes, text[tag.end() : end if end >= 0 else len(text)])
    return sections, set(re.findall(r"</(PP_[\w.]++|UPF)\s*+>", text))


def _without_free_text(text: str) -> str:
    """The text without comments and PP_INFO; an unclosed one reaches to the end."""
    parts, place = [], 0
    starts = [(text.find(start), start, end) for start, end in _FREE_TEXT]
    while begins := [item for item in starts if item[0] >= 0]:
        begin, _, end = min(begins)
        parts.append(text[place:begin])
        close = text.find(end, begin)
        place = close + len(end) if close >= 0 else len(text)
        starts = [(at if at >= place or at < 0 else text.find(s, place), s, e) for at, s, e in starts]
    return "".join([*parts, text[place:]])


def _header_of_version_1(text: str) -> dict[str, str]:
    """The header of version 1 under the names of version 2: values at the start of lines in a fixed order.

    The functional has the first 20 characters of its line; a short name follows in some files.
    """
    lines = [line for line in text.splitlines() if line.strip()][:6]
    if len(lines) < 6:
        return {}
    element, kind, core, valence = (lines[i].split()[0] for i in (1, 2, 3, 5))
    return {
        "element": element,
        "pseudo_type": kind,
        "core_correction": core,
        "functional": lines[4][:20],
        "z_valence": valence,
    }


def _kind_of(about: Mapping[str, str]) -> str:
    """NC, US or PAW: by the flags of version 2, else by the type."""
    kind = about.get("pseudo_type", "NC").strip().upper()
    if is_true(about.get("is_paw", "F")) or kind == "PAW":
        return "PAW"
    return "US" if is_true(about.get("is_ultrasoft", "F")) or kind in ("US", "USPP") else "NC"


def _core_charge(sections: Mapping[str, Section], path: str | Path) -> CoreCharge:
    """The core charge that the header announces."""
    columns = {}
    for tag in ("PP_R", "PP_RAB", "PP_NLCC"):
        if tag not in sections:
            raise InputError(
                f"{path}: {tag}: expected it, since the header announces a core charge, found none. Get the file again."
            )
        columns[tag] = upf_numbers(sections[tag].text, path, tag)
    lengths = {tag: column.size for tag, column in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputError(f"{path}: expected PP_R, PP_RAB and PP_NLCC of one length, got {lengths}. Get the file again.")
    return CoreCharge(
        columns["PP_R"] * units.BOHR_A, columns["PP_RAB"] * units.BOHR_A, columns["PP_NLCC"] / units.BOHR_A**3
    )

"""How a finished run of pw.x was made, from its XML file, checked before a stranger's run is used."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular
from nearsight.reference.espresso.outputs import LARGEST_XML
from nearsight.reference.xml import parse_xml

#: Smearing as the XML names it -> its name in pw.x's input.
SMEARINGS = {
    "fd": "fermi-dirac",
    "fermi-dirac": "fermi-dirac",
    "gaussian": "gaussian",
    "gauss": "gaussian",
    "mp": "methfessel-paxton",
    "methfessel-paxton": "methfessel-paxton",
    "mv": "marzari-vanderbilt",
    "marzari-vanderbilt": "marzari-vanderbilt",
}

#: Terms beyond a functional of the density: where the XML has them, and what they are called.
FURTHER_TERMS = {
    "dft/hybrid": "exact exchange",
    "dft/dftU": "a Hubbard term",
    "dft/vdW": "a van der Waals term",
}


@dataclass(frozen=True)
class RunConditions:
    """Conditions of a run.

    version: of pw.x; converged: None where the XML does not say; accuracy_Ry: estimated error of the SCF's energy;
    smearing: as in pw.x's input, None for fixed occupations; width_eV: of the smearing, k_B T for Fermi-Dirac; kpoints,
    shift: of an automatic grid, None for a list; pseudopotentials: element -> file name; polarised: with spin, also
    non-collinear; further_terms: of the energy, in words; charge: of the cell, in e.
    """

    version: str
    calculation: str
    converged: bool | None
    accuracy_Ry: float
    conv_thr_Ry: float
    electron_maxstep: int
    mixing_beta: float
    smearing: str | None
    width_eV: float
    kpoints: tuple[int, int, int] | None
    shift: tuple[int, int, int]
    pseudopotentials: dict[str, str]
    polarised: bool
    further_terms: tuple[str, ...]
    charge: float


def read_conditions(path: str | Path) -> RunConditions:
    """Read them from data-file-schema.xml of Quantum ESPRESSO 6.x or 7.x. Raises InputError where it lacks them."""
    content = read_regular(path, "Quantum ESPRESSO's XML file", "Name pw.x's outdir, or its PREFIX.save.", LARGEST_XML)
    try:
        root = parse_xml(content)
        given, output = _child(root, "input"), _child(root, "output")
        bands = _child(output, "band_structure")
        smearing = bands.find("smearing")
        kind = None
        if (bands.findtext("occupations_kind") or "").strip() == "smearing" and smearing is not None:
            name = (smearing.text or "").strip().lower()
            kind = SMEARINGS.get(name, name)
        kpoints = bands.find("starting_k_points/monkhorst_pack")
        creator = root.find("general_info/creator")
        return RunConditions(
            version="unknown" if creator is None else creator.attrib.get("VERSION", "unknown")[:40],
            calculation=(given.findtext("control_variables/calculation") or "").strip(),
            converged=_logical(output.findtext("convergence_info/scf_conv/convergence_achieved")),
            accuracy_Ry=2 * _number(output, "convergence_info/scf_conv/scf_error"),
            conv_thr_Ry=2 * _number(given, "electron_control/conv_thr"),
            electron_maxstep=int(_number(given, "electron_control/max_nstep")),
            mixing_beta=_number(given, "electron_control/mixing_beta"),
            smearing=kind,
            width_eV=0.0 if kind is None else _finite(smearing.attrib["degauss"]) * units.HARTREE_eV,
            kpoints=_kpoints(kpoints, bands),
            shift=(0, 0, 0) if kpoints is None else tuple(int(kpoints.attrib[f"k{i}"]) for i in (1, 2, 3)),
            pseudopotentials={
                species.attrib["name"].strip(): (species.findtext("pseudo_file") or "").strip()
                for species in _child(output, "atomic_species").findall("species")
            },
            polarised=any(_logical(bands.findtext(tag)) for tag in ("lsda", "noncolin", "spinorbit")),
            further_terms=tuple(words for tag, words in FURTHER_TERMS.items() if output.find(tag) is not None),
            charge=_number(given, "bands/tot_charge") if given.find("bands/tot_charge") is not None else 0.0,
        )
    except (ValueError, KeyError, OverflowError) as error:
        raise InputError(
            f"{path}: expected the XML file of a run by pw.x 6.2 or newer, got {str(error)[:120]}. Has it finished?"
        ) from None


def _kpoints(grid: Element | None, bands: Element) -> tuple[int, int, int] | None:
    """The automatic grid; Γ alone is one of a single point."""
    if grid is not None:
        return tuple(int(grid.attrib[f"nk{i}"]) for i in (1, 2, 3))
    points = bands.findall("ks_energies/k_point")
    if len(points) == 1 and not np.any([_finite(word) for word in (points[0].text or "1").split()]):
        return (1, 1, 1)
    return None


def _child(element: Element, tag: str) -> Element:
    found = element.find(tag)
    if found is None:
        raise ValueError(f"none of its parts <{tag}>")
    return found


def _number(element: Element, tag: str) -> float:
    return _finite(_child(element, tag).text or "")


def _finite(text: str) -> float:
    value = float(text)
    if not abs(value) <= units.LARGEST_NUMBER:
        raise ValueError(f"the number {text.strip()[:40]}")
    return value


def _logical(text: str | None) -> bool | None:
    return None if text is None else text.strip().lower() == "true"

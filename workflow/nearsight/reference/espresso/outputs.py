"""The output of pw.x: its XML file (all digits) and its text."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight import units
from nearsight.errors import ConvergenceError, InputError
from nearsight.files import read_regular
from nearsight.reference.espresso.workspace import PREFIX, XML, save_of
from nearsight.reference.xml import parse_xml

#: Bytes of the largest XML file that is read: dynamics of a thousand atoms over a thousand steps.
LARGEST_XML = 1 << 30

_FORCE_eV_A = units.HARTREE_eV / units.BOHR_A


@dataclass(frozen=True)
class ElectronicStructure:
    """Result of an SCF or non-SCF run, in eV and Å.

    eigenvalues, occupations: shape (kpoints, bands), occupations between 0 and 1; weights: shape (kpoints,), summing
    to 2; kpoints: shape (kpoints, 3), in units of the reciprocal lattice vectors; plane_waves: of each k-point;
    symmetries: those by which the k-points were reduced, 1 where the identity is the only one; grid: the density's FFT
    grid; energies: QE's terms by the names of `fields.FIELDS`.
    """

    atoms: Atoms
    grid: tuple[int, int, int]
    electrons: float
    fermi_energy: float
    eigenvalues: np.ndarray
    occupations: np.ndarray
    weights: np.ndarray
    kpoints: np.ndarray
    plane_waves: tuple[int, ...]
    ecutwfc_Ry: float
    ecutrho_Ry: float
    gamma_only: bool
    symmetries: int
    energies: dict[str, float]
    forces: np.ndarray | None

    @property
    def band_energy(self) -> float:
        """Σ w f ε over k-points and bands, eV."""
        return float(np.einsum("k,kb,kb->", self.weights, self.occupations, self.eigenvalues))


@dataclass(frozen=True)
class MdStep:
    """One step of dynamics: positions (Å), forces (eV/Å), both (atoms, 3), and the total free energy (eV)."""

    positions: np.ndarray
    forces: np.ndarray
    total_free_energy: float


def read_electronic_structure(path: str | Path) -> ElectronicStructure:
    """Read QE's XML file of a spin-unpolarised run with smearing.

    Raises InputError where it is missing, truncated or lacks what is needed.
    """
    root = _parse(path)
    try:
        output = _find(root, "output", path)
        basis = _find(output, "basis_set", path)
        grid = _find(basis, "fft_grid", path).attrib
        structure = _find(output, "atomic_structure", path)
        bands = _find(output, "band_structure", path)
        if (bands.findtext("lsda") or "false").strip() == "true":
            raise InputError(f"{path}: expected a run without spin polarisation, got one with it.")
        states = bands.findall("ks_energies")
        energies = {}
        if (total := output.find("total_energy")) is not None:
            energies = _energies(total, path)
        forces = output.find("forces")
        atoms = _atoms(structure, path)
        kpoints = np.array([_array(state, "k_point", path) for state in states]).reshape(-1, 3)  # in 2π/alat
        (alat,) = _numbers(structure.attrib["alat"]) * units.BOHR_A
        if not alat > 0:
            raise ValueError(f"a lattice parameter alat of {alat}")
        result = ElectronicStructure(
            atoms=atoms,
            grid=(int(grid["nr1"]), int(grid["nr2"]), int(grid["nr3"])),
            electrons=_number(bands, "nelec", path),
            fermi_energy=_number(bands, "fermi_energy", path) * units.HARTREE_eV,
            eigenvalues=np.array([_array(state, "eigenvalues", path) for state in states]) * units.HARTREE_eV,
            occupations=np.array([_array(state, "occupations", path) for state in states]),
            weights=_numbers(" ".join(_find(state, "k_point", path).attrib["weight"] for state in states)),
            kpoints=kpoints @ atoms.cell.array.T / alat,
            plane_waves=tuple(int(_number(state, "npw", path)) for state in states),
            ecutwfc_Ry=2 * _number(basis, "ecutwfc", path),
            ecutrho_Ry=2 * _number(basis, "ecutrho", path),
            gamma_only=(basis.findtext("gamma_only") or "false").strip() == "true",
            symmetries=int(_number(output, "symmetries/nsym", path)),
            energies=energies,
            forces=None if forces is None else _array(output, "forces", path).reshape(-1, 3) * _FORCE_eV_A,
        )
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: expected numbers of Quantum ESPRESSO, got {error!r}. Run it again.") from None
    states = result.eigenvalues.shape
    if len(states) != 2 or 0 in states or result.occupations.shape != states or result.weights.shape != states[:1]:
        raise InputError(
            f"{path}: expected eigenvalues, occupations and weights of the same k-points and bands, got the shapes "
            f"{states}, {result.occupations.shape} and {result.weights.shape}. Run it again."
        )
    if min(result.grid) < 1 or (result.forces is not None and result.forces.shape != result.atoms.positions.shape):
        raise InputError(f"{path}: expected a grid of points and a force per atom, got {result.grid} and others.")
    return result


def read_md_steps(path: str | Path) -> list[MdStep]:
    """Read all steps of a dynamics run from QE's XML file. Raises InputError, or ConvergenceError for a step."""
    root = _parse(path)
    steps = []
    for number, step in enumerate(root.iter("step"), start=1):
        if (step.findtext("scf_conv/convergence_achieved") or "").strip() != "true":
            raise ConvergenceError(f"{path}: step {number}: expected a converged SCF, got one that is not.")
        try:
            positions = _atoms(_find(step, "atomic_structure", path), path).positions
            forces = _array(step, "forces", path).reshape(positions.shape) * _FORCE_eV_A
            energy = _number(step, "total_energy/etot", path) * units.HARTREE_eV
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{path}: step {number}: expected numbers of Quantum ESPRESSO, got {error!r}. Run it again."
            ) from None
        steps.append(MdStep(positions=positions, forces=forces, total_free_energy=energy))
    if len({len(step.positions) for step in steps}) > 1:
        raise InputError(f"{path}: expected steps of the same atoms, got different numbers of them. Run it again.")
    return steps


def xml_of(folder: str | Path) -> Path:
    """QE's XML file in the folder of an SCF or non-SCF run."""
    return save_of(folder) / XML


def md_xml_of(folder: str | Path) -> Path:
    """QE's XML file of a dynamics run, which lists the steps."""
    return Path(folder) / f"{PREFIX}.xml"


def check_convergence(text: str, section: str, conv_thr_Ry: float, electron_maxstep: int) -> None:
    """Raise ConvergenceError if an output of pw.x says that an SCF did not converge; it names what to change."""
    if "convergence NOT achieved" not in text:
        return
    accuracies = re.findall(r"estimated scf accuracy\s*<\s*(\S+) Ry", text)
    reached = accuracies[-1] if accuracies else "an unknown number of"
    raise ConvergenceError(
        f"pw.x: the SCF did not converge: expected {section}.conv_thr_Ry = {conv_thr_Ry:g} Ry within "
        f"{section}.electron_maxstep = {electron_maxstep} iterations, reached {reached} Ry. "
        f"Lower {section}.mixing_beta (for example to 0.3), raise {section}.electron_maxstep, or check the structure."
    )


def text_energies(text: str) -> dict[str, float]:
    """Energy terms that an SCF's text prints (in eV, to 1e-8 Ry), by the names of `fields.FIELDS`."""
    patterns = {
        "total_free_energy": r"^!\s+total energy\s+=\s*(\S+) Ry",
        "one_electron_energy": r"one-electron contribution\s+=\s*(\S+) Ry",
        "hartree_energy": r"hartree contribution\s+=\s*(\S+) Ry",
        "xc_energy": r"xc contribution\s+=\s*(\S+) Ry",
        "ewald_energy": r"ewald contribution\s+=\s*(\S+) Ry",
        "entropy_energy": r"smearing contrib\. \(-TS\)\s+=\s*(\S+) Ry",
    }
    found = {name: re.findall(pattern, text, re.MULTILINE) for name, pattern in patterns.items()}
    try:
        return {name: float(_numbers(values[-1])[0]) * units.RYDBERG_eV for name, values in found.items() if values}
    except ValueError as error:
        raise InputError(f"pw.x's output: expected energies in Ry, got {str(error)[:80]}. Run it again.") from None


def _energies(total: ElementTree.Element, path: str | Path) -> dict[str, float]:
    """QE's energy terms in eV; the one-electron term is the total less the others."""
    names = {"etot": "total_free_energy", "ehart": "hartree_energy", "etxc": "xc_energy", "ewald": "ewald_energy"}
    energies = {name: _number(total, tag, path) * units.HARTREE_eV for tag, name in names.items()}
    demet = total.find("demet")
    energies["entropy_energy"] = 0.0 if demet is None else _number(total, "demet", path) * units.HARTREE_eV
    energies["one_electron_energy"] = 2 * energies["total_free_energy"] - sum(energies.values())
    return energies


def _parse(path: str | Path) -> ElementTree.Element:
    content = read_regular(path, "Quantum ESPRESSO's XML file", "Run the job again.", LARGEST_XML)
    try:
        return parse_xml(content)
    except ValueError as error:
        raise InputError(f"{path}: expected a whole XML file of Quantum ESPRESSO, got {error}. Run it again.") from None


def _find(element: ElementTree.Element, tag: str, path: str | Path) -> ElementTree.Element:
    found = element.find(tag)
    if found is None:
        raise InputError(f"{path}: {tag}: expected it in Quantum ESPRESSO's XML file, found none. Run it again.")
    return found


def _numbers(text: str) -> np.ndarray:
    """Numbers of a text. Raises ValueError for others, and for those that are not finite."""
    values = np.array(text.split(), dtype=float)
    if not units.are_finite(values):
        raise ValueError(f"NaN, infinity, or a number beyond {units.LARGEST_NUMBER:g}")
    return values


def _number(element: ElementTree.Element, tag: str, path: str | Path) -> float:
    (value,) = _array(element, tag, path)
    return float(value)


def _array(element: ElementTree.Element, tag: str, path: str | Path) -> np.ndarray:
    return _numbers(_find(element, tag, path).text or "")


def _atoms(element: ElementTree.Element, path: str | Path) -> Atoms:
    rows = _find(element, "atomic_positions", path).findall("atom")
    cell = np.array([_array(element, f"cell/a{i}", path) for i in (1, 2, 3)])
    positions = np.array([_numbers(row.text or "") for row in rows])
    if cell.shape != (3, 3) or positions.shape != (len(rows), 3) or not rows:
        raise ValueError("a structure without three lattice vectors and atoms")
    return Atoms(
        symbols=[row.attrib["name"].strip() for row in rows],
        positions=positions * units.BOHR_A,
        cell=cell * units.BOHR_A,
        pbc=True,
    )

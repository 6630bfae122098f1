"""A finished run of pw.x from its text alone, where its XML file is gone; eigenvalues have four decimals."""

import re
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.special import expit

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_regular
from nearsight.reference.espresso.collect import LARGEST_TEXT
from nearsight.reference.espresso.conditions import RunConditions
from nearsight.reference.espresso.outputs import ElectronicStructure, text_energies

_NUMBER = r"([-+]?\d{1,12}\.?\d{0,12}(?:[EeDd][-+]?\d{1,3})?)"

#: Smearing as the text names it -> its name in pw.x's input.
SMEARINGS = {
    "Fermi-Dirac": "fermi-dirac",
    "gaussian": "gaussian",
    "Methfessel-Paxton": "methfessel-paxton",
    "Marzari-Vanderbilt": "marzari-vanderbilt",
}

#: Terms beyond a functional of the density: what the text says of them, and what they are called.
FURTHER_TERMS = {
    "EXX-fraction": "exact exchange",
    "Hubbard energy": "a Hubbard term",
    "Dispersion Correction": "a van der Waals term",
    "Non-local correlation": "a van der Waals term",
}

#: Largest error of the width of the smearing in the text, which has four decimals, in Ry.
WIDTH_ROUNDING_Ry = 5.1e-5

#: Largest error of a k-point in reciprocal lattice vectors: the text has seven decimals of its Cartesian coordinates.
KPOINT_ROUNDING = 1e-5

#: Columns and width of pw.x's tables of eigenvalues, (2X,8F9.4).
_COLUMNS, _WIDTH, _MARGIN = 8, 9, 2


def read_text_run(path: str | Path) -> tuple[ElectronicStructure, RunConditions]:
    """What pw.x printed of an SCF with `verbosity = 'high'`, which lists the eigenvalues.

    The width of the smearing has four decimals in Ry, which is 8 K at room temperature. Raises InputError where the
    text is not of one whole SCF, or without eigenvalues.
    """
    content = read_regular(path, "the text that pw.x printed", "Name the file of its standard output.", LARGEST_TEXT)
    text = content.decode("utf-8", errors="replace")
    try:
        return _read(text, path)
    except (ValueError, OverflowError, IndexError) as error:
        raise InputError(
            f"{path}: expected the text of one whole SCF by pw.x 6 or 7, got {str(error)[:160]}."
        ) from None


def _read(text: str, path: str | Path) -> tuple[ElectronicStructure, RunConditions]:
    if "Program PWSCF" not in text:
        raise ValueError("another one")
    ends = text.count("End of self-consistent calculation")
    if ends != 1 or len(re.findall(r"^!\s+total energy", text, re.MULTILINE)) != 1:
        raise ValueError(f"one with the end of {ends} of them")
    if "set verbosity='high' to print them" in text or "bands (ev):" not in text:
        raise InputError(
            f"{path}: expected the eigenvalues, by which the LDOS is checked, found none. Run pw.x again with "
            "verbosity = 'high', or take its save folder with `nearsight import qe`."
        )
    # more digits than alat has
    alat_A = _number(text, "celldm(1) =") * units.BOHR_A
    atoms = _atoms(text, alat_A)
    kpoints, weights = _kpoints(text, atoms, alat_A)
    eigenvalues, plane_waves = _eigenvalues(text)
    if len(eigenvalues) != len(kpoints):
        raise ValueError(f"eigenvalues at {len(eigenvalues)} of {len(kpoints)} k-points")
    smearing, width_eV = _smearing(text)
    fermi_energy = _number(text, "the Fermi energy is")
    # the rounding of the weights
    weights = 2 * weights / weights.sum()
    result = ElectronicStructure(
        atoms=atoms,
        grid=_grid(text),
        electrons=_number(text, "number of electrons ="),
        fermi_energy=fermi_energy,
        eigenvalues=eigenvalues,
        occupations=expit((fermi_energy - eigenvalues) / max(width_eV, 1e-9)),
        weights=weights,
        kpoints=kpoints,
        plane_waves=plane_waves,
        ecutwfc_Ry=_number(text, "kinetic-energy cutoff ="),
        ecutrho_Ry=_number(text, "charge density cutoff ="),
        gamma_only="gamma-point specific algorithms are used" in text,
        symmetries=1,
        energies=text_energies(text),
        forces=_forces(text, len(atoms)),
    )
    automatic = find_kpoint_grid(kpoints)
    version = re.search(r"Program PWSCF v\.?\s*(\S{1,40})", text)
    accuracies = re.findall(r"estimated scf accuracy\s*<\s*" + _NUMBER, text)
    return result, RunConditions(
        version=version.group(1) if version else "unknown",
        calculation="scf",
        converged=None,
        accuracy_Ry=_finite(accuracies[-1]) if accuracies else 0.0,
        conv_thr_Ry=_number(text, "convergence threshold ="),
        electron_maxstep=100,
        mixing_beta=_number(text, "mixing beta ="),
        smearing=smearing,
        width_eV=width_eV,
        kpoints=None if automatic is None else automatic[0],
        shift=(0, 0, 0) if automatic is None else automatic[1],
        pseudopotentials=dict(
            re.findall(r"PseudoPot\. #\s*\d+ for\s+(\S{1,8})\s+read from file:?\s+(\S{1,500})", text)
        ),
        polarised="SPIN UP" in text or "oncollinear calculation" in text or "(up:" in text,
        further_terms=tuple(dict.fromkeys(words for mark, words in FURTHER_TERMS.items() if mark in text)),
        charge=0.0,
    )


def find_kpoint_grid(kpoints: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """The automatic grid of k-points, shape (n, 3), in reciprocal lattice vectors, and its shift.

    Also for a set that time reversal or other symmetries have reduced; None where they lie on no grid.
    """
    numbers, shifts = [], []
    for axis in range(3):
        # time reversal takes k to -k
        values = np.unique(np.round(np.mod(np.concatenate([kpoints[:, axis], -kpoints[:, axis]]), 1.0), 4) % 1.0)
        shift = int(np.abs(values - np.round(values)).min() > 1e-3)
        count = len(values)
        expected = (np.arange(count) + shift / 2) / count
        if np.abs(values - expected).max() > 2e-4:
            return None
        numbers.append(count)
        shifts.append(shift)
    return tuple(numbers), tuple(shifts)


def _number(text: str, label: str) -> float:
    """The number after a label, of which `=` may be part and blanks do not count."""
    pattern = r"\s*".join(re.escape(word) for word in label.split())
    found = re.search(pattern + r"\s*" + _NUMBER, text)
    if found is None:
        raise ValueError(f"one without {label!r}")
    return _finite(found.group(1))


def _finite(word: str) -> float:
    value = float(word.replace("D", "E").replace("d", "e"))
    if not abs(value) <= units.LARGEST_NUMBER:
        raise ValueError(f"the number {word[:40]}")
    return value


def _vectors(pattern: str, text: str) -> np.ndarray:
    """Triples of numbers, shape (n, 3)."""
    triple = r"\s*\(\s*" + r"\s+".join([_NUMBER] * 3) + r"\s*\)"
    rows = re.findall(pattern + triple, text)
    return np.array([[_finite(word) for word in row[-3:]] for row in rows], dtype=float).reshape(-1, 3)


def _atoms(text: str, alat_A: float) -> Atoms:
    """The structure at the head, which is in units of alat."""
    cell = _vectors(r"\ba\([123]\)\s*=", text)
    _, mark, table = text.partition("positions (alat units)")
    table = table.partition("number of k points")[0].partition("Crystallographic axes")[0]
    positions = _vectors(r"tau\(\s*\d{1,6}\)\s*=", table)
    symbols = re.findall(r"^[ \t]*\d{1,6}[ \t]+([A-Z][a-z]?)\d*[ \t]+tau\(", table, re.MULTILINE)
    count = int(_number(text, "number of atoms/cell ="))
    if cell.shape != (3, 3) or not mark or len(positions) != count or len(symbols) != count:
        raise ValueError(f"one without three lattice vectors and {count} atoms")
    try:
        return Atoms(symbols, positions=positions * alat_A, cell=cell * alat_A, pbc=True)
    except KeyError as error:
        raise ValueError(f"the element {error}") from None


def _kpoints(text: str, atoms: Atoms, alat_A: float) -> tuple[np.ndarray, np.ndarray]:
    """k-points in reciprocal lattice vectors, shape (n, 3), and their weights, from the Cartesian table."""
    _, mark, table = text.partition("cart. coord. in units 2pi/alat")
    rows = re.findall(
        r"^[ \t]+k\(\s*\d{1,6}\s*\) = \(\s*" + r"\s*".join([_NUMBER] * 3) + r"\s*\), wk =\s*" + _NUMBER,
        table.partition("cryst. coord.")[0],
        re.MULTILINE,
    )
    count = int(_number(text, "number of k points ="))
    if not mark or len(rows) != count or count < 1:
        raise ValueError(f"a list of {len(rows)} in place of {count} k-points (verbosity = 'high' has it)")
    numbers = np.array([[_finite(word) for word in row] for row in rows])
    if not numbers[:, 3].sum() > 0:
        raise ValueError("k-points without weight")
    return numbers[:, :3] @ atoms.cell.array.T / alat_A, numbers[:, 3]


def _eigenvalues(text: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Eigenvalues in eV, shape (kpoints, bands), and numbers of plane waves, of the tables after the SCF."""
    bands = int(_number(text, "number of Kohn-Sham states ="))
    tables = text.partition("End of self-consistent calculation")[2].split("bands (ev):")
    waves = [re.findall(r"\(\s*(\d{1,9}) PWs\)\s*$", part) for part in tables[:-1]]
    rows = []
    for part in tables[1:]:
        lines = part.strip("\n").splitlines()[: -(-bands // _COLUMNS)]
        words = [line[at : at + _WIDTH] for line in lines for at in range(_MARGIN, len(line.rstrip()), _WIDTH)]
        row = [_finite(word) for word in words]
        if len(row) != bands:
            raise ValueError(f"{len(row)} of {bands} eigenvalues at k-point {len(rows) + 1}")
        rows.append(row)
    if bands < 1 or not rows or any(len(found) != 1 for found in waves):
        raise ValueError("tables of eigenvalues of another form")
    return np.array(rows), tuple(int(found[0]) for found in waves)


def _smearing(text: str) -> tuple[str | None, float]:
    """Name and width in eV of the smearing; None where there is none."""
    found = re.search(r"number of k points=\s*\d+\s+(\S{1,40}) smearing, width \(Ry\)=\s*" + _NUMBER, text)
    if found is None:
        return None, 0.0
    return SMEARINGS.get(found.group(1), found.group(1)), _finite(found.group(2)) * units.RYDBERG_eV


def _grid(text: str) -> tuple[int, int, int]:
    found = re.search(r"FFT dimensions:\s*\(\s*(\d{1,5}),\s*(\d{1,5}),\s*(\d{1,5})\)", text)
    if found is None or "0" in found.groups():
        raise ValueError("one without the grid of the density")
    return tuple(int(n) for n in found.groups())


def _forces(text: str, count: int) -> np.ndarray | None:
    """Forces in eV/Å, shape (atoms, 3); None where the run has none."""
    _, mark, table = text.partition("Forces acting on atoms")
    if not mark:
        return None
    rows = re.findall(
        r"^[ \t]+atom[ \t]+\d{1,6} type[ \t]+\d{1,6}[ \t]+force =\s*" + r"\s+".join([_NUMBER] * 3), table, re.MULTILINE
    )
    if len(rows) < count:
        raise ValueError(f"forces on {len(rows)} of {count} atoms")
    values = np.array([[_finite(word) for word in row] for row in rows[:count]])
    return values * units.RYDBERG_eV / units.BOHR_A

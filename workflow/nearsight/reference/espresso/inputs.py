"""Input files of pw.x.

Quantum ESPRESSO's units (Ry, bohr, Rydberg atomic time) stay inside this package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from nearsight import units
from nearsight.reference.espresso.workspace import PREFIX


def default_bands(valence_electrons: float) -> int:
    """Number of bands that pw.x takes for a metal by default: a fifth, and at least four, are empty."""
    occupied = round(valence_electrons / 2)
    return max(round(1.2 * occupied), occupied + 4)


def pw_input(
    atoms: Atoms,
    pseudopotentials: Mapping[str, str],
    *,
    control: Mapping[str, Any],
    system: Mapping[str, Any],
    electrons: Mapping[str, Any],
    kpoints: Sequence[int],
    kpoints_shift: Sequence[int],
    ions: Mapping[str, Any] | None = None,
    velocities: np.ndarray | None = None,
) -> str:
    """Text of a pw.x input for `atoms`, to be run in the folder that holds everything.

    pseudopotentials: element -> file name in that folder; velocities: shape (atoms, 3), Å/fs, written in QE's unit
    (bohr per Rydberg atomic time). Lengths are written in Å with all digits.
    """
    symbols = atoms.get_chemical_symbols()
    elements = sorted(set(symbols), key=atomic_numbers.__getitem__)
    control = {"prefix": PREFIX, "outdir": ".", "pseudo_dir": ".", **control}
    system = {"ibrav": 0, "nat": len(atoms), "ntyp": len(elements), **system}
    text = _namelist("control", control) + _namelist("system", system) + _namelist("electrons", electrons)
    if ions is not None:
        text += _namelist("ions", ions)
    text += "ATOMIC_SPECIES\n"
    for element in elements:
        text += f"{element} {atomic_masses[atomic_numbers[element]]:.8f} {pseudopotentials[element]}\n"
    text += "CELL_PARAMETERS angstrom\n" + _rows(atoms.cell)
    text += "ATOMIC_POSITIONS angstrom\n" + _rows(atoms.positions, symbols)
    if velocities is not None:
        text += "ATOMIC_VELOCITIES a.u\n"
        text += _rows(np.asarray(velocities) * units.RYDBERG_TIME_fs / units.BOHR_A, symbols)
    return text + f"K_POINTS automatic\n{' '.join(str(int(n)) for n in (*kpoints, *kpoints_shift))}\n"


def fermi_smearing(temperature_K: float) -> dict[str, Any]:
    """Keys of &system for Fermi-Dirac occupations at a temperature: degauss is k_B T in Ry."""
    return {
        "occupations": "smearing",
        "smearing": "fermi-dirac",
        "degauss": units.thermal_energy(temperature_K) / units.RYDBERG_eV,
    }


def _namelist(name: str, entries: Mapping[str, Any]) -> str:
    lines = "".join(f"  {key} = {_literal(value)}\n" for key, value in entries.items())
    return f"&{name}\n{lines}/\n"


def _literal(value: object) -> str:
    """A Fortran literal."""
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int | np.integer):
        return str(int(value))
    return repr(float(value))


def _rows(rows: np.ndarray, labels: Sequence[str] | None = None) -> str:
    lines = [" ".join(f"{x: .15e}" for x in row) for row in np.asarray(rows)]
    if labels is not None:
        lines = [f"{label} {line}" for label, line in zip(labels, lines, strict=True)]
    return "\n".join(lines) + "\n"

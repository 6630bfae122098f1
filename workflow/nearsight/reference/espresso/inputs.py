"""Input files of pw.x, and the settings behind them.

Quantum ESPRESSO's units (Ry, bohr, Rydberg atomic time) stay inside this package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from nearsight import units
from nearsight.errors import InputError
from nearsight.reference.espresso.workspace import PREFIX


class Settings:
    """Base of dataclasses that are read from a section of the configuration."""

    @classmethod
    def read(cls, section: Mapping[str, Any], name: str, ignored: Sequence[str] = ()) -> Self:
        """The settings of a configuration section; `name` is the section's, for messages.

        ignored: keys of the same section that belong to others. Raises InputError on a missing or an unknown key.
        """
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(set(section) - set(known) - set(ignored))
        if unknown:
            raise InputError(f"{name}.{unknown[0]}: unknown key; expected one of {', '.join(known)}.")
        for key, field in known.items():
            if key not in section and field.default is MISSING:
                raise InputError(f"{name}.{key}: expected a value, found none. See config/README.md, '{name}'.")
        return cls(**{key: section[key] for key in known if key in section})


@dataclass(frozen=True)
class DftSettings(Settings):
    """The configuration's section `dft`: one SCF run. Energies in Ry, as QE's users know them."""

    ecutwfc_Ry: float
    ecutrho_Ry: float
    kpoints: Sequence[int]
    kpoints_shift: Sequence[int]
    bands: int
    conv_thr_Ry: float
    electron_maxstep: int = 100
    mixing_beta: float = 0.7


@dataclass(frozen=True)
class MdSettings(Settings):
    """The configuration's section `md`: Born-Oppenheimer dynamics."""

    time_step_fs: float
    steps_per_segment: int
    thermostat: str
    thermostat_time_fs: float
    ecutwfc_Ry: float
    kpoints: Sequence[int]
    kpoints_shift: Sequence[int]
    conv_thr_Ry: float
    ecutrho_Ry: float | None = None
    electron_maxstep: int = 100
    mixing_beta: float = 0.7


def default_bands(valence_electrons: float) -> int:
    """Number of bands that pw.x takes of a metal where none is asked for: a fifth, and at least four, are empty."""
    occupied = round(valence_electrons / 2)
    return max(round(1.2 * occupied), occupied + 4)


@dataclass(frozen=True)
class LdosSettings(Settings):
    """The configuration's section `ldos`: the energies of the LDOS and their broadening s (QE's degauss_ldos)."""

    energy_min_eV: float
    energy_max_eV: float
    spacing_eV: float
    broadening_eV: float
    backend: str = "one_pass"

    @property
    def count(self) -> int:
        """Number of energies."""
        return round((self.energy_max_eV - self.energy_min_eV) / self.spacing_eV) + 1

    @property
    def energies_eV(self) -> np.ndarray:
        """The energies, shape (count,), eV."""
        return self.energy_min_eV + self.spacing_eV * np.arange(self.count)


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

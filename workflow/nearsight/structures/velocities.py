"""Velocities of the nuclei: initial values, temperature, and thermostats between segments of the dynamics.

A thermostat acts on the velocities at the start of each segment; the segment itself is plain Verlet dynamics.
Quantum ESPRESSO's own thermostats cannot be used with velocities from a file: they divide by a temperature that
has not been computed yet, and QE 6.7 goes on with NaN.
Velocities are in Å/fs, shape (atoms, 3); the centre of mass rests, so N atoms have 3 N - 3 degrees of freedom.
"""

import hashlib

import numpy as np
from ase import Atoms

from nearsight import units
from nearsight.errors import InputError

#: Kinetic energy of 1 amu (Å/fs)² in eV.
_AMU_A2_PER_FS2_eV = units.AMU_kg * 1e10 / 1.602176634e-19

THERMOSTATS = ("not_controlled", "rescaling", "berendsen", "svr")


def temperature_of(masses: np.ndarray, velocities: np.ndarray) -> float:
    """Temperature in K of velocities whose centre of mass rests; masses in amu."""
    kinetic = kinetic_energy(masses, velocities)
    freedom = _degrees_of_freedom(masses)
    return 2 * kinetic / (freedom * units.BOLTZMANN_eV_per_K) if freedom else 0.0


def kinetic_energy(masses: np.ndarray, velocities: np.ndarray) -> float:
    """Kinetic energy in eV; masses in amu."""
    return float(0.5 * _AMU_A2_PER_FS2_eV * np.sum(masses[:, None] * velocities**2))


def without_drift(masses: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """The velocities relative to their centre of mass."""
    return velocities - masses @ velocities / masses.sum()


def draw_velocities(masses: np.ndarray, temperature_K: float, generator: np.random.Generator) -> np.ndarray:
    """Velocities of the Maxwell-Boltzmann distribution, centre of mass at rest, scaled to the temperature exactly."""
    if not temperature_K > 0:
        raise InputError(f"temperature_K: expected a positive temperature in K, got {temperature_K}.")
    spread = np.sqrt(units.thermal_energy(temperature_K) / (masses * _AMU_A2_PER_FS2_eV))
    velocities = without_drift(masses, generator.normal(size=(len(masses), 3)) * spread[:, None])
    if len(masses) < 2:
        return velocities
    return velocities * np.sqrt(temperature_K / temperature_of(masses, velocities))


def apply_thermostat(
    name: str,
    masses: np.ndarray,
    velocities: np.ndarray,
    temperature_K: float,
    duration_fs: float,
    time_fs: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Velocities after a thermostat of coupling time `time_fs` acts for `duration_fs`, the time since its last act.

    not_controlled: none. rescaling: to the temperature exactly. berendsen: the kinetic energy relaxes to its mean
    exponentially. svr: as berendsen, with the noise that makes it canonical (Bussi, Donadio, Parrinello,
    J. Chem. Phys. 126, 014101 (2007), eq. A7).
    Raises InputError for another name or times that are not positive.
    """
    if name not in THERMOSTATS:
        raise InputError(f"md.thermostat: expected one of {', '.join(THERMOSTATS)}, got {name!r}.")
    if name == "not_controlled" or len(masses) < 2:
        return velocities
    if not (time_fs > 0 and duration_fs > 0):
        raise InputError(f"md.thermostat_time_fs: expected a positive time in fs, got {time_fs}.")
    decay = np.exp(-duration_fs / time_fs)
    current = temperature_of(masses, velocities)
    if not current > 0:
        raise InputError("velocities: expected motion for the thermostat to scale, got atoms at rest.")
    if name == "rescaling":
        return velocities * np.sqrt(temperature_K / current)
    if name == "berendsen":
        return velocities * np.sqrt((temperature_K + (current - temperature_K) * decay) / current)
    freedom = _degrees_of_freedom(masses)
    normal = generator.normal()
    others = 2 * generator.gamma((freedom - 1) / 2)
    ratio = temperature_K / (freedom * current)
    squared = decay + ratio * (1 - decay) * (normal**2 + others) + 2 * normal * np.sqrt(ratio * decay * (1 - decay))
    return velocities * np.sqrt(squared)


def generator_of_state(atoms: Atoms) -> np.random.Generator:
    """Random numbers that depend on the state alone: a repeated segment is the same, any other differs."""
    content = np.round(np.concatenate([atoms.positions, atoms.get_momenta()]), 8) + 0.0  # +0.0: no minus zero
    digest = hashlib.sha256(content.astype("<f8").tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _degrees_of_freedom(masses: np.ndarray) -> int:
    return 3 * len(masses) - 3

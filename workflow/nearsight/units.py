"""Units and constants (CODATA 2018), defined once.

The package computes in Å, eV and K. Bohr and Rydberg appear only in the Quantum ESPRESSO adapters.
"""

import numpy as np
from scipy import constants as _c

BOLTZMANN_eV_per_K = _c.Boltzmann / _c.elementary_charge
RYDBERG_eV = _c.value("Rydberg constant times hc in eV")
HARTREE_eV = 2.0 * RYDBERG_eV
BOHR_A = _c.value("Bohr radius") * 1e10
ELECTRONVOLT_J = _c.elementary_charge
AMU_kg = _c.atomic_mass
AMU_g = _c.atomic_mass * 1e3

#: e²/(4πε₀), the energy of two elementary charges 1 Å apart, eV Å.
COULOMB_eV_A = HARTREE_eV * BOHR_A

#: Rydberg atomic unit of time (Quantum ESPRESSO's `dt`), twice the Hartree one.
RYDBERG_TIME_fs = 2.0 * _c.value("atomic unit of time") * 1e15

#: 1/(Ry bohr³) in 1/(eV Å³): the unit of the LDOS in Quantum ESPRESSO's cube files.
PER_RYDBERG_BOHR3 = 1.0 / (RYDBERG_eV * BOHR_A**3)

#: Beyond what any file's number should be, in any unit; and far from overflow when it is converted, squared or summed.
LARGEST_NUMBER = 1e100


def are_finite(values: np.ndarray) -> bool:
    """Whether all numbers (real, any shape) are finite and stay so in other units: none beyond LARGEST_NUMBER."""
    return values.size == 0 or bool(values.min() > -LARGEST_NUMBER and values.max() < LARGEST_NUMBER)


def thermal_energy(temperature_K: float) -> float:
    """k_B T in eV."""
    return BOLTZMANN_eV_per_K * temperature_K


#: Fermi functions end 25 k_B T above their level: f is 1e-11 there.
FERMI_REACH_PER_kT = 25.0


def fermi_reach(temperature_K: float) -> float:
    """How far above its level a Fermi function reaches, in eV."""
    return FERMI_REACH_PER_kT * thermal_energy(temperature_K)

"""The kernels by which Quantum ESPRESSO may have broadened an LDOS: those of its smearings (w0gauss)."""

from collections.abc import Callable

import numpy as np

from nearsight.reference.espresso.collect import broadened_dos
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.study.sections import Ldos

#: Largest error of a DOS, relative to its maximum, by which a kernel is known: a cube file has five digits, and
#: the kernels differ by some percent.
KNOWN = 3e-3


def fermi_dirac(distance_eV: np.ndarray, width_eV: float) -> np.ndarray:
    """-df/dε of the Fermi function."""
    half = np.clip(np.abs(distance_eV) / (2 * width_eV), 0, 350)
    return 1 / (4 * width_eV * np.cosh(half) ** 2)


def methfessel_paxton(distance_eV: np.ndarray, width_eV: float) -> np.ndarray:
    """First order: exp(-x²)/√π (3/2 - x²)."""
    x2 = np.square(distance_eV / width_eV)
    return np.exp(-x2) * (1.5 - x2) / (np.sqrt(np.pi) * width_eV)


def marzari_vanderbilt(distance_eV: np.ndarray, width_eV: float) -> np.ndarray:
    """Cold smearing: exp(-(x - 1/√2)²)/√π (2 - √2 x), x from the state to the energy."""
    x = distance_eV / width_eV
    exponent = np.minimum(np.square(x - np.sqrt(0.5)), 200)
    return np.exp(-exponent) * (2 - np.sqrt(2) * x) / (np.sqrt(np.pi) * width_eV)


KERNELS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "Fermi-Dirac functions": fermi_dirac,
    "Methfessel-Paxton functions": methfessel_paxton,
    "Marzari-Vanderbilt functions": marzari_vanderbilt,
}


def name_kernel(dos: np.ndarray, states: ElectronicStructure, ldos: Ldos) -> str | None:
    """The kernel, other than a Gaussian, that broadens the eigenvalues to this DOS (1/eV); None where none does."""
    for name, kernel in KERNELS.items():
        expected = broadened_dos(states.eigenvalues, states.weights, ldos.grid, ldos.broadening_eV, kernel)
        if np.abs(dos - expected).max() < KNOWN * np.abs(expected).max():
            return name
    return None

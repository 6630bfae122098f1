"""The kernels with which Quantum ESPRESSO may have broadened an LDOS: those of its smearings (w0gauss)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.reference.espresso.collect import broadened_dos
from nearsight.reference.espresso.one_pass import gaussian
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.study.sections import Ldos

#: Largest error of a DOS, relative to its maximum, at which a kernel is recognised: a cube file has five digits, and
#: the kernels differ by a few percent.
KNOWN = 3e-3

#: Widths that are tried for a kernel of unknown width, in steps of the LDOS, and how many of them.
TRIED_WIDTHS = (0.25, 16.0)
TRIES = 40


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

#: Kernels that a dataset may have, by their name in its settings: those that are nowhere negative and have a variance,
#: which the integrals of the DOS correct for.
OF_DATASETS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"gaussian": gaussian, "fermi-dirac": fermi_dirac}

#: Width of the Gaussian exp(-(ε/s)²), of variance s²/2, with the variance of a kernel of width 1: π²/3 of Fermi-Dirac.
EQUIVALENT_WIDTHS = {"gaussian": 1.0, "fermi-dirac": np.pi * np.sqrt(2 / 3)}


@dataclass(frozen=True)
class Broadening:
    """How an LDOS is broadened: a name of `OF_DATASETS`, and the width, Quantum ESPRESSO's degauss_ldos."""

    kernel: str
    width_eV: float

    @property
    def gaussian_eV(self) -> float:
        """Width of the Gaussian with the same variance, by which energies are corrected, to 1 µeV: studies quote it."""
        return round(EQUIVALENT_WIDTHS[self.kernel] * self.width_eV, 6)

    def settings(self) -> dict[str, str | float]:
        """The keys of a dataset's section `ldos`."""
        return {"broadening_eV": self.gaussian_eV, "kernel": self.kernel, "kernel_width_eV": self.width_eV}

    @classmethod
    def of_settings(cls, ldos: Mapping, path: Path) -> "Broadening":
        """That of a dataset with this section `ldos`; datasets that name no kernel have Gaussians.

        Raises InputError for another kernel.
        """
        kernel, width_eV = ldos.get("kernel", "gaussian"), ldos.get("kernel_width_eV", ldos["broadening_eV"])
        number = isinstance(width_eV, int | float) and not isinstance(width_eV, bool) and width_eV > 0
        if kernel not in OF_DATASETS or not number:
            raise InputError(
                f"{path}: settings.ldos.kernel: expected {' or '.join(OF_DATASETS)} of a width above 0 eV, got "
                f"{str(kernel)[:40]} of {str(width_eV)[:40]}. Import the data again."
            )
        return cls(kernel, float(width_eV))

    def dos(self, eigenvalues: np.ndarray, weights: np.ndarray, grid: EnergyGrid) -> np.ndarray:
        """DOS in 1/eV of eigenvalues in eV, shape (kpoints, bands), broadened in this way."""
        return broadened_dos(eigenvalues, weights, grid, self.width_eV, OF_DATASETS[self.kernel])


def name_kernel(dos: np.ndarray, states: ElectronicStructure, ldos: Ldos) -> str | None:
    """The kernel, other than a Gaussian, that broadens the eigenvalues to this DOS (1/eV); None where none does."""
    for name, kernel in KERNELS.items():
        expected = broadened_dos(states.eigenvalues, states.weights, ldos.grid, ldos.broadening_eV, kernel)
        if np.abs(dos - expected).max() < KNOWN * np.abs(expected).max():
            return name
    return None


def find_broadening(
    dos: np.ndarray, states: ElectronicStructure, grid: EnergyGrid, width_eV: float | None = None
) -> tuple[Broadening, float]:
    """The kernel and the width that broaden the eigenvalues to this DOS (1/eV) best, and the error left.

    width_eV: where it is known; else it is sought, to 1 meV. The error is the largest one, relative to the maximum.
    """

    def error(kernel: str, width: float) -> float:
        expected = Broadening(kernel, width).dos(states.eigenvalues, states.weights, grid)
        return float(np.abs(dos - expected).max() / max(np.abs(dos).max(), 1e-300))

    found = []
    for kernel in OF_DATASETS:
        width = width_eV
        if width is None:
            tried = grid.spacing_eV * np.geomspace(*TRIED_WIDTHS, TRIES)
            best = int(np.argmin([error(kernel, one) for one in tried]))
            ends = tried[max(best - 1, 0)], tried[min(best + 1, TRIES - 1)]
            sought = minimize_scalar(lambda one, kernel=kernel: error(kernel, one), bounds=ends, method="bounded")
            width = max(round(float(sought.x), 3), 1e-3)
        found.append((Broadening(kernel, width), error(kernel, width)))
    return min(found, key=lambda one: one[1])

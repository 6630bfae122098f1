"""The energy zero of an element, from references whose cells have several densities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nearsight.errors import InputError
from nearsight.grids.energies import SAME_DENSITY, find_energy_zero


@dataclass(frozen=True)
class EnergyZero:
    """z of each element in eV Å³, and the spread of the Fermi levels (largest less least, eV) without and with it."""

    energy_zero_eV_A3: Mapping[str, float]
    spread_without_eV: float
    spread_eV: float


def fit_energy_zero(cells: Sequence[Atoms], fermi_levels_eV: Sequence[float]) -> EnergyZero:
    """Least squares of μ = μ0 + Σ z N/Ω over the cells, in Quantum ESPRESSO's energies.

    Raises InputError where the cells do not determine each element's z.
    """
    elements = sorted({symbol for atoms in cells for symbol in atoms.symbols})
    densities = np.array([[atoms.symbols.count(one) / atoms.get_volume() for one in elements] for atoms in cells])
    levels = np.asarray(fermi_levels_eV, dtype=float)
    equations = (densities - densities.mean(axis=0)) / densities.mean(axis=0)
    if len(cells) <= len(elements) or np.linalg.svd(equations, compute_uv=False)[-1] < 10 * SAME_DENSITY:
        raise InputError(
            f"energy zero: expected references of at least {len(elements) + 1} densities for "
            f"{', '.join(elements)}, got {len(cells)} files that do not tell them apart. Add a strained cell or a "
            "vacancy."
        )
    scaled = np.linalg.lstsq(equations, levels - levels.mean(), rcond=None)[0]
    found = dict(zip(elements, (scaled / densities.mean(axis=0)).tolist(), strict=True))
    left = levels - [find_energy_zero(atoms, found) for atoms in cells]
    return EnergyZero(found, float(np.ptp(levels)), float(np.ptp(left)))

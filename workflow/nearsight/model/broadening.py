"""What the broadening of the LDOS leaves in an energy although it is corrected for, measured on the training snapshots.

The correction (nearsight.ldos.fermi) is of leading order in the width s. Where the DOS bends within s of the Fermi
level, as in beryllium's pseudogap, an error remains, which is nearly the same for each atom in all cells of a material
at one temperature. So it can be measured on the training snapshots, and subtracted from what a model predicts.
"""

import logging
from collections.abc import Sequence

import numpy as np

from nearsight.datasets import open_dataset
from nearsight.errors import NearsightError
from nearsight.grids.energies import EnergyGrid
from nearsight.ldos import integrate_dos
from nearsight.model.data import Snapshot

logger = logging.getLogger("nearsight")

#: What a snapshot dataset needs for it.
NEEDED = ("dos", "energy", "band_energy", "entropy_energy")


def measure_broadening_errors(snapshots: Sequence[Snapshot], broadening_eV: float) -> list[list[float]]:
    """Pairs of the electrons' temperature in K, ascending, and the mean error of the snapshots at it in eV/atom.

    The error: band energy and -TS of the snapshot's DOS less those of its eigenvalues. Snapshots that lack one of these
    count for nothing; without any the list is empty.
    """
    found: dict[float, list[float]] = {}
    for snapshot in snapshots:
        error = broadening_error(snapshot, broadening_eV)
        if error is not None:
            found.setdefault(snapshot.temperature_K, []).append(error / snapshot.atoms)
    for temperature_K, errors in sorted(found.items()):
        logger.info(
            "broadening: energies of the training snapshots' DOS at %g K are off by %+.2f meV/atom (%d snapshots, "
            "standard deviation %.2f), which predictions subtract",
            temperature_K, 1e3 * np.mean(errors), len(errors), 1e3 * np.std(errors),
        )  # fmt: skip
    return [[temperature_K, float(np.mean(errors))] for temperature_K, errors in sorted(found.items())]


def broadening_error(snapshot: Snapshot, broadening_eV: float) -> float | None:
    """That error of one snapshot in eV; None where its dataset does not tell."""
    with open_dataset(snapshot.reference) as dataset:
        if any(name not in dataset for name in NEEDED):
            return None
        exact = float(dataset["band_energy"]) + float(dataset["entropy_energy"])
        dos, grid = dataset["dos"].values, EnergyGrid.from_energies(dataset["energy"].values)
    try:
        found = integrate_dos(dos, grid, snapshot.electrons, snapshot.temperature_K, broadening_eV)
    except NearsightError as error:
        logger.warning("broadening: %s is left out: %s", snapshot.reference, error)
        return None
    return found.band_energy_eV + found.entropy_energy_eV - exact

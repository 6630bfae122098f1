"""How good a reference is as a label: how uncertain its own approximations leave the energy, before any training.

Each floor is in meV/atom. No model is better than its labels: an error of a network below its floor means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight import units
from nearsight.datasets import atoms_of, provenance_of, require, settings_of
from nearsight.energies.place import is_single
from nearsight.energies.report import energies_of_ldos
from nearsight.errors import InputError
from nearsight.imports.kernels import Broadening
from nearsight.ldos import EnergyGrid, integrate_dos
from nearsight.model.method import positive_number
from nearsight.reference.espresso.collect import compare_atoms
from nearsight.reference.pseudopotential import Pseudopotential, parse_pseudopotential

#: How far beyond the eigenvalues, in broadenings, a window must reach to lose nothing.
WIDE = 8.0

NEEDED = (
    *("cell", "positions", "atomic_numbers", "energy", "dos", "density", "ldos_eigenvalues", "kpoint_weights"),
    *("fermi_energy", "electrons", "band_energy", "entropy_energy", "total_free_energy"),
)

#: What each floor is, for people.
MEANINGS = {
    "scf": "SCF: what the convergence threshold leaves of the energy",
    "kpoints": "k-points: against the denser set",
    "window": "window: states and Fermi tails beyond the LDOS's energies",
    "bands": "bands: the highest one's share of the energy, which is more than that of a missing one",
    "broadening": "broadening and energy step: energy of the broadened eigenvalues against theirs",
    "electrons": "electrons that the density has too many or too few, at the width of the occupied band",
    "ldos": "LDOS: total free energy of the reference's own LDOS against DFT's: the four above, and its density",
}


@dataclass(frozen=True)
class LabelFloors:
    """Floors in meV/atom, none negative; None where it is not known.

    kpoints: without a denser reference; ldos: without the pseudopotentials.
    """

    scf: float
    window: float
    bands: float
    broadening: float
    electrons: float
    ldos: float | None = None
    kpoints: float | None = None

    @property
    def total(self) -> float:
        """All known floors together, each counted once: the LDOS's own error includes those that it is made of."""
        parts = self.window + self.bands + self.broadening + self.electrons
        return self.scf + (parts if self.ldos is None else self.ldos) + (self.kpoints or 0.0)


def measure_floors(
    dataset: xr.Dataset,
    path: Path,
    ldos_energy_eV: float | None = None,
    denser: tuple[xr.Dataset, Path] | None = None,
) -> LabelFloors:
    """The floors of a snapshot dataset.

    ldos_energy_eV: total free energy of its LDOS, where it is known; denser: the same structure with more k-points.
    Raises InputError where the dataset lacks what is needed, or the other one is not denser.
    """
    require(dataset, *NEEDED, path=path)
    settings, atoms = settings_of(dataset), len(dataset["positions"])
    temperature_K = positive_number(settings, "temperature_K", path=path)
    broadening_eV = positive_number(settings, "ldos", "broadening_eV", path=path)
    broadening = Broadening.of_settings(settings["ldos"], path)
    grid = EnergyGrid.from_energies(dataset["energy"].values)
    states, weights = dataset["ldos_eigenvalues"].values, dataset["kpoint_weights"].values
    electrons, level = float(dataset["electrons"]), float(dataset["fermi_energy"])
    exact = float(dataset["band_energy"]) + float(dataset["entropy_energy"])
    conditions = {"electrons": electrons, "temperature_K": temperature_K, "broadening_eV": broadening_eV}

    def energy_on(window: EnergyGrid) -> float:
        found = integrate_dos(broadening.dos(states, weights, window), window, **conditions)
        return found.band_energy_eV + found.entropy_energy_eV

    wide = energy_on(widen(grid, states.min(), level + units.fermi_reach(temperature_K), broadening_eV))
    volume = atoms_of(dataset).get_volume()
    held = float(np.sum(dataset["density"].values)) * volume / dataset["density"].size
    total = float(dataset["total_free_energy"])
    per_atom = 1e3 / atoms  # eV to meV/atom
    return LabelFloors(
        scf=per_atom * positive_number(settings, "dft", "conv_thr_Ry", path=path) * units.RYDBERG_eV,
        window=per_atom * abs(energy_on(grid) - wide),
        bands=per_atom * grand_potential(states[:, -1], weights, level, temperature_K),
        broadening=per_atom * abs(wide - exact),
        electrons=per_atom * abs(held - electrons) * max(level - float(states.min()), 0.0),
        ldos=None if ldos_energy_eV is None else per_atom * abs(ldos_energy_eV - total),
        kpoints=None if denser is None else per_atom * abs(total - energy_of_denser(dataset, path, *denser)),
    )


def widen(grid: EnergyGrid, lowest_eV: float, needed_eV: float, broadening_eV: float) -> EnergyGrid:
    """The energies, extended on both sides in the same steps until nothing is lost beyond."""
    low, high = lowest_eV - WIDE * broadening_eV, needed_eV + WIDE * broadening_eV
    below = max(ceil((grid.minimum_eV - low) / grid.spacing_eV), 0)
    above = max(ceil((high - grid.maximum_eV) / grid.spacing_eV), 0)
    return EnergyGrid(grid.minimum_eV - below * grid.spacing_eV, grid.spacing_eV, grid.count + below + above)


def grand_potential(states: np.ndarray, weights: np.ndarray, level_eV: float, temperature_K: float) -> float:
    """k_B T Σ w ln(1 + exp((μ - ε)/k_B T)) in eV: by this much a band, shape (kpoints,), lowers Ω and, to first order,
    F at a fixed number of electrons.
    """
    width = units.thermal_energy(temperature_K)
    return float(width * weights @ np.logaddexp(0.0, (level_eV - states) / width))


def energy_of_denser(dataset: xr.Dataset, path: Path, denser: xr.Dataset, other: Path) -> float:
    """Total free energy in eV of the same structure with more k-points. Raises InputError where it is anything else."""
    require(denser, "cell", "positions", "atomic_numbers", "kpoint_weights", "total_free_energy", path=other)
    if different := compare_atoms(atoms_of(denser), atoms_of(dataset), 1e-6):
        raise InputError(f"{other}: expected the structure of {path}, got another one ({different}).")
    for key in ("ecutwfc_Ry", "ecutrho_Ry"):
        ours, theirs = (settings_of(one)["dft"].get(key) for one in (dataset, denser))
        if ours != theirs:
            raise InputError(
                f"{other}: dft.{key}: expected {ours} as in {path}, got {theirs}. Vary the k-points alone."
            )
    few, many = (one.sizes["kpoint"] for one in (dataset, denser))
    if not many > few:
        raise InputError(f"{other}: k-points: expected more than the {few} of {path}, got {many}.")
    return float(denser["total_free_energy"])


def energy_of_own_ldos(dataset: xr.Dataset, path: Path, pseudopotentials: Mapping[str, Pseudopotential]) -> float:
    """Total free energy in eV of a reference's own LDOS. Raises InputError where the dataset lacks what is needed."""
    require(dataset, "ldos", *NEEDED, path=path)
    settings = settings_of(dataset)
    conditions = {
        "temperature_K": positive_number(settings, "temperature_K", path=path),
        "broadening_eV": positive_number(settings, "ldos", "broadening_eV", path=path),
    }
    options = {
        "pseudopotentials": pseudopotentials,
        "ecutrho_Ry": positive_number(settings, "dft", "ecutrho_Ry", path=path),
        "single": is_single(dataset["density"].shape),
    }
    return energies_of_ldos(dataset, conditions, options).total


def find_pseudopotentials(dataset: xr.Dataset, folder: Path) -> dict[str, Pseudopotential] | None:
    """The reference's pseudopotentials among a folder's UPF files, by the SHA-256 in its provenance; None without."""
    key = "pseudopotential "
    inputs = provenance_of(dataset).get("inputs_sha256", {})
    wanted = {name.removeprefix(key): value for name, value in inputs.items() if name.startswith(key)}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".upf") if folder.is_dir() else []
    found = {}
    for path in files:
        one = parse_pseudopotential(path.read_bytes(), path)
        if wanted.get(one.element) == one.sha256:
            found[one.element] = one
    return found if wanted and set(found) == set(wanted) else None

"""What a DFT code hands over for one structure, and its dataset: the interface for other codes.

An adapter (nearsight.reference.espresso is the first) reads and checks its code's files and returns a `Snapshot`;
everything that follows, from training to evaluation, reads only the dataset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.grids.energies import EnergyGrid
from nearsight.ldos import dos_from_ldos
from nearsight.reference.pseudopotential import Pseudopotential
from nearsight.study.sections import Dft, Ldos


@dataclass(frozen=True, eq=False)
class Snapshot:
    """DFT's results for one structure in eV and Å, summed over spin.

    density: of the valence electrons, shape (nx, ny, nz), 1/Å³; ldos: float32 of shape (nx, ny, nz, energies),
    1/(eV Å³), at the energies of energy_grid; eigenvalues: shape (kpoints, bands); kpoint_weights: (kpoints,), with the
    sum 2; ldos_eigenvalues: those that the LDOS comes from; band_energy: Σ w f ε; energies: total_free_energy and its
    terms by the names of `fields.FIELDS`; forces: (atoms, 3), eV/Å; stress: (6,) in the order and with the sign of
    ASE, eV/Å³. Forces and stress: None where the run has none.
    """

    atoms: Atoms
    density: np.ndarray
    ldos: np.ndarray
    energy_grid: EnergyGrid
    eigenvalues: np.ndarray
    ldos_eigenvalues: np.ndarray
    kpoint_weights: np.ndarray
    fermi_energy: float
    electrons: float
    band_energy: float
    energies: Mapping[str, float]
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None

    @property
    def dos(self) -> np.ndarray:
        """Density of states, shape (energies,), 1/eV: the LDOS summed over the cell."""
        return dos_from_ldos(self.ldos, self.atoms.get_volume() / self.density.size)

    def variables(self) -> dict[str, np.ndarray | float]:
        """Everything by the names of `fields.FIELDS`."""
        measured = {"forces": self.forces, "stress": self.stress}
        return {
            **variables_of_atoms(self.atoms),
            **{name: values for name, values in measured.items() if values is not None},
            "density": self.density,
            "ldos": self.ldos,
            "energy": self.energy_grid.energies_eV,
            "dos": self.dos,
            "eigenvalues": self.eigenvalues,
            "ldos_eigenvalues": self.ldos_eigenvalues,
            "kpoint_weights": self.kpoint_weights,
            "fermi_energy": self.fermi_energy,
            "electrons": self.electrons,
            "band_energy": self.band_energy,
            **self.energies,
        }


def write_snapshot(target: str | Path, snapshot: Snapshot, settings: dict, provenance: dict) -> None:
    """Write a snapshot dataset, whole or not at all.

    settings: of `describe_settings`; provenance: of `provenance.collect_provenance`. Raises InputError where shapes do
    not fit together or a number is not finite.
    """
    write_dataset(target, snapshot.variables(), settings, provenance)


def describe_settings(
    dft: Dft, ldos: Ldos, temperature_K: float, functional: str, pseudopotentials: Mapping[str, Pseudopotential]
) -> dict:
    """The settings of a snapshot dataset, which a training compares between its snapshots.

    temperature_K: of the electrons; pseudopotentials: of the structure's elements alone.
    """
    elements = sorted(pseudopotentials, key=chemical_symbols.index)
    return {
        "dft": dft.model_dump(exclude={"launcher", "ranks"}),
        "ldos": {**ldos.model_dump(exclude={"work_MB"}), "kernel": "gaussian"},
        "temperature_K": temperature_K,
        "elements": elements,
        "functional": functional,
        "valence": {element: pseudopotentials[element].valence for element in elements},
    }

"""What the energy depends on in an LDOS: two integrals over energy, at each snapshot's own Fermi level and temperature.

To first order an error δd of the LDOS changes the density by ∫ f δd dε and, at a fixed number of electrons, the band
energy and the entropy by ∫ (ε - μ) f δD dε and their entropy's share, because ∂A/∂N = μ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.ldos import dos_from_ldos, fermi_weights, find_fermi_level
from nearsight.model.data import DataDescription, Snapshot, SnapshotReader, blocks_of, sample_field

#: Points of the training snapshots whose projections give their spread.
SAMPLES = 8192


def measure_dos(snapshots: Sequence[Snapshot]) -> np.ndarray:
    """DOS of each snapshot in 1/eV, shape (snapshots, energies), in a streaming pass."""
    spectra = []
    for snapshot in snapshots:
        voxel = snapshot.volume_A3 / snapshot.points
        with SnapshotReader(snapshot) as reader:
            blocks = blocks_of(snapshot.shape)
            spectra.append(np.sum([dos_from_ldos(reader.read(block)[1], voxel) for block in blocks], axis=0))
    return np.stack(spectra)


@dataclass(frozen=True)
class EnergyWeights:
    """Weights of integrals over energy for each snapshot, shape (S, E): they turn errors of an LDOS into these.

    count: of the density; share: of band energy and entropy at a fixed number of electrons, eV; slope: of the states at
    the Fermi level, ∂n/∂μ in 1/eV; states: mean of these, from the DOS, 1/(eV Å³), shape (S,).
    """

    count: np.ndarray
    share: np.ndarray
    slope: np.ndarray
    states: np.ndarray

    def scaled(self, scale: np.ndarray) -> "EnergyWeights":
        """The same for an LDOS that is divided by `scale`, shape (E,)."""
        return EnergyWeights(self.count * scale, self.share * scale, self.slope * scale, self.states)

    @property
    def projections(self) -> np.ndarray:
        """Density and the energy's share, shape (S, E, 2)."""
        return np.stack([self.count, self.share], axis=-1)


def energy_weights(snapshots: Sequence[Snapshot], data: DataDescription, dos: np.ndarray) -> EnergyWeights:
    """Weights for an LDOS in 1/(eV Å³); dos: of the snapshots, shape (S, E), 1/eV; gives each its Fermi level."""
    rows = []
    for snapshot, spectrum in zip(snapshots, dos, strict=True):
        conditions = (snapshot.temperature_K, data.broadening_eV)
        level = find_fermi_level(spectrum, data.energy_grid, snapshot.electrons, *conditions)
        found = fermi_weights(data.energy_grid, level, *conditions)
        share = found.band_energy - level * found.count + found.entropy_energy
        rows.append((found.count, share, found.count_slope, spectrum @ found.count_slope / snapshot.volume_A3))
    return EnergyWeights(*(np.stack(part) for part in zip(*rows, strict=True)))


def projection_spread(snapshots: Sequence[Snapshot], projections: np.ndarray, seed: int) -> np.ndarray:
    """Standard deviation over the points of the training snapshots of both projections, shape (2,)."""
    ldos = sample_field(snapshots, "ldos", SAMPLES, seed)
    return (ldos @ projections.mean(axis=0)).std(axis=0)

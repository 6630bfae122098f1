"""What the energy depends on in an LDOS: two integrals over energy, at each snapshot's own Fermi level and temperature.

To first order an error δd of the LDOS changes the density by ∫ f δd dε and, at a fixed number of electrons, the band
energy and the entropy by ∫ (ε - μ) f δD dε and their entropy's share, because ∂A/∂N = μ.
"""

from collections.abc import Sequence

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


def energy_projections(snapshots: Sequence[Snapshot], data: DataDescription, dos: np.ndarray) -> np.ndarray:
    """Weights of the density and of the energy's share, shape (snapshots, energies, 2).

    With an LDOS in 1/(eV Å³): electrons/Å³ and eV/Å³. dos: of the snapshots, shape (snapshots, energies), 1/eV; it
    gives each its Fermi level.
    """
    projections = []
    for snapshot, spectrum in zip(snapshots, dos, strict=True):
        conditions = (snapshot.temperature_K, data.broadening_eV)
        level = find_fermi_level(spectrum, data.energy_grid, snapshot.electrons, *conditions)
        weights = fermi_weights(data.energy_grid, level, *conditions)
        share = weights.band_energy - level * weights.count + weights.entropy_energy
        projections.append(np.stack([weights.count, share], axis=1))
    return np.stack(projections)


def projection_spread(snapshots: Sequence[Snapshot], projections: np.ndarray, seed: int) -> np.ndarray:
    """Standard deviation over the points of the training snapshots of both projections, shape (2,)."""
    ldos = sample_field(snapshots, "ldos", SAMPLES, seed)
    return (ldos @ projections.mean(axis=0)).std(axis=0)

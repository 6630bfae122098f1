"""Small training files whose LDOS is a smooth function of the descriptors, and models trained on nothing."""

import numpy as np
from ase import Atoms

from nearsight.datasets import create_field_file, variables_of_atoms, write_dataset
from nearsight.ldos import EnergyGrid
from nearsight.model.bundle import ModelBundle
from nearsight.model.domain import measure_domain
from nearsight.model.network import build_network
from nearsight.model.scaling import Scaling
from nearsight.study.sections import Perceptron

ENERGIES_eV = -1.0 + 0.25 * np.arange(9)

REFERENCE_SETTINGS = {
    "dft": {"ecutwfc_Ry": 40.0, "ecutrho_Ry": 160.0, "kpoints": [4, 4, 4], "kpoints_shift": [0, 0, 0]},
    "ldos": {"energy_min_eV": -1.0, "energy_max_eV": 1.0, "spacing_eV": 0.25, "broadening_eV": 0.5},
    "temperature_K": 298.0,
    "elements": ["Be"],
    "functional": "PBE",
    "valence": {"Be": 2.0},
}

DESCRIPTOR_SETTINGS = {
    "kind": "bispectrum",
    "twojmax": 2,
    "cutoff_A": 4.67637,
    "rfac0": 0.99363,
    "rmin0": 0.0,
    "backend": "lammps",
    "elements": ["Be"],
}


UPF = """<UPF version="2.0.1">
<PP_HEADER element="Be" z_valence="2.0" functional="PBE" core_correction=".false."/>
</UPF>
"""


def make_domain(rows, seed=0):
    """The domain of a training set with these descriptors, shape (points, n)."""
    rows = np.asarray(rows, dtype=float)
    rdf = np.linspace(0, 2, 8) ** 2
    return measure_domain(rows, rows + 1e-3 * rows.std(axis=0), rdf[None], rdf[None] * 1.1, 4.0, seed)


def make_random_model(descriptors, settings, *, energy_max_eV=6.0, activation="leaky_relu", ldos_scaling=(0.03, 0.02)):
    """A random network for beryllium at 1000 K, scaled by these descriptors, shape (..., components).

    settings: of the descriptors; ldos_scaling: mean and deviation of the LDOS in 1/(eV Å³).
    """
    rows = descriptors.reshape(-1, descriptors.shape[-1])
    grid = EnergyGrid.from_window(-6.0, energy_max_eV, 0.2)
    # the spectrum begins inside the window
    onset = np.clip((grid.energies_eV + 5.8) / 1.0, 1e-6, 1.0)
    settings_of_network = Perceptron(hidden=[24, 16], activation=activation)
    return ModelBundle(
        network=build_network(settings_of_network, rows.shape[1], grid.count, seed=3),
        network_settings=settings_of_network,
        descriptor_scaling=Scaling(rows.mean(axis=0), rows.std(axis=0) + 1e-12),
        ldos_scaling=Scaling(*(value * onset for value in ldos_scaling)),
        descriptor_settings={"kind": "bispectrum", **settings},
        energy_grid=grid,
        broadening_eV=0.4,
        temperature_K=1000.0,
        elements=["Be"],
        electrons_per_element={"Be": 2.0},
        pseudopotentials={"Be": UPF},
        ecutrho_Ry=60.0,
        domain=make_domain(rows),
        training={"mean_band_energy_eV_per_atom": 0.0, "mean_total_free_energy_eV_per_atom": 0.0},
        provenance={},
    )


def write_pair(folder, name, seed, *, shape=(4, 3, 5), reference=None, descriptors=None, energies=ENERGIES_eV, **other):
    """Write a snapshot dataset and its descriptors; keywords replace settings.

    other: ldos, shift_A, twin_shape, provenance, cell_scale.
    """
    generator = np.random.default_rng(seed)
    atoms = Atoms("Be2", positions=generator.random((2, 3)) * 3, cell=[4.0, 3.5, 5.0], pbc=True)
    atoms.set_cell(atoms.cell * other.get("cell_scale", 1.0), scale_atoms=True)
    twin_shape = other.get("twin_shape", shape)
    features = generator.random((*twin_shape, 5)) * [1.0, 10.0, 1e4, 1.0, 1.0] + [0.0, 5.0, 0.0, 1e3, 0.0]
    features[..., 4] = 3.25
    scaled = features / [1.0, 10.0, 1e4, 1.0, 1.0]
    ldos = np.exp(-((energies - scaled[..., :1]) ** 2)) * (1 + np.sin(3 * scaled[..., 1:2])) + scaled[..., 2:3] * 0.1
    ldos[..., 0] = 0.0
    ldos = other.get("ldos", ldos if shape == twin_shape else np.zeros((*shape, len(energies))))
    paths = folder / f"{name} reference.h5", folder / f"{name} descriptors.h5"
    write_dataset(
        paths[0],
        {**variables_of_atoms(atoms), "ldos": ldos, "energy": energies, "band_energy": 1.0, "total_free_energy": -2.0},
        {**REFERENCE_SETTINGS, **(reference or {})},
        {"stage": "reference", **other.get("provenance", {})},
    )
    moved = atoms.copy()
    moved.positions += other.get("shift_A", 0.0)
    with create_field_file(
        paths[1],
        {"descriptors": features.shape},
        variables_of_atoms(moved),
        {**DESCRIPTOR_SETTINGS, **(descriptors or {})},
        {"stage": "descriptors"},
    ) as fields:
        fields["descriptors"][:] = features
    return paths

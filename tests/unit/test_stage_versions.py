"""Golden numbers per stage: a change of results has to raise the stage's version, so that finished studies rerun.

Each number was computed by the version named beside it. Where a test fails because a result is meant to change, raise
the stage's number in nearsight/versions.py and put the new version and numbers here.
"""

import inspect

import numpy as np
import pytest
import torch
from ase.build import bulk
from model_files import write_pair

import nearsight.descriptors.bispectrum.autograd
import nearsight.descriptors.bispectrum.kernel
import nearsight.descriptors.bispectrum.lammps
import nearsight.model.data
import nearsight.model.networks.perceptron
import nearsight.model.training
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.energies import FourierGrid
from nearsight.energies.hartree import hartree_energy
from nearsight.energies.ion import ion_energy
from nearsight.energies.screening import screen
from nearsight.energies.structure_factor import structure_factor
from nearsight.energies.xc import xc_terms
from nearsight.grids.plane_waves import fft_shape
from nearsight.ldos import EnergyGrid, fermi_weights
from nearsight.model.data import ShuffledRows, describe_snapshots, measure_scalings
from nearsight.model.network import build_network
from nearsight.model.training import train
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.study.sections import Perceptron, Training
from nearsight.versions import STAGES


def structures():
    """Edges in Å of the orthorhombic cell of beryllium, and its FFT grid at 120 Ry."""
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    return [*atoms.cell.lengths(), *fft_shape(np.asarray(atoms.cell), 120.0)]


def descriptors():
    """First, sixth and last component at one point of a displaced cell, 2J = 4, by each backend; of two elements."""
    atoms = bulk("Be")
    atoms.positions[0] += [0.05, -0.08, 0.1]
    rows = [
        bispectrum(atoms, (2, 2, 2), twojmax=4, cutoff_A=4.0, backend=name) for name in ("native", "lammps", "torch")
    ]
    atoms.symbols[1] = "O"
    rows.append(bispectrum(atoms, (2, 2, 2), twojmax=4, cutoff_A=4.0, weights={"Be": 1.0, "O": 0.4}))
    return np.concatenate([values[1, 0, 1, [0, 5, 13]] for values in rows])


def training(folder):
    """Scalings, losses and weights of two short trainings (one per schedule by epoch, one by batch)."""
    pairs = [write_pair(folder, f"s{seed}", seed, shape=(4, 4, 5)) for seed in range(3)]
    snapshots, data = describe_snapshots([one for one, _ in pairs], [other for _, other in pairs])
    scalings = measure_scalings(snapshots[:2], data.components, data.energy_grid.count)
    numbers = [scalings[0].scale[0], scalings[1].mean[4]]
    for schedule in ("cosine", "one_cycle"):
        settings = Training(
            network=Perceptron(hidden=[8]),
            epochs=3,
            batch_size=40,
            learning_rate=1e-2,
            weight_decay=0.1,
            schedule=schedule,
        )
        rows = [ShuffledRows(part, *scalings, 40, 7) for part in (snapshots[:2], snapshots[2:])]
        network = build_network(settings.network, data.components, data.energy_grid.count, seed=7)
        result = train(settings, network, *rows, identity="")
        numbers += [loss for row in result.state.history for loss in row[1:4]]
        numbers += [float(tensor.abs().sum()) for tensor in result.weights.values()]
    return numbers


def inference():
    """Weights around the Fermi level: density, band energy, -TS; what screening does to a wave."""
    weights = fermi_weights(EnergyGrid(-1.0, 0.2, 11), 0.13, 298.0, broadening_eV=0.4)
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((1, 1, 4))
    atoms.positions[:, 2] += 0.1 * np.sin(2 * np.pi * atoms.get_scaled_positions()[:, 2])
    _, _, done = screen(np.full((4, 6, 40), 32 / atoms.get_volume()), atoms, {"Be": 2.0}, 5.0)
    screened = [done.wave_vector_A, done.moved, done.unscreened_eV_per_atom_before, done.unscreened_eV_per_atom_after]
    return [weights.count[5], weights.band_energy[6], weights.entropy_energy[6], *screened]


def energies():
    """Hartree, xc, ∫ v_xc n and ion energy of a made-up density."""
    atoms = bulk("Be")
    grid = FourierGrid(np.asarray(atoms.cell), (12, 12, 18), 60.0)
    valence = grid.coefficients(np.full(grid.shape, 0.2))
    core = structure_factor(atoms.get_scaled_positions(), grid) * 0.1 / grid.volume
    xc = xc_terms(valence, valence + core, grid)
    return [hartree_energy(core, grid), xc.energy, xc.potential, ion_energy(atoms, {"Be": 2.0})]


GOLDEN = {
    "structures": (structures, 1, [2.25972282588, 3.91395474545, 3.56968414805, 15.0, 25.0, 24.0]),
    "descriptors": (
        descriptors,
        3,
        [
            *(3 * [408.027760655, 2.80433855326, 44.4834042578]),
            *(158.782836987, 0.632398979705, 18.1331786556),
        ],
    ),
    "training": (
        training,
        4,
        [
            *(0.29280380747, 0.784554947517),
            *(0.914104223251, 0.794570796496, 0.01),
            *(0.832051634789, 0.751416135884, 0.00505),
            *(0.80198097229, 0.75056295529, 0.0001),
            *(7.78504705429, 1.40272665024, 12.3876609802, 1.14126479626),
            *(0.949334472418, 0.848588048144, 0.0004),
            *(0.883114755154, 0.784714844613, 0.0096437826255),
            *(0.827989771962, 0.763908438723, 0.00405633579749),
            *(7.70318126678, 1.38362586498, 12.2282075882, 1.22529494762),
        ],
    ),
    "energies": (energies, 2, [1.13020422434, -33.8256232821, -31.6136114096, -82.6485743643]),
    "inference": (
        inference,
        4,
        [
            *(0.383204817028, 0.0102903531642, -0.00370795743914),
            *(2.17031545793, 0.0298795369936, 0.229145138875, 0.00035726241738),
        ],
    ),
}


#: float32 adds up in another order on another processor.
TOLERANCES = {"training": 2e-4}


@pytest.mark.parametrize("stage", GOLDEN)
def test_results_of_a_stage_change_only_with_its_version(stage, tmp_path):
    _, version, numbers = GOLDEN[stage]
    message = f"{stage}: if this change is meant, raise its number in nearsight/versions.py and update this table"
    assert STAGES[stage] == version, message
    np.testing.assert_allclose(results(stage, tmp_path), numbers, rtol=TOLERANCES.get(stage, 1e-9), err_msg=message)


def results(stage, folder):
    compute = GOLDEN[stage][0]
    return compute(folder) if inspect.signature(compute).parameters else compute()


#: Changes that somebody may make without a thought of the version: (stage, where, name, new).
CHANGES = {
    "another loss": ("training", torch.nn.functional, "mse_loss", torch.nn.functional.smooth_l1_loss),
    "another optimiser": ("training", torch.optim, "AdamW", torch.optim.Adam),
    "another end of the schedule": ("training", nearsight.model.training, "FINAL_RATE_FRACTION", 0.1),
    "another schedule by batch": ("training", torch.optim.lr_scheduler.OneCycleLR, "step", lambda self: None),
    "another order of the rows": ("training", np.random, "default_rng", lambda _, make=np.random.default_rng: make(1)),
    "another floor of the scales": ("training", nearsight.model.data, "LDOS_SCALE_FLOOR", 0.5),
    "another activation": (
        "training",
        nearsight.model.networks.perceptron,
        "ACTIVATIONS",
        {"leaky_relu": "ELU"},
    ),
    "native kernel": ("descriptors", nearsight.descriptors.bispectrum.kernel, "bispectrum_region", None),
    "torch backend": ("descriptors", nearsight.descriptors.bispectrum.autograd, "bispectrum_region", None),
    "LAMMPS's command": ("descriptors", nearsight.descriptors.bispectrum.lammps, "bispectrum_share", None),
}


def slightly_off(compute):
    """The function with results that are off by a millionth."""

    def changed(*arguments, **options):
        found = compute(*arguments, **options)
        values = found[1] if isinstance(found, tuple) else found
        values *= 1 + 1e-6
        return found

    return changed


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_stage_is_noticed(change, tmp_path, monkeypatch):
    stage, where, name, new = CHANGES[change]
    monkeypatch.setattr(where, name, slightly_off(getattr(where, name)) if new is None else new)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(results(stage, tmp_path), GOLDEN[stage][2], rtol=TOLERANCES.get(stage, 1e-9))

"""Golden numbers per stage: a change of results has to raise the stage's version, so that finished studies rerun.

Each number was computed by the version named beside it. Where a test fails because a result is meant to change, raise
the stage's number in nearsight/versions.py and put the new version and numbers here.
"""

import numpy as np
import pytest
from ase.build import bulk

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.energies import FourierGrid
from nearsight.energies.core_charge import structure_factor
from nearsight.energies.hartree import hartree_energy
from nearsight.energies.ion import ion_energy
from nearsight.energies.xc import xc_terms
from nearsight.grids.plane_waves import fft_shape
from nearsight.ldos import EnergyGrid, fermi_weights
from nearsight.model.network import build_network
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.study.sections import Perceptron
from nearsight.versions import STAGES


def structures():
    """Edges in Å of the orthorhombic cell of beryllium, and its FFT grid at 120 Ry."""
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    return [*atoms.cell.lengths(), *fft_shape(np.asarray(atoms.cell), 120.0)]


def descriptors():
    """First, sixth and last component at one point of a displaced cell, 2J = 4."""
    atoms = bulk("Be")
    atoms.positions[0] += [0.05, -0.08, 0.1]
    values = bispectrum(atoms, (2, 2, 2), twojmax=4, cutoff_A=4.0)
    return values[1, 0, 1, [0, 5, 13]]


def training():
    """Sum of absolute weights of a seeded network."""
    network = build_network(Perceptron(hidden=[8]), 5, 4, seed=7)
    return [sum(float(p.detach().abs().sum()) for p in network.parameters())]


def inference():
    """Weights around the Fermi level: density, band energy, -TS."""
    weights = fermi_weights(EnergyGrid(-1.0, 0.2, 11), 0.13, 298.0, broadening_eV=0.4)
    return [weights.count[5], weights.band_energy[6], weights.entropy_energy[6]]


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
    "descriptors": (descriptors, 3, [408.027760655, 2.80433855326, 44.4834042578]),
    "training": (training, 3, [15.1539355516]),
    "energies": (energies, 1, [1.13020422434, -33.8256232821, -31.6136114096, -82.6485743643]),
    "inference": (inference, 3, [0.383204817028, 0.0102903531642, -0.00370795743914]),
}


@pytest.mark.parametrize("stage", GOLDEN)
def test_results_of_a_stage_change_only_with_its_version(stage):
    compute, version, numbers = GOLDEN[stage]
    message = f"{stage}: if this change is meant, raise its number in nearsight/versions.py and update this table"
    assert STAGES[stage] == version, message
    np.testing.assert_allclose(compute(), numbers, rtol=1e-9, err_msg=message)

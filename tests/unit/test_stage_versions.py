"""Golden numbers per stage: a change of results has to raise the stage's version, so that finished studies rerun.

Each number was computed by the version named beside it. Where a test fails because a result is meant to change, raise
the stage's number in nearsight/versions.py and put the new version and numbers here.
"""

import hashlib
import inspect
from unittest import mock

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from model_files import write_pair
from test_augmentation import upf

import nearsight.descriptors.bispectrum.autograd
import nearsight.descriptors.bispectrum.kernel
import nearsight.descriptors.bispectrum.lammps
import nearsight.energies.screening
import nearsight.energies.xc
import nearsight.figures.density
import nearsight.grids.plane_waves
import nearsight.ldos.fermi
import nearsight.model.data
import nearsight.model.networks.perceptron
import nearsight.model.training
from nearsight import units
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.energies import DensityEnergies, FourierGrid, assemble
from nearsight.energies.continuation import continue_density, sampling_losses
from nearsight.energies.hartree import hartree_energy
from nearsight.energies.ion import ion_energy
from nearsight.energies.screening import screen
from nearsight.energies.structure_factor import structure_factor
from nearsight.energies.xc import FUNCTIONALS, xc_terms
from nearsight.figures.density import slice_density, tabulate_density_slice
from nearsight.figures.dos import DosCurve, tabulate_dos
from nearsight.grids.plane_waves import fft_shape
from nearsight.ldos import EnergyGrid, fermi_weights
from nearsight.model.data import ShuffledRows, describe_snapshots, measure_scalings
from nearsight.model.network import build_network
from nearsight.model.training import train
from nearsight.reference.espresso import one_pass, scf
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.pseudopotential import read_pseudopotential
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.large import displace_independently
from nearsight.structures.velocities import draw_velocities
from nearsight.study.sections import Dft, Perceptron, Training
from nearsight.versions import STAGES


def structures():
    """Edges in Å of the orthorhombic cell of beryllium, its FFT grid at 120 Ry, random positions and velocities."""
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    moved = displace_independently(atoms, 0.1, 7).positions - atoms.positions
    velocities = draw_velocities(atoms.get_masses(), 298.0, np.random.default_rng(7))
    return [*atoms.cell.lengths(), *fft_shape(np.asarray(atoms.cell), 120.0), moved[3, 2], velocities[3, 2]]


def reference(folder):
    """The input that pw.x gets for an SCF, and density and LDOS of two made-up states with augmentation charges."""
    atoms = Atoms("Be", positions=[[0.5, 0.25, 1.0]], cell=[3.0, 3.5, 4.0], pbc=True)
    (folder / "Be.upf").write_text(upf())
    pseudopotentials = {"Be": read_pseudopotential(folder / "Be.upf", "Be")}
    settings = Dft(ecutwfc_Ry=10.0, ecutrho_Ry=40.0, kpoints=[2, 2, 1], bands_per_occupied=2.0)
    inputs = []
    with mock.patch.object(scf, "run_program", lambda _, text, *__, **___: inputs.append(text) or ""):
        run_scf(atoms, (12, 15, 16), pseudopotentials, settings, 298.0, Launch(), folder / "scf", folder / "scf.out")
    generator = np.random.default_rng(5)
    miller = np.array([[i, j, k] for i in range(-2, 3) for j in range(-2, 3) for k in range(-1, 2)])
    coefficients = generator.normal(size=(2, len(miller), 2)).view(np.complex128)[..., 0]
    run = ElectronicStructure(
        atoms=atoms, grid=(12, 15, 16), electrons=2.0, fermi_energy=1.0, eigenvalues=np.array([[0.0, 2.0]]),
        occupations=np.array([[1.0, 0.25]]), weights=np.array([2.0]), kpoints=np.array([[0.25, 0.0, 0.5]]),
        plane_waves=(len(miller),), ecutwfc_Ry=10.0, ecutrho_Ry=40.0, gamma_only=False, symmetries=1, energies={},
        forces=None,
    )  # fmt: skip
    sums = one_pass._Sums(run, one_pass._augmented_elements(run, pseudopotentials), 3, 1 << 20)
    spread = one_pass.gaussian(np.array([-1.0, 0.5, 2.0]) - run.eigenvalues[0][:, None], 0.5)
    factors = run.weights[0] * np.column_stack([spread, run.occupations[0]])
    sums.add_states(coefficients, miller, run.kpoints[0], factors)
    sums.add_augmentation()
    return [
        int(hashlib.sha256(inputs[0].encode()).hexdigest()[:6], 16),
        *sums.density[[0, 777]],
        *sums.ldos[777],
        *np.square(sums.ldos).sum(axis=0),
    ]


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
    """Weights around the Fermi level: density, band energy, -TS; what screening does to a wave, and sampling."""
    weights = fermi_weights(EnergyGrid(-1.0, 0.2, 11), 0.13, 298.0, broadening_eV=0.4)
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((1, 1, 4))
    atoms.positions[:, 2] += 0.1 * np.sin(2 * np.pi * atoms.get_scaled_positions()[:, 2])
    _, _, done = screen(np.full((4, 6, 40), 32 / atoms.get_volume()), atoms, {"Be": 2.0}, 5.0)
    screened = [done.wave_vector_A, done.moved, done.unscreened_eV_per_atom_before, done.unscreened_eV_per_atom_after]
    # what the sampling leaves out of a wave's square, and how it is continued
    wave = np.cos(2 * np.pi * np.add.outer(np.arange(14), np.zeros((20, 16))) / 14)
    losses = sampling_losses(np.exp(5 * wave), np.diag([3.0, 4.0, 3.5]), 60.0)
    planes, aliasing = continue_density(np.exp(5 * wave), np.diag([3.0, 4.0, 3.5]), (20, 20, 16), 42.0)
    sampled = [losses[0], aliasing, next(planes)[0, 0]]
    return [weights.count[5], weights.band_energy[6], weights.entropy_energy[6], *screened, *sampled]


def energies():
    """Hartree, xc, ∫ v_xc n and ion energy of a made-up density; the sum of all terms."""
    atoms = bulk("Be")
    grid = FourierGrid(np.asarray(atoms.cell), (12, 12, 18), 60.0)
    valence = grid.coefficients(np.full(grid.shape, 0.2))
    core = structure_factor(atoms.get_scaled_positions(), grid) * 0.1 / grid.volume
    xc = xc_terms(valence, valence + core, grid)
    fields = DensityEnergies(hartree=1.0, xc=2.0, xc_potential=3.0, ion=4.0, unscreened=0.0)
    total = assemble(fields, band=5.0, entropy=-0.5, fermi_energy=1.0, electrons=8.0, broadening=-0.25).total
    return [hartree_energy(core, grid), xc.energy, xc.potential, ion_energy(atoms, {"Be": 2.0}), total]


def figures():
    """The plane of a density that is drawn, its nuclei, and the curves of a density of states, as their tables say."""
    atoms = bulk("Be")
    atoms.positions += [[0.05, -0.08, 0.1], [0.0, 0.03, -0.06]]
    values = np.arange(5 * 6 * 7.0).reshape(5, 6, 7)
    plane = slice_density(atoms, values, values**1.1)
    columns = list(tabulate_density_slice(plane).values())
    curve = DosCurve("a", np.array([-1.0, 0.5]), np.array([2.0, 3.0]), 0.25, np.array([1.5, 3.5]))
    curves = [column for column in tabulate_dos([curve]).values() if not isinstance(column[0], str)]
    nuclei = [len(plane.nuclei_A), *plane.nuclei_A.sum(axis=0)]
    return [float(column[4]) for column in columns] + [plane.height_A, *nuclei, *np.concatenate(curves)]


GOLDEN = {
    "structures": (
        structures,
        1,
        [2.25972282588, 3.91395474545, 3.56968414805, 15.0, 25.0, 24.0, 0.035688700816, 0.00619406584912],
    ),
    "reference": (
        reference,
        2,
        [
            *(12144871, 7.51405230843, 1.13139367207, 0.00398849928752, 0.0806338638067, 4.23550510406),
            *(83.7392044067, 33798.5351562, 369991.71875),
        ],
    ),
    "figures": (
        figures,
        1,
        [
            *(-0.763333, 1.322132, 28.0, 39.0727370324, 0.0, 1, -1.095, 1.90319817467),
            *(-1.0, 0.5, 1.5, 3.5, 2.0, 3.0),
        ],
    ),
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
        7,
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
    "energies": (energies, 3, [1.13020422434, -33.8256232821, -31.6136114096, -82.6485743643, 6.25]),
    "inference": (
        inference,
        6,
        [
            *(0.383204817028, 0.0102903531642, -0.00370795743914),
            *(2.17031545793, 0.0298795369936, 0.229145138875, 0.00035726241738),
            *(0.0636127729707, 0.0449810231377, 147.900181219),
        ],
    ),
}


#: float32 adds up in another order on another processor.
TOLERANCES = {"training": 2e-4, "reference": 1e-5}


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
    "another FFT grid": ("structures", nearsight.grids.plane_waves, "next_fast_len", lambda n, real: n),
    "other random numbers": (
        "structures",
        np.random,
        "default_rng",
        lambda _, make=np.random.default_rng: make(1),
    ),
    "another threshold of the SCF": ("reference", scf, "electrons", lambda settings: {"conv_thr": 1e-6}),
    "another smearing": ("reference", scf, "fermi_smearing", lambda _: {"smearing": "mv", "degauss": 0.02}),
    "another kernel": ("reference", one_pass, "gaussian", None),
    "augmentation left out": ("reference", one_pass, "read_augmentation", lambda *_: None),
    "another |ψ|²": ("reference", one_pass, "squares_on_grid", lambda *_, f=one_pass.squares_on_grid: 1.01 * f(*_)),
    "another Coulomb constant": ("energies", units, "COULOMB_eV_A", units.COULOMB_eV_A * (1 + 1e-6)),
    "another functional": ("energies", nearsight.energies.xc, "FUNCTIONALS", {"PBE": FUNCTIONALS["PBEsol"]}),
    "another polylogarithm": ("inference", nearsight.ldos.fermi, "minus_polylog2", None),
    "another screening": ("inference", nearsight.energies.screening, "ion_coefficients", None),
    "another plane": ("figures", nearsight.figures.density, "NEAR_PLANE_A", 0.0),
    "native kernel": ("descriptors", nearsight.descriptors.bispectrum.kernel, "bispectrum_region", None),
    "torch backend": ("descriptors", nearsight.descriptors.bispectrum.autograd, "bispectrum_region", None),
    "LAMMPS's command": ("descriptors", nearsight.descriptors.bispectrum.lammps, "bispectrum_share", None),
}


def slightly_off(compute):
    """The function with results that are off by a ten-thousandth."""

    def changed(*arguments, **options):
        found = compute(*arguments, **options)
        values = found[1] if isinstance(found, tuple) else found
        values *= 1 + 1e-4
        return found

    return changed


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_stage_is_noticed(change, tmp_path, monkeypatch):
    stage, where, name, new = CHANGES[change]
    monkeypatch.setattr(
        where, name, slightly_off(getattr(where, name)) if new is None else new, raising=name != "round"
    )
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(results(stage, tmp_path), GOLDEN[stage][2], rtol=TOLERANCES.get(stage, 1e-9))


def test_every_stage_has_its_numbers_and_a_change_that_they_notice():
    assert set(GOLDEN) == set(STAGES)
    assert {stage for stage, *_ in CHANGES.values()} == set(STAGES)

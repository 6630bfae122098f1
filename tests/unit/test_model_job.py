"""The job train_model: its files, and that it goes on where it stopped."""

import argparse
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from model_files import DESCRIPTOR_SETTINGS, UPF, write_pair

from nearsight.datasets import open_dataset, variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.model.bundle import load_bundle
from nearsight.model.data import Snapshot
from nearsight.structures.builders import hcp_orthorhombic

SETTINGS = {"network": {"hidden": [16]}, "batch_size": 40, "epochs": 3, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def script(repository):
    spec = importlib.util.spec_from_file_location("train_model", repository / "workflow/scripts/train_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path):
    pairs = [write_pair(tmp_path, f"it's {seed}", seed, shape=(6, 5, 7)) for seed in range(3)]
    model = tmp_path / "model $1"
    (tmp_path / "Be.upf").write_text(UPF)
    return argparse.Namespace(
        train_reference=[pairs[0][0], pairs[1][0]],
        train_descriptors=[pairs[0][1], pairs[1][1]],
        validation_reference=[pairs[2][0]],
        validation_descriptors=[pairs[2][1]],
        pseudopotential=[("Be", tmp_path / "Be.upf")],
        settings=json.dumps(SETTINGS),
        seed=7,
        ranks=1,
        threads=1,
        checkpoint=model / "checkpoint.safetensors",
        weights=model / "model.safetensors",
        bundle=model / "model.json",
        history=model / "history.csv",
        log=None,
        memory_MB=None,
    )


def test_bundle_of_a_training(script, arguments):
    arguments.settings = json.dumps({**SETTINGS, "epochs": 12})
    script.main(arguments)
    bundle = load_bundle(arguments.bundle, arguments.weights)
    assert not arguments.checkpoint.exists()
    assert len(arguments.history.read_text().splitlines()) == 13
    assert bundle.descriptor_settings == {k: v for k, v in DESCRIPTOR_SETTINGS.items() if k != "elements"}
    assert (bundle.temperature_K, bundle.broadening_eV, bundle.elements) == (298.0, 0.5, ["Be"])
    assert bundle.provenance["settings"]["seed"] == 7
    assert len(bundle.provenance["inputs_sha256"]) == 6
    with (
        open_dataset(arguments.validation_descriptors[0]) as descriptors,
        open_dataset(arguments.validation_reference[0]) as reference,
    ):
        predicted = bundle.predict_ldos(descriptors["descriptors"].values.reshape(-1, 5))
        expected = reference["ldos"].values.reshape(-1, 9)
    error = np.abs(predicted - expected).mean()
    assert error < 0.5 * np.abs(expected - bundle.ldos_scaling.mean).mean()


def test_stopped_training_goes_on(script, arguments, monkeypatch):
    script.main(arguments)
    expected = arguments.weights.read_bytes()
    for path in (arguments.weights, arguments.bundle, arguments.history):
        path.unlink()

    from nearsight.model import training

    def stop(path, *rest, save=training._save_checkpoint):
        save(path, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            script.main(arguments)
    assert arguments.checkpoint.exists()
    assert not arguments.weights.exists()
    script.main(arguments)
    assert arguments.weights.read_bytes() == expected
    rows = arguments.history.read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3"]


def test_json_names_the_weights(script, arguments):
    script.main(arguments)
    content = json.loads(arguments.bundle.read_text())
    assert content["network"]["hidden"] == [16]
    assert content["training"]["best_epoch"] in (1, 2, 3)


def long_snapshot(path, k, seed):
    """A snapshot dataset of a metal cell of 22 Å whose density follows its ions with this k; its description."""
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((1, 1, 6))
    atoms.rattle(0.08, seed=seed)
    shape, G = (4, 6, 60), 2 * np.pi / atoms.cell[2, 2] * np.arange(1, 3)
    ions = 2 * np.exp(-1j * np.outer(G, atoms.positions[:, 2])).sum(axis=1) / atoms.get_volume()
    waves = 2 * (ions * k**2 / (G**2 + k**2) * np.exp(1j * np.outer(np.linspace(0, atoms.cell[2, 2], 61)[:-1], G))).real
    energies = np.arange(-12.0, 12.0, 0.5)
    write_dataset(
        path,
        {
            **variables_of_atoms(atoms),
            "density": np.full(shape, 48 / atoms.get_volume()) + waves.sum(axis=1),
            "dos": np.full(energies.size, 3.0),
            "energy": energies,
        },
        {},
        {},
    )
    return Snapshot(path, path, shape, 298.0, 48.0, atoms.get_volume(), 24)


def test_screening_is_fitted_to_the_training_cells(script, tmp_path, caplog):
    caplog.set_level("INFO", logger="nearsight")
    data = SimpleNamespace(energy_grid=EnergyGrid(-12.0, 0.5, 48), broadening_eV=0.5, electrons_per_element={"Be": 2.0})
    metals = [long_snapshot(tmp_path / f"{seed}.h5", 2.4, seed) for seed in range(6)]
    assert script.fit_screening([script.response_of(metal, data) for metal in metals]) == pytest.approx(2.4, rel=0.01)
    assert "from 6 snapshots with waves longer than 10 Å (prior: Thomas-Fermi, 2.170" in caplog.text


def test_sampling_is_chosen_for_the_training_cells(script, tmp_path, caplog):
    """The waves of these densities are long; one short wave more asks for the whole grid."""
    caplog.set_level("INFO", logger="nearsight")
    data = SimpleNamespace(ecutrho_Ry=60.0)
    cell, rng = np.diag([3.0, 3.5, 4.0]), np.meshgrid(*(np.arange(n) / n for n in (15, 18, 20)), indexing="ij")
    snapshots = []
    for name, index in (("smooth", 1), ("rough", 7)):
        density = 0.2 + 0.01 * np.cos(2 * np.pi * (rng[0] + index * rng[1]))
        atoms = Atoms("Be", cell=cell, pbc=True)
        write_dataset(tmp_path / name, {**variables_of_atoms(atoms), "density": density}, {}, {})
        snapshots.append(Snapshot(tmp_path / name, tmp_path / name, density.shape, 298.0, 2.0, 42.0, 1))
    assert script.choose_sampling(snapshots[:1], data) == pytest.approx(0.7 * 60)
    assert "sampling: predictions use a grid of 42 Ry (the density's: 60 Ry)" in caplog.text
    # 7 waves along 3.5 Å are of 44.2 Ry, and twice 0.01/√2 of them are lost below
    assert script.choose_sampling(snapshots, data) == pytest.approx(0.8 * 60)
    assert "42 Ry 5.000 %, 48 Ry 0.000 %" in caplog.text


def test_small_cells_teach_no_screening(script, arguments):
    script.main(arguments)
    bundle = load_bundle(arguments.bundle, arguments.weights)
    assert bundle.screening_k_A is None
    assert bundle.ecut_sample_Ry is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": '{"epoch": 3}'},
            r"training\.epochs: expected (.|\n)*training\.epoch: unknown key",
        ),
        ({"threads": 0}, "--threads, --seed: expected at least 1 and 0, got 0 and 7"),
        ({"train_descriptors": []}, "expected one descriptor dataset per snapshot dataset"),
    ],
)
def test_bad_arguments(script, arguments, change, message):
    with pytest.raises(InputError, match=message):
        script.main(argparse.Namespace(**(vars(arguments) | change)))
    assert not arguments.bundle.exists()


def test_validation_of_other_settings(script, arguments, tmp_path):
    odd = write_pair(tmp_path, "odd", 9, descriptors={"twojmax": 4})
    changed = vars(arguments) | {"validation_reference": [odd[0]], "validation_descriptors": [odd[1]]}
    with pytest.raises(InputError, match=r"odd descriptors\.h5: descriptors: expected twojmax = 2"):
        script.main(argparse.Namespace(**changed))


def test_files_given_to_the_wrong_role(script, arguments):
    """As many pairs in all, but not per role."""
    arguments.validation_descriptors = [arguments.train_descriptors.pop(), *arguments.validation_descriptors]
    with pytest.raises(InputError, match="--train-descriptors: expected 2 files"):
        script.main(arguments)


def test_another_pseudopotential_than_the_snapshots_is_refused(script, arguments, tmp_path):
    stated = {"inputs_sha256": {"pseudopotential Be": "a" * 64}}
    pair = write_pair(tmp_path, "stated", 3, shape=(6, 5, 7), provenance=stated)
    arguments.train_reference[0], arguments.train_descriptors[0] = pair
    with pytest.raises(InputError, match=r"Be\.upf: expected the pseudopotential of the snapshots, SHA-256 aaaa"):
        script.main(arguments)
    assert not arguments.bundle.exists()

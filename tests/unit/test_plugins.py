"""A descriptor and a network of another distribution, through the whole chain, without a change to Nearsight."""

import argparse
import importlib.util
import json

import numpy as np
import pytest
import torch
from ase import Atoms
from model_files import UPF

from nearsight.datasets import open_dataset, variables_of_atoms, write_dataset
from nearsight.errors import ConfigError, InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region
from nearsight.inference.plan import make_plan
from nearsight.inference.predict import prepare_predictor
from nearsight.ldos import fermi_weights
from nearsight.model.bundle import load_bundle
from nearsight.plugins import NETWORKS, find_kind
from nearsight.structures.io import write_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Inference

SHAPE = (8, 7, 9)
GRID = EnergyGrid(-4.0, 0.25, 41)
DESCRIPTORS = {"kind": "neighbours", "radii_A": [2.0, 3.0, 4.0]}
FINISH = {"projection_loss": 0.1, "refit_last_layer": True, "error_bars": True}
NETWORK = {"kind": "normed", "width": 16}


@pytest.fixture(autouse=True)
def toys(request, monkeypatch):
    monkeypatch.syspath_prepend(request.path.parent / "toys")


@pytest.fixture
def run_script(repository):
    """Call a script's main with these options."""

    def run(name, **options):
        spec = importlib.util.spec_from_file_location(name, repository / f"workflow/scripts/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main(argparse.Namespace(log=None, memory_MB=None, ranks=1, threads=1, **options))

    return run


def crystal(seed):
    generator = np.random.default_rng(seed)
    atoms = Atoms("Be2O2", cell=[[4.4, 0, 0], [0.4, 4.1, 0], [0, 0.3, 4.6]], pbc=True,
                  scaled_positions=[[0.1, 0.1, 0.1], [0.6, 0.6, 0.1], [0.1, 0.6, 0.6], [0.6, 0.1, 0.6]])  # fmt: skip
    atoms.positions += generator.normal(scale=0.15, size=(4, 3))
    atoms.info["grid_shape"] = list(SHAPE)
    return atoms


def write_reference(path, atoms, features):
    """An LDOS that is a smooth function of the numbers of neighbours, and a spectrum that ends inside of the window."""
    place = -0.5 + 0.3 * features[..., :1] - 0.2 * features[..., -1:]
    ldos = 0.2 * np.exp(-((GRID.energies_eV - place) ** 2))
    settings = {
        "dft": {"ecutrho_Ry": 60.0},
        "ldos": {"broadening_eV": 0.5},
        "temperature_K": 1000.0,
        "valence": {"Be": 2.0, "O": 6.0},
    }
    variables = {"ldos": ldos, "energy": GRID.energies_eV, "band_energy": 1.0, "total_free_energy": -2.0}
    write_dataset(path, {**variables_of_atoms(atoms), **variables}, settings, {})
    return ldos


def test_the_whole_chain(run_script, tmp_path):
    references, descriptors = [], []
    for seed in range(3):
        structure = tmp_path / f"{seed}.extxyz"
        write_structure(structure, crystal(seed))
        descriptors.append(tmp_path / f"{seed} descriptors.h5")
        run_script(
            "compute_descriptors",
            structure=structure,
            settings=DESCRIPTORS,
            elements=["O", "Be"],
            output=descriptors[-1],
        )
        with open_dataset(descriptors[-1]) as dataset:
            features = dataset["descriptors"].values
        references.append(tmp_path / f"{seed} reference.h5")
        ldos = write_reference(references[-1], crystal(seed), features)
    assert features.shape == (*SHAPE, 6)
    pseudopotentials = {"Be": tmp_path / "Be.upf", "O": tmp_path / "O.upf"}
    pseudopotentials["Be"].write_text(UPF)
    pseudopotentials["O"].write_text(UPF.replace('"Be"', '"O"').replace('z_valence="2.0"', 'z_valence="6.0"'))
    run_script(
        "train_model",
        train_reference=references[:2],
        train_descriptors=descriptors[:2],
        validation_reference=references[2:],
        validation_descriptors=descriptors[2:],
        pseudopotential=pseudopotentials,
        settings=json.dumps({"network": NETWORK, "epochs": 30, "batch_size": 50, "learning_rate": 0.01, **FINISH}),
        seed=3,
        checkpoint=tmp_path / "checkpoint",
        weights=tmp_path / "model.safetensors",
        bundle=tmp_path / "model.json",
        history=tmp_path / "history.csv",
    )
    model = load_bundle(tmp_path / "model.json", tmp_path / "model.safetensors")
    assert isinstance(model.network.trunk.norm, torch.nn.LayerNorm)
    assert model.descriptor().components == 6
    assert model.error_bars.inverse.shape == (17, 17)
    assert model.electrons_per_element == {"Be": 2.0, "O": 6.0}

    # the streamed sums are those of the LDOS, which is never formed, and that is what was learned
    atoms = crystal(2)
    weights = fermi_weights(model.energy_grid, -0.5, 1000.0, 0.5)
    projection = weights.count[:, None]
    for precision, tolerance in (("float64", 1e-9), ("float32", 1e-4), ("bfloat16", 0.1)):
        predictor = prepare_predictor(model, atoms, RealGrid(atoms.cell, SHAPE), precision=precision, threads=2)
        tile = predictor.predict(Region.whole(SHAPE), projection, keep_ldos=True)
        direct = model.predict_ldos(features.reshape(-1, 6)).reshape(*SHAPE, -1).astype(float)
        voxel = atoms.get_volume() / np.prod(SHAPE)
        scale = np.abs(direct).max()
        np.testing.assert_allclose(tile.ldos, direct, atol=max(tolerance, 1e-5) * scale)
        np.testing.assert_allclose(tile.fields[..., 0], direct @ weights.count, atol=max(tolerance, 1e-5) * scale)
        np.testing.assert_allclose(tile.dos, direct.sum((0, 1, 2)) * voxel, rtol=1e-3 + tolerance, atol=1e-3)
    assert np.abs(direct - ldos).mean() < 0.1 * ldos.mean()

    plan = make_plan(model, atoms, SHAPE, Inference(batches=1), model_sha256="", structure_sha256="")
    assert plan.electrons == 16.0
    assert plan.energy_deviation_eV_per_atom > 0


def test_a_study_file_names_them(repository, tmp_path):
    text = (repository / "config/quickstart.yaml").read_text(encoding="utf-8")
    study = load_study_with(tmp_path, text, {"descriptors": DESCRIPTORS, "training": {"network": NETWORK}})
    assert study.descriptors.radii_A == [2.0, 3.0, 4.0]
    assert json.loads(study.descriptors.to_json("ranks", "threads"))["kind"] == "neighbours"
    assert json.loads(study.training.to_json("threads"))["network"] == NETWORK
    with pytest.raises(ConfigError, match="descriptors"):
        load_study_with(tmp_path, text, {"descriptors": {"kind": "neighbours", "radii_A": "far"}})
    with pytest.raises(ConfigError, match="descriptors"):
        load_study_with(tmp_path, text, {"descriptors": {"kind": "soap"}})


def load_study_with(folder, text, sections):
    """The study with sections replaced as a whole, but for keys that it needs."""
    import yaml

    content = yaml.safe_load(text)
    content["descriptors"] = sections["descriptors"]
    content["training"] = {"epochs": 3, **sections.get("training", {})}
    (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_study(folder / "study.yaml")


def test_names_import_nothing_that_was_not_declared():
    with pytest.raises(InputError, match=r"kind: expected one of layered, normed, perceptron, got 'os'"):
        find_kind(NETWORKS, "os", "kind")
    with pytest.raises(InputError, match="got 'toy_normed'"):
        find_kind(NETWORKS, "toy_normed", "kind")

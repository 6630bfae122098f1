"""Plan, tiles and gathering through the jobs' own command lines, with a small random network."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import gather_prediction
import numpy as np
import plan_tiles
import predict_tiles
import pytest
from ase.build import bulk
from model_files import make_random_model

from nearsight import units
from nearsight.datasets import open_dataset, settings_of
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.errors import InputError
from nearsight.files import read_json
from nearsight.inference.predict import StructurePredictor
from nearsight.inference.store import open_store
from nearsight.model.bundle import save_bundle
from nearsight.model.last_layer import ErrorBars
from nearsight.structures.builders import build_supercell
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.structures.io import write_structure

DESCRIPTORS = {"kind": "bispectrum", "twojmax": 4, "cutoff_A": 4.0, "rfac0": 0.99363, "rmin0": 0.0}


@pytest.fixture(scope="module")
def cells():
    """A displaced cell of two atoms, its 1 x 2 x 1 repetition on the same points of space, and a chain of four cells
    14 Å long, in which no cell is like the next."""
    atoms = bulk("Be")
    atoms.positions += [[0.05, -0.08, 0.1], [0.0, 0.03, -0.06]]
    atoms.info[GRID_SHAPE] = [5, 6, 8]
    long = build_supercell(atoms, (1, 1, 4))
    long.positions[:, 2] += 0.1 * np.sin(2 * np.pi * long.get_scaled_positions()[:, 2])
    fine = long.copy()
    fine.info[GRID_SHAPE] = [12, 12, 64]
    return {"cell": atoms, "repeated": build_supercell(atoms, (1, 2, 1)), "long": long, "fine": fine}


@pytest.fixture(scope="module")
def study(cells, tmp_path_factory):
    """Structures of both cells and a model bundle; the folder's name has characters of a shell."""
    folder = tmp_path_factory.mktemp("a $(study); 'quoted'")
    for name, atoms in cells.items():
        write_structure(folder / f"{name}.extxyz", atoms)
    shape = tuple(int(n) for n in cells["cell"].info[GRID_SHAPE])
    features = bispectrum(cells["cell"], shape, **DESCRIPTORS)
    model = make_random_model(features, DESCRIPTORS)
    width = model.network.head.in_features + 1
    model = dataclasses.replace(model, error_bars=ErrorBars(np.eye(width), 1e-3, 1e-4), screening_k_A=2.3)
    save_bundle(model, folder / "model.json", folder / "model.safetensors")
    return folder


def options_of(study, structure):
    """Options that planning and predicting share."""
    return [
        *("--model", f"{study}/model.json", "--weights", f"{study}/model.safetensors"),
        *("--structure", f"{study}/{structure}.extxyz"),
    ]


def make_plan(study, structure, plan, *further, **settings):
    settings = json.dumps({"batches": 1, "precision": "float32", "accept_extrapolation": True} | settings)
    options = [*options_of(study, structure), "--settings", settings, "--output", str(plan), *further]
    plan_tiles.main(plan_tiles.parse_arguments(options))


def predict(study, structure, folder, *further, batches=1, precision="float64", **settings):
    """Run the three jobs; return the observables and the density."""
    plan = f"{folder}/plan.json"
    make_plan(study, structure, plan, *further, batches=batches, precision=precision, **settings)
    files = [f"{folder}/batch-{number}.h5" for number in range(batches)]
    for number, file in enumerate(files):
        options = ["--plan", plan, *options_of(study, structure), "--batch", str(number), "--output", file]
        predict_tiles.main(predict_tiles.parse_arguments(options))
    return gather(study, folder, files)


def gather(study, folder, files, *further):
    """Join the batches."""
    outputs = ["--output", f"{folder}/prediction.h5", "--observables", f"{folder}/observables.json"]
    options = ["--plan", f"{folder}/plan.json", "--batches", *map(str, files), *outputs, "--dos", f"{folder}/dos.csv"]
    options += [*options_of(study, "")[:4], *further]
    gather_prediction.main(gather_prediction.parse_arguments(options))
    with open_dataset(folder / "prediction.h5") as dataset:
        return read_json(folder / "observables.json"), dataset["density"].values


def test_a_repeated_cell_gives_n_times_its_energy(study, tmp_path):
    one, density = predict(study, "cell", tmp_path / "one")
    two, repeated = predict(study, "repeated", tmp_path / "two", batches=2)
    assert one["electrons_of_density"] == pytest.approx(4.0, abs=1e-5)
    assert two["band_energy_eV"] == pytest.approx(2 * one["band_energy_eV"], abs=1e-6)
    assert two["entropy_energy_eV"] == pytest.approx(2 * one["entropy_energy_eV"], abs=1e-7)
    assert two["fermi_energy_eV"] == pytest.approx(one["fermi_energy_eV"], abs=1e-6)
    np.testing.assert_allclose(repeated, np.tile(density, (1, 2, 1)), rtol=1e-8)
    for bar in ("energy_deviation_eV_per_atom", "fermi_level_deviation_eV"):
        assert two[bar] == pytest.approx(one[bar], rel=1e-6)
        assert one[bar] > 0
        with open_dataset(tmp_path / "one" / "prediction.h5") as dataset:
            assert settings_of(dataset)[bar] == one[bar]


@pytest.mark.parametrize(("precision", "rtol", "energy"), [("float64", 1e-12, 1e-9), ("float32", 1e-6, 1e-6)])
@pytest.mark.parametrize(("batches", "further"), [(2, []), (7, ["--threads", "2"]), (3, ["--keep-ldos"])])
@pytest.mark.parametrize("structure", ["repeated", "long"])
def test_batches_threads_and_tiles_change_nothing(
    study, tmp_path, monkeypatch, structure, precision, rtol, energy, batches, further
):
    one, density = predict(study, structure, tmp_path / "one", precision=precision)
    monkeypatch.setattr("nearsight.grids.tiles.LARGEST_TILE", 40)
    monkeypatch.setattr("nearsight.inference.predict.THREAD_POINTS", 16)
    other, other_density = predict(study, structure, tmp_path / "other", *further, batches=batches, precision=precision)
    assert other["band_energy_eV"] == pytest.approx(one["band_energy_eV"], abs=energy)
    np.testing.assert_allclose(other_density, density, rtol=rtol)


def test_long_waves_follow_the_ions(study, cells, tmp_path, caplog):
    """n(G) = n_ion(G) k²/(G² + k²) with the model's k, by a direct sum over the ions; all else is as it was."""
    caplog.set_level("INFO", logger="nearsight")
    found, density = predict(study, "long", tmp_path, batches=3)
    assert "screening: waves longer than 10 Å follow the ions with k = 2.300" in caplog.text
    assert "more than 1 %: the model knows little" in caplog.text
    with open_dataset(tmp_path / "prediction.h5") as dataset:
        assert settings_of(dataset)["screening"] == found["screening"]
    files = [f"{tmp_path}/batch-{number}.h5" for number in range(3)]
    plain, unscreened = gather(study, tmp_path, files, "--no-screening")
    assert plain["screening"] is None
    atoms = cells["long"]
    waves, before = (np.fft.fftn(n) / n.size for n in (density, unscreened))
    G = 2 * np.pi * np.linalg.inv(np.asarray(atoms.cell)).T[2]
    ions = 2 * np.exp(-1j * atoms.positions @ G).sum() / atoms.get_volume()
    assert waves[0, 0, 1] == pytest.approx(ions * 2.3**2 / (G @ G + 2.3**2), rel=1e-6)
    assert abs(before[0, 0, 1] - waves[0, 0, 1]) > 0.01 * waves[0, 0, 0].real
    waves[0, 0, [1, -1]] = before[0, 0, [1, -1]]
    np.testing.assert_allclose(waves, before, atol=1e-12)
    assert found["electrons_of_density"] == pytest.approx(plain["electrons_of_density"], rel=1e-12)
    record, moved = found["screening"], (density - unscreened).std() / density.mean()
    assert (record["wave_vector_A"], record["why_not"]) == (2.3, None)
    assert record["moved"] == pytest.approx(moved, rel=1e-6)
    # 2π e² Ω |n - n_ion|²/G² for G and -G
    energy = 4 * np.pi * units.COULOMB_eV_A * atoms.get_volume() * abs(before[0, 0, 1] - ions) ** 2 / (G @ G) / 8
    assert record["unscreened_eV_per_atom_before"] == pytest.approx(energy, rel=1e-6)
    for key in ("fermi_energy_eV", "band_energy_eV", "entropy_energy_eV"):
        assert found[key] == plain[key]


def test_screening_changes_no_bit_of_a_small_cell(study, tmp_path, caplog):
    found, density = predict(study, "repeated", tmp_path)
    assert found["screening"]["why_not"] == "no wave is longer than 10 Å"
    assert "screening" not in caplog.text
    _, plain = gather(study, tmp_path, [f"{tmp_path}/batch-0.h5"], "--no-screening")
    np.testing.assert_array_equal(density, plain)


def test_what_is_no_metal_is_not_screened_and_says_so(study, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("nearsight.inference.gather.states_at", lambda *_: 0.0)
    found, density = predict(study, "long", tmp_path)
    assert "are left as the model has them (no metal: 0 of the free electrons' states" in caplog.text
    _, plain = gather(study, tmp_path, [f"{tmp_path}/batch-0.h5"], "--no-screening")
    np.testing.assert_array_equal(density, plain)
    assert found["screening"]["wave_vector_A"] is None


def test_batches_are_not_joined_by_another_model(study, tmp_path):
    predict(study, "cell", tmp_path)
    other = tmp_path / "other.safetensors"
    other.write_bytes((study / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(InputError, match="expected"):
        gather(study, tmp_path, [f"{tmp_path}/batch-0.h5"], "--weights", str(other))


SAMPLED = {"ecut_sample_Ry": 30.0}


def test_a_density_is_continued_from_the_sampling_grid(study, tmp_path, caplog):
    """To that of the whole grid but for what is said to be missing; DOS and energies as well, the electrons exactly."""
    caplog.set_level("INFO", logger="nearsight")
    whole, exact = predict(study, "fine", tmp_path / "whole", ecut_sample_Ry=60.0)
    assert whole["sampling"] is None
    assert "sampling" not in caplog.text
    found, density = predict(study, "fine", tmp_path / "sampled", **SAMPLED)
    record = found["sampling"]
    assert record["ecut_sample_Ry"] == 30.0
    assert record["grid_shape"] == [8, 8, 48]
    assert "sampling: 8 x 8 x 48 points (30 Ry) continued to 12 x 12 x 64; waves beyond" in caplog.text
    assert found["grid_shape"] == [12, 12, 64] == list(density.shape)
    with open_dataset(tmp_path / "sampled" / "prediction.h5") as dataset:
        assert settings_of(dataset)["sampling"] == record
    assert found["electrons_of_density"] == pytest.approx(16.0, abs=1e-6)
    error = np.sqrt(np.mean((density - exact) ** 2)) / exact.mean()
    assert 0.2 * record["aliasing"] < error < 2 * record["aliasing"]
    assert found["band_energy_eV"] == pytest.approx(whole["band_energy_eV"], abs=0.01)


@pytest.mark.parametrize(("batches", "further"), [(3, []), (2, ["--threads", "2"])])
def test_batches_and_threads_change_nothing_of_a_sampled_density(
    study, tmp_path, monkeypatch, caplog, batches, further
):
    """Nor do coefficients on disk, where memory is for blocks of them alone."""
    caplog.set_level("INFO", logger="nearsight")
    one, density = predict(study, "fine", tmp_path / "one", **SAMPLED)
    monkeypatch.setattr("nearsight.grids.tiles.LARGEST_TILE", 40)
    monkeypatch.setattr("nearsight.inference.predict.THREAD_POINTS", 16)
    monkeypatch.setattr("nearsight.inference.gather.limit_bytes", lambda *_, **__: (5e8, "a test"))
    assert "coefficients are on disk" not in caplog.text
    other, other_density = predict(study, "fine", tmp_path / "other", *further, batches=batches, **SAMPLED)
    assert "sampling: the density's coefficients are on disk" in caplog.text
    np.testing.assert_allclose(other_density, density, rtol=1e-12)
    assert other["sampling"]["aliasing"] == pytest.approx(one["sampling"]["aliasing"], rel=1e-9)
    assert not [path for path in (tmp_path / "other").iterdir() if path.name.startswith("tmp")]


def test_a_kept_ldos_is_that_of_all_points(study, tmp_path, caplog):
    caplog.set_level("INFO", logger="nearsight")
    found, _ = predict(study, "fine", tmp_path, "--keep-ldos", **SAMPLED)
    assert found["sampling"] is None
    assert "with the LDOS kept, all points of the density's grid are predicted" in caplog.text
    with open_dataset(tmp_path / "batch-0.h5") as batch:
        assert batch["ldos"].shape[:3] == (12, 12, 64)


def test_a_sampling_cutoff_above_the_models_is_refused(study, tmp_path):
    with pytest.raises(InputError, match="ecut_sample_Ry: expected at most the density's cutoff of 60 Ry"):
        make_plan(study, "fine", tmp_path / "plan.json", ecut_sample_Ry=60.1)
    assert not (tmp_path / "plan.json").exists()


def test_too_coarse_a_sampling_warns(study, tmp_path, caplog):
    predict(study, "fine", tmp_path, ecut_sample_Ry=8.0)
    assert "sampling: expected waves beyond the sampling cutoff of 8 Ry with at most 0.15 %" in caplog.text


def test_bfloat16_is_close(study, tmp_path):
    one, density = predict(study, "cell", tmp_path / "one")
    other, rough = predict(study, "cell", tmp_path / "other", precision="bfloat16")
    assert other["band_energy_eV"] == pytest.approx(one["band_energy_eV"], abs=0.05)
    np.testing.assert_allclose(rough, density, rtol=0.05)


def test_dos_is_a_table_too(study, tmp_path):
    predict(study, "cell", tmp_path)
    energies, dos = np.loadtxt(tmp_path / "dos.csv", delimiter=",", skiprows=1, unpack=True)
    with open_dataset(tmp_path / "prediction.h5") as dataset:
        np.testing.assert_allclose(energies, dataset["energy"].values)
        np.testing.assert_array_equal(dos, dataset["dos"].values)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "structure", "settings"),
    [(2, "repeated", {}), (3, "repeated", {}), (3, "long", {}), (2, "fine", {"ecut_sample_Ry": 30.0})],
)
def test_ranks_change_nothing(repository, study, tmp_path, ranks, structure, settings):
    one, density = predict(study, structure, tmp_path / "one", precision="float32", **settings)
    make_plan(study, structure, tmp_path / "plan.json", **settings)
    file = f"{tmp_path}/batch-0.h5"
    script = [sys.executable, repository / "workflow" / "scripts" / "predict_tiles.py"]
    options = ["--plan", f"{tmp_path}/plan.json", *options_of(study, structure), "--batch", "0", "--output", file]
    mpiexec = Path(sys.executable).with_name("mpiexec")
    run = subprocess.run(
        [mpiexec, "-n", str(ranks), *script, "--ranks", str(ranks), *options], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    other, other_density = gather(study, tmp_path, [file])
    assert other["band_energy_eV"] == pytest.approx(one["band_energy_eV"], abs=1e-6)
    np.testing.assert_array_equal(other_density, density)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr("nearsight.grids.tiles.LARGEST_TILE", 40)


def batch_of(study, tmp_path):
    """A plan of one batch and the options to predict it."""
    make_plan(study, "repeated", tmp_path / "plan.json")
    options = ["--plan", f"{tmp_path}/plan.json", *options_of(study, "repeated"), "--batch", "0"]
    return predict_tiles.parse_arguments([*options, "--output", f"{tmp_path}/batch-0.h5"])


def test_a_stopped_batch_goes_on(study, tmp_path, monkeypatch, small_tiles):
    arguments = batch_of(study, tmp_path)
    predict_tiles.main(arguments)
    _, expected = gather(study, tmp_path, [arguments.output])
    arguments.output.unlink()
    calls = []
    original = StructurePredictor.predict

    def stop_at_the_fifth(self, region, *args, **kwargs):
        calls.append(region)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, region, *args, **kwargs)

    monkeypatch.setattr(StructurePredictor, "predict", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        predict_tiles.main(arguments)
    assert not arguments.output.exists()
    first = calls[:4]
    # a tile that was damaged since is computed again
    damaged = sorted((tmp_path / ".batch-0.tiles").glob("tile-*.safetensors"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    calls[:] = [None] * 5
    predict_tiles.main(arguments)
    assert len(calls) - 5 == 12 - 4 + 1
    assert len(set(calls[5:]) & set(first)) == 1
    _, density = gather(study, tmp_path, [arguments.output])
    np.testing.assert_array_equal(density, expected)
    assert not (tmp_path / ".batch-0.tiles").exists()


def test_another_plan_starts_again(study, tmp_path, monkeypatch, small_tiles):
    arguments = batch_of(study, tmp_path)
    store = open_store(arguments.output, {"plan": "another"})
    (store.folder / "tile-0.5-0.5-0.5.safetensors").write_bytes(b"of another plan")
    predict_tiles.main(arguments)
    assert arguments.output.exists()
    assert not store.folder.exists()


def test_a_model_swapped_between_batches_is_refused(study, tmp_path):
    arguments = batch_of(study, tmp_path)
    arguments.weights = tmp_path / "other.safetensors"
    arguments.weights.write_bytes((study / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(InputError, match=r"expected the file that .* was made from"):
        predict_tiles.main(arguments)
    assert not arguments.output.exists()


def test_a_batch_that_is_not_planned_is_refused(study, tmp_path):
    arguments = batch_of(study, tmp_path)
    arguments.batch = 1
    with pytest.raises(InputError, match="expected 0 to 0, as planned, got 1"):
        predict_tiles.main(arguments)


def test_batches_of_another_plan_and_truncated_ones_are_refused(study, tmp_path):
    predict(study, "cell", tmp_path / "one")
    predict(study, "cell", tmp_path / "two", batches=2)
    files = [tmp_path / "two" / f"batch-{number}.h5" for number in range(2)]
    with pytest.raises(InputError, match="expected 2 files, as planned, got 1"):
        gather(study, tmp_path / "two", [str(files[0])])
    with pytest.raises(InputError, match="one of another plan"):
        gather(study, tmp_path / "two", [str(files[1]), str(files[0])])
    with pytest.raises(InputError, match="one of another plan"):
        gather(study, tmp_path / "two", [str(files[0]), str(tmp_path / "one" / "batch-0.h5")])
    files[1].write_bytes(files[1].read_bytes()[:-1000])
    with pytest.raises(InputError, match="expected a whole HDF5 dataset"):
        gather(study, tmp_path / "two", [str(file) for file in files])


def test_unknown_keys_of_the_settings_are_refused(study, tmp_path):
    options = [*options_of(study, "cell"), "--settings", '{"tile_points": 8}', "--output", str(tmp_path / "plan.json")]
    with pytest.raises(InputError, match=r"inference\.tile_points: unknown key"):
        plan_tiles.parse_arguments(options)

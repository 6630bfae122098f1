"""The bundle: what is written comes back; what is damaged, altered or does not fit is refused."""

import json
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from model_files import UPF, make_domain

from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.grids.energies import EnergyGrid
from nearsight.model.bundle import DOMAIN_ARRAYS, ModelBundle, load_bundle, save_bundle
from nearsight.model.last_layer import ErrorBars
from nearsight.model.network import build_network
from nearsight.model.networks.perceptron import ACTIVATIONS
from nearsight.model.scaling import Scaling
from nearsight.provenance import hash_settings
from nearsight.study.sections import Perceptron

DESCRIPTORS = {"kind": "bispectrum", "twojmax": 2, "cutoff_A": 4.67637, "rfac0": 0.99363, "rmin0": 0.0}


def make_bundle(activation="leaky_relu", **changes):
    settings = Perceptron(hidden=[8, 6], activation=activation)
    generator = np.random.default_rng(2)
    values = {
        "network": build_network(settings, 5, 9, seed=3),
        "network_settings": settings,
        "descriptor_scaling": Scaling(generator.random(5) * 1e4, generator.random(5) * 100),
        "ldos_scaling": Scaling(generator.random(9), generator.random(9)),
        "descriptor_settings": DESCRIPTORS,
        "energy_grid": EnergyGrid(-1.0, 0.25, 9),
        "broadening_eV": 0.5,
        "temperature_K": 298.0,
        "elements": ["Be"],
        "electrons_per_element": {"Be": 2.0},
        "pseudopotentials": {"Be": UPF},
        "ecutrho_Ry": 160.0,
        "screening_k_A": 2.2,
        "ecut_sample_Ry": 80.0,
        "domain": make_domain(generator.random((40, 5))),
        "training": {"epochs": 3},
        "provenance": {"stage": "training"},
    }
    return ModelBundle(**(values | changes))


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "a $model" / "model.json", tmp_path / "a $model" / "model.safetensors"
    save_bundle(make_bundle(), *paths)
    return paths


def alter(path, change):
    """Change the JSON file in place and put the new hash into it, as a stranger would."""
    content = json.loads(path.read_text())
    change(content)
    content.pop("content_sha256")
    path.write_text(json.dumps({**content, "content_sha256": hash_settings(content)}))


def rewrite(files, change):
    """Change the tensors and put the new hash into the JSON, as a stranger would."""
    tensors = safetensors.torch.load_file(files[1])
    change(tensors)
    safetensors.torch.save_file(tensors, files[1])
    alter(files[0], lambda content: content.update(weights_sha256=sha256_of(files[1])))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_saved_comes_back(tmp_path, activation):
    bundle = make_bundle(activation)
    save_bundle(bundle, tmp_path / "m.json", tmp_path / "m.safetensors")
    loaded = load_bundle(tmp_path / "m.json", tmp_path / "m.safetensors")
    descriptors = np.random.default_rng(1).random((20, 5)) * 1e4
    np.testing.assert_array_equal(loaded.predict_ldos(descriptors), bundle.predict_ldos(descriptors))
    for name in DOMAIN_ARRAYS:
        np.testing.assert_array_equal(getattr(loaded.domain, name), getattr(bundle.domain, name))
    for name in (
        "pseudopotentials",
        "ecutrho_Ry",
        "screening_k_A",
        "ecut_sample_Ry",
        "descriptor_settings",
        "energy_grid",
        "broadening_eV",
        "temperature_K",
        "elements",
    ):
        assert getattr(loaded, name) == getattr(bundle, name)
    assert loaded.electrons_per_element == {"Be": 2.0}
    assert loaded.provenance == {"stage": "training"}


def test_a_bundle_of_before_knows_no_screening_and_sampling(files):
    alter(files[0], lambda content: [content.pop(key) for key in ("screening_k_A", "ecut_sample_Ry")])
    assert load_bundle(*files).screening_k_A is None
    assert load_bundle(*files).ecut_sample_Ry is None
    for wrong in (0.0, -1.0, 1e300, "2"):
        alter(files[0], lambda content, wrong=wrong: content.update(screening_k_A=wrong))
        with pytest.raises(InputError, match="screening_k_A"):
            load_bundle(*files)


def test_error_bars_come_back(tmp_path):
    bars = ErrorBars(np.random.default_rng(4).random((7, 7)), 0.02, 0.001)
    save_bundle(make_bundle(error_bars=bars), tmp_path / "m.json", tmp_path / "m.safetensors")
    loaded = load_bundle(tmp_path / "m.json", tmp_path / "m.safetensors").error_bars
    np.testing.assert_array_equal(loaded.inverse, bars.inverse)
    assert (loaded.energy, loaded.count) == (bars.energy, bars.count)
    alter(tmp_path / "m.json", lambda content: content.update(error_bars=None))
    with pytest.raises(InputError, match=r"missing or unknown: error_bars\.inverse"):
        load_bundle(tmp_path / "m.json", tmp_path / "m.safetensors")


def test_prediction_is_scaling_network_scaling(files):
    bundle = load_bundle(*files)
    descriptors = np.random.default_rng(1).random((7, 5)) * 1e4
    scaled = (descriptors - bundle.descriptor_scaling.mean) / bundle.descriptor_scaling.scale
    hidden = torch.from_numpy(scaled.astype(np.float32))
    with torch.no_grad():
        expected = bundle.network(hidden).double().numpy() * bundle.ldos_scaling.scale + bundle.ldos_scaling.mean
    predicted = bundle.predict_ldos(descriptors)
    assert predicted.dtype == np.float32
    assert predicted.shape == (7, 9)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)
    assert bundle.predict_ldos(descriptors[:0]).shape == (0, 9)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 2, 5)])
def test_wrong_number_of_components(files, shape):
    with pytest.raises(InputError, match=r"expected shape \(points, 5\)"):
        load_bundle(*files).predict_ldos(np.zeros(shape))


def test_missing_files(files, tmp_path):
    with pytest.raises(InputError, match=r"none\.json: expected a JSON file"):
        load_bundle(tmp_path / "none.json", files[1])
    with pytest.raises(InputError, match=r"none\.safetensors: expected the model's weights"):
        load_bundle(files[0], tmp_path / "none.safetensors")


@pytest.mark.parametrize("part", [0, 1])
def test_truncated_files(files, part):
    files[part].write_bytes(files[part].read_bytes()[:-50])
    with pytest.raises(InputError, match=str(files[part].name)):
        load_bundle(*files)


def test_json_changed_by_hand_or_by_a_flipped_bit(files):
    text = files[0].read_text()
    assert "298.0" in text
    files[0].write_text(text.replace("298.0", "288.0"))
    with pytest.raises(InputError, match=r"model\.json: content_sha256: expected"):
        load_bundle(*files)


def test_altered_weights(files):
    content = bytearray(files[1].read_bytes())
    content[-3] ^= 1
    files[1].write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: expected the weights that .*model\.json names"):
        load_bundle(*files)


class Command:
    """Unpickled, it makes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickle_in_place_of_weights_is_never_run(files, tmp_path, save):
    mark = tmp_path / "executed"
    save({"network.trunk.0.weight": Command(mark)}, files[1])
    with open(files[1], "rb") as handle:
        assert b"touch" in handle.read()
    with pytest.raises(InputError, match="expected the weights that"):
        load_bundle(*files)
    alter(files[0], lambda content: content.update(weights_sha256=sha256_of(files[1])))
    with pytest.raises(InputError, match="expected a whole safetensors file"):
        load_bundle(*files)
    assert not mark.exists()


def test_pickle_in_place_of_the_json_is_never_run(files, tmp_path):
    files[0].write_bytes(pickle.dumps(Command(tmp_path / "executed")))
    with pytest.raises(InputError, match="expected a whole JSON file"):
        load_bundle(*files)
    assert not (tmp_path / "executed").exists()


def test_weights_far_larger_than_the_network(files):
    with open(files[1], "r+b") as handle:
        handle.truncate(1 << 40)  # a sparse file: hashing it would take an hour
    with pytest.raises(InputError, match=r"at most .* bytes, got 1099511627776"):
        load_bundle(*files)


@pytest.mark.parametrize("part", [0, 1])
def test_links_to_what_has_no_end(files, part):
    files[part].unlink()
    files[part].symlink_to("/dev/zero")
    with pytest.raises(InputError, match="got no regular file"):
        load_bundle(*files)
    files[part].unlink()
    os.mkfifo(files[part])
    with pytest.raises(InputError, match="got no regular file"):
        load_bundle(*files)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("format",), "other", "format: expected 'nearsight model bundle'"),
        (("format_version",), 99, "version 99"),
        (("components",), 6, r"expected torch\.float32 \(8, 6\)"),
        (("components",), 10**12, "components: .* less than or equal to 65536"),
        (("components",), "5", "components: .* valid integer"),
        (("network", "hidden"), [], "hidden: .* at least 1 item"),
        (("network", "hidden"), [8, 6.5], r"hidden\.1: .* valid integer"),
        (("network", "hidden"), [8], "missing or unknown"),
        (("network", "hidden"), [65536] * 64, "at most .* bytes of weights"),
        (("network", "activation"), "eval", "activation: .* 'leaky_relu'"),
        (("network", "kind"), "os", r"network\.kind: expected one of layered, perceptron, got 'os'"),
        (("network", "kind"), ["perceptron"], r"network\.kind: expected one of layered, perceptron"),
        (("ldos", "energies"), 10, r"expected torch\.float32 \(10, 6\)"),
        (("ldos", "spacing_eV"), -0.1, r"ldos\.spacing_eV: .* greater than 0"),
        (("ldos", "spacing_eV"), None, r"ldos\.spacing_eV: .* number, got null"),
        (("ldos", "broadening_eV"), 0, r"ldos\.broadening_eV: .* greater than 0"),
        (("temperature_K",), -3, "temperature_K: .* greater than 0"),
        (("temperature_K",), True, "temperature_K: .* number"),
        (("elements",), ["Be", "H"], "expected electrons_per_element of the elements"),
        (("electrons_per_element", "Be"), "2", r"electrons_per_element\.Be: .* number"),
        (("descriptor_settings",), None, "descriptor_settings: .* dictionary"),
        (("provenance",), [], "provenance: .* dictionary"),
    ],
)
def test_altered_json(files, keys, value, message):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    alter(files[0], change)
    with pytest.raises(InputError, match=message) as caught:
        load_bundle(*files)
    assert "a $model" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("ldos.mean"), r"missing or unknown: ldos\.mean"),
        (lambda t: t.update(extra=torch.zeros(1)), "missing or unknown: extra"),
        (lambda t: t.update({"ldos.mean": torch.zeros(9)}), r"ldos\.mean: expected torch\.float64"),
        (
            lambda t: t.update({"network.trunk.0.bias": torch.zeros(9)}),
            r"0\.bias: expected torch\.float32 \(8,\)",
        ),
        (lambda t: t["network.trunk.2.weight"].fill_(float("nan")), r"network\.trunk\.2\.weight: expected finite"),
        (lambda t: t["descriptors.scale"].zero_(), "expected positive scales"),
    ],
)
def test_altered_tensors(files, change, message):
    rewrite(files, change)
    with pytest.raises(InputError, match=message):
        load_bundle(*files)


def test_parts_of_different_sizes_are_refused():
    with pytest.raises(InputError, match="LDOS scaling: expected equal numbers, got 9 and 8"):
        make_bundle(ldos_scaling=Scaling(np.zeros(8), np.ones(8)))

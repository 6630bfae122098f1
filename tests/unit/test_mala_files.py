"""Readers of MALA's files: what torch and numpy have written is read to the last bit, and nothing in it is run."""

import io
import json
import os
import pickle
import zipfile

import mala_files
import numpy as np
import pytest
import torch

from nearsight.errors import InputError
from nearsight.imports.mala.arrays import read_field, without_xyz
from nearsight.imports.mala.parameters import read_parameters
from nearsight.imports.mala.scalers import read_scaler
from nearsight.imports.mala.torch_file import read_state

LDOS_SI = 6.241509125883258e48


@pytest.mark.parametrize("old", [True, False])
def test_a_state_is_read_as_torch_reads_it(old):
    network = mala_files.make_network()
    content = mala_files.network_file(network, old)
    found, attributes = read_state(content, "x.pth")
    assert set(found) == set(network.state_dict())
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
        assert found[name].dtype == np.float32
    assert list(attributes["_metadata"].items) == ["", *(f"layers{n}" for n in ("", ".0", ".1", ".2", ".3"))]


@pytest.mark.parametrize("old", [True, False])
def test_tensors_that_share_numbers_are_read(old):
    whole = torch.arange(12.0).reshape(3, 4)
    handle = io.BytesIO()
    state = torch.nn.Linear(1, 1).state_dict()
    state.clear()
    state |= {"a": whole, "b": whole.T, "c": whole[1:, ::2], "d": torch.tensor(3.0), "e": torch.arange(3)}
    torch.save(state, handle, _use_new_zipfile_serialization=not old)
    found, _ = read_state(handle.getvalue(), "x.pth")
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


class Evil:
    """What a pickle can do: anything at all, when it is read."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def evil_scaler():
    return mala_files.scaler_pickle(mala_files.scaler_fields(np.eye(3), "standard"), means=Evil())


def evil_state():
    state = mala_files.make_network().state_dict()
    state["layers.0.weight"] = Evil()
    handle = io.BytesIO()
    torch.save(state, handle, _use_new_zipfile_serialization=False)
    return handle.getvalue()


def evil_zip():
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Evil()))
    return handle.getvalue()


def test_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read, content in (
        (lambda content: read_scaler(content, "x.pkl", 3), evil_scaler()),
        (lambda content: read_state(content, "x.pth"), evil_state()),
        (lambda content: read_state(content, "x.pth"), evil_zip()),
        (lambda content: read_state(content, "x.pth"), pickle.dumps(Evil())),
    ):
        assert b"system" in content
        with pytest.raises(InputError, match=r"names '(posix|nt) system'|file of torch.save"):
            read(content)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old", [True, False])
def test_no_damaged_state_is_taken_for_a_whole_one(old):
    content = mala_files.network_file(mala_files.make_network(), old)
    for length in range(0, len(content), 211):
        with pytest.raises(InputError, match=r"^x\.pth: "):
            read_state(content[:length], "x.pth")
    with pytest.raises(InputError, match=r"expected the state of a network \(a dictionary of tensors\), got a list"):
        read_state(pickle_of([torch.ones(2)], old), "x.pth")
    with pytest.raises(InputError, match="a: expected a tensor, got a float"):
        read_state(pickle_of(ordered({"a": 3.0}), old), "x.pth")
    with pytest.raises(InputError, match="names 'torch HalfStorage'"):
        read_state(pickle_of(ordered({"a": torch.ones(2, dtype=torch.float16)}), old), "x.pth")


def pickle_of(value, old):
    handle = io.BytesIO()
    torch.save(value, handle, _use_new_zipfile_serialization=not old)
    return handle.getvalue()


def ordered(items):
    state = torch.nn.Linear(1, 1).state_dict()
    state.clear()
    state.update(items)
    return state


def test_a_tensor_beyond_its_storage_is_refused():
    # 5 numbers of a storage of 2: the length is the only byte that is 5
    content = mala_files.network_file(ordered_network(), True)
    assert content.count(b"K\x02\x85q") == 1
    with pytest.raises(InputError, match="expected 5 numbers of a storage of 2"):
        read_state(content.replace(b"K\x02\x85q", b"K\x05\x85q"), "x.pth")


def ordered_network():
    network = torch.nn.Module()
    network.register_buffer("a", torch.ones(2))
    return network


KINDS = ["None", "standard", "minmax", "feature-wise-standard", "feature-wise-minmax"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["json", "pickle"])
def test_scalers(kind, form):
    rows = torch.from_numpy(np.random.default_rng(3).normal(size=(40, 5)) * [1, 2, 30, 4, 5] + 7).float()
    fields = mala_files.scaler_fields(rows, kind)
    content = mala_files.scaler_json(fields) if form == "json" else mala_files.scaler_pickle(fields)
    found, scaling = read_scaler(content, "x", 5)
    assert found == kind.lower()
    # as MALA's DataScaler.transform does it
    expected = {
        "None": lambda: rows,
        "standard": lambda: (rows - rows.mean()) / rows.std(),
        "minmax": lambda: (rows - rows.min()) / (rows.max() - rows.min()),
        "feature-wise-standard": lambda: (rows - rows.mean(0)) / rows.std(0),
        "feature-wise-minmax": lambda: (rows - rows.min(0).values) / (rows.max(0).values - rows.min(0).values),
    }[kind]()
    np.testing.assert_allclose(scaling.apply(rows.numpy()), expected.numpy(), rtol=2e-5, atol=2e-6)


def test_a_pickled_scaler_of_before_calls_minmax_normal():
    fields = mala_files.scaler_fields(np.arange(6.0).reshape(3, 2), "normal")
    fields["scale_normal"] = fields.pop("scale_minmax")
    found, scaling = read_scaler(mala_files.scaler_pickle(fields), "x.pkl", 2)
    assert found == "minmax"
    np.testing.assert_array_equal(scaling.mean, [0, 0])
    np.testing.assert_array_equal(scaling.scale, [5, 5])


def test_scalers_that_cannot_be_used():
    fields, by_feature = mala_files.scaler_fields, "feature-wise-standard"
    rows = np.random.default_rng(3).random((40, 5))
    constant = rows * [1, 1, 0, 1, 1]
    for content, message in (
        (
            mala_files.scaler_json(fields(constant, by_feature)),
            "stds.*got 0 for number 2",
        ),
        (mala_files.scaler_json(fields(rows[:, :4], by_feature)), "means: expected 5"),
        (mala_files.scaler_json({**fields(rows, "standard"), "cantransform": False}), "was fitted"),
        (
            mala_files.scaler_pickle(fields(rows, "standard"), total_std=[1, 2]),
            "total_std: expected 5",
        ),
        (mala_files.scaler_pickle(fields(rows, "standard"))[:-300], "whole pickle|whole file|pickle"),
        (b"[1]", "JSON object"),
    ):
        with pytest.raises(InputError, match=message):
            read_scaler(content, "x", 5)


def test_arrays_of_both_formats_are_one(tmp_path):
    values = np.random.default_rng(1).random((5, 4, 7, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    mala_files.write_openpmd(tmp_path / "x.h5", "LDOS", values, LDOS_SI)
    mala_files.write_openpmd(tmp_path / "chunks.h5", "LDOS", values, LDOS_SI, chunks=(2, 3, 4))
    for name in ("x.npy", "f.npy", "x.h5", "chunks.h5"):
        np.testing.assert_array_equal(read_field(tmp_path / name, "LDOS"), values)
    density = values[..., :1].astype(float)
    mala_files.write_openpmd(tmp_path / "density.h5", "Density", density, 1e30)
    np.save(tmp_path / "density.npy", density[..., 0])
    for name in ("density.h5", "density.npy"):
        np.testing.assert_array_equal(read_field(tmp_path / name, "Density"), density)


def test_arrays_that_are_none(tmp_path):
    values = np.ones((3, 3, 3, 2))
    np.save(tmp_path / "objects.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.ones((3, 3, 3, 2), dtype=int))
    np.save(tmp_path / "flat.npy", np.ones((9, 2)))
    np.save(tmp_path / "cut.npy", values)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    mala_files.write_openpmd(tmp_path / "bohr.h5", "LDOS", values, LDOS_SI / 2)
    mala_files.write_openpmd(tmp_path / "packed.h5", "LDOS", values, LDOS_SI, (3, 3, 3), compression="gzip")
    mala_files.write_openpmd(tmp_path / "other.h5", "LDOS", values, LDOS_SI, is_mala_data=0)
    mala_files.write_openpmd(tmp_path / "density.h5", "Density", values, 1e30)
    (tmp_path / "text.h5").write_text("no HDF5")
    for name, message in (
        ("objects.npy", "float32 or float64, got object"),
        ("whole.npy", "float32 or float64, got int64"),
        ("flat.npy", r"\(nx, ny, nz, features\)"),
        ("cut.npy", "got 424 bytes"),
        ("none.npy", "found none"),
        ("none.h5", "found none"),
        ("bohr.h5", "unitSI: expected MALA's unit"),
        ("packed.h5", "not packed"),
        ("other.h5", "is_mala_data"),
        ("density.h5", "expected the mesh LDOS .*found Density"),
        ("text.h5", "OSError"),
    ):
        with pytest.raises(InputError, match=message):
            read_field(tmp_path / name, "LDOS")


def test_positions_are_no_descriptors(tmp_path):
    values = np.arange(8.0).reshape(1, 1, 1, 8)
    np.testing.assert_array_equal(without_xyz(values, 5, tmp_path), values[..., 3:])
    np.testing.assert_array_equal(without_xyz(values, 8, tmp_path), values)
    with pytest.raises(InputError, match="expected 6 descriptors of each point, or 9 with its position, got 8"):
        without_xyz(values, 6, tmp_path)


def test_what_has_no_like_is_refused_by_name():
    network = mala_files.make_network()
    for changes, message in (
        ({"descriptors__descriptor_type": "ACE"}, "descriptor_type: expected 'Bispectrum', got 'ACE'"),
        ({"descriptors__bispectrum_switchflag": 0}, "bispectrum_switchflag: expected 1, got 0"),
        ({"descriptors__custom_lammps_compute_file": "mine.in"}, "custom_lammps_compute_file"),
        ({"targets__target_type": "Density"}, "target_type: expected 'LDOS', got 'Density'"),
        ({"targets__restrict_targets": "absolute_values"}, "restrict_targets.*got 'absolute_values'"),
        ({"targets__ldos_gridspacing_ev": [0.5, 0.1]}, "ldos_gridspacing_ev: expected one window.*list of 2"),
        ({"targets__ldos_gridsize": 9.5}, "ldos_gridsize: expected a whole number"),
        ({"targets__ldos_gridspacing_ev": 0}, "targets: energy grid"),
        ({"network__nn_type": "transformer"}, "nn_type: expected 'feed-forward', got 'transformer'"),
        ({"network__layer_sizes": [5]}, "layer_sizes"),
        ({"network__layer_activations": 3}, "layer_activations"),
        ({"descriptors__bispectrum_cutoff": KeyError}, "bispectrum_cutoff: expected it among MALA's parameters"),
    ):
        with pytest.raises(InputError, match=message):
            read_parameters(mala_files.parameters(network, **changes), "x.params.json")
    found = read_parameters(mala_files.parameters(network, targets__ldos_gridsize=[9]), "x.params.json")
    assert found.energy_grid.count == 9
    assert [(one.role, one.descriptors) for one in found.snapshots] == [
        ("tr", "Be_snapshot0.in.npy"), ("va", "Be_snapshot1.in.npy"),
    ]  # fmt: skip
    assert json.dumps(found.descriptor_settings(["Be"])["weights"]) == "{}"


def test_weights_are_in_alphabetical_order():
    network = mala_files.make_network()
    found = read_parameters(
        mala_files.parameters(network, descriptors__bispectrum_element_weights=[0.5, 1.0]), "x.params.json"
    )
    assert found.descriptor_settings(["O", "Ba"])["weights"] == {"Ba": 0.5, "O": 1.0}
    with pytest.raises(InputError, match="one for each of Be, got 2"):
        found.descriptor_settings(["Be"])

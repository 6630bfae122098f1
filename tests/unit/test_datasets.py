"""Datasets: round trip, checks at writing, clear errors at reading, nothing half-written."""

import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from ase.build import bulk
from hdf5_checksums import find_blocks, put_right

from nearsight import datasets
from nearsight.datasets import (
    atoms_of,
    create_field_file,
    open_dataset,
    open_foreign_dataset,
    provenance_of,
    require,
    settings_of,
    variables_of_atoms,
    write_dataset,
)
from nearsight.errors import InputError, Stopped
from nearsight.fields import FIELDS
from nearsight.hdf5 import check_end


def example_variables():
    rng = np.random.default_rng(0)
    return {
        **variables_of_atoms(bulk("Be")),
        "density": rng.random((4, 5, 6)),
        "ldos": rng.random((4, 5, 6, 3)),
        "energy": np.arange(3.0),
        "fermi_energy": 3.5,
    }


def test_round_trip(tmp_path):
    path = tmp_path / "a name; with $(shell) 'characters'.h5"
    variables = example_variables()
    write_dataset(path, variables, {"key": 1}, {"stage": "reference"})
    with open_dataset(path) as dataset:
        for name, values in variables.items():
            assert dataset[name].dims == FIELDS[name].dims
            assert dataset[name].dtype == FIELDS[name].dtype
            assert dataset[name].attrs["unit"] == FIELDS[name].unit
            np.testing.assert_allclose(dataset[name].values, values, rtol=1e-7)
        assert settings_of(dataset) == {"key": 1}
        assert provenance_of(dataset) == {"stage": "reference"}
        atoms = atoms_of(dataset)
    assert atoms.get_chemical_formula() == "Be2"
    np.testing.assert_array_equal(atoms.positions, bulk("Be").positions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": np.full((4, 5, 6), np.nan)}, "density: expected finite numbers in 1/Å³"),
        ({"density": np.ones((4, 5))}, r"density: expected dimensions \('x', 'y', 'z'\)"),
        ({"density": np.ones((4, 5, 7))}, "ldos: expected 7 along z|density: expected 6 along z"),
        ({"no_such_field": np.ones(3)}, "no_such_field: expected a name of fields.FIELDS"),
    ],
)
def test_bad_variables_leave_no_file(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        write_dataset(tmp_path / "x.h5", {**example_variables(), **change}, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_survives_a_failed_write(tmp_path):
    path = tmp_path / "x.h5"
    write_dataset(path, {"fermi_energy": 1.0}, {}, {})
    with pytest.raises(InputError):
        write_dataset(path, {"fermi_energy": np.inf}, {}, {})
    with open_dataset(path) as dataset:
        assert float(dataset["fermi_energy"]) == 1.0


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, keep):
    path = tmp_path / "x.h5"
    write_dataset(path, example_variables(), {}, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"x\.h5: expected a whole HDF5 dataset"), open_dataset(path):
        pass


def test_missing_files_and_variables_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.h5: expected a dataset"), open_dataset(tmp_path / "none.h5"):
        pass
    write_dataset(tmp_path / "x.h5", {"fermi_energy": 1.0}, {}, {})
    with open_dataset(tmp_path / "x.h5") as dataset, pytest.raises(InputError, match="ldos not found"):
        require(dataset, "fermi_energy", "ldos")


def test_fields_are_written_block_by_block_or_not_at_all(tmp_path):
    path = tmp_path / "x.h5"
    with create_field_file(path, {"descriptors": (3, 4, 5, 2)}, {"fermi_energy": 0.0}, {}, {}) as fields:
        for i in range(3):
            fields["descriptors"][i] = i
    with open_dataset(path) as dataset:
        assert dataset["descriptors"].dims == ("x", "y", "z", "component")
        np.testing.assert_array_equal(dataset["descriptors"].values[:, 0, 0, 0], [0, 1, 2])
    path.unlink()
    with pytest.raises(RuntimeError), create_field_file(path, {"descriptors": (3, 4, 5, 2)}, {}, {}, {}) as fields:
        fields["descriptors"][0] = 1
        raise RuntimeError("lost in the middle")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------ files from others


def craft(path, change):
    """A file with our attributes and what `change` puts into it, as a stranger would."""
    with h5py.File(path, "w", libver="v110") as file:
        for name in ("nearsight_settings", "nearsight_provenance"):
            file.attrs.create(name, b"{}", dtype=h5py.string_dtype("utf-8", 2))
        change(file)
    return path


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "energy", (4,))
    file.create_virtual_dataset("energy", layout)


def lie(file):
    """10¹² points, none of which is there."""
    file.create_dataset("density", (10**4, 10**4, 10**4), dtype="f8", chunks=(1, 10, 10))


def contiguous_lie(file):
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((10**4, 10**4, 10**4))
    h5py.h5d.create(file.id, b"density", h5py.h5t.NATIVE_DOUBLE, space, layout)


def two_lengths(file):
    file["energy"], file["dos"] = np.zeros(3), np.zeros(4)


HOSTILE = {
    "absurd dimensions": (lie, "expected the 8000000000000 bytes"),
    "absurd dimensions in one piece": (contiguous_lie, "expected the 8000000000000 bytes"),
    "a bomb": (
        lambda file: file.create_dataset("energy", data=np.zeros(10**7), compression="gzip"),
        "got packed or external ones",
    ),
    "a virtual dataset": (virtual, "got packed or external ones"),
    "numbers in another file": (
        lambda file: file.create_dataset("energy", (4,), "f8", external=[("/etc/passwd", 0, 32)]),
        "got packed or external ones",
    ),
    "an external link": (lambda file: file.__setitem__("energy", h5py.ExternalLink("/etc/passwd", "/x")), "got a link"),
    "a link in a circle": (lambda file: file.__setitem__("energy", h5py.SoftLink("/energy")), "got a link"),
    "a group": (lambda file: file.create_group("energy"), "expected an array"),
    "texts": (lambda file: file.create_dataset("energy", data=["a", "b"]), "expected numbers of type"),
    "objects": (lambda file: file.create_dataset("energy", (2,), dtype=h5py.ref_dtype), "expected numbers of type"),
    "complex numbers": (lambda file: file.create_dataset("energy", data=np.zeros(2, complex)), "expected numbers"),
    "other dimensions": (lambda file: file.create_dataset("energy", data=np.zeros((2, 2))), "expected an array of"),
    "different lengths": (two_lengths, "as in other variables"),
    "no number at all": (lambda file: file.create_dataset("energy", data=h5py.Empty("f8")), "expected an array of"),
    "settings of any length": (lambda file: file.attrs.__setitem__("nearsight_settings", "{}"), "of fixed length"),
    "settings that are no text": (lambda file: file.attrs.__setitem__("nearsight_settings", 3), "of fixed length"),
    "settings that are no object": (
        lambda file: file.attrs.create("nearsight_settings", b"[]", dtype=h5py.string_dtype("utf-8", 2)),
        "expected a JSON object",
    ),
    "settings nested without end": (
        lambda file: file.attrs.create("nearsight_settings", b"[" * 50000, dtype=h5py.string_dtype("utf-8", 50000)),
        "expected a whole HDF5 dataset",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_before_their_numbers_are_read(tmp_path, name):
    change, message = HOSTILE[name]
    with pytest.raises(InputError, match=message), open_foreign_dataset(craft(tmp_path / "x.h5", change)):
        pass


def test_damaged_numbers_are_found_when_they_are_read(tmp_path):
    path = tmp_path / "x.h5"
    values = np.random.default_rng(1).random((3, 4, 5))
    write_dataset(path, {"density": values, "fermi_energy": 3.5, "energy": np.arange(1.0, 4)}, {}, {})
    whole = path.read_bytes()
    for number in (values[1, 2, 3], np.float64(3.5), np.float64(2.0)):
        place = whole.index(number.tobytes())
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match="expected a whole HDF5 dataset"), open_dataset(path) as dataset:
            for name in ("density", "fermi_energy", "energy"):
                _ = dataset[name].values


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    # checksums find them all: no process of its own has to
    path = tmp_path / "x.h5"
    write_dataset(path, {"energy": np.arange(3.0), "fermi_energy": 3.5}, {"a": 1}, {"b": 2})
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            with open_dataset(path) as dataset:
                np.testing.assert_array_equal(dataset["energy"].values, [0, 1, 2])
                assert (float(dataset["fermi_energy"]), settings_of(dataset)) == (3.5, {"a": 1})
        except InputError:
            refused += 1
    assert refused > 50


def test_what_ends_the_hdf5_library_does_not_end_us(tmp_path):
    """Found by fuzzing: where a stranger has put the checksums right, a changed number of the index of names (BTHD, the
    header of a B-tree) ends HDF5 1.14 by SIGSEGV or SIGFPE."""
    path = tmp_path / "x.h5"
    write_dataset(path, example_variables(), {}, {})
    whole = path.read_bytes()
    blocks = find_blocks(whole)
    (header,) = [(start, end) for start, end in blocks if whole[start:].startswith(b"BTHD")]
    messages = []
    for place, value in ((-10, 255), (-6, 1), (-7, 1), (8, 255)):
        content = bytearray(whole)
        content[header[0 if place > 0 else 1] + place] = value
        path.write_bytes(put_right(bytes(content), blocks))
        try:
            with open_foreign_dataset(path) as dataset:
                assert set(dataset) <= set(example_variables())
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert all(message.startswith(f"{path}: expected a whole HDF5 dataset") for message in messages)


def test_our_own_stages_start_no_process(tmp_path, monkeypatch):
    write_dataset(tmp_path / "x.h5", {"fermi_energy": 3.5}, {}, {})
    looked = []
    monkeypatch.setattr(datasets, "require_harmless", looked.append)
    with open_dataset(tmp_path / "x.h5"):
        assert looked == []
    with open_foreign_dataset(tmp_path / "x.h5"):
        assert looked == [tmp_path / "x.h5"]


@pytest.mark.parametrize(
    ("status", "message"),
    [(3, "said so"), (1, r"got said so \(1\)\. The file is damaged"), (-11, "the end of its reader by SIGSEGV")],
)
def test_how_a_look_ends(status, message):
    check_end("x.h5", 0, "")
    with pytest.raises(InputError, match=message):
        check_end("x.h5", status, "said so")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_look_that_was_told_to_stop_says_nothing_of_the_file(number):
    code = f"import os, signal; signal.signal({int(number)}, 0); os.kill(os.getpid(), {int(number)})"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    with pytest.raises(Stopped, match=f"stopped from outside \\({number.name}"):
        check_end("x.h5", done.returncode, "")


def test_a_look_without_end_is_ended(tmp_path, monkeypatch):
    """A reader in an endless loop has ten seconds of processor time; here one."""
    code = "from nearsight import hdf5; hdf5.LOOK_SECONDS = 1; hdf5.open_file = lambda path: exec('while True: pass'); "
    done = subprocess.run([sys.executable, "-c", code + "hdf5.look('x.h5')"], check=False)
    with pytest.raises(InputError, match=r"by SIG(XCPU|KILL)"):
        check_end("x.h5", done.returncode, "")


def test_the_oldest_format_pipes_devices_and_sparse_giants(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w", libver="earliest") as file:
        file["energy"] = np.arange(3.0)
    (tmp_path / "link.h5").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.h5")
    with open(tmp_path / "sparse.h5", "wb") as handle:
        handle.truncate(1 << 40)
    for name, message in (("old", "before 1.8"), ("link", "no regular"), ("pipe", "no regular"), ("sparse", "whole")):
        with pytest.raises(InputError, match=message), open_foreign_dataset(tmp_path / f"{name}.h5"):
            pass


def test_a_link_to_a_dataset_is_a_dataset(tmp_path):
    write_dataset(tmp_path / "x.h5", {"fermi_energy": 3.5}, {}, {})
    (tmp_path / "link.h5").symlink_to("x.h5")
    with open_dataset(tmp_path / "link.h5") as dataset:
        assert float(dataset["fermi_energy"]) == 3.5

"""Datasets: round trip, checks at writing, clear errors at reading, nothing half-written."""

import numpy as np
import pytest
from ase.build import bulk

from nearsight.datasets import (
    atoms_of,
    create_field_file,
    open_dataset,
    provenance_of,
    require,
    settings_of,
    variables_of_atoms,
    write_dataset,
)
from nearsight.errors import InputError
from nearsight.fields import FIELDS


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
    with create_field_file(path, {"bispectrum": (3, 4, 5, 2)}, {"fermi_energy": 0.0}, {}, {}) as fields:
        for i in range(3):
            fields["bispectrum"][i] = i
    with open_dataset(path) as dataset:
        assert dataset["bispectrum"].dims == ("x", "y", "z", "component")
        np.testing.assert_array_equal(dataset["bispectrum"].values[:, 0, 0, 0], [0, 1, 2])
    path.unlink()
    with pytest.raises(RuntimeError), create_field_file(path, {"bispectrum": (3, 4, 5, 2)}, {}, {}, {}) as fields:
        fields["bispectrum"][0] = 1
        raise RuntimeError("lost in the middle")
    assert list(tmp_path.iterdir()) == []

"""The job compute_descriptors on one rank: its file, its log, its errors."""

import argparse
import importlib.util

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms

from nearsight.datasets import atoms_of, open_dataset, provenance_of, settings_of
from nearsight.descriptors.bispectrum import Settings, lammps
from nearsight.descriptors.bispectrum.compute import BispectrumDescriptor, bispectrum
from nearsight.errors import InputError, NearsightError

SHAPE = (4, 3, 5)


@pytest.fixture(scope="module")
def script(repository):
    path = repository / "workflow/scripts/compute_descriptors.py"
    spec = importlib.util.spec_from_file_location("compute_descriptors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def atoms():
    positions = [[0.2, 0.1, 0.3], [2.3, 2.0, 1.8]]
    atoms = Atoms("Be2", positions=positions, cell=[[4.5, 0, 0], [0.3, 3.9, 0], [0, 0, 3.6]], pbc=True)
    atoms.info["grid_shape"] = np.array(SHAPE)
    return atoms


def arguments_for(folder, atoms=None, **changes):
    settings = {"kind": "bispectrum", "twojmax": 4, "backend": changes.pop("backend", "lammps")}
    settings |= changes.pop("settings", {})
    values = {
        "structure": folder / "a structure's $file.extxyz",
        "settings": settings,
        "elements": None,
        "ranks": 1,
        "threads": 1,
        "output": folder / "out put.h5",
        "log": None,
        "memory_MB": None,
    }
    if atoms is not None:
        with open(values["structure"], "w") as handle:
            ase.io.write(handle, atoms, format="extxyz")
    return argparse.Namespace(**(values | changes))


def test_writes_the_dataset(script, atoms, tmp_path):
    arguments = arguments_for(tmp_path, atoms)
    script.main(arguments)
    with open_dataset(arguments.output) as dataset:
        values = dataset["descriptors"].values
        assert dataset["descriptors"].dims == ("x", "y", "z", "component")
        assert values.dtype == np.float64
        stored = atoms_of(dataset)
        section = Settings(twojmax=4, backend="lammps").model_dump(exclude={"ranks", "threads"})
        assert settings_of(dataset) == {**section, "elements": ["Be"]}
        assert provenance_of(dataset)["stage"] == "descriptors"
        assert "structure" in provenance_of(dataset)["inputs_sha256"]
    np.testing.assert_allclose(values, bispectrum(stored, SHAPE, twojmax=4), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(stored.positions, atoms.positions, atol=1e-8)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_native_writes_the_dataset_block_by_block(script, atoms, tmp_path, precision):
    arguments = arguments_for(tmp_path, atoms, backend="native", settings={"precision": precision}, threads=2)
    script.main(arguments)
    with open_dataset(arguments.output) as dataset:
        values, stored = dataset["descriptors"].values, atoms_of(dataset)
    assert values.dtype == precision
    expected = bispectrum(stored, SHAPE, twojmax=4, precision=precision)
    np.testing.assert_array_equal(values, expected)  # regions and threads change no bit
    assert list(tmp_path.glob(".*")) == []


def test_stopped_job_goes_on(script, atoms, tmp_path, monkeypatch):
    """A job that was killed keeps its finished blocks; the next one computes the others alone."""
    arguments = arguments_for(tmp_path, atoms, backend="native")
    compute, computed = BispectrumDescriptor.compute, []

    def killed(*inputs, **options):
        if len(computed) == 7:
            raise KeyboardInterrupt
        computed.append(inputs[3])
        return compute(*inputs, **options)

    monkeypatch.setattr(BispectrumDescriptor, "compute", killed)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments)
    assert not arguments.output.exists()
    first, counted = list(computed), []
    monkeypatch.setattr(BispectrumDescriptor, "compute", lambda *a, **k: (counted.append(a[3]), compute(*a, **k))[1])
    script.main(arguments)
    assert len(first) == 7
    assert not set(first) & set(counted)
    with h5py.File(arguments.output) as file:
        values = file["descriptors"][:]
    atoms = ase.io.read(arguments.structure)
    np.testing.assert_array_equal(values, bispectrum(atoms, SHAPE, twojmax=4))
    assert list(tmp_path.glob(".*")) == []


def test_other_settings_start_again(script, atoms, tmp_path, monkeypatch):
    arguments = arguments_for(tmp_path, atoms, backend="native")
    compute = BispectrumDescriptor.compute

    def killed(*inputs, **options):
        compute(*inputs, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(BispectrumDescriptor, "compute", killed)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments)
    monkeypatch.undo()
    arguments.settings = {"kind": "bispectrum", "twojmax": 2}
    script.main(arguments)
    with h5py.File(arguments.output) as file:
        assert file["descriptors"].shape == (*SHAPE, 5)


def test_missing_grid_shape(script, atoms, tmp_path):
    del atoms.info["grid_shape"]
    with pytest.raises(InputError, match=r"\$file\.extxyz: grid_shape: expected"):
        script.main(arguments_for(tmp_path, atoms))


@pytest.mark.parametrize("shape", [[4, 3], [4, 3, 0], [4.5, 3, 5]])
def test_bad_grid_shape(script, atoms, tmp_path, shape):
    atoms.info["grid_shape"] = np.array(shape)
    with pytest.raises(InputError, match="grid_shape: expected three"):
        script.main(arguments_for(tmp_path, atoms))


def test_missing_structure(script, tmp_path):
    with pytest.raises(InputError, match="expected a structure"):
        script.main(arguments_for(tmp_path))


def test_overlapping_atoms(script, atoms, tmp_path):
    atoms.positions[1] = atoms.positions[0] + 0.1
    with pytest.raises(InputError, match="overlap"):
        script.main(arguments_for(tmp_path, atoms))


def test_fewer_ranks_than_promised(script, atoms, tmp_path):
    with pytest.raises(InputError, match=r"expected 3 MPI ranks, this process sees 1 .*srun --mpi=pmi2 -n 3"):
        script.main(arguments_for(tmp_path, atoms, ranks=3))
    assert not (tmp_path / "out put.h5").exists()


def test_unknown_backend(script, atoms, tmp_path):
    with pytest.raises(InputError, match=r"descriptors\.backend: expected a backend .*nativ"):
        script.main(arguments_for(tmp_path, atoms, backend="nativ"))


def test_atom_on_a_grid_point_is_told(script, atoms, tmp_path, caplog):
    atoms.positions[0] = 0.0
    script.main(arguments_for(tmp_path, atoms))
    assert "1 atoms lie on a grid point" in caplog.text


def test_wrong_numbers_are_not_written(script, atoms, tmp_path, monkeypatch):
    """A build of LAMMPS with another order of points, or with missing images, stops the job."""
    good = lammps.bispectrum_share

    def shuffled(*arguments):
        region, values = good(*arguments)
        return region, np.ascontiguousarray(values[::-1])

    monkeypatch.setattr(lammps, "bispectrum_share", shuffled)
    with pytest.raises(NearsightError, match="expected component 0"):
        script.main(arguments_for(tmp_path, atoms))
    assert list(tmp_path.glob("*.h5")) == []
    assert list(tmp_path.glob(".*")) == []


def test_elements_of_the_study(script, atoms, tmp_path):
    """A structure of one of its elements has the columns of all of them."""
    arguments = arguments_for(tmp_path, atoms, settings={"twojmax": 2, "chemical": True}, elements=["O", "Be"])
    script.main(arguments)
    with open_dataset(arguments.output) as dataset:
        assert dataset["descriptors"].shape[-1] == 5 * 8
        assert settings_of(dataset)["elements"] == ["Be", "O"]
    with pytest.raises(InputError, match=r"\$file\.extxyz: expected the elements O, got Be"):
        script.main(arguments_for(tmp_path, atoms, elements=["O"]))

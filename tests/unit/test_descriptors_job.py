"""The job compute_descriptors on one rank: its file, its log, its errors."""

import argparse
import importlib.util

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms

from nearsight.datasets import atoms_of, open_dataset, provenance_of, settings_of
from nearsight.descriptors.bispectrum import BispectrumSettings, Brick, bispectrum
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
    values = {
        "structure": folder / "a structure's $file.extxyz",
        "settings": {"twojmax": 4},
        "backend": "lammps",
        "precision": "float64",
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
        values = dataset["bispectrum"].values
        assert dataset["bispectrum"].dims == ("x", "y", "z", "component")
        assert values.dtype == np.float64
        stored = atoms_of(dataset)
        assert settings_of(dataset) == {
            **BispectrumSettings(twojmax=4).to_dict(), "backend": "lammps", "precision": "float64", "elements": ["Be"],
        }  # fmt: skip
        assert provenance_of(dataset)["stage"] == "descriptors"
        assert "structure" in provenance_of(dataset)["inputs_sha256"]
    np.testing.assert_allclose(values, bispectrum(stored, SHAPE, twojmax=4), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(stored.positions, atoms.positions, atol=1e-8)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_native_writes_the_dataset_block_by_block(script, atoms, tmp_path, precision):
    arguments = arguments_for(tmp_path, atoms, backend="native", precision=precision, threads=2)
    script.main(arguments)
    with open_dataset(arguments.output) as dataset:
        values, stored = dataset["bispectrum"].values, atoms_of(dataset)
    assert values.dtype == precision
    expected = bispectrum(stored, SHAPE, twojmax=4, precision=precision)
    np.testing.assert_array_equal(values, expected)  # regions and threads change no bit
    assert list(tmp_path.glob(".*")) == []


def test_stopped_job_goes_on(script, atoms, tmp_path, monkeypatch):
    """A job that was killed keeps its finished blocks; the next one computes the others alone."""
    arguments = arguments_for(tmp_path, atoms, backend="native")
    compute, computed = script.compute_region, []

    def killed(*inputs, **options):
        if len(computed) == 7:
            raise KeyboardInterrupt
        computed.append(inputs[3])
        return compute(*inputs, **options)

    monkeypatch.setattr(script, "compute_region", killed)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments)
    assert not arguments.output.exists()
    first = list(computed)
    monkeypatch.setattr(script, "compute_region", compute)
    counted = []
    monkeypatch.setattr(script, "compute_region", lambda *a, **k: (counted.append(a[3]), compute(*a, **k))[1])
    script.main(arguments)
    assert len(first) == 7
    assert not set(first) & set(counted)
    with h5py.File(arguments.output) as file:
        values = file["bispectrum"][:]
    atoms = ase.io.read(arguments.structure)
    np.testing.assert_array_equal(values, bispectrum(atoms, SHAPE, twojmax=4))
    assert list(tmp_path.glob(".*")) == []


def test_other_settings_start_again(script, atoms, tmp_path, monkeypatch):
    arguments = arguments_for(tmp_path, atoms, backend="native")
    compute = script.compute_region

    def killed(*inputs, **options):
        compute(*inputs, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "compute_region", killed)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments)
    monkeypatch.setattr(script, "compute_region", compute)
    arguments.settings = {"twojmax": 2}
    script.main(arguments)
    with h5py.File(arguments.output) as file:
        assert file["bispectrum"].shape == (*SHAPE, 5)


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
    with pytest.raises(InputError, match="--backend: expected one of native, lammps, torch, got 'nativ'"):
        script.main(arguments_for(tmp_path, atoms, backend="nativ"))


def test_atom_on_a_grid_point_is_told(script, atoms, tmp_path, caplog):
    atoms.positions[0] = 0.0
    script.main(arguments_for(tmp_path, atoms))
    assert "1 atoms lie on a grid point" in caplog.text


def test_wrong_numbers_are_not_written(script, atoms, tmp_path, monkeypatch):
    """A build of LAMMPS with another order of points, or with missing images, stops the job."""
    good = script.bispectrum_brick

    def shuffled(*arguments, **options):
        brick = good(*arguments, **options)
        return Brick(brick.start, np.ascontiguousarray(brick.values[::-1]))

    monkeypatch.setattr(script, "bispectrum_brick", shuffled)
    with pytest.raises(NearsightError, match="expected component 0"):
        script.main(arguments_for(tmp_path, atoms))
    assert list(tmp_path.glob("*.h5")) == []
    assert list(tmp_path.glob(".*")) == []

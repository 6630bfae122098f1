"""compute_descriptors over MPI: equal numbers on any number of ranks, one message, no hanging."""

import json
import os
import shutil
import subprocess
import sys

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms

pytestmark = pytest.mark.mpi

SECONDS = 900


def find_mpiexec():
    """mpiexec of the MPI library that mpi4py loads: the wheel's, beside this Python."""
    beside = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    return beside if os.path.exists(beside) else shutil.which("mpiexec")


def start(repository, ranks, folder, *options, settings=None, before=""):
    """Run the script on `ranks` ranks; `before` is Python code that each rank runs first."""
    script = repository / "workflow/scripts/compute_descriptors.py"
    program = [str(script)]
    if before:
        wrapper = folder / "wrapper.py"
        wrapper.write_text(
            f"import runpy, sys\n{before}\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        program = [str(wrapper), str(script)]
    command = [find_mpiexec(), "-n", str(ranks), sys.executable, *program, "--structure", str(folder / "be.extxyz")]
    command += [
        "--settings",
        json.dumps({"kind": "bispectrum", "twojmax": 4, **(settings or {})}),
        "--log",
        str(folder / "job.log"),
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(repository / "workflow")}
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)


@pytest.fixture
def folder(tmp_path):
    positions = [[0.1, 0.2, 0.3], [2.3, 0.1, 0.4], [0.2, 2.1, 1.9], [1.9, 2.3, 2.2]]
    cell = [[4.5, 0.0, 0.0], [-1.3, 3.9, 0.0], [0.4, 0.5, 3.6]]
    atoms = Atoms("Be4", positions=positions, cell=cell, pbc=True)
    atoms.info["grid_shape"] = np.array([7, 5, 6])
    with open(tmp_path / "be.extxyz", "w") as handle:
        ase.io.write(handle, atoms, format="extxyz")
    return tmp_path


def test_native_ranks_give_equal_bits(repository, folder):
    values = {}
    for ranks in (1, 2, 3):
        output = folder / f"{ranks}.h5"
        done = start(repository, ranks, folder, "--ranks", str(ranks), "--output", str(output), "--threads", "2")
        assert done.returncode == 0, done.stderr
        with h5py.File(output) as file:
            values[ranks] = file["descriptors"][:]
    np.testing.assert_array_equal(values[2], values[1])
    np.testing.assert_array_equal(values[3], values[1])
    assert [path.name for path in folder.glob(".*")] == []


def test_ranks_give_equal_numbers(repository, folder):
    values = {}
    for ranks in (1, 2, 3):
        output = folder / f"{ranks}.h5"
        options = ("--ranks", str(ranks), "--output", str(output))
        done = start(repository, ranks, folder, *options, settings={"twojmax": 10, "backend": "lammps"})
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        with h5py.File(output) as file:
            values[ranks] = file["descriptors"][:]
    scale = np.abs(values[1]).max(axis=(0, 1, 2))
    for ranks in (2, 3):
        assert (np.abs(values[ranks] - values[1]).max(axis=(0, 1, 2)) / scale).max() < 1e-12
    log = (folder / "job.log").read_text()
    assert log.count("µs per point and core") == 1


def test_more_ranks_than_points(repository, folder):
    atoms = ase.io.read(folder / "be.extxyz")
    atoms.info["grid_shape"] = np.array([1, 1, 2])
    with open(folder / "be.extxyz", "w") as handle:
        ase.io.write(handle, atoms, format="extxyz")
    for ranks in (1, 4):
        done = start(repository, ranks, folder, "--ranks", str(ranks), "--output", str(folder / f"{ranks}.h5"))
        assert done.returncode == 0, done.stderr
    with h5py.File(folder / "1.h5") as one, h5py.File(folder / "4.h5") as four:
        np.testing.assert_allclose(four["descriptors"][:], one["descriptors"][:], rtol=1e-11)


def test_fewer_ranks_than_promised(repository, folder):
    done = start(repository, 2, folder, "--ranks", "3", "--output", str(folder / "x.h5"))
    assert done.returncode != 0
    assert done.stderr.count("fewer ranks than promised") == 1
    assert "fewer ranks than promised" in (folder / "job.log").read_text()
    assert not (folder / "x.h5").exists()


def test_bad_input_is_told_once(repository, folder):
    done = start(repository, 2, folder, "--ranks", "2", "--output", str(folder / "x.h5"), settings={"cutoff_A": -1})
    assert done.returncode != 0
    assert done.stderr.count("descriptors.cutoff_A") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("failing", [0, 1])
def test_error_on_one_rank_stops_all(repository, folder, failing):
    """The other ranks wait in a collective call; they must not wait for ever, and the log names the failed rank."""
    before = f"""
from mpi4py import MPI
from nearsight.descriptors.bispectrum import lammps
if MPI.COMM_WORLD.rank == {failing}:
    def fail(*arguments):
        raise RuntimeError("memory of this rank is full")
    lammps.load_structure = fail
"""
    options = ("--ranks", "2", "--output", str(folder / "x.h5"))
    done = start(repository, 2, folder, *options, settings={"backend": "lammps"}, before=before)
    assert done.returncode != 0
    assert f"rank {failing} of 2" in done.stderr
    log = (folder / "job.log").read_text()
    assert "memory of this rank is full" in log
    assert list(folder.glob("*.h5")) == []


def test_output_that_cannot_be_written(repository, folder):
    done = start(repository, 2, folder, "--ranks", "2", "--output", "/proc/no/x.h5")
    assert done.returncode != 0
    assert "rank 0 of 2" in (folder / "job.log").read_text()

"""The energies over MPI: every term the same on any number of ranks, one message on an error, no hanging."""

import json
import os
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pytest
from energy_cases import ECUTRHO_Ry, two_atoms, write_study, write_upf

from nearsight.files import read_json

pytestmark = pytest.mark.mpi

SECONDS = 900

#: A prediction of two elements, one without a core charge, in a triclinic cell. No number of ranks above 1 divides the
#: grid. Each rank keeps account of the planes that it reads.
PROGRAM = """
import json, sys
from dataclasses import asdict
import numpy as np
from ase import Atoms
from mpi4py import MPI
from nearsight.energies import FourierGrid, total_free_energy
from nearsight.energies.screening import unscreened_energy
from nearsight.reference.pseudopotential import read_pseudopotentials

comm = MPI.COMM_WORLD
cell = np.array([[4.1, 0.3, -0.2], [-1.1, 3.9, 0.4], [0.5, 0.7, 4.6]])
atoms = Atoms("BeBeO", cell=cell, positions=[[0.3, 0.2, 0.1], [1.9, 2.2, 2.5], [3.1, 0.4, 3.9]], pbc=True)

class Density:
    shape = (23, 25, 29)
    read = set()
    def __getitem__(self, i):
        self.read.add(i)
        x, y, z = (np.arange(n) / n for n in self.shape)
        wave = 1 + 0.4 * np.cos(2 * np.pi * (x[i] + 2 * y[:, None] - z)) + 0.2 * np.sin(2 * np.pi * (3 * x[i] + z))
        return 10 / atoms.get_volume() * wave

energies = np.arange(-12.0, 12.0, 0.1)
pseudopotentials = read_pseudopotentials({"Be": sys.argv[1], "O": sys.argv[2]})
terms = {}
for precision in ("float64", "float32"):
    density = Density()
    found = total_free_energy(
        atoms, density, np.where(energies > -8, 1.25, 0.0), energies, 300.0, pseudopotentials,
        ecutrho_Ry=60.0, broadening_eV=None, broadening_error_eV=0.5, single=precision == "float32", comm=comm,
    )
    assert comm.allgather(found) == [found] * comm.size
    terms[precision] = asdict(found)
    grid = FourierGrid(cell, density.shape, 60.0, precision == "float32", comm)
    valence = grid.coefficients(density)
    # of shorter waves, since the cell has no long ones
    terms[precision]["unscreened"] = unscreened_energy(valence, grid, atoms, {"Be": 2.0, "O": 6.0}, 1.5)
read = comm.gather(sorted(density.read))
if comm.rank == 0:
    print(json.dumps({"terms": terms, "read": read}))
"""


def start(repository: Path, ranks: int, *command: str) -> subprocess.CompletedProcess:
    """Run Python on `ranks` ranks with mpiexec of the MPI library that mpi4py loads: the wheel's, beside Python."""
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    return subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": str(repository / "workflow")},
    )


def test_every_term_is_the_same_on_any_number_of_ranks(repository, tmp_path):
    files = [write_upf(tmp_path / "Be.upf"), write_upf(tmp_path / "O.upf", "O", 6.0, core=False)]
    found = {}
    for ranks in (1, 2, 3):
        done = start(repository, ranks, "-W", "error", "-c", PROGRAM, *map(str, files))
        assert done.returncode == 0, done.stderr
        found[ranks] = json.loads(done.stdout)
        # every plane is read by one rank, and no rank reads more than its share
        read = found[ranks]["read"]
        assert sorted(chain.from_iterable(read)) == list(range(23))
        assert max(map(len, read)) == -(-23 // ranks)
    expected = found[1]["terms"]
    assert min(abs(value) for value in expected["float64"].values()) > 1e-3
    for ranks in (2, 3):
        assert found[ranks]["terms"]["float64"] == pytest.approx(expected["float64"], rel=1e-10)
        assert found[ranks]["terms"]["float32"] == pytest.approx(expected["float32"], rel=1e-6)


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "a $(study); 'quoted'"
    folder.mkdir()
    write_study(folder, two_atoms())
    return folder


def compute(repository, study, ranks, name, promised=None, ecutrho_Ry=ECUTRHO_Ry):
    options = ["--fields", f"{study}/{name}.h5", "--pseudopotential", f"Be={study}/Be.upf"]
    options += ["--ecutrho-Ry", str(ecutrho_Ry), "--output", f"{study}/{name}-{ranks}.json"]
    options += ["--ranks", str(promised or ranks), "--log", f"{study}/job.log"]
    return start(repository, ranks, str(repository / "workflow/scripts/compute_energies.py"), *options)


def check_equal_numbers(repository, study, name, all_ranks, **options):
    found = {}
    for ranks in (1, *all_ranks):
        done = compute(repository, study, ranks, name, **options)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found[ranks] = read_json(study / f"{name}-{ranks}.json")
        del found[ranks]["provenance"]
    for ranks in all_ranks:
        for key, value in found[1].items():
            assert found[ranks][key] == pytest.approx(value, rel=1e-10), key


def test_the_job_gives_equal_numbers(repository, study):
    check_equal_numbers(repository, study, "snapshot", (2, 3))


def test_more_ranks_than_planes(repository, study):
    """Those that have no plane wait for the result."""
    write_study(study, two_atoms(), ecutrho_Ry=5.0)
    with h5py.File(study / "prediction.h5") as file:
        planes = min(file["density"].shape[:2])
    check_equal_numbers(repository, study, "prediction", (planes + 1,), ecutrho_Ry=5.0)


def test_fewer_ranks_than_promised(repository, study):
    done = compute(repository, study, 2, "prediction", promised=3)
    assert done.returncode != 0
    assert done.stderr.count("fewer ranks than promised") == 1
    assert not list(study.glob("*.json"))


def test_a_bad_density_on_one_rank_is_told_once(repository, study):
    with h5py.File(study / "prediction.h5", "r+") as file:
        file["density"][-1, 0, 0] = np.nan
    done = compute(repository, study, 2, "prediction")
    assert done.returncode != 0
    assert done.stderr.count("density: expected finite numbers in 1/Å³, got NaN or infinity at 1 points") == 1
    assert "Traceback" not in done.stderr
    assert not list(study.glob("*.json"))

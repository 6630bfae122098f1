"""The wheel: in an empty environment, without compiler and without programs of others, it predicts and shows."""

import os
import re
import resource
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk
from model_files import make_random_model

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.files import read_json
from nearsight.model.bundle import save_bundle
from nearsight.models.shelf import model_names

pytestmark = pytest.mark.slow

#: Of a random model: it needs no training.
SETTINGS, SHAPE = {"twojmax": 4, "cutoff_A": 4.0}, (12, 12, 18)
#: A minute on two cores.
LONGEST_CPU_S = 120


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([repository / "tools/wheel.sh", folder], check=True, env={**os.environ, "VENV": sys.prefix})
    (wheel,) = folder.iterdir()
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, repository, tmp_path_factory):
    """A function that runs a program of an environment that has the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder / "env", with_pip=True)
    locked = "".join(path.read_text(encoding="utf-8") for path in repository.glob("requirements*.lock"))
    constraints = "\n".join(re.findall(r"^[A-Za-z0-9._-]+==[^\s\\]+", locked, re.MULTILINE))
    (folder / "constraints.txt").write_text(constraints, encoding="utf-8")

    def run(program, *words, **options):
        command = [folder / "env/bin" / program, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("pip", "install", "--quiet", "--constraint", folder / "constraints.txt", wheel)
    alone = {"PATH": str(folder / "env/bin"), "HOME": str(folder), "OMP_NUM_THREADS": "2"}
    return lambda program, *words: run(program, *words, env=alone)


@pytest.fixture
def atoms():
    atoms = bulk("Be", a=2.27, c=3.57)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(params=["a folder", *model_names()])
def model(request, atoms, tmp_path):
    """A folder with a model, and the name of each that comes along."""
    if request.param != "a folder":
        return request.param
    bundle = make_random_model(bispectrum(atoms, SHAPE, **SETTINGS), SETTINGS, energy_max_eV=12.0)
    save_bundle(bundle, tmp_path / "model.json", tmp_path / "model.safetensors")
    return str(tmp_path)


def test_it_holds_the_package_and_says_where_it_runs(wheel, repository):
    """Modules, page, three.js and models; not the sources of the kernel. The name tells the glibc that it needs."""
    assert re.search(r"-manylinux_2_\d+_\w+\.whl$", wheel.name), wheel.name
    package = repository / "workflow"
    wanted = {
        str(path.relative_to(package))
        for path in (package / "nearsight").rglob("*")
        if path.is_file() and not {"__pycache__", "native"} & set(path.parts)
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = set(re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", archive.read(metadata).decode(), re.MULTILINE))
    (kernel,) = names - wanted
    assert re.fullmatch(r"nearsight/descriptors/bispectrum/_native\.[\w-]+\.so", kernel)
    assert wanted <= names
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert asked == {re.match(r"[\w-]+", name)[0] for name in project["dependencies"]}


def test_it_predicts_and_shows_within_a_minute(installed, model, atoms, tmp_path, record_property):
    """On two cores, as processor time, which does not depend on what else the machine does."""
    ase.io.write(tmp_path / "structure.cif", atoms)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = tmp_path / "predicted"
    options = ("--view", "--threads", "2", "--out", output, "--accept-extrapolation")
    installed("nearsight", "predict", model, tmp_path / "structure.cif", *options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record_property("measured", f"prediction and page from the wheel: {cpu_s:.1f} s of processor time")
    assert cpu_s < LONGEST_CPU_S
    assert read_json(output / "energies.json")["atoms"] == 2
    page = (output / "view.html").read_text(encoding="utf-8")
    assert "three.js" in page.lower() and len(page) > 700_000


def test_it_exports_and_calculates(installed, model, atoms, tmp_path):
    ase.io.write(tmp_path / "structure.extxyz", atoms)
    output = tmp_path / "predicted"
    installed("nearsight", "predict", model, tmp_path / "structure.extxyz", "--out", output, "--accept-extrapolation")
    installed("nearsight", "export", output / "prediction.h5", tmp_path / "density.cube")
    assert len(ase.io.read(tmp_path / "density.cube")) == 2
    program = (
        "import sys, ase.io, nearsight; atoms = ase.io.read(sys.argv[1]);"
        "atoms.calc = nearsight.Calculator(sys.argv[2], accept_extrapolation=True);"
        "print(atoms.get_potential_energy(), nearsight.__file__)"
    )
    energy, file = installed("python", "-c", program, tmp_path / "structure.extxyz", model).split()
    assert float(energy) == pytest.approx(read_json(output / "energies.json")["energies_eV"]["total"], rel=1e-9)
    assert "site-packages" in Path(file).parts


def test_its_kernel_has_every_instruction_set(installed):
    """Of this processor: portable code always, and what the build is made for."""
    program = (
        "import os\nfrom nearsight.descriptors.bispectrum.kernel import load\n"
        "print(*(name for name in ('portable', 'avx2', 'avx512') if load().instruction_set(name)))"
    )
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    wanted = {"portable"} | ({"avx2"} & set(flags)) | ({"avx512"} if "avx512vl" in flags else set())
    assert set(installed("python", "-c", program).split()) == wanted

"""Memory predicted before a job starts against that measured, and the limits that it is compared with."""

import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from nearsight.datasets import create_field_file, variables_of_atoms, write_dataset
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.energies.place import BLOCKS_BYTES, Place, choose_place, place_energies
from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape
from nearsight.inference.gather import place_gathering
from nearsight.memory import (
    ENERGY_FIELDS,
    check_memory,
    descriptors_bytes,
    dft_bytes,
    field_bytes,
    inference_bytes,
    limit_bytes,
    one_pass_bytes,
    training_bytes,
)
from nearsight.model.bundle import save_bundle
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.io import write_structure

#: What an estimate may be of what was measured: never less, rarely half as much again.
LEAST, MOST = 1.0, 1.5

#: Runs a script of workflow/scripts in its own process and prints its largest resident memory in bytes.
MEASURE = """
import importlib, resource, sys
module = importlib.import_module(sys.argv[1])
sys.argv = sys.argv[1:]
module.main(module.parse_arguments())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.fixture
def measure(repository):
    def run(script, *arguments):
        path = os.pathsep.join([str(repository / "workflow/scripts"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            # small, so that no fork of this large process counts
            ["/bin/sh", "-c", '"$@"', "sh", sys.executable, "-c", MEASURE, script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return float(done.stdout.split()[-1])

    return run


def check(name, predicted, measured, record_property):
    line = f"memory: {name}: predicted {predicted / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB"
    record_property("measured", line)
    assert LEAST <= predicted / measured <= MOST


def run_job(repository, folder, record_property, script, *arguments):
    """Run a job, compare what its log says it will take with what it took; the log."""
    command = [sys.executable, repository / f"workflow/scripts/{script}.py", *arguments, "--log", "log"]
    done = subprocess.run(["/bin/sh", "-c", '"$@"', "sh", *map(str, command)], cwd=folder, capture_output=True)
    text = (folder / "log").read_text()
    assert done.returncode == 0, text
    predicted, used = (float(re.search(rf"memory: {words} ?MB", text)[1]) for words in (r"about (\d+)", r"(\d+)"))
    check(script, 1e6 * predicted, 1e6 * used, record_property)
    return text


@pytest.mark.parametrize(("backend", "points", "twojmax", "components"), [("native", 40, 10, 91), ("lammps", 70, 2, 5)])
def test_descriptors(tmp_path, measure, record_property, backend, points, twojmax, components):
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms.positions += 0.01
    atoms.info["grid_shape"] = [points] * 3
    write_structure(tmp_path / "x.extxyz", atoms)
    settings = {"kind": "bispectrum", "twojmax": twojmax, "backend": backend}
    options = ("--structure", tmp_path / "x.extxyz", "--settings", json.dumps(settings))
    measured = measure("compute_descriptors", *options, "--output", tmp_path / "x.h5")
    predicted = descriptors_bytes(points**3, components, len(atoms), 1 << 25, ranks=1, whole=backend == "lammps")
    check(f"descriptors, {backend}, {points}³ points", predicted, measured, record_property)


@pytest.mark.slow
def test_training(tmp_path, measure, record_property):
    from model_files import DESCRIPTOR_SETTINGS, REFERENCE_SETTINGS

    from nearsight.model.network import build_network
    from nearsight.study.sections import Perceptron

    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    generator = np.random.default_rng(1)
    shape, energies, components = (60, 60, 60), 100, 91
    fields = {"ldos": (*shape, energies)}
    variables = {**variables_of_atoms(atoms), "energy": 0.1 * np.arange(energies)}
    for role in ("train", "validation"):
        atoms.rattle(0.05, seed=len(role))
        variables |= variables_of_atoms(atoms)
        with create_field_file(tmp_path / f"{role}-r.h5", fields, variables, REFERENCE_SETTINGS, {}) as targets:
            for plane in range(shape[0]):
                targets["ldos"][plane] = generator.random((*shape[1:], energies))
        described, settings = {"descriptors": (*shape, components)}, {**DESCRIPTOR_SETTINGS, "twojmax": 10}
        path = tmp_path / f"{role}-d.h5"
        with create_field_file(path, described, variables_of_atoms(atoms), settings, {}) as targets:
            for plane in range(shape[0]):
                targets["descriptors"][plane] = generator.random((*shape[1:], components))
    (tmp_path / "Be.upf").write_text('<UPF><PP_HEADER element="Be" z_valence="2.0" functional="PBE"/></UPF>')
    files = [f"--{role}-{kind}={tmp_path / role}-{kind[0]}.h5" for role in ("train", "validation") for kind in
             ("reference", "descriptors")]  # fmt: skip
    measured = measure(
        "train_model", *files, "--pseudopotential", f"Be={tmp_path / 'Be.upf'}",
        "--settings", json.dumps({"network": {"hidden": [128, 128]}, "epochs": 1}), "--seed", 1,
        "--checkpoint", tmp_path / "c", "--weights", tmp_path / "w", "--bundle", tmp_path / "b",
        "--history", tmp_path / "h",
    )  # fmt: skip
    points = math.prod(shape)
    network = build_network(Perceptron(hidden=[128, 128]), components, energies)
    predicted = training_bytes(
        [points, points], 4 * (components + energies), [p.shape for p in network.parameters()], 1000, 2 << 30
    )
    check(f"training, 2 x {points} points", predicted, measured, record_property)


def test_prediction_and_its_evaluation(tmp_path, repository, record_property):
    """All jobs of a prediction with its LDOS kept: what their logs say they will take, and took."""
    from model_files import make_random_model

    shape, descriptors = (60, 60, 60), {"kind": "bispectrum", "twojmax": 4, "cutoff_A": 4.0}
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms.positions += 0.01
    atoms.info["grid_shape"] = list(shape)
    write_structure(tmp_path / "x.extxyz", atoms)
    model = make_random_model(bispectrum(atoms, (12, 12, 12), **descriptors), descriptors)
    save_bundle(model, tmp_path / "model.json", tmp_path / "model.safetensors")
    energies = model.energy_grid.energies_eV
    reference = {
        **variables_of_atoms(atoms),
        "ldos": np.full((*shape, energies.size), 0.03),
        "density": np.full(shape, 0.1),
        "energy": energies,
        "dos": np.full(energies.size, 1.0),
        "ldos_eigenvalues": np.array([[energies[0] + 1.0, energies[-1]]]),
        "kpoint_weights": [2.0],
        "electrons": 2.0,
        **dict.fromkeys(("band_energy", "total_free_energy", "fermi_energy", "entropy_energy"), 1.0),
    }
    settings = {"dft": {"conv_thr_Ry": 1e-9}, "ldos": {"broadening_eV": 0.2}, "temperature_K": 298.0}
    write_dataset(tmp_path / "r.h5", reference, settings, {})
    (tmp_path / "e.json").write_text('{"energies_eV": {"total": 1.0}}')

    def run(script, *arguments):
        run_job(repository, tmp_path, record_property, script, *arguments)

    files = ("--model", "model.json", "--weights", "model.safetensors", "--structure", "x.extxyz")
    run(
        "plan_tiles",
        *files,
        "--settings",
        '{"accept_extrapolation": true, "batches": 1}',
        "--keep-ldos",
        "--output",
        "plan.json",
    )
    run("predict_tiles", *files, "--plan", "plan.json", "--batch", 0, "--output", "b.h5")
    outputs = ("--output", "p.h5", "--dos", "dos.csv", "--observables", "o.json")
    run("gather_prediction", *files[:4], "--plan", "plan.json", "--batches", "b.h5", *outputs)
    references = ("--reference", "r.h5", *files[:4], "--reference-energies", "e.json")
    inputs = ("--prediction", "p.h5", "--batches", "b.h5", "--energies", "e.json", *references)
    run("evaluate_prediction", "--name", "x", "--role", "test", *inputs, "--output", "errors.json")


@pytest.fixture(scope="module")
def large_density(tmp_path_factory):
    """Folder of a prediction with all that the energies need and its pseudopotential; its grid; its cutoff."""
    from test_energies import upf

    folder, ecutrho_Ry = tmp_path_factory.mktemp("large"), 400.0
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((8, 4, 4))
    shape, electrons = fft_shape(atoms.cell.array, ecutrho_Ry), 2.0 * len(atoms)
    settings = {"temperature_K": 3000.0, "broadening_eV": 0.4, "electrons": electrons}
    energies = -8 + 0.2 * np.arange(81)
    dos = 0.3 * len(atoms) * np.sqrt(np.maximum(energies + 6, 0))
    variables = {**variables_of_atoms(atoms), "energy": energies, "dos": dos, "electrons": electrons}
    with create_field_file(folder / "p.h5", {"density": shape}, variables, settings, {}) as targets:
        for i in range(shape[0]):
            targets["density"][i] = electrons / atoms.get_volume() * (1 + 0.3 * np.cos(2 * np.pi * i / shape[0]))
    upf(folder / "Be.upf")
    return folder, shape, ecutrho_Ry


@pytest.mark.parametrize(("memory_MB", "on_disk"), [(4000, False), (400, True)])
def test_energies_in_memory_and_on_disk(large_density, tmp_path, repository, record_property, memory_MB, on_disk):
    folder, shape, ecutrho_Ry = large_density
    options = ["--fields", folder / "p.h5", "--pseudopotential", f"Be={folder / 'Be.upf'}"]
    options += ["--ecutrho-Ry", ecutrho_Ry, "--memory-MB", memory_MB, "--output", f"e{on_disk}.json"]
    text = run_job(repository, tmp_path, record_property, "compute_energies", *options)
    assert ("energies: the fields are on disk" in text) == on_disk
    assert ENERGY_FIELDS * field_bytes(shape, single=False) > 350e6


def test_fields_are_in_memory_where_they_fit():
    needed = {None: 9e9, **{size: 3e8 + 3 * size for size in BLOCKS_BYTES}}
    for limit, block in ((9e9, None), (8.9e9, 512 << 20), (1e9, 128 << 20), (4.1e8, 32 << 20), (1e8, 2 << 20)):
        place = choose_place(needed.get, 7e9, limit)
        assert place == Place(block, needed[block], 0.0 if block is None else 7e9)
    assert place.memory_bytes > limit
    with pytest.raises(InputError, match=r"gather_prediction: .* about 0\.31 GB .* got 0\.11 GB \(memory_GiB\)"):
        check_memory("gather_prediction", place.memory_bytes, None, memory_GiB=0.1)


def test_a_million_atoms_fit_into_four_gibibytes():
    """4.6 thousand million points: what is left in memory are planes, blocks and the atoms themselves."""
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((64, 64, 64))
    shape = (1296, 2304, 1536)
    place = place_energies(atoms, shape, 4 * 2**30)
    assert place.block_bytes == max(BLOCKS_BYTES)
    assert place.memory_bytes < 4 * 2**30
    gathering = place_gathering(atoms, (1080, 1920, 1280), shape, 1, 4 * 2**30, screening=True)
    assert gathering.memory_bytes < 4 * 2**30
    assert gathering.disk_bytes > 4 * 2**30


@pytest.mark.parametrize(
    ("repeat", "points", "bands", "ecutwfc_Ry", "kpoints", "measured_MB"),
    [
        ((1, 1, 1), 15 * 25 * 24, 12, 30, (2, 1, 1), 41),
        ((2, 1, 1), 36 * 30 * 27, 24, 40, (2, 1, 1), 56),
        ((2, 1, 1), 30 * 25 * 24, 20, 30, (6, 6, 6), 93),
        ((2, 2, 1), 36 * 60 * 27, 40, 40, (2, 1, 1), 90),
        ((2, 2, 2), 36 * 60 * 60, 80, 40, (2, 1, 1), 214),
    ],
)
def test_dft_as_measured(repeat, points, bands, ecutwfc_Ry, kpoints, measured_MB):
    """Resident memory (VmHWM) of pw.x 6.7, one rank, diago_david_ndim = 4."""
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat(repeat)
    predicted = dft_bytes(atoms.get_volume(), points, len(atoms), bands, ecutwfc_Ry, kpoints)
    assert LEAST <= predicted / (measured_MB * 1e6) <= MOST


@pytest.mark.parametrize(("work_MB", "measured_MB"), [(64, 353), (256, 461), (1024, 555)])
def test_one_pass_as_measured(work_MB, measured_MB):
    """Resident memory of collect_reference: 64 atoms of beryllium, 6 k-points, 103 bands, 163 energies."""
    predicted = one_pass_bytes(60 * 54 * 48, 163, 64, 103, work_MB * 10**6)
    assert LEAST <= predicted / (measured_MB * 1e6) <= MOST


def test_inference_is_set_by_the_tile():
    sizes = {"threads": 1, "keep_ldos": False}
    one, two = (inference_bytes(tile, 91, 100, 10**5, 1 << 15, **sizes) for tile in (1 << 19, 1 << 20))
    assert two - one == 48 * (1 << 19)


def system(folder, group="0::/job\n", **files):
    """A root folder with /proc and /sys as a job may see them; 8 GiB."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text("MemTotal:        8388608 kB\nMemFree: 1 kB\n")
    (folder / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_least_limit_holds(tmp_path):
    root = system(tmp_path / "a")
    assert limit_bytes(None, 1, {}, root) == (8 * 2**30, "the machine's memory")
    assert limit_bytes(1000, 1, {}, root) == (1e9, "the rule's memory")
    assert limit_bytes(1000, 1, {"SLURM_MEM_PER_NODE": "500"}, root) == (500 * 2**20, "SLURM_MEM_PER_NODE")
    environment = {"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_PER_TASK": "3"}
    assert limit_bytes(1000, 1, environment, root) == (300 * 2**20, "SLURM_MEM_PER_CPU")
    assert limit_bytes(None, 4, {}, root) == (2 * 2**30, "the machine's memory")
    two_here = {"SLURM_MEM_PER_NODE": "500", "SLURM_TASKS_PER_NODE": "2(x2)"}
    assert limit_bytes(1000, 4, two_here, root) == (250 * 2**20, "SLURM_MEM_PER_NODE")
    root = system(tmp_path / "b", job__memory_dot_max="max\n", memory_dot_max="1048576\n")
    assert limit_bytes(None, 1, {}, root) == (2**20, "its control group")
    root = system(tmp_path / "c", job__memory_dot_max="2097152\n", memory_dot_max="max\n")
    assert limit_bytes(1000, 1, {}, root) == (2**21, "its control group")
    root = system(tmp_path / "d", "5:memory:/job\n", memory__job__memory_dot_limit_in_bytes="3145728\n")
    assert limit_bytes(None, 1, {}, root) == (3 * 2**20, "its control group")


def test_a_job_that_needs_more_is_refused_with_the_number():
    check_memory("train_model", 0.9e9, 1000)
    with pytest.raises(InputError, match=r"train_model: expected to need about 1\.20 GB .* got 1\.00 GB \(the rule's"):
        check_memory("train_model", 1.2e9, 1000)


def test_a_job_is_refused_before_it_computes(tmp_path, repository):
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms.positions += 0.01
    atoms.info["grid_shape"] = [100_000] * 3
    write_structure(tmp_path / "x.extxyz", atoms)
    script = repository / "workflow/scripts/compute_descriptors.py"
    settings = {"kind": "bispectrum", "twojmax": 10, "backend": "lammps"}
    options = ["--structure", tmp_path / "x.extxyz", "--settings", json.dumps(settings), "--output", "x.h5"]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, options), "--memory-MB", "2000"],
        capture_output=True, text=True, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"compute_descriptors: expected to need about 2184000000\.\d\d GB", done.stderr)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.extxyz"]

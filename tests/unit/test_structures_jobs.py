"""The jobs around structures, called as rules call them: any characters in paths, errors on terminal and in log."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms

from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.io import read_frames, read_structure, write_structure
from nearsight.structures.large import stacking_sequence

STRUCTURE = {"formula": "Be", "lattice": "hcp", "density_g_cm3": 1.896, "c_over_a": 1.5797, "repeat": [2, 1, 1]}


@pytest.fixture
def job(repository, tmp_path):
    """Run a script of workflow/scripts in a folder whose name would break a shell."""
    folder = tmp_path / "it's $HOME; `x` & y"
    folder.mkdir()

    def run(name, *arguments):
        command = [sys.executable, str(repository / f"workflow/scripts/{name}.py"), *map(str, arguments)]
        return subprocess.run([*command, "--log", str(folder / "logs" / "job.log")], capture_output=True, text=True)

    return folder, run


def fails(job, expected, name, *arguments):
    """The job stops with a clear message on the terminal and in the log, without a traceback, and leaves nothing."""
    folder, run = job
    before = set(folder.iterdir()) | {folder / "logs"}
    result = run(name, *arguments)
    assert result.returncode == 1
    log = (folder / "logs" / "job.log").read_text()
    for text in (result.stderr, log):
        assert expected in text
        assert "Traceback" not in text
    assert set(folder.iterdir()) <= before


def test_from_the_lattice_to_a_supercell(job):
    folder, run = job
    reference, start, supercell = (folder / f"{name} $1.extxyz" for name in ("reference", "start", "super"))
    settings = ("--settings", json.dumps(STRUCTURE), "--ecutrho-Ry", 160)
    assert run("build_structure", *settings, "--output", reference).returncode == 0
    atoms = read_structure(reference)
    assert len(atoms) == 8
    assert tuple(atoms.info["grid_shape"]) == (36, 30, 27)

    state = ("--structure", reference, "--temperature-K", 298, "--seed", 7)
    assert run("start_dft_md", *state, "--output", start).returncode == 0
    first = start.read_bytes()
    assert run("start_dft_md", *state, "--output", start).returncode == 0
    assert start.read_bytes() == first
    atoms = read_structure(start)
    assert atoms.info["time_fs"] == 0.0
    # twice the temperature of 21 degrees of freedom, by ASE's 24
    assert atoms.get_temperature() == pytest.approx(2 * 298 * 21 / 24, rel=1e-4)

    result = run("build_supercell", "--structure", reference, *supercell_options(2, 2, 2), "--output", supercell)
    assert result.returncode == 0
    assert result.stderr == ""
    atoms = read_structure(supercell)
    assert len(atoms) == 64
    assert tuple(atoms.info["grid_shape"]) == (72, 60, 54)


def supercell_options(*repeat, displacement_A=0.0, stacking_fault_layer=None):
    settings = {"repeat": repeat, "displacement_A": displacement_A, "stacking_fault_layer": stacking_fault_layer}
    return ["--settings", json.dumps(settings), "--crystal", json.dumps(STRUCTURE | {"repeat": [1, 1, 1]})]


def test_displaced_supercell_with_a_stacking_fault(job):
    folder, run = job
    reference = folder / "reference.extxyz"
    run("build_structure", "--settings", json.dumps(STRUCTURE), "--ecutrho-Ry", 160, "--output", reference)
    found = {}
    for name, seed, layer in (("plain", 1, None), ("fault", 1, 3), ("again", 1, 3), ("other", 2, None)):
        options = supercell_options(1, 2, 3, displacement_A=0.03, stacking_fault_layer=layer)
        output = folder / f"{name}.extxyz"
        done = run("build_supercell", "--structure", reference, *options, "--seed", seed, "--output", output)
        assert done.returncode == 0, done.stderr
        found[name] = read_structure(output)
    assert tuple(found["fault"].info["grid_shape"]) == (36, 60, 81)
    assert (found["again"].positions == found["fault"].positions).all()
    ideal = read_structure(reference).repeat((1, 2, 3))
    assert (found["plain"].positions - ideal.positions).std() == pytest.approx(0.03, rel=0.2)
    assert np.abs(found["plain"].positions - found["other"].positions).min() > 0
    crystal = hcp_orthorhombic("Be", STRUCTURE["density_g_cm3"], STRUCTURE["c_over_a"])
    layers = [stacking_sequence(found[name], crystal.cell[0, 0], crystal.cell[2, 2] / 2) for name in ("plain", "fault")]
    assert layers == ["ABABAB", "ABACBC"]


@pytest.fixture
def segments(job):
    """Two segments of 20 frames, 2 fs apart, of uncorrelated motion."""
    folder, _ = job
    generator = np.random.default_rng(1)
    paths = []
    for segment in range(2):
        frames = []
        for number in range(20):
            frame = Atoms("Be2", positions=[[0, 0, 0], [2.2, 0, 0]], cell=[4, 4, 4], pbc=True)
            frame.set_velocities(generator.normal(size=(2, 3)))
            frame.info = {"time_fs": 2.0 * (20 * segment + number + 1), "temperature_K": 300.0}
            frames.append(frame)
        paths.append(folder / f"segment {segment}.extxyz")
        write_structure(paths[-1], frames)
    return paths


def test_from_segments_to_snapshots(job, segments):
    folder, run = job
    trajectory = folder / "a;.extxyz"
    assert run("collect_dft_md", "--segments", *segments, "--output", trajectory).returncode == 0
    assert [frame.info["time_fs"] for frame in read_frames(trajectory)] == [2.0 * n for n in range(1, 41)]
    outputs = [folder / f"a-{number} &.extxyz" for number in range(3)]
    times = ("--equilibration-fs", 20.0, "--time-step-fs", 2.0)
    choice = ("--trajectory", trajectory, *times, "--ecutrho-Ry", 100)
    assert run("select_snapshots", *choice, "--outputs", *outputs).returncode == 0
    snapshots = [read_structure(path) for path in outputs]
    times = [atoms.info["time_fs"] for atoms in snapshots]
    assert times[-1] == 80.0
    assert np.diff(times) == pytest.approx(snapshots[0].info["selection_spacing_fs"])
    assert times[0] >= 20.0
    assert tuple(snapshots[0].info["grid_shape"]) == (25, 25, 25)


def test_segments_out_of_order(job, segments):
    folder, _ = job
    fails(
        job, "expected frames after 80.0 fs, got 2.0 fs", "collect_dft_md", "--segments", *segments[::-1],
        "--output", folder / "a.extxyz",
    )  # fmt: skip


def test_too_few_frames(job, segments):
    folder, _ = job
    fails(
        job, "expected at least 1 frames after 500.0 fs", "select_snapshots", "--trajectory", segments[0],
        "--equilibration-fs", 500.0, "--time-step-fs", 2.0, "--ecutrho-Ry", 160,
        "--outputs", folder / "a-0.extxyz",
    )  # fmt: skip


def test_another_time_step(job, segments):
    folder, _ = job
    fails(
        job, "expected frames 1.0 fs apart, got 2.0 fs", "select_snapshots", "--trajectory", segments[0],
        "--time-step-fs", 1.0, "--ecutrho-Ry", 160,
        "--outputs", folder / "a-0.extxyz",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nBe nan 0 0\n', "NaN"),
        ('2\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nBe 0 0 0\nBe 0 0 0.1\n', "overlap"),
        ("1\n\nBe 0 0 0\n", "cell"),
    ],
)
def test_a_bad_structure_stops_every_job_that_reads_it(job, content, message):
    folder, _ = job
    bad = folder / "bad.extxyz"
    bad.write_text(content)
    output = ("--output", folder / "x.extxyz")
    settings = json.dumps({"file": str(bad)})
    fails(job, message, "build_structure", "--settings", settings, "--ecutrho-Ry", 160, *output)
    fails(job, message, "start_dft_md", "--structure", bad, "--temperature-K", 300, "--seed", 1, *output)
    fails(job, message, "build_supercell", "--structure", bad, *supercell_options(1, 1, 2), *output)


def test_jobs_of_quantum_espresso_say_what_is_missing(job, monkeypatch):
    folder, run = job
    reference = folder / "reference.extxyz"
    run("build_structure", "--settings", json.dumps(STRUCTURE), "--ecutrho-Ry", 160, "--output", reference)
    upf = folder / "Be = 1.upf"
    upf.write_text('<UPF><PP_HEADER element="Be" z_valence="2.0"/></UPF>')
    dft = {
        "ecutwfc_Ry": 40.0,
        "ecutrho_Ry": 160.0,
        "kpoints": [1, 1, 1],
        "kpoints_shift": [0, 0, 0],
        "bands_per_occupied": 2.25,
        "conv_thr_Ry": 1e-9,
    }
    options = (
        "--structure", reference, "--settings", json.dumps(dft), "--temperature-K", 298,
        "--outdir", folder / "scf", "--output-text", folder / "scf.out",
    )  # fmt: skip
    start = folder / "start.extxyz"
    run("start_dft_md", "--structure", reference, "--temperature-K", 298, "--seed", 7, "--output", start)
    md = {key: value for key, value in dft.items() if key not in ("bands_per_occupied", "ecutrho_Ry")}
    md |= {"time_step_fs": 2.0, "steps_per_segment": 3, "thermostat": "svr", "thermostat_time_fs": 20.0}
    md_options = (
        "--start",
        start,
        "--settings",
        json.dumps(md),
        "--temperature-K",
        298,
        "--output",
        folder / "s.extxyz",
    )
    little = ("--pseudopotential", f"Be={upf}", "--memory-MB", 100)
    fails(job, "run_scf: expected to need about 0.2", "run_scf", *options, *little)
    fails(job, "run_dft_md: expected to need about 0.2", "run_dft_md", *md_options, *little)
    fails(
        job,
        "expected a pseudopotential of Al, got one of Be",
        "run_dft_md",
        *md_options,
        "--pseudopotential",
        f"Al={upf}",
    )
    monkeypatch.setenv("PATH", "")
    fails(job, "apt-get install quantum-espresso", "run_scf", *options, "--pseudopotential", f"Be={upf}")
    fails(job, "expected a pseudopotential of Al, got one of Be", "run_scf", *options, "--pseudopotential", f"Al={upf}")


def test_every_script_can_be_imported(repository):
    """What a script takes from the package is there: most rules run in slow tests alone."""
    for path in sorted((repository / "workflow/scripts").glob("*.py")):
        assert callable(importlib.import_module(path.stem).main), path.stem

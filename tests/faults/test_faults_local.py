"""Faults that hit a job while it writes, on one machine: the next run ends with what an undisturbed one ends with."""

import re
import signal
import subprocess

import pytest
from stages import (
    assert_nothing_half,
    assert_same,
    contents,
    environment,
    parts,
    processes_in,
    size_of,
    stop_while_writing,
    wait_until,
)

pytestmark = [pytest.mark.mpi, pytest.mark.qe]

STAGES = [
    "run_dft_md",
    "run_scf",
    "collect_reference",
    "compute_descriptors",
    "train_model",
    "predict_tiles",
    "gather_prediction",
    "compute_energies",
]

#: One of each way to write: Quantum ESPRESSO's folders, blocks, checkpoints, whole files.
QUICK = ["run_scf", "compute_descriptors", "train_model", "compute_energies"]


def writing(job):
    """A function that is true while the job writes: its temporary file is there, or has grown."""
    outputs = job.outputs
    if job.rule == "compute_descriptors":  # a few of the blocks are written
        folder = outputs[0].parent
        return lambda: sum(len(path.read_bytes().splitlines()) for path in folder.glob(".*.partial/done-*")) >= 3
    if job.rule == "train_model":  # a checkpoint is there, and the next one is being written
        checkpoint = outputs[0].parent / "checkpoint.safetensors"
        return lambda: checkpoint.exists() and is_growing(checkpoint)
    if job.rule.startswith("run_"):  # Quantum ESPRESSO's files grow
        return lambda: any(size_of(path) > 200_000 for path in parts(*outputs))
    return lambda: is_growing(*outputs)


def is_growing(*targets):
    """True while a temporary file of the targets has content and no name of its own yet."""
    return any(size_of(path) > 0 for path in parts(*targets) if ".part-" in path.name)


@pytest.mark.parametrize("rule", STAGES)
def test_killed_while_it_writes(chain, tmp_path, rule):
    job, expected = chain[rule].writing_to(tmp_path), contents(chain[rule].outputs)
    # ranks may end what they write before they learn that their launcher is gone
    stop_while_writing(job, writing(job), signal.SIGKILL, whole_group=job.words[0] == "mpiexec")
    assert_nothing_half(job, expected)
    assert parts(*job.outputs), "nothing was half done: the signal came between two files"
    wait_until(lambda: not processes_in(tmp_path), "the programs to end with their job")
    job.forget_outputs()
    job.run()
    assert_same(contents(job.outputs), expected)
    assert not parts(*job.outputs)
    if rule == "compute_descriptors":
        done, blocks = re.search(r"(\d+) of (\d+) blocks are there from an earlier run", job.log.read_text()).groups()
        assert 3 <= int(done) < int(blocks)
    if rule == "train_model":
        assert int(re.search(r"resumed from \S+ after epoch (\d+)", job.log.read_text())[1]) >= 1


@pytest.mark.parametrize("rule", ["run_scf", "collect_reference", "compute_descriptors", "train_model"])
def test_told_to_stop_while_it_writes(chain, tmp_path, rule):
    """SIGTERM, as Slurm sends at the time limit, to all processes: no temporary file is left."""
    job, expected = chain[rule].writing_to(tmp_path), contents(chain[rule].outputs)
    messages = stop_while_writing(job, writing(job), signal.SIGTERM, whole_group=True)
    if rule == "collect_reference" and all(path.exists() for path in job.outputs):  # told inside HDF5, it ended well
        assert_same(contents(job.outputs), expected)
        assert not parts(*job.outputs)
        return
    assert "stopped from outside" in messages
    assert "Traceback" not in messages
    assert_nothing_half(job, expected)
    assert not [path for path in parts(*job.outputs) if not path.name.endswith((".partial", ".tiles"))]
    job.forget_outputs()
    job.run()
    assert_same(contents(job.outputs), expected)


@pytest.mark.parametrize(
    "rule", [rule if rule in QUICK else pytest.param(rule, marks=pytest.mark.stress) for rule in STAGES]
)
def test_full_disk(chain, rule, small_disk):
    expected = contents(chain[rule].outputs)
    needed = sum(size_of(path) for path in chain[rule].outputs)
    disk = small_disk(1 << 30)
    job = chain[rule].writing_to(disk)
    # room for the first half of what it writes, at most
    small_disk(max(needed // 2 // 4096, 1) * 4096)
    if needed < 8192:
        (disk / "ballast").write_bytes(b"0" * 4096)
    messages = job.run(fails=True)
    assert re.search(r"full \(0\.\d MiB free\)|No space left on device \(\d\.\d MiB free\)\. Free space on", messages)
    assert str(disk) in messages
    # on the terminal h5py complains of the file that it cannot close
    assert "Traceback" not in job.log.read_text()
    assert_nothing_half(job, expected)
    assert not [path for path in parts(*job.outputs) if not path.name.endswith((".partial", ".tiles"))]
    small_disk(1 << 30)
    job.forget_outputs()
    job.run()
    assert_same(contents(job.outputs), expected)


@pytest.mark.parametrize("rule", QUICK)
def test_read_only_folder(chain, rule, small_disk):
    disk, expected = small_disk(1 << 30), contents(chain[rule].outputs)
    job = chain[rule].writing_to(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    messages = job.run(fails=True)
    assert re.search(rf"{disk}\S*: expected to write this file, got: Read-only file system\..*run again", messages)
    assert "Traceback" not in messages
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    job.run()
    assert_same(contents(job.outputs), expected)


def test_log_that_cannot_be_written_is_one_message(chain, small_disk):
    disk = small_disk(1 << 20)
    job = chain["build_structure"]
    log = str(disk / "logs" / "job.log")
    words = [*job.words]
    words[words.index("--log") + 1] = log
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = subprocess.run(words, cwd=job.folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{log}: expected to write this file, got: Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr

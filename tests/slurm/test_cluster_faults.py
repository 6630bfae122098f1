"""Faults on the cluster, each while a training writes its checkpoints: the study ends as an undisturbed one does."""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.numpy
from chain import Workflow
from cluster import Cluster, wait_for

from nearsight.files import read_json

pytestmark = [pytest.mark.slurm, pytest.mark.mpi, pytest.mark.qe]

MODEL = "results/small/model/model.json"


class Training:
    """A finished study whose model is made again, and the training that makes it."""

    def __init__(self, workflow, finished, cluster) -> None:
        self.workflow, self.finished, self.cluster = workflow, finished, cluster
        self.folder = workflow.results / "model"
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.forget()

    def forget(self) -> None:
        """Remove the model, and begin to count jobs anew."""
        for path in self.folder.iterdir():
            path.unlink()
        self.last = max(int(job["id"]) for job in self.cluster.jobs())

    def jobs(self) -> list[dict[str, str]]:
        """The cluster's jobs since the fault was prepared."""
        return [job for job in self.cluster.jobs() if int(job["id"]) > self.last]

    def wait_until_it_writes(self) -> None:
        """Return while a checkpoint after the first one is being written: its temporary file is there."""
        wait_for(
            lambda: self.checkpoint.exists() and self.is_writing(),
            240,
            "the training to write a checkpoint",
            lambda: self.workflow.log.read_text()[-3000:],
            step=0.001,
        )

    def is_writing(self) -> bool:
        """True while a checkpoint's temporary file has content and no name of its own yet."""
        for path in self.folder.glob(".checkpoint.part-*"):
            with suppress(FileNotFoundError):
                return path.stat().st_size > 0
        return False

    def processes(self) -> list[int]:
        """The processes that train here."""
        return [int(path.parent.name) for path in Path("/proc").glob("*/cmdline") if is_training(path, self.checkpoint)]

    def log(self) -> str:
        """The log of the last attempt."""
        return (self.workflow.results / "logs/train_model/model.log").read_text()

    def check_model(self) -> None:
        """Assert that the model is the one of the undisturbed run, and that nothing else is left."""
        found = safetensors.numpy.load_file(self.folder / "model.safetensors")
        expected = safetensors.numpy.load_file(self.finished.results / "model/model.safetensors")
        assert found.keys() == expected.keys()
        assert all((found[name] == expected[name]).all() for name in expected)
        assert {path.name for path in self.folder.iterdir()} == {"model.json", "model.safetensors", "history.csv"}
        epochs = (self.folder / "history.csv").read_text().splitlines()[1:]
        assert [int(line.partition(",")[0]) for line in epochs] == list(range(1, 101))

    def check_resumed(self) -> None:
        """Assert that the last attempt went on from a checkpoint, so that no finished epoch was repeated."""
        assert int(re.search(r"resumed from \S+ after epoch (\d+)", self.log())[1]) >= 1


@pytest.fixture
def training(workflow, finished, cluster) -> Training:
    return Training(workflow, finished, cluster)


def test_killed_job_is_run_again(training, cluster):
    snakemake = training.workflow.start(MODEL)
    training.wait_until_it_writes()
    (job,) = training.jobs()
    cluster.ask("scancel", "--full", "--signal=KILL", job["id"])
    output = training.workflow.finish(snakemake)
    assert "Trying to restart job" in output
    first, second = training.jobs()
    assert (first["state"], second["state"]) == ("CANCELLED", "COMPLETED")
    assert (megabytes(second), minutes(second)) == (2 * megabytes(first), 2 * minutes(first))  # it grows
    training.check_resumed()
    training.check_model()


def test_snakemake_killed_and_started_again(training, cluster):
    """Its job goes on in the queue and is cancelled by hand, as docs/cluster.md says."""
    snakemake = training.workflow.start(MODEL)
    training.wait_until_it_writes()
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    (job,) = training.jobs()
    assert job["state"] == "RUNNING"
    cluster.ask("scancel", job["id"])
    assert "--unlock" in training.workflow.run(MODEL, fails=True)
    training.workflow.run("--unlock")
    training.workflow.run(MODEL)
    assert [job["comment"] for job in training.jobs()] == ["rule_train_model"] * 2  # nothing that was finished
    assert [job["state"] for job in training.jobs()] == ["CANCELLED", "COMPLETED"]
    training.check_resumed()
    training.check_model()


def test_two_snakemakes_on_one_directory(training):
    first = training.workflow.start(MODEL)
    training.wait_until_it_writes()
    before = len(training.jobs())
    output = training.workflow.run(MODEL, fails=True)
    assert "Directory cannot be locked" in output
    assert "no other Snakemake process is trying to create the same files" in output
    assert len(training.jobs()) == before == 1
    training.workflow.finish(first)
    training.check_model()


def test_node_drained_and_resumed(training, cluster):
    plan = "results/small/predictions/b-0/plan.json"
    (training.workflow.folder / plan).unlink()
    snakemake = training.workflow.start(plan)
    training.wait_until_it_writes()
    cluster.ask("scontrol", "update", f"NodeName={cluster.host}", "State=DRAIN", "Reason=test")
    try:
        wait_for(lambda: len(training.jobs()) == 2, 180, "the job after the training", cluster.logs)
        assert cluster.node_state() == "IDLE+DRAIN"
        time.sleep(3)
        assert [job["state"] for job in training.jobs()] == ["COMPLETED", "PENDING"]
    finally:
        cluster.ask("scontrol", "update", f"NodeName={cluster.host}", "State=RESUME")
    training.workflow.finish(snakemake)
    assert [job["state"] for job in training.jobs()] == ["COMPLETED"] * 2
    training.check_model()


@pytest.mark.stress
def test_job_past_its_time_limit(training, cluster):
    """One minute at first, then two: Slurm's clock has no finer step, and looks every half minute."""
    snakemake = training.workflow.start(MODEL, "--set-resources", "train_model:runtime=attempt")
    training.wait_until_it_writes()
    (pid,) = training.processes()
    os.kill(pid, signal.SIGSTOP)  # in the midst of writing: slower than it was thought to be
    wait_for(lambda: training.jobs()[0]["state"] == "TIMEOUT", 180, "the time limit", cluster.logs)
    output = training.workflow.finish(snakemake)
    assert "Trying to restart job" in output
    first, second = training.jobs()
    assert (minutes(first), minutes(second)) == (1, 2)
    training.check_resumed()
    training.check_model()


#: Imported by Python at its start (as sitecustomize): once, while a training writes a checkpoint after the first one,
#: it takes more memory than the job has. PyDLL's functions keep Python's lock, so that the training stands still in
#: its write from the moment that the temporary file was seen until Slurm kills it.
GLUTTON = """
import ctypes, os, sys, threading, time
from pathlib import Path

C, MEBIBYTES, TAKEN = ctypes.PyDLL(None), {mebibytes}, {taken!r}

def take_memory(folder):
    while True:
        for path in folder.glob(".checkpoint.part-*") if (folder / "checkpoint.safetensors").exists() else ():
            try:
                if path.stat().st_size == 0:
                    continue
            except FileNotFoundError:
                continue
            C.usleep(100_000)  # a renaming that has begun ends in this time; after it, none begins
            if C.access(os.fsencode(path), 0) == 0:
                C.creat(os.fsencode(TAKEN), 0o600)
                taken = b"x" * (MEBIBYTES << 20)
                C.sleep(60)
        time.sleep(0.0005)

if any(word.endswith("train_model.py") for word in sys.orig_argv) and not os.path.exists(TAKEN):
    folder = Path(sys.orig_argv[sys.orig_argv.index("--checkpoint") + 1]).parent
    threading.Thread(target=take_memory, args=[folder], daemon=True).start()
"""


def test_out_of_memory_once(training, cluster, tmp_path):
    """A training with 1,000 MB takes 1,000 MiB more than it needs, in the midst of a write; then it has 2,000 MB."""
    taken, folder = tmp_path / "taken", tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(GLUTTON.format(mebibytes=1000, taken=str(taken)))
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    training.workflow.environment = {**training.workflow.environment, "PYTHONPATH": path}
    snakemake = training.workflow.start(MODEL, "--set-resources", "train_model:mem_mb=attempt*1000")
    wait_for(taken.exists, 240, "the training to write", lambda: training.workflow.log.read_text()[-3000:], step=0.001)
    assert training.is_writing()
    output = training.workflow.finish(snakemake)
    assert "Trying to restart job" in output
    first, last = training.jobs()
    assert f"StepId={first['id']}.0 exceeded memory limit" in (cluster.folder / "slurmd.log").read_text()
    assert (first["state"] != "COMPLETED", last["state"]) == (True, "COMPLETED")
    assert (megabytes(first), megabytes(last)) == (1000, 2000)
    training.check_resumed()
    training.check_model()


@pytest.mark.stress
@pytest.mark.parametrize(("late_s", "wait_s"), [(300, 1), (10, 60)])
def test_files_that_appear_late(finished, repository, tmp_path, late_s, wait_s):
    """The login node knows for so long that a file is not there, as NFS does; the compute node has it at once.

    A wait of a second is too short, the profile's minute is not.
    """
    server, seen = tmp_path / "server", tmp_path / "work"
    shutil.copytree(finished.folder, server, symlinks=True)
    seen.mkdir()
    late = f"attr_timeout={late_s},entry_timeout={late_s},negative_timeout={late_s}"
    done = subprocess.run(["bindfs", "-o", late, str(server), str(seen)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a slow disk here: {done.stderr.strip()}")
    bind = 'mount --bind "$0" "$1" && shift && exec "$@"'
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster", ["unshare", "--mount", "sh", "-c", bind, str(server), str(seen)])
    target = Path("results/small/energies/prediction/b-0.json")
    try:
        cluster.start()
        workflow = Workflow(seen, repository, cluster.environment)
        (server / target).unlink()
        snakemake = workflow.start(str(target), "--latency-wait", str(wait_s), "--retries", "0")
        wait_for(
            lambda: any((server / target.parent).glob(".b-0.part-*")) or (server / target).exists(),
            180,
            "the job to write",
            step=0.001,
        )
        assert not (seen / target).exists()
        output = workflow.finish(snakemake, fails=wait_s < late_s)
        assert ("MissingOutputException" in output) == (wait_s < late_s)
        assert [job["state"] for job in cluster.jobs()] == ["COMPLETED"]
        assert_same_energies(server / target, finished.folder / target)
    finally:
        cluster.stop()
        subprocess.run(["umount", "--lazy", str(seen)], check=True)


def assert_same_energies(found: Path, expected: Path) -> None:
    assert read_json(found)["energies_eV"] == read_json(expected)["energies_eV"]


def is_training(command: Path, checkpoint: Path) -> bool:
    """True for the process that writes this checkpoint, and not for the shell around it."""
    try:
        words = command.read_bytes().split(b"\0")
        folder = Path(os.readlink(command.parent / "cwd"))
    except OSError:
        return False
    return words[0].endswith(b"python") and b"--checkpoint" in words and checkpoint.is_relative_to(folder)


def megabytes(job: dict[str, str]) -> int:
    """Memory that a job asked for."""
    return int(job["memory"].removesuffix("M"))


def minutes(job: dict[str, str]) -> int:
    """Time limit of a job; squeue writes [days-][hours:]minutes:seconds."""
    days, _, rest = job["limit"].rpartition("-")
    hours, minutes, _ = ([0, 0, *map(int, rest.split(":"))])[-3:]
    return 24 * 60 * int(days or 0) + 60 * hours + minutes

"""The stages of the small chain as command lines of their own, watched while they write, and their results compared."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import safetensors.numpy

#: Keys of JSON files that tell when and how long, not what.
CIRCUMSTANCES = ("provenance", "training", "content_sha256")


@dataclass(frozen=True)
class Job:
    """One command of the workflow, run by hand in `folder`."""

    rule: str
    words: tuple[str, ...]
    folder: Path

    @property
    def outputs(self) -> list[Path]:
        """The files that Snakemake knows of and removes before it runs the job again."""
        options = ("--output", "--outdir", "--output-text", "--weights", "--bundle", "--history", "--observables")
        if self.rule == "train_model":
            options = ("--weights", "--bundle", "--history")
        elif self.rule != "compute_energies":
            options = tuple(option for option in options if option not in ("--weights", "--bundle"))
        return [self.folder / self.words[self.words.index(option) + 1] for option in options if option in self.words]

    @property
    def log(self) -> Path:
        """The job's log."""
        return self.folder / self.words[self.words.index("--log") + 1]

    def writing_to(self, folder: Path) -> "Job":
        """The same job with its outputs (and its checkpoint) in another folder."""
        moved = {str(path.relative_to(self.folder)): str(folder / path.name) for path in self.outputs}
        if "--checkpoint" in self.words:
            checkpoint = self.words[self.words.index("--checkpoint") + 1]
            moved[checkpoint] = str(folder / Path(checkpoint).name)
        return replace(self, words=tuple(moved.get(word, word) for word in self.words))

    def start(self) -> subprocess.Popen:
        """The job in a process group of its own."""
        with open(self.messages, "wb") as messages:
            return subprocess.Popen(
                self.words,
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,
            )

    @property
    def messages(self) -> Path:
        """What the job said on the terminal."""
        return self.folder / "messages.txt"

    def run(self, *, fails: bool = False) -> str:
        """The job from start to end; asserts that it succeeds, or fails where that is expected. Its messages."""
        status = self.start().wait(300)
        messages = self.messages.read_text(encoding="utf-8", errors="replace")
        assert (status != 0) == fails, f"{shlex.join(self.words)}\n{messages}"
        return messages

    def forget_outputs(self) -> None:
        """Remove the outputs, as Snakemake does before it runs a job again."""
        for path in self.outputs:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """What the Snakefile gives its jobs."""
    repository = Path(__file__).resolve().parents[2]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(repository / "workflow"),
    }


def read_jobs(folder: Path, snakefile: Path, *targets: str) -> list[Job]:
    """The jobs of a dry run that makes the targets from nothing, in an order in which they can run."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(snakefile), "--configfile", "study.yaml",
         "--dry-run", "--printshellcmds", "--forceall", "--nocolor"],
        cwd=folder, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = []
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"Shell command: ((?:mpiexec .*)?python \S*/(\w+)\.py .*)", line):
            jobs.append(Job(match[2], tuple(shlex.split(match[1])), folder))
    assert jobs
    return jobs


# ---------------------------------------------------------------------------------------------- while it writes


def stop_while_writing(
    job: Job, is_writing: Callable[[], object], number: int = signal.SIGKILL, *, whole_group: bool = False
) -> str:
    """Send the signal to the running job while `is_writing()` is true; assert that it was. Its messages.

    whole_group: to all its processes, as Slurm does; else to the first alone, as the kernel out of memory does.
    """
    for _ in range(20):  # a small file may come and go between two looks
        process = job.start()
        try:
            if _held_while_writing(process, is_writing):
                family = _family(process.pid)
                _send(number, family if whole_group else [process.pid])
                _send(signal.SIGCONT, family)
                process.wait(60)
                # HDF5 does not pass Python's exceptions on: told to stop inside it, a job ends well
                if number == signal.SIGKILL:
                    assert process.returncode != 0, f"{job.rule} ended well in spite of the signal"
                return job.messages.read_text()
        finally:
            if process.poll() is None:
                _send(signal.SIGKILL, _family(process.pid))
                process.wait()
        assert process.returncode == 0, f"{job.rule} ended before it was seen to write: {job.messages.read_text()}"
        job.forget_outputs()
    raise AssertionError(f"{job.rule} was never seen to write")


def _held_while_writing(process: subprocess.Popen, is_writing: Callable[[], object]) -> bool:
    """Stop the process (SIGSTOP) when it writes, and look again so that it is true; False where it ends before."""
    deadline = time.monotonic() + 900
    while process.poll() is None:
        assert time.monotonic() < deadline, "the job neither writes nor ends"
        if not is_writing():
            continue
        # a launcher's ranks are in process groups of their own
        while running := [number for number in _family(process.pid) if _is_running(number)]:
            _send(signal.SIGSTOP, running)
        if is_writing():
            return True
        _send(signal.SIGCONT, _family(process.pid))
    return False


def _family(number: int) -> list[int]:
    """Numbers of a process and all that descend from it, the launcher's ranks too."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _status(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [number]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _send(number: int, processes: Iterable[int]) -> None:
    """Send a signal to processes, some of which may have ended."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _is_running(number: int) -> bool:
    """True until the process is stopped, or gone."""
    fields = _status(number)
    return bool(fields) and fields[0] not in "TZX"


def _status(number: int) -> list[str]:
    """State, parent, process group and so on of a process; nothing where it is gone."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def parts(*targets: Path) -> list[Path]:
    """The temporary files and folders beside the targets, and those of unfinished tiles one folder deeper."""
    found = []
    for folder in {target.parent for target in targets}:
        for pattern in (".*.part-*", ".*.scratch-*", ".*.partial", ".*.tiles", ".*.tiles/.*.part-*"):
            found += folder.glob(pattern)
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for one that has just gone."""
    try:
        if path.is_dir():
            return sum(size_of(Path(entry.path)) for entry in os.scandir(path))
        return path.stat().st_size
    except OSError:
        return 0


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Return when the condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def processes_in(folder: Path) -> list[int]:
    """Numbers of the processes whose working directory is in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if Path(os.readlink(entry / "cwd").removesuffix(" (deleted)")).is_relative_to(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


# ------------------------------------------------------------------------------------------------- comparison


def contents(paths: Iterable[Path]) -> dict[str, object]:
    """All numbers of results, by name: of HDF5, JSON, safetensors and text files, and of folders of them."""
    found: dict[str, object] = {}
    for path in paths:
        assert path.exists(), f"{path}: expected, not found"
        if path.is_dir():
            # Quantum ESPRESSO's XML and outputs tell dates and times
            files = [file for file in sorted(path.rglob("*")) if file.suffix in (".cube", ".dat")]
            assert files
            found |= {f"{path.name}/{name}": value for name, value in contents(files).items()}
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                names = [name for name in file if isinstance(file[name], h5py.Dataset)]
                found |= {f"{path.name}:{name}": file[name][()] for name in names}
        elif path.suffix == ".json":
            content = json.loads(path.read_text())
            found |= {f"{path.name}:{name}": content[name] for name in content if name not in CIRCUMSTANCES}
        elif path.suffix == ".safetensors":
            found |= {f"{path.name}:{name}": value for name, value in safetensors.numpy.load_file(path).items()}
        elif path.suffix == ".csv":
            found[path.name] = [line.rpartition(",")[0] for line in path.read_text().splitlines()]  # without seconds
        elif path.name == "scf.out":
            found[path.name] = re.findall(r"^!.*", path.read_text(), re.MULTILINE)
        else:
            found[path.name] = path.read_bytes()
    return found


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    """Assert that two sets of results are the same to the last bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert found[name] == value, name


def assert_nothing_half(job: Job, expected: dict[str, object]) -> None:
    """Assert that not all outputs are there, and that those that are there are whole.

    Apart from history.csv, the training's diary, which is whole after every epoch.
    """
    present = [path for path in job.outputs if path.exists() and path.name != "history.csv"]
    assert len(present) < len(job.outputs)
    found = contents(present)
    assert_same(found, {name: expected[name] for name in found})

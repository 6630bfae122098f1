"""Quantum ESPRESSO's programs: started, watched, and checked at their end."""

import ctypes
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import BinaryIO

from nearsight.errors import InputError, MissingProgramError, NearsightError, raise_if_stopped
from nearsight.reference.espresso.blas import blas_environment

logger = logging.getLogger("nearsight")

#: What installs Quantum ESPRESSO, named in every error about a missing program.
INSTALL_ESPRESSO = (
    "install it: `apt-get install quantum-espresso`, or `conda install -c conda-forge qe`, and put it on the PATH."
)
INSTALL_LAUNCHER = (
    "install it: `apt-get install openmpi-bin`, or `conda install -c conda-forge openmpi`; "
    "or name another launcher in the configuration, dft.launcher."
)

#: One thread per rank, because a threaded BLAS would multiply with the ranks; and waiting ranks of Open MPI yield their
#: core, because on a busy machine a rank that spins keeps the one it waits for from running. And OpenBLAS 0.3.21
#: (zgemv_n of Haswell, which Zen has too) reads beyond the end of a matrix: at the end of the heap that is a
#: segmentation fault, in every third run of pw.x on four atoms; with 64 MiB more there, never touched, in none of 24.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "MALLOC_TOP_PAD_": str(64 << 20),
}

#: What tells a program that a cluster started it as one rank of several. A program that we start ourselves, without a
#: launcher, must not see it: Open MPI would look for the others and stop.
CLUSTER_VARIABLES = ("SLURM_", "PMI_", "PMIX_")

#: Lines of a failed program's output that go to the log.
TAIL_LINES = 40

#: A disk with less space than this is taken for the cause of a failure.
LITTLE_SPACE_BYTES = 1 << 20

#: Share of the time for which a pool may wait for the one with most k-points.
LARGEST_IDLE = 0.2

#: Seconds that a program gets to end its ranks after SIGTERM.
GRACE_S = 10.0

#: Seconds in which a signal to the whole group reaches this process too, before a program's failure is judged.
HEARD_S = 1.0


class ProgramError(NearsightError):
    """A program of Quantum ESPRESSO that stopped with an error."""


@dataclass(frozen=True)
class Launch:
    """How programs are started: `launcher` as one string, split like a shell would, and the number of ranks.

    One rank needs no launcher and gets none. pools: groups of ranks among which pw.x shares out the k-points, which
    scales better than sharing out plane waves.
    """

    launcher: str = ""
    ranks: int = 1
    pools: int = 1

    def in_pools(self, kpoints: Sequence[int], shift: Sequence[int]) -> "Launch":
        """The same for a run of pw.x on a grid of k-points."""
        return replace(self, pools=choose_pools(self.ranks, count_kpoints(kpoints, shift)))

    def command(self, program: str) -> list[str]:
        """Full command of `program`; every part is found first. Raises MissingProgramError or InputError."""
        if self.ranks < 1:
            raise InputError(f"ranks: expected a whole number of at least 1, got {self.ranks}.")
        if shutil.which(program) is None:
            raise MissingProgramError(
                f"{program}: program of Quantum ESPRESSO not found on the PATH; {INSTALL_ESPRESSO}"
            )
        if self.ranks == 1:
            return [program]  # inside a cluster job a launcher would wait for slots of its own
        words = shlex.split(self.launcher)
        if not words:
            raise InputError(
                f"dft.launcher: expected a launcher for {self.ranks} ranks, got an empty one. "
                "Name one, for example `mpirun.openmpi --bind-to none`."
            )
        if shutil.which(words[0]) is None:
            raise MissingProgramError(f"{words[0]}: launcher of MPI programs not found on the PATH; {INSTALL_LAUNCHER}")
        if os.geteuid() == 0 and _is_open_mpi(words[0]) and "--allow-run-as-root" not in words:
            words.append("--allow-run-as-root")  # Open MPI refuses root without it; containers have no other user
        return [*words, "-n", str(self.ranks), program]


def count_kpoints(kpoints: Sequence[int], shift: Sequence[int]) -> int:
    """Points of a grid without symmetry, k and -k counted once; shift: 1 on an axis that is shifted by half a step."""
    opposite_to_themselves = prod((n % 2) if moved else 2 - n % 2 for n, moved in zip(kpoints, shift, strict=True))
    return (prod(kpoints) + opposite_to_themselves) // 2


def choose_pools(ranks: int, kpoints: int) -> int:
    """The most pools of equal size that keep all ranks busy to within `LARGEST_IDLE`."""
    divisors = [n for n in range(1, min(ranks, kpoints) + 1) if ranks % n == 0]
    return max(n for n in divisors if ceil(kpoints / n) * n <= kpoints / (1 - LARGEST_IDLE))


def run_program(
    program: str,
    input_text: str,
    folder: Path,
    launch: Launch,
    name: str,
    explain: Callable[[str], None] | None = None,
) -> str:
    """Run one program in `folder` and return its output, which is also in `folder`/`name`.out.

    input_text: written to `name`.in. All names inside should be relative to `folder`: Fortran limits the length of
    names, and quotes and blanks in a path would need care. explain: called with the output of a run before its exit
    status is judged, to raise an error that says more. Raises Stopped where it was told to stop, MissingProgramError,
    InputError for fewer ranks than promised, and ProgramError for all else.
    """
    command = [*launch.command(program), *(["-nk", str(launch.pools)] if launch.pools > 1 else []), "-in", f"{name}.in"]
    (folder / f"{name}.in").write_text(input_text, encoding="utf-8")
    output_path = folder / f"{name}.out"
    logger.info("running %s (%d ranks)", program, launch.ranks)
    with open(output_path, "wb") as output:
        status = _run(program, command, folder, output, launch)
    text = output_path.read_text(encoding="utf-8", errors="replace")
    crash = folder / "CRASH"
    # ld1.x has no such line; its caller checks its product
    complete = program == "ld1.x" or "JOB DONE" in text
    failed = status != 0 or crash.exists() or not complete
    if failed and not crash.exists():
        raise_if_stopped(status, text)
        time.sleep(HEARD_S)  # Open MPI's mpirun, told to stop, exits with 1 and without a word
    _check_ranks(text, program, launch)
    if explain is not None:
        explain(text)
    if failed:
        logger.info("the last lines of %s:\n%s", program, "\n".join(text.splitlines()[-TAIL_LINES:]))
        raise ProgramError(
            f"{program}: expected exit status 0 and the line 'JOB DONE', got exit status {status}"
            f"{'' if complete else ' without that line'}. "
            f"{_reason(crash, text)}{_full_disk(folder)} The end of its output is in the job's log."
        )
    return text


def _run(program: str, command: list[str], folder: Path, output: BinaryIO, launch: Launch) -> int:
    """Exit status of the command; it never outlives this process, whatever ends that."""
    blas = blas_environment(program) if program != "ld1.x" else {}  # that one takes a second
    environment = {**os.environ, **ENVIRONMENT, **blas}
    if launch.ranks == 1:
        environment = {key: value for key, value in environment.items() if not key.startswith(CLUSTER_VARIABLES)}
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    ) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # a launcher then ends its ranks; after SIGKILL they would go on
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent dies, even by SIGKILL: else pw.x would go on and write."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def version_of(text: str) -> str:
    """Version of Quantum ESPRESSO in the first lines of an output, or 'unknown'."""
    match = re.search(r"Program \w+ v\.?\s*(\S+) starts", text)
    return match.group(1) if match else "unknown"


def ranks_of(text: str) -> int | None:
    """Number of MPI processes that an output reports; None where it does not say.

    Versions differ: "running on N processors", "running on N processor cores" followed by
    "Number of MPI processes: M" when built with OpenMP, "Serial version".
    """
    # no number of thousands of digits, which Python does not convert (fuzzing found it)
    match = re.search(r"Number of MPI processes:\s*(\d{1,9})\b", text) or re.search(
        r"running on\s+(\d{1,9})\s+processor", text
    )
    if match:
        return int(match.group(1))
    return 1 if "Serial version" in text or "Serial multi-threaded version" in text else None


def _check_ranks(text: str, program: str, launch: Launch) -> None:
    ranks = ranks_of(text)
    if ranks is not None and ranks != launch.ranks:
        raise InputError(
            f"{program}: expected {launch.ranks} MPI ranks, as promised, got {ranks} "
            f"with the launcher '{launch.launcher}'. "
            "Use the launcher of the MPI library that Quantum ESPRESSO was built with (dft.launcher)."
        )


def _reason(crash: Path, text: str) -> str:
    """The message of QE's CRASH file in one line, or the message of Fortran or MPI."""
    source = crash.read_text(encoding="utf-8", errors="replace") if crash.exists() else text
    parts = re.split(r"%{20,}", source, maxsplit=2)
    if len(parts) == 3:
        return "It says: " + " ".join(parts[1].split()) + "."
    lines = [line.strip() for line in text.splitlines() if re.search(r"error|not enough slots", line, re.IGNORECASE)]
    return f"It says: {lines[0]}." if lines else "It gives no reason."


def _full_disk(folder: Path) -> str:
    """What to do where the run's disk is full: Fortran's own message names neither disk nor reason."""
    free = shutil.disk_usage(folder).free
    if free > LITTLE_SPACE_BYTES:
        return ""
    return f" The disk of {folder.parent} is full ({free / 2**20:.1f} MiB free): free space on it, then run again."


def _is_open_mpi(launcher: str) -> bool:
    """True for Open MPI's mpirun, whatever its name; other launchers do not know its options."""
    name = Path(launcher).name
    if name.endswith(".openmpi"):
        return True
    if name not in ("mpirun", "mpiexec", "orterun"):
        return False
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    return "Open MPI" in version.stdout or "OpenRTE" in version.stdout

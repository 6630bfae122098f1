"""A job over several ranks: the promised number, and one message on an error."""

import argparse
import fcntl
import logging
import os
import stat
import sys
import termios
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from nearsight.errors import InputError, MissingProgramError, NearsightError, Stopped
from nearsight.jobs import run_job

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

Result = TypeVar("Result")

#: Seconds that an ending rank waits for mpiexec to read its last words: ample even on a busy machine.
FORWARDED_S = 10.0

INSTALL = "Install it with `pip install mpi4py mpich`, or with `conda install -c conda-forge mpi4py mpich`."


def world() -> "Comm":
    """All ranks of this job. Raises MissingProgramError where mpi4py or its MPI library is missing."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MissingProgramError(f"mpi4py with an MPI library: expected, not found ({error}). {INSTALL}") from error
    return MPI.COMM_WORLD


def alone() -> "Comm":
    """This process as the only rank. Raises MissingProgramError as `world` does."""
    world()
    from mpi4py import MPI

    return MPI.COMM_SELF


def check_ranks(comm: "Comm", promised: int) -> None:
    """Raise InputError unless the job runs on the promised number of ranks."""
    if comm.size < promised:
        raise InputError(
            f"--ranks: expected {promised} MPI ranks, this process sees {comm.size} (fewer ranks than promised). "
            f"Start the job with `mpiexec -n {promised}` of the same MPI library as mpi4py's (the wheel mpich), "
            f"under Slurm with `srun --mpi=pmi2 -n {promised}`; without PMI each process runs alone."
        )
    if comm.size > promised:
        raise InputError(f"--ranks: expected {promised} MPI ranks, got {comm.size}. Start as many as are promised.")


def on_rank_0(comm: "Comm | None", function: Callable[[], Result]) -> Result:
    """Call `function` on rank 0 alone and give every rank its result, for reading files (None: one process).

    A NearsightError is raised on rank 0; the other ranks leave without a message of their own.
    """
    if comm is None:
        return function()
    result, error = None, None
    if comm.rank == 0:
        try:
            result = function()
        except NearsightError as raised:
            error = raised
    failed = comm.bcast(error is not None, root=0)
    if failed:
        if error is not None:
            raise error
        sys.exit(1)
    return comm.bcast(result, root=0)


def on_first_ranks(comm: "Comm | None", count: int, function: Callable[["Comm | None"], Result]) -> Result:
    """Call `function` on the first `count` ranks with their communicator, and give every rank rank 0's result.

    For work that cannot be cut into as many parts as there are ranks. A NearsightError that all of them meet is raised
    on all ranks.
    """
    if comm is None or comm.size <= count:
        return function(comm)
    busy = comm.rank < count
    part = comm.Split(0 if busy else 1, comm.rank)
    outcome: Result | NearsightError | None = None
    try:
        if busy:
            outcome = function(part)
    except NearsightError as error:
        outcome = error
    finally:
        part.Free()
    outcome = comm.bcast(outcome, root=0)
    if isinstance(outcome, NearsightError):
        raise outcome
    return outcome


def abort(comm: "Comm", status: int) -> None:
    """End all ranks with this exit status, once mpiexec has taken what was said on standard error.

    MPI_Abort ends mpiexec's helpers too, and what a rank has just written goes with them where it still lies in the
    pipe.
    """
    sys.stderr.flush()
    end = time.monotonic() + FORWARDED_S
    while _in_pipe(2) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)  # read from the pipe, and on its way to mpiexec
    comm.Abort(status)


def _in_pipe(descriptor: int) -> int:
    """Bytes that were written to a pipe and not read yet; 0 for anything but an open pipe."""
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return 0
        return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def run_parallel_job(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> None:
    """`jobs.run_job` for MPI: rank 0 logs, and an error on one rank stops all of them, with one message."""
    try:
        comm = world()
    except MissingProgramError as error:
        missing = error

        def report(_: argparse.Namespace) -> NoReturn:
            raise missing

        run_job(report, arguments)
        return
    if comm.size == 1:
        run_job(main, arguments)
        return
    log = arguments.log
    if comm.rank > 0:
        arguments.log = None

    def guarded(arguments: argparse.Namespace) -> None:
        try:
            main(arguments)
        except (Exception, Stopped) as error:
            if comm.rank > 0:
                time.sleep(2.0)  # where all ranks meet the same error, rank 0 reports it for all
            text = str(error) if isinstance(error, NearsightError | Stopped) else traceback.format_exc()
            message = f"rank {comm.rank} of {comm.size}: {text}"
            logger.error("%s", message)
            if comm.rank > 0 and log is not None:
                with open(log, "a", encoding="utf-8") as handle:
                    handle.write(f"ERROR {message}\n")
            logging.shutdown()
            abort(comm, error.status if isinstance(error, Stopped) else 1)

    run_job(guarded, arguments)

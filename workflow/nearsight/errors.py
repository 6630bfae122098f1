"""The errors that a user can act upon.

Every message says what was expected, what was found and what to do, with the file, key and unit.
"""

import re
import signal

#: Signals that tell a process to stop, and who sends them.
STOPS = {signal.SIGTERM: "SIGTERM: the time limit, or a cancelled job", signal.SIGINT: "SIGINT: Ctrl-C"}

#: How Hydra and Open MPI report the signal that ended a rank; Hydra's own exit status is the signal's bare number.
ENDED_BY = re.compile(r"\(signal (\d{1,2})\)|\bsignal (\d{1,2}) \(\w+\)")


class Stopped(BaseException):
    """This process, or one that it waited for, was told to stop from outside: no defect, and nobody's error."""

    def __init__(self, number: int) -> None:
        """Number: of the signal, one of `STOPS`."""
        super().__init__(f"stopped from outside ({STOPS[signal.Signals(number)]}); the next run goes on.")
        self.number = number
        #: Exit status of a process that ends for this reason, as in shells.
        self.status = 128 + number


def raise_if_stopped(status: int, output: str = "") -> None:
    """Raise Stopped where a process that we have waited for was told to stop.

    A signal to a whole group (Slurm's time limit, Ctrl-C) may end it before we hear of it ourselves. status: as
    `subprocess` gives it, or a launcher's; output: what the process or its launcher printed.
    """
    named = {int(first or second) for first, second in ENDED_BY.findall(output)} if status != 0 else set()
    for number in STOPS:
        if status in (-number, 128 + number) or number in named:
            raise Stopped(number)


class NearsightError(Exception):
    """An error with a message for the user; a job prints it without a traceback and stops."""


class ConfigError(NearsightError):
    """A configuration that breaks the schema or contradicts itself."""


class InputError(NearsightError):
    """A file or an argument whose content cannot be used."""


class UnknownStructureError(InputError):
    """A structure that is so far from a model's training set that it is predicted only where the user accepts that."""


class MissingProgramError(NearsightError):
    """A program or library that has to be installed first."""


class StorageError(NearsightError):
    """A file that the machine does not let us write: a full disk, a quota, a read-only folder."""


class ConvergenceError(NearsightError):
    """A self-consistent field or a root search that did not converge."""

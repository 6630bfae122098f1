"""What all scripts in workflow/scripts share: options, log, progress bar and exit on an error."""

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from nearsight.errors import STOPS, NearsightError, Stopped
from nearsight.files import explain_storage
from nearsight.memory import log_memory_used

logger = logging.getLogger("nearsight")

#: Seconds after which a job that was told to stop where Python drops exceptions is told again.
AGAIN_S = 0.1


def make_parser(description: str) -> argparse.ArgumentParser:
    """Argument parser with the options that all jobs have (--log)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--log", type=Path, help="file for the job's log, besides the terminal")
    parser.add_argument("--memory-MB", type=float, help="memory that the job was given: one that needs more is refused")
    return parser


def parse_settings(text: str) -> dict:
    """A JSON object given on the command line, for settings with many keys (argparse type)."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return value


def named_file(text: str) -> tuple[str, Path]:
    """A name and its file, given as NAME=FILE (argparse type)."""
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, Path(path)


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """Options of all jobs that prepare the data of a figure."""
    parser.add_argument("--settings", type=parse_settings, required=True, help="of the study, for the caption, as JSON")
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, help="record (JSON) and tables (CSV)")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The two files of a model."""
    parser.add_argument("--model", type=Path, required=True, help="model bundle, JSON part")
    parser.add_argument("--weights", type=Path, required=True, help="model bundle, safetensors part")


def add_figure_options(parser: argparse.ArgumentParser) -> None:
    """The files of a figure."""
    parser.add_argument("--png", type=Path, required=True, help="figure")
    parser.add_argument("--pdf", type=Path, required=True, help="figure")
    parser.add_argument("--csv", type=Path, required=True, help="its data")


#: What `add_argument` takes for an option with any number of named files.
NAMED_FILES = {"type": named_file, "nargs": "*", "default": [], "metavar": "NAME=FILE"}


def show_progress(items: Iterable, description: str, total: int | None = None, unit: str = "it") -> Iterable:
    """The items behind a progress bar on the terminal; silent where standard error is not a terminal."""
    return tqdm(items, desc=description, total=total, unit=unit, disable=None, mininterval=0.5, leave=False)


def run_job(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> None:
    """Run `main(arguments)` with the log configured; an error goes to log and terminal and exits with 1.

    A NearsightError is printed as its message alone, any other with its traceback, because it is a defect. A job
    that is told to stop removes its temporary files and exits with 143 (SIGTERM) or 130 (Ctrl-C).
    """
    logger.setLevel(logging.INFO)
    logger.propagate = False
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    logger.addHandler(terminal)
    with stop_when_told():  # up to the last message: where its program was told first, a job may hear of it at any time
        try:
            if arguments.log is not None:
                with explain_storage(arguments.log):
                    arguments.log.parent.mkdir(parents=True, exist_ok=True)
                    handlers.append(logging.FileHandler(arguments.log, mode="w", encoding="utf-8"))
                handlers[-1].setFormatter(formatter)
                logger.addHandler(handlers[-1])
            main(arguments)
            log_memory_used()
        except NearsightError as error:
            logger.error("%s", error)
            sys.exit(1)
        except Stopped as stopped:
            logger.error("%s", stopped)
            sys.exit(stopped.status)
        except Exception:
            logger.exception("a defect in Nearsight, or a failure of the machine:")
            sys.exit(1)
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
                handler.close()


@contextmanager
def stop_when_told() -> Iterator[None]:
    """Raise Stopped at SIGTERM, which by itself would end Python at once, with temporary files left behind.

    At SIGINT too, unless a shell has its background jobs ignore it. A job that is already stopping is not disturbed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    told: int | None = None

    def stop(number: int, _: object) -> None:
        nonlocal told
        if _is_stopping():
            return
        told = told or number  # SIGALRM tells again
        raise Stopped(told)

    def raise_again(lost: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised in a destructor, in a hook of fork, in a callback of HDF5."""
        if isinstance(lost.exc_value, Stopped):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        else:
            hook(lost)

    hook, sys.unraisablehook = sys.unraisablehook, raise_again
    heeded = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in (*heeded, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_stopping() -> bool:
    """Whether this thread is already on its way out: Stopped is raised, or an error that followed from it."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None

"""What every script of workflow/scripts shares: the log, the progress bar and the exit on an error."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from nearsight.errors import NearsightError

logger = logging.getLogger("nearsight")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Argument parser with the options that all jobs have (--log)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--log", type=Path, help="file for the job's log, beside the terminal")
    return parser


def parse_settings(text: str) -> dict:
    """A JSON object given on the command line, for settings with many keys (argparse type)."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return value


def show_progress(items: Iterable, description: str, total: int | None = None, unit: str = "it") -> Iterable:
    """The items behind a progress bar on the terminal; silent where standard error is no terminal."""
    return tqdm(items, desc=description, total=total, unit=unit, disable=None, mininterval=0.5, leave=False)


def run_job(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> None:
    """Run `main(arguments)` with the log configured; an error goes to log and terminal and exits with 1.

    A NearsightError is printed as its message alone, any other with its traceback, because it is a defect.
    """
    logger.setLevel(logging.INFO)
    logger.propagate = False
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if arguments.log is not None:
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(arguments.log, mode="w", encoding="utf-8"))
        handlers[-1].setFormatter(formatter)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        main(arguments)
    except NearsightError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception:
        logger.exception("a defect of Nearsight, or a failure of the machine:")
        sys.exit(1)
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()

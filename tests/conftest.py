"""What all tests share."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# tools/sanitize.sh: the kernel compiled with sanitizers in place of the installed one
if module := os.environ.get("NEARSIGHT_NATIVE_MODULE"):
    import nearsight.descriptors.bispectrum

    spec = importlib.util.spec_from_file_location("nearsight.descriptors.bispectrum._native", module)
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    sys.modules["nearsight.descriptors.bispectrum._native"] = nearsight.descriptors.bispectrum._native = native


# A shell lets its background jobs ignore SIGINT and SIGQUIT, and programs that are started inherit it: tests do not
# depend on who started them.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


# Hypothesis fails a test of which one try takes longer than 200 ms, which says more of a machine's other work.
hypothesis.settings.register_profile("nearsight", deadline=None)
hypothesis.settings.load_profile("nearsight")

#: Folders whose tests share what takes minutes to make. They come first, so that no process is left alone with them.
TOGETHER = ("slurm", "faults", "fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests of TOGETHER to the front."""
    place = {folder: number for number, folder in enumerate(TOGETHER)}
    items.sort(key=lambda item: place.get(group_of(item.nodeid), len(place)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Deal the tests to the processes of pytest-xdist by file, those of TOGETHER by folder."""

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def group_of(nodeid: str) -> str:
    """What is run by one process: tests/unit/test_ldos.py, or slurm."""
    path = nodeid.partition("::")[0]
    folder = path.split("/")[1] if path.count("/") > 1 else ""
    return folder if folder in TOGETHER else path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured: record_property("measured", line)."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    for report in reports:
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(value)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that mounts an empty disk of so many bytes (again: the same disk, now of that size)."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount(size: int) -> Path:
        nonlocal mounted
        options = f"size={size}" + (",remount" if mounted else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"cannot mount a disk here: {done.stderr.strip()}")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)

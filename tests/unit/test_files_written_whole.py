"""Files appear whole or not at all, leftovers go, and a refusal of the machine says what to do."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from nearsight import files
from nearsight.errors import StorageError
from nearsight.files import explain_storage, write_text, write_whole
from nearsight.reference.espresso.workspace import scratch_folder


def test_leftovers_of_killed_jobs_are_removed(tmp_path):
    target = tmp_path / "a-0.h5"
    old = files.PROCESS_START - 60
    for name in (".a-0.part-123.h5", ".a-0.part-99999.h5"):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (old, old))
    keep = [tmp_path / ".a-0.part-7.json", tmp_path / ".a-01.part-7.h5", tmp_path / ".b-0.part-7.h5"]
    for path in keep:
        path.write_text("of another file")
        os.utime(path, (old, old))
    write_text(target, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([target, *keep])


def test_a_job_that_still_runs_keeps_its_file(tmp_path):
    other = tmp_path / ".a.part-123.json"
    other.write_text("being written by an older job, after this one began")
    write_text(tmp_path / "a.json", "{}")
    assert other.exists()


def test_others_may_read_what_a_library_keeps_to_itself(tmp_path):
    before = os.umask(0o022)
    try:
        with write_whole(tmp_path / "model.safetensors") as path:
            safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_leftover_scratch_is_removed(tmp_path):
    old = tmp_path / ".scf.scratch-123"
    (old / "nearsight.save").mkdir(parents=True)
    os.utime(old, (1, 1))
    with scratch_folder(tmp_path / "scf") as folder:
        assert not old.exists()
        assert folder.is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, r"No space left on device \(\d+\.\d MiB free\)\. Free space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, r"Permission denied\. Run in a folder that you may write"),
        (errno.EROFS, "read-only"),
    ],
)
def test_refusals_say_what_to_do(tmp_path, number, advice):
    target = tmp_path / "model.json"
    with pytest.raises(StorageError, match=rf"model\.json: expected to write this file, got: .*{advice}.*run again"):
        write_error(target, OSError(number, os.strerror(number)))
    assert not list(tmp_path.iterdir())
    # HDF5 and safetensors tell it in words
    with pytest.raises(StorageError, match=advice):
        write_error(target, RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})"))


def write_error(target, error):
    with write_whole(target) as path:
        path.write_text("half")
        raise error


def test_other_errors_are_not_explained_away(tmp_path):
    missing = tmp_path / "elsewhere" / "input.h5"
    with pytest.raises(PermissionError), explain_storage(tmp_path / "results" / "output.h5"):
        raise PermissionError(errno.EACCES, "Permission denied", str(missing))
    with pytest.raises(ValueError, match="shape"), explain_storage(tmp_path / "output.h5"):
        raise ValueError("shape")


def test_a_job_that_is_told_to_stop_cleans_up(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\n"
        "from nearsight.files import write_whole\nfrom nearsight.jobs import make_parser, run_job\n"
        "def main(arguments):\n"
        "    with write_whole('output.json') as path:\n"
        "        path.write_text('half')\n"
        "        time.sleep(600)\n"
        "parser = make_parser('')\n"
        "run_job(main, parser.parse_args())\n"
    )
    package = Path(files.__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    job = subprocess.Popen([sys.executable, str(script), "--log", "job.log"], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 600
    while not any(path.stat().st_size for path in tmp_path.glob(".output.part-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    assert job.wait(600) == 143
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.log", "job.py"]
    assert "stopped from outside" in (tmp_path / "job.log").read_text()


def run_told(tmp_path, main, *, before=""):
    """A job with this body of `main`, run to its end."""
    script = tmp_path / "job.py"
    script.write_text(
        "import os, signal, time\nfrom pathlib import Path\n"
        "from nearsight.errors import Stopped\n"
        "from nearsight.files import write_whole\nfrom nearsight.jobs import make_parser, run_job\n"
        f"{before}\ndef main(arguments):\n{main}run_job(main, make_parser('').parse_args())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).resolve().parents[1])}
    return subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)


def test_ctrl_c_stops_a_job_without_a_traceback(tmp_path):
    done = run_told(
        tmp_path,
        "    with write_whole('output.json'):\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(600)\n",
    )
    assert done.returncode == 130
    assert done.stderr == "ERROR: stopped from outside (SIGINT: Ctrl-C); the next run goes on.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["job.py"]


def test_ctrl_c_is_not_heeded_where_the_shell_has_it_ignored(tmp_path):
    main = "    os.kill(os.getpid(), signal.SIGINT)\n    Path('output').touch()\n"
    done = run_told(tmp_path, main, before="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "output").exists()


def test_a_job_that_is_stopping_is_not_disturbed_in_it(tmp_path):
    """Its program's end told it first, or it was told twice: what it cleans up gets clean."""
    done = run_told(
        tmp_path,
        "    try:\n        raise Stopped(signal.SIGTERM)\n    finally:\n"
        "        try:\n            Path('none').unlink()\n        except OSError:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n            Path('cleaned').touch()\n",
    )
    assert done.returncode == 143
    assert "Traceback" not in done.stderr
    assert (tmp_path / "cleaned").exists()


def test_a_job_that_is_told_where_python_drops_exceptions_stops_too(tmp_path):
    """In a destructor, say: the exception is raised again outside of it."""
    script = tmp_path / "job.py"
    script.write_text(
        "import os, signal, time\n"
        "from nearsight.files import write_whole\nfrom nearsight.jobs import make_parser, run_job\n"
        "class Told:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0)\n"
        "def main(arguments):\n"
        "    with write_whole('output.json') as path:\n"
        "        path.write_text('half')\n"
        "        Told()\n"
        "        time.sleep(600)\n"
        "run_job(main, make_parser('').parse_args())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).resolve().parents[1])}
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 143
    assert "stopped from outside" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["job.py"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    """As root, a rename would put a file in the place of /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (
        ("pipe", "expected the name of a file to write, got a device or a pipe"),
        (".", "Name a file, not a folder"),
        ("file/inside", "a file lies where it would be"),
        ("file/inside/more", "a file lies where it would be"),
        ("x" * 300, "Choose a shorter name"),
    ):
        with pytest.raises(StorageError, match=message):
            write_text(tmp_path / name, "x")
    with pytest.raises(StorageError, match="expected a folder where files can be made"):
        write_text("/proc/none/x", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop", "pipe"]
    assert (tmp_path / "file").read_text() == "mine"


def test_no_message_tells_to_delete_what_may_be_the_users_own(repository):
    """A damaged file may have come from anywhere; only a training's own checkpoint is known to be Nearsight's."""
    advice = [
        path.name
        for path in (repository / "workflow/nearsight").rglob("*.py")
        if "delete" in path.read_text(encoding="utf-8").lower().replace("deleted", "")
    ]
    assert advice == ["training.py"]

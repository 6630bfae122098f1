"""Setting up: what is locked, and what a user without the programs is told."""

import os
import re
import shutil
import subprocess
import tomllib
from itertools import chain

import pytest


def all_locks(repository):
    return "".join(path.read_text(encoding="utf-8") for path in sorted(repository.glob("requirements*.lock")))


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-source.lock"])
def test_lock_holds_names_versions_and_hashes_only(repository, name):
    text = (repository / name).read_text(encoding="utf-8").replace("\\\n", "")
    for line in text.splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^ ]+( +--hash=sha256:[0-9a-f]{64})+", line), line


def test_lock_covers_the_dependencies(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    (alone,) = extras.pop("ovito")  # half a gigabyte that is not installed for everyone: its version is in the extra
    assert re.fullmatch(r"ovito==[\d.]+", alone)
    wanted = [*project["dependencies"], *chain.from_iterable(extras.values())]
    locked = all_locks(repository)
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9-]+", requirement)[0]
        assert re.search(rf"^{name}==", locked, re.MULTILINE), f"{name} is not locked. Run: tools/lock.sh"


def test_conda_environments_have_the_locked_versions(repository):
    locked = all_locks(repository)
    for path in (repository / "envs").glob("*.yaml"):
        for name, version in re.findall(r"- ([a-z0-9-]+)==(\S+)", path.read_text(encoding="utf-8")):
            assert re.search(rf"^{name}=={re.escape(version)}(\s|$)", locked, re.MULTILINE), f"{path.name}: {name}"


def test_missing_programs_end_with_the_commands_that_install_them(repository, tmp_path):
    for name in ("bash", "dirname", "cat"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n", encoding="utf-8")
    (tmp_path / "id").chmod(0o755)
    done = subprocess.run(
        ["bash", str(repository / "tools/setup.sh"), "programs"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "not found: pw.x pp.x ld1.x mpirun g++ fftw3.h" in done.stderr
    packages = "quantum-espresso libopenblas0-pthread openmpi-bin libfftw3-dev g++"
    assert f"apt-get install --no-install-recommends {packages}" in done.stderr
    assert "conda install -c conda-forge qe" in done.stderr


def test_tests_on_slurm_and_in_a_browser_are_skipped_without_root(repository, tmp_path):
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n", encoding="utf-8")
    (tmp_path / "id").chmod(0o755)
    hidden = (repository / "tools/setup.sh").read_text(encoding="utf-8").replace(":/usr/sbin:/sbin", "")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/setup.sh").write_text(hidden, encoding="utf-8")
    done = subprocess.run(
        ["bash", str(tmp_path / "tools/setup.sh"), "tests"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "will be skipped" in done.stdout
    assert "slurmctld slurmd munged srun bindfs" in done.stdout
    assert "chromium" in done.stdout

"""The small chain, run by hand and undisturbed; and disks to do harm to."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from stages import Job, read_jobs

TARGETS = ("results/small/evaluation/b-0.json",)


@pytest.fixture(scope="session")
def chain(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """One job of every rule, all run to their end once, nothing removed."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "config").symlink_to(repository / "config")
    study = yaml.safe_load((repository / "tests/slurm/study.yaml").read_text(encoding="utf-8"))
    study["dft"]["ranks"] = 1
    study["training"] |= {"epochs": 20, "learning_rate": 3e-3, "weight_decay": 0.0}
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    jobs = read_jobs(folder, repository / "Snakefile", *TARGETS)
    for job in jobs:
        job.run()
    return {job.rule: job for job in jobs}


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

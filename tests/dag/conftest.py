"""A copy of the workflow whose modules only make their outputs, so that the graph itself is under test."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

#: Stands in for every module: what a command line names under results/ and is not there yet is an output.
STUB = """
import sys
from pathlib import Path

for path in map(Path, sys.argv[1:]):
    if path.parts[:1] == ("results",) and not path.exists():
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("made by a stub")
        else:
            path.mkdir(parents=True)
"""


class Workflow:
    """A working directory with a Snakefile, and what Snakemake says there."""

    def __init__(self, folder: Path, snakefile: Path | None = None) -> None:
        self.folder = folder
        self.snakefile = snakefile or folder / "Snakefile"

    def run(self, *arguments: str, fails: bool = False, environment: dict | None = None) -> str:
        """Output of Snakemake; asserts that it succeeds, or fails where that is expected."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(self.snakefile), "--nocolor", *arguments],
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=1200,
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        return output

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Number of jobs per rule that a dry run would start."""
        output = self.run(*arguments, "--dry-run", "--quiet", "rules")
        table = output.partition("Job stats:")[2].partition("total")[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    def study(self, changes: dict, name: str = "changed.yaml") -> str:
        """Name of a copy of the quickstart's study file with other values: {"training.epochs": 3}."""
        content = yaml.safe_load((self.folder / "config/quickstart.yaml").read_text(encoding="utf-8"))
        for key, value in changes.items():
            section = content
            *path, last = key.split(".")
            for part in path:
                section = section[part]
            section[last] = value
        (self.folder / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return name


@pytest.fixture
def workflow(repository: Path, tmp_path: Path) -> Workflow:
    """The real workflow in an empty working directory."""
    folder = tmp_path / "work"
    shutil.copytree(repository / "config", folder / "config")
    return Workflow(folder, repository / "Snakefile")


@pytest.fixture(scope="session")
def copy_with_stubs(repository: Path) -> Callable[[Path], Workflow]:
    """A function that copies the workflow to a folder, with stubs in place of its modules."""

    def copy(folder: Path) -> Workflow:
        for name in ("rules", "config", "profiles", "envs", "report", "workflow"):
            shutil.copytree(
                repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        shutil.copy(repository / "Snakefile", folder)
        for module in (folder / "workflow/scripts").glob("*.py"):
            module.write_text(STUB, encoding="utf-8")
        return Workflow(folder)

    return copy


@pytest.fixture(scope="session")
def finished(copy_with_stubs: Callable[[Path], Workflow], tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The quickstart, run to its end with stubs."""
    workflow = copy_with_stubs(tmp_path_factory.mktemp("finished"))
    workflow.run("--cores", "4")
    return workflow

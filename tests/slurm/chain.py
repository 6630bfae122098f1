"""The workflow on the test cluster."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

#: What the tests ask for; it needs every stage.
TARGETS = ("results/small/evaluation/b-0.json", "results/small/figures/density-b-0.png")

#: Seconds after which a study that should have ended in one minute or two is called stuck.
STUCK_S = 900


class Workflow:
    """A working directory, and Snakemake in it."""

    def __init__(self, folder: Path, repository: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.repository = repository
        self.environment = environment
        self.results = folder / "results" / "small"
        self.profile = repository / "slurm"
        folder.mkdir(exist_ok=True)
        if not (folder / "config").exists():
            (folder / "config").symlink_to(repository / "config")
            self.study()

    def study(self, changes: dict | None = None) -> None:
        """Write the study file, with other values: {"training.epochs": 3}."""
        content = yaml.safe_load((self.repository / "tests/slurm/study.yaml").read_text(encoding="utf-8"))
        for key, value in (changes or {}).items():
            section = content
            *path, last = key.split(".")
            for part in path:
                section = section[part]
            section[last] = value
        (self.folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake on the cluster, in a session of its own, writing to snakemake.log."""
        command = [
            sys.executable, "-m", "snakemake",
            "--latency-wait", "20",
            *arguments,
            "--snakefile", str(self.repository / "Snakefile"),
            "--configfile", "study.yaml",
            "--profile", str(self.profile),
            "--slurm-init-seconds-before-status-checks", "2",
            "--nocolor",
        ]  # fmt: skip
        with open(self.log, "ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """All that Snakemake said here."""
        return self.folder / "snakemake.log"

    def finish(self, process: subprocess.Popen, *, fails: bool = False) -> str:
        """Wait for Snakemake to end; assert that it succeeds, or fails where that is expected; return its log."""
        try:
            status = process.wait(STUCK_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        text = self.log.read_text(encoding="utf-8", errors="replace")
        assert (status != 0) == fails, text[-5000:]
        return text

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Snakemake from start to end."""
        return self.finish(self.start(*arguments), fails=fails)

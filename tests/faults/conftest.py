"""The small chain, run by hand and undisturbed."""

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

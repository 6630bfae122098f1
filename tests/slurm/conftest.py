"""A cluster for all tests of this folder, and the workflow's chain on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import TARGETS, Workflow
from cluster import Cluster, why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one node; its daemons end with the tests."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def finished(cluster: Cluster, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The chain up to the held-out snapshot's errors, run undisturbed on the cluster: what all others have to equal."""
    workflow = Workflow(tmp_path_factory.mktemp("chain") / "work", repository, cluster.environment)
    workflow.run(*TARGETS)
    return workflow


@pytest.fixture
def workflow(finished: Workflow, tmp_path: Path) -> Workflow:
    """A copy of the finished working directory, for a test to do harm to."""
    folder = tmp_path / "work"
    shutil.copytree(finished.folder, folder, symlinks=True)
    (folder / "snakemake.log").unlink()
    return Workflow(folder, finished.repository, finished.environment)

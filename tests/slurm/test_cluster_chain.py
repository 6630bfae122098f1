"""The quickstart's chain, smaller, through a real Slurm: every stage's job asks for what the profile and study say."""

import re
import shutil

import pytest
from chain import TARGETS
from run_chain import run_chain

from nearsight.files import read_json

pytestmark = [pytest.mark.slurm, pytest.mark.mpi, pytest.mark.qe]

#: Jobs of the chain on the cluster: two trajectories, three snapshots, two batches of the one that is predicted.
JOBS = {
    "make_pseudopotential": 1,
    "run_dft_md": 2,
    "run_scf": 3,
    "collect_reference": 3,
    "compute_descriptors": 2,
    "train_model": 1,
    "plan_tiles": 1,
    "predict_tiles": 2,
    "gather_prediction": 1,
    "compute_energies": 2,
    "evaluate_prediction": 1,
}


def test_chain_runs_on_the_cluster(finished, cluster):
    jobs = jobs_of(cluster)
    assert {name: len(found) for name, found in jobs.items()} == JOBS
    assert {job["state"] for found in jobs.values() for job in found} == {"COMPLETED"}
    assert all(job["cpus"] == "2" for name in ("run_scf", "compute_descriptors") for job in jobs[name])
    # all of it once: nothing failed and was tried again
    assert "Trying to restart" not in finished.log.read_text()
    errors = read_json(finished.results / "evaluation/b-0.json")
    assert errors


def test_mpi_steps_ran_on_two_ranks(finished):
    text = (finished.results / "reference/b-0/scf.out").read_text()
    assert re.search(r"running on +2 processors", text)
    log = (finished.results / "logs/compute_descriptors/a-0.log").read_text()
    assert "2 ranks" in log


def test_no_stage_took_more_memory_than_it_said(finished):
    """Of the job itself and of the largest rank of Quantum ESPRESSO that it started."""
    too_much = []
    for stage in set(JOBS) - {"make_pseudopotential"}:
        for log in (finished.results / "logs" / stage).glob("*.log"):
            text = log.read_text()
            predicted = re.search(r"memory: about (\d+) MB", text)
            used = re.search(r"memory: (\d+) MB were used at the peak \(largest program started: (\d+) MB\)", text)
            if max(map(int, used.groups())) > int(predicted[1]):
                too_much.append((stage, predicted[1], *used.groups()))
    assert not too_much


def test_nothing_is_left_to_do(finished):
    assert "Nothing to be done" in finished.run(*TARGETS)


def test_batches_of_two_ranks(workflow, cluster, tmp_path):
    """The profile with its line for that uncommented: the same prediction as that of one rank."""
    before = {job["id"] for job in cluster.jobs()}
    expected = workflow.results / "energies/prediction/b-0.json"
    expected = expected.rename(tmp_path / "expected.json")
    workflow.profile = tmp_path / "profile"
    shutil.copytree(workflow.repository / "slurm", workflow.profile)
    config = workflow.profile / "config.yaml"
    text = config.read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if "# mpi:" in line and "inference.ranks" in line)
    config.write_text(text.replace(line, line.replace("# mpi:", "mpi:")), encoding="utf-8")
    workflow.study({"inference.ranks": 2})
    shutil.rmtree(workflow.results / "predictions")
    workflow.run("results/small/energies/prediction/b-0.json")
    jobs = [job for job in cluster.jobs() if job["id"] not in before]
    assert [job["cpus"] for job in jobs if "predict_tiles" in job["comment"]] == ["2", "2"]
    assert "2 ranks" in (workflow.results / "logs/predict_tiles/b-0-0.log").read_text()
    found, known = (
        read_json(path)["energies_eV"] for path in (workflow.results / "energies/prediction/b-0.json", expected)
    )
    assert found == pytest.approx(known, abs=1e-6)


def jobs_of(cluster):
    """The cluster's jobs by rule."""
    jobs = {}
    for job in cluster.jobs():
        name = re.fullmatch(r"rule_(\w+?)(_wildcards_.*)?", job["comment"])[1]
        jobs.setdefault(name, []).append(job)
    return jobs


@pytest.mark.stress
def test_whole_study_runs_on_the_cluster(cluster, tmp_path):
    workflow, table = run_chain(tmp_path)
    assert (workflow.results / "summary.md").is_file()
    assert (workflow.results / "figures/dos.png").is_file()
    states = [line.split()[-1] for line in table.splitlines()[3:]]
    assert states == ["COMPLETED"] * len(states)

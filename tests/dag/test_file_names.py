"""Folders and files of a user whose names hold what a shell, Snakemake or Fortran would take apart."""

import shutil

import pytest

from conftest import Workflow

NASTY = "a b'c\"d;touch pwned $HOME `id` & [f]*?"


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
        {"pseudopotentials.Be.ld1_input": f"{NASTY}.in", "structure": {"file": f"{NASTY}.xyz"}}, name=f"{NASTY}.yaml"
    )
    targets = ["pseudo/Be.upf", "structures/reference.extxyz"]
    nasty.run(*(f"results/quickstart/{name}" for name in targets), "--cores", "1", "--configfile", study)
    assert "<PP_HEADER" in (nasty.folder / "results/quickstart/pseudo/Be.upf").read_text()
    assert not list(nasty.folder.parent.rglob("pwned"))


def test_missing_file_of_the_user_is_named(workflow):
    study = workflow.study({"structure": {"file": "my structure; 1.cif"}})
    output = workflow.run("--dry-run", "--configfile", study, fails=True)
    assert "my structure; 1.cif" in output

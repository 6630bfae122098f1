"""What the docs name is there."""

import re

import pytest
import yaml

from nearsight.energies.xc import FUNCTIONALS
from nearsight.fields import FIELDS


def test_the_tests_of_the_trial_log_exist(repository):
    text = (repository / "docs/trial-log.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    written = {
        name
        for path in (repository / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert not named - written


@pytest.mark.parametrize("page", ["docs/developing.md", "CONTRIBUTING.md", "README.md"])
def test_files_that_are_named_exist(repository, page):
    text = (repository / page).read_text(encoding="utf-8").replace("\\_", "_")
    named = set(re.findall(r"(?:workflow|tests|rules|docs|config|report|envs|bench)/[\w./-]*\w/?", text))
    assert named
    # "tests/unit/test_x.py (libxc)": what follows is no part of the name
    missing = {name for name in named if not (repository / name.rstrip(".")).exists()}
    assert not missing
    for name in re.findall(r"`([A-Z]{5,}|[a-z]+_[a-z_]+|[A-Z][a-z]+)`", text) if "developing" in page else ():
        found = any(
            re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
            for folder in ("workflow", "tests")
            for path in (repository / folder).rglob("*.py")
        )
        assert found, name


def test_the_workflow_catalog_finds_what_it_needs(repository):
    """Its rules for a standardised workflow: these three files, and what flags it prints."""
    usage = yaml.safe_load((repository / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert (repository / usage["mandatory-flags"]["flags"].split()[1]).is_file()
    assert (repository / "workflow/Snakefile").is_file()
    assert (repository / "config/README.md").is_file()


def test_the_functionals_of_the_configurations_page_are_those_of_the_energies(repository):
    text = (repository / "config/README.md").read_text(encoding="utf-8")
    assert f"for LDA (PZ, PW92), {', '.join(list(FUNCTIONALS)[2:-1])} or {list(FUNCTIONALS)[-1]}" in text


def test_the_layout_of_files_is_the_registrys(repository):
    text = (repository / "docs/data.md").read_text(encoding="utf-8")
    rows = [
        f"| `{name}` | {', '.join(field.dims) or 'one number'} | {field.unit} | {field.dtype} | {field.meaning} |"
        for name, field in FIELDS.items()
    ]
    assert "\n".join(["|---|---|---|---|---|", *rows, ""]) in text

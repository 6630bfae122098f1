"""Tables of docs/performance.md are those of the CSV beside it, or say that they are of an earlier date."""

import csv
import importlib
import re

import pytest


@pytest.fixture
def bench(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "bench"))
    return importlib.import_module


#: Page, name of a table -> the bench that makes its lines.
BENCHES = {
    ("performance", "kernel"): "bispectrum",
    ("performance", "energies"): "energies",
    ("performance", "prediction"): "inference",
    ("performance", "references"): "references",
    ("performance", "mala"): "mala",
    ("prediction", "unscreened"): "screening",
    ("beryllium", "restart"): "restart",
}


@pytest.mark.parametrize(("page", "name"), BENCHES)
def test_a_table_is_what_the_bench_makes_of_the_committed_rows(repository, bench, page, name):
    tables, docs = bench("tables"), repository / "docs"
    rows = tables.read_csv(docs / f"{page}-{name}.csv")
    found = tables.tables_of((docs / f"{page}.md").read_text(encoding="utf-8"))
    assert found[name] == bench(BENCHES[page, name]).table(rows)
    assert len(found[name]) > len(rows) / 10


@pytest.mark.parametrize("study", ["beryllium", "aluminium", "beryllium-oxide"])
def test_errors_of_a_study_are_those_of_the_committed_rows(repository, bench, study):
    with open(repository / f"docs/{study}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    found = bench("tables").tables_of((repository / f"docs/{study}.md").read_text(encoding="utf-8"))
    assert found["states"] == bench("accuracy").states_table(rows).splitlines()
    assert len(rows) > 3


def test_every_other_table_says_where_it_is_from(repository):
    page = (repository / "docs/performance.md").read_text(encoding="utf-8")
    heads = re.findall(r"((?:^[^|\n].*\n|^\n)*)(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(heads) > 10
    for head in heads:
        last = head.strip().splitlines()[-1]
        assert re.match(r"<!-- table: \w+ -->|\*Of an earlier date:\*|\*Means of the rows of the \[CSV\]", last), last


def test_a_bench_replaces_its_table_and_nothing_else(tmp_path, bench):
    tables = bench("tables")
    page, rows = tmp_path / "page.md", tmp_path / "x.csv"
    page.write_text("a\n<!-- table: x -->\n| old |\n<!-- end: x -->\nb\n<!-- table: y -->\n| y |\n<!-- end: y -->\n")
    rows.write_text("n,name,flag,empty\n1.5,a,True,\n")
    tables.publish(page, "x", ["| 1 |", r"| \1 |"], rows)
    text = page.read_text()
    assert tables.tables_of(text) == {"x": ["| 1 |", r"| \1 |"], "y": ["| y |"]}
    assert text.startswith("a\n<!--")
    assert "\nb\n" in text
    assert tables.read_csv(tmp_path / "page-x.csv") == [{"n": 1.5, "name": "a", "flag": True, "empty": None}]
    with pytest.raises(SystemExit, match="expected a page with the lines '<!-- table: z -->'"):
        tables.publish(page, "z", [], rows)

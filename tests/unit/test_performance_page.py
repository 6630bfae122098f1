"""Tables of the pages are those of the CSV beside them, and docs/performance.md has no others."""

import importlib
import re

import pytest


@pytest.fixture
def bench(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "bench"))
    return importlib.import_module


#: Page, name of a table -> the bench and its function that makes the lines.
BENCHES = {
    ("performance", "kernel"): "bispectrum.table",
    ("performance", "energies"): "energies.table",
    ("performance", "prediction"): "inference.table",
    ("performance", "references"): "references.table",
    ("performance", "mixing"): "mixing.table",
    ("performance", "mala"): "mala.table",
    ("performance", "terms"): "free_energy.terms_table",
    ("performance", "ldos"): "free_energy.ldos_table",
    ("performance", "convergence"): "free_energy.convergence_table",
    ("performance", "float32"): "precision.descriptors_table",
    ("performance", "precision"): "precision.predictions_table",
    ("prediction", "unscreened"): "screening.table",
    ("prediction", "sampling"): "sampling.table",
    ("beryllium", "states"): "accuracy.states_table",
    ("beryllium", "zero"): "energy_zero.table",
    ("beryllium", "front"): "front.table",
    ("beryllium", "restart"): "restart.table",
    ("beryllium", "held-out"): "held_out.table",
    ("beryllium", "convergence"): "dft_convergence.table",
    ("aluminium", "states"): "accuracy.states_table",
    ("beryllium-oxide", "states"): "accuracy.states_table",
}


@pytest.mark.parametrize(("page", "name"), BENCHES)
def test_a_table_is_what_the_bench_makes_of_the_committed_rows(repository, bench, page, name):
    tables, docs = bench("tables"), repository / "docs"
    rows = tables.read_csv(docs / f"{page}-{name}.csv")
    found = tables.tables_of((docs / f"{page}.md").read_text(encoding="utf-8"))
    module, function = BENCHES[page, name].split(".")
    assert found[name] == getattr(bench(module), function)(rows)
    assert len(found[name]) > len(rows) / 10


def test_every_other_table_says_where_it_is_from(repository):
    page = (repository / "docs/performance.md").read_text(encoding="utf-8")
    heads = re.findall(r"((?:^[^|\n].*\n|^\n)*)(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(heads) > 10
    for head in heads:
        last = head.strip().splitlines()[-1]
        assert re.match(r"<!-- table: \w+ -->|\*Means of the rows of the \[CSV\]", last), last


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

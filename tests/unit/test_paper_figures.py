"""The paper's figures in small: what is prepared is what the toy's physics says, and drawing needs nothing else."""

import ast
import importlib.util
import json
from argparse import Namespace

import draw_paper_figure
import numpy as np
import paper_cases
import prepare_accuracy
import prepare_cost
import prepare_similarity
import prepare_stacking_fault
import pytest
from PIL import Image

from nearsight.errors import InputError, Stopped
from nearsight.figures.captions import BODIES, TITLES, caption_of
from nearsight.figures.contents import MANIFEST, TABLES, data_names
from nearsight.figures.deposit import take_deposit, write_deposit
from nearsight.figures.paper.panels import KINDS, SOURCES, with_error
from nearsight.figures.prepare.cells import KINDS as CELL_KINDS
from nearsight.figures.prepare.cells import describe_cell
from nearsight.figures.prepare.cost import ESPRESSO, MEASURED, STUDY, read_rule_graph, tabulate_rules
from nearsight.figures.prepare.fits import fit_line, fit_power_law
from nearsight.figures.prepare.similarity import TRAINING
from nearsight.figures.prepare.stacking_fault import FaultPair, check_pair, coarsen, tabulate_isosurfaces
from nearsight.figures.style import MM_PER_INCH, OKABE_ITO, COLUMN_WIDTH_mm
from nearsight.figures.tables import FigureData, read_figure_data, rows_of, write_figure_data
from nearsight.reference.espresso.times import read_run_time
from nearsight.structures.lammps import centrosymmetry, potential_energy

JOBS = {
    "1": prepare_stacking_fault,
    "2": prepare_cost,
    "3": prepare_accuracy,
    "4": prepare_similarity,
}


def dft_energy(atoms):
    """A DFT whose energies are 0.9 times SNAP's and a constant: in 3b SNAP has the slope 1/0.9 and R² 1."""
    return 0.9 * potential_energy(atoms) - 33.0 * len(atoms)


def prepare(folder, figure, words):
    """Run a job that prepares; the data that it wrote."""
    outputs = [folder / name for name in data_names(figure)]
    job = JOBS[figure]
    job.main(job.parse_arguments([str(word) for word in (*words, "--outputs", *outputs)]))
    return read_figure_data(outputs)


def draw(folder, figure, target):
    """Run the job that draws; paths of PNG, PDF and caption."""
    target.mkdir(exist_ok=True)
    found = [target / f"figure-{figure}.{kind}" for kind in ("png", "pdf", "txt")]
    words = ["--data", *(folder / name for name in data_names(figure))]
    words += [word for pair in zip(("--png", "--pdf", "--caption"), found, strict=True) for word in pair]
    draw_paper_figure.main(draw_paper_figure.parse_arguments([str(word) for word in words]))
    return found


def caption_with_numbers(data):
    """What is written beside a figure."""
    return draw_paper_figure.write_caption(data, draw_paper_figure.FIGURES[data.figure][1](data))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, repository):
    """Folder with the data of all figures, prepared from the toy's results, and the data themselves."""
    folder = tmp_path_factory.mktemp("data")
    words = {
        "1": paper_cases.fault_arguments(tmp_path_factory.mktemp("inputs")),
        "2": paper_cases.cost_arguments(tmp_path_factory.mktemp("inputs"), repository),
        "3": paper_cases.accuracy_arguments(tmp_path_factory.mktemp("inputs"), dft_energy),
        "4": paper_cases.similarity_arguments(tmp_path_factory.mktemp("inputs")),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)  # the rule graph is the quickstart's
        return folder, {figure: prepare(folder, figure, words[figure]) for figure in TABLES}


# --------------------------------------------------------------------------------------------------------- figure 1


def test_energy_of_the_fault_and_its_exponent(prepared):
    data = prepared[1]["1"]
    law = data.found["laws"]["Nearsight"]
    assert law["exponent"] == pytest.approx(-1 / 3, abs=1e-6)
    assert law["points"] == 2
    rows = rows_of(data.tables["energies"], source="Nearsight")
    assert [row["atoms"] for row in rows] == [48, 256, 2048]
    assert [row["same_shape"] for row in rows] == [0, 1, 1]
    np.testing.assert_allclose(
        [row["fault_energy_mJ_per_m2"] for row in rows], paper_cases.FAULT_mJ_PER_m2, rtol=1e-6
    )  # fmt: skip
    (espresso,) = rows_of(data.tables["energies"], source="Quantum ESPRESSO")
    # 2.1 eV on twice 4.5194 x 7.8279 Å²
    assert espresso["fault_energy_mJ_per_m2"] == pytest.approx(2.1 * 16021.766 / (2 * 4.51945 * 7.82791), rel=1e-4)


def test_atoms_of_the_faults_are_centrosymmetric(prepared):
    """Two faults of two layers each, stacked as in fcc, around one layer of hcp."""
    pair = paper_cases.cube_pair(1)
    parameter, heights = centrosymmetry(pair[1]), pair[1].get_scaled_positions(wrap=False)[:, 2] * 8
    layers = np.rint(heights - np.angle(np.exp(2j * np.pi * heights).mean()) / (2 * np.pi)).astype(int) % 8
    by_layer = np.array([np.median(parameter[layers == layer]) for layer in range(8)])
    assert sorted(np.flatnonzero(by_layer < 1.5)) == [2, 3, 5, 6]
    assert by_layer[[0, 1, 4, 7]].min() > 3.5
    drawn = prepared[1]["1"].tables["atoms"]
    assert 0.3 < np.mean(np.array(drawn["centrosymmetry_A2"]) > 3.0) < 0.95


def test_centrosymmetry_is_ovitos():
    """OVITO's CentroSymmetryModifier, where it is installed (pip install nearsight[ovito]), is the second opinion."""
    if importlib.util.find_spec("ovito") is None:
        pytest.skip("ovito is not installed")
    from ovito.io.ase import ase_to_ovito
    from ovito.modifiers import CentroSymmetryModifier
    from ovito.pipeline import Pipeline, StaticSource

    atoms = paper_cases.crystal((3, 2, 3), 4)[0]
    atoms.wrap()
    pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))
    pipeline.modifiers.append(CentroSymmetryModifier(num_neighbors=12))
    expected = np.array(pipeline.compute().particles["Centrosymmetry"])
    np.testing.assert_allclose(centrosymmetry(atoms), expected, atol=1e-6)


def test_centrosymmetry_of_crystals_by_hand():
    """fcc has an inversion centre; in hcp the six neighbours above and below pair with an angle that is known."""
    from ase.build import bulk

    assert centrosymmetry(bulk("Cu", cubic=True).repeat(3)).max() < 1e-20
    atoms, _ = paper_cases.crystal((3, 2, 2), deviation_A=0.0)
    # three pairs in the plane cancel; of the others the three best are those whose sum lies in the plane: (a/√3)²
    a = atoms.cell[0, 0] / 3
    np.testing.assert_allclose(centrosymmetry(atoms), 3 * (a / np.sqrt(3)) ** 2, rtol=1e-6)


def test_pairs_that_differ_by_more_than_the_fault_are_refused():
    one, other = paper_cases.cube_pair(1)
    pair = FaultPair("a", "b", one, other, {})
    assert check_pair(pair).sum() == 96
    moved = other.copy()
    moved.positions[5] += [0.3, 0, 0]
    with pytest.raises(InputError, match=r"a: b: expected the same atoms but for layers .* up to"):
        check_pair(FaultPair("a", "b", one, moved, {}))
    with pytest.raises(InputError, match="got two that are equal"):
        check_pair(FaultPair("a", "b", one, one, {}))
    with pytest.raises(InputError, match="expected two structures with one cell"):
        check_pair(FaultPair("a", "b", one, other.repeat((1, 1, 2)), {}))


def test_isosurface_of_a_sphere():
    """Triangles of a Gaussian's surface lie on the sphere that it is, within the grid's step."""
    steps = np.array([0.2, 0.25, 0.3])
    places = np.stack(np.meshgrid(*(step * np.arange(31) for step in steps), indexing="ij"), axis=-1)
    centre = 15 * steps
    field = -np.exp(-((places - centre) ** 2).sum(axis=-1) / 2)
    table = tabulate_isosurfaces(field, steps, float(np.exp(-(1.5**2) / 2)))
    assert set(table["sign"]) == {-1}
    corners = np.stack([[table[f"{axis}{n}_A"] for axis in "xyz"] for n in (1, 2, 3)])
    distances = np.linalg.norm(corners - centre[:, None], axis=1)
    np.testing.assert_allclose(distances, 1.5, atol=0.03)
    assert np.array_equal(coarsen(np.arange(12.0).reshape(1, 3, 4), (1, 2, 2)), [[[2.5, 4.5]]])


def test_density_changes_at_the_fault_alone(prepared):
    table = prepared[1]["1"].tables["slice"]
    z, change = np.array(table["z_A"]), np.abs(table["density_change_per_A3"])
    # three layers of 1.78 Å and the nuclei's Gaussians of 0.55 Å, on a coarse grid
    assert change[np.abs(z) > 5.0].max() < 5e-3 * change.max()
    assert change[np.abs(z) < 3.0].max() == change.max()
    signs = prepared[1]["1"].tables["isosurface"]["sign"]
    assert set(signs) == {-1.0, 1.0}


# --------------------------------------------------------------------------------------------------------- figure 2


def test_times_and_exponents(prepared):
    found, times = prepared[1]["2"].found, prepared[1]["2"].tables["times"]
    assert found["fits"][ESPRESSO]["exponent"] == pytest.approx(2.0, abs=0.01)
    assert found["fits"][f"{ESPRESSO}, per k-point"]["exponent"] == pytest.approx(3.0, abs=0.01)
    assert 0.9 < found["fits"][STUDY]["exponent"] < 1.0
    assert found["fits"][STUDY]["points"] == 3
    assert found["fits"][MEASURED]["last"] == 524288
    (row,) = rows_of(times, name="p256")
    assert row["cpu_s"] == pytest.approx(5 * 2.0 + 0.02 * 256)
    speed_up = {item["atoms"]: item["factor"] for item in found["speed_up"]}
    assert set(speed_up) == {64, 128, 256}
    assert speed_up[256] == pytest.approx(0.05 * 256**2 / row["cpu_s"], rel=1e-6)


def test_time_of_pwscf(tmp_path):
    path = tmp_path / "scf.out"
    path.write_text(paper_cases.SCF_TEXT.format(ranks=4, atoms=64, kpoints=6, minutes=62, seconds=5.5))
    run = read_run_time(path)
    assert (run.cpu_s, run.ranks, run.atoms, run.kpoints, run.iterations) == (4 * (62 * 60 + 5.5), 4, 64, 6, 18)
    path.write_text(path.read_text().replace("62m 5.50s CPU", "1d 2h 3m CPU"))
    assert read_run_time(path).cpu_s == 4 * (86400 + 2 * 3600 + 180)
    path.write_text("     Program PWSCF v.6.7\n")
    with pytest.raises(InputError, match="found no time, atoms, k-points, iterations"):
        read_run_time(path)


def test_rule_graph_is_the_workflow(prepared):
    tables = prepared[1]["2"].tables
    stages = dict(zip(tables["rules"]["rule"], tables["rules"]["stage"], strict=True))
    assert stages["run_scf"] == "reference"
    assert stages["train_model"] == "training"
    assert "all" not in stages
    assert "select_snapshots" in stages
    links = set(zip(tables["links"]["rule"], tables["links"]["follower"], strict=True))
    assert ("predict_tiles", "gather_prediction") in links
    assert ("train_model", "evaluate_prediction") not in links  # by way of plan_tiles
    layers = dict(zip(tables["rules"]["rule"], tables["rules"]["layer"], strict=True))
    assert all(layers[one] < layers[other] for one, other in links)


def test_links_that_a_longer_way_spells_out_are_left_out():
    dot = '0[label = "c", x]\n 1[label = "b_x", x]\n 2[label = "a", x]\n 2 -> 1\n 1 -> 0\n 2 -> 0\n'
    rules, links = tabulate_rules(read_rule_graph(dot), {"a": "one", "b": "two", "c": "two"})
    assert rules == {"rule": ["a", "b", "c"], "stage": ["one", "two", "two"], "layer": [0, 1, 2]}
    assert links == {"rule": ["a", "b"], "follower": ["b", "c"]}
    with pytest.raises(InputError, match="expected the graph of `snakemake --rulegraph dot`"):
        read_rule_graph("no graph")


def test_a_rule_graph_that_was_told_to_stop_is_no_failure(tmp_path):
    """Ctrl-C may end Snakemake before the job hears of it."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -TERM $$\n")
    python.chmod(0o755)
    with pytest.raises(Stopped, match="stopped from outside"):
        prepare_cost.draw_rule_graph(Namespace(python=python, snakefile="", study_file="", overrides=None))


# --------------------------------------------------------------------------------------------------- figures 3 and 4


def test_errors_and_parity(prepared):
    data = prepared[1]["3"]
    rows = rows_of(data.tables["errors"])
    assert len(rows) == len(paper_cases.CELLS)
    assert {row["kind"] for row in rows} == set(CELL_KINDS) - {"imported"}
    snap = data.found["lines"]["SNAP (Wood 2019)"]
    assert snap["slope"] == pytest.approx(1 / 0.9, rel=1e-6)
    assert snap["r_squared"] == pytest.approx(1.0, abs=1e-9)
    assert snap["points"] == 7
    mine = rows_of(data.tables["parity"], method="Nearsight", set="64 atoms")
    assert sum(row["predicted_relative_meV_per_atom"] for row in mine) == pytest.approx(0, abs=1e-6)
    errors = np.array([1.5, -0.8, 2.2])
    differences = [row["predicted_relative_meV_per_atom"] - row["dft_relative_meV_per_atom"] for row in mine]
    np.testing.assert_allclose(differences, errors - errors.mean(), atol=1e-3)  # eight digits of 36,500 meV
    found = data.found["sets"]["64 atoms"]
    assert found["mean_absolute_free_energy_error_meV_per_atom"] == pytest.approx(1.5)


def test_cells_are_named_by_what_sets_them_apart():
    cell = paper_cases.cell_of
    assert describe_cell(cell(), 2048)["set"] == "2,048 atoms"
    assert describe_cell(cell(temperature_K=900.0, strain_percent=-2.0), 64) == {
        "set": "64 atoms, -2 %, 900 K",
        "kind": "strain",
        "temperature_K": 900.0,
    }
    assert describe_cell(cell(vacancies=2), 62)["set"] == "62 atoms, 2 vacancies"
    imported = {"role": "test", "imported": True, "fault": False}
    assert describe_cell(imported, 54) == {"set": "54 atoms, imported", "kind": "imported", "temperature_K": None}
    assert set(KINDS) == {TRAINING, *CELL_KINDS}


def test_radial_distributions_and_scores(prepared):
    data = prepared[1]["4"]
    sets = list(dict.fromkeys(data.tables["rdf"]["set"]))
    assert sets[0] == TRAINING
    training = np.array([row["rdf"] for row in rows_of(data.tables["rdf"], set=TRAINING)])
    for name in sets:
        rows = rows_of(data.tables["rdf"], set=name)
        difference = np.array([row["difference"] for row in rows])
        np.testing.assert_allclose(difference, np.array([row["rdf"] for row in rows]) - training, atol=1e-6)
    scores = rows_of(data.tables["scores"], set="64 atoms")
    assert [row["name"] for row in scores] == ["a-0", "a-1", "a-2"]
    assert data.found["sets"]["64 atoms"]["mean_descriptor_score"] == pytest.approx(np.mean([0.9, 1.2, 1.5]))


# -------------------------------------------------------------------------------------------------- drawing, deposit


@pytest.mark.parametrize("figure", TABLES)
def test_figures_are_of_column_width_and_equal_data_give_equal_pictures(prepared, tmp_path, figure):
    first = draw(prepared[0], figure, tmp_path / "first")
    again = draw(prepared[0], figure, tmp_path / "again")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    png, pdf, caption = first
    with Image.open(png) as image:
        width_mm = image.width / image.info["dpi"][0] * MM_PER_INCH
        colors = image.convert("L").getextrema()
    assert width_mm == pytest.approx(COLUMN_WIDTH_mm, abs=0.2)
    assert colors[1] - colors[0] > 200
    assert pdf.read_bytes().startswith(b"%PDF")
    text = " ".join(caption.read_text(encoding="utf-8").split())
    assert f"Figure {figure}. {TITLES[figure]}." in text
    assert "Quantum ESPRESSO with 30 Ry" in text


def test_captions_have_the_numbers(prepared):
    texts = {figure: " ".join(caption_with_numbers(data).split()) for figure, data in prepared[1].items()}
    assert "falls with the exponent −0.33 (expected −1/3)" in texts["1"]
    assert "500.0 mJ/m² for each of the two faults" in texts["1"]
    assert "time grows as N^2.00" in texts["2"]
    assert "SNAP (Wood 2019) against DFT: slope 1.111, R² 1.0000" in texts["3"]
    assert "mean scores 1.20 (descriptors)" in texts["4"]


def test_a_deposit_draws_the_same_from_the_same_tables(prepared, tmp_path):
    files = [prepared[0] / name for figure in TABLES for name in data_names(figure)]
    write_deposit(files, tmp_path / "deposit", paper_cases.SETTINGS)
    taken = [tmp_path / "taken" / path.name for path in files]
    take_deposit(tmp_path / "deposit", taken)
    assert [path.read_bytes() for path in taken] == [path.read_bytes() for path in files]
    for figure in ("3",):
        first, again = (
            draw(folder, figure, tmp_path / name) for folder, name in ((prepared[0], "a"), (taken[0].parent, "b"))
        )
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


@pytest.mark.parametrize("figure", TABLES)
def test_tables_are_read_as_they_were_written(prepared, tmp_path, figure):
    outputs = [tmp_path / name for name in data_names(figure)]
    write_figure_data(prepared[1][figure], outputs)
    assert read_figure_data(outputs) == prepared[1][figure]


def test_a_changed_deposit_is_refused(prepared, tmp_path):
    files = [prepared[0] / name for figure in TABLES for name in data_names(figure)]
    write_deposit(files, tmp_path, paper_cases.SETTINGS)
    outputs = [tmp_path / "taken" / path.name for path in files]
    times = tmp_path / "figure-2-times.csv"
    times.write_text(times.read_text().replace("64", "65", 1))
    with pytest.raises(InputError, match=r"figure-2-times.csv: expected the file that was deposited, found a changed"):
        take_deposit(tmp_path, outputs)
    assert not (tmp_path / "taken").exists()
    times.unlink()
    with pytest.raises(InputError, match="found none"):
        take_deposit(tmp_path, outputs)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(InputError, match=r"expected the checksums of figure-1-atoms\.csv"):
        take_deposit(tmp_path, outputs)


#: A sentence that says why a figure is empty.
REASONS = {
    "1": "paper_figures.fault_pairs",
    "2": "There is no run of Quantum ESPRESSO",
    "3": "Still missing, of 1 held-out cells: a-0.",
    "4": "There is no training snapshot",
}


@pytest.mark.parametrize("figure", TABLES)
def test_what_a_study_does_not_have_is_said(tmp_path, repository, monkeypatch, figure):
    """A study without pairs, held-out cells, runs and predictions: a figure with the reason."""
    monkeypatch.chdir(repository)
    settings = ["--settings", json.dumps(paper_cases.SETTINGS)]
    if figure == "2":
        words = paper_cases.cost_arguments(tmp_path, repository)
        words = words[words.index("--benchmarks") :]
    elif figure == "4":
        words = paper_cases.similarity_arguments(tmp_path)
        words = ["--cells", "{}", *words[words.index("--model") :]]
    else:
        words = {"1": ["--pairs", "{}"], "3": ["--cells", json.dumps({"a-0": paper_cases.cell_of()})]}[
            figure
        ] + settings
    data = prepare(tmp_path, figure, words)
    assert REASONS[figure] in " ".join(data.missing)
    png, _, caption = draw(tmp_path, figure, tmp_path / "pictures")
    assert png.stat().st_size > 1000
    assert REASONS[figure] in caption.read_text(encoding="utf-8")


def test_records_that_are_none_are_refused(prepared, tmp_path):
    names = data_names("3")
    for name in names:
        (tmp_path / name).write_bytes((prepared[0] / name).read_bytes())
    paths = [tmp_path / name for name in names]
    assert read_figure_data(paths).figure == "3"
    with pytest.raises(InputError, match="figure data: expected"):
        read_figure_data(paths[:2])
    record = json.loads(paths[0].read_text())
    paths[0].write_text(json.dumps({**record, "missing": 3}))
    with pytest.raises(InputError, match=r"figure-3\.json: expected the record of figure 3"):
        read_figure_data(paths)
    paths[0].write_text(json.dumps(record))
    (tmp_path / names[1]).write_text("a,b\n1\n")
    with pytest.raises(InputError, match="expected a CSV table with a header"):
        read_figure_data(paths)
    with pytest.raises(InputError, match=r"--outputs: expected figure-3\.json"):
        write_figure_data(FigureData("3", {}, {}, {}), [tmp_path / "figure-3.json"])


def test_drawing_reads_tables_alone(repository):
    """No module that draws a figure of the paper imports what reads or computes anything else."""
    allowed = {"figures.paper.panels", "figures.style", "figures.tables", "figures.captions", "figures.output"}
    for path in (repository / "workflow/nearsight/figures/paper").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("nearsight."):
                    assert name.removeprefix("nearsight.") in allowed, f"{path.name} imports {name}"
                else:
                    assert name.split(".")[0] in {"matplotlib", "numpy", "itertools", "math", "textwrap"}, name


def test_captions_and_styles_are_complete():
    assert set(TITLES) == set(BODIES) == set(TABLES) == set(JOBS)
    assert "30 Ry" in caption_of("1", paper_cases.SETTINGS)
    colors = [style["color"] for style in (*SOURCES.values(), *KINDS.values())]
    assert set(colors) <= set(OKABE_ITO.values())


# -------------------------------------------------------------------------------------------------------------- fits


def test_lines_and_their_errors():
    x = np.arange(10.0)
    line = fit_line(x, 3 + 2 * x)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((2, 3, 1))
    noise = np.random.default_rng(3).normal(size=10)
    expected = np.polyfit(x, 3 + 2 * x + noise, 1, cov=True)
    line = fit_line(x, 3 + 2 * x + noise)
    assert (line.slope, line.slope_error) == pytest.approx((expected[0][0], np.sqrt(expected[1][0, 0])))
    assert fit_line([1.0, 2.0], [3.0, 4.0]).slope_error is None
    assert fit_line([2.0, 2.0], [3.0, 4.0]) is None
    assert fit_line([], []) is None
    assert fit_power_law([1.0, 2.0], [1.0, 0.0]) is None
    assert fit_power_law([1.0, 8.0, 64.0], [4.0, 8.0, 16.0]).exponent == pytest.approx(1 / 3)
    assert (with_error(-1 / 3, 0.0123), with_error(2.0, None), with_error(1.0, 1e-9)) == (
        "−0.33 ± 0.01",
        "2.00",
        "1.0000 ± 0.0000",
    )


def test_energy_of_a_potential_is_lammps_s():
    """Additive over repeated cells, and of the commands that are given: two atoms in a harmless pair potential."""
    atoms, _ = paper_cases.crystal((2, 2, 2), 3)
    assert potential_energy(atoms.repeat((1, 1, 2))) == pytest.approx(2 * potential_energy(atoms), rel=1e-9)
    from ase import Atoms

    pair = Atoms("Be2", positions=[[0, 0, 0], [2.5, 0, 0]], cell=[12, 12, 12], pbc=True)
    lennard_jones = ["pair_style lj/cut 5.0", "pair_coeff * * 0.1 2.0"]
    expected = 4 * 0.1 * ((2.0 / 2.5) ** 12 - (2.0 / 2.5) ** 6)
    assert potential_energy(pair, lennard_jones) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(InputError, match="LAMMPS: expected commands that it accepts"):
        potential_energy(pair, ["pair_style nothing"])

"""The target paper_figures: its graph, its report, deposits, and what is left out where DFT is not done."""

import json
import re
import shlex
import shutil

import pytest
import yaml

from nearsight.figures.captions import BODIES
from nearsight.figures.contents import TABLES, data_names

FAULT = {"snapshot": "b-0", "repeat": [2, 2, 3], "stacking_fault_layer": 1}
CHANGES = {
    "supercells": {"plain": {"snapshot": "b-0", "repeat": [2, 2, 3]}, "fault": FAULT},
    "paper_figures": {"fault_pairs": {"plain": "fault"}, "potentials": {"SNAP": []}},
}

#: What a deposit says of the study that it comes from.
SETTINGS = {
    **{"study": "elsewhere", "elements": ["Be"], "ecutwfc_Ry": 77.0, "ecutrho_Ry": 308.0, "kpoints": [1, 2, 3]},
    **{"kpoints_shift": [0, 0, 0], "temperatures_K": [298.0], "energy_min_eV": -5.0, "energy_max_eV": 11.0},
    **{"spacing_eV": 0.2, "broadening_eV": 0.4, "descriptors": "bispectrum", "network": "perceptron"},
    **{"train": 1, "validation": 1, "test": 1},
}


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished quickstart, to be changed."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return type(finished)(tmp_path / "copy")


def words_of(output: str, module: str) -> list[str]:
    """The command line of a module in a dry run."""
    line = next(line for line in output.splitlines() if line.startswith("Shell command: ") and f"{module}.py" in line)
    return shlex.split(line.removeprefix("Shell command: "))


def test_nothing_but_the_figures_is_computed_for_a_finished_study(finished):
    preparing = ("prepare_stacking_fault", "prepare_cost", "prepare_accuracy", "prepare_similarity")
    # the training set's extrapolation scores are in plans that are there
    assert finished.jobs("paper_figures") == {**dict.fromkeys(preparing, 1), "draw_paper_figure": 4, "paper_figures": 1}


def test_jobs_get_what_they_compare(workflow):
    output = workflow.run("paper_figures", "--dry-run", "--printshellcmds", "--configfile", workflow.study(CHANGES))
    words = words_of(output, "prepare_stacking_fault")
    assert json.loads(words[words.index("--pairs") + 1]) == {"plain": "fault"}
    assert "fault=results/quickstart/predictions/fault/prediction.h5" in words
    words = words_of(output, "prepare_accuracy")
    assert json.loads(words[words.index("--potentials") + 1]) == {"SNAP": []}
    cells = json.loads(words[words.index("--cells") + 1])
    assert cells["b-0"]["usual_temperature_K"] == 298.0
    words = words_of(output, "prepare_similarity")
    cells = json.loads(words[words.index("--cells") + 1])
    assert cells["fault"]["fault"]
    assert not cells["plain"]["fault"]
    assert cells["a-0"]["role"] == "train"


def test_unknown_names_of_a_pair_are_refused(workflow):
    name = workflow.study({**CHANGES, "paper_figures": {"fault_pairs": {"plain": "absent"}}})
    output = workflow.run("paper_figures", "--dry-run", "--configfile", name, fails=True)
    assert "paper_figures.fault_pairs.plain: expected names of snapshots or supercells, got absent" in output


def test_cells_without_dft_are_left_out_where_asked(copy):
    """With available=true no DFT is started for a held-out cell that was not computed."""
    reference = copy.folder / "results/quickstart/reference"
    content = yaml.safe_load((copy.folder / "config/quickstart.yaml").read_text(encoding="utf-8"))
    content["trajectories"]["c"] = {"temperature_K": 298.0, "lammps_steps": 10, "snapshots": {"test": 2}}
    (copy.folder / "more.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    jobs = copy.jobs("paper_figures", "--configfile", "more.yaml")
    assert jobs["run_scf"] == 2
    options = ("--configfile", "more.yaml", "--config", "available=true")
    assert not {"run_scf", "run_lammps_md"} & set(copy.jobs("paper_figures", *options))
    output = copy.run("paper_figures", "--dry-run", "--printshellcmds", *options)
    words = words_of(output, "prepare_accuracy")
    assert [word for word in words if "evaluation/" in word] == ["b-0=results/quickstart/evaluation/b-0.json"]
    assert set(json.loads(words[words.index("--cells") + 1])) == {"b-0", "c-0", "c-1"}
    (reference / "b-0.h5").unlink()
    output = copy.run("paper_figures", "--dry-run", "--printshellcmds", *options)
    assert not [word for word in words_of(output, "prepare_accuracy") if "evaluation/" in word]


def test_report_has_the_figures_with_captions_that_quote_the_settings(copy):
    copy.run("paper_figures", "--cores", "2")
    assert (copy.folder / "results/quickstart/paper/figure-4.pdf").is_file()
    copy.run("paper_figures", "--report", "report.html")
    report = (copy.folder / "report.html").read_text(encoding="utf-8")
    for figure in TABLES:
        assert f"figure-{figure}.png" in report
        assert " ".join(BODIES[figure].split()[:4]) in report
    assert "Figures of the paper" in report
    assert "Quantum ESPRESSO with 30 Ry (120 Ry for the density)" in report
    assert "Nothing to be done" in copy.run("paper_figures", "--cores", "1")


def test_deposit_is_drawn_without_anything_else(workflow):
    """No study's results, no model: two rules, and captions with the settings that the deposit says."""
    folder = workflow.folder / "kept"
    folder.mkdir()
    for figure in TABLES:
        for name in data_names(figure):
            (folder / name).write_text("x")
    (folder / "manifest.json").write_text(json.dumps({"settings": SETTINGS}))
    jobs = workflow.jobs("paper_figures", "--config", "deposited=kept")
    assert jobs == {"take_deposit": 1, "draw_paper_figure": 4, "paper_figures": 1}
    output = workflow.run("paper_figures", "--dry-run", "--printshellcmds", "--config", "deposited=kept")
    assert "results/deposited/data/figure-3-parity.csv" in words_of(output, "draw_paper_figure") + words_of(
        output, "take_deposit"
    )
    assert not re.search(r"results/quickstart", output)
    output = workflow.run("paper_figures", "--dry-run", "--config", "deposited=nowhere", fails=True)
    assert "deposited: expected a folder with manifest.json, such as docs/figures/data, got nowhere" in output
    assert "Traceback" not in output

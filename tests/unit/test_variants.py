"""Variants of a training: their settings, scores, comparison, and the jobs that they need."""

import json
import subprocess
import sys

import pytest

from nearsight.datasets import open_dataset, variables_of_atoms, write_dataset
from nearsight.errors import ConfigError
from nearsight.evaluation.variants import (
    COLUMNS,
    choose,
    describe_changes,
    find_front,
    score_model,
    summarise,
    tabulate,
)
from nearsight.figures.tables import read_table, rows_of
from nearsight.figures.variants import draw_variants
from nearsight.files import read_json
from nearsight.grids.plane_waves import fft_shape
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Inference

COST = {"training_s": 10.0, "descriptors_us": 2.0, "network_us": 1.0}


def score(*errors, cost=COST, refused=(), failure=None):
    return {
        "cost": cost,
        "snapshots": {
            f"v-{i}": {"free_energy_error_meV_per_atom": e, "density_mape_percent": 0.5, "refused": i in refused}
            for i, e in enumerate(errors)
        },
        "failure": failure,
    }


@pytest.fixture
def quickstart(repository):
    def load(variants):
        return load_study(repository / "config/quickstart.yaml", overrides={"variants": variants})

    return load


def test_a_variant_is_the_study_with_its_changes(quickstart):
    study = quickstart({"small": {"training": {"network": {"hidden": [8]}}, "descriptors": {"twojmax": 6}}})
    varied = study.varied("small")
    assert varied.training.network.hidden == [8]
    assert varied.training.network.activation == study.training.network.activation
    assert varied.descriptors.twojmax == 6
    assert varied.training.model_copy(update={"network": study.training.network}) == study.training
    assert varied.model_copy(update={"training": study.training, "descriptors": study.descriptors}) == study


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"x": {"training": {"epoch": 3}}}, r"variants\.x\.training\.epoch: unknown key"),
        ({"x": {"training": {"epochs": "many"}}}, r"variants\.x\.training\.epochs: expected a whole number"),
        ({"x": {"training": {"points_share": 0.0}}}, r"variants\.x\.training\.points_share: expected a number above 0"),
        ({"x": {"descriptors": {"twojmax": 14}}}, r"variants\.x\.descriptors\.twojmax: "),
        ({"x": {"snapshots": 99}}, r"variants\.x\.snapshots: expected at most \d+, all training snapshots, got 99"),
        ({"x": {"dft": {}}}, r"variants\.x\.dft: unknown key"),
        ({"study": {}}, r"variants\.study: expected another name"),
    ],
)
def test_a_wrong_variant_is_found_before_the_first_job(quickstart, variant, message):
    with pytest.raises(ConfigError, match=message):
        quickstart(variant)


def test_fewer_snapshots_are_spread_evenly(quickstart):
    study = quickstart({f"n{n}": {"snapshots": n} for n in (1, 2, 3, 4)})
    names = study.snapshot_names("train")
    assert len(names) == 4
    assert [study.variant_training(f"n{n}") for n in (1, 2, 3, 4)] == [
        names[:1],
        [names[0], names[3]],
        [names[0], names[2], names[3]],
        names,
    ]


def test_the_front_has_what_nothing_beats():
    costs, errors = [4.0, 1.0, 2.0, 3.0, 1.0], [1.0, 5.0, 2.0, 2.5, 6.0]
    assert find_front(costs, errors) == [1, 2, 0]
    assert find_front([], []) == []


def test_the_comparison_counts_what_a_model_takes(tmp_path):
    changes = {"training": {"network": {"hidden": [8]}}, "descriptors": {}, "snapshots": 2}
    row = summarise("x", changes, score(1.0, -3.0, 100.0, refused=(2,)))
    assert row["changes"] == describe_changes(changes) == "training.network.hidden = [8], snapshots = 2"
    assert (row["cells"], row["refused"], row["mae_meV_per_atom"], row["mean_error_meV_per_atom"]) == (2, 1, 2.0, -1.0)
    assert (row["scatter_meV_per_atom"], row["density_percent"]) == (2.0, 0.5)
    none = summarise("y", {}, score(failure="v-0: no Fermi level"))
    assert none["mae_meV_per_atom"] is None
    cheap = summarise("z", {}, score(9.0, cost={**COST, "network_us": 0.1}))
    lines = tabulate([row, none, cheap])
    assert "2.00 (-1.00, 2.00)" in lines[2]
    assert "no prediction" in lines[3]
    assert "the cheapest to the best: z, x." in choose([row, none, cheap])
    assert choose([none]) == "No variant predicts all validation snapshots."
    draw_variants([row, none, cheap]).savefig(tmp_path / "figure.png")


@pytest.fixture(scope="module")
def reference(repository, tmp_path_factory):
    """A snapshot dataset that is a prediction of the model Be, its free energy 8 meV/atom lower, its density larger."""
    folder = tmp_path_factory.mktemp("reference")
    atoms = read_structure(f"{repository}/config/beryllium/ideal.extxyz@3")
    shape = fft_shape(atoms.cell.array, 120.0)
    found = predict_structure(ModelFiles.find("Be"), atoms, folder / "p", Inference(batches=1), alone(), shape=shape)
    with open_dataset(folder / "p/prediction.h5") as prediction:
        density = prediction["density"].values
    energies = {"total_free_energy": found.total - 0.008 * len(atoms), "band_energy": found.band}
    write_dataset(
        folder / "reference.h5",
        {**variables_of_atoms(atoms), "density": density / 1.01, "fermi_energy": found.fermi_energy, **energies},
        {"temperature_K": 298.0},
        {"stage": "reference"},
    )
    return folder / "reference.h5"


def test_a_score_is_the_distance_from_the_reference(reference, tmp_path):
    found = score_model(ModelFiles.find("Be"), {"v-0": reference}, tmp_path, threads=1)
    one = found["snapshots"]["v-0"]
    assert found["failure"] is None
    assert one["free_energy_error_meV_per_atom"] == pytest.approx(8.0, abs=1e-6)
    assert one["band_energy_error_meV_per_atom"] == pytest.approx(0.0, abs=1e-6)
    assert one["density_mape_percent"] == pytest.approx(1.0, rel=1e-4)
    assert one["error_bar_meV_per_atom"] > 0
    assert not one["refused"]
    assert found["cost"]["descriptors_us"] > found["cost"]["network_us"] * 1e-2 > 0


def test_the_jobs_write_scores_and_comparison(reference, repository, tmp_path):
    def run_script(name, *options):
        script = repository / f"workflow/scripts/{name}.py"
        done = subprocess.run([sys.executable, script, *map(str, options)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    bundle, weights = ModelFiles.find("Be").bundle, ModelFiles.find("Be").weights
    scores = tmp_path / "x/score.json"
    run_script(
        "score_model", "--model", bundle, "--weights", weights, "--references", f"v-0={reference}", "--output", scores
    )
    assert [path.name for path in scores.parent.iterdir()] == ["score.json"]
    files = {key: tmp_path / f"variants.{end}" for key, end in (("markdown", "md"), ("csv", "csv"), ("png", "png"))}
    options = [str(part) for key, path in files.items() for part in (f"--{key}", path)]
    changes = json.dumps({"x": {"training": {"epochs": 3}}})
    run_script(
        "compare_variants", "--scores", f"study={scores}", f"x={scores}", "--changes", changes, *options,
        "--pdf", tmp_path / "variants.pdf",
    )  # fmt: skip
    own, other = rows_of(read_table(files["csv"]))
    assert tuple(own) == COLUMNS
    assert (own["variant"], other["changes"]) == ("study", "training.epochs = 3")
    assert own["mae_meV_per_atom"] == pytest.approx(8.0, abs=1e-3)
    assert "| study |" in files["markdown"].read_text(encoding="utf-8")
    assert read_json(scores)["failure"] is None
    assert files["png"].read_bytes()[1:4] == b"PNG"

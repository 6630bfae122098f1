"""Quantum ESPRESSO -> import -> train -> predict -> export -> Quantum ESPRESSO: what a prediction saves of an SCF."""

import subprocess
import sys

import pytest
import yaml
from espresso_cells import hcp, make_pseudopotentials
from test_import_espresso import pw_text
from test_restart_espresso import first_accuracy, iterations, run, total

from nearsight.cli import main
from nearsight.datasets import open_dataset
from nearsight.files import read_json, sha256_of

pytestmark = [pytest.mark.qe, pytest.mark.slow, pytest.mark.mpi]

ROLES = {"one": "train", "two": "train", "three": "train", "four": "validation", "five": "test"}


def structure(number):
    atoms = hcp(2, 1, 1)
    atoms.rattle(0.06, seed=number)
    return atoms


def text_of(atoms, start=""):
    text = pw_text(atoms, bands=26, more="nosym=.true.", kpoints="2 2 2 1 1 1")
    return text.replace("conv_thr=1e-10", f"conv_thr=1e-9{start}")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of five finished runs, and what pw.x has printed."""
    folder = tmp_path_factory.mktemp("round trip")
    pseudopotentials = {"Be": make_pseudopotentials(folder)["Be"]}
    content = {
        "study": "mine",
        "pseudopotentials": {"Be": {"upf": "Be.upf", "sha256": sha256_of(folder / "Be.upf")}},
        "dft": {"ecutwfc_Ry": 20.0, "ecutrho_Ry": 80.0, "kpoints": [2, 2, 2], "bands_per_occupied": 3.25},
        "ldos": {"energy_min_eV": -6.0, "energy_max_eV": 12.0, "spacing_eV": 0.2, "broadening_eV": 0.4},
        "descriptors": {"twojmax": 6, "ranks": 1, "precision": "float32"},
        "training": {
            "network": {"hidden": [64, 64], "activation": "silu"},
            "learning_rate": 4e-3,
            "schedule": "one_cycle",
            "epochs": 20,
            "patience": 20,
            "threads": 1,
        },
        "snapshots": {name: {"dataset": f"{name}.h5", "role": role} for name, role in ROLES.items()},
        "inference": {"batches": 1, "accept_extrapolation": True},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    printed = {}
    for number, name in enumerate(ROLES):
        printed[name] = run(folder / name, pseudopotentials, text_of(structure(number)))
        command = ["import", "qe", str(folder / name / "tmp"), "--study", str(folder / "mine.yaml")]
        assert main([*command, "--out", str(folder / f"{name}.h5")]) == 0
    return folder, pseudopotentials, printed


def test_round_trip(study, repository, tmp_path, record_property):
    folder, pseudopotentials, printed = study
    command = [sys.executable, "-m", "snakemake", "results/mine/evaluation/five.json"]
    command += ["--snakefile", str(repository / "Snakefile"), "--cores", "2", "--nocolor", "--configfile", "mine.yaml"]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=7200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = folder / "results/mine"
    errors = read_json(results / "evaluation/five.json")
    assert errors["fields"]["network"]["density_integrated_percent"] < 2.0
    assert errors["label_floor_meV_per_atom"]["total"] > 0
    with open_dataset(folder / "five.h5") as reference:
        assert errors["total_free_energy_eV"]["dft"] == float(reference["total_free_energy"])
    prediction = str(results / "predictions/five/prediction.h5")
    outdir = tmp_path / "again/tmp/crystal.save"
    assert main(["export", prediction, str(outdir), "--format", "espresso", "--ecutrho-Ry", "80"]) == 0
    again = run(tmp_path / "again", pseudopotentials, text_of(structure(4), ", startingpot='file'"))
    atoms = printed["five"]
    assert "The initial density is read from file" in again
    assert total(again) == pytest.approx(total(atoms), abs=1e-7)
    assert first_accuracy(again) < 0.2 * first_accuracy(atoms)
    assert iterations(again) < iterations(atoms)
    record_property(
        "measured",
        f"density off by {errors['fields']['network']['density_integrated_percent']:.2f} %; first accuracy "
        f"{first_accuracy(atoms):.1e} Ry from atoms, {first_accuracy(again):.1e} from the prediction; iterations "
        f"{iterations(atoms)} and {iterations(again)}",
    )

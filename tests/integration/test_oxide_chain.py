"""Beryllium oxide from the decks of ld1.x to total free energies: two elements, a gap, every stage, by Snakemake."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nearsight.datasets import open_dataset
from nearsight.structures.builders import build_structure
from nearsight.structures.io import write_structure
from nearsight.study.reading import load_study

pytestmark = [pytest.mark.slow, pytest.mark.qe]


@pytest.fixture(scope="module")
def results(repository, tmp_path_factory):
    """The folder of the study's results."""
    folder = tmp_path_factory.mktemp("oxide")
    shutil.copytree(repository / "config/pseudo", folder / "config/pseudo")
    study = shutil.copy(repository / "tests/integration/oxide.yaml", folder)
    crystal = build_structure(load_study(study).structures["beo"])
    frames, generator = [crystal.copy() for _ in range(4)], np.random.default_rng(11)
    for frame in frames:
        frame.positions += generator.normal(0, 0.04, frame.positions.shape)
    write_structure(folder / "frames.extxyz", frames)
    bin_folder = os.path.dirname(sys.executable)
    environment = {**os.environ, "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    checked = subprocess.run(["nearsight", "check-config", study], cwd=folder, env=environment, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(repository / "Snakefile"), "--cores", "2"]
    done = subprocess.run(
        [*command, "--configfile", study, "--nocolor", "results/oxide/summary.md"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder / "results/oxide"


def energies_of(results, kind, name):
    return json.loads((results / f"energies/{kind}/{name}.json").read_text())


def test_energies_of_the_reference_are_those_of_quantum_espresso(results, record_property):
    """From the LDOS alone, with all terms by the package; and the terms on QE's own density."""
    errors, hartree, xc = [], [], []
    for name in [*(f"a-{i}" for i in range(3)), "b-0"]:
        ours = energies_of(results, "reference", name)
        with open_dataset(results / f"reference/{name}.h5") as reference:
            assert sorted(set(reference["atomic_numbers"].values)) == [4, 8]
            assert float(reference["electrons"]) == 16.0
            expected = {key: float(reference[key]) for key in ("total_free_energy", "hartree_energy", "xc_energy")}
        errors.append(1e3 * (ours["energies_eV"]["total"] - expected["total_free_energy"]) / 4)
        terms = ours["density_energies_eV_of_dft_density"]
        hartree.append(1e3 * (terms["hartree"] - expected["hartree_energy"]) / 4)
        xc.append(1e3 * (terms["xc"] - expected["xc_energy"]) / 4)
    record_property("measured", f"BeO: total free energy of the reference LDOS off by {np.round(errors, 3)} meV/atom")
    record_property("measured", f"BeO: Hartree {np.abs(hartree).max():.1e}, xc {np.abs(xc).max():.1e} meV/atom")
    assert np.abs(errors).max() < 2.0
    assert np.abs(hartree).max() < 0.05
    assert np.abs(xc).max() < 0.2


def test_the_model_predicts_the_oxide(results, record_property):
    """A model of two cells, on one that it has not seen."""
    ours = energies_of(results, "prediction", "b-0")
    with open_dataset(results / "reference/b-0.h5") as reference:
        expected = float(reference["total_free_energy"]) / 4
    error = 1e3 * (ours["total_free_energy_eV_per_atom"] - expected)
    fields = json.loads((results / "evaluation/b-0.json").read_text())["fields"]
    line = ", ".join(f"{name} {fields['network'][name]:.1f} %" for name in ("ldos_percent", "density_mape_percent"))
    record_property("measured", f"BeO: predicted total free energy off by {error:.1f} meV/atom; {line}")
    for name in ("ldos_percent", "density_integrated_percent"):
        assert fields["network"][name] < 0.5 * fields["mean_ldos"][name], name

"""The job compute_energies on a prediction and on a snapshot dataset, and the errors that follow from both."""

import re
from pathlib import Path
from types import SimpleNamespace

import compute_energies
import evaluate_prediction
import numpy as np
import pytest
from energy_cases import GRID, ECUTRHO_Ry, two_atoms, write_study

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import read_json, write_json


@pytest.fixture
def study(tmp_path) -> Path:
    """A made-up LDOS as snapshot dataset, and the same as a prediction; the folder's name has characters of a shell."""
    folder = tmp_path / "a $(study); 'quoted'"
    folder.mkdir()
    write_study(folder, two_atoms())
    return folder


def compute(study: Path, name: str) -> dict:
    output = study / f"{name}.json"
    options = ["--fields", f"{study}/{name}.h5", "--pseudopotential", f"Be={study}/Be.upf"]
    options += ["--ecutrho-Ry", str(ECUTRHO_Ry), "--output", str(output)]
    compute_energies.main(compute_energies.parse_arguments(options))
    return read_json(output)


def test_prediction_and_reference_of_one_ldos_have_one_energy(study):
    predicted, reference = compute(study, "prediction"), compute(study, "snapshot")
    terms = predicted["energies_eV"]
    total = terms["band"] - terms["hartree"] + terms["xc"] - terms["xc_potential"] + terms["ion"] + terms["entropy"]
    assert terms["total"] == pytest.approx(total, abs=1e-9)
    assert predicted["total_free_energy_eV_per_atom"] == pytest.approx(total / 2, abs=1e-9)
    assert reference["energies_eV"] == pytest.approx(terms, abs=1e-6)
    of_density = reference["density_energies_eV_of_dft_density"]
    assert of_density == pytest.approx({key: terms[key] for key in of_density}, abs=1e-6)
    assert predicted["electrons"] == pytest.approx(4.0, abs=1e-9)
    assert predicted["provenance"]["stage"] == "energies"
    assert {"fields", "pseudopotential Be"} == set(predicted["provenance"]["inputs_sha256"])


def test_unscreened_charge_is_warned_of(study, caplog):
    """The density has a wave of the cell's height: four times as high a cell has a long one."""
    assert compute(study, "prediction")["unscreened_eV_per_atom"] == 0
    assert "unscreened" not in caplog.text
    write_study(study, two_atoms().repeat((1, 1, 4)))
    found = compute(study, "prediction")
    # 2 a cos(G·r) with 2 a = 0.3 of the mean density, in eV per atom; the ions have no such wave
    volume, wave = two_atoms().get_volume() / 2, 4 * two_atoms().cell[2, 2]
    expected = 2 * np.pi * units.COULOMB_eV_A * volume * 2 * (0.15 * 2 / volume) ** 2 / (2 * np.pi / wave) ** 2
    assert found["unscreened_eV_per_atom"] == pytest.approx(expected, rel=0.02)
    assert re.search(r"unscreened charge: \d+\.\d\d meV/atom in waves longer than 10 Å", caplog.text)
    reference = compute(study, "snapshot")
    assert reference["unscreened_eV_per_atom_of_dft_density"] == pytest.approx(expected, rel=0.02)


def test_evaluation_tells_method_and_network_apart(study, monkeypatch):
    energies = {"mean_band_energy_eV_per_atom": 1.0, "mean_total_free_energy_eV_per_atom": -36.5}
    model = SimpleNamespace(ldos_scaling=SimpleNamespace(mean=np.full(GRID.count, 0.03)), training=energies)
    monkeypatch.setattr(evaluate_prediction, "load_bundle", lambda *_: model)
    predicted = compute(study, "prediction")
    reference = compute(study, "snapshot")
    predicted["energies_eV"]["total"] += 0.004
    write_json(study / "prediction.json", predicted)
    options = ["--name", "a-0", "--role", "test", "--prediction", f"{study}/prediction.h5"]
    options += ["--batches", f"{study}/batch-0.h5", "--reference", f"{study}/snapshot.h5"]
    options += ["--energies", f"{study}/prediction.json", "--reference-energies", f"{study}/snapshot.json"]
    options += ["--model", "m.json", "--weights", "m.safetensors", "--output", f"{study}/errors.json"]
    evaluate_prediction.main(evaluate_prediction.parse_arguments(options))
    result = read_json(study / "errors.json")
    errors, floors = result["total_free_energy_error_meV_per_atom"], result["label_floor_meV_per_atom"]
    method = 500 * (reference["energies_eV"]["total"] + 73.0)
    assert errors == pytest.approx(
        {"network": 2.0, "method": method, "total": 2.0 + method, "mean_energy": 0.0}, abs=1e-3
    )
    assert floors["ldos"] == pytest.approx(abs(method), abs=1e-6)
    assert floors["total"] == pytest.approx(abs(method) + 500e-9 * units.RYDBERG_eV)


def test_an_unknown_element_is_refused(study):
    options = ["--fields", f"{study}/prediction.h5", "--pseudopotential", f"Al={study}/Be.upf"]
    options += ["--ecutrho-Ry", "40", "--output", f"{study}/out.json"]
    with pytest.raises(InputError, match="expected a pseudopotential of Al, got one of Be"):
        compute_energies.main(compute_energies.parse_arguments(options))
    assert not (study / "out.json").exists()

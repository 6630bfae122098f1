"""The job compute_energies on a prediction and on a snapshot dataset, and the errors that follow from both."""

from pathlib import Path

import compute_energies
import evaluate_prediction
import numpy as np
import pytest
from ase import Atoms

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.espresso.grid import fft_shape
from nearsight.files import read_json, write_json
from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, integrate_dos

ECUTRHO_Ry = 40.0
GRID = EnergyGrid(-8.0, 0.2, 81)
CONDITIONS = {"temperature_K": 3000.0, "broadening_eV": 0.4}


@pytest.fixture
def atoms() -> Atoms:
    return Atoms(
        "Be2", cell=[[2.2, 0, 0], [-1.1, 1.9, 0], [0, 0.1, 3.6]], positions=[[0, 0, 0], [0, 1.2, 1.8]], pbc=True
    )


@pytest.fixture
def study(atoms, tmp_path) -> Path:
    """A made-up LDOS as snapshot dataset, and the same as a prediction; the folder's name has characters of a shell."""
    folder = tmp_path / "a $(study); 'quoted'"
    folder.mkdir()
    r = 1e-3 * np.exp(0.0125 * np.arange(801))
    columns = {"PP_R": r, "PP_RAB": 0.0125 * r, "PP_NLCC": np.exp(-((r / 0.5) ** 2))}
    body = "".join(f"<{tag}>{' '.join(map(str, values.tolist()))}</{tag}>\n" for tag, values in columns.items())
    header = '<PP_HEADER element="Be" z_valence="2.0" core_correction="true" functional="PBE"/>'
    (folder / "Be.upf").write_text(f"<UPF>{header}\n{body}</UPF>")

    shape = fft_shape(atoms.cell.array, ECUTRHO_Ry)
    wave = 1 + 0.3 * np.cos(2 * np.pi * np.arange(shape[2]) / shape[2])
    spectrum = 0.04 * np.sqrt(np.maximum(GRID.energies_eV + 6, 0))
    ldos = (np.ones(shape)[..., None] * wave[:, None] * spectrum).astype(np.float32)
    dos = dos_from_ldos(ldos, atoms.get_volume() / np.prod(shape))
    found = integrate_dos(dos, GRID, 4.0, **CONDITIONS)
    density = density_from_ldos(ldos, fermi_weights(GRID, found.fermi_energy_eV, **CONDITIONS))
    common = {**variables_of_atoms(atoms), "energy": GRID.energies_eV, "dos": dos, "density": density}
    common |= {
        "electrons": 4.0,
        "fermi_energy": found.fermi_energy_eV,
        "band_energy": found.band_energy_eV,
        "entropy_energy": found.entropy_energy_eV,
    }
    write_dataset(folder / "prediction.h5", common, {**CONDITIONS, "electrons": 4.0}, {})
    write_dataset(folder / "batch-0.h5", {"ldos": ldos}, {}, {})
    settings = {"temperature_K": CONDITIONS["temperature_K"], "ldos": {"broadening_eV": CONDITIONS["broadening_eV"]}}
    write_dataset(folder / "snapshot.h5", {**common, "ldos": ldos, "total_free_energy": -73.0}, settings, {})
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


def test_evaluation_tells_method_and_network_apart(study):
    predicted = compute(study, "prediction")
    reference = compute(study, "snapshot")
    predicted["energies_eV"]["total"] += 0.004
    write_json(study / "prediction.json", predicted)
    options = ["--name", "a-0", "--role", "test", "--prediction", f"{study}/prediction.h5"]
    options += ["--batches", f"{study}/batch-0.h5", "--reference", f"{study}/snapshot.h5"]
    options += ["--energies", f"{study}/prediction.json", "--reference-energies", f"{study}/snapshot.json"]
    options += ["--train-reference", f"{study}/snapshot.h5", "--output", f"{study}/errors.json"]
    evaluate_prediction.main(evaluate_prediction.parse_arguments(options))
    errors = read_json(study / "errors.json")["total_free_energy_error_meV_per_atom"]
    method = 500 * (reference["energies_eV"]["total"] + 73.0)
    assert errors == pytest.approx(
        {"network": 2.0, "method": method, "total": 2.0 + method, "mean_energy": 0.0}, abs=1e-3
    )


def test_an_unknown_element_is_refused(study):
    options = ["--fields", f"{study}/prediction.h5", "--pseudopotential", f"Al={study}/Be.upf"]
    options += ["--ecutrho-Ry", "40", "--output", f"{study}/out.json"]
    with pytest.raises(InputError, match="pseudopotentials: expected one for Be, got those of Al"):
        compute_energies.main(compute_energies.parse_arguments(options))
    assert not (study / "out.json").exists()

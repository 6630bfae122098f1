"""Models by name, and the cards that say what they are good for."""

import csv
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import write_model_card
from ase.build import bulk
from model_files import UPF, make_random_model

import nearsight
from nearsight.cli import main
from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.errors import InputError
from nearsight.files import read_json, sha256_of, write_json
from nearsight.inference.run import ModelFiles
from nearsight.model.bundle import load_bundle, save_bundle
from nearsight.models import LARGEST_BYTES, model_names, read_model_card, shelf, ship_model
from nearsight.models.card import read_card, render_card

DESCRIPTORS = {"twojmax": 4, "cutoff_A": 4.0}
SHAPE = (12, 12, 18)
QUANTITIES = ("total_free_energy_error_meV_per_atom", "band_energy_error_meV_per_atom", "fermi_energy_error_meV")


def displaced(seed=1):
    atoms = bulk("Be", a=2.27, c=3.57)
    atoms.rattle(0.05, seed=seed)
    return atoms


def write_snapshot(folder, name, role, error, atoms=None, **dft):
    """A reference dataset without fields, and the errors on it: `error` in total, half of it the network's."""
    atoms = atoms or displaced()
    settings = {
        "dft": {
            "ecutwfc_Ry": 30.0,
            "ecutrho_Ry": 120.0,
            "kpoints": [8, 8, 6],
            "kpoints_shift": [1, 1, 1],
            "conv_thr_Ry": 1e-9,
            **dft,
        },
        "temperature_K": 298.0,
    }
    provenance = {"programs": {"Quantum ESPRESSO": "6.7"}}
    write_dataset(folder / f"reference/{name}.h5", variables_of_atoms(atoms), settings, provenance)
    fields = dict.fromkeys(("ldos_percent", "density_mape_percent", "density_integrated_percent", "dos_percent"), 1.5)
    errors = {"total": error, "network": error / 2, "method": error / 2}
    content = {"name": name, "role": role, "atoms": len(atoms), "fields": {"network": fields}}
    write_json(folder / f"evaluation/{name}.json", {**content, **dict.fromkeys(QUANTITIES, errors)})


@pytest.fixture
def study(tmp_path):
    """A folder of results with a random model, three snapshots of a state, and one of another with more atoms."""
    atoms = displaced()
    bundle = make_random_model(bispectrum(atoms, SHAPE, **DESCRIPTORS), DESCRIPTORS, energy_max_eV=12.0)
    (tmp_path / "model").mkdir()
    save_bundle(bundle, tmp_path / "model/model.json", tmp_path / "model/model.safetensors")
    for number, error in enumerate((3.0, -4.0, 0.0)):
        write_snapshot(tmp_path, f"warm-{number}", "test", error)
    large = atoms.repeat((2, 1, 1))
    large.set_cell(large.cell * 2 ** (1 / 3), scale_atoms=True)
    write_snapshot(tmp_path, "large-0", "train", 1.0, large, kpoints=[4, 8, 6])
    return tmp_path


def write_card(study):
    names = ("warm-0", "warm-1", "warm-2", "large-0")
    write_model_card.main(
        write_model_card.parse_arguments(
            [
                *("--study", "tiny", "--model", f"{study}/model/model.json"),
                *("--weights", f"{study}/model/model.safetensors"),
                *("--references", *(f"{study}/reference/{name}.h5" for name in names)),
                *("--evaluations", *(f"{study}/evaluation/{name}.json" for name in names)),
                *("--json", f"{study}/model/card.json", "--markdown", f"{study}/model/card.md"),
            ]
        )
    )
    return read_card(study / "model/card.json")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of models in place of the package's."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(shelf, "FOLDER", folder)
    return folder


@pytest.fixture
def shipped(study, folder):
    write_card(study)
    return ship_model(study / "model", "Be", "BSD-3-Clause")


def test_a_card_is_made_of_the_studys_files(study):
    card = write_card(study)
    assert (card.name, card.licence, card.elements) == ("tiny", None, ["Be"])
    assert card.files == {path.name: sha256_of(path) for path in (study / "model").glob("model.*")}
    assert card.dft.kpoints == ["8 x 8 x 6 (2 atoms)", "4 x 8 x 6 (4 atoms)"]
    assert card.dft.program == "Quantum ESPRESSO 6.7"
    assert card.dft.pseudopotentials["Be"].functional == "PBE"
    model = load_bundle(study / "model/model.json", study / "model/model.safetensors")
    assert card.ldos.energy_max_eV == pytest.approx(model.energy_grid.energies_eV[-1])
    warm, large = card.states
    assert (warm.name, warm.role, warm.snapshots, warm.atoms) == ("warm", "test", 3, 2)
    # (9 + 16 + 0)/3, and half of each error is the network's
    assert warm.total_free_energy_meV_per_atom.rms == pytest.approx(np.sqrt(25 / 3))
    assert warm.total_free_energy_meV_per_atom.largest == -4.0
    assert warm.network_meV_per_atom.rms == pytest.approx(np.sqrt(25 / 12))
    assert warm.density_integrated_percent == 1.5
    # 2 x 9.0121831 u in a²c√3/2
    assert warm.density_g_cm3 == pytest.approx(2 * 9.0121831 * 1.66053907 / (2.27**2 * 3.57 * np.sqrt(3) / 2), rel=1e-6)
    assert large.density_g_cm3 == pytest.approx(warm.density_g_cm3 / 2, rel=1e-6)
    page = (study / "model/card.md").read_text(encoding="utf-8")
    assert page == render_card(card)
    assert "| warm | test | 3 | 2 (Be) | 298 |" in page
    assert "| 2.89 (-4.00) | 1.44 (-2.00) |" in page
    rows = list(csv.reader(page[page.index("| state") :].splitlines(), delimiter="|"))
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda study: write_snapshot(study, "warm-1", "test", 1.0, displaced().repeat(2)), None),
        (lambda study: write_snapshot(study, "warm-1", "test", 1.0, ecutrho_Ry=160.0), "ecutrho_Ry: expected 120"),
        (
            lambda study: write_json(study / "evaluation/warm-1.json", {"name": "warm-2", "atoms": 2}),
            "expected the errors on warm-1 with 2 atoms, got those on warm-2",
        ),
    ],
)
def test_files_that_do_not_fit_make_no_card(study, change, message):
    change(study)
    if message is None:  # another size is a state of its own
        assert [one.atoms for one in write_card(study).states] == [2, 16, 4]
        return
    with pytest.raises(InputError, match=message):
        write_card(study)
    assert not (study / "model/card.json").exists()


def test_a_model_is_found_by_name(shipped, tmp_path, capsys, monkeypatch):
    """The command and the calculator take a name; what exists under that name wins."""
    assert model_names() == ["Be"]
    atoms = displaced()
    ase.io.write(tmp_path / "be.extxyz", atoms)
    options = ["--accept-extrapolation", "--grid", *map(str, SHAPE)]
    assert main(["predict", "Be", str(tmp_path / "be.extxyz"), "--out", str(tmp_path / "out"), *options]) == 0
    total = read_json(tmp_path / "out/energies.json")["energies_eV"]["total"]
    assert (tmp_path / "out/Be.upf").read_text() == UPF
    atoms.calc = nearsight.Calculator("Be", accept_extrapolation=True, shape=SHAPE)
    assert atoms.get_potential_energy() == pytest.approx(total, abs=1e-6)  # digits of the file
    (tmp_path / "here/Be").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert str(ModelFiles.find("Be").bundle) == "Be/model.json"
    capsys.readouterr()
    assert main(["predict", "Fe", str(tmp_path / "be.extxyz"), "--out", str(tmp_path / "other")]) == 1
    assert "or the name of one that comes with Nearsight (Be), found none" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_models_are_listed_with_their_cards(shipped, study, capsys):
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("# Be\n")
    assert "| licence | BSD-3-Clause |" in listed
    assert listed == (shipped / "card.md").read_text(encoding="utf-8") + "\n"
    (shipped / "model.safetensors").write_bytes(b"another")
    assert main(["models"]) == 1
    assert "model.safetensors: expected the file of the model's card" in capsys.readouterr().err


def test_without_models(folder, capsys):
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "no models come with this version\n"
    with pytest.raises(InputError, match=r"comes with Nearsight \(none does\)"):
        ModelFiles.find("Be")


def test_what_is_not_shipped(study, folder):
    with pytest.raises(InputError, match=r"card\.json: expected a JSON file, found none"):
        ship_model(study / "model", "Be", "BSD-3-Clause")
    write_card(study)
    with pytest.raises(InputError, match="expected a name of letters"):
        ship_model(study / "model", "../Be", "BSD-3-Clause")
    (study / "model/model.json").write_text("{}")
    with pytest.raises(InputError, match=r"model\.json: expected the file of the model's card"):
        ship_model(study / "model", "Be", "BSD-3-Clause")
    assert model_names() == []


def test_a_large_model_stays_at_home(study, folder, monkeypatch):
    write_card(study)
    monkeypatch.setattr(shelf, "LARGEST_BYTES", 1000)
    with pytest.raises(InputError, match="expected at most 1000 bytes in a model that comes along, got"):
        ship_model(study / "model", "Be", "BSD-3-Clause")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: {**card, "format": "x"}, "expected a nearsight model card of version 1"),
        (lambda card: {**card, "licence": "x | y"}, "licence"),
        (lambda card: {**card, "states": []}, "states"),
        (lambda card: {**card, "files": {"model.json": "00"}}, "files"),
        (lambda card: {**card, "files": {}}, "files: expected model.json and model.safetensors"),
    ],
)
def test_damaged_cards(shipped, change, message):
    write_json(shipped / "card.json", change(read_json(shipped / "card.json")))
    with pytest.raises(InputError, match=message):
        read_model_card("Be")


@pytest.mark.parametrize("name", model_names() or [pytest.param(None, marks=pytest.mark.skip("no model comes along"))])
def test_every_model_of_the_package_is_whole(name):
    """Files, hashes, size, card for people, and a bundle that can be read."""
    card, folder = read_model_card(name), shelf.FOLDER / name
    assert card.name == name
    assert card.licence
    assert sum((folder / file).stat().st_size for file in card.files) <= LARGEST_BYTES
    assert (folder / "card.md").read_text(encoding="utf-8") == render_card(card)
    model = load_bundle(folder / "model.json", folder / "model.safetensors")
    assert model.elements == card.elements
    assert set(model.pseudopotentials) == set(card.elements)


def test_the_command_that_ships(study, tmp_path):
    """It says what is wrong, as a message."""
    done = subprocess.run(
        [sys.executable, "-m", "nearsight.models", str(study / "model"), "Be", "--licence", "BSD-3-Clause"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (f"{study}/model/card.json: expected a JSON file, found none. Run the rule that makes it.\n")

"""A dataset that is computed already, on its way into a study: the same, or refused."""

import numpy as np
import pytest
import take_snapshot
from ase.build import bulk
from model_files import UPF

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.structures.io import read_structure
from nearsight.study.sections import Dft, Ldos

LDOS = Ldos(energy_min_eV=-3.0, energy_max_eV=2.0, spacing_eV=0.5, broadening_eV=1.0)
DFT = Dft(ecutwfc_Ry=20.0, ecutrho_Ry=80.0, kpoints=[2, 2, 2], bands_per_occupied=3.0)
SHAPE = (4, 4, 6)


def write(path, upf, *, atoms=None, scale=1.0, **changes):
    """A snapshot dataset with settings as a study has them; `changes` of its settings."""
    atoms = atoms or bulk("Be")
    count = LDOS.count
    settings = {
        "dft": DFT.model_dump(exclude={"launcher", "ranks"}),
        "ldos": {**LDOS.model_dump(exclude={"work_MB"}), "kernel": "gaussian"},
        "functional": "PBE",
        "temperature_K": 300.0,
        "elements": ["Be"],
        "valence": {"Be": 2.0},
    }
    for key, value in changes.items():
        section, _, last = key.rpartition("__")
        (settings[section] if section else settings)[last] = value
    variables = {
        **variables_of_atoms(atoms),
        "density": np.full(SHAPE, scale * 4.0 / atoms.get_volume()),
        "ldos": np.full((*SHAPE, count), 0.1),
        "energy": LDOS.grid.energies_eV,
        "dos": np.ones(count),
        **dict.fromkeys(("fermi_energy", "band_energy", "entropy_energy", "total_free_energy"), 0.0),
        "electrons": 4.0,
    }
    provenance = {"inputs_sha256": {"pseudopotential Be": sha256_of(upf)}, "programs": {"Quantum ESPRESSO": "7.5"}}
    write_dataset(path, variables, settings, provenance)
    return path


@pytest.fixture
def upf(tmp_path):
    path = tmp_path / "Be.upf"
    path.write_text(UPF)
    return path


def take(dataset, upf):
    folder = dataset.parent / "taken"
    arguments = [
        *("--dataset", str(dataset), "--pseudopotential", f"Be={upf}", "--settings", DFT.to_json()),
        *("--ldos", LDOS.to_json(), "--output", str(folder / "x.h5"), "--structure", str(folder / "x.extxyz")),
    ]
    take_snapshot.main(take_snapshot.parse_arguments(arguments))
    return folder


def test_dataset_and_structure(tmp_path, upf):
    source = write(tmp_path / "mine.h5", upf)
    folder = take(source, upf)
    assert sha256_of(folder / "x.h5") == sha256_of(source)
    atoms = read_structure(folder / "x.extxyz")
    assert tuple(atoms.info["grid_shape"]) == SHAPE
    np.testing.assert_allclose(atoms.positions, bulk("Be").positions, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dft__ecutrho_Ry": 120.0}, r"dft\.ecutrho_Ry: expected 80\.0 as in the study file, got 120\.0"),
        ({"dft__ecutwfc_Ry": 30.0}, r"dft\.ecutwfc_Ry: expected 20\.0 as in the study file"),
        ({"ldos__broadening_eV": 0.5}, r"ldos\.broadening_eV: expected 1\.0 as in the study file"),
        ({"functional": "PBEsol"}, "functional: expected PBE as in the study file, got PBEsol"),
        ({"valence": {"Be": 4.0}}, r"valence\.Be: expected 2\.0"),
        ({"temperature_K": 2000.0}, r"expected an LDOS to at least 4\.31 eV"),
        ({"temperature_K": "hot"}, "temperature_K: expected a positive number"),
        (
            {"atoms": bulk("MgO", "rocksalt", a=4.2)},
            "expected those of the study's pseudopotentials, Be, got Mg, O too",
        ),
        ({"scale": 1.01}, r"density: expected 4 electrons, got 4\.04"),
    ],
)
def test_what_does_not_fit(tmp_path, upf, changes, message):
    source = write(tmp_path / "mine.h5", upf, **changes)
    with pytest.raises(InputError, match=message):
        take(source, upf)
    assert not (tmp_path / "taken").exists()


def test_a_study_of_snapshots_alone_takes_another_kernel(tmp_path, upf):
    """Which the training compares, and check-config where the study computes snapshots itself."""
    source = write(tmp_path / "mine.h5", upf, ldos__kernel="fermi-dirac")
    assert sha256_of(take(source, upf) / "x.h5") == sha256_of(source)


def test_another_pseudopotential(tmp_path, upf):
    source = write(tmp_path / "mine.h5", upf)
    other = tmp_path / "other.upf"
    other.write_text(UPF + " ")
    with pytest.raises(InputError, match="SHA-256 of the pseudopotential of Be: expected"):
        take(source, other)


def test_a_file_without_a_density(tmp_path, upf):
    write_dataset(tmp_path / "x.h5", variables_of_atoms(bulk("Be")), {}, {})
    with pytest.raises(InputError, match=r"x\.h5: expected the variables cell, .*; density, ldos"):
        take(tmp_path / "x.h5", upf)

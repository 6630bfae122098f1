"""What `nearsight check-config` finds in the files that a study names, before the first job."""

import gzip
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.units import Bohr, Hartree
from model_files import UPF
from test_snapshot import make

from nearsight import cli
from nearsight.errors import InputError
from nearsight.grids.kpoints import kpoint_spacing
from nearsight.preflight import COARSEST_SPACING, check_files, free_electron_width
from nearsight.reference.pseudopotential import parse_pseudopotential
from nearsight.reference.snapshot import describe_settings, write_snapshot
from nearsight.structures.builders import build_structure, hcp_orthorhombic
from nearsight.structures.io import read_frames, read_structure, write_structure
from nearsight.study.reading import load_study, parse_study


@pytest.fixture
def content(repository, monkeypatch):
    """The quickstart's study, whose trajectory b is of frames of a file."""
    monkeypatch.chdir(repository)
    content = yaml.safe_load((repository / "config/quickstart.yaml").read_text())
    content["trajectories"]["b"] = {"temperature_K": 298.0, "file": "x", "snapshots": {"test": 2}}
    return content


ROLES = ("train", "validation", "test")


@pytest.fixture
def frames(tmp_path):
    """A file of four frames of the quickstart's cell."""
    cell = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((2, 1, 1))
    path, generator = tmp_path / "frames 1.extxyz", np.random.default_rng(3)
    moved = [cell.copy() for _ in range(4)]
    for frame in moved:
        frame.positions += generator.normal(0, 0.05, frame.positions.shape)
    write_structure(path, moved)
    return path


def look(content):
    return check_files(parse_study(content, "x.yaml"))


def test_shipped_studies_are_the_measure_of_kpoints(repository, monkeypatch):
    monkeypatch.chdir(repository)
    spacings = []
    for path in sorted((repository / "config").glob("*.yaml")):
        study = load_study(path)
        assert not check_files(study).warnings
        spacings += [
            kpoint_spacing(build_structure(cell).cell.array, study.dft_of(name).kpoints)
            for name, cell in study.structures.items()
        ]
    assert 0.95 * COARSEST_SPACING < max(spacings) <= COARSEST_SPACING


def test_spacing_of_kpoints():
    """A cubic cell of 4 Å, and a hexagonal one, whose planes are a √3/2 apart; repeats that fold change nothing."""
    assert kpoint_spacing(4.0 * np.eye(3), [4, 5, 8]) == pytest.approx(2 * np.pi / 16, rel=1e-12)
    hexagonal = bulk("Be", a=2.26, c=9.0)
    assert kpoint_spacing(hexagonal.cell, [4, 4, 2]) == pytest.approx(2 * np.pi / (2.26 * np.sqrt(3) / 2) / 4)
    assert kpoint_spacing(hexagonal.repeat((2, 1, 2)).cell, [2, 4, 1]) == kpoint_spacing(hexagonal.cell, [4, 4, 2])


def test_width_of_free_electrons():
    """At r_s = 1 bohr the Fermi energy is (9π/4)^(2/3)/2 Hartree."""
    density = 3 / (4 * np.pi * Bohr**3)
    assert free_electron_width(density) == pytest.approx((9 * np.pi / 4) ** (2 / 3) / 2 * Hartree, rel=1e-6)


def test_a_line_for_every_cell(content, frames):
    content["trajectories"]["b"]["file"] = str(frames)
    found = look(content)
    assert found.cells == ["be8: Be8, 7.89 Å³ per atom, k-points 6 x 6 x 6, 0.29 1/Å apart"]
    assert not found.warnings


CHOICES = {"": [0, 1, 2, 3], "@1:": [1, 2, 3], "@::2": [0, 2], "@-1": [3], "@2": [2], "@:-2": [0, 1]}


@pytest.mark.parametrize("index", CHOICES)
def test_frames_are_chosen_as_ase_does(content, frames, index):
    everything, expected = read_frames(frames), CHOICES[index]
    count, found = len(expected), read_frames(f"{frames}{index}")
    for atoms, number in zip(found, expected, strict=True):
        assert (atoms.positions == everything[number].positions).all()
    content["trajectories"]["b"] |= {"file": f"{frames}{index}", "snapshots": {"test": count}}
    look(content)
    content["trajectories"]["b"]["snapshots"] = {"test": count + 1}
    with pytest.raises(InputError, match=rf"trajectories\.b: .*: expected at least {count + 1} frames.*, got {count}"):
        look(content)


def test_the_job_takes_the_frames_that_were_checked(repository, frames, tmp_path):
    write_structure(tmp_path / "cell.extxyz", hcp_orthorhombic("Be", 1.896, 1.5797).repeat((2, 1, 1)))
    outputs = [tmp_path / f"b-{number}.extxyz" for number in range(2)]
    command = [sys.executable, repository / "workflow/scripts/take_frames.py", "--frames", f"{frames}@1::2"]
    command += ["--cell", tmp_path / "cell.extxyz", "--ecutrho-Ry", "120", "--outputs", *outputs]
    subprocess.run(command, check=True)
    everything = read_frames(frames)
    for path, number in zip(outputs, (1, 3), strict=True):
        atoms = read_structure(path)
        np.testing.assert_allclose(atoms.positions, everything[number].positions, atol=1e-7)
        assert tuple(atoms.info["grid_shape"]) == (30, 25, 24)


def other_cell(frames):
    found = read_frames(frames)
    found[1].set_cell(found[1].cell * 1.01, scale_atoms=True)
    write_structure(frames, found)


def other_elements(frames):
    found = read_frames(frames)
    found[0].symbols[3] = "O"
    write_structure(frames, found)


BAD_FRAMES = {
    "missing": (lambda frames: frames.unlink(), "expected a structure file, found none"),
    "truncated": (lambda frames: frames.write_bytes(frames.read_bytes()[:900]), "expected"),
    "empty": (lambda frames: frames.write_text(""), "expected at least one structure, got none|expected a structure"),
    "other cell": (other_cell, r"frame 1: expected the cell of its structure within 0\.001 Å, got one that is 0\.0"),
    "other elements": (other_elements, r"frame 0: expected the atoms of its structure, Be8 in that order, got Be7O"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_frames_that_no_job_could_take(content, frames, name):
    spoil, message = BAD_FRAMES[name]
    content["trajectories"]["b"]["file"] = str(frames)
    look(content)
    spoil(frames)
    with pytest.raises(InputError, match=rf"^trajectories\.b: .*{message}"):
        look(content)


@pytest.mark.parametrize("step", [0, -1])
def test_steps_that_are_none(content, frames, step):
    content["trajectories"]["b"]["file"] = f"{frames}@::{step}"
    with pytest.raises(InputError, match=f"expected a step of at least 1 after @START:STOP:, got {step}"):
        look(content)


def test_structures_are_opened(content, tmp_path, frames):
    content["trajectories"]["b"]["file"] = str(frames)
    path = tmp_path / "oxide.extxyz"
    content["structures"]["oxide"] = {"file": str(path)}
    content["trajectories"]["a"]["structure"] = content["trajectories"]["b"]["structure"] = "be8"
    with pytest.raises(InputError, match=r"structures\.oxide: .*oxide\.extxyz: expected a structure file, found none"):
        look(content)
    write_structure(path, bulk("BeO", "wurtzite", a=2.698, c=4.377))
    message = r"structures\.oxide: expected a pseudopotential for every element, found none for O\. Add pseudo"
    with pytest.raises(InputError, match=message):
        look(content)
    content["pseudopotentials"]["O"] = {"ld1_input": "config/pseudo/O.pbe-rrkjus.in"}
    content["descriptors"]["weights"] = {"Be": 1.0, "O": 0.7}
    assert len(look(content).cells) == 1  # the oxide is no trajectory's
    packed = path.with_suffix(".extxyz.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    content["structures"]["oxide"] = {"file": str(packed), "vacancies": [7]}
    with pytest.raises(InputError, match=r"structures\.oxide: .*vacancies: expected different atoms from 0 to 3"):
        look(content)
    content["structures"]["oxide"] = {"file": str(path), "repeat": [10000, 10000, 10000]}
    content["dft"]["kpoints"] = content["md"]["kpoints"] = [4, 2, 2]
    with pytest.raises(InputError, match=r"structures\.oxide: repeat: expected a cell that fits in .* GB"):
        look(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"broadening_eV": 0.4}, r"ldos\.broadening_eV: expected 0\.5 as in the study file, got 0\.4"),
        ({"energy_max_eV": 11.5}, r"energies: expected 36 from -6\.5 to 11\.0 eV as in the study file, got 37"),
    ],
)
def test_snapshots_that_are_computed_already_are_opened(content, tmp_path, changes, message):
    path = tmp_path / "x.h5"
    content["trajectories"] |= {"b": {"temperature_K": 298.0, "segments": 5, "snapshots": {"test": 1}}}
    content["snapshots"] = {"mine": {"dataset": str(path), "role": "train"}}
    content["ldos"] = {"energy_min_eV": -6.5, "energy_max_eV": 11.0, "spacing_eV": 0.5, "broadening_eV": 0.5}
    with pytest.raises(InputError, match=r"snapshots\.mine: .*x\.h5: expected"):
        look(content)
    study = parse_study(content, "x")

    def write(element, kernel="gaussian", **other):
        ldos = study.ldos.model_copy(update=other)
        snapshot = make(
            ldos=np.ones((3, 4, 5, ldos.count), dtype=np.float32),
            energy_grid=ldos.grid,
            atoms=bulk(element, a=2.3, c=3.6),
        )
        potential = parse_pseudopotential(UPF.replace('"Be"', f'"{element}"').encode(), "x.upf", element)
        settings = describe_settings(study.dft_of("be8"), ldos, 298.0, "PBE", {element: potential})
        settings["ldos"]["kernel"] = kernel
        write_snapshot(path, snapshot, settings, {"stage": "reference"})

    write("Be")
    assert look(content).cells
    write("Be", kernel="fermi-dirac")
    with pytest.raises(InputError, match=r"ldos\.kernel: expected gaussian as in the study file, got fermi-dirac"):
        look(content)
    alone = {key: value for key, value in content.items() if key not in ("structures", "trajectories", "md")}
    alone["snapshots"] = {role: {"dataset": str(tmp_path / role), "role": role} for role in ROLES}
    for role in ROLES:
        (tmp_path / role).write_bytes(path.read_bytes())
    assert look({**alone, "supercells": {}})
    write("Be", **changes)
    with pytest.raises(InputError, match=rf"snapshots\.mine: .*{message}"):
        look(content)
    write("Mg")
    with pytest.raises(InputError, match=r"snapshots\.mine: expected a pseudopotential for every element, .* Mg"):
        look(content)


def test_all_mistakes_at_once(content, tmp_path, capsys):
    content["structures"]["oxide"] = {"file": str(tmp_path / "none.cif")}
    content["pseudopotentials"]["Be"]["ld1_input"] = "none.in"
    for name in "ab":
        content["trajectories"][name]["structure"] = "be8"
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    assert cli.main(["check-config", str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["none.in", "structures.oxide", "trajectories.b"]
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_default_potential_for_other_elements(content):
    content["trajectories"]["b"] = {"temperature_K": 298.0, "lammps_steps": 10, "snapshots": {"test": 1}}
    content["structures"]["be8"] |= {"formula": "Al", "lattice": "fcc", "density_g_cm3": 2.7}
    content["pseudopotentials"] = {"Al": content["pseudopotentials"]["Be"]}
    with pytest.raises(InputError, match=r"trajectories\.b: .*expected W and Be, which the default potential is for"):
        look(content)


DOUBTS = {
    "coarse k-points": ("dft.kpoints", [6, 4, 4], r"^dft\.kpoints: 0\.46 1/Å apart in be8, coarser than the 0\.42"),
    "few bands": (
        "dft.bands_per_occupied",
        1.2,
        r"^dft\.bands_per_occupied: 1\.2 gives be8 bands up to about 16\.\d eV",
    ),
    "a narrow window": (
        "ldos.energy_max_eV",
        4.99,
        r"^ldos: the window is 11\.4 eV wide, be8 is likely to need 1\d\.\d",
    ),
    "hot electrons": ("trajectories.b.electron_temperature_K", 4000.0, r"^ldos: the window .*, 25 k_B T at 4000 K"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_may_be_a_mistake_is_said(content, frames, name, tmp_path, capsys):
    key, value, message = DOUBTS[name]
    content["trajectories"]["b"]["file"] = str(frames)
    assert not look(content).warnings
    section = content
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    section[last] = value
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    found = look(content).warnings
    assert len(found) == 1
    assert re.search(message, found[0])
    assert cli.main(["check-config", str(path)]) == 0
    assert f"{path}: warning: {found[0]}\n" == capsys.readouterr().err


def test_cells_of_several_densities_need_an_energy_zero(content, frames):
    content["trajectories"]["b"]["file"] = str(frames)
    content["structures"]["strained"] = {**content["structures"]["be8"], "strain_percent": 1.0}
    content["trajectories"]["c"] = {**content["trajectories"]["a"], "structure": "strained"}
    content["trajectories"]["b"]["structure"] = content["trajectories"]["a"]["structure"] = "be8"
    (doubt,) = (text for text in look(content).warnings if "energy_zero" in text)
    assert re.match(r"ldos\.energy_zero_eV_A3: none given, with 0\.12\d\d atoms/Å³ in strained and 0\.12\d\d in", doubt)
    content["ldos"]["energy_zero_eV_A3"] = {"Be": 85.0}
    assert not [text for text in look(content).warnings if "energy_zero" in text]

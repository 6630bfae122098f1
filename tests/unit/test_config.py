"""The study file: what is refused and how, what is read, and that the generated pages are true."""

import ast
import copy
import itertools
import json
import math
import os
import re
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nearsight import cli, units
from nearsight.errors import ConfigError, InputError
from nearsight.study.documents import describe_study, study_schema
from nearsight.study.messages import RENAMED, models_of
from nearsight.study.reading import load_study, parse_study, read_yaml
from nearsight.study.sections import BOLTZMANN_eV_per_K, Dft, Ldos, Md, Study, fold

QUICKSTART = """
study: quickstart
pseudopotentials: {Be: {ld1_input: Be.in}}
structures: {be8: {formula: Be, lattice: hcp, density_g_cm3: 1.896, repeat: [2, 1, 1]}}
dft: {ecutwfc_Ry: 40.0, ecutrho_Ry: 160.0, kpoints: [8, 4, 4], bands_per_occupied: 2.25}
md: {time_step_fs: 2.0, steps_per_segment: 15, equilibration_fs: 20.0, ecutwfc_Ry: 25.0, kpoints: [2, 2, 2]}
trajectories:
  a: {temperature_K: 298.0, segments: 4, snapshots: {train: 3, validation: 1}}
  b: {temperature_K: 298.0, segments: 3, snapshots: {test: 1}}
ldos: {energy_min_eV: -5.0, energy_max_eV: 11.0}
training: {epochs: 60}
supercells: {be64: {snapshot: b-0, repeat: [2, 2, 2]}}
"""


@pytest.fixture
def content() -> dict:
    return yaml.safe_load(QUICKSTART)


def changed(content: dict, key: str, value: object) -> dict:
    """A copy with another value; `...` removes the key."""
    content = copy.deepcopy(content)
    section = content
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return content


def message(content: dict) -> str:
    with pytest.raises(ConfigError) as error:
        parse_study(content, "config/x.yaml")
    return str(error.value)


def test_reads_and_knows_its_snapshots(content):
    study = parse_study(content, "config/x.yaml")
    assert study.snapshot_names() == ["a-0", "a-1", "a-2", "a-3", "b-0"]
    assert study.snapshot_names("train") == ["a-0", "a-1", "a-2"]
    assert study.snapshot_names("validation", "test") == ["a-3", "b-0"]
    assert [study.role(name) for name in study.snapshot_names()] == ["train"] * 3 + ["validation", "test"]
    assert study.descriptors.cutoff_A == 4.67637


def test_seed_of_a_trajectory_depends_on_seed_and_name_alone(content):
    study = parse_study(content, "x")
    other = parse_study(
        changed(content, "trajectories.c", {"temperature_K": 1.0, "segments": 3, "snapshots": {"test": 1}}), "x"
    )
    assert study.seed_of("a") == other.seed_of("a") != study.seed_of("b")
    assert parse_study(changed(content, "seed", 8), "x").seed_of("a") != study.seed_of("a")


def test_message_is_the_one_of_the_style_guide(content):
    assert message(changed(content, "descriptors", {"cutoff_A": -4.7})) == (
        "config/x.yaml: descriptors.cutoff_A: expected a length in Å between 1 and 12, got -4.7.\n"
        '  The reference uses 4.67637; see config/README.md, "descriptors".'
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("trajectories.a.temperature_K", -298.0, "trajectories.a.temperature_K: expected a temperature in K above 0"),
        ("trajectories.a.temperature_K", 0, "trajectories.a.temperature_K: expected a temperature in K above 0"),
        ("trajectories.a.temperature_K", math.nan, "trajectories.a.temperature_K: expected a temperature in K above 0"),
        ("trajectories.a.temperature_K", math.inf, "trajectories.a.temperature_K: expected a temperature in K above 0"),
        ("trajectories.a.temperature_K", True, "trajectories.a.temperature_K: expected a temperature in K above 0"),
        (
            "trajectories.a.temperature_K",
            "298 K",
            'trajectories.a.temperature_K: expected a temperature in K above 0 and at most 1e+06, got "298 K".',
        ),
        (
            "trajectories.a.temperature_K",
            ...,
            "trajectories.a.temperature_K: expected a temperature in K above 0 and at most 1e+06, found nothing.",
        ),
        ("seed", 1.5, "seed: expected a whole number between 0 and 2147483647, got 1.5."),
        ("seed", True, "seed: expected a whole number"),
        ("study", "my study", "study: expected letters, digits, _ and - only"),
        ("study", "../x", "study: expected letters, digits, _ and - only"),
        ("dft.kpoints", [4, 4], "dft.kpoints: expected three whole numbers between 1 and 10000, got [4, 4]."),
        ("dft.kpoints", [4, 4, 0], "dft.kpoints[2]: expected three whole numbers between 1 and 10000, got 0."),
        ("dft.kpoints", [4, 4, 4.0], "dft.kpoints[2]: expected three whole numbers between 1 and 10000, got 4.0."),
        ("dft.kpoints", "4 4 4", "dft.kpoints: expected three whole numbers between 1 and 10000, got"),
        ("inference", {"ecut_sample_Ry": 160.0}, None),
        (
            "inference",
            {"ecut_sample_Ry": 161.0},
            "inference.ecut_sample_Ry: expected at most dft.ecutrho_Ry, that is 160 Ry, got 161.",
        ),
        ("dft.ecutrho_Ry", 120.0, "dft.ecutrho_Ry: expected at least 4 times dft.ecutwfc_Ry, that is 160 Ry, got 120."),
        ("dft", None, "dft: expected a section, got nothing."),
        ("dft", [1], "dft: expected a section, got [1]."),
        ("md.thermostat", "nose", "md.thermostat: expected a thermostat (not_controlled, rescaling, berendsen or svr)"),
        (
            "structures.be8.formula",
            "Beryllium",
            "structures.be8.formula: expected a chemical formula such as Be or BeO",
        ),
        (
            "structures.be8.formula",
            "Al",
            "pseudopotentials.Al: expected a pseudopotential for the element of a structure",
        ),
        ("structures", {"x": {"file": ""}}, "structures.x.file: expected a file name without braces"),
        ("structures", {"x": {"file": "a{b}.cif"}}, "structures.x.file: expected a file name without braces"),
        ("structures", {"x": {"file": "x.cif", "a_A": 2.0}}, "structures.x.a_A: unknown key."),
        (
            "structures",
            {"x": {}},
            "structures.x.formula: expected a chemical formula such as Be or BeO, found nothing.",
        ),
        ("pseudopotentials", {}, "pseudopotentials: expected one entry per chemical symbol, got {}."),
        ("pseudopotentials", {"beryllium": {"upf": "x"}}, "pseudopotentials.beryllium: expected a chemical symbol"),
        ("pseudopotentials.Be", {}, "pseudopotentials.Be: expected either ld1_input, or upf with sha256."),
        ("pseudopotentials.Be", {"upf": "x"}, "pseudopotentials.Be: expected upf and sha256 together."),
        (
            "pseudopotentials.Be",
            {"upf": "x", "sha256": "abc"},
            "pseudopotentials.Be.sha256: expected 64 hexadecimal digits",
        ),
        ("pseudopotentials.Be", {"upf": "x", "sha256": "0123456789ABCDEF" * 4}, None),
        ("pseudopotentials.Be", {"upf": "x", "ld1_input": "y"}, "pseudopotentials.Be: expected either ld1_input, or"),
        ("trajectories", {"a b": {}}, "trajectories.a b: expected a name of letters, digits and _"),
        ("trajectories.a.segments", 0, "trajectories.a.segments: expected a whole number between 1 and 10000, got 0."),
        ("trajectories.a.segments", 1, None),
        (
            "trajectories.b.segments",
            "3",
            'trajectories.b.segments: expected a whole number between 1 and 10000, got "3"',
        ),
        ("md.equilibration_fs", 120.0, "trajectories.a.segments: expected MD long enough for 4 snapshots after"),
        ("trajectories.a.snapshots", {}, "trajectories.a.snapshots: expected at least one snapshot, got none."),
        ("trajectories.a.snapshots.validation", 0, "trajectories: expected at least one validation snapshot"),
        ("trajectories.b.snapshots", {"train": 1}, "trajectories: expected at least one test snapshot"),
        ("trajectories.a.snapshots.test", 1, "trajectories.a.snapshots.test: expected test snapshots in a trajectory"),
        ("ldos.energy_max_eV", -6.0, "ldos.energy_max_eV: expected an energy in eV above ldos.energy_min_eV = -5"),
        ("ldos.energy_max_eV", -4.0, "ldos.energy_max_eV: expected a window of at least 25 k_B T"),
        ("ldos.spacing_eV", 0.3, "ldos.spacing_eV: expected a spacing that divides the window of 16 eV, got 0.3."),
        ("ldos.broadening_eV", 0.05, "ldos.broadening_eV: expected between 1 and 10 times ldos.spacing_eV"),
        ("supercells.be64.snapshot", "c-0", "supercells.be64.snapshot: expected one of the snapshots a-0, a-1,"),
        ("supercells.be64.displacement_A", 0.9, "supercells.be64.displacement_A: expected a length"),
        ("supercells.be64.stacking_fault_layer", -1, "supercells.be64.stacking_fault_layer: expected a whole number"),
        ("training.network", {"hidden": []}, "training.network.hidden: expected one to 64 whole numbers"),
        ("training.learning_rate", 0.0, "training.learning_rate: expected a number above 0 and at most 1, got 0.0."),
    ],
)
def test_wrong_values_are_refused(content, key, value, expected):
    if expected is None:
        parse_study(changed(content, key, value), "config/x.yaml")
        return
    text = message(changed(content, key, value))
    assert text.startswith(f"config/x.yaml: {expected}") or f"\nconfig/x.yaml: {expected}" in text, text


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("descriptors.cutoff", 'Did you mean "cutoff_A" (a length in Å between 1 and 12)?'),
        ("descriptors.cutoff_nm", 'Did you mean "cutoff_A"'),
        ("descriptors.cutof_A", 'Did you mean "cutoff_A"'),
        ("training.learning_rat", 'Did you mean "learning_rate"'),
        ("trajectories.a.temperature", 'Did you mean "temperature_K" (a temperature in K above 0'),
        ("trajectoris", 'Did you mean "trajectories"'),
        ("dft.ecut_wfc", 'Did you mean "ecutwfc_Ry"'),
        ("trajectories.a.snapshots.tests", 'Did you mean "test"'),
        ("training.zzz", "Known keys here: network, learning_rate"),
        ("structures.be8.densty_g_cm3", 'Did you mean "density_g_cm3"'),
    ],
)
def test_unknown_key_leads_to_the_nearest(content, key, hint):
    content["descriptors"] = {}
    text = message(changed(content, key, 1))
    assert f"config/x.yaml: {key}: unknown key. " in text
    assert hint in text


def test_every_mistake_is_listed_once(content):
    content = changed(changed(content, "trajectories.a.temperature_K", -1), "dft.bands_per_occupied", 0.0)
    assert len([line for line in message(content).splitlines() if line.startswith("config/x.yaml: ")]) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("study: a\nseed: 1\nstudy: b\n", "line 3: study: expected every key once, found it in line 1 already."),
        ("dft:\n  bands: 1\n  bands: 2\n", "line 3: bands: expected every key once"),
        ("study: [", "expected YAML, got: while parsing"),
        ("- a\n", "expected keys and values, got"),
        ("", "expected keys and values, got nothing"),
        ("a: !!python/object/apply:os.system [ls]\n", "expected YAML, got: could not determine a constructor"),
        ("? [1, 2]\n: 3\n", "expected YAML, got"),
    ],
)
def test_what_is_no_study_file(tmp_path, text, expected):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: {expected}")


def test_bytes_and_missing_files(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("x.yaml", "absent.yaml", "."):
        with pytest.raises(ConfigError, match="expected"):
            read_yaml(tmp_path / name)


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1e-9\nb: 1E3\nc: -2e+1\nd: 1.0e-9\ne: e1\n", encoding="utf-8")
    assert read_yaml(path) == {"a": 1e-9, "b": 1e3, "c": -20.0, "d": 1e-9, "e": "e1"}


def test_overrides_replace_keys_and_are_typed(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(QUICKSTART, encoding="utf-8")
    study = load_study(
        path, {"seed": 8, "training": {"epochs": "3", "network": {"hidden": ["4"]}, "learning_rate": "1e-4"}}
    )
    assert (study.seed, study.training.epochs, study.training.network.hidden) == (8, 3, [4])
    assert study.training.learning_rate == 1e-4
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        load_study(path, {"training": {"epochs": "many"}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_anything_else_is_a_config_error(value):
    content = yaml.safe_load(QUICKSTART)
    for key in ("structures", "trajectories", "supercells", "pseudopotentials", "training", "seed"):
        try:
            parse_study({**content, key: value}, "x")
        except ConfigError as error:
            assert str(error).startswith("x: ")


def test_jobs_get_the_same_section_back(content):
    study = parse_study(content, "x")
    assert Dft.from_json(study.dft.to_json("launcher", "ranks")) == study.dft
    assert Md.from_json(study.md.to_json("equilibration_fs")) == study.md.model_copy(update={"equilibration_fs": 0.0})
    assert Ldos.from_json(study.ldos.to_json()) == study.ldos
    assert study.ldos.to_json() == json.dumps(json.loads(study.ldos.to_json()), sort_keys=True)
    with pytest.raises(
        InputError, match=r"^ldos\.spacing_eV: expected an energy in eV between 0\.001 and 5, got -1\.0"
    ):
        Ldos.from_json(study.ldos.model_copy(update={"spacing_eV": -1.0}).to_json())


def test_boltzmann_constant_is_the_one_of_units():
    assert pytest.approx(units.BOLTZMANN_eV_per_K, rel=1e-9) == BOLTZMANN_eV_per_K


def test_stacking_fault_needs_a_lattice(content):
    content = changed(content, "supercells.be64.stacking_fault_layer", 2)
    assert not parse_study(content, "x").supercells["be64"].is_repetition
    assert "supercells.be64.stacking_fault_layer: expected a snapshot of an hcp crystal" in message(
        changed(content, "structures.be8", {"file": "x.cif"})
    )


def test_generated_pages_are_true(repository):
    for name, text in (("README.md", describe_study()), ("schema.json", study_schema())):
        stored = (repository / "config" / name).read_text(encoding="utf-8")
        assert stored == text, f"config/{name} is not what the models say. Run: nearsight describe-config"


def test_every_key_is_described():
    def walk(schema: dict) -> None:
        for name, key in schema.get("properties", {}).items():
            assert key.get("description"), name
        for inner in schema.get("$defs", {}).values():
            walk(inner)

    walk(Study.model_json_schema())


#: k-points of the lattice's own cell; eight atoms need more to be smooth.
KPOINTS = {"quickstart": [12, 6, 6], "laptop": [8, 4, 6], "paper": [8, 4, 6], "beryllium": [8, 4, 6]}


@pytest.mark.parametrize("name", KPOINTS)
def test_shipped_studies(repository, name, monkeypatch):
    monkeypatch.chdir(repository)
    study = load_study(f"config/{name}.yaml")
    assert cli.main(["check-config", f"config/{name}.yaml"]) == 0
    assert study.study == name
    assert (study.dft.kpoints, study.dft.kpoints_shift) == (KPOINTS[name], [1, 1, 1])


@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
    st.lists(st.integers(0, 1), min_size=3, max_size=3),
)
def test_kpoints_of_a_repeated_cell_fold_onto_those_of_the_lattice(folded, repeat, shift):
    def points(grid: list[int], factor: list[int]) -> set[tuple[float, ...]]:
        axes = [
            {round(((i + 0.5 * s) / n * times) % 1, 9) % 1 for i in range(n)}
            for n, s, times in zip(grid, shift, factor, strict=True)
        ]
        return set(itertools.product(*axes))

    own = [n * times for n, times in zip(folded, repeat, strict=True)]
    assert fold(own, repeat) == folded
    assert points(folded, [1, 1, 1]) == points(own, repeat)


def test_repeats_that_do_not_fold_are_told_those_that_do(content):
    text = message(changed(content, "structures.be8.repeat", [3, 1, 1]))
    assert "structures.be8.repeat: expected repeats that divide dft.kpoints = [8, 4, 4]" in text
    assert "Those that do: 1, 2, 4, 8; 1, 2, 4; 1, 2, 4 along the three edges." in text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("structure", {"element": "Be"}, "structure: unknown key; `structures` names every cell"),
        ("temperature_K", 298.0, "temperature_K: unknown key; every trajectory has its own temperature_K"),
        ("structures.be8.element", "Be", "structures.be8.element: unknown key; the key is `formula` now"),
        ("dft.bands", 18, "dft.bands: unknown key; the key is `bands_per_occupied` now"),
        ("training.hidden", [8], "training.hidden: unknown key; it is a key of training.network now"),
        ("descriptors", {"twojmax": 14}, "descriptors.twojmax: expected one of 2, 4, 6, 8, 10, 12 with the backend"),
        ("descriptors", {"rmin0": 0.5}, "descriptors.rmin0: expected 0 with the backend native, got 0.5 Å."),
        ("descriptors", {"chemical": True}, "descriptors.chemical: expected false with the backend native"),
        ("descriptors", {"weights": {"O": 1.0}}, "descriptors.weights.O: expected one of the elements Be."),
        ("structures.be8.lattice", "wurtzite", "structures.be8.formula: expected 2 elements for wurtzite, got Be."),
        ("structures.be8.a_A", 2.2, "structures.be8.density_g_cm3: expected either density_g_cm3 or a_A"),
        ("trajectories.a.structure", "al", "trajectories.a.structure: expected one of the structures be8, got al."),
        ("md", ..., "md: expected a section, since trajectories.a is DFT-MD"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_at_once(content, key, value, expected):
    assert f"config/x.yaml: {expected}" in message(changed(content, key, value))


def test_several_elements_need_their_weights(content):
    content = changed(content, "pseudopotentials.O", {"ld1_input": "O.in"})
    content = changed(
        content, "structures.be8", {"formula": "BeO", "lattice": "wurtzite", "a_A": 2.7, "c_over_a": 1.62}
    )
    assert "descriptors.weights: expected a weight for each of Be, O, found none for Be, O" in message(content)
    weighted = changed(content, "descriptors", {"weights": {"Be": 1.0, "O": 0.7}})
    assert parse_study(weighted, "x").descriptors.weights == {"Be": 1.0, "O": 0.7}
    parse_study(changed(content, "descriptors", {"backend": "lammps", "chemical": True}), "x")


def test_trajectories_of_every_kind_with_their_own_cells_and_temperatures(content):
    content["structures"]["hot"] = {**content["structures"]["be8"], "strain_percent": 1.0}
    for trajectory in content["trajectories"].values():
        trajectory["structure"] = "be8"
    few = {"snapshots": {"train": 2}}
    frames = {"structure": "be8", "temperature_K": 100.0, "electron_temperature_K": 300.0, "file": "x@::2", **few}
    content["trajectories"] |= {
        "l": {"structure": "hot", "temperature_K": 900.0, "lammps_steps": 500, **few},
        "f": frames,
    }
    study = parse_study(content, "x")
    assert study.snapshot_structure("l-1") == "hot"
    temperatures = [study.electron_temperature_K(name) for name in ("a-0", "l-0", "f-1", "be64")]
    assert temperatures == [298.0, 900.0, 300.0, 298.0]
    assert study.trajectories["f"].path == "x"
    assert study.dft_of("hot").kpoints == [4, 4, 4]


def test_quickstart_is_what_the_readme_promises(repository):
    study = load_study(repository / "config/quickstart.yaml")
    steps = sum(trajectory.segments for trajectory in study.trajectories.values()) * study.md.steps_per_segment
    assert steps * study.md.time_step_fs >= 100
    assert 4 * math.prod(study.structures["be8"].repeat) >= 8
    assert len(study.snapshot_names("train")) >= 3
    assert (study.ldos.energy_max_eV - study.ldos.energy_min_eV) / study.ldos.spacing_eV >= 100
    assert math.prod(study.supercells["be64"].repeat) * 8 >= 64


def test_command_checks_and_describes(repository, tmp_path, capsys):
    assert cli.main(["check-config", str(repository / "config/quickstart.yaml")]) == 0
    assert "4 train, 1 validation, 1 test" in capsys.readouterr().out
    path = tmp_path / "x.yaml"
    path.write_text(QUICKSTART.replace("298.0", "-298.0", 1), encoding="utf-8")
    assert cli.main(["check-config", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"{path}: trajectories.a.temperature_K: expected")
    assert cli.main(["describe-config", "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == study_schema()


def test_command_shows_a_dataset(tmp_path, capsys):
    from nearsight.datasets import write_dataset

    write_dataset(tmp_path / "x.h5", {"fermi_energy": 8.5}, {"a": 1}, {"stage": "reference"})
    assert cli.main(["show", str(tmp_path / "x.h5")]) == 0
    assert "fermi_energy (scalar, unit eV) = 8.5: Fermi energy" in capsys.readouterr().out
    assert cli.main(["show", str(tmp_path / "absent.h5")]) == 1
    assert "absent.h5: expected a dataset" in capsys.readouterr().err


def test_choices_are_those_of_the_package():
    from nearsight.descriptors.bispectrum.compute import BACKENDS
    from nearsight.model.networks.perceptron import ACTIVATIONS
    from nearsight.structures.velocities import THERMOSTATS

    properties = Study.model_json_schema()["$defs"]
    for section, key, choices in (
        ("Perceptron", "activation", ACTIVATIONS),
        ("Md", "thermostat", THERMOSTATS),
        ("Bispectrum", "backend", BACKENDS),
    ):
        schema = properties[section]["properties"][key]
        assert set(schema.get("enum", [schema.get("const")])) == set(choices), key


BOMBS = {
    "aliases of aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghij")),
    "merges of merges": "a: &a {k: 1}\n"
    + "".join(f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in pairwise("abcdefghij")),
    "an alias inside of its anchor": "training: &a {hidden: *a}\n",
    "a thousand brackets": "training: " + "[" * 5000 + "]" * 5000,
    "a number of many digits": "seed: 1" + "0" * 5000,
    "a date that is none": "seed: 2001-99-99",
    "a tag of Python": "seed: !!python/object/apply:os.system ['touch executed']",
    "a new object": "seed: !!python/object/new:os.system ['touch executed']",
    "a module": "seed: !!python/module:antigravity",
    "binary that is none": "seed: !!binary a",
    "a key that is a number": "1: 2",
    "a set": "seed: !!set {1, 2}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_study_files_are_one_message(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(BOMBS[name], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^x\.yaml: ") as caught:
        load_study("x.yaml")
    assert len(str(caught.value)) < 5000
    assert not (tmp_path / "executed").exists()


def test_large_files_pipes_and_devices_are_no_study_files(tmp_path):
    with open(tmp_path / "large.yaml", "wb") as handle:
        handle.truncate(1 << 40)
    (tmp_path / "link.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("large", "link", "loop", "pipe"):
        with pytest.raises(ConfigError, match=f"{name}\\.yaml: expected a study file"):
            read_yaml(tmp_path / f"{name}.yaml")


NASTY_NAMES = [
    "a b",
    "a'b",
    'a"b',
    "a;b",
    "$(id)",
    "`id`",
    "a\nb",
    "a\n",
    "ä",
    "../a",
    "a/b",
    "",
    "a" * 65,
    "a\0",
    "{a}",
    "*",
]


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_names_that_become_file_names_are_plain(content, name):
    assert "study: expected" in message(changed(content, "study", name))
    trajectory, supercell = content["trajectories"]["a"], {"snapshot": "b-0", "repeat": [1, 1, 1]}
    other = {**supercell, "snapshot": name}
    assert "trajectories." in message(changed(content, "trajectories", {name: trajectory}))
    assert "supercells." in message(changed(content, "supercells", {name: supercell}))
    assert "supercells.big.snapshot" in message(changed(content, "supercells", {"big": other}))
    assert "structures." in message(changed(content, "structures.be8.formula", name))
    assert "structures." in message(changed(content, "structures", {name: content["structures"]["be8"]}))
    assert "pseudopotentials." in message(changed(content, "pseudopotentials", {name: {"ld1_input": "x"}}))


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "a\x1b[2Jb", "{a}", "", "-rf", "a" * 1025, "a\n"])
def test_file_names_that_no_file_should_have(content, name):
    assert "structures.x.file" in message(changed(content, "structures", {"x": {"file": name}}))
    assert "pseudopotentials.Be.ld1_input" in message(changed(content, "pseudopotentials", {"Be": {"ld1_input": name}}))


@pytest.mark.parametrize("line", ["shell rm -rf .", "include x", "pair_style lj/cut 5.0\nshell rm"])
def test_potentials_are_no_programs(content, line):
    """LAMMPS would run any of its commands; those of a potential are taken."""
    good = ["pair_style hybrid/overlay zbl 4.0 4.8 snap", "", "# SNAP", "pair_coeff * * snap a.coeff 'b c.param' Be"]
    trajectory = {"temperature_K": 298.0, "lammps_steps": 10, "snapshots": {"train": 1}}
    for commands, expected in ((good, None), ([*good, line], "expected a list of LAMMPS's commands pair_style")):
        study = changed(content, "trajectories.c", {**trajectory, "pair_commands": commands})
        study = changed(study, "paper_figures", {"potentials": {"mine": commands}})
        if expected is None:
            assert parse_study(study, "x.yaml").trajectories["c"].pair_commands == good
            continue
        text = message(study)
        assert f"trajectories.c.pair_commands[4]: {expected}" in text
        assert "paper_figures.potentials.mine[4]: expected lists of LAMMPS's commands pair_style" in text


@pytest.mark.parametrize("launcher", ["mpirun\nrm", "mpirun {input}", "a\0b"])
def test_launchers_that_no_command_line_should_have(content, launcher):
    assert "dft.launcher: expected a command" in message(changed(content, "dft.launcher", launcher))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("structures.be8.repeat", [1, 1, 10**12]),
        ("trajectories.a.snapshots.train", 10**12),
        (
            "trajectories",
            {f"t{i}": {"temperature_K": 1.0, "segments": 9, "snapshots": {"train": 9999}} for i in range(99)},
        ),
        ("training.network", {"hidden": [10**9]}),
        ("training.network", {"hidden": [8] * 65}),
        ("ldos.spacing_eV", 1e-300),
        ("md.time_step_fs", 5e-324),
        ("md.equilibration_fs", 1e308),
        ("inference", {"threads": 10**9}),
        ("inference", {"tile_points": 10**30}),
        ("seed", 10**400),
    ],
)
def test_absurd_numbers_are_refused(content, key, value):
    assert key.split(".")[0] in message(changed(content, key, value))


def test_snapshots_that_are_computed_already(content):
    """Beside trajectories or in place of them; names, files and supercells are checked."""
    both = parse_study({**content, "snapshots": {"mine": {"dataset": "data/mine.h5", "role": "test"}}}, "x")
    assert both.snapshot_names() == ["a-0", "a-1", "a-2", "a-3", "b-0", "mine"]
    assert both.snapshot_names("test") == ["b-0", "mine"]
    assert both.role("mine") == "test"
    assert both.electron_temperature_K("mine") is None
    alone = {key: value for key, value in content.items() if key not in ("structures", "trajectories", "md")}
    alone["snapshots"] = {role: {"dataset": f"{role}.h5", "role": role} for role in ("train", "validation", "test")}
    alone["supercells"] = {"be64": {"snapshot": "test", "repeat": [2, 2, 2]}}
    study = parse_study(alone, "x")
    assert study.snapshot_names("train", "validation") == ["train", "validation"]
    assert study.electron_temperature_K("be64") is None


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        (
            {"a": {"dataset": "x.h5", "role": "tests"}},
            "snapshots.a.role: expected a role (train, validation or test)",
        ),
        ({"a": {"dataset": "-x.h5", "role": "test"}}, "snapshots.a.dataset: expected a file name"),
        ({"a": {"role": "test"}}, "snapshots.a.dataset: expected a file name"),
        ({"a-0": {"dataset": "x.h5", "role": "test"}}, "snapshots.a-0: expected a name of letters"),
        (
            {"be64": {"dataset": "x.h5", "role": "test"}},
            "supercells.be64: expected another name: be64 is one of the sn",
        ),
        (
            {"c": {"dataset": "x.h5", "role": "test"}, "d": {"dataset": "x.h5", "role": "train"}},
            "snapshots.d.dataset: expected another file than that of c, got x.h5.",
        ),
    ],
)
def test_mistakes_in_snapshots_that_are_computed_already(content, snapshots, expected):
    assert expected in message({**content, "snapshots": snapshots})


def test_trajectories_need_their_cells(content):
    assert "structures: expected the cells of the trajectories, got none." in message({**content, "structures": {}})


@pytest.mark.parametrize("word", ["no", "on", "yes", "off", "y", "NO"])
def test_words_that_yaml_may_take_for_truth_values_are_names(content, word, tmp_path):
    """Also nobelium; true and false stay what they are."""
    text = yaml.safe_dump(changed(content, "study", "WORD")).replace("WORD", word).replace("be8:", f"{word}:")
    path = tmp_path / "x.yaml"
    path.write_text(text.replace("Be:", "No:").replace("formula: Be", "formula: No"), encoding="utf-8")
    study = load_study(path)
    assert (study.study, list(study.structures), list(study.pseudopotentials)) == (word, [word], ["No"])
    assert study.structures[word].elements == ["No"]
    path.write_text(text + "inference: {accept_extrapolation: true}\n", encoding="utf-8")
    assert load_study(path).inference.accept_extrapolation is True
    path.write_text(text + "inference: {accept_extrapolation: yes}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"inference\.accept_extrapolation: expected true or false, got \"yes\""):
        load_study(path)


@pytest.mark.parametrize("key", [1, True, 2.5])
def test_names_that_are_no_text(content, key):
    found = message(changed(content, "structures", {key: content["structures"]["be8"]}))
    assert re.search(
        r'structures\..*: expected a name of letters, .*, got .*; see config/README.md, "structures"', found
    )


#: Sections of a study by the names that messages give them; a part of a name is one too: descriptors.mean_ ...
SECTIONS = {name: models_of(field.annotation) for name, field in Study.model_fields.items()}
#: What looks like a key and is none: files, tensors of a model, keys of earlier versions.
NO_KEYS = {"ldos.h5", "ldos.out", "ldos.mean", "ldos.scale", "descriptors.mean", "descriptors.scale", "ldos.kernel"}


def texts_of_messages(path):
    """Texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(node.body[0].value) for node in holders if node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_messages_name_keys_that_exist(repository):
    """Every `section.key` that a message of the package or of a job advises."""
    sections, seen = "|".join(name for name, models in SECTIONS.items() if models), 0
    for path in sorted((repository / "workflow").rglob("*.py")):
        if "mala" in path.parts:  # names keys of MALA's own parameters
            continue
        for text in texts_of_messages(path):
            for name, key in re.findall(rf"(?<![\w./])({sections})\.([a-z]\w*)", text):
                if f"{name}.{key}" in {*NO_KEYS, *RENAMED} or key.endswith("_"):
                    continue
                known = {known for model in SECTIONS[name] for known in model.model_fields}
                assert key in known, f"{path}: {name}.{key} in {text[:100]!r}"
                seen += 1
    assert seen > 40
    # of either run, dft or md
    source = (repository / "workflow/nearsight/reference/espresso/outputs.py").read_text(encoding="utf-8")
    advised = set(re.findall(r"\{section\}\.(\w+)", source))
    assert advised
    assert advised <= set(Dft.model_fields) & set(Md.model_fields)

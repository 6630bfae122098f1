"""The study file: what is refused and how, what is read, and that the generated pages are true."""

import copy
import itertools
import json
import math
import os
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nearsight import cli, units
from nearsight.errors import ConfigError
from nearsight.study.config import (
    MOST_ENERGIES,
    BOLTZMANN_eV_per_K,
    Study,
    Training,
    load_study,
    parse_study,
    read_yaml,
)
from nearsight.study.documents import describe_study, study_schema

QUICKSTART = """
study: quickstart
temperature_K: 298.0
pseudopotentials: {Be: {ld1_input: Be.in}}
structure: {element: Be, lattice: hcp, density_g_cm3: 1.896, repeat: [2, 1, 1]}
dft: {ecutwfc_Ry: 40.0, ecutrho_Ry: 160.0, kpoints: [4, 4, 4], bands: 18}
md: {time_step_fs: 2.0, steps_per_segment: 15, equilibration_fs: 20.0, ecutwfc_Ry: 25.0, kpoints: [2, 2, 2]}
trajectories:
  a: {segments: 4, snapshots: {train: 3, validation: 1}}
  b: {segments: 3, snapshots: {test: 1}}
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
    assert study.snapshots() == ["a-0", "a-1", "a-2", "a-3", "b-0"]
    assert study.snapshots("train") == ["a-0", "a-1", "a-2"]
    assert study.snapshots("validation", "test") == ["a-3", "b-0"]
    assert [study.role(name) for name in study.snapshots()] == ["train"] * 3 + ["validation", "test"]
    assert study.descriptors.cutoff_A == 4.67637


def test_seed_of_a_trajectory_depends_on_seed_and_name_alone(content):
    study = parse_study(content, "x")
    other = parse_study(changed(content, "trajectories.c", {"segments": 3, "snapshots": {"test": 1}}), "x")
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
        ("temperature_K", -298.0, "temperature_K: expected a temperature in K above 0"),
        ("temperature_K", 0, "temperature_K: expected a temperature in K above 0"),
        ("temperature_K", math.nan, "temperature_K: expected a temperature in K above 0"),
        ("temperature_K", math.inf, "temperature_K: expected a temperature in K above 0"),
        ("temperature_K", True, "temperature_K: expected a temperature in K above 0"),
        (
            "temperature_K",
            "298 K",
            'temperature_K: expected a temperature in K above 0 and at most 1e+06, got "298 K".',
        ),
        ("temperature_K", ..., "temperature_K: expected a temperature in K above 0 and at most 1e+06, found nothing."),
        ("seed", 1.5, "seed: expected a whole number between 0 and 2147483647, got 1.5."),
        ("seed", True, "seed: expected a whole number"),
        ("study", "my study", "study: expected letters, digits, _ and - only"),
        ("study", "../x", "study: expected letters, digits, _ and - only"),
        ("dft.kpoints", [4, 4], "dft.kpoints: expected three whole numbers between 1 and 10000, got [4, 4]."),
        ("dft.kpoints", [4, 4, 0], "dft.kpoints[2]: expected three whole numbers between 1 and 10000, got 0."),
        ("dft.kpoints", [4, 4, 4.0], "dft.kpoints[2]: expected three whole numbers between 1 and 10000, got 4.0."),
        ("dft.kpoints", "4 4 4", "dft.kpoints: expected three whole numbers between 1 and 10000, got"),
        ("dft.ecutrho_Ry", 120.0, "dft.ecutrho_Ry: expected at least 4 times dft.ecutwfc_Ry, that is 160 Ry, got 120."),
        ("dft", None, "dft: expected a section, got nothing."),
        ("dft", [1], "dft: expected a section, got [1]."),
        ("md.thermostat", "nose", "md.thermostat: expected a thermostat (not_controlled or rescaling or"),
        ("structure.element", "Beryllium", "structure.element: expected a chemical symbol such as Be"),
        ("structure.element", "Al", "pseudopotentials.Al: expected a pseudopotential for the element of the structure"),
        ("structure", {"file": ""}, "structure.file: expected a file name without braces"),
        ("structure", {"file": "a{b}.cif"}, "structure.file: expected a file name without braces"),
        ("structure", {"file": "x.cif", "repeat": [1, 1, 1]}, "structure.repeat: unknown key."),
        ("structure", {}, "structure.element: expected a chemical symbol such as Be, found nothing."),
        ("pseudopotentials", {}, "pseudopotentials: expected one entry per chemical symbol, got {}."),
        ("pseudopotentials", {"beryllium": {"upf": "x"}}, "pseudopotentials.beryllium: expected a chemical symbol"),
        ("pseudopotentials.Be", {}, "pseudopotentials.Be: expected either ld1_input, or upf with sha256."),
        ("pseudopotentials.Be", {"upf": "x"}, "pseudopotentials.Be: expected upf and sha256 together."),
        (
            "pseudopotentials.Be",
            {"upf": "x", "sha256": "abc"},
            "pseudopotentials.Be.sha256: expected 64 hexadecimal digits",
        ),
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
        ("ldos.energy_max_eV", -3.0, "ldos.energy_max_eV: expected a window of at least 25 k_B T"),
        ("ldos.spacing_eV", 0.3, "ldos.spacing_eV: expected a spacing that divides the window of 16 eV, got 0.3."),
        ("ldos.broadening_eV", 0.05, "ldos.broadening_eV: expected between 1 and 10 times ldos.spacing_eV"),
        ("supercells.be64.snapshot", "c-0", "supercells.be64.snapshot: expected one of the snapshots a-0, a-1,"),
        ("supercells.be64.displacement_A", 0.9, "supercells.be64.displacement_A: expected a length"),
        ("supercells.be64.stacking_fault_layer", -1, "supercells.be64.stacking_fault_layer: expected a whole number"),
        (
            "supercells.reference",
            {"snapshot": "b-0", "repeat": [1, 1, 1]},
            "supercells.reference: expected another name",
        ),
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
        ("temperature", 'Did you mean "temperature_K" (a temperature in K above 0'),
        ("trajectoris", 'Did you mean "trajectories"'),
        ("dft.ecut_wfc", 'Did you mean "ecutwfc_Ry"'),
        ("trajectories.a.snapshots.tests", 'Did you mean "test"'),
        ("training.zzz", "Known keys here: network, learning_rate"),
        ("structure.densty_g_cm3", 'Did you mean "density_g_cm3"'),
    ],
)
def test_unknown_key_leads_to_the_nearest(content, key, hint):
    content["descriptors"] = {}
    text = message(changed(content, key, 1))
    assert f"config/x.yaml: {key}: unknown key. " in text
    assert hint in text


def test_every_mistake_is_listed_once(content):
    content = changed(changed(content, "temperature_K", -1), "dft.bands", 0)
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
    for key in ("structure", "trajectories", "supercells", "pseudopotentials", "training", "temperature_K"):
        try:
            parse_study({**content, key: value}, "x")
        except ConfigError as error:
            assert str(error).startswith("x: ")


def test_settings_for_scripts_are_canonical(content):
    study = parse_study(content, "x")
    assert json.loads(study.md.only("time_step_fs", "equilibration_fs")) == {
        "equilibration_fs": 20.0,
        "time_step_fs": 2.0,
    }
    assert "ranks" not in json.loads(study.descriptors.without("backend", "precision", "ranks", "threads"))
    assert study.ldos.without() == json.dumps(json.loads(study.ldos.without()), sort_keys=True)


def test_boltzmann_constant_is_the_one_of_units():
    assert pytest.approx(units.BOLTZMANN_eV_per_K, rel=1e-9) == BOLTZMANN_eV_per_K


def test_stacking_fault_needs_a_lattice(content):
    content = changed(content, "supercells.be64.stacking_fault_layer", 2)
    assert not parse_study(content, "x").supercells["be64"].is_repetition
    assert "supercells.be64.stacking_fault_layer: expected a cell that is built from a lattice" in message(
        changed(content, "structure", {"file": "x.cif"})
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


#: k-points of the four-atom cell that each study's DFT-MD cell folds onto; eight atoms need more to be smooth.
KPOINTS = {"quickstart": [12, 6, 6], "laptop": [8, 4, 4], "paper": [8, 4, 4]}


@pytest.mark.parametrize("name", KPOINTS)
def test_shipped_studies(repository, name):
    study = load_study(repository / f"config/{name}.yaml")
    assert study.study == name
    assert study.dft.kpoints_shift == [1, 1, 1]


@pytest.mark.parametrize("name", KPOINTS)
def test_kpoints_fold_onto_those_of_the_four_atom_cell(repository, name):
    study = load_study(repository / f"config/{name}.yaml")

    def folded(grid: list[int], repeat: list[int]) -> set[tuple[float, ...]]:
        axes = [
            sorted({round(((i + 0.5 * shift) / count * factor) % 1, 9) for i in range(count)})
            for count, shift, factor in zip(grid, study.dft.kpoints_shift, repeat, strict=True)
        ]
        return set(itertools.product(*axes))

    assert folded(study.dft.kpoints, [1, 1, 1]) == folded(KPOINTS[name], study.structure.repeat)


def test_quickstart_is_what_the_readme_promises(repository):
    study = load_study(repository / "config/quickstart.yaml")
    steps = sum(trajectory.segments for trajectory in study.trajectories.values()) * study.md.steps_per_segment
    assert steps * study.md.time_step_fs >= 100
    assert 4 * math.prod(study.structure.repeat) >= 8
    assert len(study.snapshots("train")) >= 3
    assert (study.ldos.energy_max_eV - study.ldos.energy_min_eV) / study.ldos.spacing_eV >= 100
    assert math.prod(study.supercells["be64"].repeat) * 8 >= 64


def test_command_checks_and_describes(repository, tmp_path, capsys):
    assert cli.main(["check-config", str(repository / "config/quickstart.yaml")]) == 0
    assert "4 train, 1 validation, 1 test" in capsys.readouterr().out
    path = tmp_path / "x.yaml"
    path.write_text(QUICKSTART.replace("298.0", "-298.0"), encoding="utf-8")
    assert cli.main(["check-config", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"{path}: temperature_K: expected")
    assert cli.main(["describe-config", "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == study_schema()


def test_command_shows_a_dataset(tmp_path, capsys):
    from nearsight.datasets import write_dataset

    write_dataset(tmp_path / "x.h5", {"fermi_energy": 8.5}, {"a": 1}, {"stage": "reference"})
    assert cli.main(["show", str(tmp_path / "x.h5")]) == 0
    assert "fermi_energy (scalar, unit eV) = 8.5: Fermi energy" in capsys.readouterr().out
    assert cli.main(["show", str(tmp_path / "absent.h5")]) == 1
    assert "absent.h5: expected a dataset" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["quickstart", "laptop", "paper"])
def test_package_reads_what_the_rules_pass(repository, name):
    """Keys, choices and limits here are those of the modules that receive them."""
    from nearsight.descriptors.interface import make_descriptor
    from nearsight.reference.espresso.inputs import DftSettings, LdosSettings, MdSettings

    study = load_study(repository / f"config/{name}.yaml")
    DftSettings.read(json.loads(study.dft.without("launcher", "ranks")), "dft")
    MdSettings.read(json.loads(study.md.without("equilibration_fs")), "md")
    LdosSettings.read(json.loads(study.ldos.without()), "ldos")
    Training.from_json(study.training.without("threads"))
    make_descriptor(json.loads(study.descriptors.without()), ["Be"])


def test_choices_are_those_of_the_package():
    from nearsight.descriptors.bispectrum.compute import BACKENDS
    from nearsight.model.networks.perceptron import ACTIVATIONS
    from nearsight.reference.espresso.ldos import MAX_ENERGIES
    from nearsight.structures.velocities import THERMOSTATS

    properties = Study.model_json_schema()["$defs"]
    for section, key, choices in (
        ("Perceptron", "activation", ACTIVATIONS),
        ("Md", "thermostat", THERMOSTATS),
        ("Bispectrum", "backend", BACKENDS),
    ):
        schema = properties[section]["properties"][key]
        assert set(schema.get("enum", [schema.get("const")])) == set(choices), key
    assert MOST_ENERGIES == MAX_ENERGIES


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
    assert "structure" in message(changed(content, "structure.element", name))
    assert "pseudopotentials." in message(changed(content, "pseudopotentials", {name: {"ld1_input": "x"}}))


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "a\x1b[2Jb", "{a}", "", "-rf", "a" * 1025, "a\n"])
def test_file_names_that_no_file_should_have(content, name):
    assert "structure.file" in message(changed(content, "structure", {"file": name}))
    assert "pseudopotentials.Be.ld1_input" in message(changed(content, "pseudopotentials", {"Be": {"ld1_input": name}}))


@pytest.mark.parametrize("launcher", ["mpirun\nrm", "mpirun {input}", "a\0b"])
def test_launchers_that_no_command_line_should_have(content, launcher):
    assert "dft.launcher: expected a command" in message(changed(content, "dft.launcher", launcher))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("structure.repeat", [1, 1, 10**12]),
        ("trajectories.a.snapshots.train", 10**12),
        ("trajectories", {f"t{i}": {"segments": 9, "snapshots": {"train": 9999}} for i in range(99)}),
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

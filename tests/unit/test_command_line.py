"""The whole command line: whatever is typed, a message and an exit status, no traceback, and no input is changed."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import make_random_model
from view_files import blob, write_prediction

from nearsight import memory
from nearsight.cli import COMMANDS, RUN, main
from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.errors import InputError
from nearsight.inference import run as prediction
from nearsight.model.bundle import save_bundle
from nearsight.options import OPTIONS, Number
from nearsight.structures import lammps
from nearsight.study.sections import Inference

NUMBERS = (
    *("0", "1", "2", "3", "7", "-1", "-3", "1000", "10000", "99999999999999999999", "1" * 5000, "1e400", "1e-320"),
    *("nan", "inf", "-inf", "0.5", "1.5", "300", "1_0", "٣", "", " ", "x", "0x10", "1,2", "None", "--"),
)
REGIONS = (
    "all",
    "0:2,0:2,0:2",
    "3:3,0:3,0:3",
    "2:1,0:1,0:1",
    "-1:2,0:1,0:1",
    "0:99,0:1,0:1",
    "0:1",
    ":,:,:",
    "",
    "0:1,0:1,0:x",
)
FILES = (
    *("be.extxyz", "be.extxyz@0", "be.extxyz@-1", "be.extxyz@5", "be.extxyz@x", "many.extxyz@1", "bad.extxyz", "none"),
    *(
        "density.h5",
        "study.yaml",
        "pair.in",
        "folder",
        "empty",
        "/dev/null",
        "/dev/full",
        "\udcff.h5",
        "a b\n'$(x)`",
        "",
    ),
    *(
        "predicted",
        "model",
        "model/model.json",
        "model/model.safetensors",
        "x" * 300,
        "be.extxyz/inside",
        ".",
        "@1",
        "",
    ),
)
OUTPUTS = (
    *(
        "out/x.extxyz",
        "out/CHGCAR",
        "out/x.cube",
        "out/x.xsf",
        "out/x.dat",
        "out/x.html",
        "out/a/b/c.cube",
        "out",
        "be.extxyz",
        "model",
    ),
    *("density.h5", "be.extxyz/inside", "folder", "pipe", "/proc/x", "out/" + "x" * 300, "out/\udcff.cube", ""),
)


def test_every_command_and_number_is_in_the_table():
    assert set(OPTIONS) == set(COMMANDS) == set(RUN)
    for command, entries in OPTIONS.items():
        for name, keywords in (
            pair for entry in entries for pair in (entry if isinstance(entry[0], tuple) else [entry])
        ):
            kind = keywords.get("type")
            assert kind not in (int, float), f"{command} {name}: a number without a range"
            assert "help" in keywords, name
            default = keywords.get("default")
            if isinstance(kind, Number) and default is not None:
                assert all(kind.holds(value) for value in np.ravel(default).tolist())


@pytest.mark.parametrize(("option", "key"), [("--memory-GiB", "memory_GiB"), ("--threads", "threads")])
def test_ranges_are_those_of_a_study(option, key):
    """What the option takes, the section of a study takes too."""
    kind = dict(OPTIONS["predict"])[option]["type"]
    for value in (kind.low, kind.high):
        assert getattr(Inference(**{key: value}), key) == value


@given(st.one_of(st.sampled_from(NUMBERS), st.text(max_size=8), st.floats().map(repr), st.integers().map(str)))
@settings(max_examples=200, deadline=None)
def test_numbers_are_of_their_range_or_refused(text):
    for kind in (Number(int, 1, 100), Number(float, 0.1, 1e6, "K")):
        try:
            value = kind(text)
        except argparse.ArgumentTypeError as error:
            assert str(kind) in str(error)
            continue
        assert type(value) is kind.kind
        assert kind.low <= value <= kind.high
        assert kind.check("x", value) == value


@pytest.mark.parametrize("value", [True, None, "3", np.nan, 0, 101, 1.5, [3]])
def test_values_out_of_range(value):
    with pytest.raises(InputError, match="x: expected a whole number from 1 to 100, got"):
        Number(int, 1, 100).check("x", value)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A folder with one file of each kind."""
    folder = tmp_path_factory.mktemp("sandbox")
    atoms = bulk("Be")
    atoms.positions += [[0.05, -0.08, 0.1], [0.0, 0.03, -0.06]]
    ase.io.write(folder / "be.extxyz", atoms)
    ase.io.write(folder / "many.extxyz", [atoms, atoms.repeat((1, 1, 2))])
    (folder / "bad.extxyz").write_text('2\nLattice="1 0 0 0 1 0 0 0 x"\nBe 0 0 0\nBe 0 0 0\n')
    (folder / "pair.in").write_text("pair_style lj/cut 5.0\npair_coeff * * 0.01 2.0\n")
    (folder / "study.yaml").write_text("study: [\n")
    (folder / "empty").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "model").mkdir()
    settings = {"twojmax": 2, "cutoff_A": 4.0}
    model = make_random_model(bispectrum(atoms, (6, 6, 9), **settings), settings)
    save_bundle(model, folder / "model/model.json", folder / "model/model.safetensors")
    write_prediction(folder / "predicted", density=blob((4, 4, 5)))
    write_dataset(folder / "density.h5", {**variables_of_atoms(atoms), "density": np.ones((4, 4, 5))}, {}, {})
    return folder


@pytest.fixture
def stand_ins(sandbox, monkeypatch):
    """Nothing is computed that takes long: neither predictions nor molecular dynamics nor more than 2,000 atoms."""
    monkeypatch.chdir(sandbox)

    def stop(*_, **__):
        raise InputError("all checks passed")

    monkeypatch.setattr(prediction, "make_plan", stop)
    monkeypatch.setattr(lammps, "run_lammps_md", lambda atoms, *_, **__: atoms)
    monkeypatch.setattr(memory, "limit_bytes", lambda *_: (memory.structure_bytes(2000), "the test"))


def taken(kind):
    """The texts of NUMBERS that are in a range."""

    def fits(text):
        try:
            return kind(text) is not None
        except argparse.ArgumentTypeError:
            return False

    return [text for text in NUMBERS if fits(text)]


def argument(name, keywords):
    """Texts for an argument, most of them of its kind."""
    if keywords.get("choices"):
        return st.sampled_from((*keywords["choices"], "gpu", ""))
    kind = keywords.get("type")
    if isinstance(kind, Number):
        return st.integers(0, 9).flatmap(lambda n: st.sampled_from(NUMBERS if n == 9 else taken(kind)))
    if name in ("--out", "output", "--output", "--folder"):
        return st.sampled_from(OUTPUTS)
    if name == "--ldos":
        return st.sampled_from(REGIONS)
    if name == "--element":
        return st.sampled_from(("Be", "W", "X", "be", "", "Uuo", "4"))
    return st.sampled_from(FILES)


@st.composite
def command_lines(draw):
    """A command with arguments of its table, in any number and order, some missing, some foreign."""
    command = draw(st.sampled_from(sorted(OPTIONS)))
    words = []
    for name, keywords in pairs_of(command):
        count = keywords.get("nargs", 1)
        count = draw(st.sampled_from((1, 2))) if count == "+" else count
        values = [draw(argument(name, keywords)) for _ in range(count)]
        if not name.startswith("--"):
            words += values if draw(st.integers(0, 19)) else []
        elif draw(st.booleans()) or (keywords.get("required") and draw(st.integers(0, 19))):
            words += [name] if keywords.get("action") else [name, *values]
    if not draw(st.integers(0, 19)):
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(("--help", "--unknown", "-1", "--", "@"))))
    return [command, *words]


def pairs_of(command):
    """(name, keywords) of all arguments and options of a command."""
    return [pair for entry in OPTIONS[command] for pair in (entry if isinstance(entry[0], tuple) else [entry])]


def test_no_file_is_written_over_unless_it_is_said(sandbox, capsys, monkeypatch):
    """`build`, `export` and `import`, also onto a file of another kind (Hypothesis found it)."""
    monkeypatch.chdir(sandbox)
    before = (sandbox / "density.h5").read_bytes()
    (sandbox / "taken.cube").write_text("mine")
    for command in (
        ["build", "density.h5", "--structure", "be.extxyz"],
        ["export", "density.h5", "taken.cube"],
        ["import", "qe", "folder", "--out", "density.h5"],
    ):
        assert main(command) == 1
        assert "expected no such file yet, found one. Name another, or give --overwrite." in capsys.readouterr().err
    assert (sandbox / "density.h5").read_bytes() == before
    assert (sandbox / "taken.cube").read_text() == "mine"
    assert main(["export", "density.h5", "taken.cube", "--overwrite"]) == 0
    assert (sandbox / "taken.cube").read_text() != "mine"
    assert main(["export", "density.h5", "density.h5", "--format", "cube", "--overwrite"]) == 1  # its own input
    assert (sandbox / "density.h5").read_bytes() == before


@pytest.mark.parametrize("tries", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_whatever_is_typed(sandbox, stand_ins, capsys, record_property, tries):
    before = {path: path.read_bytes() for path in sandbox.rglob("*") if path.is_file()}
    statuses = []

    @settings(max_examples=tries, deadline=None, suppress_health_check=list(HealthCheck))
    @given(command_lines())
    def check(words):
        try:
            status = main(words)
        except SystemExit as stopped:
            status = stopped.code
        found = capsys.readouterr()
        assert status in (0, 1, 2), words
        assert "Traceback" not in found.err, words
        assert status == 0 or found.err.strip(), words
        changed = [path for path, content in before.items() if path.read_bytes() != content]
        for path in changed:  # so that Hypothesis finds the shortest command line that does it
            path.write_bytes(before[path])
        assert not changed or "--overwrite" in words, (words, changed)
        statuses.append((status, "all checks passed" in found.err))

    check()
    counts = [sum(status == number for status, _ in statuses) for number in (0, 1, 2)]
    record_property(
        "measured",
        f"command lines tried: {len(statuses)}; done {counts[0]}, refused {counts[1]}, not understood {counts[2]}",
    )


# ------------------------------------------------------------------------------------------------------- streams

NEARSIGHT = Path(sys.executable).with_name("nearsight")


def start(sandbox, redirection, *words, **environment):
    """The command in a shell with its streams redirected."""
    command = ["/bin/sh", "-c", f'"$@" {redirection}', "sh", str(NEARSIGHT), *words]
    return subprocess.run(command, cwd=sandbox, capture_output=True, text=True, env={**os.environ, **environment})


def test_letters_that_the_terminal_does_not_have(sandbox):
    done = start(sandbox, "", "show", "density.h5", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "density (x 4 x y 4 x z 5, unit 1/\\xc5\\xb3)" in done.stdout


@pytest.mark.parametrize(
    ("redirection", "reason"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")]
)
def test_output_that_cannot_be_written(sandbox, tmp_path, redirection, reason):
    """A message, status 1, and whole files."""
    done = start(sandbox, redirection, "show", "density.h5")
    assert done.returncode == 1
    assert done.stderr.startswith("standard output: expected to write to it")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    built = tmp_path / "x.extxyz"
    done = start(sandbox, redirection, "build", str(built), "--structure", "be.extxyz", "--repeat", "2", "1", "1")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert len(ase.io.read(built)) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_whose_own_process_was_told_to_stop(sandbox, number):
    """A signal to the whole group ends the process that looks into a file before the command hears of it."""
    code = (
        "import subprocess, sys; from nearsight import cli, hdf5\n"
        f"hdf5.subprocess.run = lambda *_, **__: subprocess.CompletedProcess('', {-number}, '', '')\n"
        "sys.exit(cli.main(['show', 'density.h5']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=sandbox, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-number, "interrupted; what is finished is kept\n")


def test_a_reader_that_leaves_and_no_streams_at_all(sandbox, tmp_path):
    done = start(sandbox, "| head -n 1", "show", "density.h5")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    built = tmp_path / "x.extxyz"
    done = start(sandbox, "<&- >&- 2>&-", "build", str(built), "--structure", "be.extxyz")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert len(ase.io.read(built)) == 2

"""`nearsight build`: large structures from the command line."""

import numpy as np
import pytest
from ase.build import bulk

from nearsight.cli import main
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.io import read_structure, write_structure
from nearsight.structures.large import stacking_sequence

LATTICE = ("--element", "Be", "--density-g-cm3", "1.896", "--c-over-a", "1.5797")


def test_md_repetition_displacements_and_fault(tmp_path, capsys):
    path = tmp_path / "be; $(x).extxyz"
    steps = ("--md-repeat", "2", "1", "2", "--md-steps", "20", "--repeat", "2", "2", "2", "--displacement-A", "0.02")
    assert main(["build", str(path), *LATTICE, *steps, "--stacking-fault", "3"]) == 0
    atoms = read_structure(path)
    assert "128 atoms" in capsys.readouterr().out
    cell = hcp_orthorhombic("Be", 1.896, 1.5797)
    np.testing.assert_allclose(atoms.cell.lengths(), cell.cell.lengths() * [4, 2, 4], rtol=1e-8)
    kinds = stacking_sequence(atoms, cell.cell[0, 0], cell.cell[2, 2] / 2)
    assert set(kinds) == set("ABC")
    # no part repeats: the two halves along x differ
    half = atoms.get_scaled_positions()[:, 0] % 0.5
    assert len(np.unique(np.round(half, 10))) == len(atoms)


def test_structure_of_a_file(tmp_path):
    write_structure(tmp_path / "a.extxyz", bulk("Al", cubic=True))
    command = [
        "build",
        str(tmp_path / "b.extxyz"),
        "--structure",
        str(tmp_path / "a.extxyz"),
        "--repeat",
        "1",
        "2",
        "3",
    ]
    assert main(command) == 0
    assert len(read_structure(tmp_path / "b.extxyz")) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--element", "Be"], "expected --density-g-cm3"),
        (["--element", "Xx"], "argument --element: expected the symbol of an element"),
        ([*LATTICE[:3], "inf", *LATTICE[4:]], "argument --density-g-cm3: expected a number from 0.001 to 100"),
        ([*LATTICE[:3], "nan", *LATTICE[4:]], "argument --density-g-cm3: expected"),
        ([*LATTICE, "--repeat", "0", "1", "1"], "argument --repeat: expected a whole number from 1 to 10000, got '0'"),
        ([*LATTICE, "--repeat", "1000", "1000", "1000"], "4,000,000,000 atoms, which"),
        ([*LATTICE, "--md-repeat", "1000", "1000", "1000", "--md-steps", "1"], "4,000,000,000 atoms, which"),
        ([*LATTICE, "--md-steps", "-3"], "argument --md-steps: expected"),
        ([*LATTICE, "--md-steps", "2", "--temperature-K", "nan"], "argument --temperature-K: expected"),
        ([*LATTICE, "--md-steps", "2", "--seed", "-7"], "argument --seed: expected"),
        ([*LATTICE, "--md-steps", "2", "--pair-commands", "none.in"], "none.in: expected a file of LAMMPS commands"),
        ([*LATTICE, "--md-steps", "2", "--pair-commands", "empty.in"], "found no pair_style"),
        ([*LATTICE, "--md-steps", "2", "--md-repeat", "4", "3", "3", "--pair-commands", "bad.in"], "LAMMPS: expected"),
        ([*LATTICE, "--stacking-fault", "0"], "at least 6 layers"),
        ([*LATTICE, "--displacement-A", "5"], "overlap"),
        (["--structure", "empty.in"], "expected a structure"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.in").write_text("\n")
    (tmp_path / "bad.in").write_text("pair_style lj/cut 8.0\npair_coeff 1 Be wrong\n")
    before = sorted(tmp_path.iterdir())
    try:
        status = main(["build", str(tmp_path / "b.extxyz"), *options])
    except SystemExit as stopped:
        status = stopped.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_an_input_is_never_written_over(tmp_path, capsys):
    path = tmp_path / "a.extxyz"
    write_structure(path, bulk("Al", cubic=True))
    before = path.read_bytes()
    for source in (path, f"{path}@0"):
        assert main(["build", str(path), "--structure", str(source), "--repeat", "1", "1", "2"]) == 1
        assert "expected a file other than the one that is read" in capsys.readouterr().err
    assert path.read_bytes() == before

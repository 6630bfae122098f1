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
        ([*LATTICE, "--repeat", "0", "1", "1"], "--repeat: expected three whole numbers"),
        ([*LATTICE, "--stacking-fault", "0"], "at least 6 layers"),
        ([*LATTICE, "--displacement-A", "5"], "overlap"),
    ],
)
def test_bad_input(tmp_path, capsys, options, message):
    assert main(["build", str(tmp_path / "b.extxyz"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

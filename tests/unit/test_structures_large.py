"""Stacking faults, independent displacements, molecular dynamics, radial distribution and structure factor."""

import os
import signal

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from nearsight.errors import InputError, Stopped
from nearsight.jobs import make_parser, run_job
from nearsight.structures import lammps
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.correlation import radial_distribution
from nearsight.structures.lammps import potential_energy, run_lammps_md
from nearsight.structures.large import (
    add_stacking_fault,
    displace_independently,
    stacking_sequence,
)

CELL = hcp_orthorhombic("Be", 1.896, 1.5797)
A, SPACING = CELL.cell[0, 0], CELL.cell[2, 2] / 2


def test_sequence_of_hcp_and_fcc():
    assert stacking_sequence(CELL.repeat((3, 2, 4)), A, SPACING) == "ABABABAB"
    # fcc along [111], in its rectangular cell of three layers
    a, c = A, 3 * SPACING
    fcc = Atoms("Be6", cell=[a, a * np.sqrt(3), c], pbc=True)
    fcc.set_scaled_positions(
        [[0, 0, 0], [0.5, 0.5, 0], [0, 1 / 3, 1 / 3], [0.5, 5 / 6, 1 / 3], [0, 2 / 3, 2 / 3], [0.5, 1 / 6, 2 / 3]]
    )
    assert stacking_sequence(fcc, A, SPACING) == "ACB"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 7), st.integers(0, 10))
def test_fault_anywhere(first, seed):
    """Whatever the first layer and the displacements: three layers change their kind, no neighbours are alike."""
    ideal = CELL.repeat((4, 2, 4))
    displaced = displace_independently(ideal, 0.08, seed)
    displaced.positions += [0.3, 0.4, 0.5]
    faulted = add_stacking_fault(displaced, A, SPACING, first)
    before, after = (stacking_sequence(atoms, A, SPACING) for atoms in (displaced, faulted))
    moved = {(first + i) % 8 for i in range(3)}
    # kinds relative to a layer that stays
    rest = (first + 4) % 8
    before, after = (
        [("ABC".index(kind) - "ABC".index(kinds[rest])) % 3 for kind in kinds] for kinds in (before, after)
    )
    assert {i for i in range(8) if before[i] != after[i]} == moved
    assert len(set(after)) == 3
    assert all(one != other for one, other in zip(after, after[1:] + after[:1], strict=True))
    lengths = np.linalg.norm(faulted.positions - displaced.positions, axis=1)
    assert sorted(set(np.round(lengths, 6))) == pytest.approx([0.0, A / np.sqrt(3)], abs=1e-5)
    assert (lengths > 0).sum() == 3 * len(ideal) // 8


def test_fault_keeps_distances_of_close_packing():
    """Between layers of any two kinds the nearest distance is that of hcp."""
    ideal = CELL.repeat((4, 2, 4))
    faulted = add_stacking_fault(ideal, A, SPACING, 3)
    nearest = [neighbor_list("d", atoms, 2.4).min() for atoms in (ideal, faulted)]
    assert nearest[1] == pytest.approx(nearest[0], abs=1e-9)


@pytest.mark.parametrize(
    ("repeat", "first", "message"),
    [((2, 2, 2), 0, "at least 6 layers"), ((2, 2, 4), 8, "got 8 layers and 8"), ((2, 2, 4), -1, "and -1")],
)
def test_fault_that_does_not_fit(repeat, first, message):
    with pytest.raises(InputError, match=message):
        add_stacking_fault(CELL.repeat(repeat), A, SPACING, first)


def test_fault_of_no_crystal():
    with pytest.raises(InputError, match="rectangular cell"):
        add_stacking_fault(bulk("Be").repeat(6), A, SPACING, 0)
    with pytest.raises(InputError, match="near planes"):
        random = CELL.repeat((2, 2, 4))
        random.positions[:, 2] = np.linspace(0, random.cell[2, 2], len(random))
        add_stacking_fault(random, A, SPACING, 0)


def test_displacements_are_independent_gaussians():
    ideal = CELL.repeat((10, 6, 6))
    moved = displace_independently(ideal, 0.1, 5).positions - ideal.positions
    assert moved.std() == pytest.approx(0.1, rel=0.03)
    assert abs(moved.mean()) < 0.01
    assert len(np.unique(np.round(moved, 12), axis=0)) == len(ideal)
    assert not np.allclose(displace_independently(ideal, 0.1, 6).positions - ideal.positions, moved)
    for wrong in (-0.1, np.nan):
        with pytest.raises(InputError, match="displacement_A"):
            displace_independently(ideal, wrong, 1)


def test_md_keeps_the_crystal_and_its_temperature():
    """After 300 fs at 300 K the mean square displacement is that of a solid; centre of mass and cell rest."""
    ideal = CELL.repeat((4, 2, 2))
    after = run_lammps_md(ideal, 300.0, 150, seed=3, time_step_fs=2.0)
    moved = after.positions - ideal.positions
    assert np.abs(after.cell - ideal.cell).max() == 0
    assert 0.03 < moved.std() < 0.15
    assert np.abs(moved).max() < 0.6
    np.testing.assert_array_equal(run_lammps_md(ideal, 300.0, 150, seed=3, time_step_fs=2.0).positions, after.positions)


def test_md_with_another_potential():
    """A triclinic cell of argon; its dynamics conserve the energy that ASE's Lennard-Jones calculator gives."""
    argon = bulk("Ar", a=5.3).repeat((4, 4, 4))
    after = run_lammps_md(argon, 20.0, 50, 1, pair_commands=["pair_style lj/cut 8.0", "pair_coeff * * 0.0104 3.40"])
    assert 0.01 < (after.positions - argon.positions).std() < 0.3


def test_md_refusals():
    with pytest.raises(InputError, match="expected W and Be"):
        run_lammps_md(bulk("Al").repeat(3), 300.0, 1, 1)
    with pytest.raises(InputError, match="expected commands that it accepts"):
        run_lammps_md(CELL.repeat(3), 300.0, 1, 1, pair_commands=["pair_style no/such"])


@pytest.mark.parametrize(
    "line",
    [
        "shell touch made",
        "SHELL touch made",
        "log made",
        "include made",
        "jump made",
        "print x file made",
        "variable x getenv HOME",
        "python x source made",
        "plugin load made",
        "pair_write 1 1 10 r 1.0 2.0 made x",
        "pair_style python 5.0",
        "pair_style hybrid python 5.0",
        "pair_coeff * * $(1)",
        "pair_style lj/cut 5.0\nshell touch made",
    ],
)
def test_potentials_start_no_program_and_write_no_file(tmp_path, monkeypatch, line):
    """Not of a stranger's file or study; LAMMPS would do all of that."""
    monkeypatch.chdir(tmp_path)
    good = ["# mine", "", "pair_style lj/cut 5.0", "pair_coeff * * 0.01 2.0 # log"]
    with pytest.raises(InputError, match=r"LAMMPS: expected commands that set a potential .*, got .*Leave it out"):
        run_lammps_md(CELL.repeat(3), 300.0, 1, 1, pair_commands=[*good, line])
    with pytest.raises(InputError, match="expected commands that set a potential"):
        potential_energy(CELL.repeat(3), [*good, line])
    assert not list(tmp_path.iterdir())
    assert np.isfinite(potential_energy(CELL.repeat(3), good))


def test_a_job_that_is_told_to_stop_inside_lammps(monkeypatch, capsys):
    """LAMMPS is a library: the signal comes while its code runs, and is heard when a command of it ends."""
    create = lammps.create_structure

    def told(instance, atoms):
        instance.command(f"shell kill -TERM {os.getpid()}")
        return create(instance, atoms)

    monkeypatch.setattr(lammps, "create_structure", told)
    with pytest.raises(SystemExit) as ended:
        run_job(lambda _: run_lammps_md(CELL.repeat(3), 300.0, 1, 1), make_parser("").parse_args([]))
    assert ended.value.code == 143
    assert capsys.readouterr().err == f"ERROR: {Stopped(signal.SIGTERM)}\n"


def test_radial_distribution_counts_shells():
    """hcp: twelve neighbours in the first two shells; g(r) integrates to them."""
    ideal = CELL.repeat((3, 2, 2))
    r, g = radial_distribution(ideal, 2.5, 500)
    density = len(ideal) / ideal.get_volume()
    shells = np.diff(np.linspace(0, 2.5, 501) ** 3) * 4 / 3 * np.pi
    assert (g * shells * density).sum() == pytest.approx(12, abs=1e-9)
    assert r[g > 0].min() == pytest.approx(2.18, abs=0.06)


def test_radial_distribution_of_a_gas_is_one():
    generator = np.random.default_rng(0)
    gas = Atoms("Be4000", positions=generator.random((4000, 3)) * 20, cell=[20] * 3, pbc=True)
    _, g = radial_distribution(gas, 6.0, 12)
    np.testing.assert_allclose(g[3:], 1, atol=0.03)

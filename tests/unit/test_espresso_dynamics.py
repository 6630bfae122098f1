"""Dynamics in segments is the dynamics of one run."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase import units as ase_units

from nearsight.errors import ConvergenceError, InputError
from nearsight.reference.espresso import dynamics
from nearsight.reference.espresso.dynamics import frames_of_steps, run_segment
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.outputs import MdStep, check_convergence
from nearsight.reference.espresso.programs import Launch
from nearsight.structures.io import read_structure, write_structure
from nearsight.structures.velocities import draw_velocities
from nearsight.study.sections import Md

SPRING = 5.0  # eV/Å²
TIME_STEP = 1.0  # fs


def spring_steps(count):
    """Two beryllium atoms on a spring, moved by the Verlet algorithm; eV, Å, fs."""
    atoms = Atoms("Be2", positions=[[0, 0, 0], [2.2, 0, 0]], cell=[10, 10, 10], pbc=True)
    mass = atoms.get_masses()[0]

    def forces(positions):
        stretch = positions[1, 0] - positions[0, 0] - 2.0
        return np.array([[SPRING * stretch, 0, 0], [-SPRING * stretch, 0, 0]])

    steps = []
    before = now = atoms.positions.copy()
    acceleration = ase_units.fs**2 / mass
    for number in range(count):
        force = forces(now)
        stretch = now[1, 0] - now[0, 0] - 2.0
        steps.append(MdStep(now.copy(), force, 0.5 * SPRING * stretch**2))
        if number == 0:
            after = now + 0.5 * force * acceleration * TIME_STEP**2  # from rest
        else:
            after = 2 * now - before + force * acceleration * TIME_STEP**2
        before, now = now, after
    atoms.info["time_fs"] = 4.0
    return atoms, steps


def test_velocities_are_verlets_central_differences():
    atoms, steps = spring_steps(40)
    frames = frames_of_steps(atoms, steps, TIME_STEP)
    assert len(frames) == 39
    assert [frame.info["time_fs"] for frame in frames[:3]] == [5.0, 6.0, 7.0]
    for number in range(1, 38):
        central = (steps[number + 1].positions - steps[number - 1].positions) / (2 * TIME_STEP)
        assert frames[number - 1].get_velocities() * ase_units.fs == pytest.approx(central, abs=1e-12)


def test_the_energy_is_conserved_and_stored():
    atoms, steps = spring_steps(200)
    frames = frames_of_steps(atoms, steps, TIME_STEP)
    energies = [frame.info["conserved_energy_eV"] for frame in frames]
    assert np.ptp(energies) < 5e-3 * 0.5 * SPRING * 0.2**2
    assert frames[0].get_potential_energy() == steps[1].total_free_energy
    assert frames[0].get_forces() == pytest.approx(steps[1].forces)
    assert max(frame.info["temperature_K"] for frame in frames) > 100


MD = Md(
    time_step_fs=2.0,
    steps_per_segment=6,
    thermostat="not_controlled",
    thermostat_time_fs=20.0,
    ecutwfc_Ry=12.0,
    kpoints=[2, 2, 2],
    kpoints_shift=[1, 1, 1],
    conv_thr_Ry=1e-10,
)


@pytest.fixture(scope="module")
def pseudopotential(tmp_path_factory, repository):
    path = tmp_path_factory.mktemp("pseudo") / "Be.upf"
    return {"Be": generate_pseudopotential(repository / "config/pseudo/Be.pbe-rrkjus.in", "Be", path)}


@pytest.fixture
def start():
    atoms = Atoms(
        "Be2",
        cell=[[2.26, 0, 0], [-1.13, 1.9572, 0], [0, 0, 3.57]],
        scaled_positions=[[1 / 3, 2 / 3, 1 / 4], [2 / 3, 1 / 3, 3 / 4]],
        pbc=True,
    )
    velocities = draw_velocities(atoms.get_masses(), 600.0, np.random.default_rng(3))
    atoms.set_velocities(velocities / ase_units.fs)
    atoms.info["time_fs"] = 0.0
    return atoms


def run(atoms, pseudopotential, folder, **changes):
    settings = MD.model_copy(update=changes)
    return run_segment(atoms, pseudopotential, settings, 300.0, Launch(), folder / "segment.extxyz")


@pytest.mark.qe
def test_two_segments_are_one_run(start, pseudopotential, tmp_path):
    whole = run(start, pseudopotential, tmp_path)
    first = run(start, pseudopotential, tmp_path, steps_per_segment=3)
    write_structure(tmp_path / "a 'segment'.extxyz", first)  # through the file, as between jobs
    second = run(read_structure(tmp_path / "a 'segment'.extxyz"), pseudopotential, tmp_path, steps_per_segment=3)
    joined = [*first, *second]
    assert [frame.info["time_fs"] for frame in joined] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    for frame, expected in zip(joined, whole, strict=True):
        assert frame.info["time_fs"] == expected.info["time_fs"]
        assert frame.positions == pytest.approx(expected.positions, abs=1e-6)
        assert frame.get_velocities() == pytest.approx(expected.get_velocities(), abs=1e-5)
        assert frame.info["total_free_energy_eV"] == pytest.approx(expected.info["total_free_energy_eV"], abs=1e-6)
    # the unit of velocities is right: the energy is conserved while a third of it is exchanged
    conserved = [frame.info["conserved_energy_eV"] for frame in whole]
    assert np.ptp(conserved) < 0.05 * np.ptp([frame.info["total_free_energy_eV"] for frame in whole])
    assert [path.name for path in tmp_path.iterdir()] == ["a 'segment'.extxyz"]


@pytest.mark.qe
def test_a_step_that_does_not_converge_stops_the_segment(start, pseudopotential, tmp_path):
    with pytest.raises(ConvergenceError, match=r"md\.electron_maxstep = 2"):
        run(start, pseudopotential, tmp_path, electron_maxstep=2)
    assert list(tmp_path.iterdir()) == []


def test_what_a_message_advises_reaches_pw_x(start, tmp_path, monkeypatch):
    """Every key of `md` that the message on a failed SCF names, and the density cutoff of ultrasoft cells."""
    inputs = []

    def stop(program, text, *_, **__):
        inputs.append(text)
        raise InputError("enough")

    monkeypatch.setattr(dynamics, "run_program", stop)
    monkeypatch.setattr(dynamics, "place_pseudopotentials", lambda *_: {"Be": "Be.upf"})
    values = {"conv_thr_Ry": 3e-8, "electron_maxstep": 7, "mixing_beta": 0.31}
    with pytest.raises(ConvergenceError) as error:
        check_convergence("convergence NOT achieved", "md", 3e-8, 7)
    assert set(re.findall(r"md\.(\w+)", str(error.value))) == set(values) <= set(Md.model_fields)
    for cutoff in (None, 77.0):
        with pytest.raises(InputError, match="enough"):
            run(start, {}, tmp_path, **values, ecutrho_Ry=cutoff)
    for line in ("conv_thr = 3e-08", "electron_maxstep = 7", "mixing_beta = 0.31"):
        assert f"  {line}\n" in inputs[0]
    assert "  ecutrho = 48.0\n" in inputs[0]  # four times that of the wave functions
    assert "  ecutrho = 77.0\n" in inputs[1]


def test_a_start_without_velocities(start, tmp_path):
    del start.info["time_fs"]
    with pytest.raises(InputError, match="start_dft_md"):
        run(start, {}, tmp_path)

"""Snapshots: after equilibration, evenly spaced, uncorrelated where the trajectory allows it."""

import logging

import numpy as np
import pytest
from ase import Atoms

from nearsight.errors import InputError
from nearsight.structures.selection import select_frames, velocity_autocorrelation


def trajectory(count, motion, time_step=2.0):
    """Frames of 4 atoms whose velocities are motion(frame) times fixed random directions."""
    directions = np.random.default_rng(1).normal(size=(4, 3))
    frames = []
    for number in range(1, count + 1):
        frame = Atoms("Be4", positions=np.arange(12).reshape(4, 3), cell=[20, 20, 20], pbc=True)
        frame.set_velocities(directions * motion(number))
        frame.info["time_fs"] = time_step * number
        frames.append(frame)
    return frames


def noise(count, seed=3):
    """Uncorrelated motion."""
    generator = np.random.default_rng(seed)
    frames = trajectory(count, lambda n: 1.0)
    for frame in frames:
        frame.set_velocities(generator.normal(size=(4, 3)))
    return frames


def test_uncorrelated_frames_are_as_far_apart_as_possible():
    selection = select_frames(noise(60), 4, 20.0)
    # frames 10 to 60 (index 9 to 59) are left: three spacings of 16
    assert selection.indices == [11, 27, 43, 59]
    assert selection.spacing_fs == pytest.approx(32.0)
    assert abs(selection.autocorrelation) < 0.37


def test_one_snapshot_is_the_last_frame():
    selection = select_frames(noise(10), 1, 4.0)
    assert selection.indices == [9]
    assert selection.spacing_fs is None


def test_a_vibration_is_not_met_again_in_the_same_phase(caplog):
    """At the widest spacing, 32 fs, all frames would show the same phase."""
    frames = trajectory(60, lambda n: np.cos(2 * np.pi * n / 16))
    selection = select_frames(frames, 4, 20.0)
    assert selection.spacing_fs != pytest.approx(32.0)
    assert selection.autocorrelation < 0.37
    assert not caplog.records


def test_correlated_frames_are_warned_of(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nearsight"), "propagate", True)
    selection = select_frames(trajectory(20, lambda n: 1.0), 3, 0.0)
    assert selection.autocorrelation == pytest.approx(1.0)
    assert "still correlated" in caplog.text


@pytest.mark.parametrize(("count", "equilibration"), [(6, 10.0), (1, 100.0)])
def test_a_trajectory_that_is_too_short(count, equilibration):
    with pytest.raises(InputError, match=f"expected at least {count} frames after {equilibration} fs.*segments"):
        select_frames(noise(9), count, equilibration)


def test_autocorrelation_of_a_vibration():
    velocities = np.cos(2 * np.pi * np.arange(1000) / 20)[:, None, None] * np.ones((1, 2, 3))
    assert velocity_autocorrelation(velocities, 0) == pytest.approx(1)
    assert velocity_autocorrelation(velocities, 5) == pytest.approx(0, abs=1e-2)
    assert velocity_autocorrelation(velocities, 10) == pytest.approx(-1, abs=1e-2)


@pytest.mark.parametrize("time", [None, "soon", float("nan"), True, 2.0])
def test_frames_without_a_time(time):
    frames = noise(10)
    if time is None:
        del frames[3].info["time_fs"]
    else:
        frames[3].info["time_fs"] = time
    with pytest.raises(InputError, match=r"trajectory: frame 3: expected (its time in fs|a time after 6\.0 fs)"):
        select_frames(frames, 2, 0.0)


def test_frames_of_other_atoms():
    for other in (Atoms("Be3", cell=[9] * 3, pbc=True), Atoms("Be3Al", cell=[9] * 3, pbc=True)):
        frames = noise(10)
        other.info["time_fs"] = frames[3].info["time_fs"]
        frames[3] = other
        with pytest.raises(InputError, match="frame 3: expected the atoms of the first frame"):
            select_frames(frames, 2, 0.0)

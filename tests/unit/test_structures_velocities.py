"""Velocities and thermostats have the statistics that they should."""

import numpy as np
import pytest
from ase import Atoms
from ase import units as ase_units

from nearsight.errors import InputError
from nearsight.structures.velocities import (
    THERMOSTATS,
    apply_thermostat,
    draw_velocities,
    generator_of_state,
    kinetic_energy,
    temperature_of,
    without_drift,
)

MASSES = np.full(8, 9.0121831)


def draw(temperature=300.0, seed=1, masses=MASSES):
    return draw_velocities(masses, temperature, np.random.default_rng(seed))


def test_temperature_is_exact_and_the_centre_of_mass_rests():
    masses = np.array([1.0, 9.0, 16.0, 27.0])
    velocities = draw(300.0, masses=masses)
    assert temperature_of(masses, velocities) == pytest.approx(300.0)
    assert masses @ velocities == pytest.approx(np.zeros(3), abs=1e-12)


def test_energy_and_temperature_agree_with_ase():
    velocities = draw()
    atoms = Atoms("Be8", cell=[5, 5, 5], pbc=True)
    atoms.set_velocities(velocities / ase_units.fs)
    atoms.set_masses(MASSES)
    assert kinetic_energy(MASSES, velocities) == pytest.approx(atoms.get_kinetic_energy(), rel=1e-6)
    # ASE counts 3 N degrees of freedom
    assert temperature_of(MASSES, velocities) == pytest.approx(atoms.get_temperature() * 24 / 21, rel=1e-6)


def test_light_atoms_are_faster():
    masses = np.repeat([1.0, 16.0], 2000)
    squares = (draw(300.0, masses=masses) ** 2).mean(axis=1)
    assert squares[:2000].mean() / squares[2000:].mean() == pytest.approx(16, rel=0.05)


def test_seeds():
    assert (draw(seed=1) == draw(seed=1)).all()
    assert (draw(seed=1) != draw(seed=2)).all()


def test_bad_values():
    with pytest.raises(InputError, match="expected a positive temperature in K, got -3"):
        draw(-3.0)
    generator = np.random.default_rng(1)
    with pytest.raises(InputError, match=r"md\.thermostat: expected one of not_controlled.*got 'nose'"):
        apply_thermostat("nose", MASSES, draw(), 300, 30, 20, generator)
    with pytest.raises(InputError, match="thermostat_time_fs: expected a positive time in fs, got 0"):
        apply_thermostat("svr", MASSES, draw(), 300, 30, 0, generator)
    with pytest.raises(InputError, match="atoms at rest"):
        apply_thermostat("svr", MASSES, 0 * draw(), 300, 30, 20, generator)


def test_deterministic_thermostats():
    generator = np.random.default_rng(1)
    velocities = draw(500.0)
    assert (apply_thermostat("not_controlled", MASSES, velocities, 300, 30, 20, generator) == velocities).all()
    rescaled = apply_thermostat("rescaling", MASSES, velocities, 300, 30, 20, generator)
    assert temperature_of(MASSES, rescaled) == pytest.approx(300)
    relaxed = apply_thermostat("berendsen", MASSES, velocities, 300, 30, 20, generator)
    assert temperature_of(MASSES, relaxed) == pytest.approx(300 + 200 * np.exp(-1.5))


def test_the_stochastic_thermostat_is_canonical():
    """The kinetic energy's mean and variance are those of 3 N - 3 free degrees: T and 2 T²/(3 N - 3)."""
    generator = np.random.default_rng(5)
    velocities = draw(900.0)
    temperatures = []
    for _ in range(20000):
        velocities = apply_thermostat("svr", MASSES, velocities, 300, 20, 20, generator)
        temperatures.append(temperature_of(MASSES, velocities))
    assert np.abs(MASSES @ velocities).max() < 1e-10
    assert np.mean(temperatures[20:]) == pytest.approx(300, rel=0.02)
    assert np.var(temperatures[20:]) == pytest.approx(2 * 300**2 / 21, rel=0.06)


@pytest.mark.parametrize("name", THERMOSTATS)
def test_thermostats_keep_a_single_atom_and_the_shape(name):
    one = np.zeros((1, 3))
    assert apply_thermostat(name, MASSES[:1], one, 300, 30, 20, np.random.default_rng(1)).shape == (1, 3)


def test_random_numbers_belong_to_the_state():
    atoms = Atoms("Be2", positions=[[0, 0, 0], [1, 1, 1]], cell=[4, 4, 4], pbc=True)
    atoms.set_velocities([[0.1, 0, 0], [-0.1, -0.0, 0]])
    first = generator_of_state(atoms).random()
    assert generator_of_state(atoms.copy()).random() == first
    atoms.positions[0, 0] += 1e-3
    assert generator_of_state(atoms).random() != first


def test_drift():
    velocities = without_drift(np.array([1.0, 3.0]), np.array([[1.0, 0, 0], [1.0, 0, 0]]))
    assert velocities == pytest.approx(np.zeros((2, 3)))

"""The loss on projections, the last layer in closed form, and error bars: each against an answer that is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.grids.energies import EnergyGrid
from nearsight.ldos import integrate_dos
from nearsight.model.data import DataDescription, Snapshot
from nearsight.model.last_layer import (
    FeatureMoments,
    calibrate_bars,
    correct_layer,
    count_errors,
    energy_rows,
    head_of,
    measure_features,
    refit_layer,
)
from nearsight.model.network import build_network
from nearsight.model.projections import EnergyWeights, energy_weights
from nearsight.model.training import Loss
from nearsight.study.sections import Perceptron

GRID = EnergyGrid(-6.0, 0.1, 141)
WIDTH, ENERGIES = 6, 9
CPU = torch.device("cpu")


def snapshot(temperature_K=300.0, electrons=4.0, points=1000):
    return Snapshot(Path("r"), Path("d"), (points, 1, 1), temperature_K, electrons, 40.0, 2)


DATA = DataDescription(1, GRID, {}, 0.2, 300.0, {}, ["Be"], {"Be": 2.0}, 60.0, {})


def dos(seed):
    """A smooth spectrum in 1/eV, with the window's lower end empty."""
    generator = np.random.default_rng(seed)
    centres, heights = generator.uniform(-2, 6, 12), generator.uniform(0.3, 0.6, 12)
    return (heights * np.exp(-(((GRID.energies_eV[:, None] - centres) / 1.0) ** 2))).sum(axis=1)


# ------------------------------------------------------------------------------------------------ projections


@pytest.mark.parametrize("temperature_K", [300.0, 3000.0])
def test_the_energys_share_is_its_derivative_at_fixed_electrons(temperature_K):
    """δA = ∫ (ε - μ) f δD dε and the entropy's share, against the difference of two whole calculations."""
    spectrum, change = dos(1), 1e-5 * dos(2)
    weights = energy_weights([snapshot(temperature_K)], DATA, spectrum[None])
    free = []
    for sign in (1, -1):
        found = integrate_dos(spectrum + sign * change, GRID, 4.0, temperature_K, 0.2)
        free.append(found.band_energy_eV + found.entropy_energy_eV)
    assert change @ weights.share[0] == pytest.approx((free[0] - free[1]) / 2, rel=1e-5)


def test_every_snapshot_has_its_own_level_and_temperature():
    spectra = np.stack([dos(1), dos(1), dos(2)])
    snapshots = [snapshot(300.0), snapshot(6000.0), snapshot(300.0, electrons=5.0)]
    weights = energy_weights(snapshots, DATA, spectra)
    counted = np.einsum("se,se->s", spectra, weights.count)
    np.testing.assert_allclose(counted, [4.0, 4.0, 5.0], rtol=1e-8)
    assert np.abs(weights.projections[0] - weights.projections[1]).max() > 0.1


def test_the_loss_adds_the_projections():
    generator = np.random.default_rng(3)
    predicted, target = (torch.from_numpy(generator.normal(size=(20, ENERGIES)).astype(np.float32)) for _ in range(2))
    projections = generator.normal(size=(3, ENERGIES, 2))
    which = torch.from_numpy(generator.integers(0, 3, 20).astype(np.int32))
    difference = (predicted - target).numpy().astype(float)
    plain = Loss(0.0, projections, CPU)(predicted, target, which)
    assert float(plain) == pytest.approx((difference**2).mean(), rel=1e-6)
    integrals = np.stack([difference[i] @ projections[int(which[i])] for i in range(20)])
    weighted = Loss(0.3, projections, CPU)(predicted, target, which)
    assert float(weighted) == pytest.approx((difference**2).mean() + 0.3 * (integrals**2).mean(), rel=1e-5)


# ------------------------------------------------------------------------------------- the layer in closed form


class Rows:
    """Features themselves as descriptors of some snapshots."""

    def __init__(self, x, y, points):
        self.snapshots = [snapshot(points=n) for n in points]
        self._rows = x.astype(np.float32), y.astype(np.float32), np.repeat(np.arange(len(points)), points).astype("i4")

    def in_order(self, comm=None):
        for start in range(0, len(self._rows[0]), 64):
            yield start, tuple(part[start : start + 64] for part in self._rows)


def make_rows(seed, layer, snapshots=5, points=300, noise=0.1, offset=0.0):
    """y = h W, with noise at every point and an offset of every snapshot that no feature tells of."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(snapshots * points, WIDTH)) + np.repeat(
        generator.normal(size=(snapshots, WIDTH)), points, 0
    )
    y = np.c_[x, np.ones(len(x))] @ layer + noise * generator.normal(size=(len(x), ENERGIES))
    y += np.repeat(offset * generator.normal(size=(snapshots, ENERGIES)), points, axis=0)
    return Rows(x, y, [points] * snapshots)


LAYER = np.random.default_rng(0).normal(size=(WIDTH + 1, ENERGIES))


@pytest.fixture
def network():
    """A network whose trunk does nothing."""
    result = build_network(Perceptron(hidden=[WIDTH]), WIDTH, ENERGIES, seed=1)
    result.trunk = torch.nn.Identity()
    return result


def make_moments(network, rows, seed=None):
    """Moments with a random potential φ at every point, or none."""
    generator = np.random.default_rng(seed)
    shapes = [one.points for one in rows.snapshots]
    return measure_features(
        network, rows, [None if seed is None else generator.normal(size=(n, 1, 1)) for n in shapes], CPU
    )


def make_weights(seed, snapshots=5, slope=True):
    """Weights of integrals that differ a little between snapshots."""
    generator = np.random.default_rng(seed)

    def some():
        return generator.normal(size=ENERGIES) + 0.2 * generator.normal(size=(snapshots, ENERGIES))

    share, count = some(), some()
    return EnergyWeights(count, share, some() * slope, np.full(snapshots, 0.7))


def test_moments_are_means(network):
    rows = make_rows(1, LAYER)
    potentials = [None, *np.random.default_rng(2).normal(size=(4, 30, 5, 2))]
    moments = measure_features(network, rows, potentials, CPU)
    x, y, which = rows._rows
    extended = np.c_[x, np.ones(len(x))].astype(float)
    np.testing.assert_allclose(moments.gram, extended.T @ extended / len(x), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(moments.features[2], extended[which == 2].mean(axis=0), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(moments.targets[2], y[which == 2].mean(axis=0), rtol=1e-5, atol=1e-7)
    phi = potentials[2].reshape(-1, 1)
    np.testing.assert_allclose(moments.felt_features[2], (phi * extended[which == 2]).mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(moments.felt_targets[2], (phi * y[which == 2]).mean(axis=0), atol=1e-7)
    assert not moments.felt_features[0].any()


def test_an_energy_is_that_of_its_points(network):
    """A·W - B against the sum over points of what each one's error does, at a fixed number of electrons."""
    rows, weights = make_rows(3, LAYER, noise=0.5), make_weights(8)
    found = energy_rows(make_moments(network, rows, seed=4), weights).errors(LAYER)
    generator = np.random.default_rng(4)
    x, y, which = rows._rows
    for s in range(5):
        phi = generator.normal(size=300)
        error = np.c_[x, np.ones(len(x))][which == s] @ LAYER - y[which == s]
        level = (phi * (y[which == s] @ weights.slope[s])).mean() / weights.states[s]
        expected = error @ weights.share[s] - (phi - level) * (error @ weights.count[s])
        assert found[s] == pytest.approx(expected.mean(), rel=1e-4, abs=1e-6)
    # without φ it is the band energy's and the entropy's share
    moments = make_moments(network, rows)
    expected = ((moments.features @ LAYER - moments.targets) * weights.share).sum(axis=1)
    np.testing.assert_allclose(energy_rows(moments, weights).errors(LAYER), expected, atol=1e-10)
    assert count_errors(moments, LAYER, weights.share) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [1.0, 1e4])
def test_the_correction_is_the_least_one(network, weight):
    """The correction's own equations, solved for all of its numbers at once."""
    moments = make_moments(network, make_rows(3, LAYER, noise=0.5, offset=0.05), seed=6)
    energies = energy_rows(moments, make_weights(8))
    found = correct_layer(moments.gram, energies, LAYER, weight) - LAYER
    rows = energies.directions.reshape(5, -1) / energies.scales[:, None]
    matrix = np.kron(moments.gram, np.eye(ENERGIES)) + weight * rows.T @ rows
    errors = energies.errors(LAYER) / energies.scales
    expected = np.linalg.solve(matrix, -weight * rows.T @ errors).reshape(LAYER.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_the_energies_become_exact_where_their_weight_grows(network):
    moments = make_moments(network, make_rows(3, LAYER, noise=0.5, offset=0.05), seed=6)
    energies = energy_rows(moments, make_weights(8))
    layers = [LAYER, *(correct_layer(moments.gram, energies, LAYER, weight) for weight in (1.0, 1e2, 1e8))]
    errors = [np.abs(energies.errors(layer)).max() for layer in layers]
    assert errors[3] < 1e-5 < errors[2] < errors[1] < errors[0]
    changes = [np.sum((layer - LAYER) * (moments.gram @ (layer - LAYER))) for layer in layers]
    assert changes == sorted(changes)  # at the expense of the points


def test_validation_chooses(network):
    """A layer whose energies are off is corrected; where the training snapshots' are, the trained one stays."""
    ones = [EnergyWeights(*np.ones((3, count, ENERGIES)), np.ones(count)) for count in (40, 5, 2)]
    moments = make_moments(network, make_rows(4, LAYER, snapshots=40))
    training = energy_rows(moments, ones[0])
    validation = energy_rows(make_moments(network, make_rows(5, LAYER)), ones[1])

    def put(layer):
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(layer[:-1].T))
            network.head.bias.copy_(torch.from_numpy(layer[-1]))

    put(LAYER + 0.01)
    tried = refit_layer(network, moments.gram, training, validation)
    assert min(tried.values()) < 0.2 * tried["trained"]
    assert np.abs(validation.errors(head_of(network))).max() < 0.1
    put(LAYER)
    noisy = make_moments(network, make_rows(6, LAYER, snapshots=2, points=40, offset=0.3))
    tried = refit_layer(network, noisy.gram, energy_rows(noisy, ones[2]), validation)
    assert min(tried, key=tried.get) == "trained"
    np.testing.assert_allclose(head_of(network), LAYER, rtol=1e-6)


# --------------------------------------------------------------------------------------------------- error bars


def moments_of_means(features):
    features = np.c_[features, np.ones(len(features))]
    gram = np.diag([*np.ones(WIDTH), 0.0]) + features.T @ features / len(features)
    return FeatureMoments(gram, features, *np.zeros((3, len(features), ENERGIES)))


def test_bars_cover_what_they_say():
    """Errors drawn from the posterior itself, of structures near and far from the training set."""
    generator = np.random.default_rng(7)
    training = moments_of_means(generator.normal(size=(12, WIDTH)))
    precision = training.features.T @ training.features + 1e-2 * training.gram

    def draw(count, spread):
        """Mean features, and errors of density and energy with ε = 0.02, 0.1."""
        features = spread * generator.normal(size=(count, WIDTH))
        extended = np.c_[features, np.ones(count)]
        deviations = np.sqrt(np.einsum("si,ij,sj->s", extended, np.linalg.inv(precision), extended))
        return features, deviations[:, None] * [0.02, 0.1] * generator.normal(size=(count, 2))

    features, errors = draw(40, 1.5)
    bars = calibrate_bars(training, moments_of_means(features), errors)
    assert bars.energy == pytest.approx(0.1, rel=0.3)
    assert bars.count == pytest.approx(0.02, rel=0.3)
    for spread in (0.5, 4.0):
        features, errors = draw(2000, spread)
        said = np.array([bars.deviations(row, 1.0, 1.0) for row in features])
        for column, name in ((1, 0), (0, 1)):
            ratio = np.abs(errors[:, column]) / said[:, name]
            assert (ratio < 1).mean() == pytest.approx(0.683, abs=0.12)
            assert (ratio < 2).mean() == pytest.approx(0.954, abs=0.06)
    near, far = bars.deviations(np.zeros(WIDTH), 1.0, 1.0), bars.deviations(np.full(WIDTH, 9.0), 1.0, 1.0)
    assert far[0] > 3 * near[0]


def test_bars_are_extensive():
    """Twice the cell has twice the bar of the energy, and the same of the Fermi level."""
    generator = np.random.default_rng(8)
    training = moments_of_means(generator.normal(size=(5, WIDTH)))
    bars = calibrate_bars(training, training, generator.normal(size=(5, 2)))
    once, twice = bars.deviations(np.ones(WIDTH), 50.0, 8.0), bars.deviations(np.ones(WIDTH), 100.0, 16.0)
    assert twice[0] == pytest.approx(2 * once[0])
    assert twice[1] == pytest.approx(once[1])


def test_few_validation_snapshots_widen_the_bars():
    training = moments_of_means(np.random.default_rng(9).normal(size=(6, WIDTH)))
    one = FeatureMoments(training.gram, training.features[:1], *[training.targets[:1]] * 3)
    many = FeatureMoments(training.gram, np.repeat(one.features, 50, 0), *[np.repeat(one.targets, 50, 0)] * 3)
    error = np.array([[0.1, 0.2]])
    assert (
        calibrate_bars(training, one, error).energy
        > 1.5 * calibrate_bars(training, many, np.repeat(error, 50, 0)).energy
    )


def test_one_validation_snapshot_gives_all_structures_like_bars():
    """It says how large errors are, not how they grow: no number out of a badly conditioned matrix."""
    generator = np.random.default_rng(10)
    training = moments_of_means(generator.normal(size=(5, WIDTH)))
    one = FeatureMoments(training.gram, training.features[:1], *[training.targets[:1]] * 3)
    bars = calibrate_bars(training, one, np.array([[0.1, 0.2]]))
    said = [bars.deviations(row[:-1], 1.0, 1.0)[0] for row in training.features]
    assert max(said) < 2 * min(said)
    assert bars.leverage(training.features[0, :-1]) < 1

"""Moments summed block by block, and the scaling made of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.model.scaling import Moments, Scaling


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 1000))
def test_moments_do_not_depend_on_the_blocks(sizes, seed):
    rows = np.random.default_rng(seed).normal([1e6, -3.0, 0.0], [1.0, 20.0, 1e-8], (sum(sizes) + 2, 3))
    moments = Moments.empty(3)
    for part in np.split(rows, np.cumsum(sizes)):
        moments.add(part)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(moments.deviation(), rows.std(axis=0), rtol=1e-6)


def test_scaling_standardises_and_inverts():
    rows = np.random.default_rng(1).normal([1e5, -3.0], [10.0, 0.2], (500, 2))
    moments = Moments.empty(2)
    moments.add(rows)
    scaling = Scaling.from_moments(moments, 0.0)
    scaled = scaling.apply(rows)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scaling.invert(scaled), rows, rtol=1e-5)


def test_features_that_do_not_vary():
    """A constant becomes zero, a nearly constant one is not blown up beyond the floor."""
    rows = np.tile([5.0, 0.1, 0.0, 1.0], (100, 1))
    rows[:, 3] += np.linspace(-1, 1, 100)
    rows[:, 2] = np.linspace(-1e-9, 1e-9, 100)
    moments = Moments.empty(4)
    for part in np.split(rows, 7 * np.arange(1, 14)):
        moments.add(part)
    exact = Scaling.from_moments(moments, 0.0)
    assert np.abs(exact.apply(rows)[:, :2]).max() < 1e-6
    assert np.abs(exact.apply(rows)[:, 2]).max() > 1
    floored = Scaling.from_moments(moments, 1e-3)
    assert np.abs(floored.apply(rows)).max() < 2
    assert np.abs(floored.apply(rows)[:, 2]).max() < 1e-5


def test_all_features_constant():
    moments = Moments.empty(2)
    moments.add(np.ones((4, 2)))
    np.testing.assert_array_equal(Scaling.from_moments(moments, 1e-3).scale, [1.0, 1.0])


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        ([0.0, 1.0], [1.0]),
        ([0.0], [0.0]),
        ([0.0], [-1.0]),
        ([np.nan], [1.0]),
        ([[0.0]], [[1.0]]),
    ],
)
def test_bad_scalings_are_refused(mean, scale):
    with pytest.raises(InputError, match="scaling"):
        Scaling(np.array(mean), np.array(scale))


def test_single_precision_scalings_are_refused():
    with pytest.raises(InputError, match="float64"):
        Scaling(np.zeros(2, np.float32), np.ones(2, np.float32))

"""QE's choice of its FFT grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearsight import units
from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape

TWO_ATOMS = [[2.25982587, 0, 0], [-1.129912935, 1.957066609, 0], [0, 0, 3.56987856]]


@pytest.mark.parametrize(
    ("cell", "cutoff", "shape"),
    [
        (TWO_ATOMS, 160.0, (18, 18, 27)),  # printed by pw.x 6.7 for these cells
        (np.diag([4.5196, 3.9140884149, 3.5699]), 160.0, (36, 30, 27)),
        (np.diag([4.5196, 3.9140884149, 3.5699]), 100.0, (27, 24, 24)),
    ],
)
def test_known_grids(cell, cutoff, shape):
    assert fft_shape(np.array(cell), cutoff) == shape


def brute_force(cell, cutoff):
    """All G in a box that surely holds the sphere."""
    reciprocal = 2 * np.pi * np.linalg.inv(np.asarray(cell) / units.BOHR_A).T
    reach = int(np.sqrt(cutoff) * np.linalg.norm(cell, axis=1).max() / units.BOHR_A / (2 * np.pi)) + 2
    index = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = index[np.square(index @ reciprocal).sum(axis=1) < cutoff]
    return tuple(2 * int(n) + 1 for n in inside.max(axis=0))


@settings(max_examples=25, deadline=None)
@given(
    edges=st.tuples(*[st.floats(2.0, 5.0)] * 3),
    shear=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    cutoff=st.floats(10.0, 60.0),
)
def test_grid_is_the_smallest_good_one_that_holds_the_sphere(edges, shear, cutoff):
    cell = np.diag(edges)
    cell[1, 0], cell[2, 0], cell[2, 1] = shear
    for found, least in zip(fft_shape(cell, cutoff), brute_force(cell, cutoff), strict=True):
        assert found >= least
        assert _good(found)
        assert not any(_good(n) for n in range(least, found))


def _good(n):
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def test_bad_cells_and_cutoffs():
    with pytest.raises(InputError, match="without volume"):
        fft_shape(np.zeros((3, 3)), 100.0)
    with pytest.raises(InputError, match="expected a positive energy in Ry, got -1"):
        fft_shape(np.eye(3), -1)

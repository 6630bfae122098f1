"""Densities continued to finer grids, against fields whose waves are known."""

import numpy as np
import pytest

from nearsight import units
from nearsight.energies import FourierGrid
from nearsight.energies.continuation import (
    SHARES,
    BoxGrid,
    continue_density,
    disk_bytes,
    memory_bytes,
    sampling_cutoff,
    sampling_losses,
    sampling_shape,
    smallest_cutoff,
)
from nearsight.energies.disk import Scratch
from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape
from nearsight.memory import BLOCK_BYTES

CELL = np.array([[4.1, 0.3, -0.2], [-1.1, 3.9, 0.4], [0.5, 0.7, 4.6]])

#: Waves by Miller indices, with their complex amplitudes; the mean is 0.3.
WAVES = {(0, 0, 1): 0.05, (3, -2, 1): 0.02j, (-4, 4, 0): 0.01 - 0.01j, (4, 4, 5): 0.003, (0, 4, -5): 0.002j}


def field(shape, waves=WAVES):
    """0.3 + 2 Re Σ c exp(2πi m·s) on a grid."""
    s = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    values = np.full(shape, 0.3)
    for m, c in waves.items():
        values += 2 * (c * np.exp(2j * np.pi * sum(k * x for k, x in zip(m, s, strict=True)))).real
    return values


def continued(density, shape, ecut_Ry=20.0, scratch=None):
    planes, aliasing = continue_density(density, CELL, shape, ecut_Ry, scratch)
    return np.stack(list(planes)), aliasing


@pytest.mark.parametrize("shape", [(9, 9, 11), (10, 12, 12), (9, 10, 15)])
@pytest.mark.parametrize("finer", [(9, 12, 15), (10, 12, 16), (25, 24, 27), (20, 12, 15)])
def test_a_field_without_shorter_waves_is_continued_exactly(shape, finer):
    """Corner waves of the box too; on even and odd grids."""
    finer = tuple(max(pair) for pair in zip(shape, finer, strict=True))
    found, _ = continued(field(shape), finer)
    np.testing.assert_allclose(found, field(finer), atol=1e-14)


def test_shorter_waves_come_back_as_longer_ones():
    """The wave 6 on 11 points is seen as -5; on 10 points 5 is the Nyquist wave, which is left out."""
    found, _ = continued(field((9, 9, 11), {(1, 0, 6): 0.01j}), (9, 9, 16))
    np.testing.assert_allclose(found, field((9, 9, 16), {(1, 0, -5): 0.01j}), atol=1e-14)
    found, _ = continued(field((9, 9, 10), {(1, 0, 5): 0.01}), (9, 9, 16))
    np.testing.assert_allclose(found, 0.3, atol=1e-14)


def test_estimate_is_of_the_waves_beyond_the_cutoff():
    """Root mean square of 2 Re c exp(iG·r) with |G|² above the cutoff: √2 |c|, over the mean."""
    reciprocal = 2 * np.pi * np.linalg.inv(CELL).T
    squared = {m: np.sum((m @ reciprocal) ** 2) * units.BOHR_A**2 for m in WAVES}
    for cutoff in (1.0, 20.0, 30.0, 1000.0):
        beyond = sum(2 * abs(c) ** 2 for m, c in WAVES.items() if squared[m] > cutoff)
        _, aliasing = continued(field((9, 9, 11)), (12, 12, 12), cutoff)
        assert aliasing == pytest.approx(np.sqrt(beyond) / 0.3, rel=1e-9, abs=1e-12)
    assert len([m for m in WAVES if 20.0 < squared[m] < 1000.0]) > 1


def test_disk_and_memory_give_the_same_bits(tmp_path):
    density = field((9, 9, 11)) + 0.01 * np.random.default_rng(0).random((9, 9, 11))
    in_memory, estimate = continued(density, (12, 14, 16))
    for block_bytes in (1, 3000, 1 << 20):
        on_disk, other = continued(density, (12, 14, 16), scratch=Scratch(tmp_path, block_bytes))
        np.testing.assert_array_equal(on_disk, in_memory)
        assert other == estimate
    assert not list(tmp_path.iterdir())


def test_what_lies_on_disk_is_not_in_memory():
    sampled, shape = (300, 300, 300), (400, 400, 400)
    size = 16 / 2 * 300**3 * (1 + 400 / 300)
    assert disk_bytes(sampled, shape) == size
    blocks = memory_bytes(sampled, shape, 8 << 20)
    assert 8 << 20 < blocks < 0.1 * size
    assert memory_bytes(sampled, shape) == pytest.approx(size + memory_bytes(sampled, shape, BLOCK_BYTES))
    assert memory_bytes(shape, shape) == disk_bytes(shape, shape) == 0


def test_the_mean_stays():
    density = np.random.default_rng(1).random((9, 10, 11))
    found, _ = continued(density, (15, 16, 18))
    assert found.mean() == pytest.approx(density.mean(), rel=1e-14)


def test_energies_of_a_continued_density():
    """The coefficients up to the density's own cutoff are those of the coarse points, for every energy term to take."""
    fine = FourierGrid(CELL, (20, 20, 24), 60.0)
    found, _ = continued(field((9, 9, 11)), fine.shape)
    np.testing.assert_allclose(fine.coefficients(found), fine.coefficients(field(fine.shape)), atol=1e-15)


def test_the_grid_of_a_sampling_cutoff():
    shape = fft_shape(CELL, 60.0)
    assert sampling_shape(CELL, shape, 60.0) == shape
    assert sampling_shape(CELL, shape, 30.0) == fft_shape(CELL, 30.0)
    # a grid that is asked for may be coarser along an axis
    assert sampling_shape(CELL, (8, 30, 30), 30.0) == (8, *fft_shape(CELL, 30.0)[1:])
    assert sampling_cutoff(None, None, 60.0) == 60.0
    assert sampling_cutoff(None, 42.0, 60.0) == 42.0
    assert sampling_cutoff(60.0, 42.0, 60.0) == 60.0
    with pytest.raises(InputError, match=r"expected at most the density's cutoff of 60 Ry .* got 61"):
        sampling_cutoff(61.0, 42.0, 60.0)


def test_losses_are_the_errors_of_the_smallest_grids():
    """Each grid has just the waves of its sphere; what it lacks is missing, and folded onto others, all apart here."""
    waves = WAVES | {(1, 0, 10): 0.004, (-7, 1, 2): 0.002, (0, 8, 1): 0.001j}
    ecutrho_Ry, shape = 60.0, fft_shape(CELL, 60.0)
    found = sampling_losses(field(shape, waves), CELL, ecutrho_Ry)
    exact = field(shape, waves)
    for share, loss in zip(SHARES, found, strict=True):
        radius = np.sqrt(share * ecutrho_Ry) / units.BOHR_A
        smallest = tuple(2 * int(radius * length / (2 * np.pi)) + 1 for length in np.linalg.norm(CELL, axis=1))
        error = continued(field(smallest, waves), shape)[0] - exact
        assert loss == pytest.approx(error.std() / 0.3, rel=1e-9, abs=1e-14)
    assert found[0] > found[1] > 1e-3
    assert found[2] < 1e-12
    assert smallest_cutoff(np.array([found, [0, 0, 0]]), 60.0) == pytest.approx(0.9 * 60)
    assert smallest_cutoff(np.array([[4e-4, 1e-4, 0.0], [6e-4, 5e-4, 0.0]]), 60.0) == pytest.approx(0.8 * 60)
    assert smallest_cutoff(np.array([[1e-3, 6e-4, 6e-4]]), 60.0) == 60.0


def test_a_box_has_all_waves_that_its_points_tell_apart():
    box = BoxGrid(CELL, (5, 6, 4))
    kept = sum(int(box.inside(i, np.square(box.plane_of_G(i)).sum(axis=0)).sum()) for i in range(5))
    assert kept == 5 * 5 * 2

"""Regions, large cells and interrupts of the native backend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases import random_atoms

from nearsight.descriptors.bispectrum import Settings
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.descriptors.bispectrum.kernel import bispectrum_region
from nearsight.descriptors.interface import make_descriptor
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, split_evenly, split_in_runs

SHAPE = (9, 6, 11)


@pytest.fixture(scope="module", params=["float32", "float64"])
def whole(request):
    atoms = random_atoms(np.random.default_rng(1), "skewed")
    return atoms, request.param, bispectrum(atoms, SHAPE, twojmax=6, precision=request.param)


@settings(max_examples=30, deadline=None)
@given(bounds=st.tuples(*(st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in SHAPE)))
def test_regions_change_no_bit(whole, bounds):
    atoms, precision, values = whole
    region = tuple(tuple(pair) for pair in bounds)
    part = bispectrum(atoms, SHAPE, twojmax=6, precision=precision, region=region)
    np.testing.assert_array_equal(part, values[tuple(slice(*pair) for pair in region)])


def test_many_atoms_need_the_memory_of_the_region_alone():
    """A point of a cell of 2e5 atoms: milliseconds and little memory."""
    from ase import Atoms

    count = 58
    atoms = Atoms("Be", positions=[[0.3, 0.4, 0.5]], cell=[2.2, 2.2, 2.2], pbc=True)
    region = Region((100, 101), (200, 202), (300, 304))
    big = atoms.repeat((count, count, count))
    shape = (count * 10,) * 3
    out = np.empty((1, 2, 4, 14))
    make_descriptor({"kind": "bispectrum", "twojmax": 4}, ["Be"]).compute(big, RealGrid(big.cell, shape), region, out)
    small = bispectrum(atoms, (10, 10, 10), twojmax=4)
    np.testing.assert_allclose(out, small[0:1, 0:2, 0:4], rtol=1e-9)


def test_progress_and_interrupt():
    atoms = random_atoms(np.random.default_rng(2))
    seen = []
    grid = RealGrid(atoms.cell, (40, 40, 40))
    options = Settings(twojmax=4), grid.whole, np.empty((40, 40, 40, 14))
    bispectrum_region(atoms, grid, *options, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert 0 <= seen[0] <= seen[-1] <= 1

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bispectrum_region(atoms, grid, *options, threads=2, progress=stop)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.integers(1, 70))
def test_split_evenly_covers_the_grid_once(shape, parts):
    regions = split_evenly(Region.whole(shape), parts)
    assert len(regions) == parts
    covered = np.zeros(shape, dtype=int)
    for region in regions:
        covered[tuple(slice(*pair) for pair in region)] += 1
    assert (covered == 1).all()


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.integers(1, 30)] * 3), st.integers(0, 5000))
def test_split_in_runs_covers_the_grid_once(shape, largest):
    regions = split_in_runs(Region.whole(shape), largest)
    assert max(np.prod(region.shape) for region in regions) <= max(largest, 1)
    covered = np.zeros(shape, dtype=int)
    for region in regions:
        covered[tuple(slice(*pair) for pair in region)] += 1
    assert (covered == 1).all()

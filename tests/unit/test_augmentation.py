"""Augmentation charges: harmonics, their products, tables, and what a file may lack."""

import re

import numpy as np
import pytest
from scipy.special import sph_harm_y, spherical_jn
from test_espresso_pseudopotential import UPF1

from nearsight import units
from nearsight.errors import InputError
from nearsight.reference.espresso.augmentation import gaunt_coefficients, read_augmentation, real_harmonics
from nearsight.reference.pseudopotential import read_pseudopotential

VECTORS = np.random.default_rng(3).uniform(-1.5, 1.5, (20, 3))
RADIUS = np.linspace(0.0, 2.0, 201)


def test_harmonics_are_those_of_scipy_in_quantum_espressos_order():
    """m = 0, then √2 Re and √2 Im of m = 1, 2, ...: the signs of Condon and Shortley are in scipy's."""
    x, y, z = VECTORS.T
    polar, azimuth = np.arccos(z / np.linalg.norm(VECTORS, axis=1)), np.arctan2(y, x)
    found = real_harmonics(4, VECTORS)
    for degree in range(5):
        assert found[degree**2] == pytest.approx(sph_harm_y(degree, 0, polar, azimuth).real)
        for order in range(1, degree + 1):
            expected = np.sqrt(2) * sph_harm_y(degree, order, polar, azimuth)
            assert found[degree**2 + 2 * order - 1] == pytest.approx(expected.real)
            assert found[degree**2 + 2 * order] == pytest.approx(expected.imag)


def test_products_of_harmonics_are_their_sums():
    """Y_i Y_j = Σ_LM C(LM; i, j) Y_LM, at any direction."""
    small, big = real_harmonics(3, VECTORS), real_harmonics(6, VECTORS)
    products = np.einsum("aij,av->ijv", gaunt_coefficients(3), big)
    assert products == pytest.approx(small[:, None] * small[None], abs=1e-12)


def upf(**changes: str) -> str:
    """An s and a p projector r² (2 - r)² on an even mesh, charges alike, as ld1.x writes them."""

    def section(tag: str, values: np.ndarray, about: str = "") -> str:
        return f"<{tag} {about}>\n" + "\n".join(f"{value:.16E}" for value in values) + f"\n</{tag}>\n"

    function = RADIUS**2 * (2 - RADIUS) ** 2
    parts = {
        "header": '<PP_HEADER element="Be" z_valence="2" is_ultrasoft="true" is_paw="false" mesh_size="201" '
        'number_of_proj="2"/>\n',
        "mesh": section("PP_R", RADIUS) + section("PP_RAB", np.full(201, 0.01)),
        "betas": "".join(
            section(f"PP_BETA.{n + 1}", function, f'angular_momentum="{n}" cutoff_radius_index="201"') for n in range(2)
        ),
        "about": '<PP_AUGMENTATION q_with_l="true" nqf="0" nqlc="3">\n',
        "charges": "".join(section(f"PP_QIJL.{name}", function) for name in ("1.1.0", "1.2.1", "2.2.0", "2.2.2")),
    }
    return '<UPF version="2.0.1">\n' + "".join((parts | changes).values()) + "</PP_AUGMENTATION>\n</UPF>\n"


@pytest.fixture
def read(tmp_path):
    def make(text: str):
        (tmp_path / "x.upf").write_text(text)
        return read_augmentation(read_pseudopotential(tmp_path / "x.upf"), 3.0)

    return make


def test_transforms_are_the_integrals(read):
    found = read(upf())
    lengths = np.linalg.norm(VECTORS, axis=1)
    projectors, charges = found.transform_projectors(VECTORS, 50.0), found.transform_charges(VECTORS, 50.0)
    assert [len(projectors), len(charges)] == [4, 1 + 3 + 1 + 5]
    assert found.mixing.shape == (10, 10)
    harmonics, factor = real_harmonics(2, VECTORS), 4 * np.pi / np.sqrt(50)
    fine = np.linspace(0, 2, 20001)
    function = fine**2 * (2 - fine) ** 2

    def integral(values: np.ndarray, degree: int) -> np.ndarray:
        return np.trapezoid(values * spherical_jn(degree, lengths[:, None] * fine), fine)

    assert projectors[0] == pytest.approx(
        4 * np.pi / np.sqrt(50) * harmonics[0] * integral(fine * function, 0), rel=1e-6
    )
    p_z = -1j * factor * harmonics[1] * integral(fine * function, 1)
    assert projectors[1] == pytest.approx(p_z, rel=1e-6)
    d = -4 * np.pi / (50 * units.BOHR_A**3) * harmonics[4] * integral(function, 2)
    assert charges[5] == pytest.approx(d, rel=1e-6)


def test_norm_conserving_ones_have_none(read):
    assert read(upf().replace('is_ultrasoft="true"', 'is_ultrasoft="F"')) is None
    assert read(UPF1.replace("US  ", "NC  ")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UPF1, "PP_HEADER: expected it with attributes, as in UPF of version 2.* ldos.backend: espresso"),
        (upf(betas=""), r"PP_BETA\.1: expected 201 numbers, found none"),
        (upf(charges=""), r"PP_QIJL\.1\.1\.0: expected 201 numbers, found none"),
        (upf(mesh=""), "PP_R: expected 201 numbers"),
        (upf(about="<PP_AUGMENTATION>"), "PP_AUGMENTATION: expected it with attributes"),
        (re.sub(r'angular_momentum="1"', 'angular_momentum="9"', upf()), "a whole number from 0 to 3, got 9"),
        (upf().replace("E-02", "E999", 1), "expected finite numbers"),
    ],
)
def test_what_a_file_may_lack(read, text, message):
    with pytest.raises(InputError, match=message):
        read(text)

"""Integrals of the LDOS: against adaptive quadrature, closed forms, and sums over eigenvalues."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import beta

from nearsight.errors import ConvergenceError, InputError
from nearsight.ldos import EnergyGrid, check_window, dos_from_ldos, fermi_weights, find_fermi_level, integrate_dos
from nearsight.ldos.fermi import fermi_dirac_log, minus_polylog2, minus_polylog3
from nearsight.units import thermal_energy


def fermi(energy, level, kT):
    return expit(-(energy - level) / kT)


def softness(energy, level, kT):
    f = fermi(energy, level, kT)
    return sum(p * np.log(p) for p in (f, 1 - f) if p > 0)


def integrate_hat(function, grid, i, points):
    """∫ hat_i g by adaptive quadrature, split at the kinks and around the Fermi level."""
    energies = grid.energies_eV
    low, high = energies[max(i - 1, 0)], energies[min(i + 1, grid.count - 1)]
    nodes = sorted({low, energies[i], high, *(p for p in points if low < p < high)})
    return sum(
        quad(lambda e: (1 - abs(e - energies[i]) / grid.spacing_eV) * function(e), a, b, epsabs=1e-13, epsrel=1e-12)[0]
        for a, b in pairwise(nodes)
    )


@pytest.mark.parametrize("temperature_K", [1.0, 298.0, 30000.0])
def test_weights_agree_with_quadrature(temperature_K):
    grid, level = EnergyGrid(-1.0, 0.1, 24), 0.2345
    kT = thermal_energy(temperature_K)
    weights = fermi_weights(grid, level, temperature_K, broadening_eV=None)
    split = [level + m * kT for m in (-30, -10, -3, 0, 3, 10, 30)]
    for i in range(grid.count):
        assert weights.count[i] == pytest.approx(
            integrate_hat(lambda e: fermi(e, level, kT), grid, i, split), abs=1e-11
        )
        assert weights.band_energy[i] == pytest.approx(
            integrate_hat(lambda e: e * fermi(e, level, kT), grid, i, split), abs=1e-11
        )
        assert weights.entropy_energy[i] == pytest.approx(
            kT * integrate_hat(lambda e: softness(e, level, kT), grid, i, split), abs=1e-11
        )


@pytest.mark.parametrize("broadening_eV", [None, 0.2])
def test_count_slope_is_the_derivative_of_the_count(broadening_eV):
    grid, step = EnergyGrid(-1.0, 0.1, 30), 1e-5
    up, down = (fermi_weights(grid, 0.3 + d, 298.0, broadening_eV).count for d in (step, -step))
    slope = fermi_weights(grid, 0.3, 298.0, broadening_eV).count_slope
    np.testing.assert_allclose(slope, (up - down) / (2 * step), atol=1e-7)
    slopes = [fermi_weights(grid, 0.3 + shift, 298.0, broadening_eV).count_slope for shift in (-1e-4, 1e-4)]
    curvature = fermi_weights(grid, 0.3, 298.0, broadening_eV).count_curvature
    scale = np.abs(curvature).max()
    np.testing.assert_allclose(curvature, (slopes[1] - slopes[0]) / 2e-4, atol=1e-4 * scale)


def test_polylogarithms_at_known_values():
    # L_s(0) = η(s); L_2 and L_3 decay like e^{-x} and grow like the inversion formulas
    assert fermi_dirac_log(np.array(0.0)) == pytest.approx(np.log(2), rel=1e-15)
    assert minus_polylog2(np.array(0.0)) == pytest.approx(np.pi**2 / 12, rel=1e-15)
    assert minus_polylog3(np.array(0.0)) == pytest.approx(0.9015426773696957, rel=1e-15)
    assert minus_polylog3(np.array(40.0)) == pytest.approx(np.exp(-40.0), rel=1e-14)
    # mpmath 1.3, 30 digits: -polylog(3, -exp(-x))
    assert minus_polylog3(np.array(1.0)) == pytest.approx(0.352564879298077590, rel=1e-14)
    assert minus_polylog3(np.array(0.5)) == pytest.approx(0.567184244492277734, rel=1e-14)
    x = np.linspace(0.9, 1.1, 41)  # the two expansions meet at 1
    assert np.abs(np.diff(minus_polylog3(x), 3)).max() < 1e-6


def test_constant_dos_has_the_sommerfeld_energies():
    # D = 1/eV from -5 eV: N = μ + 5 eV (up to e^{-200}), E_b = μ²/2 - 25/2 + π²/6 (kT)², TS = π²/3 (kT)²
    grid, kT = EnergyGrid(-5.0, 0.1, 101), thermal_energy(298.0)
    found = integrate_dos(np.ones(101), grid, electrons=5.5, temperature_K=298.0)
    assert found.fermi_energy_eV == pytest.approx(0.5, abs=1e-11)
    assert found.electrons == pytest.approx(5.5, abs=1e-11)
    assert found.band_energy_eV == pytest.approx(0.125 - 12.5 + np.pi**2 / 6 * kT**2, abs=1e-11)
    assert found.entropy_energy_eV == pytest.approx(-(np.pi**2) / 3 * kT**2, abs=1e-11)


def broadened_dos(levels, degeneracy, grid, s):
    """Σ g exp(-((ε-e)/s)²)/(s√π), the kernel of pp.x."""
    difference = (grid.energies_eV[:, None] - levels[None]) / s
    return degeneracy * np.exp(-(difference**2)).sum(axis=1) / (s * np.sqrt(np.pi))


def test_correction_undoes_broadening_and_interpolation():
    # a smooth spectrum of many levels, so that the exact observables are plain sums over it
    levels = -4 + 12 * beta.ppf((np.arange(4000) + 0.5) / 4000, 2.0, 1.5)
    grid, kT, s = EnergyGrid.from_window(-6.0, 10.0, 0.1), thermal_energy(298.0), 0.2
    degeneracy, level = 2.0 / 1000, 3.1
    f = fermi(levels, level, kT)
    electrons, band = degeneracy * f.sum(), degeneracy * (f * levels).sum()
    dos = broadened_dos(levels, degeneracy, grid, s)
    corrected = integrate_dos(dos, grid, electrons, 298.0, broadening_eV=s)
    plain = integrate_dos(dos, grid, electrons, 298.0)
    assert corrected.fermi_energy_eV == pytest.approx(level, abs=5e-3)
    assert corrected.band_energy_eV == pytest.approx(band, abs=1e-4)
    assert abs(plain.band_energy_eV - band) > 20 * abs(corrected.band_energy_eV - band)


@given(st.floats(-4.0, 4.0), st.floats(50.0, 20000.0))
def test_weights_of_all_energies_integrate_the_window(level, temperature_K):
    # Σ hat_i = 1, so the plain weights sum to ∫ f over the window, which is a difference of logarithms
    grid, kT = EnergyGrid(-5.0, 0.13, 80), thermal_energy(temperature_K)
    ends = (np.array([grid.minimum_eV, grid.maximum_eV]) - level) / kT
    expected = kT * -np.diff(fermi_dirac_log(ends))[0]
    assert fermi_weights(grid, level, temperature_K, None).count.sum() == pytest.approx(expected, abs=1e-10)


def test_dos_sums_in_float64():
    ldos = np.full((100, 100, 100, 1), 0.1, dtype=np.float32)
    assert dos_from_ldos(ldos, 1.0)[0] == pytest.approx(1e6 * np.float64(np.float32(0.1)), rel=1e-12)


def test_fermi_level_outside_the_window_names_window_and_electrons():
    with pytest.raises(InputError, match=r"window -1\.000 to 1\.000 eV.*1.9994 at its upper.*3 are asked"):
        find_fermi_level(np.ones(21), EnergyGrid(-1.0, 0.1, 21), 3.0, 10.0)


def test_several_roots_are_listed():
    # two sharp, far-apart groups of levels: the corrected count overshoots between them
    grid, s = EnergyGrid.from_window(-2.0, 2.0, 0.1), 0.2
    dos = broadened_dos(np.array([-0.25, 0.25]), 2.0, grid, s)
    with pytest.raises(ConvergenceError, match="too sparse"):
        find_fermi_level(dos, grid, 2.0, 20.0, broadening_eV=s)


@pytest.mark.parametrize("temperature_K", [0.0, -3.0, float("nan")])
def test_temperature_must_be_positive(temperature_K):
    with pytest.raises(InputError, match="temperature above 0 K"):
        fermi_weights(EnergyGrid(0.0, 0.1, 5), 0.2, temperature_K, None)


def test_spectra_with_nan_or_of_wrong_length_are_refused():
    grid = EnergyGrid(0.0, 0.1, 5)
    with pytest.raises(InputError, match="finite"):
        find_fermi_level(np.array([1, 1, np.nan, 1, 1.0]), grid, 0.2, 100.0)
    with pytest.raises(InputError, match="5 energies"):
        find_fermi_level(np.ones(4), grid, 0.2, 100.0)


@pytest.mark.parametrize("energies", [[0.0, 0.2, 0.1], [0.0, 0.1, 0.3], [0.0, np.nan, 0.2], [0.0, 0.1]])
def test_uneven_energies_are_refused(energies):
    with pytest.raises(InputError, match="energies: expected"):
        EnergyGrid.from_energies(np.array(energies))


def test_grid_of_a_window_includes_both_ends():
    grid = EnergyGrid.from_window(-5.0, 11.0, 0.1)
    assert (grid.count, grid.maximum_eV) == (161, pytest.approx(11.0))
    assert EnergyGrid.from_energies(grid.energies_eV).count == 161


#: Gaps in eV of cells of eight electrons as DFT gives them, with a broadening below them: silicon, diamond, MgO, LiH.
GAPS = {"silicon": (0.6, 0.2), "diamond": (4.2, 0.4), "MgO": (4.7, 0.4), "LiH": (3.0, 0.4), "a narrow gap": (1.0, 0.4)}


def gapped_levels(gap):
    """400 valence levels up to 0 eV and as many conduction levels from `gap` on, both with a parabolic edge."""
    depth = ((np.arange(400) + 0.5) / 400) ** (2 / 3)
    return np.concatenate([-12 * depth, gap + 6 * depth])


@pytest.mark.parametrize("broadened", [True, False])
@pytest.mark.parametrize("crystal", GAPS)
def test_level_of_a_gap(crystal, broadened):
    """Any level in the gap is right: the energies are sums over the valence levels."""
    gap, s = GAPS[crystal]
    levels, grid, degeneracy = gapped_levels(gap), EnergyGrid.from_window(-14.0, gap + 12.0, 0.1), 8 / 400
    dos = broadened_dos(levels, degeneracy, grid, s)
    found = integrate_dos(dos, grid, 8.0, 300.0, s if broadened else None)
    assert 0.15 < found.fermi_energy_eV < gap - 0.15
    if gap > 2:
        assert found.fermi_energy_eV == pytest.approx(gap / 2, abs=0.1)
    assert found.electrons == pytest.approx(8.0, abs=1e-4)
    if broadened:
        assert found.band_energy_eV == pytest.approx(degeneracy * levels[levels < 0].sum(), abs=4e-4)
        assert found.entropy_energy_eV == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("deficit", [-3e-6, -1e-8, 0.0, 1e-8, 3e-6])
def test_level_of_a_gap_whose_count_is_rounded(deficit):
    """Files round: the count in the gap is a little less or more than the electrons."""
    grid = EnergyGrid.from_window(-14.0, 16.0, 0.1)
    dos = broadened_dos(gapped_levels(4.2), 8 / 400 * (1 + deficit), grid, 0.4)
    for s in (0.4, None):
        assert find_fermi_level(dos, grid, 8.0, 300.0, s) == pytest.approx(2.1, abs=0.2)


@pytest.mark.parametrize("deficit", [-2e-3, 2e-3])
def test_level_at_the_edge_of_a_gap(deficit):
    """A model's spectrum has some electrons too few or too many: they are at the edges, and every energy is near."""
    grid, levels = EnergyGrid.from_window(-14.0, 16.0, 0.1), gapped_levels(4.2)
    dos = broadened_dos(levels, 8 / 400 * (1 + deficit), grid, 0.4)
    found = integrate_dos(dos, grid, 8.0, 300.0, 0.4)
    assert found.electrons == pytest.approx(8.0, abs=1e-9)
    assert -0.5 < found.fermi_energy_eV < 4.7
    missing = -8 * deficit * found.fermi_energy_eV
    assert found.band_energy_eV == pytest.approx(8 / 400 * levels[levels < 0].sum() * (1 + deficit) + missing, abs=0.02)


def test_level_of_a_gap_in_which_the_window_ends():
    """The study's rule needs no conduction states: 25 k_B T and four broadenings above the valence band are enough."""
    levels = gapped_levels(4.2)
    grid = EnergyGrid.from_window(-14.0, 0.7 + 1.6, 0.1)
    dos = broadened_dos(levels[levels < 0], 8 / 400, grid, 0.4)
    level = find_fermi_level(dos, grid, 8.0, 300.0, 0.4)
    assert 0 < level < 2.3 - 25 * thermal_energy(300.0)
    check_window(dos, grid, 8.0, level, 300.0, 0.4)


def test_a_fermi_function_that_leaves_the_window_is_refused():
    grid = EnergyGrid.from_window(-14.0, 16.0, 0.1)
    dos = broadened_dos(12 * np.linspace(-1, 1, 4000), 16 / 4000, grid, 0.4)
    for temperature_K, fits in ((300.0, True), (7300.0, True), (7500.0, False), (20000.0, False)):
        level = find_fermi_level(dos, grid, 8.0, temperature_K, 0.4)
        if fits:
            check_window(dos, grid, 8.0, level, temperature_K, 0.4)
        else:
            with pytest.raises(InputError, match=r"temperature_K: expected a Fermi function that ends in .* 16\.00 eV"):
                check_window(dos, grid, 8.0, level, temperature_K, 0.4)


def test_a_spectrum_that_begins_below_the_window_is_refused():
    dos = broadened_dos(12 * np.linspace(-1, 1, 4000), 16 / 4000, EnergyGrid.from_window(-14.0, 16.0, 0.1), 0.4)
    for first, fits in ((0, True), (4, True), (17, False), (60, False)):
        grid = EnergyGrid.from_window(-14.0 + 0.1 * first, 16.0, 0.1)
        if fits:
            check_window(dos[first:], grid, 8.0, 0.0, 300.0, 0.4)
        else:
            with pytest.raises(InputError, match="expected none at the lower end"):
                check_window(dos[first:], grid, 8.0, 0.0, 300.0, 0.4)

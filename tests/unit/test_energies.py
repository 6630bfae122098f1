"""Energy terms against closed forms, exact sums and libxc, on fields made here; QE's own are in tests/integration."""

import errno
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from scipy.special import erfc

from nearsight import units
from nearsight.energies import FourierGrid, density_energies, ion, total_free_energy
from nearsight.energies.core_charge import core_coefficients, form_factor
from nearsight.energies.disk import DiskArray, Scratch
from nearsight.energies.double_counting import double_counting_potential
from nearsight.energies.hartree import hartree_energy
from nearsight.energies.ion import ion_energy
from nearsight.energies.method import functional_of
from nearsight.energies.screening import (
    LONG_WAVE_A,
    fit_wave_vector,
    free_electron_states,
    measure_response,
    screen,
    states_at,
    thomas_fermi_wave_vector,
    unscreened_energy,
)
from nearsight.energies.structure_factor import structure_factor
from nearsight.energies.xc import FUNCTIONALS, xc_potential, xc_terms
from nearsight.errors import InputError, StorageError
from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, find_fermi_level
from nearsight.reference.pseudopotential import CoreCharge, read_pseudopotential, read_pseudopotentials

Ry = units.RYDBERG_eV
SKEWED = np.array([[4.1, 0.3, -0.2], [-1.1, 3.9, 0.4], [0.5, 0.7, 4.6]])
SHAPE = (20, 24, 25)
ECUTRHO_Ry = 60.0


def upf(path, element="Be", valence=2.0, core=True, functional="PBE"):
    """A file with what the energies need: header, mesh, core charge exp(-(r/0.5)²)."""
    r = 1e-3 * np.exp(0.0125 * np.arange(801))
    columns = {"PP_R": r, "PP_RAB": 0.0125 * r}
    if core:
        columns["PP_NLCC"] = np.exp(-((r / 0.5) ** 2))
    body = "\n".join(
        f'<{tag} size="{r.size}">\n{" ".join(map(repr, map(float, c)))}\n</{tag}>' for tag, c in columns.items()
    )
    path.write_text(
        f'<UPF version="2.0.1">\n<PP_HEADER element="{element}" core_correction="true" functional="{functional}" '
        f'z_valence="{valence}"/>\n{body}\n</UPF>\n'
    )
    return path


@pytest.fixture
def grid():
    return FourierGrid(SKEWED, SHAPE, ECUTRHO_Ry)


def positions_of(grid):
    scaled = np.stack(np.meshgrid(*(np.arange(n) / n for n in grid.shape), indexing="ij"), axis=-1)
    return scaled @ grid.cell


def smooth_density(grid, centres, electrons, width=0.7):
    """Periodic Gaussians of `electrons` each, made of their coefficients: no grid enters."""
    total = np.zeros((grid.shape[0], grid.shape[1], grid.shape[2] // 2 + 1), dtype=complex)
    for i in range(grid.shape[0]):
        G = grid.plane_of_G(i)
        squared = (G**2).sum(axis=0)
        phases = sum(np.exp(-1j * np.tensordot(centre, G, axes=1)) for centre in centres)
        total[i] = electrons / grid.volume * np.exp(-squared * width**2 / 4) * phases * grid.inside(i, squared)
    return grid.field(total)


@pytest.fixture
def cell(tmp_path, grid):
    """Two atoms, their density with four electrons, and the pseudopotentials."""
    atoms = Atoms("Be2", cell=SKEWED, positions=[[0.3, 0.2, 0.1], [1.9, 2.2, 2.5]], pbc=True)
    return atoms, smooth_density(grid, atoms.positions, 2.0), read_pseudopotentials({"Be": upf(tmp_path / "Be.upf")})


# Fourier grid


def test_a_field_comes_back_from_its_coefficients(grid):
    r = positions_of(grid)
    G = 2 * np.pi * np.linalg.inv(SKEWED).T @ [0, 0, 0] + 2 * np.pi * np.linalg.inv(SKEWED).T.T @ [2, -1, 3]
    field = 0.3 + np.cos(r @ G + 0.4)
    coefficients = grid.coefficients(field)
    assert grid.field(coefficients) == pytest.approx(field, abs=1e-12)
    planes, slopes = zip(*grid.planes_with_slopes(coefficients), strict=True)
    assert np.stack(planes) == pytest.approx(field, abs=1e-12)
    for axis in range(3):
        slope = np.stack([plane[axis] for plane in slopes])
        assert slope == pytest.approx(-G[axis] * np.sin(r @ G + 0.4), abs=1e-11)
    assert grid.sum_over_G(coefficients, lambda squared: squared) == pytest.approx(0.5 * G @ G, rel=1e-12)


def test_what_lies_outside_the_sphere_is_cut(grid):
    rough = np.random.default_rng(0).normal(size=SHAPE)
    coefficients = grid.coefficients(rough)
    squared = np.stack([(grid.plane_of_G(i) ** 2).sum(axis=0) for i in range(SHAPE[0])])
    assert not coefficients[squared > grid.largest_G**2].any()
    assert not coefficients[SHAPE[0] // 2].any()  # Nyquist
    again = grid.coefficients(grid.field(coefficients))
    assert again == pytest.approx(coefficients, abs=1e-14)


@pytest.mark.parametrize("shape", [(15, 16, 14), (14, 18, 17), (33, 40, 36), (16, 30, 25)])
def test_a_field_of_another_grid_has_the_same_coefficients(grid, shape):
    """A band-limited density, sampled coarser, finer or both, is continued without error, gradients too."""
    small = FourierGrid(SKEWED, (15, 16, 14), 15.0)
    smooth = small.coefficients(np.random.default_rng(1).normal(size=small.shape))
    sampled = np.stack(list(small.planes(smooth, shape=shape)))
    assert sampled.shape == shape
    coefficients = grid.coefficients(sampled)
    assert grid.restrict(coefficients, small) == pytest.approx(smooth, abs=1e-14)
    assert np.stack(list(grid.planes(coefficients, shape=shape))) == pytest.approx(sampled, abs=1e-13)
    # by the explicit sum over waves
    points = positions_of(grid)[::5, ::6, ::7].reshape(-1, 3)
    field, slope = np.zeros(len(points)), np.zeros(len(points))
    for i in range(15):
        G = small.plane_of_G(i)
        waves = smooth[i] * np.where(small.miller[2] > 0, 2, 1) * np.exp(1j * np.einsum("pc,cyz->pyz", points, G))
        field += waves.real.sum(axis=(1, 2))
        slope += (1j * G[1] * waves).real.sum(axis=(1, 2))
    found = grid.field(coefficients)[::5, ::6, ::7].ravel()
    assert found == pytest.approx(field, abs=1e-12)
    gradient = np.stack([slopes[1] for _, slopes in grid.planes_with_slopes(coefficients)])
    assert gradient[::5, ::6, ::7].ravel() == pytest.approx(slope, abs=1e-11)


@pytest.mark.parametrize("single", [False, True])
def test_fields_on_disk_are_the_same(grid, tmp_path, single):
    """To the last digit, a few columns at a time, and nothing is left in the folder."""
    grid = replace(grid, single=single)
    on_disk = replace(grid, scratch=Scratch(tmp_path, 9000))
    rough = np.random.default_rng(0).normal(size=(18, 26, 25))
    inside, outside = grid.coefficients(rough), on_disk.coefficients(rough)
    assert isinstance(outside, DiskArray)
    assert np.array_equal(inside, outside[:, 0 : SHAPE[1]])
    pairs = zip(grid.planes(inside), on_disk.planes(outside), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    pairs = zip(grid.planes_with_slopes(inside), on_disk.planes_with_slopes(outside), strict=True)
    assert all(np.array_equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("single", [False, True])
def test_energies_on_disk_are_the_same(cell, tmp_path, single):
    """Every term to the last digit, however few columns are in memory."""
    atoms, density, files = cell
    options = {"ecutrho_Ry": ECUTRHO_Ry, "single": single}
    folder = tmp_path / "scratch"
    folder.mkdir()
    expected = density_energies(atoms, density, files, **options)
    for block_bytes in (1, 50_000, 32 << 20):
        assert density_energies(atoms, density, files, scratch=Scratch(folder, block_bytes), **options) == expected
    assert not list(folder.iterdir())


def test_an_array_on_disk(tmp_path):
    array, same = DiskArray((3, 4, 5), np.float32, tmp_path), np.zeros((3, 4, 5), np.float32)
    for values in (array, same):
        values[1] += 2.5
        values[:, 1:3] = np.arange(30).reshape(3, 2, 5)
        values[-1] *= 2
    assert np.array_equal(np.stack([array[i] for i in range(len(array))]), same)
    with pytest.raises(IndexError):
        array[3]


def test_a_full_disk_is_met_before_the_work(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        DiskArray((3, 4, 5), np.float32, tmp_path)


def test_more_ranks_than_planes_are_refused():
    with pytest.raises(InputError, match=r"comm: expected at most 20 MPI ranks, .* \(20, 24, 25\), got 21"):
        FourierGrid(SKEWED, SHAPE, ECUTRHO_Ry, comm=SimpleNamespace(size=21))


# Hartree


def test_hartree_energy_of_one_wave(grid):
    """A wave 2 a cos(G·r) has E_H = (e²/2) 4π Ω 2 a²/G²."""
    G = 2 * np.pi * np.linalg.inv(SKEWED) @ [1, 2, -1]
    field = 0.4 + 2 * 0.05 * np.cos(positions_of(grid) @ G)
    expected = 2 * np.pi * units.COULOMB_eV_A * grid.volume * 2 * 0.05**2 / (G @ G)
    assert hartree_energy(grid.coefficients(field), grid) == pytest.approx(expected, rel=1e-12)


# screening


def test_unscreened_energy_of_one_wave():
    """Ions with no wave of their own: 2 a cos(G·r) costs (e²/2) 4π Ω 2 a²/G², a short wave nothing."""
    cell = np.diag([4.0, 3.0, 30.0])
    grid, places = FourierGrid(cell, (16, 12, 120), 40.0), np.array([[0, 0, z] for z in np.arange(0, 30, 3.0)])
    atoms = Atoms("Be10", positions=places, cell=cell, pbc=True)
    z = positions_of(grid)[..., 2]
    even = 20 / grid.volume
    for index in (1, 2, 4):
        G = 2 * np.pi * index / 30
        wave = grid.coefficients(even + 2 * 0.001 * np.cos(G * z))
        expected = 2 * np.pi * units.COULOMB_eV_A * grid.volume * 2 * 0.001**2 / G**2 * (30 / index > LONG_WAVE_A)
        assert unscreened_energy(wave, grid, atoms, {"Be": 2.0}) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_unscreened_energy_against_the_exact_sum(grid):
    """A skewed cell, ions anywhere: Σ_G over both half spaces, each with the direct sum over the ions."""
    atoms = Atoms("BeO2", positions=[[0.3, 0.2, 0.1], [1.9, 2.2, 2.5], [3.0, 0.4, 1.0]], cell=SKEWED, pbc=True)
    charges, wave = {"Be": 2.0, "O": 6.0}, 1.7
    density = smooth_density(grid, [[1.0, 1.0, 1.0]], 14.0)
    whole, expected = np.fft.fftn(density) / grid.points, 0.0
    for m in np.ndindex(9, 9, 9):
        G = 2 * np.pi * np.linalg.inv(SKEWED) @ (np.array(m) - 4)
        if 0 < G @ G < (2 * np.pi / wave) ** 2:
            ions = sum(charges[atom.symbol] * np.exp(-1j * G @ atom.position) for atom in atoms)
            expected += abs(whole[tuple(np.array(m) - 4)] - ions / grid.volume) ** 2 / (G @ G)
    expected *= 2 * np.pi * units.COULOMB_eV_A * grid.volume
    coefficients = grid.coefficients(density)
    assert unscreened_energy(coefficients, grid, atoms, charges, wave) == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def long_cell():
    """A skewed cell of two elements with waves of 12 to 26 Å, none of the atoms in its place."""
    atoms = Atoms("Be2LiBe4LiBeBe", cell=[[12.0, 0.5, 0.0], [1.0, 5.0, 0.3], [3.0, 1.0, 26.0]], pbc=True)
    scaled = np.arange(10)[:, None] / 10 * [5, 3, 1] + 0.03 * np.random.default_rng(4).normal(size=(10, 3))
    atoms.set_scaled_positions(scaled)
    return atoms, {"Be": 2.0, "Li": 1.0}


def exact_ions(atoms, charges, G):
    return sum(charges[atom.symbol] * np.exp(-1j * G @ atom.position) for atom in atoms) / atoms.get_volume()


def responding_density(atoms, charges, k, shape=(40, 18, 80)):
    """Long waves as a metal with this k has them, and two short ones of its own, by direct sums; those short waves."""
    grid = FourierGrid(np.asarray(atoms.cell), shape, 20.0)
    reciprocal, r = 2 * np.pi * np.linalg.inv(grid.cell).T, positions_of(grid)
    density = np.full(shape, sum(charges[symbol] for symbol in atoms.symbols) / grid.volume)
    short = 0.02 * np.cos(r @ (reciprocal[1] * 2)) + 0.01 * np.sin(r @ (reciprocal.T @ [2, -1, 7]))
    for m in np.ndindex(5, 5, 9):
        G = reciprocal.T @ (np.array(m) - [2, 2, 4])
        if 0 < G @ G < (2 * np.pi / LONG_WAVE_A) ** 2:
            density += (exact_ions(atoms, charges, G) * k**2 / (G @ G + k**2) * np.exp(1j * (r @ G))).real
    return density, short


#: Edges of more than 10 Å, and no wave of such a length.
SHEARED = [[9.0, 0, 0], [9.0, 9.0, 0], [0, 0, 3]]
METAL = 0.5 * free_electron_states(18.0, 1500.0)


def test_screening_of_every_long_wave(long_cell):
    """From any density with the right short waves to the one whose long waves answer to the ions, and nothing else."""
    atoms, charges = long_cell
    exact, short = responding_density(atoms, charges, 2.1)
    z = np.arange(80) / 80
    wrong = exact.mean() + short + 0.002 * np.cos(2 * np.pi * z + 0.4)
    change, grid, done = screen(wrong, atoms, charges, METAL, 2.1)
    found = wrong + np.stack(list(grid.planes(change, shape=wrong.shape)))
    np.testing.assert_allclose(found, exact + short, atol=1e-9 * exact.mean())
    assert found.sum() == pytest.approx(wrong.sum(), rel=1e-14)
    assert (done.wave_vector_A, done.why_not) == (2.1, None)
    fine = FourierGrid(np.asarray(atoms.cell), wrong.shape, 20.0)
    for density, energy in ((wrong, done.unscreened_eV_per_atom_before), (found, done.unscreened_eV_per_atom_after)):
        expected = unscreened_energy(fine.coefficients(density), fine, atoms, charges) / len(atoms)
        assert energy == pytest.approx(expected, rel=1e-9)
    assert done.moved == pytest.approx((exact + short - wrong).std() / exact.mean(), rel=1e-7)
    # what is right is left alone
    change, _, done = screen(exact + short, atoms, charges, METAL, 2.1)
    assert np.abs(change).max() < 1e-9 * exact.mean()
    assert done.unscreened_eV_per_atom_after == pytest.approx(done.unscreened_eV_per_atom_before, rel=1e-6)


def test_screening_is_that_of_thomas_and_fermi_where_nothing_else_is_known(long_cell):
    """k_TF² = 4π e² dn/dμ: with the free electrons' states at the Fermi level, 3 N/(2 E_F)."""
    atoms, charges = long_cell
    density, short = responding_density(atoms, charges, 2.1)
    k = screen(density + short, atoms, charges, METAL)[2].wave_vector_A
    assert k == pytest.approx(thomas_fermi_wave_vector(density.mean()), rel=1e-9)
    slope = free_electron_states(density.mean(), 1.0)
    assert k**2 == pytest.approx(4 * np.pi * units.COULOMB_eV_A * slope, rel=1e-9)
    # beryllium: 4.71 1/Å²
    assert thomas_fermi_wave_vector(0.2534) ** 2 == pytest.approx(4.71, abs=0.01)


@pytest.mark.parametrize(
    ("cell", "places", "states", "reason"),
    [
        ([9.9, 3, 3], [0, 3.4, 6.1], METAL, "no wave is longer than 10 Å"),
        (SHEARED, [0, 3.4, 6.1], METAL, "no wave is longer than 10 Å"),
        ([12, 3, 3], [0, 3, 6, 9.4], 1e-3, "no metal"),
        ([12, 3, 3], [0, 2, 4, 6], METAL, "a surface or a void"),
    ],
)
def test_what_no_metal_screens_is_left_as_it_is(cell, places, states, reason):
    atoms = Atoms("Be" * len(places), [[x, 0, 0] for x in places], cell=cell, pbc=True)
    density = np.full((24, 8, 8), 2 * len(places) / atoms.get_volume())
    density += 0.01 * np.cos(2 * np.pi * np.arange(24) / 24)[:, None, None]
    change, _, done = screen(density, atoms, {"Be": 2.0}, states)
    assert not change.any()
    assert done.wave_vector_A is None
    assert reason in done.why_not
    assert done.moved == 0
    assert done.unscreened_eV_per_atom_before == done.unscreened_eV_per_atom_after


def test_states_at_the_fermi_level():
    """Of a flat spectrum as many as it has, in a gap none."""
    grid = EnergyGrid(-8.0, 0.1, 161)
    gap = np.where(np.abs(grid.energies_eV) < 2, 0.0, 3.0)
    assert states_at(0.33, np.full(161, 3.0), grid, 298.0) == pytest.approx(3.0, rel=1e-9)
    assert states_at(0.0, gap, grid, 298.0) < 1e-9


def test_response_of_densities(long_cell):
    """The k that a density was made with; few waves, or wild ones, say less than Thomas and Fermi."""
    atoms, charges = long_cell
    density, short = responding_density(atoms, charges, 2.5)
    response = measure_response(density + short, atoms, charges, METAL)
    assert response.squared.size == 5
    assert response.mean == pytest.approx(density.mean(), rel=1e-9)
    prior = thomas_fermi_wave_vector(response.mean)
    assert fit_wave_vector([response] * 10) == pytest.approx(2.5, rel=0.01)
    lost = replace(response, electrons=np.roll(response.electrons, 3))
    assert fit_wave_vector([lost]) == pytest.approx(prior, rel=0.15)
    assert abs(fit_wave_vector([response]) - 2.5) < abs(prior - 2.5)
    assert measure_response(density, atoms, charges, 1e-6) is None
    small = atoms[:2]
    small.set_cell([9.0, 5.0, 5.0])
    assert measure_response(density, small, charges, METAL) is None


# exchange and correlation


LIBXC = {
    "PZ": "LDA_X,LDA_C_PZ",
    "PW92": "LDA_X,LDA_C_PW_MOD",
    "PBE": "PBE,PBE",
    "PBEsol": "GGA_X_PBE_SOL,GGA_C_PBE_SOL",
    "revPBE": "GGA_X_PBE_R,GGA_C_PBE",
    "RPBE": "GGA_X_RPBE,GGA_C_PBE",
    "WC": "GGA_X_WC,GGA_C_PBE",
}


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_functional_against_libxc(name):
    libxc = pytest.importorskip("pyscf.dft.libxc")
    random = np.random.default_rng(1)
    n = 10 ** random.uniform(-4, 1, 4000)
    # reduced gradients s up to 5
    gradient = random.uniform(0.001, 5, n.size) * 2 * np.cbrt(3 * np.pi**2) * n ** (4 / 3)
    kept = gradient**2 > 1e-9
    n, gradient = n[kept], gradient[kept]
    lda = FUNCTIONALS[name].enhancement is None
    rho = n if lda else np.array([n, gradient, 0 * n, 0 * n])
    per_electron, potential = libxc.eval_xc(LIBXC[name], rho, spin=0, deriv=1)[:2]
    energy, by_density, by_squared = FUNCTIONALS[name](n, gradient**2)
    assert energy / n == pytest.approx(per_electron, abs=1e-12)
    assert by_density == pytest.approx(potential[0], abs=1e-12)
    if not lda:
        assert by_squared * gradient**2 / n == pytest.approx(potential[1] * gradient**2 / n, abs=1e-12)


@pytest.mark.parametrize("function", FUNCTIONALS.values(), ids=FUNCTIONALS)
def test_derivatives_of_the_functional(function):
    random = np.random.default_rng(2)
    n = 10 ** random.uniform(-3, 1, 200)
    squared = (random.uniform(0.05, 3, n.size) * 2 * np.cbrt(3 * np.pi**2) * n ** (4 / 3)) ** 2
    _, by_density, by_squared = function(n, squared)
    step = 1e-5
    difference = (function(n * (1 + step), squared)[0] - function(n * (1 - step), squared)[0]) / (2 * step * n)
    assert by_density == pytest.approx(difference, rel=1e-6, abs=1e-8)
    difference = (function(n, squared * (1 + step))[0] - function(n, squared * (1 - step))[0]) / (2 * step * squared)
    assert by_squared == pytest.approx(difference, rel=1e-4, abs=1e-8)


def test_tiny_densities_have_no_gradient_correction():
    n = np.array([1e-11, 1e-7, 1e-3])
    energy, by_density, by_squared = FUNCTIONALS["PBE"](n, np.full(3, 1e-6))
    assert energy[0] == by_density[0] == by_squared[0] == by_squared[1] == 0.0
    assert energy[1] == FUNCTIONALS["PW92"](n, n)[0][1]
    assert by_squared[2] != 0


@pytest.mark.parametrize("functional", ["PBE", "PW92", "WC"])
def test_potential_is_the_derivative_of_the_energy(cell, grid, functional):
    """d/dλ E_xc[(1+λ) n + n_core] = ∫ v_xc n."""
    atoms, density, files = cell
    core = core_coefficients(atoms, {"Be": files["Be"].core}, grid)
    valence = grid.coefficients(density)
    step = 1e-4
    more, less = (xc_terms(valence, valence * (1 + sign * step) + core, grid, functional).energy for sign in (1, -1))
    found = xc_terms(valence, valence + core, grid, functional).potential
    assert found == pytest.approx((more - less) / (2 * step), rel=1e-7)


# core charge


@pytest.mark.parametrize("functional", ["PBE", "PZ"])
def test_xc_potential_on_the_grid(cell, grid, functional):
    """∫ v_xc n as `xc_terms` has it without any divergence."""
    atoms, density, files = cell
    valence = grid.coefficients(density)
    total = valence + core_coefficients(atoms, {"Be": files["Be"].core}, grid)
    potential = xc_potential(total, grid, functional)
    found = np.sum(potential * grid.field(valence)) * grid.voxel
    assert found == pytest.approx(xc_terms(valence, total, grid, functional).potential, rel=1e-9)


@pytest.mark.parametrize("functional", ["PBE", "PZ"])
def test_an_error_of_the_density_in_the_double_counting(tmp_path, cell, grid, functional):
    """-∫ φ δn against the difference of two whole calculations."""
    atoms, density, _ = cell
    density = 0.8 * density + 0.2 * density.mean()  # nowhere so small that v_xc bends within the change
    files = read_pseudopotentials({"Be": upf(tmp_path / "Be.upf", functional=functional)})
    potential = double_counting_potential(density, atoms, files, ECUTRHO_Ry, screened=False)
    change = smooth_density(grid, [[0.2, 0.4, 0.7]], 1.0, width=0.9)
    change -= change.mean()

    def terms(amount):
        found = density_energies(atoms, density + amount * change, files, ecutrho_Ry=ECUTRHO_Ry)
        return -found.hartree + found.xc - found.xc_potential

    amount = 1e-5
    expected = (terms(amount) - terms(-amount)) / (2 * amount)
    assert -np.sum(potential * change) * grid.voxel == pytest.approx(expected, rel=1e-5)
    # no wave of this cell is longer than 10 Å
    np.testing.assert_array_equal(
        double_counting_potential(density, atoms, files, ECUTRHO_Ry, screened=True), potential
    )


def test_form_factor_of_a_gaussian():
    r = 1e-3 * np.exp(0.0125 * np.arange(801))
    form = form_factor(CoreCharge(r, 0.0125 * r, np.exp(-((r / 0.5) ** 2))), 10.0)
    G = np.linspace(0, 10, 41)
    assert form(G) == pytest.approx((np.pi * 0.25) ** 1.5 * np.exp(-((G * 0.25) ** 2)), abs=1e-8)


def test_structure_factor_against_the_exact_sum(grid):
    scaled = np.random.default_rng(3).uniform(-1, 2, (7, 3))
    mx, my, mz = grid.miller
    waves = [np.exp(-2j * np.pi * np.outer(scaled[:, axis], m)) for axis, m in enumerate((mx, my, mz))]
    exact = np.einsum("ax,ay,az->xyz", *waves)
    found = structure_factor(scaled, grid)
    for i in range(grid.shape[0]):
        squared = (grid.plane_of_G(i) ** 2).sum(axis=0)
        inside = grid.inside(i, squared)
        # half of the sphere, where core charges live; its rim, where their form factors are small
        inner = inside & (squared < 0.25 * grid.largest_G**2)
        assert np.abs(found[i] - exact[i])[inner].max(initial=0) < 1e-6
        assert np.abs(found[i] - exact[i])[inside].max(initial=0) < 5e-2


# ions


def exact_ewald(atoms, charges):
    """Ewald's sum without a mesh, in eV."""
    q = np.array([charges[symbol] for symbol in atoms.symbols])
    cell = np.asarray(atoms.cell)
    volume = atoms.get_volume()
    width = volume ** (1 / 3) / np.sqrt(2 * np.pi)
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T

    def lattice(vectors, radius, duals):
        counts = [int(radius * np.linalg.norm(dual) / (2 * np.pi)) + 2 for dual in duals]
        indices = np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij")
        return np.stack(indices, axis=-1).reshape(-1, 3) @ vectors

    difference = atoms.positions[:, None] - atoms.positions
    energy = -np.sum(q**2) / width / np.sqrt(2 * np.pi) - np.pi * q.sum() ** 2 * width**2 / volume
    for vector in lattice(cell, 9 * width, reciprocal):
        r = np.linalg.norm(difference + vector, axis=-1)
        pair = np.where(r > 1e-9, erfc(r / width / np.sqrt(2)) / np.where(r > 1e-9, r, 1), 0)
        energy += 0.5 * q @ pair @ q
    G = lattice(reciprocal, 9 / width, cell)
    squared = (G**2).sum(axis=1)
    G, squared = G[squared > 1e-9], squared[squared > 1e-9]
    structure = np.abs(np.exp(1j * G @ atoms.positions.T) @ q) ** 2
    energy += 2 * np.pi / volume * np.sum(structure * np.exp(-squared * width**2 / 2) / squared)
    return energy * units.COULOMB_eV_A


def test_ions_of_a_bcc_lattice():
    """Wigner's crystal: -0.895929256 e²/r_s per electron (Fuchs 1935)."""
    atoms = Atoms("Be", cell=1.7 * (np.ones((3, 3)) - 2 * np.eye(3)), positions=[[0.1, 0.2, 0.3]], pbc=True)
    radius = (3 * atoms.get_volume() / (4 * np.pi)) ** (1 / 3)
    expected = -0.895929255682 * units.COULOMB_eV_A / radius
    assert ion_energy(atoms, {"Be": 1.0}) == pytest.approx(expected, abs=1e-7 * Ry)
    assert exact_ewald(atoms, {"Be": 1.0}) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("cutoff", [3.0, 5.0, 8.0])
def test_ions_against_the_exact_sum(cutoff):
    atoms = Atoms("Be3O2", cell=SKEWED, positions=np.random.default_rng(4).uniform(0, 6, (5, 3)), pbc=True)
    atoms.positions[1:] += 0.1
    charges = {"Be": 2.0, "O": 6.0}
    error = ion_energy(atoms, charges, cutoff) - exact_ewald(atoms, charges)
    assert abs(error) < 1e-7 * Ry * len(atoms)


def test_ions_of_many_slabs(monkeypatch):
    """Slabs thinner and thicker than the cutoff, some atoms of each at a time: the sum of one slab."""
    atoms = Atoms("Be3O2", cell=SKEWED, positions=np.random.default_rng(4).uniform(0, 6, (5, 3)), pbc=True)
    atoms, charges = atoms.repeat((6, 2, 1)), {"Be": 2.0, "O": 6.0}
    expected = ion_energy(atoms, charges)
    for slab, batch in ((7, 7), (20, 3), (1, 1)):
        monkeypatch.setattr(ion, "SLAB", slab)
        monkeypatch.setattr(ion, "BATCH", batch)
        assert ion_energy(atoms, charges) == pytest.approx(expected, rel=1e-12)


def test_an_ion_without_charge_is_refused():
    with pytest.raises(InputError, match=r"charges: expected one for Be, got those of O"):
        ion_energy(Atoms("Be", cell=[3, 3, 3], pbc=True), {"O": 6.0})


# invariance


def all_terms(atoms, density, files, single=False):
    return np.array(list(vars(density_energies(atoms, density, files, ecutrho_Ry=ECUTRHO_Ry, single=single)).values()))


def test_translation_by_a_grid_step_changes_nothing(cell):
    atoms, density, files = cell
    moved = atoms.copy()
    moved.positions += SKEWED[0] / SHAPE[0] * 3 + SKEWED[2] / SHAPE[2]
    before = all_terms(atoms, density, files)
    after = all_terms(moved, np.roll(density, (3, 0, 1), axis=(0, 1, 2)), files)
    assert after[:3] == pytest.approx(before[:3], abs=1e-9 * len(atoms))
    assert after[3] == pytest.approx(before[3], abs=1e-6 * len(atoms))


def test_a_repeated_cell_has_the_same_terms_per_atom(cell):
    atoms, density, files = cell
    before = all_terms(atoms, density, files)
    after = all_terms(atoms.repeat(2), np.tile(density, (2, 2, 2)), files) / 8
    assert after[:3] == pytest.approx(before[:3], abs=1e-9 * len(atoms))
    assert after[3] == pytest.approx(before[3], abs=1e-6 * len(atoms))


def test_an_ldos_has_one_energy_wherever_the_cell_begins_and_however_large_it_is(tmp_path):
    """Translated by a grid step and repeated 2×2×2, with level, band energy and entropy from the LDOS itself."""
    lattice = FourierGrid(SKEWED, (16, 15, 18), 25.0)
    atoms = Atoms("Be2", cell=SKEWED, positions=[[0.3, 0.2, 0.1], [1.9, 2.2, 2.5]], pbc=True)
    files = read_pseudopotentials({"Be": upf(tmp_path / "Be.upf")})
    energies = EnergyGrid(-8.0, 0.2, 70)
    density = smooth_density(lattice, atoms.positions, 2.0)
    edge = -6 + density / density.max()
    ldos = 0.01 * np.sqrt(np.maximum(energies.energies_eV - edge[..., None], 0)) * (density / density.mean())[..., None]

    def free_energy(atoms, ldos):
        dos = dos_from_ldos(ldos, atoms.get_volume() / np.prod(ldos.shape[:3]))
        conditions = {"temperature_K": 3000.0, "broadening_eV": 0.4}
        level = find_fermi_level(dos, energies, 2.0 * len(atoms), **conditions)
        own = density_from_ldos(ldos, fermi_weights(energies, level, **conditions))
        found = total_free_energy(
            atoms, own, dos, energies.energies_eV, pseudopotentials=files, ecutrho_Ry=25.0, **conditions
        )
        terms = vars(found)
        return {key: terms[key] / (1 if key == "fermi_energy" else len(atoms)) for key in terms}

    before = free_energy(atoms, ldos)
    moved = atoms.copy()
    moved.positions += 3 * SKEWED[0] / 16 + SKEWED[2] / 18
    for after in (
        free_energy(moved, np.roll(ldos, (3, 0, 1), axis=(0, 1, 2))),
        free_energy(atoms.repeat(2), np.tile(ldos, (2, 2, 2, 1))),
    ):
        for key, value in before.items():
            assert after[key] == pytest.approx(value, abs=1e-6 if key in ("ion", "total") else 1e-9), key
        assert after["total"] - after["ion"] == pytest.approx(before["total"] - before["ion"], abs=1e-9)


def test_single_precision_is_good_for_a_microelectronvolt(cell):
    atoms, density, files = cell
    double, single = (all_terms(atoms, density, files, single=flag) for flag in (False, True))
    assert single == pytest.approx(double, abs=2e-6 * len(atoms))


def test_the_order_of_elements_plays_no_part(tmp_path, grid):
    files = read_pseudopotentials({"Be": upf(tmp_path / "Be.upf"), "O": upf(tmp_path / "O.upf", "O", 6.0)})
    atoms = Atoms("BeO", cell=SKEWED, positions=[[0.3, 0.2, 0.1], [1.9, 2.2, 2.5]], pbc=True)
    density = smooth_density(grid, atoms.positions, 4.0)
    assert all_terms(atoms[::-1], density, files) == pytest.approx(all_terms(atoms, density, files), abs=1e-9)


# total


ENERGIES_eV = np.arange(-12.0, 12.0, 0.1)


def whole(cell, **changes):
    atoms, density, files = cell
    arguments = {
        "atoms": atoms,
        "density": density,
        "dos": np.where(ENERGIES_eV > -8, 0.5, 0.0),
        "energies_eV": ENERGIES_eV,
        "temperature_K": 300.0,
        "pseudopotentials": files,
        "ecutrho_Ry": ECUTRHO_Ry,
        "broadening_eV": None,
    }
    return total_free_energy(**arguments | changes)


def test_the_total_is_the_sum_of_its_terms(cell):
    found = whole(cell)
    assert found.total == pytest.approx(
        found.band - found.hartree + found.xc - found.xc_potential + found.ion + found.entropy, abs=1e-12
    )
    assert found.electrons == pytest.approx(4.0, abs=1e-9)
    assert found.fermi_energy == pytest.approx(0.05, abs=1e-6)
    assert found.entropy < 0 < found.hartree


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature_K": 0.0}, "expected a temperature above 0 K, got 0"),
        ({"temperature_K": -5.0}, "expected a temperature above 0 K, got -5"),
        ({"energies_eV": ENERGIES_eV[::-1]}, "expected ascending, evenly spaced energies"),
        ({"dos": np.full(ENERGIES_eV.size, np.nan)}, "expected finite numbers, got NaN"),
        ({"dos": np.ones(5)}, "expected 240 energies"),
        ({"dos": np.full(ENERGIES_eV.size, 0.01)}, r"energy window -12\.000 to 11\.900 eV"),
        ({"pseudopotentials": {}}, "expected one for Be, got those of no element"),
        ({"ecutrho_Ry": -1.0}, "ecutrho_Ry: expected a positive energy in Ry, got -1"),
        ({"ecutrho_Ry": 300.0}, r"expected a grid of about \(\d+, \d+, \d+\) points for ecutrho = 300 Ry"),
    ],
)
def test_bad_input_is_refused(cell, changes, message):
    with pytest.raises(InputError, match=message):
        whole(cell, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n * 1.01, r"expected 4 electrons, .* got 4\.040000, \+0\.040000 off"),
        (lambda n: n - 0.1, "expected no negative values beyond rounding, got"),
        (lambda n: np.where(n == n.max(), np.nan, n), "density: expected finite numbers"),
        (lambda n: n[:, :, :11], "expected a grid of about"),
        (lambda n: n[0], "expected a grid of three dimensions"),
    ],
)
def test_a_bad_density_is_refused(cell, change, message):
    with pytest.raises(InputError, match=message):
        whole(cell, density=change(cell[1]))


def test_an_ldos_with_nan_is_refused():
    weights = fermi_weights(EnergyGrid(-1.0, 0.5, 5), 0.2, 300.0, None)
    ldos = np.ones((2, 3, 2, 5))
    ldos[1, 2, 0, 3] = np.nan
    with pytest.raises(InputError, match="expected finite numbers, got NaN"):
        density_from_ldos(ldos, weights)


@pytest.mark.parametrize("shape", [(20, 24), (20, 0, 25)])
def test_a_field_without_three_dimensions_is_refused(grid, shape):
    with pytest.raises(InputError, match="field: expected a grid of three dimensions, got the shape"):
        grid.coefficients(np.zeros(shape))


def test_a_missing_core_charge_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"PP_NLCC: expected it, since the header announces a core charge"):
        read_pseudopotential(upf(tmp_path / "no core.upf", core=False))
    damaged = tmp_path / "damaged.upf"
    text = upf(damaged).read_text()
    start = text.index("<PP_NLCC")
    damaged.write_text(text[:start] + text[start:].replace(" 1", " ", 1).replace("\n", "\n0.5 ", 1))
    with pytest.raises(InputError, match=r"of one length"):
        read_pseudopotential(damaged)


def test_a_pseudopotential_without_core_correction(tmp_path, cell, grid):
    path = upf(tmp_path / "none.upf", core=False)
    path.write_text(path.read_text().replace('core_correction="true"', 'core_correction="false"'))
    pseudopotential = read_pseudopotential(path)
    assert pseudopotential.core is None
    assert whole(cell, pseudopotentials={"Be": pseudopotential}).xc != whole(cell).xc


def test_functionals_and_kinds_that_the_energies_know(tmp_path):
    def read(**changes):
        path = upf(tmp_path / "x.upf", functional=changes.get("functional", "PBE"))
        path.write_text(path.read_text().replace("<PP_HEADER", f'<PP_HEADER is_paw="{changes.get("paw", "F")}"'))
        return read_pseudopotential(path)

    assert functional_of({"Be": read(functional="SLA  PW   NOGX NOGC")}) == "PW92"
    with pytest.raises(InputError, match=r"pseudopotentials\.O: expected .* functional PZ or .*, got one for B3LYP"):
        functional_of({"Be": read(), "O": read(functional="B3LYP")})
    with pytest.raises(InputError, match="expected one functional for all elements, got PBE, PW92"):
        functional_of({"Be": read(), "O": read(functional="PW")})
    with pytest.raises(InputError, match=r"pseudopotentials\.Be: expected .* ultrasoft .*, got a PAW data set"):
        functional_of({"Be": read(paw="T")})

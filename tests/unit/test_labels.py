"""Floors of a reference: known errors, put into a spectrum of free electrons, are found with their size."""

import numpy as np
import pytest
from ase.build import bulk

from nearsight import units
from nearsight.cli import main
from nearsight.datasets import open_dataset, variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.evaluation.labels import grand_potential, measure_floors
from nearsight.grids.energies import EnergyGrid
from nearsight.reference.espresso.collect import broadened_dos

TEMPERATURE_K = 2000.0
SHAPE = (3, 3, 4)
ELECTRONS = 4.0


def fermi(energies, level):
    return 1 / (1 + np.exp((energies - level) / units.thermal_energy(TEMPERATURE_K)))


@pytest.fixture(scope="module")
def spectrum():
    """Bands of free electrons at 500 k-points: eigenvalues, weights, Fermi level, Σ w f ε and -TS, all exact."""
    points = np.random.default_rng(0).random((500, 3))
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    states = np.sort(3.0 * ((points[:, None] - 0.5 + shifts) ** 2).sum(axis=2), axis=1)[:, :14]
    weights = np.full(500, 2 / 500)
    low, high = states.min(), states.max()
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if weights @ fermi(states, level).sum(axis=1) < ELECTRONS else (low, level)
    occupations = fermi(states, level)
    mixed = np.clip(occupations, 1e-300, 1 - 1e-16)
    entropy = -(mixed * np.log(mixed) + (1 - mixed) * np.log1p(-mixed)).sum(axis=1)
    band = weights @ (occupations * states).sum(axis=1)
    return states, weights, level, band, -units.thermal_energy(TEMPERATURE_K) * weights @ entropy


def write(path, spectrum, *, window=(-3.0, 12.0), scale=1.0, conv_thr_Ry=1e-9, total=-7.0, atoms=None, ecutwfc=20.0):
    states, weights, level, band, entropy = spectrum
    grid, atoms = EnergyGrid.from_window(*window, 0.1), atoms or bulk("Be")
    variables = {
        **variables_of_atoms(atoms),
        "density": np.full(SHAPE, scale * ELECTRONS / atoms.get_volume()),
        "energy": grid.energies_eV,
        "dos": broadened_dos(states, weights, grid, 0.2),
        "ldos_eigenvalues": states,
        "kpoint_weights": weights,
        "fermi_energy": level,
        "electrons": ELECTRONS,
        "band_energy": band,
        "entropy_energy": entropy,
        "total_free_energy": total,
    }
    settings = {
        "dft": {"ecutwfc_Ry": ecutwfc, "ecutrho_Ry": 4 * ecutwfc, "conv_thr_Ry": conv_thr_Ry},
        "ldos": {"broadening_eV": 0.2},
        "temperature_K": TEMPERATURE_K,
    }
    write_dataset(path, variables, settings, {})
    return path


def floors(path, **options):
    with open_dataset(path) as dataset:
        return measure_floors(dataset, path, **options)


def test_a_good_reference_has_low_floors(tmp_path, spectrum):
    """Two atoms; the broadening's correction is of fourth order, so 500 k-points show it well below 1 meV/atom."""
    found = floors(write(tmp_path / "x.h5", spectrum))
    assert found.scf == pytest.approx(1e3 * 1e-9 * units.RYDBERG_eV / 2)
    assert found.window < 1e-9
    assert found.electrons < 1e-9
    assert 0 < found.broadening < 1.0
    assert (found.ldos, found.kpoints) == (None, None)
    assert found.total == pytest.approx(found.scf + found.window + found.bands + found.broadening + found.electrons)


def test_each_floor_has_the_size_of_what_is_wrong(tmp_path, spectrum):
    states, _, level, *_ = spectrum
    path = tmp_path / "x.h5"
    write(path, spectrum, conv_thr_Ry=1e-6, scale=1.001)
    found = floors(path, ldos_energy_eV=-7.003)
    assert found.scf == pytest.approx(1e3 * 1e-6 * units.RYDBERG_eV / 2)
    assert found.electrons == pytest.approx(1e3 * 0.004 * (level - states.min()) / 2, rel=1e-6)
    assert found.ldos == pytest.approx(1.5, rel=1e-6)
    assert found.total == pytest.approx(found.scf + 1.5, rel=1e-6)
    # a window that ends where electrons still are: the Fermi tail beyond it, and the lower half of a state's Gaussian
    narrow = floors(write(path, spectrum, window=(states.min() - 0.1, 12.0)))
    assert narrow.window > 0.1
    low = floors(write(path, spectrum, window=(-3.0, round(level + 0.5, 1))))
    assert low.window > 0.1


def test_the_highest_band_tells_what_a_missing_one_may_cost(tmp_path, spectrum):
    """Its grand potential: that of a Boltzmann gas far above the level, the whole band far below it."""
    states, weights, level, *_ = spectrum
    for kept in (10, 6, 5):
        some = states[:, :kept]
        found = floors(write(tmp_path / "x.h5", (some, *spectrum[1:])))
        assert found.bands == pytest.approx(500 * grand_potential(some[:, -1], weights, level, TEMPERATURE_K))
    width = units.thermal_energy(TEMPERATURE_K)
    # far above the level it is Boltzmann's k_B T Σ w exp(-(ε - μ)/k_B T)
    high = np.full(500, level + 10 * width)
    assert grand_potential(high, weights, level, TEMPERATURE_K) == pytest.approx(2 * width * np.exp(-10), rel=1e-4)
    assert grand_potential(np.array([-1e4]), np.ones(1), 0.0, TEMPERATURE_K) == pytest.approx(1e4)


def test_against_a_denser_set(tmp_path, spectrum):
    states, _, *rest = spectrum
    few = states[:250], np.full(250, 2 / 250), *rest
    one, many = write(tmp_path / "few.h5", few, total=-7.0), write(tmp_path / "many.h5", spectrum, total=-7.01)
    with open_dataset(many) as dense:
        found = floors(one, denser=(dense, many))
        assert found.kpoints == pytest.approx(5.0)
        assert found.total > 5.0
        with pytest.raises(InputError, match=r"many\.h5: k-points: expected more than the 500 of"):
            floors(many, denser=(dense, many))
        with pytest.raises(InputError, match=r"many\.h5: dft\.ecutwfc_Ry: expected 30\.0 as in"):
            floors(write(one, few, ecutwfc=30.0), denser=(dense, many))
        moved = bulk("Be")
        moved.positions[0] += 0.01
        with pytest.raises(InputError, match=r"expected the structure of .*, got another one \(positions\)"):
            floors(write(one, few, atoms=moved), denser=(dense, many))


def test_the_command(tmp_path, spectrum, capsys):
    path = write(tmp_path / "x.h5", spectrum)
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == [
        *("scf", "kpoints", "window", "bands", "broadening", "electrons", "ldos", "together"),
    ]
    assert "not known; give --denser" in printed
    assert "not known; give --pseudopotentials" in printed
    assert main(["check", str(path), "--limit-meV", "0"]) == 1
    assert "expected floors of at most 0 meV/atom together, got" in capsys.readouterr().err
    assert main(["check", str(path), "--limit-meV", "100"]) == 0
    assert main(["check", str(path), "--pseudopotentials", str(tmp_path)]) == 1
    assert "expected the UPF files that the reference was computed with" in capsys.readouterr().err
    write_dataset(tmp_path / "y.h5", variables_of_atoms(bulk("Be")), {}, {})
    assert main(["check", str(tmp_path / "y.h5")]) == 1
    assert "expected the variables" in capsys.readouterr().err

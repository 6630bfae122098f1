"""What the broadening leaves in an energy: measured on snapshots, kept in a model, taken off a prediction."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.energies import DensityEnergies, assemble
from nearsight.inference.run import ModelFiles
from nearsight.ldos import EnergyGrid
from nearsight.model.broadening import measure_broadening_errors
from nearsight.model.bundle import load_bundle, save_bundle
from nearsight.model.data import Snapshot
from nearsight.units import thermal_energy

GRID = EnergyGrid.from_window(-12.0, 8.0, 0.2)
WIDTH_eV, CURVATURE = 0.4, 0.05


def parabola(energies):
    """A DOS that bends, a + c ε²/2 in 1/eV, and begins smoothly at -5 eV."""
    return (1.0 + CURVATURE * energies**2 / 2) / (1 + np.exp(-(energies + 5.0) / 0.3))


def write_snapshot(path, temperature_K, shift_eV=0.0, **without):
    """A snapshot whose DOS is the broadened parabola; its energies are those of the parabola, less `shift_eV`."""
    fine = np.linspace(-12.0, 10.0, 440_001)
    exact, occupation = parabola(fine), 1 / (1 + np.exp(np.clip(fine / thermal_energy(temperature_K), -700, 700)))
    step = fine[1] - fine[0]
    entropy = occupation * np.log(np.clip(occupation, 1e-300, 1)) + (1 - occupation) * np.log(
        np.clip(1 - occupation, 1e-300, 1)
    )
    kernel = np.exp(-(((GRID.energies_eV[:, None] - fine[::10]) / WIDTH_eV) ** 2)) / (WIDTH_eV * np.sqrt(np.pi))
    variables = {
        "dos": kernel @ exact[::10] * step * 10,
        "energy": GRID.energies_eV,
        "band_energy": float((exact * occupation * fine).sum() * step) - shift_eV,
        "entropy_energy": float(thermal_energy(temperature_K) * (exact * entropy).sum() * step),
    }
    variables = {name: value for name, value in variables.items() if name not in without}
    atoms = Atoms("Be4", positions=np.eye(4, 3), cell=[4.0, 4.0, 4.0], pbc=True)
    write_dataset(path, {**variables_of_atoms(atoms), **variables}, {"temperature_K": temperature_K}, {"stage": "x"})
    return Snapshot(path, path, (4, 4, 4), temperature_K, float((exact * occupation).sum() * step), 64.0, 4)


def test_a_parabola_is_corrected_exactly(tmp_path):
    """Its fourth derivative vanishes at the Fermi level, so the correction of leading order leaves nothing."""
    ((temperature_K, error),) = measure_broadening_errors([write_snapshot(tmp_path / "a.h5", 900.0)], WIDTH_eV)
    assert temperature_K == 900.0
    assert abs(error) < 2e-5


def test_errors_are_means_by_temperature(tmp_path):
    snapshots = [
        write_snapshot(tmp_path / "a.h5", 900.0, shift_eV=0.004),
        write_snapshot(tmp_path / "b.h5", 300.0, shift_eV=0.008),
        write_snapshot(tmp_path / "c.h5", 900.0, shift_eV=0.012),
        write_snapshot(tmp_path / "d.h5", 600.0, band_energy=None),
    ]
    found = measure_broadening_errors(snapshots, WIDTH_eV)
    assert [temperature_K for temperature_K, _ in found] == [300.0, 900.0]
    assert [error for _, error in found] == pytest.approx([0.002, 0.002], abs=3e-5)


def test_a_model_keeps_and_interpolates_them(tmp_path):
    model = ModelFiles.find("Be").load(None)
    assert model.broadening_error_eV_per_atom(298.0) == 0.0  # of before they were measured
    pairs = [[300.0, 0.001], [900.0, 0.0004]]
    save_bundle(replace(model, broadening_errors=pairs), tmp_path / "model.json", tmp_path / "model.safetensors")
    read = load_bundle(tmp_path / "model.json", tmp_path / "model.safetensors")
    assert read.broadening_errors == pairs
    found = [read.broadening_error_eV_per_atom(temperature_K) for temperature_K in (100.0, 300.0, 600.0, 2000.0)]
    assert found == pytest.approx([0.001, 0.001, 0.0007, 0.0004])


def test_the_total_has_the_term():
    fields = DensityEnergies(hartree=1.0, xc=2.0, xc_potential=3.0, ion=4.0, unscreened=0.0)
    spectrum = {"band": 5.0, "entropy": -0.5, "fermi_energy": 1.0, "electrons": 8.0}
    assert assemble(fields, **spectrum, broadening=-0.25).total == assemble(fields, **spectrum).total - 0.25

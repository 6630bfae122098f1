"""Errors, summary and figures on small known data."""

import csv
import json

import numpy as np
import pytest
from ase.build import bulk

from nearsight.evaluation.errors import (
    evaluate_fields,
    mean_absolute_percentage_error,
    relative_error_percent,
)
from nearsight.evaluation.summary import read_stage_times, render_markdown, summarize
from nearsight.figures.density import draw_density_slice, slice_density, tabulate_density_slice
from nearsight.figures.dos import DosCurve, draw_dos, tabulate_dos
from nearsight.figures.output import write_figure, write_table
from nearsight.figures.parity import BandEnergyPair, draw_parity, tabulate_parity
from nearsight.figures.training import draw_training
from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, integrate_dos


def test_error_measures():
    reference = np.array([1.0, 2.0, 4.0])
    values = np.array([1.1, 1.8, 4.0])
    assert mean_absolute_percentage_error(values, reference) == pytest.approx(100 * (0.1 + 0.1) / 3)
    assert relative_error_percent(values, reference) == pytest.approx(100 * 0.3 / 7)


def test_a_perfect_prediction_has_no_errors_and_the_mean_predictor_has():
    grid, rng = EnergyGrid.from_window(-3.0, 3.0, 0.1), np.random.default_rng(3)
    ldos = (0.05 + rng.random((4, 4, 4, 1)) * np.ones(grid.count)).astype(np.float32)
    volume = 20.0
    dos = dos_from_ldos(ldos, volume / 64)
    level = integrate_dos(dos, grid, 4.0, 1000.0, None).fermi_energy_eV
    density = density_from_ldos(ldos, fermi_weights(grid, level, 1000.0, None))
    mean = ldos.mean(axis=(0, 1, 2), dtype=float)
    errors = evaluate_fields(ldos, density, ldos, density, mean, grid, 4.0, 1000.0, None, volume)
    assert errors["network"].ldos_percent == 0
    assert errors["network"].density_mape_percent == 0
    # this LDOS is separable, so the mean's DOS is exact and its density is the mean density
    assert errors["mean_ldos"].dos_percent < 1e-5
    expected = 100 * np.abs(density.mean() - density).sum() / density.sum()
    assert errors["mean_ldos"].density_integrated_percent == pytest.approx(expected, rel=1e-5)


def evaluation(name, role, dft, prediction):
    fields = dict.fromkeys(("ldos_percent", "density_mape_percent", "density_integrated_percent", "dos_percent"), 1.5)
    return {
        "name": name,
        "role": role,
        "atoms": 2,
        "fields": {"network": fields, "mean_ldos": {key: 10 * value for key, value in fields.items()}},
        "fermi_energy_error_meV": {"network": 1.0, "method": 2.0, "total": 3.0},
        "band_energy_eV": {"dft": dft, "prediction": prediction, "reference_ldos": dft, "mean_energy": 12.0},
        "band_energy_error_meV_per_atom": {"network": 1.0, "method": 2.0, "total": 3.0, "mean_energy": 9.0},
        "total_free_energy_error_meV_per_atom": {"network": 0.5, "method": 0.25, "total": 0.75, "mean_energy": 8.0},
        "label_floor_meV_per_atom": {"scf": 0.01, "ldos": 0.25, "total": 0.26},
    }


def observables(atoms, energy):
    return {
        "atoms": atoms,
        "grid_shape": [4, 4, 4],
        "electrons": 2.0 * atoms,
        "electrons_of_density": 2.0 * atoms,
        "fermi_energy_eV": 8.0,
        "band_energy_eV_per_atom": energy,
        "entropy_energy_eV_per_atom": -0.001,
        "total_free_energy_eV_per_atom": -36.5,
        "provenance": {},
    }


def test_summary_holds_errors_additivity_and_times(tmp_path):
    (tmp_path / "run_scf" / "q").mkdir(parents=True)
    (tmp_path / "run_scf" / "q" / "a-0.tsv").write_text("s\th:m:s\n12.5\t0:00:12\n")
    (tmp_path / "run_scf" / "a-1.tsv").write_text("s\th:m:s\n7.5\t0:00:07\n")
    (tmp_path / "plot_dos").mkdir()
    (tmp_path / "plot_dos" / "dos.tsv").write_text("s\th:m:s\n3.0\t0:00:03\n")
    summary = summarize(
        "study",
        [evaluation("b-0", "test", 12.1, 12.2)],
        {"b-0": observables(2, 6.05), "be16": observables(16, 6.05)},
        {"be16": "b-0"},
        read_stage_times(tmp_path),
    )
    assert json.loads(json.dumps(summary)) == summary
    assert summary["stage_times"]["run_scf"] == {"jobs": 2, "seconds": 20.0, "longest_seconds": 12.5}
    assert summary["additivity_meV_per_atom"]["be16"]["band_energy"] == 0
    page = render_markdown(summary)
    assert "| b-0 | test | 1.50 (15.0) |" in page
    assert "| +0.75 | +0.50 | +0.25 | +8.00 | 0.26 |" in page
    assert summary["additivity_meV_per_atom"]["be16"]["total_free_energy"] == 0
    assert "| run_scf | 2 | 20.0 | 12.5 |" in page
    assert "All jobs: 23.0 s, Quantum ESPRESSO: 20.0 s." in page


def check_figure(draw, tmp_path):
    png, pdf = tmp_path / "f.png", tmp_path / "f.pdf"
    write_figure(draw(), png, pdf)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    again = tmp_path / "again.png"
    write_figure(draw(), again, tmp_path / "again.pdf")
    assert again.read_bytes() == png.read_bytes()


def test_dos_figure_and_table(tmp_path):
    energies = np.linspace(-1, 1, 5)
    curves = [
        DosCurve("with DFT", energies, np.ones(5), 0.2, reference=np.full(5, 0.9)),
        DosCurve("without", energies, np.ones(5), 0.2),
    ]
    check_figure(lambda: draw_dos(curves), tmp_path)
    write_table(tabulate_dos(curves), tmp_path / "dos.csv")
    with open(tmp_path / "dos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert rows[0]["dft_dos_per_eV_per_atom"] == "0.9"
    assert rows[-1]["dft_dos_per_eV_per_atom"] == ""


def test_density_slice_goes_through_a_nucleus_also_in_a_skewed_cell(tmp_path):
    atoms = bulk("Be")  # hexagonal
    shape = (6, 6, 8)
    fractions = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)
    reference = 1 + 0.1 * np.cos(2 * np.pi * fractions[..., 2])
    plane = slice_density(atoms, reference, 1.01 * reference)
    height = atoms.get_scaled_positions()[0, 2]
    assert plane.height_A == pytest.approx(round(height * 8) / 8 * atoms.cell[2, 2])
    np.testing.assert_allclose(plane.nuclei_A[0], atoms.positions[0, :2], atol=1e-9)
    check_figure(lambda: draw_density_slice(plane, "Be2"), tmp_path)
    assert len(tabulate_density_slice(plane)["x_A"]) == 36
    for axis in draw_density_slice(plane, "Be2").axes[:3]:
        low, high = axis.get_xlim()
        assert low <= plane.x_A.min() < plane.x_A.max() <= high
        assert high - low < 1.5 * np.ptp(plane.x_A)


def test_training_and_parity_figures(tmp_path):
    epochs = np.arange(1.0, 6)
    check_figure(lambda: draw_training(epochs, 1 / epochs, 1.5 / epochs, np.full(5, 1e-3)), tmp_path)
    pairs = [
        BandEnergyPair(name, role, dft, dft + 0.01, dft + 0.001)
        for name, role, dft in [("a-0", "train", 6.0), ("a-1", "validation", 6.1), ("b-0", "test", 6.05)]
    ]
    check_figure(lambda: draw_parity(pairs, 6.05), tmp_path)
    assert tabulate_parity(pairs)["role"] == ["train", "validation", "test"]

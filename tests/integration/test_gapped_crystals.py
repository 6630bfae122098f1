"""Crystals with a gap, by Quantum ESPRESSO: any level in the gap is right, and the energy is that of the full bands."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from espresso_cells import COARSE, TEMPERATURE_K, Cell, broadened_dos, make_pseudopotentials

from nearsight.ldos import EnergyGrid, check_window, integrate_dos
from nearsight.reference.espresso.ld1 import generate_pseudopotential

pytestmark = [pytest.mark.qe, pytest.mark.mpi]

CELLS = {"diamond": Cell(bulk("C", cubic=True, a=3.567), 30, [2, 2, 2], [1, 1, 1], 24, 1e-9), "BeO": COARSE["oxide"]}


@pytest.fixture(scope="module", params=["diamond", pytest.param("BeO", marks=pytest.mark.slow)])
def crystal(request, tmp_path_factory):
    """Result of a crystal's SCF."""
    folder = tmp_path_factory.mktemp(request.param)
    pseudopotentials = make_pseudopotentials(folder)
    if request.param == "diamond":
        deck = Path(__file__).with_name("pseudo") / "C.pbe-rrkjus.in"
        pseudopotentials = {"C": generate_pseudopotential(deck, "C", folder / "C.upf")}
    return CELLS[request.param].run_scf(folder, pseudopotentials)[0]


@pytest.mark.parametrize("broadening_eV", [0.2, 0.4])
def test_level_and_band_energy_of_a_gap(crystal, broadening_eV):
    full = round(crystal.electrons / 2)
    top, bottom = crystal.eigenvalues[:, full - 1].max(), crystal.eigenvalues[:, full].min()
    assert bottom - top > 4
    assert top < crystal.fermi_energy < bottom
    # the window of the study's rule: four broadenings below the lowest level, as far above as the bands allow
    low = crystal.eigenvalues.min() - 4 * broadening_eV
    grid = EnergyGrid.from_window(
        low, low + 0.1 * np.floor((crystal.eigenvalues[:, -1].min() - 4 * broadening_eV - low) / 0.1), 0.1
    )
    dos = broadened_dos(crystal, grid, broadening_eV)
    for corrected, tolerance_meV in ((broadening_eV, 0.01), (None, 30.0)):
        found = integrate_dos(dos, grid, crystal.electrons, TEMPERATURE_K, corrected)
        check_window(dos, grid, crystal.electrons, found.fermi_energy_eV, TEMPERATURE_K, corrected)
        assert top + 0.5 < found.fermi_energy_eV < bottom - 0.5
        error_meV = 1e3 * (found.band_energy_eV - crystal.band_energy) / len(crystal.atoms)
        assert abs(error_meV) < tolerance_meV
        assert abs(found.entropy_energy_eV) < 1e-6

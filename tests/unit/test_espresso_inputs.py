"""Input of pw.x, and the settings it is made from."""

import numpy as np
import pytest
from ase import Atoms

from nearsight import units
from nearsight.reference.espresso.inputs import fermi_smearing, pw_input
from nearsight.study.sections import Dft, Ldos


def test_bands_follow_from_the_electrons():
    dft = Dft(ecutwfc_Ry=40.0, ecutrho_Ry=160.0, kpoints=[4, 4, 4], bands_per_occupied=2.25)
    assert [dft.bands(electrons) for electrons in (16, 17, 128)] == [18, 20, 144]


def test_energies_of_the_ldos():
    ldos = Ldos(energy_min_eV=-5.0, energy_max_eV=11.0, spacing_eV=0.1, broadening_eV=0.2)
    assert ldos.count == ldos.grid.count == 161
    assert ldos.grid.energies_eV[[0, -1]] == pytest.approx([-5.0, 11.0])


def test_smearing_is_the_thermal_energy():
    assert fermi_smearing(298.0)["degauss"] == pytest.approx(0.0018874, abs=1e-7)  # physics.md


def test_input_text():
    atoms = Atoms("OBe", positions=[[0, 0, 0.1], [1, 1, 1]], cell=[3, 4, 5], pbc=True)
    text = pw_input(
        atoms,
        {"Be": "Be.upf", "O": "O.upf"},
        control={"calculation": "scf", "tprnfor": True, "title": "it's"},
        system={"ecutwfc": 40.0, "nbnd": np.int64(7)},
        electrons={"conv_thr": 1e-9},
        kpoints=[4, 2, 1],
        kpoints_shift=[1, 0, 0],
    )
    for line in (
        "calculation = 'scf'",
        "tprnfor = .true.",
        "title = 'it''s'",
        "nat = 2",
        "ntyp = 2",
        "nbnd = 7",
        "conv_thr = 1e-09",
    ):
        assert f"  {line}\n" in text
    assert "&ions" not in text
    assert "ATOMIC_VELOCITIES" not in text
    assert "ATOMIC_SPECIES\nBe 9.01218310 Be.upf\nO 15.99900000 O.upf\n" in text  # by atomic number
    assert text.endswith("K_POINTS automatic\n4 2 1 1 0 0\n")
    block = text.split("ATOMIC_POSITIONS angstrom\n")[1].splitlines()
    assert block[0].split() == ["O", "0.000000000000000e+00", "0.000000000000000e+00", "1.000000000000000e-01"]


def test_velocities_are_written_in_bohr_per_rydberg_time():
    atoms = Atoms("Be", cell=[3, 3, 3], pbc=True)
    text = pw_input(
        atoms,
        {"Be": "Be.upf"},
        control={},
        system={},
        electrons={},
        ions={"ion_velocities": "from_input"},
        kpoints=[1, 1, 1],
        kpoints_shift=[0, 0, 0],
        velocities=np.array([[units.BOHR_A / units.RYDBERG_TIME_fs, 0, 0]]),
    )
    row = text.split("ATOMIC_VELOCITIES a.u\n")[1].split()
    assert [float(x) for x in row[1:4]] == pytest.approx([1, 0, 0])

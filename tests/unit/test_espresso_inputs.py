"""Input of pw.x, and the settings it is made from."""

import numpy as np
import pytest
from ase import Atoms

from nearsight import units
from nearsight.errors import InputError
from nearsight.reference.espresso.inputs import DftSettings, LdosSettings, MdSettings, fermi_smearing, pw_input

DFT = {
    "ecutwfc_Ry": 40.0,
    "ecutrho_Ry": 160.0,
    "kpoints": [4, 4, 4],
    "kpoints_shift": [1, 1, 1],
    "bands": 18,
    "conv_thr_Ry": 1e-9,
}


def test_settings_are_read_with_defaults():
    settings = DftSettings.read(DFT, "dft")
    assert settings.bands == 18
    assert settings.electron_maxstep == 100


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match=r"dft\.bands: expected a value"):
        DftSettings.read({key: value for key, value in DFT.items() if key != "bands"}, "dft")


def test_an_unknown_key_is_named():
    with pytest.raises(InputError, match=r"dft\.ecutwfc: unknown key"):
        DftSettings.read({**DFT, "ecutwfc": 3}, "dft")


def test_keys_of_others_can_be_ignored():
    with pytest.raises(InputError, match=r"md\.equilibration_fs: unknown key"):
        MdSettings.read({"equilibration_fs": 1}, "md")
    with pytest.raises(InputError, match=r"md\.time_step_fs: expected a value"):
        MdSettings.read({"equilibration_fs": 1}, "md", ignored=("equilibration_fs",))


def test_energies_of_the_ldos():
    ldos = LdosSettings(energy_min_eV=-5.0, energy_max_eV=11.0, spacing_eV=0.1, broadening_eV=0.2)
    assert ldos.count == 161
    assert ldos.energies_eV[[0, -1]] == pytest.approx([-5.0, 11.0])


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

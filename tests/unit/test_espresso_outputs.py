"""QE's XML and text."""

import numpy as np
import pytest

from nearsight import units
from nearsight.errors import ConvergenceError, InputError
from nearsight.reference.espresso.outputs import (
    check_convergence,
    read_electronic_structure,
    read_md_steps,
    text_energies,
)

STRUCTURE = """<atomic_structure nat="2" alat="4.0">
  <atomic_positions><atom name="Be" index="1">0.0 0.0 0.0</atom><atom name="Be" index="2">1.0 2.0 3.0</atom>
  </atomic_positions>
  <cell><a1>4.0 0.0 0.0</a1><a2>0.0 5.0 0.0</a2><a3>0.0 0.0 6.0</a3></cell>
</atomic_structure>"""
ENERGIES = """<total_energy><etot>-2.0</etot><eband>1.0</eband><ehart>0.25</ehart><etxc>-1.5</etxc>
  <ewald>-3.0</ewald><demet>-0.001</demet></total_energy>"""
FORCES = '<forces rank="2" dims="3 2" order="F">0.1 0.0 0.0\n -0.1 0.0 0.0</forces>'
STATE = """<ks_energies><k_point weight="{weight}">0.5 0.2 0</k_point><npw>100</npw>
  <eigenvalues size="2">{low} {high}</eigenvalues><occupations size="2">1.0 0.25</occupations></ks_energies>"""


def scf(**changes):
    values = {"lsda": "false", "energies": ENERGIES, "forces": FORCES} | changes
    return f"""<?xml version="1.0"?>
<qes:espresso xmlns:qes="http://www.quantum-espresso.org/ns/qes/qes-1.0"><output>{STRUCTURE}
<symmetries><nsym>1</nsym></symmetries><basis_set><gamma_only>false</gamma_only><ecutwfc>20</ecutwfc>
<ecutrho>80</ecutrho><fft_grid nr1="18" nr2="20" nr3="27"/></basis_set>{values["energies"]}
<band_structure><lsda>{values["lsda"]}</lsda><nelec>4.0</nelec><fermi_energy>0.3</fermi_energy>
{STATE.format(weight=0.5, low=-0.1, high=0.2)}{STATE.format(weight=1.5, low=-0.2, high=0.4)}
</band_structure>{values["forces"]}</output></qes:espresso>"""


def md(converged="true"):
    step = f"""<step n_step="1"><scf_conv><convergence_achieved>{converged}</convergence_achieved></scf_conv>
    {STRUCTURE}{ENERGIES}{FORCES}</step>"""
    return f"<espresso>{step}{step}</espresso>"


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "data file.xml"
        path.write_text(text)
        return path

    return make


def test_electronic_structure_in_our_units(write):
    result = read_electronic_structure(write(scf()))
    hartree, bohr = units.HARTREE_eV, units.BOHR_A
    assert result.grid == (18, 20, 27)
    assert result.electrons == 4.0
    assert result.fermi_energy == pytest.approx(0.3 * hartree)
    assert result.eigenvalues == pytest.approx(np.array([[-0.1, 0.2], [-0.2, 0.4]]) * hartree)
    assert result.weights == pytest.approx([0.5, 1.5])
    assert result.band_energy == pytest.approx((0.5 * (-0.1 + 0.05) + 1.5 * (-0.2 + 0.1)) * hartree)
    assert result.atoms.cell.lengths() == pytest.approx(np.array([4, 5, 6]) * bohr)
    assert result.atoms.positions[1] == pytest.approx(np.array([1, 2, 3]) * bohr)
    assert result.forces[0] == pytest.approx([0.1 * hartree / bohr, 0, 0])
    assert {name: value / hartree for name, value in result.energies.items()} == pytest.approx(
        {
            "total_free_energy": -2.0,
            "hartree_energy": 0.25,
            "xc_energy": -1.5,
            "ewald_energy": -3.0,
            "entropy_energy": -0.001,
            "one_electron_energy": 2.251,  # what the other terms leave of the total
        }
    )


def test_a_run_without_energies_and_forces(write):
    result = read_electronic_structure(write(scf(energies="", forces="")))
    assert result.energies == {}
    assert result.forces is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (scf()[:-30], "expected a whole XML file of Quantum ESPRESSO"),
        ("<a/>", "output: expected it"),
        (scf(lsda="true"), "without spin polarisation"),
        (scf().replace("0.3<", "<"), "expected numbers"),
        (scf().replace("<nelec>4.0</nelec>", ""), "nelec: expected it"),
    ],
)
def test_damaged_files(write, text, message):
    with pytest.raises(InputError, match=message):
        read_electronic_structure(write(text))


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_electronic_structure(tmp_path / "x.xml")


def test_steps_of_dynamics(write):
    steps = read_md_steps(write(md()))
    assert len(steps) == 2
    assert steps[0].total_free_energy == pytest.approx(-2 * units.HARTREE_eV)
    assert steps[0].positions.shape == steps[0].forces.shape == (2, 3)


def test_a_step_that_did_not_converge(write):
    with pytest.raises(ConvergenceError, match="step 1: expected a converged SCF"):
        read_md_steps(write(md("false")))


def test_convergence():
    check_convergence("convergence has been achieved in   8 iterations", "dft", 1e-9, 100)
    text = (
        "estimated scf accuracy    <       0.5 Ry\nestimated scf accuracy    <       1.0E-05 Ry\n"
        "convergence NOT achieved after 100 iterations: stopping"
    )
    with pytest.raises(ConvergenceError) as caught:
        check_convergence(text, "md", 1e-7, 100)
    for part in ("md.conv_thr_Ry = 1e-07", "md.electron_maxstep = 100", "1.0E-05 Ry", "md.mixing_beta"):
        assert part in str(caught.value)


def test_printed_energies():
    text = """!    total energy              =     -21.46953368 Ry
     smearing contrib. (-TS)   =      -0.00000100 Ry
     one-electron contribution =      16.20803262 Ry
     hartree contribution      =       0.02983629 Ry
     xc contribution           =     -13.18346636 Ry
     ewald contribution        =     -24.52393623 Ry
"""
    found = {name: value / units.RYDBERG_eV for name, value in text_energies(text).items()}
    assert found == pytest.approx(
        {
            "total_free_energy": -21.46953368,
            "entropy_energy": -1e-6,
            "one_electron_energy": 16.20803262,
            "hartree_energy": 0.02983629,
            "xc_energy": -13.18346636,
            "ewald_energy": -24.52393623,
        }
    )
    assert text_energies("") == {}

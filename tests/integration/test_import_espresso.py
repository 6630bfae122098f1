"""`nearsight import qe` on real runs of pw.x and pp.x with an input of nobody's study, and its refusals."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from espresso_cells import make_pseudopotentials, two_atoms

from nearsight import units
from nearsight.cli import main
from nearsight.datasets import atoms_of, open_dataset, provenance_of, settings_of
from nearsight.errors import InputError
from nearsight.imports.espresso import import_run, make_ldos
from nearsight.reference.espresso.conditions import read_conditions
from nearsight.reference.espresso.programs import Launch, run_program

pytestmark = pytest.mark.qe

#: A window that the ten bands of the two atoms fill, in wide steps since pp.x takes seconds for each.
WINDOW = (-6.0, 11.0, 1.0, 0.5)
LDOS = make_ldos(*WINDOW, "one_pass")


def pw_text(atoms, calculation="scf", smearing="fermi-dirac", degauss=0.005, bands=14, more="", kpoints="2 2 2 0 0 0"):
    """Input of pw.x as people write it."""
    rows = "".join("{:.10f} {:.10f} {:.10f}\n".format(*row) for row in atoms.cell.array)
    positions = "".join("Be {:.10f} {:.10f} {:.10f}\n".format(*row) for row in atoms.positions)
    occupations = f"occupations='smearing', smearing='{smearing}', degauss={degauss}," if smearing else ""
    return f"""&control
 calculation='{calculation}', prefix='crystal', outdir='tmp', pseudo_dir='.'
/
&system
 ibrav=0, nat={len(atoms)}, ntyp=1, ecutwfc=20, ecutrho=80, nbnd={bands}, {occupations} {more}
/
&electrons
 conv_thr=1e-10
/
ATOMIC_SPECIES
Be 9.012 Be.upf
CELL_PARAMETERS angstrom
{rows}ATOMIC_POSITIONS angstrom
{positions}K_POINTS automatic
{kpoints}
"""


def pp_text(plot):
    return f"""&inputpp
 prefix='crystal', outdir='tmp', filplot='field', {plot}
/
&plot
 iflag=3, output_format=6, fileout='.cube'
/
"""


def run(folder, pseudopotential, text):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pseudopotential, folder / "Be.upf")
    (folder / "scf.out").write_text(run_program("pw.x", text, folder, Launch(), "scf"))
    return folder


@pytest.fixture(scope="session")
def pseudopotential(tmp_path_factory):
    return make_pseudopotentials(tmp_path_factory.mktemp("upf"))["Be"].path


@pytest.fixture(scope="session")
def scf(tmp_path_factory, pseudopotential) -> Path:
    """An SCF without symmetry; the folder's name would break a shell."""
    return run(tmp_path_factory.mktemp("it's a $run"), pseudopotential, pw_text(two_atoms(), more="nosym=.true."))


@pytest.fixture(scope="session")
def cubes(tmp_path_factory, scf) -> Path:
    """Beside the same SCF: a non-SCF run with Gaussians, the cubes of pp.x, and a density."""
    folder = tmp_path_factory.mktemp("cubes")
    shutil.copytree(scf, folder, dirs_exist_ok=True)
    text = pw_text(two_atoms(), "nscf", "gaussian", 0.01, more="nosym=.true.")
    run_program("pw.x", text.replace("conv_thr=1e-10", "conv_thr=1e-10, diago_thr_init=1e-9"), folder, Launch(), "nscf")
    emin, emax, step, width = WINDOW
    plot = f"plot_num=3, emin={emin}, emax={emax + 0.1}, delta_e={step}, degauss_ldos={width}"
    run_program("pp.x", pp_text(plot), folder, Launch(), "pp")
    (folder / "ldos").mkdir()
    for path in folder.glob("field*.cube"):
        path.rename(folder / "ldos" / path.name)
    run_program("pp.x", pp_text("plot_num=0"), folder, Launch(), "pp")
    (folder / ".cube").rename(folder / "rho.cube")
    return folder


@pytest.fixture(scope="session")
def imported(scf, tmp_path_factory) -> Path:
    """The dataset by the command, LDOS from the wave functions."""
    path = tmp_path_factory.mktemp("imported") / "mine.h5"
    window = [f"{name}={value}" for name, value in zip(
        ("--energy-min-eV", "--energy-max-eV", "--spacing-eV", "--broadening-eV"), WINDOW, strict=True
    )]  # fmt: skip
    assert main(["import", "qe", str(scf / "tmp"), "--out", str(path), *window]) == 0
    return path


def test_a_run_becomes_a_snapshot_dataset(imported, scf, capsys):
    """Structure, settings and origin as a study's own; energies against pw.x's text."""
    (printed,) = re.findall(r"^!    total energy *= *(\S+) Ry", (scf / "scf.out").read_text(), re.MULTILINE)
    with open_dataset(imported) as dataset:
        settings, origin = settings_of(dataset), provenance_of(dataset)
        assert np.abs(atoms_of(dataset).positions - two_atoms().positions).max() < 1e-8
        assert dataset["ldos"].shape[3] == 18
        assert float(dataset["total_free_energy"]) == pytest.approx(float(printed) * units.RYDBERG_eV, abs=1e-6)
        weights, states = dataset["kpoint_weights"].values, dataset["eigenvalues"].values
        distances = dataset["energy"].values[:, None, None] - states
        spread = np.einsum("ekb,k->e", np.exp(-((distances / 0.5) ** 2)) / (0.5 * np.sqrt(np.pi)), weights)
        np.testing.assert_allclose(dataset["dos"].values, spread, atol=2e-5)
    assert settings["temperature_K"] == pytest.approx(0.005 * units.RYDBERG_eV / units.thermal_energy(1.0))
    assert settings["dft"]["kpoints"] == [2, 2, 2]
    assert settings["dft"]["ecutrho_Ry"] == pytest.approx(80.0)
    assert settings["valence"] == {"Be": 2.0}
    assert origin["stage"] == "reference"
    assert origin["programs"]["Quantum ESPRESSO"].startswith("6.7")
    assert "pseudopotential Be" in origin["inputs_sha256"]


def test_cubes_give_the_same_ldos(imported, cubes, scf, tmp_path):
    """pp.x's cube files of a Gaussian non-SCF run against the one pass over the SCF's states: five digits each."""
    output = tmp_path / "cubes.h5"
    pattern = str(cubes / "ldos" / "field*.cube")
    command = ["import", "qe", str(scf), "--nscf", str(cubes / "tmp"), "--out", str(output), "--ldos", pattern]
    assert main([*command[:2], str(scf / "tmp"), *command[3:], "--density", str(cubes / "rho.cube")]) == 0
    with open_dataset(imported) as one, open_dataset(output) as two:
        assert settings_of(two)["ldos"] == {**settings_of(one)["ldos"], "backend": "espresso"}
        difference = np.abs(one["ldos"].values - two["ldos"].values).max()
        assert difference < 5e-5 * one["ldos"].values.max()
        np.testing.assert_allclose(two["density"].values, one["density"].values, atol=2e-5)
        assert float(two["total_free_energy"]) == float(one["total_free_energy"])


def refuse(message, outdir, output, **options):
    with pytest.raises(InputError, match=message):
        import_run(outdir, output, **{"window": LDOS, **options})
    assert not output.exists()


def test_the_kernel_of_another_smearing_is_named(scf, tmp_path):
    """pp.x right after an SCF broadens by the SCF's Fermi functions, which no correction of ours takes away."""
    folder = tmp_path / "fd"
    shutil.copytree(scf, folder)
    emin, emax, step, width = WINDOW
    plot = f"plot_num=3, emin={emin}, emax={emax + 0.1}, delta_e={step}, degauss_ldos={width}"
    run_program("pp.x", pp_text(plot), folder, Launch(), "pp")
    found = sorted(folder.glob("field*.cube"))
    refuse("broadened by Fermi-Dirac functions", folder / "tmp", tmp_path / "x.h5", cubes=found)
    refuse("got 17 with steps from 1 to 2 eV", folder / "tmp", tmp_path / "x.h5", cubes=[*found[:5], *found[6:]])
    refuse("expected 18 energies from -6 to 11 eV with a broadening of 0.4", folder / "tmp", tmp_path / "x.h5",
           cubes=found, window=make_ldos(-6, 11, 1, 0.4, "one_pass"))  # fmt: skip
    other = [tmp_path / path.name for path in found]
    for path, target in zip(found, other, strict=True):
        target.write_text(re.sub(r"broadening = *\S+", "broadening = 0.4", path.read_text(), count=1))
    refuse(
        "expected one broadening, got 0.4 eV, 0.5 eV", folder / "tmp", tmp_path / "x.h5", cubes=[*found[:9], *other[9:]]
    )


def test_what_a_study_would_not_have_computed_is_named(pseudopotential, scf, cubes, tmp_path, capsys):
    """All of it at once, before anything is written."""
    bad = run(tmp_path / "bad", pseudopotential, pw_text(two_atoms(), smearing="mp", bands=5, more="tot_charge=0.0"))
    with pytest.raises(InputError) as caught:
        import_run(bad / "tmp", tmp_path / "x.h5", window=make_ldos(-2, 40, 1, 0.5, "one_pass"))
    lines = str(caught.value).splitlines()
    assert "4 things that no reference may have" in lines[0]
    for message in (
        "occupations: expected smearing = 'fermi-dirac'",
        "symmetries reduce",
        "energies from at most",
        "nbnd",
    ):
        assert sum(message in line for line in lines) == 1, message
    refuse("calculation: expected 'scf', got 'nscf'", cubes / "tmp", tmp_path / "x.h5")
    refuse("expected pw.x's outdir, or the folder PREFIX.save", tmp_path, tmp_path / "x.h5")
    refuse("expected energies for the LDOS", scf / "tmp", tmp_path / "x.h5", window=None)
    assert main(["import", "qe", str(scf / "tmp"), "--out", str(tmp_path / "x.h5"), "--ldos", "none*.cube"]) == 1
    assert "found none that match 'none*.cube'" in capsys.readouterr().err
    assert main(["import", "qe", str(scf / "tmp"), "--out", str(tmp_path / "x.h5"), "--energy-min-eV=-6"]) == 1
    assert "expected it with --energy-max-eV" in capsys.readouterr().err


def change(scf, tmp_path, pattern, replacement):
    """A copy of the run whose XML says something else."""
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scf / "tmp", folder)
    xml = folder / "crystal.save/data-file-schema.xml"
    text, count = re.subn(pattern, replacement, xml.read_text(), flags=re.DOTALL)
    assert count
    xml.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ("<convergence_achieved>true", "<convergence_achieved>false", "convergence: expected an SCF converged to"),
        ("<conv_thr>[^<]*", "<conv_thr>1e-4", "conv_thr: expected at most 1e-05 Ry, got 0.0002 Ry"),
        (r"<monkhorst_pack[^>]*>[^<]*</monkhorst_pack>", "", "k-points: expected an automatic grid, got a list"),
        ("<etot>[^<]*", "<etot>-2.0", "expected a total free energy of the terms"),
        ("<lsda>false", "<lsda>true", "without spin polarisation"),
        ('<species name="Be"', '<species name="Be1"', "species: expected chemical symbols, got Be1"),
        ("</functional>", "</functional><vdW/>", "a van der Waals term"),
        ("<pseudo_file>Be.upf", "<pseudo_file>other.upf", "expected the pseudopotential of Be beside the run"),
        ("<output>.*</output>", "", "expected the XML file of a run by pw.x 6.2 or newer, got none of its parts"),
        ("<conv_thr>", "<conv_thr>x", "expected the XML file of a run by pw.x 6.2 or newer"),
    ],
)
def test_a_changed_xml(scf, tmp_path, pattern, replacement, message):
    refuse(message, change(scf, tmp_path, pattern, replacement), tmp_path / "x.h5")


def test_files_of_other_runs(scf, cubes, pseudopotential, tmp_path):
    """A density of another structure, cubes without their non-SCF run, two runs in one folder, no wave functions."""
    moved = two_atoms()
    moved.positions[0] += 0.1
    other = run(tmp_path / "other", pseudopotential, pw_text(moved, more="nosym=.true."))
    found = sorted((cubes / "ldos").glob("field*.cube"))
    refuse("expected the data of the given structure, got another one's", other / "tmp", tmp_path / "x.h5",
           density=cubes / "rho.cube")  # fmt: skip
    refuse("expected a non-SCF run of the SCF's structure", scf / "tmp", tmp_path / "x.h5", nscf=other / "tmp")
    refuse("expected a density of 4 electrons", scf / "tmp", tmp_path / "x.h5", density=found[3])
    both = tmp_path / "both"
    shutil.copytree(scf / "tmp", both)
    shutil.copytree(both / "crystal.save", both / "second.save")
    refuse("found crystal.save, second.save", both, tmp_path / "x.h5")
    (both / "second.save/wfc1.dat").unlink()
    refuse("expected the wave functions of k-point 1", both / "second.save", tmp_path / "x.h5")
    (both / "second.save/charge-density.dat").unlink()
    refuse("charge-density|data-file", both / "second.save", tmp_path / "x.h5")


def test_conditions_of_a_run(scf, cubes):
    found = read_conditions(scf / "tmp/crystal.save/data-file-schema.xml")
    assert (found.calculation, found.converged, found.smearing) == ("scf", True, "fermi-dirac")
    assert found.kpoints == (2, 2, 2)
    assert found.shift == (0, 0, 0)
    assert found.conv_thr_Ry == pytest.approx(1e-10)
    assert 0 < found.accuracy_Ry < 1e-10
    assert found.width_eV == pytest.approx(0.005 * units.RYDBERG_eV)
    assert read_conditions(cubes / "tmp/crystal.save/data-file-schema.xml").smearing == "gaussian"


def test_floors_of_an_imported_reference(imported, scf, pseudopotential, tmp_path, capsys):
    """k-points: the difference of what pw.x prints; LDOS: steps of 1 eV are far too wide, and it says so."""
    denser = run(tmp_path / "denser", pseudopotential, pw_text(two_atoms(), more="nosym=.true.", kpoints="3 3 3 0 0 0"))
    import_run(denser / "tmp", tmp_path / "denser.h5", window=LDOS)
    command = ["check", str(imported), "--denser", str(tmp_path / "denser.h5"), "--pseudopotentials", str(scf)]
    capsys.readouterr()
    assert main(command) == 0
    found = {line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines()}
    totals = [
        float(re.search(r"^!    total energy *= *(\S+) Ry", (folder / "scf.out").read_text(), re.MULTILINE)[1])
        for folder in (scf, denser)
    ]
    assert found["kpoints"] == pytest.approx(500 * units.RYDBERG_eV * abs(totals[1] - totals[0]), abs=1e-3)
    assert found["kpoints"] > 1
    assert found["ldos"] > 10 * found["scf"]
    assert found["together"] == pytest.approx(found["scf"] + found["kpoints"] + found["ldos"], abs=2e-3)
    assert main([*command, "--limit-meV", "0.1"]) == 1

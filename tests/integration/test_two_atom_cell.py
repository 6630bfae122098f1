"""The two-atom cell of beryllium: Quantum ESPRESSO through our jobs gives the reference numbers.

Reference: QE 6.7 with the pseudopotential of its own ld1.x, hcp Be, a = 2.25982587 Å, c = 3.56987856 Å, 8 x 8 x 8
k-points, 10 bands, conv_thr 1e-11 Ry. The printed lengths give an Ewald energy of -6.13837207 Ry (an independent
Ewald sum and pw.x agree), the reference has -6.13837306 Ry. An Ewald energy depends on the geometry alone and goes
with 1/length, so the reference cell was smaller by 1.6e-7; in that cell all terms agree. With the printed lengths the
one-electron term, the steepest of them (dE/dln L = -8.6 Ry), would be off by 1.55e-6 Ry.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nearsight import units
from nearsight.datasets import open_dataset, provenance_of, settings_of
from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.grids.plane_waves import fft_shape
from nearsight.reference.espresso.collect import collect_snapshot
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.ldos import cube_name, run_ldos
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.pseudopotential import read_pseudopotentials
from nearsight.structures.io import write_structure
from nearsight.study.sections import Dft, Ldos

pytestmark = [pytest.mark.qe, pytest.mark.mpi]

SCALE = 6.138372075 / 6.13837306
A, C = 2.25982587, 3.56987856
TEMPERATURE_K = 298.0

REFERENCE_Ry = {
    "total_free_energy": -5.36822051,
    "one_electron_energy": 4.06006208,
    "hartree_energy": 0.00427528,
    "xc_energy": -3.29414177,
    "ewald_energy": -6.13837306,
    "entropy_energy": -0.00004303,
}
FERMI_ENERGY_eV = 8.7784
BAND_ENERGY_eV = 12.185484

DFT = Dft(
    ecutwfc_Ry=40.0,
    ecutrho_Ry=160.0,
    kpoints=[8, 8, 8],
    kpoints_shift=[0, 0, 0],
    bands_per_occupied=5.0,
    conv_thr_Ry=1e-11,
)
# few energies, since each is a sum of its own; s and the window as in production
LDOS = Ldos(energy_min_eV=-5.0, energy_max_eV=10.5, spacing_eV=0.5, broadening_eV=0.2)


@pytest.fixture(scope="session")
def two_atoms() -> Atoms:
    """The cell, scaled as the module's text says."""
    atoms = Atoms(
        "Be2",
        cell=[[A, 0, 0], [-A / 2, A * np.sqrt(3) / 2, 0], [0, 0, C]],
        positions=[[1.7528828707, 0.3210037143, 2.6776725841], [-0.6229700257, 1.6360627414, 0.8922054159]],
        pbc=True,
    )
    atoms.set_cell(atoms.cell * SCALE, scale_atoms=True)
    return atoms


@pytest.fixture(scope="session")
def runs(two_atoms, tmp_path_factory, repository) -> Path:
    """Folder with the results of all jobs; its name would break any shell."""
    folder = tmp_path_factory.mktemp("it's a $cell; &")
    launch = Launch("mpirun.openmpi --bind-to none", 2)
    deck = repository / "config/pseudo/Be.pbe-rrkjus.in"
    pseudopotentials = {"Be": generate_pseudopotential(deck, "Be", folder / "Be.upf")}
    grid = fft_shape(two_atoms.cell.array, DFT.ecutrho_Ry)
    run_scf(two_atoms, grid, pseudopotentials, DFT, TEMPERATURE_K, launch, folder / "scf", folder / "scf.out")
    run_ldos(two_atoms, grid, pseudopotentials, folder / "scf", DFT, LDOS, launch, folder / "ldos")
    return folder


@pytest.fixture(scope="session")
def variables(two_atoms, runs):
    """The variables of the snapshot dataset."""
    return collect(two_atoms, runs)


def collect(atoms, runs, ldos=LDOS, cubes="ldos"):
    grid, files = fft_shape(atoms.cell.array, DFT.ecutrho_Ry), read_pseudopotentials({"Be": runs / "Be.upf"})
    snapshot = collect_snapshot(
        atoms, grid, runs / "scf", runs / "scf.out", files, ldos, TEMPERATURE_K, cubes and runs / cubes
    )
    return snapshot.variables()


@pytest.mark.parametrize("name", REFERENCE_Ry)
def test_energy_terms(variables, name):
    assert variables[name] / units.RYDBERG_eV == pytest.approx(REFERENCE_Ry[name], abs=1e-6)


def test_spectrum(variables):
    assert variables["fermi_energy"] == pytest.approx(FERMI_ENERGY_eV, abs=1e-3)
    assert variables["band_energy"] == pytest.approx(BAND_ENERGY_eV, abs=1e-4)
    assert variables["kpoint_weights"].sum() == pytest.approx(2.0, abs=1e-10)
    # the non-SCF run repeats the SCF's occupied states in the final potential
    occupied = variables["eigenvalues"] < variables["fermi_energy"]
    difference = variables["ldos_eigenvalues"] - variables["eigenvalues"]
    assert np.abs(difference[occupied]).max() < 1e-5


def test_density_integrates_to_the_electrons(variables, two_atoms):
    assert variables["density"].shape == (18, 18, 27)
    integral = variables["density"].sum() * two_atoms.get_volume() / variables["density"].size
    assert variables["electrons"] == 4.0
    assert integral == pytest.approx(4.0, abs=1e-4)


def test_both_backends_agree(variables, two_atoms, runs):
    """Within what the SCF's own states, of looser diagonalisation than the non-SCF run's, and five digits allow."""
    one_pass = collect(two_atoms, runs, cubes=None)
    assert (one_pass["density"] == variables["density"]).all()
    assert (one_pass["ldos_eigenvalues"] == one_pass["eigenvalues"]).all()
    assert np.abs(one_pass["ldos"] - variables["ldos"]).max() < 1e-4 * variables["ldos"].max()


def test_another_broadening_than_was_asked_for_is_refused(two_atoms, runs, tmp_path):
    """pp.x broadens by the label of the run that it reads; the sum over the eigenvalues tells."""
    for path in (runs / "ldos").iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("broadening =   0.2000", "broadening =   0.1500"))
    settings = LDOS.model_copy(update={"broadening_eV": 0.15})
    with pytest.raises(InputError, match=r"expected an LDOS that sums to the eigenvalues, broadened by 0\.15 eV"):
        collect(two_atoms, runs, settings, cubes=tmp_path)


def test_ldos_sums_to_the_broadened_eigenvalues(variables, two_atoms):
    energies = LDOS.grid.energies_eV[:, None, None]
    kernel = np.exp(-(((energies - variables["ldos_eigenvalues"]) / LDOS.broadening_eV) ** 2))
    kernel /= LDOS.broadening_eV * np.sqrt(np.pi)
    expected = np.einsum("ekb,k->e", kernel, variables["kpoint_weights"])
    spectrum = variables["ldos"]
    assert spectrum.shape == (18, 18, 27, LDOS.count)
    assert spectrum.dtype == np.float32
    dos = spectrum.sum(axis=(0, 1, 2), dtype=float) * two_atoms.get_volume() / np.prod(spectrum.shape[:3])
    assert np.abs(dos - expected).max() < 1e-5 * expected.max()
    assert variables["dos"] == pytest.approx(dos, rel=1e-6)


def test_forces_are_opposite(variables):
    """The atoms are off their ideal places; the forces on the two balance."""
    assert np.abs(variables["forces"]).max() > 0.1
    assert variables["forces"][0] == pytest.approx(-variables["forces"][1], abs=1e-6)


@pytest.mark.parametrize("backend", ["one_pass", "espresso"])
def test_the_dataset_of_the_job(two_atoms, runs, variables, repository, tmp_path, backend):
    """collect_reference writes what was collected, with settings and provenance."""
    structure, output = tmp_path / "a $b.extxyz", tmp_path / "a 'b'.h5"
    atoms = two_atoms.copy()
    atoms.info["grid_shape"] = [18, 18, 27]
    write_structure(structure, atoms)
    ldos = LDOS.model_copy(update={"backend": backend})
    paths = {"structure": structure, "scf": runs / "scf", "scf-text": runs / "scf.out", "output": output}
    if backend == "espresso":
        paths["cubes"] = runs / "ldos"
    command = [sys.executable, str(repository / "workflow/scripts/collect_reference.py")]
    command += [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    command += ["--settings", DFT.model_dump_json(), "--ldos", ldos.model_dump_json()]
    command += ["--temperature-K", str(TEMPERATURE_K), "--pseudopotential", f"Be={runs / 'Be.upf'}"]
    subprocess.run(command, check=True)
    with open_dataset(output) as dataset:
        assert set(variables) <= set(dataset.data_vars) | set(dataset.coords)
        assert dataset["ldos"].shape == (18, 18, 27, LDOS.count)
        assert float(dataset["fermi_energy"]) == pytest.approx(FERMI_ENERGY_eV, abs=1e-3)
        assert settings_of(dataset) == {
            "dft": DFT.model_dump(mode="json", exclude={"launcher", "ranks"}),
            "ldos": {**ldos.model_dump(mode="json", exclude={"work_MB"}), "kernel": "gaussian"},
            "temperature_K": TEMPERATURE_K,
            "elements": ["Be"],
            "functional": "PBE",
            "valence": {"Be": 2.0},
        }
        provenance = provenance_of(dataset)
        assert provenance["programs"]["Quantum ESPRESSO"] != "unknown"
        assert provenance["inputs_sha256"]["pseudopotential Be"] == sha256_of(runs / "Be.upf")


def test_no_scratch_is_left(runs):
    assert sorted(path.name for path in runs.iterdir()) == [
        "Be.upf",
        "ldos",
        "ldos.out",
        "nscf.out",
        "scf",
        "scf.in",
        "scf.out",
    ]
    names = {path.name for path in (runs / "ldos").iterdir()}
    assert names == {cube_name(index) for index in range(LDOS.count)} | {"nscf.xml"}


def test_data_of_another_structure_are_refused(two_atoms, runs):
    moved = two_atoms.copy()
    moved.positions[0] += 0.01
    with pytest.raises(InputError, match=r"another one's \(positions\)"):
        collect(moved, runs)
    strained = two_atoms.copy()
    strained.set_cell(strained.cell * 1.001, scale_atoms=True)
    with pytest.raises(InputError, match=r"another one's \(cell\)"):
        collect(strained, runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy_min_eV": -1.0}, r"ldos\.energy_min_eV: expected at most -\d"),
        ({"energy_max_eV": 9.0}, r"ldos\.energy_max_eV: expected at least 9\.42"),
        ({"energy_max_eV": 40.0}, r"dft\.bands_per_occupied: expected enough bands"),
        ({"spacing_eV": 0.25}, r"expected the LDOS at -4\.7500 eV"),
    ],
)
def test_an_energy_window_that_does_not_fit_is_refused(two_atoms, runs, change, message):
    with pytest.raises(InputError, match=message):
        collect(two_atoms, runs, LDOS.model_copy(update=change))


def test_a_truncated_cube_is_refused(two_atoms, runs, tmp_path):
    for path in (runs / "ldos").iterdir():
        (tmp_path / path.name).symlink_to(path)
    broken = tmp_path / cube_name(3)
    text = broken.read_text()
    broken.unlink()
    broken.write_text(text[: len(text) // 2])
    grid = fft_shape(two_atoms.cell.array, DFT.ecutrho_Ry)
    with pytest.raises(InputError, match=r"ldos004\.cube: expected 8748 values \(18 x 18 x 27\), got \d+"):
        collect_snapshot(
            two_atoms,
            grid,
            runs / "scf",
            runs / "scf.out",
            read_pseudopotentials({"Be": runs / "Be.upf"}),
            LDOS,
            TEMPERATURE_K,
            tmp_path,
        )

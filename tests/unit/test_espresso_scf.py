"""The runs behind the reference data, where they fail."""

from pathlib import Path

import pytest
from ase.build import bulk

from nearsight.errors import ConvergenceError, InputError
from nearsight.grids.plane_waves import fft_shape
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.ldos import run_ldos
from nearsight.reference.espresso.programs import Launch, ProgramError
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.espresso.scf import run_scf
from nearsight.study.sections import Dft, Ldos

SMALL = {"ecutwfc_Ry": 10.0, "ecutrho_Ry": 40.0, "kpoints": [2, 2, 2], "kpoints_shift": [1, 1, 1]}
ATOMS = bulk("Be", "hcp", a=2.26, c=3.57)
GRID = fft_shape(ATOMS.cell.array, 40.0)
LDOS = Ldos(energy_min_eV=-5.0, energy_max_eV=11.0, spacing_eV=1.0, broadening_eV=0.2)


@pytest.fixture(scope="module")
def pseudopotentials(tmp_path_factory, repository: Path):
    path = tmp_path_factory.mktemp("pseudo") / "Be.upf"
    return {"Be": generate_pseudopotential(repository / "config/pseudo/Be.pbe-rrkjus.in", "Be", path)}


def scf(folder, pseudopotentials, **changes):
    settings = Dft(**SMALL, conv_thr_Ry=1e-8, bands_per_occupied=3.0).model_copy(update=changes)
    run_scf(ATOMS, GRID, pseudopotentials, settings, 300.0, Launch(), folder / "scf", folder / "scf.out")
    return settings


@pytest.mark.qe
def test_an_scf_that_does_not_converge_leaves_nothing(tmp_path, pseudopotentials):
    with pytest.raises(ConvergenceError) as caught:
        scf(tmp_path, pseudopotentials, electron_maxstep=2)
    for part in ("dft.conv_thr_Ry = 1e-08", "dft.electron_maxstep = 2", "dft.mixing_beta", "reached 0.0"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.qe
def test_the_words_of_quantum_espresso_reach_the_user(tmp_path, pseudopotentials):
    with pytest.raises(ProgramError, match="too few bands"):
        scf(tmp_path, pseudopotentials, bands_per_occupied=0.25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.qe
def test_a_failed_ldos_run_keeps_the_scf_and_leaves_nothing_else(tmp_path, pseudopotentials):
    settings = scf(tmp_path, pseudopotentials)
    before = {path.name for path in tmp_path.iterdir()}
    save = {path.name: path.read_bytes() for path in (tmp_path / "scf").rglob("*") if path.is_file()}
    more_kpoints = settings.model_copy(update={"bands_per_occupied": 5e5})
    with pytest.raises(ProgramError):
        run_ldos(ATOMS, GRID, pseudopotentials, tmp_path / "scf", more_kpoints, LDOS, Launch(), tmp_path / "ldos")
    assert {path.name for path in tmp_path.iterdir()} == before
    run_ldos(ATOMS, GRID, pseudopotentials, tmp_path / "scf", settings, LDOS, Launch(), tmp_path / "ldos")
    # it does not write into the SCF's folder, which others read at the same time
    assert {path.name: path.read_bytes() for path in (tmp_path / "scf").rglob("*") if path.is_file()} == save


def test_an_scf_folder_that_is_not_whole(tmp_path):
    with pytest.raises(InputError, match=r"data-file-schema\.xml: expected a file of the SCF run, found none"):
        read_save_density(tmp_path / "scf", GRID)

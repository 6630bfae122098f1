"""Densities as pw.x reads them: its order of plane waves, and the iterations that a start from one saves."""

import re
import shutil

import numpy as np
import pytest
from espresso_cells import hcp, make_pseudopotentials, sheared, two_atoms
from test_import_espresso import pw_text

from nearsight.cli import main
from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.grids.plane_waves import fft_shape
from nearsight.reference.espresso.outputs import read_electronic_structure
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.restart import order_plane_waves, write_save_density
from nearsight.reference.espresso.save import fortran_records, read_save_density

pytestmark = pytest.mark.qe

MORE = "nosym=.true."


@pytest.fixture(scope="session")
def pseudopotentials(tmp_path_factory):
    return make_pseudopotentials(tmp_path_factory.mktemp("upf"))


def run(folder, pseudopotentials, text):
    folder.mkdir(parents=True, exist_ok=True)
    for element, found in pseudopotentials.items():
        shutil.copyfile(found.path, folder / f"{element}.upf")
    return run_program("pw.x", text, folder, Launch(), "scf")


def iterations(text):
    return int(re.search(r"convergence has been achieved in +(\d+) iterations", text)[1])


def total(text):
    return float(re.search(r"^!    total energy *= *(\S+) Ry", text, re.MULTILINE)[1])


def first_accuracy(text):
    """The SCF's estimated accuracy after the first iteration, Ry."""
    return float(re.search(r"estimated scf accuracy +< +(\S+) Ry", text)[1])


CELLS = {"hexagonal": two_atoms(), "orthorhombic": hcp(2, 1, 1), "sheared": sheared()}


@pytest.fixture(scope="session", params=CELLS)
def scf(request, tmp_path_factory, pseudopotentials):
    """(folder, structure, output) of an SCF."""
    atoms, folder = CELLS[request.param], tmp_path_factory.mktemp("scf")
    return folder, atoms, run(folder, pseudopotentials, pw_text(atoms, bands=2 * len(atoms), more=MORE))


def test_plane_waves_stand_in_pw_xs_order(scf):
    save = scf[0] / "tmp/crystal.save"
    result = read_electronic_structure(save / "data-file-schema.xml")
    miller = fortran_records((save / "charge-density.dat").read_bytes())[2]
    expected = np.frombuffer(miller, np.int32).reshape(-1, 3)
    found = order_plane_waves(result.atoms.cell.array, result.grid, result.ecutrho_Ry)
    np.testing.assert_array_equal(found, expected)
    assert len(found) > 1000


def test_a_start_from_its_own_density_needs_no_mixing(scf, pseudopotentials, tmp_path, record_property):
    """The whole way through a dataset on the grid and the command; the same total energy, in few iterations."""
    folder, atoms, text = scf
    save = folder / "tmp/crystal.save"
    grid = read_electronic_structure(save / "data-file-schema.xml").grid
    density = read_save_density(save, grid)
    settings = {"dft": {"ecutrho_Ry": 80.0}}
    variables = {**variables_of_atoms(atoms), "density": density, "electrons": 2.0 * len(atoms)}
    write_dataset(tmp_path / "x.h5", variables, settings, {})
    target = tmp_path / "again/tmp/crystal.save"
    assert main(["export", str(tmp_path / "x.h5"), str(target), "--format", "espresso"]) == 0
    np.testing.assert_allclose(read_back(target, grid), density, atol=1e-12)
    (target / "charge-density.dat").rename(tmp_path / "dat")
    np.testing.assert_allclose(read_back(target, grid), density, atol=1e-12)  # what a pw.x with HDF5 reads
    (tmp_path / "dat").rename(target / "charge-density.dat")
    start = pw_text(atoms, bands=2 * len(atoms), more=MORE).replace("conv_thr", "startingpot='file', conv_thr")
    again = run(tmp_path / "again", pseudopotentials, start)
    assert "The initial density is read from file" in again
    assert total(again) == pytest.approx(total(text), abs=2e-8)
    assert iterations(again) < iterations(text) - 2
    assert first_accuracy(again) < 1e-6 < first_accuracy(text)
    record_property("measured", f"iterations from atoms {iterations(text)}, from the density {iterations(again)}")


def read_back(save, grid):
    (save / "data-file-schema.xml").touch()
    density = read_save_density(save, grid)
    (save / "data-file-schema.xml").unlink()
    return density


def test_refusals(tmp_path, capsys):
    atoms = two_atoms()
    shape = fft_shape(atoms.cell.array, 80.0)
    uniform = np.full(shape, 4.0 / atoms.get_volume())
    with pytest.raises(InputError, match=r"density: expected 4 electrons, got 4\.04"):
        write_save_density(tmp_path / "x.save", atoms, 1.01 * uniform, 80.0, 4.0)
    write_dataset(tmp_path / "x.h5", {**variables_of_atoms(atoms), "density": uniform}, {"electrons": 4.0}, {})
    command = ["export", str(tmp_path / "x.h5"), str(tmp_path / "out"), "--format", "espresso"]
    assert main(command) == 1
    assert "expected a density cutoff in the dataset or in energies.json" in capsys.readouterr().err
    assert main([*command, "--ecutrho-Ry", "80"]) == 0
    assert (tmp_path / "out/pwscf.save/charge-density.dat").is_file()
    assert "startingpot = 'file', prefix = 'pwscf'" in capsys.readouterr().out
    assert main([*command, "--ecutrho-Ry", "80"]) == 1
    assert "expected a folder without a density, got one with charge-density.dat" in capsys.readouterr().err
    assert main([*command, "--ecutrho-Ry", "80", "--overwrite"]) == 0
    assert main(["export", str(tmp_path / "x.h5"), str(tmp_path / "x.cube"), "--ecutrho-Ry", "80"]) == 1
    write_dataset(tmp_path / "y.h5", {**variables_of_atoms(atoms), "density": uniform}, {}, {})
    assert main(["export", str(tmp_path / "y.h5"), str(tmp_path / "y"), "--format", "espresso"]) == 1
    assert "expected the number of electrons, found none" in capsys.readouterr().err

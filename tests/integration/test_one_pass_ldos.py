"""The LDOS in one pass against pp.x (plot_num = 3) on the same wave functions, and against the SCF itself.

Reference: pp.x 6.7 on a copy of the SCF's save folder whose label of the smearing says Gaussian, and its `filplot`
with ten digits (a cube file has five).
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from espresso_cells import displaced, hcp, make_pseudopotentials, oxide, sheared, two_atoms

from nearsight import units
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.one_pass import compute_ldos
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, xml_of
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.wavefunctions import open_wavefunctions
from nearsight.reference.espresso.workspace import PREFIX, SAVE
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotentials

pytestmark = pytest.mark.qe

ENERGIES = EnergyGrid(-4.0, 2.5, 7)
BROADENING_eV = 0.4

#: Beryllium as in config/pseudo, but norm-conserving (Troullier-Martins), and with projector-augmented waves.
NORM_CONSERVING = """ &input
   title='Be', zed=4., rel=1, config='[He] 2s2 2p0', iswitch=3, dft='PBE'
 /
 &inputp
   pseudotype=1, file_pseudopw='Be.upf', lloc=-1, rcloc=0.9, tm=.true.,
 /
2
2S  1  0  2.00  0.00  1.60  1.60  0.0
2P  2  1  0.00  0.00  1.60  1.60  0.0
"""
PAW = """ &input
   title='Be', zed=4., rel=1, config='[He] 2s2 2p0', iswitch=3, dft='PBE'
 /
 &inputp
   lpaw=.true., pseudotype=3, file_pseudopw='Be.upf', lloc=-1, rcloc=0.9, tm=.true.,
   nlcc=.true., new_core_ps=.true., rcore=1.2,
   which_augfun='BESSEL', rmatch_augfun_nc=.true.,
 /
4
2S  1  0  2.00  0.00  1.40  1.80  0.0
2S  1  0  0.00  6.50  1.40  1.80  0.0
2P  2  1  0.00  0.00  1.70  1.80  0.0
2P  2  1  0.00  6.30  1.70  1.80  0.0
"""


@pytest.fixture(scope="session")
def pseudopotentials(tmp_path_factory) -> dict[str, dict[str, Pseudopotential]]:
    """Those of each kind by element."""
    folder = tmp_path_factory.mktemp("pseudopotentials")
    ultrasoft = make_pseudopotentials(folder)
    kinds = {"ultrasoft": ultrasoft}
    for kind, deck in (("norm-conserving", NORM_CONSERVING), ("PAW", PAW)):
        (folder / f"{kind}.in").write_text(deck)
        generate_pseudopotential(folder / f"{kind}.in", "Be", folder / f"{kind}.upf")
        # 6.7 writes lines that it cannot read
        lines = (folder / f"{kind}.upf").read_text().splitlines()
        lines = [line.replace("  ", "\n") if len(line) > 1000 else line for line in lines]
        (folder / f"{kind}.upf").write_text("\n".join(lines) + "\n")
        kinds[kind] = read_pseudopotentials({"Be": folder / f"{kind}.upf"})
    return kinds


@dataclass(frozen=True)
class Case:
    """One SCF: structure, kind of pseudopotential, cards of pw.x."""

    atoms: Atoms
    kind: str
    ecutwfc_Ry: float
    kpoints: str
    bands: int
    dual: float = 4.0
    nosym: bool = True

    def run_scf(self, folder: Path, pseudopotentials: dict[str, Pseudopotential]) -> None:
        elements = sorted(set(self.atoms.get_chemical_symbols()))
        for element in elements:
            shutil.copyfile(pseudopotentials[element].path, folder / f"{element}.upf")
        text = f"""&control
  prefix = '{PREFIX}', outdir = '.', pseudo_dir = '.'
/
&system
  ibrav = 0, nat = {len(self.atoms)}, ntyp = {len(elements)}, nbnd = {self.bands}, nosym = .{self.nosym}.
  ecutwfc = {self.ecutwfc_Ry}, ecutrho = {self.dual * self.ecutwfc_Ry}
  occupations = 'smearing', smearing = 'fermi-dirac', degauss = 0.01
/
&electrons
  conv_thr = 1e-10
/
ATOMIC_SPECIES
"""
        text += "".join(f"{element} 1.0 {element}.upf\n" for element in elements) + "CELL_PARAMETERS angstrom\n"
        text += "".join("{:.12f} {:.12f} {:.12f}\n".format(*row) for row in self.atoms.cell.array)
        text += "ATOMIC_POSITIONS angstrom\n"
        for atom in self.atoms:
            text += "{} {:.12f} {:.12f} {:.12f}\n".format(atom.symbol, *atom.position)
        run_program("pw.x", text + f"K_POINTS {self.kpoints}\n", folder, Launch(), "scf")


TWO = Case(displaced(two_atoms()), "ultrasoft", 30, "automatic\n2 2 1 1 0 0", 8)
CASES = {
    "ultrasoft": TWO,
    "norm-conserving": replace(TWO, kind="norm-conserving"),
    "PAW": replace(TWO, kind="PAW"),
    "denser grid": replace(TWO, dual=6),
    "sheared": replace(TWO, atoms=sheared()),
    "Γ alone": replace(TWO, atoms=displaced(hcp(2, 1, 1)), kpoints="gamma", bands=14),
    "eight atoms": replace(TWO, atoms=displaced(hcp(2, 1, 1)), kpoints="automatic\n2 2 2 1 1 1", bands=14),
    "two elements": replace(TWO, atoms=oxide(), ecutwfc_Ry=40, bands=10),
}
SLOW = ("denser grid", "sheared", "Γ alone", "eight atoms", "two elements")


@pytest.fixture(scope="session")
def made(tmp_path_factory, pseudopotentials) -> Callable[[str], Path]:
    """Function of a case's name -> folder of its SCF, run once."""

    @cache
    def run(name: str) -> Path:
        folder = tmp_path_factory.mktemp("scf")
        CASES[name].run_scf(folder, pseudopotentials[CASES[name].kind])
        return folder

    return run


def ldos_of_pp(scf: Path, folder: Path) -> np.ndarray:
    """LDOS of pp.x on the SCF's wave functions, broadened by Gaussians, of shape (*grid, energies), 1/(eV Å³)."""
    shutil.copytree(scf / SAVE, folder / SAVE)
    xml = folder / SAVE / "data-file-schema.xml"
    text, changed = re.subn(r"(<smearing degauss=[^>]*>)fd<", r"\1gaussian<", xml.read_text())
    assert changed
    xml.write_text(text)
    run_program(
        "pp.x",
        f"&inputpp\n  prefix = '{PREFIX}'\n  outdir = '.'\n  filplot = 'ldos'\n  plot_num = 3\n"
        f"  emin = {ENERGIES.minimum_eV}\n  emax = {ENERGIES.maximum_eV + 0.1}\n  delta_e = {ENERGIES.spacing_eV}\n"
        f"  degauss_ldos = {BROADENING_eV}\n/\n",
        folder,
        Launch(),
        "pp",
    )
    fields = [read_filplot(folder / f"ldos{number:03d}") for number in range(1, ENERGIES.count + 1)]
    return np.stack(fields, axis=-1) * units.PER_RYDBERG_BOHR3


def read_filplot(path: Path) -> np.ndarray:
    """A field that pp.x keeps: ten digits, the first axis the fastest."""
    lines = path.read_text().splitlines()
    *grid, _, _, _, atoms, elements = map(int, lines[1].split())
    values = " ".join(lines[7 + atoms + elements :]).split()
    return np.array(values, dtype=float).reshape(grid, order="F")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES])
def test_the_ldos_is_that_of_pp(made, pseudopotentials, tmp_path, record_property, name):
    """Every value to 1e-6 of the largest; checked inside: the SCF's density, the eigenvalues' DOS."""
    scf = made(name)
    expected = ldos_of_pp(scf, tmp_path)
    found = compute_ldos(scf, pseudopotentials[CASES[name].kind], ENERGIES, BROADENING_eV)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    if name == "Γ alone":
        # pp.x (6.7 to 7.4) puts one half of the sphere on the grid, which halves all but the mean
        found = (found + found.mean(axis=(0, 1, 2))) / 2
    error = np.abs(found - expected).max() / expected.max()
    record_property("measured", f"LDOS in one pass, {name}: {error:.1e} of the maximum from pp.x")
    assert error < 1e-6


def test_any_batches_and_any_kernel(made, pseudopotentials):
    """Little memory (a state at a time, a column at a time) changes nothing; a kernel is a function."""

    def box(distance_eV: np.ndarray, width_eV: float) -> np.ndarray:
        return (np.abs(distance_eV) < width_eV) / (2 * width_eV)

    scf, files = made("ultrasoft"), pseudopotentials["ultrasoft"]
    whole = compute_ldos(scf, files, ENERGIES, BROADENING_eV, box)
    assert np.abs(whole - compute_ldos(scf, files, ENERGIES, BROADENING_eV, box, 1)).max() < 1e-6 * whole.max()


def test_symmetry_reduced_kpoints_are_refused(tmp_path, pseudopotentials):
    case = replace(TWO, atoms=two_atoms(), nosym=False)
    case.run_scf(tmp_path, pseudopotentials["ultrasoft"])
    with pytest.raises(InputError, match=r"symmetries\. Run the SCF with nosym = \.true\."):
        compute_ldos(tmp_path, pseudopotentials["ultrasoft"], ENERGIES, BROADENING_eV)


def test_of_another_run_or_damaged(made, pseudopotentials, tmp_path):
    """Another k-point's, another kind's, another structure's wave functions; a byte less, a byte more; NaN."""
    files = pseudopotentials["ultrasoft"]
    foreign = made("ultrasoft")
    case = replace(TWO, atoms=displaced(TWO.atoms.copy()))  # the same cell, k-points and numbers of waves
    (tmp_path / "other").mkdir()
    case.run_scf(tmp_path / "other", files)
    scf = tmp_path / "scf"

    def refused(spoil: Callable[[Path], object], message: str) -> None:
        shutil.rmtree(scf, ignore_errors=True)
        shutil.copytree(foreign, scf)
        spoil(scf / SAVE)
        with pytest.raises(InputError, match=message):
            compute_ldos(scf, files, ENERGIES, BROADENING_eV)

    def change(save: Path, edit: Callable[[bytes], bytes]) -> None:
        path = save / "wfc2.dat"
        path.write_bytes(edit(path.read_bytes()))

    for index in range(1, 1 + len(list((foreign / SAVE).glob("wfc*.dat")))):
        name = f"wfc{index}.dat"
        refused(
            lambda save, n=name: shutil.copyfile(tmp_path / "other" / SAVE / n, save / n), "differs by .* per electron"
        )
    refused(lambda save: (save / "wfc1.dat").replace(save / "wfc2.dat"), "expected the wave functions of k-point 1")
    refused(lambda save: shutil.copyfile(save / "wfc1.dat", save / "wfc2.dat"), "got k-point 1 of another one")
    refused(lambda save: change(save, lambda content: content[:-1]), "wfc2.dat: .* whole, got .* bytes")
    refused(lambda save: change(save, lambda content: content + b"0"), "wfc2.dat: .* whole, got .* bytes")
    refused(
        lambda save: change(save, lambda content: content[:-12] + bytes(4) + b"\0\0\xf0\x7f" + content[-4:]),
        "no finite",
    )
    shutil.rmtree(scf)
    with pytest.raises(InputError, match="differs by"):
        compute_ldos(foreign, pseudopotentials["norm-conserving"], ENERGIES, BROADENING_eV)


def test_hdf5_is_read_as_the_binary_file(made, pseudopotentials, tmp_path):
    """A file as QE's write_wfc makes it where it is built with HDF5 (Debian's is not)."""
    scf = tmp_path / "scf"
    shutil.copytree(made("ultrasoft"), scf)
    run = read_electronic_structure(xml_of(scf))
    expected = compute_ldos(scf, pseudopotentials["ultrasoft"], ENERGIES, BROADENING_eV)
    for index in range(len(run.weights)):
        write_hdf5(scf, run, index)
        (scf / SAVE / f"wfc{index + 1}.dat").unlink()
    assert (compute_ldos(scf, pseudopotentials["ultrasoft"], ENERGIES, BROADENING_eV) == expected).all()
    path = scf / SAVE / "wfc1.hdf5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"wfc1\.hdf5: expected"):
        compute_ldos(scf, pseudopotentials["ultrasoft"], ENERGIES, BROADENING_eV)


def write_hdf5(scf: Path, run: ElectronicStructure, index: int) -> None:
    wave = open_wavefunctions(scf, run, index)
    reciprocal = 2 * np.pi * np.linalg.inv(run.atoms.cell.array / units.BOHR_A).T
    with h5py.File(wave.path.with_suffix(".hdf5"), "w") as file:
        waves = len(wave.miller)
        file.attrs.update({"ik": np.int32(index + 1), "ispin": np.int32(1), "scale_factor": 1.0, "npol": np.int32(1)})
        file.attrs.update({"ngw": np.int32(waves), "igwx": np.int32(waves), "nbnd": np.int32(wave.bands)})
        file.attrs.update({"gamma_only": np.bytes_(".FALSE."), "xk": run.kpoints[index] @ reciprocal})
        miller = file.create_dataset("MillerIndices", data=wave.miller.astype(np.int32))
        miller.attrs.update({f"bg{axis + 1}": reciprocal[axis] for axis in range(3)})
        file.create_dataset("evc", data=wave.read(0, wave.bands).view(np.float64))

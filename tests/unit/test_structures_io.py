"""Files of others: what they say and no prediction uses is refused or named, and one structure of several is chosen."""

import bz2
import gzip
import lzma

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from nearsight.errors import InputError
from nearsight.structures import io
from nearsight.structures.checks import check_structure
from nearsight.structures.io import read_frames, read_structure

CIF = """data_{name}
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_occupancy
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{sites}
"""


def cif(sites, name="x"):
    return CIF.format(name=name, sites=sites)


ALUMINIUM = cif("Al1 Al 1.0 0 0 0")


@pytest.mark.parametrize(
    ("sites", "found"),
    [
        ("Al1 Al 0.5 0 0 0", "0.5 Al on site 1"),
        ("Al1 Al 0.75(2) 0 0 0", "0.75 Al on site 1"),
        ("Al1 Al 0.5 0 0 0\nMg1 Mg 0.5 0 0 0", "0.5 Al and 0.5 Mg on site 1"),
        ("Al1 Al 1 0 0 0\nMg1 Mg 0.98 0.5 0.5 0.5", "0.98 Mg on site 2"),
        ("Al1 Al 2 0 0 0", "2 Al on site 1"),
    ],
)
def test_sites_that_are_not_one_whole_atom(tmp_path, sites, found):
    (tmp_path / "x.cif").write_text(cif(sites))
    with pytest.raises(InputError, match=rf"x\.cif: expected one whole atom on every site, got {found}"):
        read_structure(tmp_path / "x.cif")


@pytest.mark.parametrize("occupancy", ["1", "1.000", "1.0(1)", "?", "."])
def test_whole_atoms(tmp_path, occupancy, caplog):
    (tmp_path / "x.cif").write_text(cif(f"Al1 Al3+ {occupancy} 0 0 0"))
    atoms = read_structure(tmp_path / "x.cif")
    assert atoms.get_chemical_formula() == "Al4"
    assert "occupancy" not in atoms.info
    assert not caplog.records


def test_letters_of_another_encoding(tmp_path):
    (tmp_path / "x.cif").write_bytes(f"#  Ångström\n{ALUMINIUM}".encode("latin-1"))
    assert len(read_structure(tmp_path / "x.cif")) == 4


def extxyz(atoms, path, **info):
    atoms = atoms.copy()
    atoms.info.update(info)
    ase.io.write(path, atoms)


@pytest.mark.parametrize("key", ["charge", "total_charge", "net_charge"])
def test_a_charged_cell(tmp_path, key):
    extxyz(bulk("Be"), tmp_path / "x.extxyz", **{key: 0.0})
    assert len(read_structure(tmp_path / "x.extxyz")) == 2
    extxyz(bulk("Be"), tmp_path / "x.extxyz", **{key: -1.0})
    with pytest.raises(InputError, match=rf"x\.extxyz: expected a neutral cell, got {key} = -1"):
        read_structure(tmp_path / "x.extxyz")


PW = """&control
/
&system
  ibrav = 0, nat = 1, ntyp = 1, ecutwfc = 30 {more}
/
ATOMIC_SPECIES
 Al 26.98 Al.upf
CELL_PARAMETERS angstrom
 0 2.02 2.02
 2.02 0 2.02
 2.02 2.02 0
ATOMIC_POSITIONS crystal
 Al 0 0 0 0 0 0
"""


def test_inputs_of_pw(tmp_path, caplog):
    path = tmp_path / "x.pwi"
    path.write_text(PW.format(more=""))
    assert len(read_structure(path)) == 1  # the fixed atom is fine
    path.write_text(PW.format(more=", tot_charge = 1"))
    with pytest.raises(InputError, match="neutral cell, got tot_charge = 1"):
        read_structure(path)
    assert not caplog.records
    path.write_text(PW.format(more=", nspin = 2, starting_magnetization(1) = 0.3"))
    assert len(read_structure(path)) == 1
    assert "magnetic moments, spin polarisation: not taken into account" in caplog.text


def test_moments_and_charges_of_atoms_are_named(tmp_path, caplog):
    atoms = bulk("Be")
    atoms.calc = SinglePointCalculator(atoms, magmoms=[0.001, 0.0], energy=-1.0)
    ase.io.write(tmp_path / "x.extxyz", atoms)
    read_structure(tmp_path / "x.extxyz")
    assert not caplog.records
    atoms.calc = None
    atoms.set_initial_magnetic_moments([1.0, -1.0])
    atoms.set_initial_charges([0.5, -0.5])
    ase.io.write(tmp_path / "x.extxyz", atoms)
    read_structure(tmp_path / "x.extxyz")
    assert "x.extxyz: charges of the atoms, magnetic moments: not taken into account" in caplog.text


@pytest.mark.parametrize("name", ["x.extxyz", "POSCAR"])
def test_constraints_of_a_relaxation_change_nothing(tmp_path, caplog, name):
    """A prediction moves no atom: fixed ones are not worth a word."""
    atoms = bulk("Be")
    free = atoms.copy()
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / name, atoms)
    assert ase.io.read(tmp_path / name).constraints
    found = read_structure(tmp_path / name)
    np.testing.assert_allclose(found.positions, free.positions, atol=1e-8)
    found.positions += 0.1  # of all of them: a rattled or moved cell keeps no constraint in mind
    np.testing.assert_allclose(found.positions, free.positions + 0.1, atol=1e-8)
    assert not caplog.records


def test_moments_of_a_magnetic_cif_are_named(tmp_path, caplog):
    moments = "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_z\nAl1 2.0\n"
    (tmp_path / "x.cif").write_text(ALUMINIUM + moments)
    assert len(read_structure(tmp_path / "x.cif")) == 4
    assert "spin polarisation: not taken into account" in caplog.text


def test_the_last_of_several_is_taken_and_said(tmp_path, caplog):
    path = tmp_path / "a.extxyz"
    ase.io.write(path, [bulk("Be").repeat((n, 1, 1)) for n in (1, 2, 3)])
    assert len(read_structure(path)) == 6
    assert "a.extxyz: 3 structures; the last one is taken" in caplog.text
    caplog.clear()
    for index, count in ((0, 2), (1, 4), (2, 6), (-1, 6), (-3, 2)):
        assert len(read_structure(f"{path}@{index}")) == count
    assert not caplog.records
    for index in (3, -4, 10**8):
        with pytest.raises(InputError, match=rf"a\.extxyz: expected a structure from @0 to @2 .* got @{index}"):
            read_structure(f"{path}@{index}")
    # a file of that very name comes first
    ase.io.write(tmp_path / "b", bulk("Al"), format="extxyz")
    (tmp_path / "b").rename(tmp_path / "a.extxyz@0")
    with pytest.raises(InputError, match="expected a structure in a format"):
        read_structure(f"{path}@0")


def test_cif_blocks(tmp_path, caplog):
    comments = "data_global\n_journal_name 'x'\n_comment\n;\ndata_of no block\n;\n"
    path = tmp_path / "x.cif"
    path.write_text(comments + ALUMINIUM + cif("Cu1 Cu 1.0 0 0 0", name="second"))
    assert set(read_structure(path).symbols) == {"Cu"}
    assert "2 structures" in caplog.text
    assert set(read_structure(f"{path}@0").symbols) == {"Al"}
    path.write_text("data_x\n_journal_name 'x'\n")
    with pytest.raises(InputError, match="expected a data block with atoms"):
        read_structure(path)


@pytest.mark.parametrize("damage", ["overlapping", "occupied in half", "no number", "charged", "no cell"])
def test_a_bad_frame_that_is_not_used(tmp_path, damage):
    good = bulk("Al", cubic=True)
    if damage == "occupied in half":
        path = tmp_path / "x.cif"
        path.write_text(cif("Al1 Al 0.5 0 0 0") + ALUMINIUM)
    else:
        bad = good.copy()
        if damage == "overlapping":
            bad.positions[1] = bad.positions[0]
        bad.info["charge"] = float(damage == "charged")
        if damage == "no cell":
            bad = Atoms("Al")
        path = tmp_path / "x.extxyz"
        ase.io.write(path, [bad, good])
        if damage == "no number":
            path.write_text(path.read_text().replace("Al       0.0", "Al       zero", 1))
    assert len(read_structure(path)) == len(read_structure(f"{path}@1")) == 4
    with pytest.raises(InputError):
        read_structure(f"{path}@0")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_packed_files(tmp_path, monkeypatch, suffix, pack):
    path = tmp_path / f"x.cif.{suffix}"
    path.write_bytes(pack(ALUMINIUM.encode()))
    assert len(read_structure(path)) == 4
    path.write_bytes(pack(ALUMINIUM.encode())[:-20])
    with pytest.raises(InputError, match=rf"x\.cif\.{suffix}: expected a structure"):
        read_structure(path)
    monkeypatch.setattr(io, "LARGEST_UNPACKED", 1 << 20)
    path.write_bytes(pack(ALUMINIUM.encode() + b"\n" * (1 << 20)))
    with pytest.raises(InputError, match="expected at most 1 MiB when unpacked"):
        read_structure(path)


POSCAR = "{comment}\n4.2\n0 0.5 0.5\n0.5 0 0.5\n0.5 0.5 0\n{elements}1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"


@pytest.mark.parametrize("comment", ["Rocksalt MgO", "NaCl B1 structure", "C Si O", "Mg", ""])
def test_vasp_4_without_elements(tmp_path, comment):
    path = tmp_path / "POSCAR"
    path.write_text(POSCAR.format(comment=comment, elements=""))
    with pytest.raises(InputError, match="expected the elements, got a POSCAR of VASP 4"):
        read_structure(path)
    path.write_text(POSCAR.format(comment=comment, elements="Mg O\n"))
    assert str(read_structure(path).symbols) == "MgO"


def test_vasp_4_with_elements(tmp_path):
    (tmp_path / "POSCAR").write_text(POSCAR.format(comment="Mg O", elements=""))
    assert str(read_structure(tmp_path / "POSCAR").symbols) == "MgO"


def test_a_left_handed_cell_is_turned(tmp_path, caplog):
    """The same crystal: all distances, and a grid's points, are kept."""
    atoms = bulk("Be").repeat((2, 1, 1))
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, atoms.positions.shape)
    left = atoms.copy()
    left.set_cell(left.cell.array[[1, 0, 2]])
    ase.io.write(tmp_path / "x.extxyz", left)
    for found in (read_structure(tmp_path / "x.extxyz"), *read_frames(tmp_path / "x.extxyz")):
        check_structure(found)
        np.testing.assert_allclose(found.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-6)
        np.testing.assert_allclose(found.cell.lengths(), left.cell.lengths())
    assert "x.extxyz: left-handed lattice vectors" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\nwater\nO 0 0 0\nH 0 0 1\n", r"cell: expected three lattice vectors .*Lattice="),
        (
            '1\nLattice="3 0 0 0 3 0 0 0 30" pbc="T T F"\nBe 0 0 0\n',
            "a slab or molecule is a periodic cell",
        ),
        ('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="F F F"\nBe 0 0 0\n', "a slab or molecule is a periodic cell"),
    ],
)
def test_no_crystal(tmp_path, text, message):
    (tmp_path / "x.xyz").write_text(text)
    with pytest.raises(InputError, match=message):
        read_structure(tmp_path / "x.xyz")


DUMP = """ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
1
ITEM: BOX BOUNDS pp pp pp
0 3
0 3
0 {height}
ITEM: ATOMS id {kind} x y z
1 {value} 0.5 0.5 0.5
"""


def test_dumps_of_lammps(tmp_path, caplog):
    path = tmp_path / "x.dump"
    path.write_text("".join(DUMP.format(step=i, height=3 + i, kind="element", value="Be") for i in range(3)))
    frames = read_frames(path)
    assert [frame.cell[2, 2] for frame in frames] == [3, 4, 5]
    assert read_structure(f"{path}@1").cell[2, 2] == 4
    assert str(frames[0].symbols) == "Be"
    path.write_text(DUMP.format(step=0, height=3, kind="type", value="1"))
    with pytest.raises(InputError, match="expected the elements of the atoms, got a dump without them"):
        read_structure(path)


def test_xdatcar(tmp_path):
    path = tmp_path / "XDATCAR"
    ase.io.write(path, [bulk("Be"), bulk("Be", c=3.7)], format="vasp-xdatcar")
    assert len(read_frames(path)) == 2
    assert read_structure(f"{path}@-1").cell[2, 2] == pytest.approx(3.7)

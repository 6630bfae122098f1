"""Files made to do harm: refused with a message, at once, without much memory, and without a program started."""

import os
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nearsight.errors import InputError
from nearsight.files import read_json, write_text
from nearsight.reference.espresso.cube import read_cube
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.ldos import check_cube_energy
from nearsight.reference.espresso.outputs import read_electronic_structure, read_md_steps, text_energies
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.pseudopotential import read_pseudopotential
from nearsight.structures.checks import check_structure
from nearsight.structures.gridded import grid_of
from nearsight.structures.io import read_structure

CUBE = "\n\n  1 0 0 0\n  {0} 0.1 0 0\n  {0} 0 0.1 0\n  {0} 0 0 0.1\n  4 4.0 0 0 0\n1.0 2.0 3.0\n"


@pytest.fixture(autouse=True)
def at_once():
    """Every test of this module takes seconds of the processor, not of the clock of a busy machine."""
    started = time.process_time()
    yield
    assert time.process_time() - started < 20


@pytest.fixture
def write(tmp_path):
    def make(text, name="x"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


READERS = (read_cube, read_electronic_structure, read_md_steps, read_pseudopotential, read_structure, read_json)


@pytest.mark.parametrize("reader", READERS)
def test_what_has_no_end_is_no_file(tmp_path, reader):
    (tmp_path / "x.extxyz").symlink_to("/dev/zero")
    (tmp_path / "loop.extxyz").symlink_to("loop.extxyz")
    (tmp_path / "folder.extxyz").mkdir()
    os.mkfifo(tmp_path / "pipe.extxyz")
    with open(tmp_path / "sparse.extxyz", "wb") as handle:
        handle.truncate(1 << 42)
    for name in ("x", "loop", "folder", "pipe", "sparse"):
        with pytest.raises(InputError, match=rf"{name}\.extxyz: expected"):
            reader(tmp_path / f"{name}.extxyz")


@pytest.mark.parametrize("points", ["1000", "1000000000", "9" * 30, "-5", "0", "1e3", "9" * 5000])
def test_a_cube_with_an_absurd_grid(write, points):
    with pytest.raises(InputError, match="expected the header of a cube file"):
        read_cube(write(CUBE.format(points)))


@pytest.mark.parametrize("change", [("  1 0", "  1000000000000000000000 0"), ("  4 4.0", "  -4 4.0"), ("0.1", "1e999")])
def test_a_cube_with_absurd_atoms_and_steps(write, change):
    with pytest.raises(InputError, match="expected the header of a cube file"):
        read_cube(write(CUBE.format(1).replace(*change)))


def test_a_cube_whose_energy_is_no_number(write):
    text = f"\nEnergy = {'1' * 10**6} eV, broadening = x eV\n"
    with pytest.raises(InputError, match="expected the LDOS"):
        check_cube_energy(write(text), 1.0, 0.2)


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        "<?xml version='1.0' encoding='utf-16'?>" + "<!DOCTYPE a><a/>",
        "<?xml version='1.0' encoding='no such'?><a/>",
        "<a>" * 200_000,
    ],
)
def test_xml_with_entities_other_files_and_depth(write, text):
    for reader in (read_electronic_structure, read_md_steps):
        with pytest.raises(InputError, match="expected a whole XML file"):
            reader(write(text))
    utf16 = write(text.encode("utf-16"))
    with pytest.raises(InputError):
        read_electronic_structure(utf16)


def test_energies_that_are_no_numbers():
    for value in ("*" * 20, "nan", "1e999", "0x10"):
        with pytest.raises(InputError, match="expected energies in Ry"):
            text_energies(f"!    total energy              =      {value} Ry")


@pytest.mark.parametrize(
    "text",
    [
        "<PP_HEADER " * 300_000,
        '<UPF><PP_HEADER element="Be" z_valence="2" core_correction="T"/></UPF>' + "<PP_R>" * 500_000,
        "<UPF><PP_HEADER " + "a='" * 300_000 + "/></UPF>",
        "<UPF>" + "<!-- " * 300_000 + "<PP_INFO " * 300_000 + "</UPF>",
        "<PP_HEADER " + "a" * 19_000 + "/></UPF>",
        '<UPF><PP_HEADER element="Be" z_valence="1e999"/></UPF>',
        '<PP_HEADER element="Be" z_valence="-2"/></UPF>',
        '<PP_HEADER element="Be" z_valence=""/></UPF>',
    ],
)
def test_pseudopotentials_that_would_keep_a_pattern_busy(write, text):
    with pytest.raises(InputError):
        read_pseudopotential(write(text))


def test_a_core_charge_that_overflows_in_other_units(write):
    """Found by fuzzing: a number of 1/bohr³ that is infinite in 1/Å³."""
    columns = "<PP_R>0.1</PP_R><PP_RAB>0.1</PP_RAB><PP_NLCC>1.7E308</PP_NLCC>"
    text = f'<PP_HEADER element="Be" z_valence="2" core_correction="T"/>{columns}</UPF>'
    with pytest.raises(InputError, match="PP_NLCC: expected finite numbers"):
        read_pseudopotential(write(text))


@pytest.mark.parametrize(
    "line",
    [
        "file_pseudopw='../../outside.upf',",
        "file_pseudopw='/tmp/outside.upf',",
        "prefix = 'a/b'",
        "file_pseudopw='Be.upf', file_screen='sub/x' /",
        "file_pseudopw='a!/../../b'",
    ],
)
def test_a_deck_that_writes_elsewhere_is_never_run(write, tmp_path, line):
    deck = write(f"&input\n title='Be'\n/\n&inputp\n file_pseudopw='Be.upf'\n {line}\n/\n", "deck.in")
    with pytest.raises(InputError, match=r"deck\.in: line 6: expected file names without folders"):
        generate_pseudopotential(deck, "Be", tmp_path / "Be.upf")
    assert [path.name for path in tmp_path.iterdir()] == ["deck.in"]


def test_a_link_in_the_place_of_a_pseudopotential_tells_no_secret(write, tmp_path):
    secret = write("a secret", "secret")
    (tmp_path / "Be.upf").symlink_to(secret)
    with pytest.raises(InputError, match="expected a pseudopotential in UPF format"):
        read_pseudopotential(tmp_path / "Be.upf")


def density(miller, values=None, count=None, spins=1, mark=None):
    miller = np.array(miller, dtype=np.int32)
    values = np.ones(len(miller), complex) if values is None else np.array(values, complex)
    header = np.array([0, len(miller) if count is None else count, spins], np.int32)
    parts = [header, np.eye(3), miller, values]
    return b"".join(
        np.int32(mark if mark and i == 2 else part.nbytes).tobytes() + part.tobytes() + np.int32(part.nbytes).tobytes()
        for i, part in enumerate(parts)
    )


@pytest.mark.parametrize(
    "content",
    [
        density([[0, 0, 0], [-(2**31), 0, 0]]),
        density([[0, 0, 9]]),
        density([[0, 0, 0]], values=[np.nan]),
        density([[0, 0, 0]], values=[1e308]),
        density([[0, 0, 0]], count=2**31 - 1),
        density([[0, 0, 0]], count=-1),
        density([[0, 0, 0]], mark=2**31 - 1),
        density([[0, 0, 0]], mark=-8),
        density([[0, 0, 0]])[:-3],
        b"",
    ],
)
def test_densities_with_absurd_records_and_indices(tmp_path, content):
    save = tmp_path / "nearsight.save"
    save.mkdir()
    (save / "data-file-schema.xml").touch()
    (save / "charge-density.dat").write_bytes(content)
    with pytest.raises(InputError, match=r"charge-density\.dat: expected"):
        read_save_density(tmp_path, (6, 6, 8))
    (save / "charge-density.dat").write_bytes(density([[0, 0, 0], [1, 0, -2]]))
    assert read_save_density(tmp_path, (6, 6, 8)).shape == (6, 6, 8)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("H2", positions=[[0, 0, 0]] * 2, cell=[9, 9, 9], pbc=True), "overlap"),
        (Atoms("H200000", positions=np.zeros((200_000, 3)), cell=[9, 9, 9], pbc=True), "overlap"),
        (Atoms("H", cell=[1e-3, 50, 50], pbc=True), "lattice planes"),
        (Atoms("H", cell=[[30, 0, 0], [29.99, 0.05, 0], [0, 0, 30]], pbc=True), "lattice planes"),
        (Atoms("H", cell=[1e9, 1e9, 1e9], pbc=True), "expected lengths below"),
        (Atoms("H", positions=[[1e300, 0, 0]], cell=[9, 9, 9], pbc=True), "expected lengths below"),
    ],
)
def test_structures_that_would_take_for_ever(atoms, message):
    with pytest.raises(InputError, match=message):
        check_structure(atoms)


@pytest.mark.parametrize("grid", [[10**12] * 3, [0, 1, 1], [1.5, 2, 2], "a b c", [1, 2], [[1, 2, 3]], [True] * 3, None])
def test_grids_that_are_none(grid):
    atoms = bulk("Be")
    atoms.info["grid_shape"] = grid
    with pytest.raises(InputError, match="grid_shape: expected three whole numbers"):
        grid_of(atoms)


@pytest.mark.parametrize("kind", ["traj", "json", "db", "castep-cell", "py", "xyz@1"])
def test_formats_that_hold_more_than_numbers_are_not_read(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    names = {"castep-cell": "x.cell", "xyz@1": "x.xyz@1"}
    name = names.get(kind, f"x.{kind}")
    if kind in ("traj", "json"):
        bulk("Be").write(name)
    else:
        (tmp_path / name).write_text("import os; os.system('touch executed')\n%BLOCK LATTICE_CART\n")
    with pytest.raises(InputError, match="expected a structure in a format that ASE reads"):
        read_structure(name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "comment",
    [
        "_JSON {}",
        "x=__import__('os').system('touch executed')",
        "Properties=species:S:1:pos:R:999999999999",
        "a=[" * 9999,
    ],
)
def test_extended_xyz_with_code_and_absurd_columns(write, tmp_path, monkeypatch, comment):
    monkeypatch.chdir(tmp_path)
    text = f'1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T" {comment}\nBe 0 0 0\n'
    try:
        assert len(read_structure(write(text, "x.extxyz"))) == 1
    except InputError as error:
        assert "x.extxyz" in str(error)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"a": 1' + "0" * 5000 + "}", '{"a": NaN}', "3", '{"a": "\\ud800"', "\0"]
)
def test_json_that_is_none(write, text):
    with pytest.raises(InputError, match="x: expected a"):
        read_json(write(text))


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".out.part-{os.getpid()}.json").symlink_to("victim")
    write_text(tmp_path / "out.json", "mine")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "out.json").read_text() == "mine"


@pytest.mark.parametrize("text", ["1000000000000000\n", "9" * 30 + "\nx\nBe 0 0 0\n", "1\n\nBe 0 0 0\n88888888888\n\n"])
def test_more_atoms_than_lines(write, text):
    """Found by fuzzing: ASE counts to the announced number past the end of the file."""
    with pytest.raises(InputError, match="atoms announced, fewer lines"):
        read_structure(write(text, "x.extxyz"))


def test_atomic_number_of_no_element(write):
    """Found by fuzzing: an XSF file takes any number for an element."""
    text = "CRYSTAL\nPRIMVEC\n 3 0 0\n 0 3 0\n 0 0 3\nPRIMCOORD\n 1 1\n 9999999999994 0 0 0\n"
    with pytest.raises(InputError, match="9999999999994"):
        read_structure(write(text, "x.xsf"))

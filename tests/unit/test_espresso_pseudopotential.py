"""Pseudopotentials are those that they claim to be."""

import re
from pathlib import Path

import pytest

from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.reference.pseudopotential import (
    generate_pseudopotential,
    install_pseudopotential,
    place_pseudopotentials,
    read_upf,
)

UPF2 = (
    '<UPF version="2.0.1">\n  <PP_INFO>made with &input a<b /</PP_INFO>\n'
    '  <PP_HEADER\n     element="Be"\n     z_valence="2.0000000000000000"/>\n</UPF>\n'
)
UPF1 = """<PP_HEADER>
   0                   Version Number
  Be                   Element
   US                  Ultrasoft pseudopotential
    2.00000000000      Z valence
</PP_HEADER>
<PP_RHOATOM>
</PP_RHOATOM>
"""


@pytest.fixture
def upf(tmp_path):
    path = tmp_path / "a $file's.upf"
    path.write_text(UPF2)
    return path


@pytest.mark.parametrize("text", [UPF1, UPF2])
def test_header_of_both_versions(tmp_path, text):
    path = tmp_path / "x.upf"
    path.write_text(text)
    header = read_upf(path)
    assert (header.element, header.valence) == ("Be", 2.0)


def test_what_is_not_a_pseudopotential(tmp_path, upf):
    with pytest.raises(InputError, match="found none"):
        read_upf(tmp_path / "none.upf")
    upf.write_text("hello")
    with pytest.raises(InputError, match="without PP_HEADER"):
        read_upf(upf)
    upf.write_text(UPF2[:-8])
    with pytest.raises(InputError, match="truncated"):
        read_upf(upf)
    upf.write_text('<PP_HEADER version="1"/></UPF>')
    with pytest.raises(InputError, match="expected element and z_valence"):
        read_upf(upf)


def test_a_given_file_must_be_the_one_meant(tmp_path, upf):
    output = tmp_path / "out" / "Be.upf"
    assert install_pseudopotential(upf, sha256_of(upf).upper(), "Be", output).valence == 2.0
    assert output.read_text() == UPF2
    output.unlink()
    with pytest.raises(InputError, match=r"expected the SHA-256 00.*got [0-9a-f]{64}.*pseudopotentials\.Be\.sha256"):
        install_pseudopotential(upf, "00", "Be", output)
    with pytest.raises(InputError, match="expected a pseudopotential of Al, got one of Be"):
        install_pseudopotential(upf, sha256_of(upf), "Al", output)
    assert not output.exists()


def test_an_element_without_pseudopotential(tmp_path, upf):
    folder = tmp_path / "run"
    folder.mkdir()
    assert place_pseudopotentials({"Be": upf}, {"Be"}, folder) == {"Be": "Be.upf"}
    with pytest.raises(InputError, match=r"expected one for O, got those of Be.*`pseudopotentials`"):
        place_pseudopotentials({"Be": upf}, {"Be", "O"}, folder)


def test_a_deck_without_product(tmp_path):
    with pytest.raises(InputError, match=r"pseudopotentials\.Be\.ld1_input"):
        generate_pseudopotential(tmp_path / "none.in", "Be", tmp_path / "Be.upf")
    deck = tmp_path / "deck.in"
    deck.write_text("&input\n/\n")
    with pytest.raises(InputError, match="file_pseudopw"):
        generate_pseudopotential(deck, "Be", tmp_path / "Be.upf")


@pytest.mark.qe
def test_the_deck_of_beryllium(tmp_path, repository: Path):
    output = tmp_path / "a b" / "Be.upf"
    header = generate_pseudopotential(repository / "config/pseudo/Be.pbe-rrkjus.in", "Be", output)
    assert (header.element, header.valence) == ("Be", 2.0)
    assert [path.name for path in output.parent.iterdir()] == ["Be.upf"]
    text = output.read_text()
    assert 'date=""' in text  # so that its SHA-256 is the same on another day
    assert re.search(r"Generation date:\s*\n", text)
    with pytest.raises(InputError, match="expected a pseudopotential of Al, got one of Be"):
        generate_pseudopotential(repository / "config/pseudo/Be.pbe-rrkjus.in", "Al", tmp_path / "Al.upf")

"""The page of a prediction: its fields, what it holds, and what it refuses."""

import base64
import json
import re
import tracemalloc
from html.parser import HTMLParser

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from view_files import CELL, TERMS_eV, blob, make_atoms, write_energies, write_prediction

from nearsight.cli import main
from nearsight.datasets import create_field_file, variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.grids.nuclei import around_nuclei
from nearsight.view import page
from nearsight.view.coarsen import MOST_POINTS, coarse_shape, coarsen, volume_means
from nearsight.view.page import write_view

# ------------------------------------------------------------------------------------------------------ the grid


@given(st.tuples(*[st.integers(1, 3000)] * 3), st.integers(1, 100_000))
@settings(max_examples=200, deadline=None)
def test_a_coarse_grid_fits_and_is_none_finer(shape, most):
    coarse = coarse_shape(shape, most)
    assert np.prod(coarse) <= most
    assert all(1 <= few <= many for few, many in zip(coarse, shape, strict=True))
    if np.prod(shape) <= most and max(shape) <= 2048:
        assert coarse == shape


def test_proportions_are_kept():
    assert coarse_shape((833, 833, 833)) == (114, 114, 114)
    nx, ny, nz = coarse_shape((200, 400, 1600))
    assert (ny / nx, nz / nx) == pytest.approx((2, 8), rel=0.03)
    assert 0.95 * MOST_POINTS < nx * ny * nz <= MOST_POINTS


@pytest.mark.parametrize(("fine", "coarse"), [(12, 12), (12, 6), (12, 5), (7, 1), (15, 4), (1, 1)])
def test_volume_means_are_those_of_a_much_finer_grid(fine, coarse):
    """Every interval cut into many pieces, which are counted one by one."""
    values = np.random.default_rng(0).random(fine)
    pieces = 2 * coarse
    cut = np.roll(np.repeat(values, pieces), -pieces // 2)  # from point 0 on
    per_volume = fine * pieces // coarse
    expected = np.roll(cut, per_volume // 2).reshape(coarse, per_volume).mean(axis=1)
    np.testing.assert_allclose(volume_means(fine, coarse) @ values, expected, rtol=1e-12)


def test_its_own_grid_changes_no_number_and_a_coarser_one_no_integral():
    field = np.random.default_rng(1).random((9, 10, 11))
    np.testing.assert_array_equal(coarsen(field, field.shape), field)
    coarse = coarsen(field, (4, 7, 5))
    assert coarse.mean() == pytest.approx(field.mean(), rel=1e-13)
    assert field.min() <= coarse.min() <= coarse.max() <= field.max()


def test_a_wave_is_damped_as_a_mean_over_intervals_damps_it():
    """Of a cosine the mean over five whole points is known."""
    n, m, k = 60, 12, 2
    field = np.cos(2 * np.pi * k * np.arange(n) / n)[:, None, None] * np.ones((1, 3, 2))
    expected = np.sinc(k / m) / np.sinc(k / n) * np.cos(2 * np.pi * k * np.arange(m) / m)
    np.testing.assert_allclose(coarsen(field, (m, 1, 1))[:, 0, 0], expected, atol=1e-12)


class Planes:
    """A field of which one plane exists at a time."""

    shape = (64, 400, 400)

    def __getitem__(self, i):
        return np.full(self.shape[1:], float(i))


def test_memory_is_that_of_planes():
    coarsen(Planes(), (8, 40, 40))
    tracemalloc.start()
    coarse = coarsen(Planes(), (8, 40, 40))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert coarse.mean() == pytest.approx(31.5)
    assert most < 6 * 400 * 400 * 8 < 64 * 400 * 400 * 8 / 10


def test_values_around_nuclei_of_a_plane_wave():
    """A Gaussian of σ damps the wave of G by exp(-G²σ²/2), also in a triclinic cell."""
    atoms, shape, counts, width = make_atoms(20), (24, 30, 36), (1, -1, 2), 0.8
    fractions = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)
    field = 0.3 + np.cos(2 * np.pi * fractions @ counts)
    wave = 2 * np.pi * np.linalg.inv(CELL) @ counts
    expected = 0.3 + np.exp(-0.5 * wave @ wave * width**2) * np.cos(atoms.positions @ wave)
    np.testing.assert_allclose(around_nuclei(field, CELL, atoms.positions, width), expected, atol=2e-4)


# ------------------------------------------------------------------------------------------------------ the page


class Scripts(HTMLParser):
    """Scripts of a page by number, with their attributes, and all other elements' names and attributes."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.elements, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "script"
        self.elements.append((tag, dict(attributes)))
        if self.inside:
            self.scripts.append([dict(attributes), ""])

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1][1] += data


def read_page(path):
    """Content and arrays of a page."""
    scripts = Scripts(path.read_text(encoding="utf-8")).scripts
    content = next(json.loads(text) for attributes, text in scripts if attributes.get("id") == "content")
    arrays = {}
    for attributes, text in scripts:
        if attributes["type"] == "application/octet-stream":
            name = attributes["id"]
            kind = "<u1" if name == "elements" else "<f8" if name.startswith("spectrum") else "<f4"
            arrays[name] = np.frombuffer(base64.b64decode(text), kind)
    return content, arrays


def test_what_the_broadening_leaves_is_a_term_where_it_is_known(tmp_path):
    folder = write_prediction(tmp_path / "p", density=blob((8, 9, 10)))
    terms = {**TERMS_eV, "broadening": -0.25, "total": TERMS_eV["total"] - 0.25}
    write_energies(folder, energies_eV=terms)
    assert main(["view", str(folder)]) == 0
    content, _ = read_page(folder / "view.html")
    assert {term["name"]: term["eV"] for term in content["terms"]} == terms


def test_numbers_of_the_page_are_the_predictions(tmp_path):
    density = blob((8, 9, 10))
    folder = write_prediction(tmp_path / "p", density=density)
    assert main(["view", str(folder)]) == 0
    content, arrays = read_page(folder / "view.html")
    assert content["grid"] == {"shape": [8, 9, 10], "own": [8, 9, 10]}
    np.testing.assert_array_equal(arrays["density"], density.astype("f4").ravel())
    atoms = make_atoms()
    np.testing.assert_allclose(arrays["positions"].reshape(-1, 3), atoms.positions, atol=1e-6)
    assert [content["elements"][index]["symbol"] for index in arrays["elements"]] == list(atoms.symbols)
    assert (content["formula"], content["atoms"], content["temperature_K"]) == ("Be3Si2", 5, 300.0)
    assert {term["name"]: term["eV"] for term in content["terms"]} == TERMS_eV
    signed = [term["sign"] * term["eV"] for term in content["terms"]]
    assert sum(signed[:-1]) == pytest.approx(signed[-1])
    assert content["energyDeviation_eV_per_atom"] == 0.0015
    assert content["scores"] == {"descriptors": 1.25, "radial distribution": 0.75}
    assert content["fermiLevel_eV"] == 1.0
    np.testing.assert_array_equal(arrays["spectrum-energies"], np.linspace(-6, 4, 51))
    # levels are what encloses 200 equal parts of the volume
    field = content["fields"][0]
    assert (density > field["levels"][170]).mean() == pytest.approx(0.15, abs=0.01)


def test_a_large_grid_is_shown_coarsely(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "coarse_shape", lambda shape: coarse_shape(shape, 500))
    density = blob((12, 15, 18))
    folder = write_prediction(tmp_path / "p", density=density)
    write_view(folder, folder / "view.html")
    content, arrays = read_page(folder / "view.html")
    assert content["grid"]["own"] == [12, 15, 18]
    assert np.prod(content["grid"]["shape"]) == arrays["density"].size <= 500
    assert arrays["density"].mean() == pytest.approx(density.mean(), rel=1e-6)


def test_difference_to_another_prediction(tmp_path):
    ours, theirs = blob((8, 9, 10)), blob((8, 9, 10), 0.9)
    folder = write_prediction(tmp_path / "p", density=ours)
    other = write_prediction(tmp_path / "q", density=theirs)
    write_energies(other, energies_eV={**TERMS_eV, "total": TERMS_eV["total"] + 0.1})
    output = tmp_path / "page.html"
    assert main(["view", str(folder), "--compare", str(other), "--output", str(output)]) == 0
    content, arrays = read_page(output)
    np.testing.assert_allclose(arrays["difference"], (ours - theirs).ravel(), atol=1e-7)
    assert [field["label"] for field in content["fields"]] == ["density", "difference from q"]
    assert content["terms"][-1]["eV"] - content["terms"][-1]["other_eV"] == pytest.approx(-0.1)
    assert [spectrum["label"] for spectrum in content["spectra"]] == ["p", "q"]
    # DFT's density, as a dataset
    write_dataset(tmp_path / "dft.h5", {**variables_of_atoms(make_atoms()), "density": theirs}, {}, {})
    write_view(folder, output, tmp_path / "dft.h5")
    content, again = read_page(output)
    np.testing.assert_array_equal(again["difference"], arrays["difference"])
    assert content["other"] == "dft"
    # with itself: zero everywhere
    write_view(folder, output, folder)
    assert not read_page(output)[1]["difference"].any()


def test_a_prediction_without_density_or_dos(tmp_path):
    folder = write_prediction(tmp_path / "p", dos=False)
    write_view(folder, folder / "view.html")
    content, arrays = read_page(folder / "view.html")
    assert content["fields"] == content["colourings"] == content["spectra"] == []
    assert set(arrays) == {"positions", "elements"}
    with pytest.raises(InputError, match="--compare: expected two densities, found none in the prediction"):
        write_view(folder, folder / "view.html", folder)


def test_atoms_by_their_distance_to_training(tmp_path, monkeypatch):
    """In the order of the atoms, with those that are shown alone, and on a scale that makes little of little."""
    scores = np.array([0.5, 1.5, 0.75, 1.0, 1.25])
    folder = write_prediction(tmp_path / "p", scores=scores)
    write_view(folder, folder / "view.html")
    content, arrays = read_page(folder / "view.html")
    np.testing.assert_array_equal(arrays["score-atoms"], scores)
    (colouring,) = content["colourings"]
    assert (colouring["unit"], colouring["range"], colouring["marks"]) == ("× validation", [0.0, 3.0], [1.0])
    folder = write_prediction(tmp_path / "q", scores=20 * scores)
    monkeypatch.setattr(page, "MOST_ATOMS", 3)
    write_view(folder, folder / "view.html")
    content, arrays = read_page(folder / "view.html")
    first = np.sort(np.argsort(make_atoms().get_scaled_positions()[:, 2])[:3])
    np.testing.assert_array_equal(arrays["score-atoms"], 20 * scores[first])
    assert content["colourings"][0]["range"] == [0.0, 20 * scores[first].max()]


def test_scores_that_are_none_are_refused(tmp_path):
    folder = write_prediction(tmp_path / "p", scores=np.array([1.0, 1.0, -2.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"prediction\.h5: extrapolation_score: expected finite numbers from 0 on"):
        write_view(folder, folder / "view.html")


def test_energies_of_a_study_lie_elsewhere(tmp_path):
    folder = write_prediction(tmp_path / "predictions/b-0", density=blob((4, 4, 4)))
    (folder / "request.json").unlink()
    (tmp_path / "energies/prediction").mkdir(parents=True)
    (folder / "energies.json").rename(tmp_path / "energies/prediction/b-0.json")
    write_view(folder, folder / "view.html")
    assert read_page(folder / "view.html")[0]["terms"][-1]["eV"] == TERMS_eV["total"]
    (tmp_path / "energies/prediction/b-0.json").unlink()
    write_view(folder, folder / "view.html")
    assert read_page(folder / "view.html")[0]["terms"] == []


def test_unscreened_charge_is_warned_of_unless_it_is_the_metals_own(tmp_path):
    folder = write_prediction(tmp_path / "p")
    for screening, wrong in ((None, True), ({"wave_vector_A": None}, True), ({"wave_vector_A": 1.2}, False)):
        write_energies(folder, unscreened_eV_per_atom=0.002, screening=screening)
        write_view(folder, folder / "view.html")
        assert read_page(folder / "view.html")[0]["unscreenedIsWrong"] is wrong


def test_of_too_many_atoms_one_end_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_ATOMS", 10)
    atoms = bulk("Be").repeat((2, 2, 5))
    folder = write_prediction(tmp_path / "p", atoms=atoms, density=blob((4, 4, 4)))
    write_view(folder, folder / "view.html")
    content, arrays = read_page(folder / "view.html")
    assert content["atoms"] == 40
    assert content["atomsShown"] == arrays["elements"].size == 10
    assert content["atomsRule"].startswith("10 of 40 atoms: those of the first")
    assert arrays["positions"].reshape(-1, 3)[:, 2].max() <= np.sort(atoms.positions[:, 2])[9] + 1e-6


def test_a_page_of_100000_atoms_is_small(tmp_path):
    atoms = Atoms("Be", cell=[2.0, 2.0, 2.0], pbc=True).repeat((47, 47, 46))
    density = np.random.default_rng(0).random((114, 114, 115))
    folder = write_prediction(tmp_path / "p", atoms=atoms, density=density)
    write_view(folder, tmp_path / "view.html", folder)
    assert len(atoms) > 100_000
    assert density.size > 0.99 * MOST_POINTS
    assert (tmp_path / "view.html").stat().st_size < 30e6


# ------------------------------------------------------------------------------------------------------ security

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>&lt; \u2028 <!-- @@SCRIPT@@"
)


def test_texts_of_files_stay_texts(tmp_path):
    name = "<img src=x onerror=alert(1)>&\"'"
    provenance = {"created": HOSTILE, "libraries": {HOSTILE: HOSTILE}, "programs": [HOSTILE]}
    folder = write_prediction(
        tmp_path / name, density=blob((4, 4, 4)), settings={HOSTILE: HOSTILE}, provenance=provenance
    )
    write_view(folder, folder / "view.html")
    text = (folder / "view.html").read_text(encoding="utf-8")
    parsed = Scripts(text)
    assert not [tag for tag, _ in parsed.elements if tag in ("img", "iframe", "object", "a")]
    content, _ = read_page(folder / "view.html")
    assert content["name"] == name
    assert content["settings"][HOSTILE] == HOSTILE
    assert [HOSTILE, HOSTILE] in content["origin"]
    # all that runs carries the nonce, and nothing is loaded
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    nonce = re.search(r"script-src 'nonce-([0-9a-f]{32})'", policy)[1]
    kinds = {a["type"]: a.get("nonce") for a, _ in parsed.scripts}
    inert = {"application/json": None, "application/octet-stream": None}
    assert kinds == {**inert, "importmap": nonce, "module": nonce}
    assert policy.startswith("default-src 'none'; ")
    assert not [a for tag, a in parsed.elements if tag in ("script", "style") and "src" in a]
    assert all(a["href"] == "data:," for tag, a in parsed.elements if tag == "link")


def test_a_name_of_any_bytes(tmp_path):
    folder = write_prediction(tmp_path / "a\udcff \n ü")
    write_view(folder, tmp_path / "view.html")
    assert read_page(tmp_path / "view.html")[0]["name"] == "a? \n ü"


def test_the_same_prediction_gives_the_same_page(tmp_path):
    folder = write_prediction(tmp_path / "p", density=blob((4, 4, 4)))
    write_view(folder, tmp_path / "one.html")
    write_view(folder, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_files_of_three_js_are_those_of_its_package(repository):
    folder = repository / "workflow/nearsight/view/three"
    rows = re.findall(r"^\| (\S+) \|.*\| `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert {name: sha256_of(folder / name) for name, _ in rows} == dict(rows)
    assert {path.name for path in folder.iterdir()} == {"README.md", *dict(rows)}


# ------------------------------------------------------------------------------------------------------ colours

#: What eyes without one kind of cones see of linear red, green, blue (Machado, Oliveira, Fernandes 2009, severity 1).
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]


def linear(colours):
    scaled = np.asarray(colours) / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def lab(colours):
    """CIE L*a*b* of linear RGB (sRGB's primaries, D65)."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = np.clip(colours, 0, 1) @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


@pytest.mark.parametrize("eyes", [np.eye(3), DEUTERANOPIA, PROTANOPIA])
def test_colours_can_be_told_apart_by_all_eyes(eyes):
    size, sign = (lab(linear(page.colours_of(name)) @ np.transpose(eyes)) for name in (page.SEQUENTIAL, page.DIVERGING))
    assert (np.diff(size[::8, 0]) > 0).all()
    assert (np.diff(sign[8:128:8, 0]) > 0).all()
    assert (np.diff(sign[128:248:8, 0]) < 0).all()
    assert np.linalg.norm(sign[20] - sign[235]) > 40
    codes = [[int(code[n : n + 2], 16) for n in (1, 3, 5)] for code in page.ELEMENT_COLOURS]
    elements = lab(linear(codes) @ np.transpose(eyes))
    apart = np.linalg.norm(elements[:, None] - elements[None], axis=-1)
    assert apart[~np.eye(len(codes), dtype=bool)].min() > 8


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.fixture
def whole(tmp_path):
    return write_prediction(tmp_path / "p", density=blob((4, 4, 4)))


def spoil(folder, what):
    """Make one file of a folder wrong."""
    if what == "plan of another run":
        (folder / "plan.json").write_text('{"descriptor_score": 1.0, "rdf_score": 1.0}')
    elif what == "energies of another run":
        write_energies(folder, provenance={"inputs_sha256": {"fields": "0" * 64}})
    elif what == "energies of a stranger":
        write_energies(folder, provenance="x")
    elif what == "energies without terms":
        write_energies(folder, energies_eV={"band": 1.0})
    elif what == "an energy that is none":
        write_energies(folder, energies_eV={**TERMS_eV, "ion": "<b>"})
    elif what == "truncated":
        content = (folder / "prediction.h5").read_bytes()
        (folder / "prediction.h5").write_bytes(content[: len(content) // 2])
    else:
        (folder / what).unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("prediction.h5", "expected the folder of a prediction with prediction.h5, found energies.json, plan.json"),
        ("plan.json", "plan.json: expected a JSON file, found none"),
        ("energies.json", "energies.json: expected a JSON file, found none"),
        ("plan of another run", "expected it to be made from the plan.json that is there, got one of another run"),
        ("energies of another run", "expected it to be made from the prediction.h5 that is there"),
        ("energies of a stranger", "expected it to be made from the prediction.h5 that is there"),
        ("energies without terms", "expected energies_eV with band, hartree"),
        ("an energy that is none", "ion: expected a number, got '<b>'"),
        ("truncated", "expected a whole HDF5 dataset"),
    ],
)
def test_files_that_are_missing_or_of_another_run(whole, capsys, what, message):
    spoil(whole, what)
    assert main(["view", str(whole)]) == 1
    found = capsys.readouterr().err
    assert message in found
    assert "Traceback" not in found
    assert not (whole / "view.html").exists()


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder", "a folder of others"])
def test_what_is_no_prediction(tmp_path, capsys, what):
    path = tmp_path / "d"
    if what == "a file":
        path.write_text("x")
    elif what != "nothing":
        path.mkdir()
    if what == "a folder of others":
        (path / "notes.txt").write_text("mine")
    assert main(["view", str(path)]) == 1
    assert "expected the folder of a prediction" in capsys.readouterr().err


def test_densities_that_cannot_be_compared(whole, tmp_path, capsys):
    atoms = make_atoms()
    atoms.set_cell(CELL * 1.001)
    strained = write_prediction(tmp_path / "strained", atoms=atoms, density=blob((4, 4, 4)))
    assert main(["view", str(whole), "--compare", str(strained)]) == 1
    assert "got one whose vectors differ by up to 0.006 Å" in capsys.readouterr().err
    finer = write_prediction(tmp_path / "finer", density=blob((4, 4, 5)))
    assert main(["view", str(whole), "--compare", str(finer)]) == 1
    assert "4x4x4 points, got 4x4x5. Predict on one grid: nearsight predict --grid 4 4 4" in capsys.readouterr().err
    assert main(["view", str(whole), "--compare", str(tmp_path / "none")]) == 1
    assert "expected a dataset" in capsys.readouterr().err


def test_a_page_is_never_written_over_what_is_read(whole, tmp_path, capsys):
    before = {path: path.read_bytes() for path in whole.iterdir()}
    for name in ("prediction.h5", "energies.json", "plan.json", "page"):
        assert main(["view", str(whole), "--output", str(whole / name)]) == 1
        assert "expected a name that ends in .html" in capsys.readouterr().err
    dft = tmp_path / "dft.html"
    dft.write_bytes((whole / "prediction.h5").read_bytes())
    assert main(["view", str(whole), "--compare", str(dft), "--output", str(dft)]) == 1
    assert "expected a file other than the one that is read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in whole.iterdir()} == before


def test_a_density_with_holes_is_refused(tmp_path):
    """A file that was stopped while its density was written, and is whole otherwise."""
    folder = write_prediction(tmp_path / "p")
    origin = {"inputs_sha256": {"plan": sha256_of(folder / "plan.json")}}
    variables = variables_of_atoms(make_atoms())
    with create_field_file(folder / "prediction.h5", {"density": (4, 4, 4)}, variables, {}, origin) as fields:
        fields["density"][:] = np.nan
    write_energies(folder)
    with pytest.raises(InputError, match="density: expected finite numbers, got NaN or infinity"):
        write_view(folder, folder / "view.html")
    assert not (folder / "view.html").exists()

"""The page of a prediction in a real browser: it loads from a file alone, and all of it can be used."""

import io
import shutil
from contextlib import contextmanager
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.io.cube import read_cube_data
from model_files import make_random_model
from PIL import Image
from playwright.sync_api import sync_playwright
from view_files import CELL, blob, write_prediction

from nearsight.cli import main
from nearsight.datasets import open_dataset
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.model.bundle import save_bundle
from nearsight.units import BOHR_A
from nearsight.view.page import write_view

#: WebGL by the processor alone, so that no graphics card is needed.
OPTIONS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]

#: How long anything may take: a busy machine is no failure.
MOST_ms = 900_000

WIDE, PHONE = {"width": 960, "height": 600}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here (chromium, chromium-browser, google-chrome): install one, as make test does")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS, timeout=MOST_ms)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """A prediction of two atoms by a random network, made and viewed by one command."""
    folder = tmp_path_factory.mktemp("view")
    atoms = bulk("Be", a=2.27, c=3.57)
    atoms.positions += [[0.05, -0.08, 0.1], [0.0, 0.03, -0.06]]
    settings = {"kind": "bispectrum", "twojmax": 4, "cutoff_A": 4.0}
    model = make_random_model(
        bispectrum(atoms, (12, 12, 18), **settings), settings, energy_max_eV=12.0, ldos_scaling=(0.02, 0.005)
    )
    save_bundle(model, folder / "model.json", folder / "model.safetensors")
    ase.io.write(folder / "be.extxyz", atoms)
    words = [str(folder), str(folder / "be.extxyz"), "--out", str(folder / "out"), "--accept-extrapolation", "--view"]
    assert main(["predict", *words, "--grid", "12", "12", "18"]) == 0
    return folder / "out"


@contextmanager
def opened(browser, path, viewport=WIDE, script=None, **options):
    """A page, once it is drawn, in a browser without network; nothing is asked for and nothing goes wrong on it."""
    context = browser.new_context(viewport=viewport, offline=True, **options)
    context.set_default_timeout(MOST_ms)
    wrong = []
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda asked: None if asked.url == path.as_uri() else wrong.append(asked.url[:80]))
    if script is not None:
        page.add_init_script(script)
    page.goto(path.as_uri())
    page.wait_for_selector("#picture[data-drawn], #no-picture:not([hidden])", state="attached")
    yield page
    context.close()
    # data: and blob: are parts of the page
    assert not [text for text in wrong if not text.startswith(("data:", "blob:"))]


def pixels(page):
    """What the picture shows now: red, green, blue of every pixel."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.asarray(Image.open(io.BytesIO(page.locator("#picture").screenshot())).convert("RGB"), dtype=int)


def part_changed(before, after):
    """Share of the pixels that are clearly different."""
    return (np.abs(before - after).max(axis=-1) > 12).mean()


def test_every_control_changes_the_picture_and_back(browser, predicted):
    with opened(browser, predicted / "view.html") as page:
        start = pixels(page)
        ground = np.broadcast_to(start[20, 20], start.shape)
        assert part_changed(start, ground) > 0.05
        for slider, output in (("#level", "#level-value"), ("#place", "#place-value")):
            page.focus(slider)
            value = page.inner_text(output)
            page.keyboard.press("PageDown")
            assert page.inner_text(output) != value
            assert part_changed(start, pixels(page)) > 0.01
            page.keyboard.press("PageUp")
            assert page.inner_text(output) == value
            assert part_changed(start, pixels(page)) == 0
            page.keyboard.press("ArrowLeft")
            assert page.inner_text(output) != value
            page.keyboard.press("ArrowRight")
        moved = pixels(page)
        page.check("input[name=axis][value='0']", force=True)
        assert part_changed(moved, pixels(page)) > 0.02
        for box in ("#slice", "#surface", "#atoms"):
            before = pixels(page)
            page.uncheck(box)
            assert part_changed(before, pixels(page)) > 0.005, box
        # the box of the cell alone is left
        assert part_changed(pixels(page), ground) < 0.01
        page.check("#atoms")
        by_element = pixels(page)
        page.select_option("#colouring", "density-atoms")
        assert part_changed(by_element, pixels(page)) > 0.005
        page.select_option("#colouring", "score-atoms")
        assert part_changed(by_element, pixels(page)) > 0.005
        assert "distance to training (× validation)" in page.inner_text("#legend")
        one = pixels(page)
        page.select_option("#cells", "1" if page.input_value("#cells") != "1" else "2")
        assert part_changed(one, pixels(page)) > 0.01


def test_camera_by_keys_mouse_and_buttons(browser, predicted):
    with opened(browser, predicted / "view.html") as page:
        start = pixels(page)
        page.focus("#picture")
        seen = [pixels(page)]
        for key in ("ArrowLeft", "ArrowUp", "+", "-"):
            page.keyboard.press(key)
            seen.append(pixels(page))
            assert part_changed(seen[-2], seen[-1]) > 0.005, key
        page.keyboard.press("Home")
        assert part_changed(seen[0], pixels(page)) == 0
        for view in "012":
            page.click(f"[data-view='{view}']")
            assert part_changed(start, pixels(page)) > 0.01
        page.click("[data-view='all']")
        assert part_changed(start, pixels(page)) == 0
        box = page.locator("#picture").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 60, middle[1] + 20, steps=3)
        page.mouse.up()
        turned = pixels(page)
        assert part_changed(start, turned) > 0.01
        page.mouse.wheel(0, -300)
        assert part_changed(turned, pixels(page)) > 0.01


def test_all_can_be_reached_by_keys_in_light_and_dark(browser, predicted):
    with opened(browser, predicted / "view.html", color_scheme="light") as page:
        light = pixels(page)
        wanted = {
            *("picture", "surface", "level", "slice", "place", "cut", "atoms", "colouring", "cells"),
            *("axis", "a", "b", "c", "Reset", "svg", "Picture (PNG)", "Density (cube)", "DOS (CSV)", "Origin"),
        }
        reached = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            name = "(e) => e.id || e.name || (e.tagName === 'svg' ? 'svg' : e.textContent.trim())"
            reached.add(page.evaluate(f"({name})(document.activeElement)"))
        assert not wanted - reached
        page.focus("#dos svg")
        page.keyboard.press("ArrowRight")
        assert "eV" in page.inner_text("#dos-value")
        page.emulate_media(color_scheme="dark")
        assert light[20, 20].min() > 200 > 60 > pixels(page)[20, 20].max()
        # what is read is of the one or the other as well: at least 4.5 to 1 (WCAG 2, level AA)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for ink in ("--ink", "--soft", "--accent"):
                for ground in ("--card", "--page", "--scene"):
                    assert contrast(page, ink, ground) > 4.5, (scheme, ink, ground)
            assert contrast(page, "--warn-ink", "--warn") > 4.5


def test_on_a_phone_nothing_overflows(browser, predicted):
    with opened(browser, predicted / "view.html", PHONE, color_scheme="dark", has_touch=True, is_mobile=True) as page:
        for details in page.locator("details > summary").all():
            details.click()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        beyond = """() => [...document.body.querySelectorAll("*")].filter((e) => {
            const box = e.getBoundingClientRect();
            return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5) && !e.closest("svg");
        }).map((e) => e.outerHTML.slice(0, 80))"""
        assert page.evaluate(beyond) == []
        # text that is cut off inside of its own box
        cut = """() => [...document.querySelectorAll("td, th, dd, dt, output, h1, h2, button, label, p")].filter((e) =>
            e.clientWidth && e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"""
        assert page.evaluate(cut) == []
        picture = page.locator("#picture").bounding_box()
        assert picture["width"] > 340
        assert 300 < picture["height"] < 0.7 * PHONE["height"]  # something is left to scroll the page by


def contrast(page, *names):
    """Ratio of the luminances of two colours of the page's style."""
    luminances = []
    for name in names:
        code = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}').trim()")
        parts = np.array([int(code[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        luminances.append(parts @ [0.2126, 0.7152, 0.0722])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def test_downloads_are_what_other_programs_read(browser, predicted, tmp_path):
    with opened(browser, predicted / "view.html", accept_downloads=True) as page:
        files = {}
        for label in ("Picture (PNG)", "Density (cube)", "DOS (CSV)"):
            with page.expect_download() as download:
                page.click(f"button:text('{label}')")
            files[label] = tmp_path / download.value.suggested_filename
            download.value.save_as(files[label])
        shown = pixels(page)
    assert [path.name for path in files.values()] == ["out-picture.png", "out-density.cube", "out-dos.csv"]
    picture = np.asarray(Image.open(files["Picture (PNG)"]).convert("RGB"), dtype=int)
    # the same picture, with the legend that lies over it
    assert picture.shape == shown.shape
    assert part_changed(picture[:-80], shown[:-80]) < 0.001
    assert part_changed(picture[-80:], shown[-80:]) < 0.05  # letters fall on other pixels
    assert part_changed(picture[-80:], np.broadcast_to(shown[20, 20], shown[-80:].shape)) > 0.02
    density, atoms = read_cube_data(files["Density (cube)"])
    with open_dataset(predicted / "prediction.h5") as dataset:
        np.testing.assert_allclose(density / BOHR_A**3, dataset["density"].values, rtol=1e-6)
        np.testing.assert_allclose(atoms.cell.array, dataset["cell"].values, atol=1e-6)
        np.testing.assert_allclose(
            atoms.get_scaled_positions(),
            np.linalg.solve(dataset["cell"].values.T, dataset["positions"].values.T).T % 1,
            atol=1e-6,
        )
    np.testing.assert_allclose(  # the table of the prediction has ten digits
        np.loadtxt(files["DOS (CSV)"], delimiter=",", skiprows=1),
        np.loadtxt(predicted / "dos.csv", delimiter=",", skiprows=1),
        rtol=1e-9,
        atol=1e-12,
    )


def test_a_surface_encloses_what_the_grid_says(browser, tmp_path):
    """In a triclinic cell with three different numbers of points: closed, its normals outward, its volume right."""
    shape, level = (24, 30, 36), 0.8
    folder = write_prediction(tmp_path / "p", density=blob(shape))
    write_view(folder, folder / "view.html")
    script = f"""async () => {{
        const {{ isosurface }} = await import("view/surface");
        const cell = {CELL.tolist()}, inverse = {np.linalg.inv(CELL).tolist()};
        const values = Float32Array.from({blob(shape).ravel().round(7).tolist()});
        const found = isosurface(values, {list(shape)}, cell, inverse, {level});
        return Object.fromEntries(Object.entries(found).map(([name, array]) => [name, Array.from(array)]));
    }}"""
    with opened(browser, folder / "view.html", bypass_csp=True) as page:
        found = page.evaluate(script)
    vertices, normals = (np.reshape(found[name], (-1, 3)) for name in ("positions", "normals"))
    triangles = np.reshape(found["triangles"], (-1, 3))
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    # closed and of one orientation: every edge is passed once in each direction
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges}
    corners = vertices[triangles]
    volume = np.einsum("ti,ti->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    fine = blob((96, 120, 144))
    assert volume / np.linalg.det(CELL) == pytest.approx((fine > level).mean(), rel=0.02)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    large = np.linalg.norm(faces, axis=1) > 1e-6
    facing = np.einsum("ti,ti->t", faces, normals[triangles].mean(axis=1))[large] / np.linalg.norm(faces, axis=1)[large]
    assert facing.min() > 0.9
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    # on the surface of the field itself
    fractions = 2 * np.pi * vertices @ np.linalg.inv(CELL)
    np.testing.assert_allclose((3 - np.cos(fractions).sum(axis=1)) / 6, level, atol=5e-3)


def test_a_difference_is_shown_in_two_colours(browser, tmp_path):
    ours = write_prediction(tmp_path / "ours", density=blob((12, 12, 12)))
    theirs = write_prediction(tmp_path / "theirs", density=np.roll(blob((12, 12, 12)), 3, axis=2))
    write_view(ours, tmp_path / "view.html", theirs)
    with opened(browser, tmp_path / "view.html") as page:
        density = pixels(page)
        assert "Δ meV/atom" in page.inner_text("#terms")
        page.check("input[name=field][value=difference]", force=True)
        difference = pixels(page)
        assert part_changed(density, difference) > 0.05
        assert page.inner_text("#level-value").startswith("±")
        red, _, blue = np.moveaxis(difference, -1, 0)
        assert ((red - blue) > 80).mean() > 0.004
        assert ((blue - red) > 60).mean() > 0.004


def test_texts_of_strangers_run_nothing(browser, tmp_path):
    hostile = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    folder = write_prediction(
        tmp_path / "<img src=x onerror=alert(1)>",
        density=blob((6, 6, 6)),
        settings={hostile: hostile},
        provenance={"created": hostile, "libraries": {hostile: hostile}},
    )
    write_view(folder, tmp_path / "view.html")
    with opened(browser, tmp_path / "view.html") as page:
        page.click("summary:text('Origin')")
        assert hostile in page.inner_text("#origin")
        assert page.locator("img").count() == 0
        assert page.evaluate("window.hacked") is None
        assert "<img src=x" in page.inner_text("#subtitle")


def test_without_density_and_without_webgl(browser, tmp_path):
    folder = write_prediction(tmp_path / "p")
    write_view(folder, folder / "view.html")
    with opened(browser, folder / "view.html") as page:
        assert page.is_hidden("#surface-controls")
        assert page.is_hidden("#slice-controls")
        assert part_changed(pixels(page), np.broadcast_to(pixels(page)[2, 2], pixels(page).shape)) > 0.01
        assert page.locator("#downloads button").all_inner_texts() == ["Picture (PNG)", "DOS (CSV)"]
    script = "HTMLCanvasElement.prototype.getContext = () => null;"
    with opened(browser, folder / "view.html", script=script) as page:
        assert "This browser has no WebGL" in page.inner_text("#no-picture")
        assert page.is_visible("#dos svg")
        assert page.locator("#downloads button").all_inner_texts() == ["DOS (CSV)"]


@pytest.mark.slow
def test_100000_atoms(browser, tmp_path):
    atoms = bulk("Be").repeat((37, 37, 37))
    folder = write_prediction(tmp_path / "p", atoms=atoms, density=blob((114, 114, 114)))
    write_view(folder, folder / "view.html")
    assert len(atoms) > 100_000
    with opened(browser, folder / "view.html") as page:
        start = pixels(page)
        page.uncheck("#atoms")
        assert part_changed(start, pixels(page)) > 0.05


def test_a_new_prediction_removes_the_page_of_the_old_one(predicted, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(predicted, folder)
    model = Path(predicted).parent
    words = ["predict", str(model), str(model / "be.extxyz"), "--out", str(folder), "--accept-extrapolation"]
    assert main([*words, "--grid", "12", "12", "18"]) == 0
    assert not (folder / "view.html").exists()

"""The page: numbers as base64 and the script that draws them, in one HTML file that loads nothing else.

What comes from files (names, provenance) is put in as JSON with `<`, `>` and `&` escaped, and the script shows it only
as text. The page's content security policy allows no scripts but those with its nonce, and loads nothing at all.
"""

import base64
import hashlib
import html
import json
from contextlib import ExitStack
from pathlib import Path

import matplotlib
import numpy as np
from ase import Atoms
from ase.data import atomic_names, chemical_symbols, covalent_radii

from nearsight import __version__, units
from nearsight.energies.report import UNSCREENED_eV_PER_ATOM
from nearsight.errors import InputError
from nearsight.files import write_whole
from nearsight.grids.nuclei import NUCLEUS_WIDTH_A, around_nuclei
from nearsight.model.domain import WARNING_SCORE
from nearsight.view.coarsen import coarse_shape, coarsen
from nearsight.view.folder import TERMS, Prediction, Spectrum, open_other, open_prediction

#: Atoms of a page: the paper's largest cell has 131,072.
MOST_ATOMS = 150_000

#: Name of the page in a prediction's folder.
PAGE = "view.html"

#: Steps of the slider of a surface's level; each is one part of the cell's volume.
LEVELS = 200

#: Colour maps of matplotlib that people of any colour vision can read: of a size, and of a difference.
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

#: Elements in the order of their numbers: grey, which is in no colour map, then Okabe and Ito's colours, for people of
#: any colour vision.
ELEMENT_COLOURS = ("#aab3bf", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")

HERE = Path(__file__).parent

#: Modules of the page by the name that its scripts import them by.
MODULES = {
    "three-core": HERE / "three" / "three.core.min.js",
    "three": HERE / "three" / "three.module.min.js",
    "three/OrbitControls": HERE / "three" / "OrbitControls.js",
    "three/MarchingCubes": HERE / "three" / "MarchingCubes.js",
    "view/surface": HERE / "surface.js",
    "view/picture": HERE / "picture.js",
    "view/spectrum": HERE / "spectrum.js",
    "view/downloads": HERE / "downloads.js",
}


def write_view(folder: Path, output: Path, compare: Path | None = None) -> None:
    """Write the page of a prediction's folder.

    compare: folder of another prediction, or a dataset, of the same cell and grid, whose difference is shown too.
    Memory is that of a plane of the density and of the coarser grid. Raises InputError where `folder` is not a
    prediction's, its files are of several runs, or the other density does not fit.
    """
    with ExitStack() as stack:
        prediction = stack.enter_context(open_prediction(folder))
        other = None if compare is None else stack.enter_context(open_other(compare, prediction))
        content, arrays = collect_content(prediction, other)
    with write_whole(output) as path:
        path.write_text(build_page(content, arrays), encoding="utf-8")


def collect_content(prediction: Prediction, other: Prediction | None) -> tuple[dict, dict[str, np.ndarray]]:
    """What the page shows as JSON, and its arrays by name."""
    atoms, cell = prediction.atoms, prediction.atoms.cell.array
    kept, rule = choose_atoms(atoms)
    positions = atoms.get_positions(wrap=True, eps=1e-9)[kept]
    elements, index = np.unique(atoms.numbers[kept], return_inverse=True)
    arrays = {"positions": positions.astype("<f4"), "elements": index.astype("<u1")}
    content = {
        **describe_prediction(prediction, other),
        "cell": cell.tolist(),
        "atomsShown": int(positions.shape[0]),
        "atomsRule": rule,
        "elements": [describe_element(number, place) for place, number in enumerate(elements)],
        "maps": {name: colours_of(name_of_map) for name, name_of_map in (("size", SEQUENTIAL), ("sign", DIVERGING))},
        "fields": [],
        "colourings": [],
        "spectra": [],
        "nucleusWidth_A": NUCLEUS_WIDTH_A,
        "bohr_A": units.BOHR_A,
        "boltzmann_eV_per_K": units.BOLTZMANN_eV_per_K,
    }
    for key, (label, field) in coarse_fields(prediction, other).items():
        signed = key == "difference"
        values = around_nuclei(field, cell, positions)
        arrays[key], arrays[f"{key}-atoms"] = field.astype("<f4"), values.astype("<f4")
        content["fields"].append(
            {"key": key, "label": label, "unit": "1/Å³", "signed": signed, **describe_values(field, signed)}
        )
        colouring = {
            "key": f"{key}-atoms",
            "label": f"{key} near the nucleus",
            "unit": "1/Å³",
            "signed": signed,
            "range": range_of(values, signed),
            "marks": [],
        }
        content["colourings"].append(colouring)
        content["grid"] = {"shape": list(field.shape), "own": list(prediction.density.shape)}
    if prediction.atom_scores is not None:
        scores = prediction.atom_scores[kept]
        arrays["score-atoms"] = scores.astype("<f4")
        content["colourings"].append(describe_scores(scores))
    for name, spectrum in (("spectrum", prediction.spectrum), ("spectrum-other", other and other.spectrum)):
        if spectrum is not None:
            arrays[f"{name}-energies"], arrays[f"{name}-dos"] = (
                np.asarray(part, dtype="<f8") for part in (spectrum.energies_eV, spectrum.dos)
            )
            content["spectra"].append(describe_spectrum(name, spectrum, prediction, other))
    return content, arrays


def choose_atoms(atoms: Atoms) -> tuple[np.ndarray, str | None]:
    """Which atoms are shown, all up to MOST_ATOMS, and what is said of it: beyond, those of one end of the cell."""
    if len(atoms) <= MOST_ATOMS:
        return np.arange(len(atoms)), None
    axis = int(np.argmax(atoms.cell.lengths()))
    along = atoms.get_scaled_positions(wrap=True)[:, axis]
    kept = np.sort(np.argsort(along, kind="stable")[:MOST_ATOMS])
    part = along[kept].max()
    return (
        kept,
        f"{MOST_ATOMS:,} of {len(atoms):,} atoms: those of the first {part:.1%} of the cell along {'abc'[axis]}",
    )


def coarse_fields(prediction: Prediction, other: Prediction | None) -> dict[str, tuple[str, np.ndarray]]:
    """Density, and its difference from the other one, on the grid of the page: key -> (label, values in 1/Å³)."""
    if prediction.density is None:
        return {}
    shape = coarse_shape(prediction.density.shape)
    density = coarsen(prediction.density, shape)
    fields = {"density": ("density", density)}
    if other is not None:
        fields["difference"] = (f"difference from {other.name}", density - coarsen(other.density, shape))
    if not all(np.isfinite(field).all() for _, field in fields.values()):
        raise InputError(f"{prediction.name}: density: expected finite numbers, got NaN or infinity. Predict again.")
    return fields


def describe_values(field: np.ndarray, signed: bool) -> dict:
    """Levels of the slider, quantiles of the values (of their size where they are signed), and the range of colours."""
    quantiles = np.quantile(np.abs(field) if signed else field, np.linspace(0, 1, LEVELS + 1))
    start = 0.97 if signed else 0.85
    return {"levels": quantiles.tolist(), "start": round(start * LEVELS), "range": range_of(field, signed)}


def describe_scores(scores: np.ndarray) -> dict:
    """Colours of the atoms' scores: from 0 to where a warning begins, or on to the largest, with a mark at 1."""
    return {
        "key": "score-atoms",
        "label": "distance to training",
        "unit": "× validation",
        "signed": False,
        "range": [0.0, max(WARNING_SCORE, float(scores.max()))],
        "marks": [1.0],
    }


def range_of(values: np.ndarray, signed: bool) -> list[float]:
    """Values of the ends of a colour bar: all but half a percent at either end; around zero where they are signed."""
    if signed:
        most = float(np.quantile(np.abs(values), 0.995))
        return [-most, most]
    return [float(end) for end in np.quantile(values, (0.005, 0.995))]


def describe_element(number: int, place: int) -> dict:
    """Symbol, name, radius and colour of an element."""
    return {
        "number": int(number),
        "symbol": chemical_symbols[number],
        "name": atomic_names[number],
        "radius_A": 0.45 * float(covalent_radii[number]),
        "colour": ELEMENT_COLOURS[place % len(ELEMENT_COLOURS)],
    }


def describe_prediction(prediction: Prediction, other: Prediction | None) -> dict:
    """Names, single numbers, terms of the energy and origin."""
    energies, spectrum = prediction.energies, prediction.spectrum
    return {
        "name": prediction.name,
        "other": None if other is None else other.name,
        "formula": prediction.atoms.get_chemical_formula("metal"),
        "atoms": len(prediction.atoms),
        "volume_A3": prediction.atoms.get_volume(),
        "temperature_K": prediction.temperature_K,
        "fermiLevel_eV": None if spectrum is None else spectrum.fermi_level_eV,
        "fermiLevelDeviation_eV": prediction.fermi_level_deviation_eV,
        "energyDeviation_eV_per_atom": None if energies is None else energies.deviation_eV_per_atom,
        "unscreened_eV_per_atom": None if energies is None else energies.unscreened_eV_per_atom,
        "unscreenedIsWrong": energies is not None
        and not energies.screened
        and (energies.unscreened_eV_per_atom or 0) > UNSCREENED_eV_PER_ATOM,
        "terms": describe_terms(prediction, other),
        "scores": prediction.scores,
        "warningScore": WARNING_SCORE,
        "origin": describe_origin(prediction.provenance),
        "settings": prediction.settings,
        "version": __version__,
    }


def describe_terms(prediction: Prediction, other: Prediction | None) -> list[dict]:
    """Terms of the total free energy in eV with their signs, and, where both have them, the other prediction's."""
    if prediction.energies is None:
        return []
    comparable = other is not None and other.energies is not None and len(other.atoms) == len(prediction.atoms)
    others = other.energies.terms_eV if comparable else {}
    return [
        {"name": name, "sign": sign, "eV": prediction.energies.terms_eV[name], "other_eV": others.get(name)}
        for name, sign in (*TERMS.items(), ("total", 1))
        # models that know nothing of it have none
        if name != "broadening" or prediction.energies.terms_eV[name] != 0
    ]


def describe_origin(provenance: dict) -> list[list[str]]:
    """A provenance record as rows of two texts."""
    rows = [["Nearsight", provenance.get("nearsight")], ["Written", provenance.get("created")]]
    rows += [["Stage", f"{provenance.get('stage')}, version {provenance.get('stage_version')}"]]
    rows += [["Python", provenance.get("python")]]
    for title, key in (("SHA-256 of", "inputs_sha256"), ("", "programs"), ("", "libraries")):
        found = provenance.get(key)
        for name, text in (found if isinstance(found, dict) else {}).items():
            rows.append([f"{title} {name}".strip(), text])
    return [[name, str(text)] for name, text in rows if text]


def describe_spectrum(name: str, spectrum: Spectrum, prediction: Prediction, other: Prediction | None) -> dict:
    """Whose density of states it is, in how many atoms, and its Fermi level."""
    whose = prediction if name == "spectrum" else other
    level = spectrum.fermi_level_eV
    return {"key": name, "label": whose.name, "atoms": len(whose.atoms), "fermiLevel_eV": level}


def colours_of(name: str) -> list[list[int]]:
    """256 colours (red, green, blue from 0 to 255) of a map of matplotlib."""
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return np.round(255 * colours).astype(int).tolist()


def build_page(content: dict, arrays: dict[str, np.ndarray]) -> str:
    """The text of the page."""
    imports = {name: f"data:text/javascript;base64,{encode(module_text(name).encode())}" for name in MODULES}
    data = as_json(content)
    nonce = hashlib.sha256(data.encode()).hexdigest()[:32]
    blocks = [
        f'<script type="application/octet-stream" id="{name}">{encode(np.ascontiguousarray(values).tobytes())}</script>'
        for name, values in arrays.items()
    ]
    parts = {
        "TITLE": html.escape(f"{content['formula']}, {content['name']}"),
        "NONCE": nonce,
        "STYLE": (HERE / "style.css").read_text(encoding="utf-8"),
        "LICENCE": html.escape((HERE / "three" / "LICENSE").read_text(encoding="utf-8")),
        "IMPORTS": as_json({"imports": imports}),
        "CONTENT": data,
        "ARRAYS": "\n".join(blocks),
        "SCRIPT": (HERE / "view.js").read_text(encoding="utf-8"),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8").split("@@")
    # text and names of parts alternate, so that no name is looked for in what was filled in
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(template))


def module_text(name: str) -> str:
    """A module of the page; three.js's name for its own core is made one that a page can look up."""
    text = MODULES[name].read_text(encoding="utf-8")
    return text.replace('"./three.core.min.js"', '"three-core"') if name == "three" else text


def encode(content: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(content).decode("ascii")


def as_json(content: object) -> str:
    """JSON that can stand in a script of a page: no end of a script or comment can be in it."""
    text = json.dumps(content, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")

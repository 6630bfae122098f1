"""The card of a model: what it is for, what it was trained on, how wrong it is, in numbers from its evaluation.

Nobody types a card: `workflow/scripts/write_model_card.py` takes all but name and licence from the files of a study.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from nearsight.errors import InputError
from nearsight.files import read_json, write_json, write_text
from nearsight.study.sections import Section

FORMAT = "nearsight model card"
FORMAT_VERSION = 1

CARD_JSON, CARD_MARKDOWN = "card.json", "card.md"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Texts end up on terminals and in tables.
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f|]{1,200}$")]


class PseudopotentialCard(Section):
    """One element's pseudopotential. kind: NC, US or PAW; valence: electrons; sha256: of the UPF file."""

    functional: Line
    kind: Line
    valence: float
    sha256: Sha256


class DftCard(Section):
    """The DFT that the model stands in for.

    kpoints: per number of k-points along the edges of a training cell, "2 x 2 x 3 (64 atoms)", and so on.
    """

    program: Line
    ecutwfc_Ry: float
    ecutrho_Ry: float
    kpoints: list[Line]
    kpoints_shift: list[int]
    conv_thr_Ry: float
    pseudopotentials: dict[Line, PseudopotentialCard]


class LdosCard(Section):
    """The window of the LDOS and the width s of its Gaussian exp(-(ε/s)²)/(s√π)."""

    energy_min_eV: float
    energy_max_eV: float
    spacing_eV: float
    broadening_eV: float
    energy_zero_eV_A3: dict[str, float] = Field(default_factory=dict)


class Spread(Section):
    """Errors of several snapshots: root of the mean square, and the one of the largest size with its sign."""

    rms: float
    largest: float


class StateCard(Section):
    """The snapshots of one state of matter, and the model's errors on them.

    name: of their trajectory in the study, which says what is special; role: train, validation or test. Energies of
    the model against DFT (meV/atom), of which `network` is the part that the network is to blame for and `method` what
    the DFT's own LDOS misses; the Fermi level in meV; fields in percent, as in `nearsight.evaluation.errors`.
    """

    name: Line
    role: Line
    snapshots: Annotated[int, Field(ge=1)]
    formula: Line
    atoms: Annotated[int, Field(ge=1)]
    electron_temperature_K: float
    density_g_cm3: float
    total_free_energy_meV_per_atom: Spread
    network_meV_per_atom: Spread
    method_meV_per_atom: Spread
    band_energy_meV_per_atom: Spread
    fermi_energy_meV: Spread
    density_integrated_percent: float
    dos_percent: float


class DomainCard(Section):
    """Scores beyond which a structure is warned of and refused; see docs/prediction.md."""

    warning_score: float
    refusal_score: float
    cutoff_A: float


class Card(Section):
    """A model in numbers. files: name -> SHA-256; licence: an SPDX expression, None where none was given."""

    name: Line
    licence: Line | None
    elements: Annotated[list[Line], Field(min_length=1)]
    study: Line
    nearsight: Line
    files: dict[Line, Sha256]
    weights_bytes: Annotated[int, Field(ge=1)]
    electron_temperature_K: float
    dft: DftCard
    ldos: LdosCard
    descriptors: dict
    network: dict
    training: dict
    domain: DomainCard
    states: Annotated[list[StateCard], Field(min_length=1)]


def read_card(path: Path) -> Card:
    """The card in a JSON file. Raises InputError where it is none."""
    content = read_json(path)
    if content.pop("format", None) != FORMAT or content.pop("format_version", None) != FORMAT_VERSION:
        raise InputError(f"{path}: expected a {FORMAT} of version {FORMAT_VERSION}, got another file. Write it again.")
    try:
        return Card.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}. Write the card again.") from None


def write_card(card: Card, json_path: Path, markdown_path: Path) -> None:
    """Write a card for people and for programs."""
    write_text(markdown_path, render_card(card))
    write_json(json_path, {"format": FORMAT, "format_version": FORMAT_VERSION, **card.model_dump()})


def render_card(card: Card) -> str:
    """The card as Markdown."""
    dft, ldos = card.dft, card.ldos
    facts = [
        ("elements", ", ".join(card.elements)),
        ("licence", card.licence or "not stated"),
        ("electrons", f"{card.electron_temperature_K:g} K, unless another temperature is asked for"),
        ("reference", f"{dft.program}, {dft.ecutwfc_Ry:g} Ry (density {dft.ecutrho_Ry:g} Ry), SCF to "
                      f"{dft.conv_thr_Ry:g} Ry, k-points {'; '.join(dft.kpoints)}, shift {dft.kpoints_shift}"),
        *(
            (f"pseudopotential of {element}", f"{one.functional}, {one.kind}, {one.valence:g} valence electrons, "
                                              f"SHA-256 {one.sha256}")
            for element, one in dft.pseudopotentials.items()
        ),
        ("LDOS", f"{ldos.energy_min_eV:g} to {ldos.energy_max_eV:g} eV in steps of {ldos.spacing_eV:g} eV, Gaussian of "
                 f"width {ldos.broadening_eV:g} eV"
                 + "".join(f", from {zero:g} eV Å³ times the {element} atoms per volume"
                           for element, zero in ldos.energy_zero_eV_A3.items())),
        ("descriptors", _settings_text(card.descriptors)),
        ("network", _settings_text(card.network)),
        ("training", _settings_text(card.training)),
        ("domain", f"within {card.domain.cutoff_A:g} Å of a point; structures that are {card.domain.warning_score:g} "
                   f"times as far from the training set as its validation snapshots are warned of, "
                   f"{card.domain.refusal_score:g} times refused"),
        ("made by", f"study {card.study}, Nearsight {card.nearsight}"),
        *((f"SHA-256 of {name}", value) for name, value in card.files.items()),
        ("size of the weights", f"{card.weights_bytes / 1e6:.2f} MB"),
    ]  # fmt: skip
    return (
        f"# {card.name}\n\n| | |\n|---|---|\n"
        + "".join(f"| {name} | {text} |\n" for name, text in facts)
        + "\n## Errors against DFT\n\nRoot of the mean square over a state's snapshots, in brackets the largest. "
        "Energies: *total* is the model against DFT, *network* against the integrals of the DFT's own LDOS, *method* "
        "those against DFT. Fields: ∫&#124;Δn&#124;/N of the density and ∫&#124;ΔD&#124;/∫D of the DOS, means. "
        "Snapshots of the roles train and validation were seen in training.\n\n" + _table(card.states)
    )


def _settings_text(settings: dict) -> str:
    return ", ".join(f"{key} {json.dumps(value) if isinstance(value, dict | list) else value}"
                     for key, value in settings.items())  # fmt: skip


#: Column of the errors -> its text.
_COLUMNS: dict[str, Callable[[StateCard], str]] = {
    "state": lambda one: one.name,
    "role": lambda one: one.role,
    "snapshots": lambda one: str(one.snapshots),
    "atoms": lambda one: f"{one.atoms} ({one.formula})",
    "electrons (K)": lambda one: f"{one.electron_temperature_K:g}",
    "mass density (g/cm³)": lambda one: f"{one.density_g_cm3:.4f}",
    "free energy total (meV/atom)": lambda one: _spread(one.total_free_energy_meV_per_atom),
    "network": lambda one: _spread(one.network_meV_per_atom),
    "method": lambda one: _spread(one.method_meV_per_atom),
    "band energy total (meV/atom)": lambda one: _spread(one.band_energy_meV_per_atom),
    "Fermi level (meV)": lambda one: _spread(one.fermi_energy_meV),
    "density (%)": lambda one: f"{one.density_integrated_percent:.2f}",
    "DOS (%)": lambda one: f"{one.dos_percent:.2f}",
}


def _spread(value: Spread) -> str:
    return f"{value.rms:.2f} ({value.largest:+.2f})"


def _table(states: list[StateCard]) -> str:
    order = {"test": 0, "validation": 1, "train": 2}
    rows = sorted(states, key=lambda one: (order.get(one.role, 3), one.atoms, one.name))
    lines = [list(_COLUMNS), ["---"] * len(_COLUMNS), *([text(one) for text in _COLUMNS.values()] for one in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

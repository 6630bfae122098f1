"""What MALA's parameters (NAME.params.json) say of a model, and whether Nearsight supports it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid

#: The parameters of LAMMPS's bispectrum that MALA's input files fix.
RFAC0, RMIN0_A = 0.99363, 0.0

#: MALA's `restrict_targets` that are read: negative values of the LDOS become 0, or stay.
CLIPPED = "zero_out_negative"


@dataclass(frozen=True)
class NamedSnapshot:
    """A snapshot that a model was trained on (`tr`), validated (`va`) or tested with (`te`), by its files' names."""

    role: str
    descriptors: str
    ldos: str


@dataclass(frozen=True)
class MalaParameters:
    """A model's parameters.

    layers: sizes, from the descriptors to the LDOS; activations: MALA's `layer_activations`, names of torch.nn;
    after_output: whether the last layer has one too, None where the version did not say; clipped: whether negative
    values become 0; weights: of the elements in alphabetical order, None where all are 1.
    """

    path: str
    twojmax: int
    cutoff_A: float
    weights: Sequence[float] | None
    energy_grid: EnergyGrid
    layers: Sequence[int]
    activations: str | Sequence[str | None]
    after_output: bool | None
    clipped: bool
    snapshots: Sequence[NamedSnapshot]

    def descriptor_settings(self, elements: Sequence[str]) -> dict[str, Any]:
        """The section `descriptors` of the same bispectrum. Raises InputError for another number of elements."""
        names = sorted(elements)
        values = [1.0] * len(names) if self.weights is None else list(self.weights)
        if len(values) != len(names):
            raise InputError(
                f"{self.path}: descriptors.bispectrum_element_weights: expected one for each of {', '.join(names)}, "
                f"got {len(values)}."
            )
        weights = dict(zip(names, values, strict=True))
        return {
            "kind": "bispectrum",
            "backend": "native",
            "twojmax": self.twojmax,
            "cutoff_A": self.cutoff_A,
            "rfac0": RFAC0,
            "rmin0": RMIN0_A,
            "weights": {} if list(weights.values()) == [1.0] else weights,
        }


def read_parameters(content: Mapping[str, Any], path: str) -> MalaParameters:
    """The parameters in a JSON object. Raises InputError that names what Nearsight does not support."""
    reader = _Reader(content, path)
    reader.require("descriptors.descriptor_type", "Bispectrum", "Other descriptors are not supported.")
    reader.require("descriptors.bispectrum_switchflag", 1, "Without it the bispectrum jumps at the cutoff.", 1)
    for key in ("descriptors.custom_lammps_compute_file", "descriptors.lammps_compute_file"):
        reader.require(key, "", "Another input of LAMMPS may compute anything.", "")
    reader.require("targets.target_type", "LDOS", "Models of the density or the DOS alone give no LDOS.")
    reader.require("network.nn_type", "feed-forward", "Other networks are not supported.")
    restrict = reader.value("targets.restrict_targets", CLIPPED)
    if restrict not in (CLIPPED, None):
        raise reader.error("targets.restrict_targets", f"{CLIPPED!r} or null", restrict, "No other is supported.")
    layers = reader.value("network.layer_sizes")
    whole = isinstance(layers, list) and all(type(size) is int and 1 <= size <= 65536 for size in layers)
    if not whole or not 2 <= len(layers) <= 64:
        raise reader.error("network.layer_sizes", "2 to 64 whole numbers between 1 and 65536", layers)
    activations = reader.value("network.layer_activations")
    if not isinstance(activations, str) and not (
        isinstance(activations, list) and all(one is None or isinstance(one, str) for one in activations)
    ):
        raise reader.error("network.layer_activations", "a name of torch.nn, or a list of them", activations)
    after_output = reader.value("network.layer_activations_include_output_layer", None)
    weights = reader.value("descriptors.bispectrum_element_weights", None)
    if weights is not None and not (isinstance(weights, list) and all(_is_number(weight) for weight in weights)):
        raise reader.error("descriptors.bispectrum_element_weights", "numbers", weights)
    twojmax = reader.value("descriptors.bispectrum_twojmax")
    if type(twojmax) is not int:
        raise reader.error("descriptors.bispectrum_twojmax", "a whole number", twojmax)
    return MalaParameters(
        path=path,
        twojmax=twojmax,
        cutoff_A=reader.number("descriptors.bispectrum_cutoff"),
        weights=weights,
        energy_grid=_energy_grid(reader),
        layers=layers,
        activations=activations,
        after_output=after_output if isinstance(after_output, bool) else None,
        clipped=restrict is not None,
        snapshots=_snapshots(reader),
    )


def _energy_grid(reader: "_Reader") -> EnergyGrid:
    """The energies of the LDOS; MALA keeps several windows as lists, and a list of one is the same as no list."""
    keys = [f"targets.ldos_{name}" for name in ("gridoffset_ev", "gridspacing_ev", "gridsize")]
    numbers = []
    for key in keys:
        value = reader.value(key)
        if isinstance(value, list) and len(value) > 1:
            raise reader.error(
                key, "one window of even steps", value,
                "An LDOS of several windows is not supported: compute it again in one, or train on one of them.",
            )  # fmt: skip
        value = value[0] if isinstance(value, list) and value else value
        if not _is_number(value):
            raise reader.error(key, "a number", value)
        numbers.append(value)
    if numbers[2] != int(numbers[2]) or not 3 <= numbers[2] <= 65536:
        raise reader.error(keys[2], "a whole number between 3 and 65536", numbers[2])
    try:
        return EnergyGrid(float(numbers[0]), float(numbers[1]), int(numbers[2]))
    except InputError as error:
        raise InputError(f"{reader.path}: targets: {error}") from None


def _snapshots(reader: "_Reader") -> list[NamedSnapshot]:
    """The snapshots of the training; only names are taken, since the folders are those of another machine."""
    found = []
    entries = reader.value("data.snapshot_directories_list", [])
    for entry in entries if isinstance(entries, list) else []:
        facts = entry.get("data", entry) if isinstance(entry, dict) else {}
        names = [facts.get(key) for key in ("snapshot_function", "input_npy_file", "output_npy_file")]
        if isinstance(facts, dict) and all(isinstance(name, str) for name in names):
            found.append(NamedSnapshot(names[0], *(PureWindowsPath(name).name for name in names[1:])))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


_MISSING = object()


@dataclass(frozen=True)
class _Reader:
    """Values of a JSON object by keys with dots."""

    content: Mapping[str, Any]
    path: str

    def value(self, key: str, default: Any = _MISSING) -> Any:
        found: Any = self.content
        for part in key.split("."):
            found = found.get(part, _MISSING) if isinstance(found, dict) else _MISSING
        if found is _MISSING and default is _MISSING:
            raise InputError(
                f"{self.path}: {key}: expected it among MALA's parameters, found none. Versions before 1.2 have other "
                "names: load the model with a newer MALA and save it again."
            )
        return default if found is _MISSING else found

    def number(self, key: str) -> float:
        value = self.value(key)
        if not _is_number(value):
            raise self.error(key, "a number", value)
        return float(value)

    def require(self, key: str, expected: Any, advice: str, default: Any = _MISSING) -> None:
        value = self.value(key, default)
        if value != expected:
            raise self.error(key, repr(expected), value, advice)

    def error(self, key: str, expected: str, found: object, advice: str = "Save the model again.") -> InputError:
        shown = repr(found) if isinstance(found, str | int | float | None) else f"a {type(found).__name__}"
        if isinstance(found, list):
            shown = f"a list of {len(found)}"
        return InputError(f"{self.path}: {key}: expected {expected}, got {shown[:80]}. {advice}")

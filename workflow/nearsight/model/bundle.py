"""The model bundle: safetensors with weights and scalings, JSON with all else. No pickle anywhere.

The JSON carries the SHA-256 of the safetensors file and of its own content, and sizes, types and names are checked
before a network is built: a file from a stranger can be wrong, but it cannot run code.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from nearsight.errors import InputError
from nearsight.files import read_json, read_regular, sha256_of, write_json, write_whole
from nearsight.grids.energies import EnergyGrid
from nearsight.model.domain import TrainingDomain
from nearsight.model.network import NetworkSettings, build_network
from nearsight.model.scaling import Scaling
from nearsight.provenance import hash_settings

FORMAT = "nearsight model bundle"
FORMAT_VERSION = 3

#: Tensors of the safetensors file beside the network's own.
SCALINGS = ("descriptors.mean", "descriptors.scale", "ldos.mean", "ldos.scale")
DOMAIN_ARRAYS = ("mean", "components", "references", "rdf")

#: Most numbers along an axis of the domain's arrays.
LARGEST_DOMAIN = 1 << 20

#: Bytes of the largest weights that are read, and of the names and shapes before them.
LARGEST_WEIGHTS = 4 << 30
LARGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class ModelBundle:
    """A trained model with everything that is needed to use it, and to refuse data that does not fit.

    descriptor_settings: as in the descriptor datasets, without backend and elements; broadening_eV: s of the Gaussian
    exp(-(ε/s)²)/(s√π) in the training data; electrons_per_element: valence electrons; pseudopotentials: element -> text
    of the UPF file, and ecutrho_Ry: density cutoff, of the DFT; domain: what the training set looks like.
    """

    network: torch.nn.Sequential
    network_settings: NetworkSettings
    descriptor_scaling: Scaling
    ldos_scaling: Scaling
    descriptor_settings: dict
    energy_grid: EnergyGrid
    broadening_eV: float
    temperature_K: float
    elements: list[str]
    electrons_per_element: dict[str, float]
    pseudopotentials: dict[str, str]
    ecutrho_Ry: float
    domain: TrainingDomain
    training: dict
    provenance: dict

    def __post_init__(self) -> None:
        """Raise InputError where scalings, network and energy grid differ in size."""
        sizes = {
            "network.inputs and descriptor scaling": (self.network_settings.inputs, self.descriptor_scaling.mean.size),
            "network.outputs and LDOS scaling": (self.network_settings.outputs, self.ldos_scaling.mean.size),
            "network.outputs and energies": (self.network_settings.outputs, self.energy_grid.count),
            "network.inputs and domain": (self.network_settings.inputs, self.domain.mean.size),
        }
        for what, (one, other) in sizes.items():
            if one != other:
                raise InputError(f"model: {what}: expected equal numbers, got {one} and {other}.")

    def predict_ldos(self, descriptors: np.ndarray) -> np.ndarray:
        """LDOS in 1/(eV Å³), shape (n, energies), float32, of descriptors of shape (n, components).

        Rows are independent of each other. Memory: a few arrays of n rows; the caller chooses n (tiles).
        Raises InputError for another number of components.
        """
        descriptors = np.asarray(descriptors)
        if descriptors.ndim != 2 or descriptors.shape[1] != self.network_settings.inputs:
            raise InputError(
                f"descriptors: expected shape (points, {self.network_settings.inputs}), got {descriptors.shape}."
            )
        with torch.inference_mode():
            scaled = self.network(torch.from_numpy(self.descriptor_scaling.apply(descriptors))).numpy()
        return self.ldos_scaling.invert(scaled)


def save_bundle(bundle: ModelBundle, json_path: str | Path, weights_path: str | Path) -> None:
    """Write both files, each whole; the JSON last, because it names the hash of the other."""
    tensors = {f"network.{name}": tensor.detach().cpu() for name, tensor in bundle.network.state_dict().items()}
    values = (
        bundle.descriptor_scaling.mean,
        bundle.descriptor_scaling.scale,
        bundle.ldos_scaling.mean,
        bundle.ldos_scaling.scale,
    )
    tensors |= {name: torch.from_numpy(value) for name, value in zip(SCALINGS, values, strict=True)}
    domain = bundle.domain
    tensors |= {f"domain.{name}": torch.from_numpy(getattr(domain, name)) for name in DOMAIN_ARRAYS}
    with write_whole(weights_path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"format": FORMAT})
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights_sha256": sha256_of(weights_path),
        "network": bundle.network_settings.to_dict(),
        "descriptors": bundle.descriptor_settings,
        "ldos": {
            "energy_min_eV": bundle.energy_grid.minimum_eV,
            "spacing_eV": bundle.energy_grid.spacing_eV,
            "energies": bundle.energy_grid.count,
            "broadening_eV": bundle.broadening_eV,
        },
        "temperature_K": bundle.temperature_K,
        "elements": bundle.elements,
        "electrons_per_element": bundle.electrons_per_element,
        "pseudopotentials": bundle.pseudopotentials,
        "ecutrho_Ry": bundle.ecutrho_Ry,
        "domain": {
            "components": domain.components.shape[1],
            "references": len(domain.references),
            "bins": len(domain.rdf),
            "distance": domain.distance,
            "rdf_cutoff_A": domain.rdf_cutoff_A,
            "rdf_distance": domain.rdf_distance,
        },
        "training": bundle.training,
        "provenance": bundle.provenance,
    }
    write_json(json_path, {**content, "content_sha256": hash_settings(content)})


def load_bundle(json_path: str | Path, weights_path: str | Path) -> ModelBundle:
    """Read and check a bundle. Raises InputError where a file is missing, truncated, altered or of another kind."""
    content = read_json(json_path)
    if content.get("format") != FORMAT or content.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{json_path}: format: expected {FORMAT!r}, version {FORMAT_VERSION}, got {content.get('format')!r}, "
            f"version {content.get('format_version')!r}. Train the model again with this version of Nearsight."
        )
    stated = content.pop("content_sha256", None)
    if stated != (found := hash_settings(content)):
        raise InputError(
            f"{json_path}: content_sha256: expected the SHA-256 of the file's content, {found}, got {stated}. The file "
            "is damaged or was changed by hand: train again, or restore it."
        )
    read = _Reader(json_path, content)
    hidden = read.value("network", "hidden", kind=list)
    settings = _within(
        json_path,
        lambda: NetworkSettings(
            inputs=read.value("network", "inputs", kind=int),
            hidden=tuple(hidden),
            activation=read.value("network", "activation", kind=str),
            outputs=read.value("network", "outputs", kind=int),
        ),
    )
    grid = _within(
        json_path,
        lambda: EnergyGrid(
            read.number("ldos", "energy_min_eV"),
            read.number("ldos", "spacing_eV"),
            read.value("ldos", "energies", kind=int),
        ),
    )
    elements = read.value("elements", kind=list)
    electrons = {
        element: read.number("electrons_per_element", element, positive=True)
        for element in read.value("electrons_per_element", kind=dict)
    }
    if not elements or not all(isinstance(e, str) and e in electrons for e in elements):
        raise InputError(f"{json_path}: elements: expected elements with valence electrons, got {elements}.")
    texts = read.value("pseudopotentials", kind=dict)
    pseudopotentials = {element: read.value("pseudopotentials", element, kind=str) for element in texts}
    if set(pseudopotentials) != set(elements):
        raise InputError(f"{json_path}: pseudopotentials: expected one per element, got {sorted(pseudopotentials)}.")
    sizes = [read.value("domain", key, kind=int) for key in ("components", "references", "bins")]
    if not all(0 < size <= LARGEST_DOMAIN for size in sizes):
        raise InputError(f"{json_path}: domain: expected sizes of 1 to {LARGEST_DOMAIN}, got {sizes}.")
    tensors = _read_tensors(Path(weights_path), settings, sizes, json_path, read.value("weights_sha256", kind=str))
    network = build_network(settings)
    network.load_state_dict({name: tensors[f"network.{name}"] for name in settings.tensor_shapes()})
    network.eval().requires_grad_(False)
    arrays = [tensors[name].numpy() for name in SCALINGS]
    return _within(
        json_path,
        lambda: ModelBundle(
            network=network,
            network_settings=settings,
            descriptor_scaling=Scaling(arrays[0], arrays[1]),
            ldos_scaling=Scaling(arrays[2], arrays[3]),
            descriptor_settings=read.value("descriptors", kind=dict),
            energy_grid=grid,
            broadening_eV=read.number("ldos", "broadening_eV", positive=True),
            temperature_K=read.number("temperature_K", positive=True),
            elements=elements,
            electrons_per_element=electrons,
            pseudopotentials=pseudopotentials,
            ecutrho_Ry=read.number("ecutrho_Ry", positive=True),
            domain=TrainingDomain(
                **{name: tensors[f"domain.{name}"].numpy() for name in DOMAIN_ARRAYS},
                **{
                    key: read.number("domain", key, positive=True)
                    for key in ("distance", "rdf_cutoff_A", "rdf_distance")
                },
            ),
            training=read.value("training", kind=dict),
            provenance=read.value("provenance", kind=dict),
        ),
    )


def _read_tensors(
    path: Path, settings: NetworkSettings, domain_sizes: list[int], json_path: str | Path, sha256: str
) -> dict[str, torch.Tensor]:
    """All tensors of the file with this SHA-256, with the names, shapes and types that the settings call for."""
    expected = {f"network.{name}": (torch.float32, shape) for name, shape in settings.tensor_shapes().items()}
    sizes = (settings.inputs, settings.inputs, settings.outputs, settings.outputs)
    expected |= {name: (torch.float64, (size,)) for name, size in zip(SCALINGS, sizes, strict=True)}
    inputs, (components, references, bins) = settings.inputs, domain_sizes
    expected |= {
        "domain.mean": (torch.float64, (inputs,)),
        "domain.components": (torch.float64, (inputs, components)),
        "domain.references": (torch.float32, (references, components)),
        "domain.rdf": (torch.float64, (bins,)),
    }
    needed = sum(dtype.itemsize * prod(shape) for dtype, shape in expected.values())
    if needed > LARGEST_WEIGHTS:
        raise InputError(f"{json_path}: network: expected at most {LARGEST_WEIGHTS} bytes of weights, got {needed}.")
    # read once, so that what is checked is what is used
    content = read_regular(path, "the model's weights", "Run the rule train_model.", needed + LARGEST_HEADER)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"{path}: expected the weights that {json_path} names (SHA-256 {sha256}), got SHA-256 {found}. The file is "
            "damaged or of another training: train again, or restore both files."
        )
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # a type that torch has no name for is a KeyError, and so on
        raise InputError(f"{path}: expected a whole safetensors file, got {error!r}. Train the model again.") from error
    if set(tensors) != set(expected):
        difference = sorted(set(tensors) ^ set(expected))
        raise InputError(f"{path}: expected the tensors of the network, missing or unknown: {', '.join(difference)}.")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            raise InputError(f"{path}: {name}: expected {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)}.")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: {name}: expected finite numbers, got NaN or infinity. Train the model again.")
    return tensors


@dataclass(frozen=True)
class _Reader:
    """Values of a JSON object by their path of keys, with their types checked."""

    path: str | Path
    content: dict

    def value(self, *keys: str, kind: type) -> object:
        value: object = self.content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if type(value) is not kind:
            raise InputError(
                f"{self.path}: {'.'.join(keys)}: expected a {kind.__name__}, got {json.dumps(value)[:80]}. "
                "Train the model again."
            )
        return value

    def number(self, *keys: str, positive: bool = False) -> float:
        value: object = self.content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or (positive and value <= 0):
            raise InputError(
                f"{self.path}: {'.'.join(keys)}: expected a {'positive ' if positive else ''}number, got "
                f"{json.dumps(value)[:80]}. Train the model again."
            )
        return float(value)


def _within(path: str | Path, build):
    """Call `build`; an InputError gets the file's name in front."""
    try:
        return build()
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from None

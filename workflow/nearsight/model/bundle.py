"""The model bundle: safetensors with weights and scalings, JSON with everything else. No pickle anywhere.

The JSON carries the SHA-256 of the safetensors file and of its own content, and sizes, types and names are checked
before a network is built: a file from a stranger can be wrong, but it cannot run code.
"""

import hashlib
import json
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors
import safetensors.torch
import torch
from ase import Atoms
from pydantic import BaseModel, Field, ValidationError, model_validator

from nearsight.descriptors.interface import Descriptor, make_descriptor
from nearsight.errors import InputError
from nearsight.files import read_json, read_regular, sha256_of, write_json, write_whole
from nearsight.grids.energies import EnergyGrid, find_energy_zero
from nearsight.model.domain import TrainingDomain
from nearsight.model.last_layer import ErrorBars
from nearsight.model.network import LdosNetwork, build_network, tensor_shapes
from nearsight.model.scaling import Scaling
from nearsight.plugins import NETWORKS, find_kind
from nearsight.provenance import hash_settings
from nearsight.study.sections import Section

FORMAT = "nearsight model bundle"
FORMAT_VERSION = 4

#: Tensors of the safetensors file besides the network's own.
SCALINGS = ("descriptors.mean", "descriptors.scale", "ldos.mean", "ldos.scale")
DOMAIN_ARRAYS = ("mean", "components", "references", "rdf")
BARS = "error_bars.inverse"
DOMAIN_NUMBERS = ("distance", "rdf_cutoff_A", "rdf_distance", "largest_distance")

#: What the JSON holds under the bundle's own names.
AS_THEY_ARE = (
    "descriptor_settings",
    "temperature_K",
    "elements",
    "electrons_per_element",
    "pseudopotentials",
    "ecutrho_Ry",
    "screening_k_A",
    "ecut_sample_Ry",
    "broadening_errors",
    "training",
    "provenance",
)

#: Bytes of the largest weights that are read, and of the names and shapes before them.
LARGEST_WEIGHTS = 4 << 30
LARGEST_HEADER = 1 << 20


Number = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]


class _Ldos(Section):
    energy_min_eV: float
    spacing_eV: Number
    energies: Annotated[int, Field(ge=3, le=65536)]
    broadening_eV: Number | None
    #: older bundles have none
    energy_zero_eV_A3: dict[str, float] = Field(default_factory=dict)


class _Domain(Section):
    components: Size
    references: Size
    bins: Size
    distance: Number
    rdf_cutoff_A: Number
    rdf_distance: Number
    #: older bundles have none
    largest_distance: Number | None = None


class _ErrorBars(Section):
    energy: Number
    count: Number


class _Content(Section):
    """The JSON file, less its format and its own hash."""

    weights_sha256: str
    network: dict
    components: Annotated[int, Field(ge=1, le=65536)]
    descriptor_settings: dict
    ldos: _Ldos
    temperature_K: Number
    elements: Annotated[list[str], Field(min_length=1)]
    electrons_per_element: dict[str, Number]
    pseudopotentials: dict[str, str]
    ecutrho_Ry: Number
    #: older bundles have none
    screening_k_A: Annotated[float, Field(gt=0, le=100)] | None = None
    ecut_sample_Ry: Number | None = None
    broadening_errors: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    domain: _Domain
    error_bars: _ErrorBars | None
    training: dict
    provenance: dict

    @model_validator(mode="after")
    def _elements_are_known(self) -> "_Content":
        for key in ("electrons_per_element", "pseudopotentials"):
            if set(getattr(self, key)) != set(self.elements):
                raise ValueError(f"expected {key} of the elements {self.elements}")
        return self


@dataclass(frozen=True)
class ModelBundle:
    """A trained model with everything that is needed to use it, and to refuse data that does not fit.

    descriptor_settings: as in the descriptor datasets, without elements; broadening_eV: s of the Gaussian
    exp(-(ε/s)²)/(s√π) in the training data, or that has their kernel's variance, None where energies are not to be
    corrected for it; electrons_per_element: valence electrons; pseudopotentials: element -> text
    of the UPF file, and ecutrho_Ry: density cutoff, of the DFT; domain: what the training set looks like; error_bars:
    how sure the network is, where the training measured it; screening_k_A: k in 1/Å by which the training cells'
    electrons follow long waves of their ions, where some cell has them; ecut_sample_Ry: cutoff of a grid that is fine
    enough for the training cells' densities; broadening_errors: what the broadening leaves in the energies of the
    training cells' LDOS, pairs of temperature in K, ascending, and eV/atom; energy_grid: relative to a cell's energy
    zero, which energy_zero_eV_A3 gives.
    """

    network: LdosNetwork
    network_settings: BaseModel
    descriptor_scaling: Scaling
    ldos_scaling: Scaling
    descriptor_settings: dict
    energy_grid: EnergyGrid
    broadening_eV: float | None
    temperature_K: float
    elements: list[str]
    electrons_per_element: dict[str, float]
    pseudopotentials: dict[str, str]
    ecutrho_Ry: float
    domain: TrainingDomain
    training: dict
    provenance: dict
    error_bars: ErrorBars | None = None
    screening_k_A: float | None = None
    ecut_sample_Ry: float | None = None
    broadening_errors: list[list[float]] = field(default_factory=list)
    energy_zero_eV_A3: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise InputError where scalings, network and energy grid differ in size."""
        sizes = {
            "network.inputs and descriptor scaling": (self.network.inputs, self.descriptor_scaling.mean.size),
            "network.outputs and LDOS scaling": (self.network.outputs, self.ldos_scaling.mean.size),
            "network.outputs and energies": (self.network.outputs, self.energy_grid.count),
            "network.inputs and domain": (self.network.inputs, self.domain.mean.size),
        }
        for what, (one, other) in sizes.items():
            if one != other:
                raise InputError(f"model: {what}: expected equal numbers, got {one} and {other}.")

    def broadening_error_eV_per_atom(self, temperature_K: float) -> float:
        """What the broadening leaves in an energy: linear between the training's temperatures, constant beyond."""
        if not self.broadening_errors:
            return 0.0
        return float(np.interp(temperature_K, *zip(*self.broadening_errors, strict=True)))

    def descriptor(self, backend: str | None = None) -> Descriptor:
        """What the network takes; backend: other than the training's. Raises InputError where they do not fit."""
        changes = {} if backend is None else {"backend": backend}
        descriptor = make_descriptor(self.descriptor_settings, self.elements, **changes)
        if descriptor.components != self.network.inputs:
            raise InputError(
                f"model: descriptor_settings: expected {self.network.inputs} components, as the network takes, got "
                f"{descriptor.components}."
            )
        return descriptor

    def energies_of(self, atoms: Atoms) -> EnergyGrid:
        """The energies of a structure's LDOS as DFT counts them in its cell."""
        return self.energy_grid.shifted(find_energy_zero(atoms, self.energy_zero_eV_A3))

    def predict_ldos(self, descriptors: np.ndarray) -> np.ndarray:
        """LDOS in 1/(eV Å³), shape (n, energies), float32, of descriptors of shape (n, components).

        Rows are independent of each other. Memory: a few arrays of n rows; the caller chooses n (tiles).
        Raises InputError for another number of components.
        """
        descriptors = np.asarray(descriptors)
        if descriptors.ndim != 2 or descriptors.shape[1] != self.network.inputs:
            raise InputError(f"descriptors: expected shape (points, {self.network.inputs}), got {descriptors.shape}.")
        with torch.inference_mode():
            scaled = self.network(torch.from_numpy(self.descriptor_scaling.apply(descriptors))).numpy()
        return self.ldos_scaling.invert(scaled)


def save_bundle(bundle: ModelBundle, json_path: str | Path, weights_path: str | Path) -> None:
    """Write both files, each whole; the JSON last, because it names the hash of the other."""
    tensors = {f"network.{name}": tensor.detach().cpu() for name, tensor in bundle.network.state_dict().items()}
    scalings = (bundle.descriptor_scaling, bundle.ldos_scaling)
    values = [value for scaling in scalings for value in (scaling.mean, scaling.scale)]
    tensors |= {name: torch.from_numpy(value) for name, value in zip(SCALINGS, values, strict=True)}
    domain, grid = bundle.domain, bundle.energy_grid
    tensors |= {f"domain.{name}": torch.from_numpy(getattr(domain, name)) for name in DOMAIN_ARRAYS}
    bars = bundle.error_bars
    if bars is not None:
        tensors[BARS] = torch.from_numpy(bars.inverse)
    with write_whole(weights_path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"format": FORMAT})
    content = _Content(
        weights_sha256=sha256_of(weights_path),
        network=bundle.network_settings.model_dump(),
        components=bundle.network.inputs,
        ldos=_Ldos(
            energy_min_eV=grid.minimum_eV,
            spacing_eV=grid.spacing_eV,
            energies=grid.count,
            broadening_eV=bundle.broadening_eV,
            energy_zero_eV_A3=bundle.energy_zero_eV_A3,
        ),
        domain=_Domain(
            components=domain.components.shape[1],
            references=len(domain.references),
            bins=len(domain.rdf),
            **{name: getattr(domain, name) for name in DOMAIN_NUMBERS},
        ),
        error_bars=None if bars is None else _ErrorBars(energy=bars.energy, count=bars.count),
        **{name: getattr(bundle, name) for name in AS_THEY_ARE},
    ).model_dump()
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
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
    try:
        del content["format"], content["format_version"]
        read = _Content.model_validate(content)
        architecture = find_kind(NETWORKS, read.network.get("kind"), "network.kind")
        settings = architecture.Settings.model_validate(read.network)
        grid = EnergyGrid(read.ldos.energy_min_eV, read.ldos.spacing_eV, read.ldos.energies)
        tensors = _read_tensors(Path(weights_path), settings, read, json_path)
        network = build_network(settings, read.components, grid.count)
        network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items() if "network." in name})
        network.eval().requires_grad_(False)
        arrays = [tensors[name].numpy() for name in SCALINGS]
        bundle = ModelBundle(
            network=network,
            network_settings=settings,
            descriptor_scaling=Scaling(arrays[0], arrays[1]),
            ldos_scaling=Scaling(arrays[2], arrays[3]),
            energy_grid=grid,
            broadening_eV=read.ldos.broadening_eV,
            energy_zero_eV_A3=read.ldos.energy_zero_eV_A3,
            domain=TrainingDomain(
                **{name: tensors[f"domain.{name}"].numpy() for name in DOMAIN_ARRAYS},
                **{name: getattr(read.domain, name) for name in DOMAIN_NUMBERS},
            ),
            error_bars=read.error_bars and ErrorBars(tensors[BARS].numpy(), **read.error_bars.model_dump()),
            **{name: getattr(read, name) for name in AS_THEY_ARE},
        )
        bundle.descriptor()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{json_path}: {where}: {first['msg']}, got {json.dumps(first['input'], default=str)[:80]}. "
            "Train the model again."
        ) from None
    except InputError as error:
        text = str(error)
        raise InputError(text if str(json_path.parent) in text else f"{json_path}: {text}") from None
    return bundle


def _read_tensors(path: Path, settings: BaseModel, content: _Content, json_path: Path) -> dict[str, torch.Tensor]:
    """All tensors of the file that `content` names, with the names, shapes and types that it calls for."""
    inputs, outputs, domain = content.components, content.ldos.energies, content.domain
    shapes = tensor_shapes(settings, inputs, outputs, LARGEST_WEIGHTS)
    expected = {f"network.{name}": (torch.float32, shape) for name, shape in shapes.items()}
    sizes = (inputs, inputs, outputs, outputs)
    expected |= {name: (torch.float64, (size,)) for name, size in zip(SCALINGS, sizes, strict=True)}
    expected |= {
        "domain.mean": (torch.float64, (inputs,)),
        "domain.components": (torch.float64, (inputs, domain.components)),
        "domain.references": (torch.float32, (domain.references, domain.components)),
        "domain.rdf": (torch.float64, (domain.bins,)),
    }
    if content.error_bars is not None:
        width = shapes["head.weight"][1] + 1
        expected[BARS] = (torch.float64, (width, width))
    needed = sum(dtype.itemsize * prod(shape) for dtype, shape in expected.values())
    if needed > LARGEST_WEIGHTS:
        raise InputError(f"{json_path}: network: expected at most {LARGEST_WEIGHTS} bytes of weights, got {needed}.")
    # read once, so that what is checked is what is used
    weights = read_regular(path, "the model's weights", "Run the rule train_model.", needed + LARGEST_HEADER)
    if (found := hashlib.sha256(weights).hexdigest()) != content.weights_sha256:
        raise InputError(
            f"{path}: expected the weights that {json_path} names (SHA-256 {content.weights_sha256}), got SHA-256 "
            f"{found}. The file is damaged or of another training: train again, or restore both files."
        )
    try:
        tensors = safetensors.torch.load(weights)
    except Exception as error:  # KeyError for a type unknown to torch, and so on
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

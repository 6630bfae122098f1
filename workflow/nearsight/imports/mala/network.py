"""MALA's feed-forward network as a trunk and a head of ours, to the last digit.

Its modules follow from the names of its tensors and torch's list of all modules, and so do not depend on how a version
of MALA reads `layer_activations`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from nearsight.errors import InputError
from nearsight.imports.mala.parameters import MalaParameters
from nearsight.imports.mala.pickles import Record
from nearsight.model.network import LdosNetwork, build_network
from nearsight.model.networks.layered import ACTIVATIONS, Settings
from nearsight.model.scaling import Scaling

#: Class of torch.nn -> its name in the settings of a network.
OURS = {theirs: ours for ours, theirs in ACTIVATIONS.items()}

_NAME = re.compile(r"layers\.(\d{1,4})\.(weight|bias)")


@dataclass(frozen=True)
class Layer:
    """x -> activation(weight x + bias), with the activation's name in the settings of a network."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str


def read_layers(
    parameters: MalaParameters, tensors: Mapping[str, np.ndarray], attributes: Mapping[str, Any], path: str
) -> list[Layer]:
    """The layers of the state of a network. Raises InputError for tensors and modules that no such network has."""
    for name, tensor in tensors.items():
        if _NAME.fullmatch(name) is None:
            raise InputError(
                f"{path}: {name[:80]}: expected the weights and biases of linear layers, got another tensor. Networks "
                "with normalisation, recurrence or attention are not supported."
            )
        if tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            raise InputError(f"{path}: {name}: expected finite numbers, got others. Train the model again.")
    places = sorted({int(_NAME.fullmatch(name).group(1)) for name in tensors})
    sizes = list(pairwise(parameters.layers))
    if len(places) != len(sizes):
        raise InputError(
            f"{path}: expected {len(sizes)} linear layers, as in network.layer_sizes, got {len(places)}. Are both "
            "files of one model?"
        )
    modules = _count_modules(parameters, attributes, places[-1], path)
    gaps = [after - before for before, after in pairwise([*places, modules])]
    if places[0] != 0 or set(gaps) - {1, 2}:
        raise InputError(f"{path}: expected at most one activation after each linear layer, got other modules.")
    names = _activations(parameters, [gap == 2 for gap in gaps], path)
    layers = []
    for place, (before, after), activation in zip(places, sizes, names, strict=True):
        weight, bias = (tensors.get(f"layers.{place}.{kind}") for kind in ("weight", "bias"))
        if weight is None or bias is None or weight.shape != (after, before) or bias.shape != (after,):
            shapes = [None if one is None else one.shape for one in (weight, bias)]
            raise InputError(
                f"{path}: layers.{place}: expected the shapes {(after, before)} and {(after,)} of network.layer_sizes, "
                f"got {shapes[0]} and {shapes[1]}. Are both files of one model?"
            )
        layers.append(Layer(weight.astype(np.float64), bias.astype(np.float64), activation))
    return layers


def make_network(layers: list[Layer], scaling: Scaling, clipped: bool) -> tuple[LdosNetwork, Settings, Scaling]:
    """The network that gives what MALA's gives, its settings, and the scaling of what it gives.

    scaling: of the LDOS; clipped: whether negative values of the LDOS become 0, which a layer of its own then does, on
    the LDOS in its own unit. A last layer with an activation is part of the trunk, and the head passes it on.
    """
    if clipped and not _never_negative(layers[-1], scaling):
        in_unit = Layer(np.diag(scaling.scale), scaling.mean, "relu")
        if layers[-1].activation == "none":
            last = layers[-1]
            weight, bias = last.weight * scaling.scale[:, None], last.bias * scaling.scale + scaling.mean
            layers = [*layers[:-1], Layer(weight, bias, "relu")]
        else:
            layers = [*layers, in_unit]
        scaling = Scaling(np.zeros_like(scaling.mean), np.ones_like(scaling.scale))
    outputs = len(layers[-1].bias)
    head = Layer(np.eye(outputs), np.zeros(outputs), "none")
    if layers[-1].activation == "none" and len(layers) > 1:
        *layers, head = layers
    settings = Settings(
        kind="layered",
        widths=[len(layer.bias) for layer in layers],
        activations=[layer.activation for layer in layers],
    )
    network = build_network(settings, layers[0].weight.shape[1], outputs)
    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for module, layer in zip(linear, [*layers, head], strict=True):
            module.weight.copy_(torch.from_numpy(layer.weight))
            module.bias.copy_(torch.from_numpy(layer.bias))
    network.eval().requires_grad_(False)
    return network, settings, scaling


def _never_negative(layer: Layer, scaling: Scaling) -> bool:
    """Whether an LDOS of a last layer and its scaling cannot be negative."""
    return layer.activation in ("relu", "sigmoid", "softplus") and bool((scaling.mean >= 0).all())


def _count_modules(parameters: MalaParameters, attributes: Mapping[str, Any], last: int, path: str) -> int:
    """Number of modules, linear layers and activations; torch lists all of them beside the tensors."""
    listed = attributes.get("_metadata")
    if isinstance(listed, Record):
        numbers = [int(name[7:]) for name in map(str, listed.items) if re.fullmatch(r"layers\.\d{1,4}", name)]
        if numbers and max(numbers) >= last:
            return max(numbers) + 1
    if parameters.after_output is None:
        raise InputError(
            f"{path}: expected torch's list of modules, or network.layer_activations_include_output_layer among the "
            "parameters, found neither: whether an activation follows the last layer is not known. Save the model "
            "again with MALA 1.3.1 or newer."
        )
    if parameters.after_output and isinstance(parameters.activations, list):
        return last + 1 + int(len(parameters.activations) >= len(parameters.layers) - 1)
    return last + 1 + int(parameters.after_output)


def _activations(parameters: MalaParameters, there: list[bool], path: str) -> list[str]:
    """The activation after each linear layer by our names; there: whether there is a module."""
    given = parameters.activations
    if isinstance(given, str) or (len(given) == 1 and sum(there) > 1):
        # before MALA 1.3.1 a list of one applied to all layers
        one = given if isinstance(given, str) else given[0]
        given = [one] * len(there)
    names = []
    for number, module in enumerate(there):
        theirs = given[number] if number < len(given) else None
        if not module:
            names.append("none")
            continue
        if theirs not in OURS or theirs is None:
            raise InputError(
                f"{path}: network.layer_activations: expected one of {', '.join(OURS)} after layer {number + 1}, got "
                f"{str(theirs)[:60]!r}. Other activations are not supported."
            )
        names.append(OURS[theirs])
    return names

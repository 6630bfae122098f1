"""The plain feed-forward network: linear layers, each followed by the same activation."""

from itertools import pairwise
from typing import TYPE_CHECKING

from nearsight.study.sections import Perceptron as Settings

if TYPE_CHECKING:
    import torch

__all__ = ["Settings", "build_trunk"]

ACTIVATIONS = {"leaky_relu": "LeakyReLU", "relu": "ReLU", "tanh": "Tanh", "silu": "SiLU", "gelu": "GELU"}


def build_trunk(settings: Settings, inputs: int) -> "torch.nn.Module":
    """The hidden layers; the features are the last one's activations."""
    import torch

    activation = getattr(torch.nn, ACTIVATIONS[settings.activation])
    # a chain, so that no one else needs what an activation overwrites
    options = {"inplace": True} if settings.activation in ("leaky_relu", "relu", "silu") else {}
    layers: list[torch.nn.Module] = []
    for before, after in pairwise((inputs, *settings.hidden)):
        layers += [torch.nn.Linear(before, after), activation(**options)]
    return torch.nn.Sequential(*layers)

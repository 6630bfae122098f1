"""A feed-forward network whose layers each have an activation of their own, or none: the form of imported models."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from nearsight.model.networks.perceptron import ACTIVATIONS as OF_PERCEPTRON
from nearsight.study.sections import Section

if TYPE_CHECKING:
    import torch

__all__ = ["ACTIVATIONS", "Settings", "build_trunk"]

#: Name in the settings -> class of torch.nn.
ACTIVATIONS = {**OF_PERCEPTRON, "sigmoid": "Sigmoid", "elu": "ELU", "softplus": "Softplus", "none": "Identity"}

Width = Annotated[int, Field(ge=1, le=65536)]


class Settings(Section):
    """The layers before the head: their widths, and what follows each."""

    kind: Literal["layered"]
    widths: Annotated[list[Width], Field(min_length=1, max_length=65)]
    activations: list[Literal["leaky_relu", "relu", "tanh", "silu", "gelu", "sigmoid", "elu", "softplus", "none"]]

    @model_validator(mode="after")
    def _one_activation_per_layer(self) -> "Settings":
        if len(self.widths) != len(self.activations):
            raise ValueError(f"expected one of activations per width, {len(self.widths)}, got {len(self.activations)}")
        return self


def build_trunk(settings: Settings, inputs: int) -> "torch.nn.Module":
    """The layers; the features are the last one's activations."""
    import torch

    layers: list[torch.nn.Module] = []
    before = inputs
    for width, activation in zip(settings.widths, settings.activations, strict=True):
        layers += [torch.nn.Linear(before, width), getattr(torch.nn, ACTIVATIONS[activation])()]
        before = width
    return torch.nn.Sequential(*layers)

"""The plain feed-forward network, one grid point at a time."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch

from nearsight.errors import InputError

ACTIVATIONS = {
    "leaky_relu": torch.nn.LeakyReLU,
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
}

#: More than this many units in a layer is a damaged file, not a network.
LARGEST_WIDTH = 65536


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of the network: `inputs` descriptors, `hidden` layers with `activation`, `outputs` energies.

    The last layer is linear, so that integrals of the LDOS over energy or space are integrals of the last hidden layer.
    """

    inputs: int
    hidden: tuple[int, ...]
    activation: str
    outputs: int

    def __post_init__(self) -> None:
        """Raise InputError unless all widths are whole, positive and sane and the activation is known."""
        widths = (self.inputs, *self.hidden, self.outputs)
        if not self.hidden or not all(type(w) is int and 0 < w <= LARGEST_WIDTH for w in widths):
            raise InputError(
                f"network: expected an input, at least one hidden layer and an output, each of 1 to {LARGEST_WIDTH} "
                f"units, got {widths}."
            )
        if self.activation not in ACTIVATIONS:
            raise InputError(f"network.activation: expected one of {', '.join(ACTIVATIONS)}, got {self.activation!r}.")

    def to_dict(self) -> dict:
        """The settings as plain JSON values."""
        return {**asdict(self), "hidden": list(self.hidden)}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the network's tensors, known before the network is built."""
        widths = (self.inputs, *self.hidden, self.outputs)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (before, after) in enumerate(pairwise(widths)):
            shapes[f"{2 * layer}.weight"] = (after, before)
            shapes[f"{2 * layer}.bias"] = (after,)
        return shapes


def build_network(settings: NetworkSettings, seed: int = 0) -> torch.nn.Sequential:
    """The network with PyTorch's initial weights for this seed; the global random state is left alone."""
    widths = (settings.inputs, *settings.hidden)
    layers: list[torch.nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for before, after in pairwise(widths):
            layers += [torch.nn.Linear(before, after), ACTIVATIONS[settings.activation]()]
        layers.append(torch.nn.Linear(widths[-1], settings.outputs))
    return torch.nn.Sequential(*layers)

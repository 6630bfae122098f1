"""A network from scaled descriptors to the scaled LDOS, one grid point at a time: a trunk and a linear head."""

import torch
from pydantic import BaseModel

from nearsight.errors import InputError
from nearsight.plugins import NETWORKS, find_kind


class LdosNetwork(torch.nn.Module):
    """`trunk` from `inputs` descriptors to features h (see `nearsight.model.networks`), `head` from them to the LDOS.

    The head is linear, d = W h + b, so that integrals of the LDOS over energy or space are integrals of h.
    """

    def __init__(self, trunk: torch.nn.Module, head: torch.nn.Linear, inputs: int) -> None:
        super().__init__()
        self.trunk, self.head, self.inputs = trunk, head, inputs

    @property
    def outputs(self) -> int:
        """Number of LDOS energies."""
        return self.head.out_features

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        """Scaled LDOS, shape (points, outputs), of scaled descriptors, shape (points, inputs)."""
        return self.head(self.trunk(descriptors))


def build_network(settings: BaseModel, inputs: int, outputs: int, seed: int = 0) -> LdosNetwork:
    """The network with its initial weights for this seed; the global random state is left alone.

    settings: of an architecture, with its name in `kind`. Raises InputError where there is none of that name.
    """
    architecture = find_kind(NETWORKS, settings.kind, "training.network.kind")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = architecture.build_trunk(settings, inputs)
        return LdosNetwork(trunk, torch.nn.Linear(width_of(trunk, inputs), outputs), inputs)


def width_of(trunk: torch.nn.Module, inputs: int) -> int:
    """Number of features that a trunk returns. Raises InputError where they are not one row per point."""
    trunk.eval()
    with torch.inference_mode():
        features = trunk(torch.zeros(2, inputs))
    trunk.train()
    if features.ndim != 2 or len(features) != 2:
        raise InputError(f"network: expected a trunk from 2 points to 2 rows of features, got {tuple(features.shape)}.")
    return features.shape[1]


def tensor_shapes(settings: BaseModel, inputs: int, outputs: int, most_bytes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors. Raises InputError where its trunk has more than `most_bytes`.

    The trunk is counted before there is memory for it. It is not run on the device `meta`, for which torch imports its
    compiler: that takes longer than many a prediction.
    """
    architecture = find_kind(NETWORKS, settings.kind, "training.network.kind")
    with torch.device("meta"):
        tensors = architecture.build_trunk(settings, inputs).state_dict()
    found = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if found > most_bytes:
        raise InputError(f"network: expected at most {most_bytes} bytes of weights, got {found}.")
    with torch.random.fork_rng(devices=[]):
        width = width_of(architecture.build_trunk(settings, inputs), inputs)
    shapes = {f"trunk.{name}": tuple(tensor.shape) for name, tensor in tensors.items()}
    return shapes | {"head.weight": (outputs, width), "head.bias": (outputs,)}

"""The model's network made ready for streaming: descriptors in, integrals of the LDOS out.

The head is linear, d = W h + b (with the LDOS's scaling folded into it), so that an integral of the LDOS over energy
with weights w is n = h·(Wᵀ w) + b·w, and one over space is W Σ h + N b: the LDOS of a large cell is never formed. The
trunk, whatever its layers are, is used as it was trained.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from nearsight.errors import InputError
from nearsight.model.bundle import ModelBundle

#: Rows of one micro-batch: the activations of a layer stay in the cache, and since every product of matrices has this
#: shape (the last one is padded), a row's result does not depend on how the grid was cut.
MICRO_BATCH = 512

#: Precision of the network -> type of its products. bfloat16 keeps the weights' eight leading bits; it is fast only on
#: processors with AMX.
PRECISIONS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class HiddenSums:
    """What remains of some rows: `total` Σ h, shape (width,); `values` h·V + c, shape (rows, k), both float64.

    ldos: in 1/(eV Å³), shape (rows, energies), float32, where it was asked for.
    """

    total: np.ndarray
    values: np.ndarray
    ldos: np.ndarray | None = None


@dataclass(frozen=True)
class FoldedNetwork:
    """A network with the LDOS's scaling folded into its head.

    mean, scale: of the descriptors, shape (components,), applied before the trunk; trunk: from scaled descriptors to
    features h, in the network's precision. last_weight, last_bias: the head, to the LDOS in 1/(eV Å³), shapes (width,
    energies) and (energies,), float64. dtype: of the trunk.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    trunk: torch.nn.Module
    last_weight: np.ndarray
    last_bias: np.ndarray
    dtype: torch.dtype

    @property
    def input_dtype(self) -> np.dtype:
        """Type of numbers of the descriptors."""
        return np.dtype("float64" if self.dtype == torch.float64 else "float32")

    @property
    def energies(self) -> int:
        """Number of LDOS energies."""
        return self.last_bias.size

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.last_weight)

    def dos(self, sums_total: np.ndarray, rows: int, voxel_volume_A3: float) -> np.ndarray:
        """DOS in 1/eV, shape (energies,), of `rows` grid points with Σ h = sums_total."""
        return (sums_total @ self.last_weight + rows * self.last_bias) * voxel_volume_A3

    def hidden(self, descriptors: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
        """Features, micro-batch by micro-batch, with the rows that they belong to.

        descriptors: shape (rows, components). The tensor, shape (rows of the slice, width), is valid until the next.
        """
        rows = torch.from_numpy(descriptors)
        padded = torch.zeros(MICRO_BATCH, rows.shape[1], dtype=self.mean.dtype)
        for start in range(0, len(rows), MICRO_BATCH):
            part = rows[start : start + MICRO_BATCH]
            torch.sub(part, self.mean, out=padded[: len(part)]).div_(self.scale)
            yield slice(start, start + len(part)), self.trunk(padded.to(self.dtype))[: len(part)]

    def reduce(self, descriptors: np.ndarray, projection: np.ndarray, *, keep_ldos: bool = False) -> HiddenSums:
        """Σ h of some rows, their integrals over energy and, if it is to be kept, their LDOS.

        projection: weights of the integrals, shape (energies, k), such as those of `fermi_weights`.
        """
        weights = torch.from_numpy(self.last_weight @ projection)
        constant = torch.from_numpy(self.last_bias @ projection)
        total = torch.zeros(self.width, dtype=torch.float64)
        values = np.empty((len(descriptors), projection.shape[1]))
        ldos = None
        if keep_ldos:
            kind = self.mean.dtype
            ldos = np.empty((len(descriptors), self.energies), dtype=np.float32)
            last_weight, last_bias = (torch.from_numpy(array).to(kind) for array in (self.last_weight, self.last_bias))
        with torch.inference_mode():
            for rows, hidden in self.hidden(descriptors):
                if ldos is not None:
                    ldos[rows] = torch.addmm(last_bias, hidden.to(kind), last_weight).numpy()
                hidden = hidden.to(torch.float64)
                total += hidden.sum(0)
                values[rows] = torch.addmm(constant, hidden, weights).numpy()
        return HiddenSums(total.numpy(), values, ldos)


def fold_network(model: ModelBundle, precision: str) -> FoldedNetwork:
    """The network of a model, ready for streaming. Raises InputError for an unknown precision."""
    if precision not in PRECISIONS:
        raise InputError(f"inference.precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    dtype = PRECISIONS[precision]
    ours = torch.float64 if dtype == torch.float64 else torch.float32
    head = model.network.head
    return FoldedNetwork(
        mean=torch.from_numpy(model.descriptor_scaling.mean).to(ours),
        scale=torch.from_numpy(model.descriptor_scaling.scale).to(ours),
        trunk=copy.deepcopy(model.network.trunk).to(dtype).eval().requires_grad_(False),
        last_weight=head.weight.detach().double().numpy().T * model.ldos_scaling.scale,
        last_bias=head.bias.detach().double().numpy() * model.ldos_scaling.scale + model.ldos_scaling.mean,
        dtype=dtype,
    )

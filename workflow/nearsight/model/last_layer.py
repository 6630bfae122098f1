"""The linear last layer, corrected in closed form for the energies of whole snapshots, and its error bars.

With features h (a 1 appended), the trained layer W and the scaled LDOS y at n points, the correction C minimises

    (1/n) Σ_r |h_r C|² + κ Σ_s [A_s·(W + C) - B_s]² / |p_s|²,

where the second sum runs over the snapshots and A_s·W - B_s is the error of a snapshot's total free energy per volume
to first order (`energy_rows`): a network that is right at every point on average may still be wrong by a little
everywhere, and the energy feels that. The LDOS hardly changes, because only one number for each snapshot is fitted. κ
is chosen on the validation set.

The error of a mean over a structure is taken from the posterior of W given the snapshots' means, ε² h̄ Λ⁻¹ h̄ with
Λ = Σ_s h̄_s h̄_sᵀ + τ Σ_r h_r h_rᵀ/n: structures whose mean features are like those of the training have small errors,
others have large ones. ε² and τ are those that make the errors of the validation snapshots most likely; one snapshot
alone says nothing of τ, and all structures then have nearly the same bars.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import torch
from scipy.special import ndtr, stdtrit

from nearsight.errors import InputError
from nearsight.model.data import ShuffledRows
from nearsight.model.network import LdosNetwork
from nearsight.model.projections import EnergyWeights

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

#: Weights κ of the snapshots' energies that are tried.
ENERGY_WEIGHTS = (1.0, 1e1, 1e2, 1e3, 1e4)

#: Ridge, relative to the mean square of a feature: below what float32 features resolve.
RIDGE = 1e-8

#: Weights τ of the points relative to the snapshots' means that are tried, from bars that are nearly the same for all
#: structures to ones that differ most; a smaller τ has to make the errors more likely by LIKELIER, in units of ln.
POINT_WEIGHTS = tuple(10.0**-power for power in range(9))
LIKELIER = 0.5


@dataclass(frozen=True)
class FeatureMoments:
    """Means over points of snapshots, with features of `width` and E energies, all float64.

    gram: h hᵀ, shape (width + 1, width + 1); features, targets: means of h and y per snapshot, shapes (S, width + 1)
    and (S, E); felt_features, felt_targets: means of φ h and φ y in eV, of the same shapes.
    """

    gram: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    felt_features: np.ndarray
    felt_targets: np.ndarray


@dataclass(frozen=True)
class EnergyRows:
    """The errors of snapshots' energies per volume, A_s·W - B_s in eV/Å³, of a last layer W.

    directions: A, shape (S, width + 1, E); targets: B, shape (S,); scales: |p_s|, shape (S,).
    """

    directions: np.ndarray
    targets: np.ndarray
    scales: np.ndarray

    def errors(self, layer: np.ndarray) -> np.ndarray:
        """Of a layer, shape (S,), eV/Å³."""
        return np.einsum("swe,we->s", self.directions, layer) - self.targets


def measure_features(
    network: LdosNetwork,
    rows: ShuffledRows,
    potentials: Sequence[np.ndarray | None],
    device: torch.device,
    comm: "Comm | None" = None,
) -> FeatureMoments:
    """Moments of a network's features over all rows, of which each rank takes a share; memory: that of a block.

    potentials: φ of each snapshot on its grid in eV, of mean 0 (nearsight.energies.double_counting); None where it is
    not known and counts as 0.
    """
    width, energies, count = network.head.in_features, network.outputs, len(rows.snapshots)
    gram = torch.zeros(width + 1, width + 1, dtype=torch.float64, device=device)
    features, felt_features = torch.zeros(2, count, width + 1, dtype=torch.float64, device=device)
    targets, felt_targets = torch.zeros(2, count, energies, dtype=torch.float64, device=device)
    sizes = [snapshot.points for snapshot in rows.snapshots]
    potential = np.zeros(sum(sizes), dtype=np.float32)
    for part, phi in zip(np.split(potential, np.cumsum(sizes)[:-1]), potentials, strict=True):
        part[:] = 0 if phi is None else phi.ravel()
    network.eval()
    with torch.inference_mode():
        for start, (x, y, which) in rows.in_order(comm):
            hidden = network.trunk(torch.from_numpy(x).to(device)).double()
            hidden = torch.nn.functional.pad(hidden, (0, 1), value=1.0)
            target, index = torch.from_numpy(y).to(device).double(), torch.from_numpy(which).to(device)
            felt = torch.from_numpy(potential[start : start + len(x), None]).to(device).double()
            gram += hidden.T @ hidden
            features.index_add_(0, index, hidden)
            targets.index_add_(0, index, target)
            felt_features.index_add_(0, index, felt * hidden)
            felt_targets.index_add_(0, index, felt * target)
    points = np.array([snapshot.points for snapshot in rows.snapshots], dtype=float)[:, None]
    sums = [part.cpu().numpy() for part in (gram, features, targets, felt_features, felt_targets)]
    if comm is not None:
        sums = [comm.allreduce(part) for part in sums]
    return FeatureMoments(sums[0] / points.sum(), *(part / points for part in sums[1:]))


def energy_rows(moments: FeatureMoments, weights: EnergyWeights) -> EnergyRows:
    """How the snapshots' energies depend on the layer: band energy and entropy through the DOS, the rest through φ.

    δA/Ω = δȳ·p - (δ(φy)‾ - φ_F δȳ)·q, with the weights p of the energy's share and q of the density: at a fixed number
    of electrons the Fermi level answers an error of the count, which the energy feels as φ_F, the mean of φ over the
    states at the Fermi level.
    """
    share, count, slope = weights.share, weights.count, weights.slope
    level = ((moments.felt_targets * slope).sum(axis=1) / weights.states)[:, None]
    felt = moments.felt_features - level * moments.features
    directions = np.einsum("sw,se->swe", moments.features, share) - np.einsum("sw,se->swe", felt, count)
    targets = (moments.targets * share - (moments.felt_targets - level * moments.targets) * count).sum(axis=1)
    return EnergyRows(directions, targets, np.linalg.norm(share, axis=1))


def count_errors(moments: FeatureMoments, layer: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Errors of the snapshots' electrons per volume, shape (S,), 1/Å³; count: weights of the density, shape (S, E)."""
    return ((moments.features @ layer - moments.targets) * count).sum(axis=1)


def correct_layer(gram: np.ndarray, energies: EnergyRows, layer: np.ndarray, weight: float) -> np.ndarray:
    """The layer W + C, shape (width + 1, E), with the weight κ of the snapshots' energies.

    C lies in the span of G⁻¹ A_s, G = Σ_r h_r h_rᵀ/n, so that one linear system of the snapshots' number is solved.
    """
    unit = energies.directions / energies.scales[:, None, None]
    ridge = RIDGE * np.trace(gram) / len(gram)
    columns = unit.transpose(1, 0, 2)
    directions = scipy.linalg.solve(
        gram + ridge * np.eye(len(gram)), columns.reshape(len(gram), -1), assume_a="pos"
    ).reshape(columns.shape)
    kernel = np.einsum("swe,wte->st", unit, directions, optimize=True)
    errors = energies.errors(layer) / energies.scales
    amounts = scipy.linalg.solve(kernel + np.eye(len(kernel)) / weight, -errors, assume_a="pos")
    return layer + np.einsum("t,wte->we", amounts, directions)


def refit_layer(
    network: LdosNetwork, gram: np.ndarray, training: EnergyRows, validation: EnergyRows
) -> dict[str, float]:
    """Put the layer into the network that is best on the validation snapshots; log what was tried, in meV/Å³.

    gram: of the training snapshots' features. The trained layer stays where none is better.
    """
    trained = head_of(network)
    layers = {"trained": trained}
    layers |= {f"{weight:g}": correct_layer(gram, training, trained, weight) for weight in ENERGY_WEIGHTS}
    errors = {name: 1e3 * float(np.sqrt(np.mean(validation.errors(layer) ** 2))) for name, layer in layers.items()}
    best = min(errors, key=errors.__getitem__)
    logger.info(
        "last layer: weight of the energies -> error of the validation snapshots' energy in meV/Å³: %s; taken: %s",
        ", ".join(f"{name}: {error:.4f}" for name, error in errors.items()), best,
    )  # fmt: skip
    with torch.no_grad():
        layer = torch.from_numpy(layers[best]).to(network.head.weight)
        network.head.weight.copy_(layer[:-1].T)
        network.head.bias.copy_(layer[-1])
    return errors


def head_of(network: LdosNetwork) -> np.ndarray:
    """The network's last layer, shape (width + 1, E), float64."""
    head = network.head
    return torch.cat([head.weight.detach().T, head.bias.detach()[None]]).double().cpu().numpy()


@dataclass(frozen=True)
class ErrorBars:
    """Standard deviations of a predicted energy and Fermi level, from the mean features alone.

    inverse: Λ⁻¹, shape (width + 1, width + 1); energy, count: ε of the energy's share in eV/Å³ and of the density of
    electrons in 1/Å³.
    """

    inverse: np.ndarray
    energy: float
    count: float

    def __post_init__(self) -> None:
        """Raise InputError unless the matrix is square and finite."""
        if self.inverse.ndim != 2 or len(set(self.inverse.shape)) != 1 or not np.isfinite(self.inverse).all():
            raise InputError(f"error bars: expected a square matrix of finite numbers, got {self.inverse.shape}.")

    def leverage(self, features: np.ndarray) -> float:
        """h̄ Λ⁻¹ h̄ of mean features, shape (width,): 1 or less within the training set, large far from it."""
        extended = np.append(features, 1.0)
        return max(float(extended @ self.inverse @ extended), 0.0)

    def deviations(self, features: np.ndarray, volume_A3: float, states_per_eV: float) -> tuple[float, float]:
        """Standard deviations of the free energy and the Fermi level, eV, of a structure.

        features: means over its grid points, shape (width,); states_per_eV: dN/dμ of the structure.
        """
        scale = float(np.sqrt(self.leverage(features))) * volume_A3
        return self.energy * scale, self.count * scale / states_per_eV


def calibrate_bars(training: FeatureMoments, validation: FeatureMoments, errors: np.ndarray) -> ErrorBars:
    """Error bars that make the validation snapshots' errors of count and energy, shape (S, 2), most likely.

    With few snapshots a spread is poorly known: Student's quantile makes up for it, so that 68 % are within one bar.
    """
    if len(errors) == 0 or not np.isfinite(errors).all():
        raise InputError(f"error bars: expected finite errors of validation snapshots, got {errors}.")
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for weight in POINT_WEIGHTS:
        matrix = training.features.T @ training.features + weight * training.gram
        ridge = RIDGE * weight * np.trace(training.gram) / len(matrix)
        inverse = scipy.linalg.inv(matrix + ridge * np.eye(len(matrix)))
        leverages = np.einsum("si,ij,sj->s", validation.features, inverse, validation.features)
        variances = np.maximum((errors**2 / leverages[:, None]).mean(axis=0), np.finfo(float).tiny)
        unlikeliness = np.log(leverages).sum() + len(errors) / 2 * np.log(variances).sum()
        if best is None or unlikeliness < best[0] - LIKELIER:
            best = unlikeliness, inverse, variances
    _, inverse, variances = best
    student = stdtrit(len(errors), ndtr(1.0))
    count, energy = student * np.sqrt(variances)
    return ErrorBars(inverse, float(energy), float(count))

"""Training: AdamW, a falling learning rate, early stopping, the best weights kept, resumable after every epoch."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch.optim import lr_scheduler

from nearsight.errors import ConvergenceError, InputError, MissingProgramError
from nearsight.files import write_text, write_whole
from nearsight.jobs import show_progress
from nearsight.model.data import ShuffledRows
from nearsight.model.network import LdosNetwork
from nearsight.study.sections import Training

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

HISTORY_COLUMNS = ("epoch", "train_loss", "validation_loss", "learning_rate", "seconds")

#: Cosine: the last learning rate as a fraction of the first. Plateau: the factor of one reduction.
FINAL_RATE_FRACTION = 0.01
PLATEAU_FACTOR = 0.5


@dataclass
class TrainingState:
    """What changes from epoch to epoch, besides the tensors."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[list[float]] = field(default_factory=list)

    @property
    def finished_early(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch


@dataclass(frozen=True)
class TrainingResult:
    """The best weights (on the CPU), the state at the end."""

    weights: dict[str, torch.Tensor]
    state: TrainingState


def choose_device(name: str) -> torch.device:
    """The device of that name. Raises MissingProgramError where it is not available: no silent fallback."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"training.device: expected cpu or cuda, got {name!r} ({error}).") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise InputError(f"training.device: expected cpu or cuda, got {name!r}.")
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise MissingProgramError(
            f"training.device: expected the GPU {name!r}, PyTorch {torch.__version__} finds none. Set `device: cpu`, "
            "or install a driver and a build of PyTorch for it."
        )
    return device


def train(
    settings: Training,
    network: LdosNetwork,
    training: ShuffledRows,
    validation: ShuffledRows,
    *,
    identity: str,
    projections: tuple[np.ndarray, np.ndarray] | None = None,
    checkpoint: Path | None = None,
    history: Path | None = None,
    after_epoch: Callable[[TrainingState], None] | None = None,
    comm: "Comm | None" = None,
) -> TrainingResult:
    """Minimise the mean squared error of the scaled LDOS; return the weights with the lowest validation error.

    With the schedule one_cycle they are those of the last epoch: the loss rises and falls with the learning rate, and
    before the end it says little about the energies.

    network: with its initial weights; it is changed. projections: of the training and the validation snapshots, see
    `Loss`. identity: a hash of all that determines the result; a checkpoint of another identity is not resumed from.
    checkpoint: written whole after every epoch; a training that finds one resumes from it, with the same numbers as an
    uninterrupted one (the order of the rows follows from their seed and the epoch's number). history: CSV, one row per
    epoch. after_epoch: called with the state after each checkpoint. comm: MPI ranks that share the points of every
    batch (None: one process); all of them get the same result, that of one process but for rounding, and rank 0 writes
    the files. Raises ConvergenceError where the loss is not finite.
    """
    device, writes = choose_device(settings.device), comm is None or comm.rank == 0
    network = network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = Schedule(settings, optimiser, training.batches)
    losses = [Loss(settings.projection_loss, part, device) for part in projections or (None, None)]
    state = TrainingState()
    best = _copy(network)
    if checkpoint is not None and checkpoint.is_file():
        resumed = _load_checkpoint(checkpoint, identity, network, optimiser, schedule)
        if resumed is not None:
            state, best = resumed
            logger.info("resumed from %s after epoch %d", checkpoint, state.epoch)

    while state.epoch < settings.epochs and state.finished_early < settings.patience:
        started = time.perf_counter()
        state.epoch += 1
        rate = optimiser.param_groups[0]["lr"]
        train_loss = _train_epoch(
            network, losses[0], optimiser, schedule, training, state.epoch, settings, device, comm
        )
        validation_loss = measure_loss(network, losses[1], validation, device, comm)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise ConvergenceError(
                f"training: expected a finite loss, got {train_loss} (training) and {validation_loss} (validation) in "
                f"epoch {state.epoch}. Lower training.learning_rate ({settings.learning_rate}) or raise batch_size."
            )
        if validation_loss < state.best_loss or settings.schedule == "one_cycle":
            state.best_loss, state.best_epoch = validation_loss, state.epoch
            best = _copy(network)
        schedule.after_epoch(validation_loss)
        seconds = time.perf_counter() - started
        state.history.append([state.epoch, train_loss, validation_loss, rate, seconds])
        logger.info(
            "epoch %d: training loss %.6f, validation loss %.6f, learning rate %.2e, %.1f s",
            *state.history[-1],
        )
        if checkpoint is not None and writes:
            _save_checkpoint(checkpoint, identity, network, optimiser, schedule, best, state)
        if history is not None and writes:
            write_history(history, state)
        if after_epoch is not None:
            after_epoch(state)
    reason = "no improvement for a while" if state.epoch < settings.epochs else "all epochs done"
    logger.info("finished (%s): best epoch %d, validation loss %.6f", reason, state.best_epoch, state.best_loss)
    return TrainingResult(best, state)


class Schedule:
    """The course of the learning rate, by torch's schedulers: cosine and plateau by epoch, one-cycle by batch."""

    def __init__(self, settings: Training, optimiser: torch.optim.Optimizer, batches: int) -> None:
        rate, self._by_batch = settings.learning_rate, settings.schedule == "one_cycle"
        self._by_loss = settings.schedule == "plateau"
        if self._by_batch:
            steps = settings.epochs * batches
            self._scheduler = lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps + 1)
        elif self._by_loss:
            # a third of the patience, so that two reductions are tried before the training stops
            wait = max(settings.patience // 3, 1)
            self._scheduler = lr_scheduler.ReduceLROnPlateau(
                optimiser, factor=PLATEAU_FACTOR, patience=wait - 1, threshold=0.0
            )
        else:
            self._scheduler = lr_scheduler.CosineAnnealingLR(
                optimiser, T_max=max(settings.epochs - 1, 1), eta_min=FINAL_RATE_FRACTION * rate
            )
        self.state_dict, self.load_state_dict = self._scheduler.state_dict, self._scheduler.load_state_dict

    def after_batch(self) -> None:
        """The optimiser made a step."""
        if self._by_batch:
            self._scheduler.step()

    def after_epoch(self, validation_loss: float) -> None:
        """An epoch has ended."""
        if self._by_loss:
            self._scheduler.step(validation_loss)
        elif not self._by_batch:
            self._scheduler.step()


class Loss:
    """Mean squared error of the scaled LDOS, plus `weight` times that of its projections.

    projections: weights of integrals over energy of the scaled LDOS for each snapshot, in units of the integrals'
    spread over the training points, shape (snapshots, energies, k); None where the LDOS alone counts.
    """

    def __init__(self, weight: float, projections: np.ndarray | None, device: torch.device) -> None:
        self._weight = weight
        self._projections = None
        if weight > 0 and projections is not None:
            self._projections = torch.from_numpy(projections).to(device, torch.float32)

    def __call__(self, predicted: torch.Tensor, target: torch.Tensor, snapshots: torch.Tensor) -> torch.Tensor:
        """The mean over points; snapshots: the number of each row's snapshot."""
        loss = torch.nn.functional.mse_loss(predicted, target)
        if self._projections is None:
            return loss
        integrals = torch.einsum("be,bek->bk", predicted - target, self._projections[snapshots])
        return loss + self._weight * integrals.square().mean()


def measure_loss(
    network: torch.nn.Module, loss: Loss, rows: ShuffledRows, device: torch.device, comm: "Comm | None" = None
) -> float:
    """The loss over all rows, of which each rank takes a share."""
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for _, (x, y, which) in rows.in_order(comm):
            x, y, which = (torch.from_numpy(part).to(device) for part in (x, y, which))
            total += float(loss(network(x), y, which)) * len(y)
    return (total if comm is None else comm.allreduce(total)) / rows.points


def write_history(path: Path, state: TrainingState) -> None:
    """The history as CSV, whole."""
    lines = [",".join(HISTORY_COLUMNS)]
    lines += [f"{row[0]:.0f},{row[1]:.9g},{row[2]:.9g},{row[3]:.6g},{row[4]:.3f}" for row in state.history]
    write_text(path, "\n".join(lines) + "\n")


def _train_epoch(
    network: torch.nn.Module,
    loss_of: Loss,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    rows: ShuffledRows,
    epoch: int,
    settings: Training,
    device: torch.device,
    comm: "Comm | None",
) -> float:
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    description = f"epoch {epoch}/{settings.epochs}"
    network.train()
    batches = rows.epoch(epoch)
    for batch in show_progress(batches, description, total=rows.batches, unit="batch") if rank == 0 else batches:
        points = len(batch[1])
        # of a batch with fewer points than ranks, all take the whole
        parts = size if points >= size else 1
        x, y, which = (torch.from_numpy(part[rank % parts :: parts]).to(device) for part in batch)
        loss = loss_of(network(x), y, which) * (len(y) * parts / (points * size))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if size > 1:
            _sum_gradients(network, comm)
        optimiser.step()
        schedule.after_batch()
        total += loss.detach().double() * points
        count += points
    return (float(total) if comm is None else comm.allreduce(float(total))) / count


def _sum_gradients(network: torch.nn.Module, comm: "Comm") -> None:
    """The sum of all ranks' gradients in place of each rank's own."""
    gradients = [parameter.grad for parameter in network.parameters()]
    own = torch.cat([gradient.ravel() for gradient in gradients]).numpy()
    everybody = np.empty_like(own)
    comm.Allreduce(own, everybody)
    parts = torch.from_numpy(everybody).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _copy(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _save_checkpoint(
    path: Path,
    identity: str,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    best: dict[str, torch.Tensor],
    state: TrainingState,
) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in _copy(network).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value).cpu() for name, value in moments.items()}
    numbers = {
        "state": asdict(state),
        "groups": optimiser.state_dict()["param_groups"],
        "schedule": schedule.state_dict(),
    }
    metadata = {"identity": identity, "numbers": json.dumps(numbers)}
    with write_whole(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=metadata)


def _load_checkpoint(
    path: Path, identity: str, network: torch.nn.Module, optimiser: torch.optim.Optimizer, schedule: Schedule
) -> tuple[TrainingState, dict[str, torch.Tensor]] | None:
    """State and best weights; network, optimiser and schedule are set. None for the checkpoint of another training."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("identity") != identity:
                logger.warning("%s: a checkpoint of other settings or data; the training begins anew", path)
                return None
            numbers = json.loads(metadata["numbers"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        network.load_state_dict(_part(tensors, "network."))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimiser.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": moments, "param_groups": numbers["groups"]})
        schedule.load_state_dict(numbers["schedule"])
        return TrainingState(**numbers["state"]), _part(tensors, "best.")
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: expected a whole checkpoint, got {type(error).__name__}: {error}. Delete it; the training then "
            "begins anew."
        ) from error


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

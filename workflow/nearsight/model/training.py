"""Training: AdamW, a falling learning rate, early stopping, the best weights kept, resumable after every epoch."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from nearsight.errors import ConvergenceError, InputError, MissingProgramError
from nearsight.files import write_text, write_whole
from nearsight.jobs import show_progress
from nearsight.model.data import ShuffledRows
from nearsight.model.network import ACTIVATIONS, NetworkSettings, build_network

logger = logging.getLogger("nearsight")

HISTORY_COLUMNS = ("epoch", "train_loss", "validation_loss", "learning_rate", "seconds")

SCHEDULES = ("cosine", "plateau")

#: Cosine: the last learning rate as a fraction of the first. Plateau: the factor of one reduction.
FINAL_RATE_FRACTION = 0.01
PLATEAU_FACTOR = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """The keys of the configuration's section `training`; config/README.md explains them."""

    hidden: tuple[int, ...] = (256, 256)
    activation: str = "leaky_relu"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    batch_size: int = 1000
    epochs: int = 60
    patience: int = 10
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise InputError on a value out of range."""
        checks = {
            "hidden": (all(_whole(n, 1) for n in self.hidden) and len(self.hidden) > 0, "whole numbers above 0"),
            "activation": (self.activation in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}"),
            "learning_rate": (_number(self.learning_rate) and 0 < self.learning_rate <= 1, "a number above 0, up to 1"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            "weight_decay": (_number(self.weight_decay) and 0 <= self.weight_decay <= 1, "a number from 0 to 1"),
            "batch_size": (_whole(self.batch_size, 1), "a whole number above 0"),
            "epochs": (_whole(self.epochs, 1), "a whole number above 0"),
            "patience": (_whole(self.patience, 1), "a whole number above 0"),
            "device": (isinstance(self.device, str), "cpu or cuda"),
        }
        for key, (good, expected) in checks.items():
            if not good:
                raise InputError(
                    f"training.{key}: expected {expected}, got {getattr(self, key)!r}. "
                    'See config/README.md, "training".'
                )

    @classmethod
    def from_dict(cls, settings: dict) -> "TrainingSettings":
        """Settings from a configuration's section. Raises InputError on an unknown key or a bad value."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise InputError(f"training: expected the keys {', '.join(known)}, got also {', '.join(unknown)}.")
        hidden = settings.get("hidden", cls.hidden)
        if not isinstance(hidden, list | tuple):
            raise InputError(f"training.hidden: expected a list of whole numbers, got {hidden!r}.")
        return cls(**{**settings, "hidden": tuple(hidden)})

    def to_dict(self) -> dict:
        """The settings as plain JSON values."""
        return {**asdict(self), "hidden": list(self.hidden)}


@dataclass
class TrainingState:
    """What changes from epoch to epoch, beside the tensors."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    rate: float = 0.0
    epochs_on_plateau: int = 0
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
    settings: TrainingSettings,
    network_settings: NetworkSettings,
    training: ShuffledRows,
    validation: ShuffledRows,
    *,
    seed: int,
    identity: str,
    checkpoint: Path | None = None,
    history: Path | None = None,
    after_epoch: Callable[[TrainingState], None] | None = None,
) -> TrainingResult:
    """Minimise the mean squared error of the scaled LDOS; return the weights with the lowest validation error.

    identity: a hash of all that determines the result; a checkpoint of another identity is not resumed from.
    checkpoint: written whole after every epoch; a training that finds one goes on from there, with the same numbers
    as an unbroken one (all random numbers follow from the seed and the epoch's number). history: CSV, one row per
    epoch. after_epoch: called with the state after each checkpoint.
    Raises ConvergenceError where the loss is not finite.
    """
    device = choose_device(settings.device)
    network = build_network(network_settings, seed).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    state = TrainingState(rate=settings.learning_rate)
    best = _copy(network)
    if checkpoint is not None and checkpoint.is_file():
        resumed = _load_checkpoint(checkpoint, identity, network, optimiser)
        if resumed is not None:
            state, best = resumed
            logger.info("resumed from %s after epoch %d", checkpoint, state.epoch)

    while state.epoch < settings.epochs and state.finished_early < settings.patience:
        started = time.perf_counter()
        state.epoch += 1
        state.rate = _learning_rate(settings, state)
        for group in optimiser.param_groups:
            group["lr"] = state.rate
        train_loss = _train_epoch(network, optimiser, training, state.epoch, settings, device)
        validation_loss = measure_loss(network, validation, device)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise ConvergenceError(
                f"training: expected a finite loss, got {train_loss} (training) and {validation_loss} (validation) in "
                f"epoch {state.epoch}. Lower training.learning_rate ({settings.learning_rate}) or raise batch_size."
            )
        if validation_loss < state.best_loss:
            state.best_loss, state.best_epoch, state.epochs_on_plateau = validation_loss, state.epoch, 0
            best = _copy(network)
        else:
            state.epochs_on_plateau += 1
        seconds = time.perf_counter() - started
        state.history.append([state.epoch, train_loss, validation_loss, state.rate, seconds])
        logger.info(
            "epoch %d: training loss %.6f, validation loss %.6f, learning rate %.2e, %.1f s",
            *state.history[-1],
        )
        if checkpoint is not None:
            _save_checkpoint(checkpoint, identity, network, optimiser, best, state)
        if history is not None:
            write_history(history, state)
        if after_epoch is not None:
            after_epoch(state)
    reason = "no better for a while" if state.epoch < settings.epochs else "all epochs done"
    logger.info("finished (%s): best epoch %d, validation loss %.6f", reason, state.best_epoch, state.best_loss)
    return TrainingResult(best, state)


def measure_loss(network: torch.nn.Module, rows: ShuffledRows, device: torch.device) -> float:
    """Mean squared error of the scaled LDOS over all rows and energies."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for x, y in rows.in_order():
            target = torch.from_numpy(y).to(device)
            difference = network(torch.from_numpy(x).to(device)) - target
            total += float(difference.square().sum(dtype=torch.float64))
            count += target.numel()
    return total / count


def write_history(path: Path, state: TrainingState) -> None:
    """The history as CSV, whole."""
    lines = [",".join(HISTORY_COLUMNS)]
    lines += [f"{row[0]:.0f},{row[1]:.9g},{row[2]:.9g},{row[3]:.6g},{row[4]:.3f}" for row in state.history]
    write_text(path, "\n".join(lines) + "\n")


def _train_epoch(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    rows: ShuffledRows,
    epoch: int,
    settings: TrainingSettings,
    device: torch.device,
) -> float:
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    description = f"epoch {epoch}/{settings.epochs}"
    for x, y in show_progress(rows.epoch(epoch), description, total=rows.batches, unit="batch"):
        target = torch.from_numpy(y).to(device)
        loss = torch.nn.functional.mse_loss(network(torch.from_numpy(x).to(device)), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach().double() * len(y)
        count += len(y)
    return float(total) / count


def _learning_rate(settings: TrainingSettings, state: TrainingState) -> float:
    """The rate of the epoch that begins (`state.epoch`, from 1)."""
    if settings.schedule == "cosine":
        progress = (state.epoch - 1) / max(settings.epochs - 1, 1)
        fraction = FINAL_RATE_FRACTION + (1 - FINAL_RATE_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))
        return settings.learning_rate * fraction
    # a third of the patience, so that two reductions are tried before the training stops
    wait = max(settings.patience // 3, 1)
    if state.epochs_on_plateau > 0 and state.epochs_on_plateau % wait == 0:
        return state.rate * PLATEAU_FACTOR
    return state.rate


def _copy(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _save_checkpoint(
    path: Path,
    identity: str,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
    state: TrainingState,
) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in _copy(network).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value).cpu() for name, value in moments.items()}
    metadata = {"identity": identity, "state": json.dumps(asdict(state))}
    with write_whole(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=metadata)


def _load_checkpoint(
    path: Path, identity: str, network: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, torch.Tensor]] | None:
    """State and best weights; network and optimiser are set. None where the checkpoint is another training's."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("identity") != identity:
                logger.warning("%s: a checkpoint of other settings or data; the training begins anew", path)
                return None
            state = TrainingState(**json.loads(metadata["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        network.load_state_dict(_part(tensors, "network."))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimiser.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        return state, _part(tensors, "best.")
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: expected a whole checkpoint, got {type(error).__name__}: {error}. Delete it; the training then "
            "begins anew."
        ) from error


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

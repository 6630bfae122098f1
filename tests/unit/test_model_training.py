"""Training: it learns, it is repeatable, it resumes, it stops, it complains."""

import csv

import numpy as np
import pytest
import safetensors
import torch
from model_files import write_pair

from nearsight.errors import ConvergenceError, InputError, MissingProgramError
from nearsight.model.data import ShuffledRows, describe_snapshots, measure_scalings
from nearsight.model.network import build_network
from nearsight.model.training import Loss, choose_device, measure_loss, train
from nearsight.study.sections import Perceptron, Training

SETTINGS = {"network": Perceptron(hidden=[16, 16]), "batch_size": 40, "epochs": 5, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data")
    pairs = [write_pair(folder, f"s{seed}", seed, shape=(6, 5, 7)) for seed in range(3)]
    snapshots, _ = describe_snapshots([one for one, _ in pairs], [other for _, other in pairs])
    scalings = measure_scalings(snapshots[:2], 5, 9)
    return [ShuffledRows(part, *scalings, 40, 7) for part in (snapshots[:2], snapshots[2:])]


def run(data, *, seed=7, identity="a", **options):
    changes = {key: options.pop(key) for key in list(options) if key in Training.model_fields}
    settings = Training(**{**SETTINGS, **changes})
    return train(settings, build_network(settings.network, 5, 9, seed), *data, identity=identity, **options)


def losses(result):
    return [row[1:4] for row in result.state.history]


@pytest.fixture(scope="module")
def unbroken(data):
    return run(data)


def test_it_learns(unbroken):
    rows = losses(unbroken)
    assert rows[-1][1] < 0.3 * rows[0][1]
    assert unbroken.state.best_loss == min(row[1] for row in rows)


def test_same_seed_same_result(data, unbroken):
    again = run(data)
    assert losses(again) == losses(unbroken)
    for name, tensor in unbroken.weights.items():
        assert torch.equal(tensor, again.weights[name])
    assert losses(run(data, seed=8)) != losses(unbroken)


def test_the_global_random_state_is_left_alone(data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(data, epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "one_cycle"])
@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_training_equals_the_unbroken_one(data, tmp_path, schedule, stop):
    """Bit by bit: network, best weights, moments of the optimiser, learning rate and order of the rows are restored."""

    class StoppedError(Exception):
        pass

    def interrupt(state):
        if state.epoch == stop:
            raise StoppedError

    whole = run(data, schedule=schedule, patience=5)
    checkpoint = tmp_path / "folder" / "check $point.safetensors"
    with pytest.raises(StoppedError):
        run(data, schedule=schedule, patience=5, checkpoint=checkpoint, after_epoch=interrupt)
    resumed = run(data, schedule=schedule, patience=5, checkpoint=checkpoint)
    assert losses(resumed) == losses(whole)
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name])


def test_finished_checkpoint_is_not_trained_further(data, tmp_path, unbroken):
    checkpoint = tmp_path / "c.safetensors"
    run(data, checkpoint=checkpoint)
    again = run(data, checkpoint=checkpoint, after_epoch=lambda state: pytest.fail("trained"))
    assert losses(again) == losses(unbroken)


def test_checkpoint_of_another_training(data, tmp_path, unbroken, caplog):
    checkpoint = tmp_path / "c.safetensors"
    run(data, checkpoint=checkpoint, identity="other", epochs=1, network=Perceptron(hidden=[4]))
    assert losses(run(data, checkpoint=checkpoint)) == losses(unbroken)
    assert "begins anew" in caplog.text


def test_truncated_checkpoint(data, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    run(data, checkpoint=checkpoint, epochs=1)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"c\.safetensors: expected a whole checkpoint.*Delete it"):
        run(data, checkpoint=checkpoint)


def test_checkpoint_without_its_tensors(data, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    run(data, checkpoint=checkpoint, epochs=1)
    with safetensors.safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file({"network.0.weight": torch.zeros(2, 2)}, checkpoint, metadata=metadata)
    with pytest.raises(InputError, match="expected a whole checkpoint"):
        run(data, checkpoint=checkpoint)


def test_early_stopping_keeps_the_best_weights(data):
    """With a rate far too high the loss rises again; the weights of the best epoch are returned."""
    result = run(data, learning_rate=0.3, epochs=40, patience=3, schedule="plateau")
    validation = [row[2] for row in result.state.history]
    assert len(validation) < 40
    assert result.state.best_epoch == int(np.argmin(validation)) + 1 == len(validation) - 3
    network = build_network(SETTINGS["network"], 5, 9)
    network.load_state_dict(result.weights)
    assert measure_loss(network, Loss(0.0, None, torch.device("cpu")), data[1], torch.device("cpu")) == pytest.approx(
        min(validation), rel=1e-12
    )


def test_one_cycle_ends_with_its_last_epoch(data, monkeypatch):
    """Its schedule is one whole: the best epoch before the end is that of a large learning rate."""
    found = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr("nearsight.model.training.measure_loss", lambda *_: next(found))
    result = run(data, schedule="one_cycle", epochs=3, patience=1)
    assert (result.state.epoch, result.state.best_epoch, result.state.best_loss) == (3, 3, 2.0)


def test_learning_rates(data):
    cosine = [row[3] for row in run(data, epochs=5).state.history]
    assert cosine[0] == pytest.approx(1e-2)
    assert cosine[-1] == pytest.approx(1e-4)
    assert cosine == sorted(cosine, reverse=True)
    cycle = [row[3] for row in run(data, schedule="one_cycle").state.history]
    assert cycle[0] == pytest.approx(1e-2 / 25)
    assert cycle[0] < cycle[1] < cycle[2] > cycle[3] > cycle[4]
    plateau = run(data, learning_rate=0.3, epochs=20, patience=6, schedule="plateau").state.history
    assert plateau[0][3] == 0.3
    assert plateau[-1][3] < 0.3


def test_history(data, tmp_path, unbroken):
    path = tmp_path / "sub" / "history.csv"
    run(data, history=path)
    with open(path) as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["epoch", "train_loss", "validation_loss", "learning_rate", "seconds"]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    for row, expected in zip(rows, losses(unbroken), strict=True):
        assert float(row["train_loss"]) == pytest.approx(expected[0], rel=1e-8)
        assert float(row["validation_loss"]) == pytest.approx(expected[1], rel=1e-8)


def test_loss_that_is_not_finite(data, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    data = [FarRows(data[0]), data[1]]
    with pytest.raises(
        ConvergenceError, match=r"expected a finite loss, got .* in epoch 1\. Lower training\.learning_rate"
    ):
        run(data, checkpoint=checkpoint)
    assert not checkpoint.exists()


class FarRows:
    """Rows so large that their square overflows single precision."""

    def __init__(self, rows):
        self._rows, self.batches = rows, rows.batches

    def epoch(self, number):
        for x, y, which in self._rows.epoch(number):
            yield x * np.float32(1e30), y * np.float32(1e30), which


def test_missing_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingProgramError, match=r"training\.device: expected the GPU 'cuda'"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x"])
def test_unknown_device(name):
    with pytest.raises(InputError, match=r"training\.device: expected cpu or cuda"):
        choose_device(name)


@pytest.mark.gpu
def test_training_on_a_gpu(data, unbroken):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert losses(run(data, device="cuda"))[-1][1] == pytest.approx(losses(unbroken)[-1][1], rel=0.1)

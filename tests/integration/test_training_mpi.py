"""train_model over MPI: the ranks share every batch, and the model is that of one process but for rounding."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from test_descriptors_mpi import find_mpiexec

pytestmark = pytest.mark.mpi

SECONDS = 600
SETTINGS = {"network": {"hidden": [16, 16]}, "batch_size": 40, "epochs": 4, "learning_rate": 1e-2}

#: Features of two ranks together against those of each alone.
MOMENTS = """
import sys
from pathlib import Path
import numpy as np, torch
from mpi4py import MPI
from nearsight.model.data import ShuffledRows, describe_snapshots, measure_scalings
from nearsight.model.last_layer import measure_features
from nearsight.model.network import build_network
from nearsight.study.sections import Perceptron

snapshots, _ = describe_snapshots([Path(p) for p in sys.argv[1::2]], [Path(p) for p in sys.argv[2::2]])
rows = ShuffledRows(snapshots, *measure_scalings(snapshots, 5, 9), 40, 7, memory_bytes=0)
network = build_network(Perceptron(hidden=[16]), 5, 9, 7)
fields = [np.random.default_rng(1).normal(size=snapshot.shape) for snapshot in snapshots]
shared, alone = (
    measure_features(network, rows, fields, torch.device("cpu"), comm) for comm in (MPI.COMM_WORLD, None)
)
for name, expected in vars(alone).items():
    np.testing.assert_allclose(getattr(shared, name), expected, rtol=1e-12, atol=1e-14)
"""


@pytest.fixture(scope="module")
def pairs(repository, tmp_path_factory):
    sys.path.insert(0, str(repository / "tests/unit"))
    try:
        from model_files import UPF, write_pair
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("data")
    (folder / "Be.upf").write_text(UPF)
    return [write_pair(folder, f"s{seed}", seed, shape=(6, 5, 7)) for seed in range(3)]


def run_ranks(repository, ranks, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(repository / "workflow")}
    command = [find_mpiexec(), "-n", str(ranks), sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)


def train(repository, pairs, folder, ranks, promised):
    options = ["--seed", 7, "--ranks", promised, "--settings", json.dumps(SETTINGS), "--log", folder / "log"]
    for role, those in (("train", pairs[:2]), ("validation", pairs[2:])):
        options += [f"--{role}-reference", *(one for one, _ in those)]
        options += [f"--{role}-descriptors", *(other for _, other in those)]
    options += ["--pseudopotential", f"Be={pairs[0][0].parent / 'Be.upf'}", "--checkpoint", folder / "checkpoint"]
    options += ["--weights", folder / "model.safetensors", "--bundle", folder / "model.json"]
    options += ["--history", folder / "history.csv"]
    folder.mkdir()
    return run_ranks(repository, ranks, repository / "workflow/scripts/train_model.py", *options)


def test_three_ranks_train_the_model_of_one(repository, pairs, tmp_path):
    histories, weights = [], []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        done = train(repository, pairs, folder, ranks, ranks)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in folder.iterdir()) == [
            "history.csv",
            "log",
            "model.json",
            "model.safetensors",
        ]
        assert (folder / "log").read_text().count("epoch 1:") == 1
        with open(folder / "history.csv", newline="") as file:
            histories.append(
                [[float(row[key]) for key in ("train_loss", "validation_loss")] for row in csv.DictReader(file)]
            )
        weights.append(safetensors.numpy.load_file(folder / "model.safetensors"))
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    for name, expected in weights[0].items():
        if name.startswith("network."):
            np.testing.assert_allclose(weights[1][name], expected, rtol=1e-2, atol=1e-3 * np.abs(expected).max())


def test_ranks_share_the_features(repository, pairs, tmp_path):
    (tmp_path / "moments.py").write_text(MOMENTS)
    done = run_ranks(repository, 2, tmp_path / "moments.py", *(path for pair in pairs for path in pair))
    assert done.returncode == 0, done.stderr


def test_fewer_ranks_than_promised_are_told_once(repository, pairs, tmp_path):
    done = train(repository, pairs, tmp_path / "x", 2, 3)
    assert done.returncode != 0
    assert done.stderr.count("expected 3 MPI ranks, this process sees 2") == 1
    assert "Traceback" not in done.stderr

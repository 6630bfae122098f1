"""Plan a prediction: batches and tiles of the grid, and a first Fermi level from a coarse pre-pass."""

import argparse
import logging
from pathlib import Path

import torch

from nearsight.datasets import open_dataset
from nearsight.files import sha256_of, write_json
from nearsight.inference.plan import make_plan
from nearsight.jobs import make_parser, run_job
from nearsight.model.bundle import load_bundle

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model bundle, JSON part")
    parser.add_argument("--weights", type=Path, required=True, help="model bundle, safetensors part")
    parser.add_argument("--descriptors", type=Path, required=True, help="descriptor dataset of the structure")
    parser.add_argument("--batches", type=int, required=True, help="number of batches, one job and file each")
    parser.add_argument("--tile-points", type=int, required=True, help="grid points in memory at once")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    parser.add_argument("--output", type=Path, required=True, help="plan (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Check model against descriptors, run the pre-pass, write the plan."""
    torch.set_num_threads(arguments.threads)
    model = load_bundle(arguments.model, arguments.weights)
    with open_dataset(arguments.descriptors) as descriptors:
        plan = make_plan(
            model,
            descriptors,
            batches=arguments.batches,
            tile_points=arguments.tile_points,
            model_sha256=sha256_of(arguments.weights),
            descriptors_sha256=sha256_of(arguments.descriptors),
        )
    write_json(arguments.output, plan.to_json())
    logger.info(
        "grid %s, %d batches, tiles of %s points, first Fermi level %.4f eV",
        plan.shape, len(plan.batches), plan.tile_shape, plan.fermi_level_eV,
    )  # fmt: skip


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Predict a batch of tiles: density, its derivatives with respect to μ at the plan's Fermi level, share of the DOS.

On two MPI ranks: mpiexec -n 2 python predict_tiles.py --ranks 2 --plan ... A job that was stopped resumes with the
missing tiles, on any number of ranks and threads.
"""

import argparse
from pathlib import Path

from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.grids.tiles import THREAD_POINTS
from nearsight.inference.batch import predict_batch
from nearsight.inference.plan import PredictionPlan, check_origin
from nearsight.jobs import add_model_options, make_parser, show_progress
from nearsight.memory import check_memory, inference_bytes
from nearsight.model.bundle import load_bundle
from nearsight.mpi import check_ranks, on_rank_0, run_parallel_job, world
from nearsight.provenance import collect_provenance
from nearsight.structures.gridded import read_gridded_structure


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan made by plan_tiles")
    add_model_options(parser)
    parser.add_argument("--structure", type=Path, required=True, help='structure with info["grid_shape"]')
    parser.add_argument("--batch", type=int, required=True, help="which batch of the plan, from 0")
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks that the job was promised")
    parser.add_argument("--threads", type=int, default=1, help="threads of each rank")
    parser.add_argument("--output", type=Path, required=True, help="the batch's file (HDF5)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Predict the batch and write its file, whole or not at all."""
    comm = world()
    on_rank_0(comm, lambda: check_ranks(comm, arguments.ranks))
    plan, plan_sha256 = on_rank_0(comm, lambda: read_plan(arguments))
    model = load_bundle(arguments.model, arguments.weights)
    atoms, _ = on_rank_0(comm, lambda: read_gridded_structure(arguments.structure))
    tile_points = min(plan.tile_points, plan.batches[arguments.batch].points)
    sizes = (tile_points, model.network.inputs, model.energy_grid.count, len(atoms), THREAD_POINTS)
    needed = inference_bytes(*sizes, threads=arguments.threads, keep_ldos=plan.keep_ldos)
    given_MB = arguments.memory_MB and arguments.memory_MB * arguments.threads  # the rule gives it per core
    on_rank_0(comm, lambda: check_memory("predict_tiles", needed, given_MB, comm.size))
    inputs = {"plan": arguments.plan, "model": arguments.model, "weights": arguments.weights}
    predict_batch(
        plan,
        arguments.batch,
        model,
        atoms,
        arguments.output,
        plan_sha256=plan_sha256,
        provenance=lambda settings: collect_provenance("inference", settings, inputs),
        threads=arguments.threads,
        comm=comm,
        progress=lambda tiles: show_progress(tiles, f"batch {arguments.batch}", unit="tile"),
    )


def read_plan(arguments: argparse.Namespace) -> tuple[PredictionPlan, str]:
    """The plan and its SHA-256. Raises InputError where model or structure are not those that it was made from."""
    plan = PredictionPlan.from_file(arguments.plan)
    if not 0 <= arguments.batch < len(plan.batches):
        raise InputError(f"--batch: expected 0 to {len(plan.batches) - 1}, as planned, got {arguments.batch}.")
    check_origin(arguments.plan, {arguments.weights: plan.model_sha256, arguments.structure: plan.structure_sha256})
    return plan, sha256_of(arguments.plan)


if __name__ == "__main__":
    run_parallel_job(main, parse_arguments())

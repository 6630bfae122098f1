"""Predict one batch of tiles: its density and dn/dμ at the plan's Fermi level, and its share of the DOS."""

import argparse
from pathlib import Path

import torch

from nearsight.datasets import atoms_of, open_dataset, variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.files import sha256_of
from nearsight.inference.plan import PredictionPlan
from nearsight.inference.predict import predict_batch
from nearsight.jobs import make_parser, run_job, show_progress
from nearsight.ldos import fermi_weights
from nearsight.model.bundle import load_bundle
from nearsight.provenance import collect_provenance


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan made by plan_tiles")
    parser.add_argument("--model", type=Path, required=True, help="model bundle, JSON part")
    parser.add_argument("--weights", type=Path, required=True, help="model bundle, safetensors part")
    parser.add_argument("--descriptors", type=Path, required=True, help="descriptor dataset of the structure")
    parser.add_argument("--batch", type=int, required=True, help="which batch of the plan, from 0")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    parser.add_argument("--keep-ldos", action="store_true", help="store the LDOS too (small cells only)")
    parser.add_argument("--output", type=Path, required=True, help="the batch's file (HDF5)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Predict the batch and write its file, whole or not at all."""
    torch.set_num_threads(arguments.threads)
    plan = PredictionPlan.from_file(arguments.plan)
    check_input(arguments.weights, plan.model_sha256, arguments.plan)
    check_input(arguments.descriptors, plan.descriptors_sha256, arguments.plan)
    model = load_bundle(arguments.model, arguments.weights)
    weights = fermi_weights(model.energy_grid, plan.fermi_level_eV, model.temperature_K, model.broadening_eV)
    block = plan.batches[arguments.batch]
    with open_dataset(arguments.descriptors) as descriptors:
        atoms = atoms_of(descriptors)
        batch = predict_batch(
            model,
            descriptors,
            block,
            plan.tile_shape,
            weights,
            atoms.get_volume() / descriptors["bispectrum"][..., 0].size,
            keep_ldos=arguments.keep_ldos,
            progress=lambda tiles: show_progress(tiles, f"batch {arguments.batch}", unit="tile"),
        )
    variables = {
        "dos": batch.dos,
        "energy": model.energy_grid.energies_eV,
        "density": batch.density,
        "density_slope": batch.density_slope,
        **variables_of_atoms(atoms),
    }
    if batch.ldos is not None:
        variables["ldos"] = batch.ldos
    settings = {
        "start": block.start,
        "stop": block.stop,
        "grid_shape": plan.shape,
        "fermi_level_eV": plan.fermi_level_eV,
        "electrons": plan.electrons,
        "temperature_K": model.temperature_K,
        "broadening_eV": model.broadening_eV,
        "plan_sha256": sha256_of(arguments.plan),
    }
    inputs = {"plan": arguments.plan, "model": arguments.model, "weights": arguments.weights}
    write_dataset(arguments.output, variables, settings, collect_provenance("inference", settings, inputs))


def check_input(path: Path, expected_sha256: str, plan: Path) -> None:
    """Raise InputError if a file is not the one that the plan was made from."""
    found = sha256_of(path)
    if found != expected_sha256:
        raise InputError(
            f"{path}: expected the file that {plan} was made from (sha256 {expected_sha256[:12]}…), got another "
            f"({found[:12]}…). Run plan_tiles again."
        )


if __name__ == "__main__":
    run_job(main, parse_arguments())

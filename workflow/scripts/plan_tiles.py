"""Plan a prediction: batches and tiles of the grid, and a first Fermi level from a coarse pre-pass."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from nearsight.datasets import open_dataset, settings_of
from nearsight.files import sha256_of, write_json
from nearsight.inference.plan import make_plan
from nearsight.jobs import add_model_options, make_parser, run_job, show_progress
from nearsight.model.bundle import load_bundle
from nearsight.model.method import positive_number
from nearsight.structures.gridded import read_gridded_structure
from nearsight.study.sections import Inference

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    add_model_options(parser)
    parser.add_argument("--structure", type=Path, required=True, help='structure with info["grid_shape"]')
    parser.add_argument("--settings", type=Inference.from_json, required=True, help="JSON: the section `inference`")
    parser.add_argument("--temperature-K", type=float, help="of the electrons (default: the model's)")
    parser.add_argument("--reference", type=Path, help="snapshot dataset to take the electrons' temperature from")
    parser.add_argument("--threads", type=int, default=1, help="threads of this job and of each batch's process")
    parser.add_argument("--keep-ldos", action="store_true", help="store the LDOS too (small cells only)")
    parser.add_argument("--output", type=Path, required=True, help="plan (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Check model against structure, run the pre-pass, write the plan."""
    model = load_bundle(arguments.model, arguments.weights)
    temperature_K = arguments.temperature_K
    if arguments.reference is not None:
        with open_dataset(arguments.reference) as reference:
            temperature_K = positive_number(settings_of(reference), "temperature_K", path=arguments.reference)
    if temperature_K is not None:
        model = replace(model, temperature_K=temperature_K)
    atoms, shape = read_gridded_structure(arguments.structure)
    plan = make_plan(
        model,
        atoms,
        shape,
        arguments.settings.model_copy(update={"threads": arguments.threads}),
        keep_ldos=arguments.keep_ldos,
        model_sha256=sha256_of(arguments.weights),
        structure_sha256=sha256_of(arguments.structure),
        memory_MB=arguments.memory_MB,
        progress=lambda tiles: show_progress(tiles, "pre-pass", unit="tile"),
    )
    write_json(arguments.output, plan.to_json())
    logger.info(
        "grid %s, %d batches, tiles of %d points, first Fermi level %.4f eV; distance from the training set: "
        "descriptors %.2f, radial distribution %.2f (validation snapshots: 1)",
        plan.shape, len(plan.batches), plan.tile_points, plan.fermi_level_eV, plan.descriptor_score, plan.rdf_score,
    )  # fmt: skip


if __name__ == "__main__":
    run_job(main, parse_arguments())

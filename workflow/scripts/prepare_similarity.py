"""Prepare the data of figure 4: radial distribution functions and extrapolation scores beside the training set's."""

import argparse
import logging

from nearsight.figures.prepare.cells import describe_cell
from nearsight.figures.prepare.similarity import (
    TRAINING,
    analyse_similarity,
    tabulate_rdfs,
    tabulate_scores,
)
from nearsight.figures.tables import FigureData, write_figure_data
from nearsight.files import read_json
from nearsight.jobs import NAMED_FILES, add_model_options, add_record_options, make_parser, parse_settings, run_job
from nearsight.model.bundle import load_bundle
from nearsight.provenance import collect_provenance
from nearsight.structures.io import read_structure

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--cells", type=parse_settings, required=True, help="what each cell is, as JSON")
    parser.add_argument("--structures", **NAMED_FILES, help="their structures (extended XYZ)")
    parser.add_argument("--plans", **NAMED_FILES, help="plans of their predictions (JSON)")
    add_model_options(parser)
    add_record_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read structures and plans; write the figure's record and tables."""
    cutoff_A = load_bundle(arguments.model, arguments.weights).domain.rdf_cutoff_A
    structures = {name: read_structure(path) for name, path in arguments.structures}
    cells = {}
    for name, atoms in structures.items():
        cells[name] = describe_cell(arguments.cells[name], len(atoms))
        if arguments.cells[name]["role"] == "train":
            cells[name] |= {"set": TRAINING, "kind": TRAINING}
    sizes = {name: len(atoms) for name, atoms in structures.items()}
    rdfs = tabulate_rdfs(cells, structures, cutoff_A)
    plans = {name: read_json(path) for name, path in arguments.plans}
    scores = tabulate_scores(cells, plans, sizes)
    missing = []
    if TRAINING not in rdfs["set"]:
        missing.append("There is no training snapshot.")
    if absent := sorted(set(arguments.cells) - set(structures)):
        missing.append(f"Still missing, of {len(arguments.cells)} cells: {', '.join(absent)}.")
    for text in missing:
        logger.warning("figure 4: %s", text)
    found = {"cutoff_A": float(cutoff_A), **analyse_similarity(rdfs, scores)}
    inputs = {f"structure {name}": path for name, path in arguments.structures}
    inputs |= {f"plan {name}": path for name, path in arguments.plans} | {"model": arguments.model}
    provenance = collect_provenance("figures", arguments.settings, inputs)
    write_figure_data(
        FigureData("4", arguments.settings, found, {"rdf": rdfs, "scores": scores}, missing, provenance),
        arguments.outputs,
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

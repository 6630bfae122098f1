"""Repeat a structure, with the grid of its fields; displace its atoms or add a stacking fault where asked."""

import argparse
import logging
from math import prod
from pathlib import Path

from nearsight.jobs import make_parser, parse_settings, run_job
from nearsight.memory import check_memory, structure_bytes
from nearsight.structures.builders import build_structure, build_supercell
from nearsight.structures.io import read_structure, write_structure
from nearsight.structures.large import add_stacking_fault, displace_independently, layers_of
from nearsight.study.sections import read_structure_section

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="structure with grid_shape (extended XYZ)")
    parser.add_argument(
        "--settings", type=parse_settings, required=True, help="entry of `supercells` without its snapshot, as JSON"
    )
    parser.add_argument(
        "--crystal", type=read_structure_section, help="the crystal's entry of `structures`, as JSON, if it has one"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the displacements")
    parser.add_argument("--output", type=Path, required=True, help="supercell (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write the supercell."""
    settings, snapshot = arguments.settings, read_structure(arguments.structure)
    atoms = len(snapshot) * prod(settings["repeat"])
    check_memory("build_supercell", structure_bytes(atoms), arguments.memory_MB)
    supercell = build_supercell(snapshot, settings["repeat"])
    if settings["displacement_A"]:
        supercell = displace_independently(supercell, settings["displacement_A"], arguments.seed)
    if settings["stacking_fault_layer"] is not None:
        layers = layers_of(build_structure(arguments.crystal))
        supercell = add_stacking_fault(supercell, *layers, settings["stacking_fault_layer"])
    write_structure(arguments.output, supercell)
    logger.info("%d atoms, grid %s", len(supercell), supercell.info["grid_shape"])


if __name__ == "__main__":
    run_job(main, parse_arguments())

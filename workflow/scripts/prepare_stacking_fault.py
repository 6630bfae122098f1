"""Prepare the data of figure 1: a stacking fault in cells of growing size, its energy, its atoms and its density."""

import argparse
import logging
from contextlib import ExitStack
from pathlib import Path

from nearsight.datasets import open_dataset
from nearsight.errors import InputError
from nearsight.figures.contents import TABLES
from nearsight.figures.prepare.stacking_fault import (
    FaultPair,
    change_of_density,
    fit_energies,
    tabulate_energies,
    tabulate_visible_atoms,
)
from nearsight.figures.tables import FigureData, write_figure_data
from nearsight.files import read_json
from nearsight.jobs import NAMED_FILES, add_record_options, make_parser, parse_settings, run_job
from nearsight.provenance import collect_provenance
from nearsight.structures.io import read_structure

logger = logging.getLogger("nearsight")

PREDICTION, REFERENCE = "Nearsight", "Quantum ESPRESSO"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=parse_settings, required=True, help="names without: with the fault, as JSON")
    parser.add_argument("--structures", **NAMED_FILES, help="their structures (extended XYZ)")
    parser.add_argument("--energies", **NAMED_FILES, help="their predicted energies (JSON)")
    parser.add_argument("--references", **NAMED_FILES, help="their snapshot datasets of DFT (HDF5), if any")
    parser.add_argument("--densities", **NAMED_FILES, help="predictions (HDF5) of the pair that is drawn")
    parser.add_argument("--literature", type=parse_settings, default={}, help="fault energies in mJ/m², as JSON")
    add_record_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read energies, structures and densities; write the figure's record and tables."""
    energies, references = dict(arguments.energies), dict(arguments.references)
    structures = dict(arguments.structures)
    pairs = [
        FaultPair(
            without,
            with_fault,
            read_structure(structures[without]),
            read_structure(structures[with_fault]),
            read_energies(without, with_fault, energies, references),
        )
        for without, with_fault in arguments.pairs.items()
    ]
    tables: dict[str, dict[str, list]] = {name: {} for name in TABLES["1"]}
    found, missing = {"literature_mJ_per_m2": arguments.literature}, []
    if not pairs:
        missing.append(
            "There is no pair of cells without and with a stacking fault: name some in the study file "
            "(paper_figures.fault_pairs), or wait for their DFT."
        )
        tables["energies"] = tabulate_energies([])
    else:
        tables["energies"] = tabulate_energies(pairs)
        laws = {source: fit_energies(tables["energies"], source) for source in (PREDICTION, REFERENCE)}
        found["laws"] = {source: law for source, law in laws.items() if law}
        if PREDICTION not in found["laws"]:
            missing.append("There are no two sizes of one shape, which an exponent needs.")
    densities = dict(arguments.densities)
    drawn = [pair for pair in pairs if {pair.without, pair.with_fault} <= set(densities)]
    if drawn:
        pair = drawn[-1]
        with ExitStack() as stack:
            fields = [
                stack.enter_context(open_dataset(densities[name]))["density"]
                for name in (pair.without, pair.with_fault)
            ]
            tables["slice"], tables["isosurface"], about = change_of_density(pair, *fields)
        tables["atoms"] = tabulate_visible_atoms(pair.faulted)
        edges = [float(edge) for edge in pair.crystal.cell.lengths()]
        found["drawn"] = {"name": pair.with_fault, "atoms": len(pair.crystal), "edges_A": edges, **about}
    else:
        missing.append("There is no predicted density of a pair of cells without and with a stacking fault.")
    for text in missing:
        logger.warning("figure 1: %s", text)
    inputs = {**structures, **{f"energies {name}": path for name, path in energies.items()}}
    inputs |= {f"reference {name}": path for name, path in references.items()}
    inputs |= {f"density {name}": path for name, path in densities.items()}
    provenance = collect_provenance("figures", arguments.settings, inputs)
    data = FigureData("1", arguments.settings, found, tables, missing, provenance)
    write_figure_data(data, arguments.outputs)


def read_energies(without: str, with_fault: str, energies: dict[str, Path], references: dict[str, Path]) -> dict:
    """Total free energies in eV of a pair, by where they come from."""
    found = {}
    if {without, with_fault} <= set(energies):
        found[PREDICTION] = tuple(read_json(energies[name])["energies_eV"]["total"] for name in (without, with_fault))
    if {without, with_fault} <= set(references):
        values = []
        for name in (without, with_fault):
            with open_dataset(references[name]) as dataset:
                values.append(float(dataset["total_free_energy"]))
        found[REFERENCE] = tuple(values)
    if not found:
        raise InputError(f"{without}, {with_fault}: expected energies of both, found none. Predict both, or neither.")
    return found


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Prepare the data of figure 3: errors of the held-out cells, and their energies beside interatomic potentials'."""

import argparse
import logging

from nearsight.figures.prepare.accuracy import analyse_accuracy, tabulate_errors, tabulate_parity
from nearsight.figures.prepare.cells import describe_cell
from nearsight.figures.tables import FigureData, write_figure_data
from nearsight.files import read_json
from nearsight.jobs import NAMED_FILES, add_record_options, make_parser, parse_settings, run_job, show_progress
from nearsight.provenance import collect_provenance
from nearsight.structures.io import read_structure
from nearsight.structures.lammps import potential_energy

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--cells", type=parse_settings, required=True, help="what each held-out cell is, as JSON")
    parser.add_argument("--evaluations", **NAMED_FILES, help="files of evaluate_prediction")
    parser.add_argument("--structures", **NAMED_FILES, help="structures of the same cells (extended XYZ)")
    parser.add_argument("--potentials", type=parse_settings, default={}, help="LAMMPS commands by name, as JSON")
    add_record_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read the evaluations, compute the potentials' energies; write the figure's record and tables."""
    evaluations = [read_json(path) for _, path in arguments.evaluations]
    cells = {
        evaluation["name"]: describe_cell(arguments.cells[evaluation["name"]], evaluation["atoms"])
        for evaluation in evaluations
    }
    structures = {name: read_structure(path) for name, path in arguments.structures if name in cells}
    potentials = {
        label: {
            name: potential_energy(atoms, commands)
            for name, atoms in show_progress(structures.items(), label, unit="cell")
        }
        for label, commands in arguments.potentials.items()
    }
    errors = tabulate_errors(cells, evaluations)
    parity = tabulate_parity(cells, evaluations, potentials)
    absent = sorted(set(arguments.cells) - set(cells))
    missing = []
    if absent:
        missing.append(f"Still missing, of {len(arguments.cells)} held-out cells: {', '.join(absent)}.")
    if not errors["name"]:
        missing.append("There is no held-out cell with a DFT reference.")
    if not parity["name"]:
        missing.append("There are no two held-out cells of one kind, whose energies could be compared.")
    for text in missing:
        logger.warning("figure 3: %s", text)
    inputs = {f"evaluation {name}": path for name, path in arguments.evaluations}
    inputs |= {f"structure {name}": path for name, path in arguments.structures}
    provenance = collect_provenance("figures", {**arguments.settings, "potentials": arguments.potentials}, inputs)
    tables = {"errors": errors, "parity": parity}
    data = FigureData("3", arguments.settings, analyse_accuracy(errors, parity), tables, missing, provenance)
    write_figure_data(data, arguments.outputs)


if __name__ == "__main__":
    run_job(main, parse_arguments())

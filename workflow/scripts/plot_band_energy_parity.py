"""Draw predicted band energies against those of DFT."""

import argparse
from pathlib import Path

from nearsight.figures.output import write_figure, write_table
from nearsight.figures.parity import BandEnergyPair, draw_parity, tabulate_parity
from nearsight.files import read_json
from nearsight.jobs import add_figure_options, make_parser, run_job


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True, help="files of evaluate_prediction")
    add_figure_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read the evaluations, write figure and table."""
    evaluations = [read_json(path) for path in arguments.evaluations]
    pairs = [
        BandEnergyPair(
            name=evaluation["name"],
            role=evaluation["role"],
            **{
                key: evaluation["band_energy_eV"][key] / evaluation["atoms"]
                for key in ("dft", "prediction", "reference_ldos")
            },
        )
        for evaluation in evaluations
    ]
    mean = evaluations[0]["band_energy_eV"]["mean_energy"] / evaluations[0]["atoms"]
    write_figure(draw_parity(pairs, mean), arguments.png, arguments.pdf)
    write_table(tabulate_parity(pairs), arguments.csv)


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Draw a plane of the electronic density: DFT, prediction, error."""

import argparse
from pathlib import Path

from nearsight.datasets import atoms_of, open_dataset
from nearsight.figures.density import draw_density_slice, slice_density, tabulate_density_slice
from nearsight.figures.output import write_figure, write_table
from nearsight.jobs import add_figure_options, make_parser, run_job


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--prediction", type=Path, required=True, help="prediction (HDF5)")
    parser.add_argument("--reference", type=Path, required=True, help="snapshot dataset of DFT (HDF5)")
    parser.add_argument("--name", required=True, help="name of the structure")
    add_figure_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read both densities, cut the plane through the first nucleus, write figure and table."""
    with open_dataset(arguments.prediction) as prediction, open_dataset(arguments.reference) as reference:
        plane = slice_density(atoms_of(reference), reference["density"].values, prediction["density"].values)
    write_figure(draw_density_slice(plane, arguments.name), arguments.png, arguments.pdf)
    write_table(tabulate_density_slice(plane), arguments.csv)


if __name__ == "__main__":
    run_job(main, parse_arguments())

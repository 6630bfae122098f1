"""Draw the density of states of DFT and prediction."""

import argparse
from pathlib import Path

from nearsight.datasets import atoms_of, open_dataset
from nearsight.errors import InputError
from nearsight.figures.dos import DosCurve, draw_dos, tabulate_dos
from nearsight.figures.output import write_figure, write_table
from nearsight.jobs import add_figure_options, make_parser, run_job
from nearsight.ldos import dos_from_ldos


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--predictions", type=Path, nargs="+", required=True, help="predictions (HDF5)")
    parser.add_argument(
        "--references", type=Path, nargs="*", default=[], help="DFT datasets of the first predictions, in order"
    )
    parser.add_argument("--names", nargs="+", required=True, help="a name for every prediction")
    add_figure_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read the spectra, draw, write figure and table."""
    if len(arguments.names) != len(arguments.predictions):
        raise InputError(f"--names: expected {len(arguments.predictions)} names, got {len(arguments.names)}.")
    references = [*arguments.references, *[None] * (len(arguments.predictions) - len(arguments.references))]
    curves = [read_curve(*item) for item in zip(arguments.names, arguments.predictions, references, strict=True)]
    write_figure(draw_dos(curves), arguments.png, arguments.pdf)
    write_table(tabulate_dos(curves), arguments.csv)


def read_curve(name: str, prediction: Path, reference: Path | None) -> DosCurve:
    """DOS per atom of one structure; that of DFT is the sum of its LDOS over the grid."""
    dft = None
    if reference is not None:
        with open_dataset(reference) as dataset:
            atoms = atoms_of(dataset)
            voxel = atoms.get_volume() / dataset["density"].size
            dft = sum(dos_from_ldos(plane.values, voxel) for plane in dataset["ldos"]) / len(atoms)
    with open_dataset(prediction) as dataset:
        atoms = dataset.sizes["atom"]
        return DosCurve(
            name=f"{name} ({atoms} atoms)",
            energies_eV=dataset["energy"].values,
            prediction=dataset["dos"].values / atoms,
            fermi_energy_eV=float(dataset["fermi_energy"]),
            reference=dft,
        )


if __name__ == "__main__":
    run_job(main, parse_arguments())

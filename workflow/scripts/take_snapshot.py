"""Take an existing snapshot into a study: check its dataset, copy it, and write its structure."""

import argparse
import logging
import shutil
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from nearsight import units
from nearsight.datasets import atoms_of, open_foreign_dataset, require, settings_of
from nearsight.energies.method import functional_of
from nearsight.errors import InputError
from nearsight.files import write_whole
from nearsight.jobs import make_parser, run_job
from nearsight.model.method import method_of_study, positive_number, read_method, require_one_method
from nearsight.reference.espresso.collect import elements_of
from nearsight.reference.espresso.options import add_pseudopotential_option, pseudopotentials_of
from nearsight.structures.checks import check_structure
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.structures.io import write_structure
from nearsight.study.sections import Dft, Ldos

logger = logging.getLogger("nearsight")

#: What later stages read of a snapshot dataset.
NEEDED = (
    *("cell", "positions", "atomic_numbers", "density", "ldos", "energy", "dos", "fermi_energy", "electrons"),
    *("band_energy", "entropy_energy", "total_free_energy"),
)


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="snapshot dataset (HDF5)")
    add_pseudopotential_option(parser)
    parser.add_argument("--settings", type=Dft.from_json, required=True, help="section `dft` of the study, as JSON")
    parser.add_argument("--ldos", type=Ldos.from_json, required=True, help="section `ldos` of the study, as JSON")
    parser.add_argument("--output", type=Path, required=True, help="the same dataset in the study's results")
    parser.add_argument("--structure", type=Path, required=True, help="its structure with grid_shape (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Check the dataset against the study's settings, as snapshots of a training are against each other."""
    source, pseudopotentials = arguments.dataset, pseudopotentials_of(arguments)
    with open_foreign_dataset(source) as dataset:
        require(dataset, *NEEDED, path=source)
        atoms, method = atoms_of(dataset), read_method(dataset, source)
        shape = tuple(int(n) for n in dataset["ldos"].shape[:3])
        check_structure(atoms, str(source))
        if missing := sorted(set(elements_of(atoms)) - set(pseudopotentials)):
            raise InputError(
                f"{source}: elements: expected those of the study's pseudopotentials, {', '.join(pseudopotentials)}, "
                f"got {', '.join(missing)} too. Add a pseudopotential, or leave the snapshot out."
            )
        ours = replace(
            method_of_study(method, arguments.settings, arguments.ldos),
            functional=functional_of(pseudopotentials),
            valence={element: pseudopotentials[element].valence for element in method.valence},
            sha256={element: pseudopotentials[element].sha256 for element in method.valence},
        )
        require_one_method([ours, method])
        temperature_K = positive_number(settings_of(dataset), "temperature_K", path=source)
        needed = float(dataset["fermi_energy"]) + units.fermi_reach(temperature_K)
        if (top := float(dataset["energy"][-1])) < needed:
            raise InputError(
                f"{source}: energy: expected an LDOS to at least {needed:.2f} eV (25 k_B T above the Fermi energy), "
                f"got {top:.2f} eV. Compute it with a larger ldos.energy_max_eV."
            )
        expected = sum(pseudopotentials[symbol].valence for symbol in atoms.symbols)
        found = float(np.sum(dataset["density"].values)) * atoms.get_volume() / prod(shape)
        if not abs(found - expected) < 1e-4 * expected:
            raise InputError(f"{source}: density: expected {expected:g} electrons, got {found:.6f}. Import it again.")
    with write_whole(arguments.output) as temporary:
        shutil.copyfile(source, temporary)
    atoms.info[GRID_SHAPE] = list(shape)
    write_structure(arguments.structure, atoms)
    logger.info("%s: %d atoms, grid %s, electrons at %g K", source, len(atoms), shape, temperature_K)


if __name__ == "__main__":
    run_job(main, parse_arguments())

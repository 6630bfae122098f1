"""Start a trajectory: the ideal cell with random velocities."""

import argparse
import logging
from pathlib import Path

import numpy as np
from ase import units as ase_units

from nearsight.jobs import make_parser, run_job
from nearsight.structures.io import read_structure, write_structure
from nearsight.structures.velocities import draw_velocities

logger = logging.getLogger("nearsight")

#: At ideal positions all thermal energy is kinetic; half of it goes into the potential within some tens of fs.
KINETIC_FACTOR = 2.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="ideal structure")
    parser.add_argument("--temperature-K", type=float, required=True, help="temperature in K after equilibration")
    parser.add_argument("--seed", type=int, required=True, help="seed of the random velocities")
    parser.add_argument("--output", type=Path, required=True, help="structure with velocities (extended XYZ)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Draw Maxwell-Boltzmann velocities at twice the temperature and write the state at time 0."""
    atoms = read_structure(arguments.structure)
    generator = np.random.default_rng(arguments.seed)
    velocities = draw_velocities(atoms.get_masses(), KINETIC_FACTOR * arguments.temperature_K, generator)
    atoms.set_velocities(velocities / ase_units.fs)
    atoms.calc = None
    atoms.info = {"time_fs": 0.0, "seed": arguments.seed}
    write_structure(arguments.output, atoms)
    logger.info("velocities at %g K, twice the temperature", KINETIC_FACTOR * arguments.temperature_K)


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Compute the total free energy, term by term, of a prediction or of a snapshot's LDOS, on any number of ranks.

On two ranks: mpiexec -n 2 python compute_energies.py --ranks 2 --fields ... --pseudopotential Be=... --output ...
Each rank reads and transforms its own planes of the density. The sum over the ions is done on rank 0.
"""

import argparse
from pathlib import Path

from nearsight.energies.report import write_energies
from nearsight.jobs import make_parser
from nearsight.mpi import check_ranks, on_rank_0, run_parallel_job, world
from nearsight.reference.espresso.options import add_pseudopotential_option, pseudopotentials_of


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--fields", type=Path, required=True, help="prediction (HDF5: density, DOS) or snapshot dataset (HDF5: LDOS)"
    )
    add_pseudopotential_option(parser)
    parser.add_argument("--ecutrho-Ry", type=float, required=True, help="density cutoff of the reference in Ry")
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks that the job was promised")
    parser.add_argument("--output", type=Path, required=True, help="energies with units (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Compute all terms and write them, with those of DFT's own density where it is known."""
    comm = world()
    on_rank_0(comm, lambda: check_ranks(comm, arguments.ranks))
    pseudopotentials, ecutrho_Ry = pseudopotentials_of(arguments), arguments.ecutrho_Ry
    write_energies(arguments.fields, pseudopotentials, ecutrho_Ry, arguments.output, comm, arguments.memory_MB)


if __name__ == "__main__":
    run_parallel_job(main, parse_arguments())

"""Command-line options that all Quantum ESPRESSO jobs share."""

import argparse
from pathlib import Path

from ase import Atoms

from nearsight.memory import PROCESS_BYTES, check_memory, dft_bytes
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotentials
from nearsight.study.sections import Dft, Md


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add --launcher and --ranks."""
    parser.add_argument(
        "--launcher",
        default="mpirun.openmpi --bind-to none",
        help="launcher of the MPI that Quantum ESPRESSO was built with, with its options; no shell reads it",
    )
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks; fewer are an error")


def add_pseudopotential_option(parser: argparse.ArgumentParser) -> None:
    """Add --pseudopotential, once per element."""
    parser.add_argument(
        "--pseudopotential",
        type=element_and_path,
        action="append",
        required=True,
        metavar="ELEMENT=PATH",
        help="UPF file of an element; give it once per element",
    )


def element_and_path(text: str) -> tuple[str, Path]:
    """The parts of 'Be=path' (argparse type); the path may hold further equals signs."""
    element, separator, path = text.partition("=")
    if not (element and separator and path):
        raise argparse.ArgumentTypeError(f"expected ELEMENT=PATH, got {text!r}")
    return element, Path(path)


def launch_of(arguments: argparse.Namespace) -> Launch:
    """How the job starts Quantum ESPRESSO."""
    return Launch(launcher=arguments.launcher, ranks=arguments.ranks)


def pseudopotentials_of(arguments: argparse.Namespace) -> dict[str, Pseudopotential]:
    """The pseudopotential of each element. Raises InputError where a file is another element's."""
    return read_pseudopotentials(dict(arguments.pseudopotential))


def check_dft_memory(
    stage: str,
    atoms: Atoms,
    points: int,
    settings: Dft | Md,
    bands: int,
    arguments: argparse.Namespace,
) -> None:
    """Log what a rank of pw.x will take besides the job's own Python. Raises InputError where that is too much."""
    needed = dft_bytes(
        atoms.get_volume(),
        points,
        len(atoms),
        bands,
        settings.ecutwfc_Ry,
        settings.kpoints,
        ranks=arguments.ranks,
        pools=launch_of(arguments).in_pools(settings.kpoints, settings.kpoints_shift).pools,
    )
    check_memory(stage, PROCESS_BYTES + needed, arguments.memory_MB, arguments.ranks)

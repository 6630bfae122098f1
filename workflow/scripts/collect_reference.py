"""Collect the reference data of one snapshot in one HDF5 dataset."""

import argparse
import logging
from math import prod
from pathlib import Path

from nearsight.energies.method import require_one_functional
from nearsight.errors import InputError
from nearsight.jobs import make_parser, run_job
from nearsight.memory import check_memory, one_pass_bytes, reference_bytes
from nearsight.provenance import collect_provenance
from nearsight.reference.espresso.collect import collect_snapshot, elements_of
from nearsight.reference.espresso.options import add_pseudopotential_option, pseudopotentials_of
from nearsight.reference.espresso.programs import version_of
from nearsight.reference.pseudopotential import count_electrons, select_pseudopotentials
from nearsight.reference.snapshot import describe_settings, write_snapshot
from nearsight.structures.gridded import read_gridded_structure
from nearsight.study.sections import Dft, Ldos

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="the snapshot (extended XYZ)")
    parser.add_argument("--scf", type=Path, required=True, help="folder that run_scf made")
    parser.add_argument("--scf-text", type=Path, required=True, help="output of pw.x that run_scf made")
    parser.add_argument("--cubes", type=Path, help="folder that run_ldos made, with ldos.backend espresso")
    parser.add_argument("--work-MB", type=int, default=256, help="memory for the states that are held at once")
    parser.add_argument("--settings", type=Dft.from_json, required=True, help="section `dft` of the runs, as JSON")
    parser.add_argument("--ldos", type=Ldos.from_json, required=True, help="section `ldos`, as JSON")
    parser.add_argument("--temperature-K", type=float, required=True, help="temperature of the electrons in K")
    add_pseudopotential_option(parser)
    parser.add_argument("--output", type=Path, required=True, help="snapshot dataset (HDF5)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Check that the files fit together and write the dataset, whole or not at all."""
    atoms, grid = read_gridded_structure(arguments.structure)
    ldos = arguments.ldos
    if (ldos.backend == "espresso") != (arguments.cubes is not None):
        raise InputError(f"--cubes: expected it with ldos.backend espresso and not otherwise, got {ldos.backend}.")
    pseudopotentials = pseudopotentials_of(arguments)
    work_bytes = arguments.work_MB * 10**6
    needed = reference_bytes(prod(grid), ldos.count)
    if ldos.backend == "one_pass":
        bands = arguments.settings.bands(count_electrons(atoms.symbols, pseudopotentials))
        needed = one_pass_bytes(prod(grid), ldos.count, len(atoms), bands, work_bytes)
    check_memory("collect_reference", needed, arguments.memory_MB)
    elements = elements_of(atoms)
    chosen = select_pseudopotentials(elements, pseudopotentials)
    snapshot = collect_snapshot(
        atoms,
        grid,
        arguments.scf,
        arguments.scf_text,
        pseudopotentials,
        ldos,
        arguments.temperature_K,
        arguments.cubes,
        work_bytes,
    )
    functional = require_one_functional({one.functional for one in chosen.values()})
    settings = describe_settings(arguments.settings, ldos, arguments.temperature_K, functional, chosen)
    inputs = {"structure": arguments.structure, "scf_text": arguments.scf_text}
    inputs |= {f"pseudopotential {element}": chosen[element].path for element in elements}
    text = arguments.scf_text.read_text(encoding="utf-8", errors="replace")
    provenance = collect_provenance("reference", settings, inputs, {"Quantum ESPRESSO": version_of(text)})
    write_snapshot(arguments.output, snapshot, settings, provenance)
    logger.info(
        "%d electrons, Fermi energy %.4f eV, total free energy %.6f eV",
        snapshot.electrons,
        snapshot.fermi_energy,
        snapshot.energies["total_free_energy"],
    )


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Join the batches of a prediction: exact Fermi level, density, DOS, band energy and entropy."""

import argparse
import logging
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.datasets import (
    atoms_of,
    create_field_file,
    open_dataset,
    require,
    settings_of,
    variables_of_atoms,
)
from nearsight.errors import InputError
from nearsight.files import sha256_of, write_json
from nearsight.inference.gather import check_electrons, solve_level
from nearsight.inference.plan import PredictionPlan
from nearsight.jobs import make_parser, run_job
from nearsight.ldos import EnergyGrid
from nearsight.provenance import collect_provenance

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan made by plan_tiles")
    parser.add_argument("--batches", type=Path, nargs="+", required=True, help="files of all batches, in order")
    parser.add_argument("--output", type=Path, required=True, help="prediction (HDF5): density, DOS, energies")
    parser.add_argument("--observables", type=Path, required=True, help="observables with units (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Sum the DOS, find μ, correct and join the density, check its integral, write both files."""
    plan = PredictionPlan.from_file(arguments.plan)
    with ExitStack() as stack:
        batches = [stack.enter_context(open_dataset(path)) for path in arguments.batches]
        check_batches(batches, arguments.batches, plan, sha256_of(arguments.plan))
        settings = {key: settings_of(batches[0])[key] for key in ("temperature_K", "broadening_eV", "electrons")}
        atoms = atoms_of(batches[0])
        grid = EnergyGrid.from_energies(batches[0]["energy"].values)
        dos = np.sum([batch["dos"].values for batch in batches], axis=0)
        level = solve_level(
            dos,
            grid,
            plan.electrons,
            settings["temperature_K"],
            settings["broadening_eV"],
            plan.fermi_level_eV,
        )
        found = level.observables
        variables = {
            "dos": dos,
            "energy": grid.energies_eV,
            "fermi_energy": found.fermi_energy_eV,
            "electrons": plan.electrons,
            "band_energy": found.band_energy_eV,
            "entropy_energy": found.entropy_energy_eV,
            **variables_of_atoms(atoms),
        }
        provenance = collect_provenance("inference", settings, {"plan": arguments.plan})
        counted = 0.0
        with create_field_file(arguments.output, "density", plan.shape, variables, settings, provenance) as target:
            for batch, block in zip(batches, plan.batches, strict=True):
                density = batch["density"].values + level.shift_eV * batch["density_slope"].values
                target[block.slices] = density
                counted += float(density.sum())
            counted *= atoms.get_volume() / np.prod(plan.shape)
            check_electrons(counted, plan.electrons, str(arguments.output))
    write_json(
        arguments.observables,
        {
            "atoms": len(atoms),
            "grid_shape": plan.shape,
            **asdict(found),
            "electrons_of_density": counted,
            "band_energy_eV_per_atom": found.band_energy_eV / len(atoms),
            "entropy_energy_eV_per_atom": found.entropy_energy_eV / len(atoms),
            "first_fermi_level_eV": plan.fermi_level_eV,
            "provenance": provenance,
        },
    )
    logger.info(
        "%d atoms: Fermi level %.4f eV (pre-pass off by %.3f meV), band energy %.6f eV/atom",
        len(atoms), found.fermi_energy_eV, 1e3 * level.shift_eV, found.band_energy_eV / len(atoms),
    )  # fmt: skip


def check_batches(batches: list[xr.Dataset], paths: list[Path], plan: PredictionPlan, plan_sha256: str) -> None:
    """Raise InputError unless the files are the plan's batches, all of them and in order."""
    if len(batches) != len(plan.batches):
        raise InputError(f"batches: expected {len(plan.batches)} files, as planned, got {len(batches)}.")
    for batch, path, block in zip(batches, paths, plan.batches, strict=True):
        require(batch, "dos", "energy", "density", "density_slope", path=path)
        settings = settings_of(batch)
        if settings["plan_sha256"] != plan_sha256 or tuple(settings["start"]) != block.start:
            raise InputError(
                f"{path}: expected the batch of the plan that starts at {block.start}, got one of another plan. Delete "
                f"it and run again."
            )


if __name__ == "__main__":
    run_job(main, parse_arguments())

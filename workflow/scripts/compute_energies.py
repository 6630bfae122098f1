"""Total free energy with every term, of a prediction or of a snapshot's reference LDOS."""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

import xarray as xr

from nearsight.datasets import atoms_of, open_dataset, require, settings_of
from nearsight.energies import FreeEnergy, density_energies, total_free_energy
from nearsight.espresso.options import add_pseudopotential_option, pseudopotentials_of
from nearsight.files import write_json
from nearsight.jobs import make_parser, run_job
from nearsight.ldos import EnergyGrid, density_from_ldos, fermi_weights, find_fermi_level
from nearsight.provenance import collect_provenance

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--fields", type=Path, required=True, help="prediction (HDF5: density, DOS) or snapshot dataset (HDF5: LDOS)"
    )
    add_pseudopotential_option(parser)
    parser.add_argument("--ecutrho-Ry", type=float, required=True, help="density cutoff of the reference in Ry")
    parser.add_argument("--output", type=Path, required=True, help="energies with units (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Compute all terms and write them, with those of DFT's own density where it is known."""
    pseudopotentials = pseudopotentials_of(arguments)
    options = {"pseudopotentials": pseudopotentials, "ecutrho_Ry": arguments.ecutrho_Ry}
    with open_dataset(arguments.fields) as dataset:
        require(dataset, "density", "dos", "energy", path=arguments.fields)
        settings = settings_of(dataset)
        atoms = atoms_of(dataset)
        # a snapshot dataset holds the settings of its LDOS in a section
        broadening = settings["ldos"]["broadening_eV"] if "ldos" in settings else settings["broadening_eV"]
        conditions = {"temperature_K": settings["temperature_K"], "broadening_eV": broadening}
        shape = list(dataset["density"].shape)
        further = {}
        if "ldos" in dataset:
            energies = energies_of_ldos(dataset, conditions, options)
            further["density_energies_eV_of_dft_density"] = asdict(
                density_energies(atoms, dataset["density"].values, **options)
            )
        else:
            energies = total_free_energy(
                atoms, dataset["density"], dataset["dos"].values, dataset["energy"].values, **conditions, **options
            )
    terms = asdict(energies)
    level, electrons = terms.pop("fermi_energy"), terms.pop("electrons")
    settings = {**conditions, "ecutrho_Ry": arguments.ecutrho_Ry}
    inputs = {"fields": arguments.fields}
    inputs |= {f"pseudopotential {element}": path for element, path in pseudopotentials.items()}
    write_json(
        arguments.output,
        {
            "atoms": len(atoms),
            "grid_shape": shape,
            "energies_eV": terms,
            "total_free_energy_eV_per_atom": energies.total / len(atoms),
            "fermi_energy_eV": level,
            "electrons": electrons,
            **further,
            "provenance": collect_provenance("energies", settings, inputs),
        },
    )
    logger.info("%d atoms: total free energy %.6f eV/atom", len(atoms), energies.total / len(atoms))


def energies_of_ldos(dataset: xr.Dataset, conditions: dict, options: dict) -> FreeEnergy:
    """The total free energy of a reference LDOS: its DOS, and the density that it has at its own Fermi level."""
    grid = EnergyGrid.from_energies(dataset["energy"].values)
    dos = dataset["dos"].values
    level = find_fermi_level(dos, grid, float(dataset["electrons"]), **conditions)
    weights = fermi_weights(grid, level, **conditions)
    density = density_from_ldos(dataset["ldos"].values, weights)
    return total_free_energy(atoms_of(dataset), density, dos, dataset["energy"].values, **conditions, **options)


if __name__ == "__main__":
    run_job(main, parse_arguments())

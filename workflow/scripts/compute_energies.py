"""Total free energy with every term, of a prediction or of a snapshot's reference LDOS, on any number of MPI ranks.

On two ranks: mpiexec -n 2 python compute_energies.py --ranks 2 --fields ... --pseudopotential Be=... --output ...
Each rank reads and transforms its own planes of the density. The sum over the ions is done on rank 0.
"""

import argparse
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.datasets import atoms_of, open_dataset, require, settings_of
from nearsight.energies import FreeEnergy, density_energies, total_free_energy
from nearsight.espresso.options import add_pseudopotential_option, pseudopotentials_of
from nearsight.files import write_json
from nearsight.jobs import make_parser
from nearsight.ldos import EnergyGrid, FermiWeights, density_from_ldos, fermi_weights, find_fermi_level
from nearsight.provenance import collect_provenance
from nearsight.ranks import check_ranks, on_rank_0, run_parallel_job, world

logger = logging.getLogger("nearsight")

#: From this number of grid points on fields are stored in float32, half the memory, about 30,000 atoms: the total free
#: energy then changes by less than 1e-6 eV/atom (docs/performance.md).
SINGLE_FROM_POINTS = 1 << 27


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
    pseudopotentials = pseudopotentials_of(arguments)
    with open_dataset(arguments.fields) as dataset:
        require(dataset, "density", "dos", "energy", path=arguments.fields)
        settings = settings_of(dataset)
        atoms = atoms_of(dataset)
        # a snapshot dataset holds the settings of its LDOS in a section
        broadening = settings["ldos"]["broadening_eV"] if "ldos" in settings else settings["broadening_eV"]
        conditions = {"temperature_K": settings["temperature_K"], "broadening_eV": broadening}
        density = dataset["density"]
        single = density.size >= SINGLE_FROM_POINTS
        options = {"pseudopotentials": pseudopotentials, "ecutrho_Ry": arguments.ecutrho_Ry, "single": single}
        options["comm"] = comm
        further = {}
        if "ldos" in dataset:
            energies = energies_of_ldos(dataset, conditions, options)
            further["density_energies_eV_of_dft_density"] = asdict(density_energies(atoms, density, **options))
        else:
            energies = total_free_energy(
                atoms, density, dataset["dos"].values, dataset["energy"].values, **conditions, **options
            )
    if comm.rank > 0:
        return
    terms = asdict(energies)
    level, electrons = terms.pop("fermi_energy"), terms.pop("electrons")
    settings = {**conditions, "ecutrho_Ry": arguments.ecutrho_Ry, "fields": "float32" if single else "float64"}
    inputs = {"fields": arguments.fields}
    inputs |= {f"pseudopotential {element}": path for element, path in pseudopotentials.items()}
    write_json(
        arguments.output,
        {
            "atoms": len(atoms),
            "grid_shape": list(density.shape),
            "energies_eV": terms,
            "total_free_energy_eV_per_atom": energies.total / len(atoms),
            "fermi_energy_eV": level,
            "electrons": electrons,
            **further,
            "provenance": collect_provenance("energies", settings, inputs),
        },
    )
    logger.info("%d atoms: total free energy %.6f eV/atom", len(atoms), energies.total / len(atoms))


@dataclass(frozen=True)
class DensityOfLdos:
    """The density of an LDOS, computed when a plane of it is asked for; shape (nx, ny, nz), 1/Å³."""

    ldos: xr.DataArray
    weights: FermiWeights

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.ldos.shape[:3]

    def __getitem__(self, i: int) -> np.ndarray:
        """Plane i of x, read from the file."""
        return density_from_ldos(self.ldos[i].values, self.weights)


def energies_of_ldos(dataset: xr.Dataset, conditions: dict, options: dict) -> FreeEnergy:
    """The total free energy of a reference LDOS: its DOS, and the density that it has at its own Fermi level."""
    grid = EnergyGrid.from_energies(dataset["energy"].values)
    dos = dataset["dos"].values
    level = find_fermi_level(dos, grid, float(dataset["electrons"]), **conditions)
    density = DensityOfLdos(dataset["ldos"], fermi_weights(grid, level, **conditions))
    return total_free_energy(atoms_of(dataset), density, dos, dataset["energy"].values, **conditions, **options)


if __name__ == "__main__":
    run_parallel_job(main, parse_arguments())

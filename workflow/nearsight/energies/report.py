"""Energies, from files to a file: the common part of the job compute_energies and of `nearsight predict`."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nearsight.datasets import atoms_of, open_dataset, require, settings_of
from nearsight.energies.place import Place, is_single, place_energies
from nearsight.energies.screening import LONG_WAVE_A
from nearsight.energies.total import FreeEnergy, density_energies, total_free_energy
from nearsight.files import write_json
from nearsight.ldos import EnergyGrid, FermiWeights, density_from_ldos, fermi_weights, find_fermi_level
from nearsight.memory import ENERGIES_PROCESS_BYTES, check_memory, limit_bytes
from nearsight.mpi import on_rank_0
from nearsight.provenance import collect_provenance
from nearsight.reference.pseudopotential import Pseudopotential

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

#: Energy of unscreened charge above which the log warns, eV/atom: the accuracy expected of a total free energy.
UNSCREENED_eV_PER_ATOM = 1e-3


def write_energies(
    fields: Path,
    pseudopotentials: Mapping[str, Pseudopotential],
    ecutrho_Ry: float,
    output: Path,
    comm: "Comm",
    memory_MB: float | None = None,
    memory_GiB: float | None = None,
    process_bytes: int = ENERGIES_PROCESS_BYTES,
) -> FreeEnergy:
    """Compute all terms of a prediction (density, DOS) or of a snapshot dataset (LDOS), and write them as JSON.

    For a snapshot, those of DFT's own density are written too. Every rank of `comm` calls this; each reads and
    transforms its own planes of the density. memory_MB: of one rank, as the rule promised it; memory_GiB: the same, as
    the user gives it; process_bytes: what it has already. Fields that do not fit are on disk, beside the output; what
    needs more even then is refused. Returns the terms, the same on all ranks.
    """
    with open_dataset(fields) as dataset:
        require(dataset, "density", "dos", "energy", path=fields)
        settings = settings_of(dataset)
        atoms = atoms_of(dataset)
        # a snapshot dataset holds the settings of its LDOS in a section
        broadening = settings["ldos"]["broadening_eV"] if "ldos" in settings else settings["broadening_eV"]
        conditions = {"temperature_K": settings["temperature_K"], "broadening_eV": broadening}
        density = dataset["density"]
        single = is_single(density.shape)
        limit, _ = limit_bytes(memory_MB, comm.size, memory_GiB=memory_GiB)
        place = on_rank_0(comm, lambda: place_energies(atoms, density.shape, limit, comm.size, process_bytes))
        on_rank_0(comm, lambda: check_place(place, memory_MB, comm.size, memory_GiB))
        options = {"pseudopotentials": pseudopotentials, "ecutrho_Ry": ecutrho_Ry, "single": single}
        options |= {"comm": comm, "scratch": place.scratch(output.parent)}
        # the model's own uncertainty, where it has one
        further = {key: value for key, value in settings.items() if "_deviation_" in key}
        if settings.get("sampling"):
            further["sampling"] = settings["sampling"]
        screened = False
        if settings.get("screening"):
            further["screening"] = settings["screening"]
            # what is left then is the metal's own
            screened = settings["screening"]["wave_vector_A"] is not None
        if "ldos" in dataset:
            energies = energies_of_ldos(dataset, conditions, options)
            terms = asdict(density_energies(atoms, density, **options))
            further["unscreened_eV_per_atom_of_dft_density"] = terms.pop("unscreened") / len(atoms)
            further["density_energies_eV_of_dft_density"] = terms
        else:
            # predictions of older models have none
            known = len(atoms) * settings.get("broadening_error_eV_per_atom", 0.0)
            spectrum = (dataset["dos"].values, dataset["energy"].values)
            energies = total_free_energy(atoms, density, *spectrum, **conditions, **options, broadening_error_eV=known)
    if comm.rank > 0:
        return energies
    terms = asdict(energies)
    level, electrons, unscreened = (terms.pop(name) for name in ("fermi_energy", "electrons", "unscreened"))
    unscreened /= len(atoms)
    settings = {**conditions, "ecutrho_Ry": ecutrho_Ry, "fields": "float32" if single else "float64"}
    inputs = {"fields": fields}
    inputs |= {f"pseudopotential {element}": found.path for element, found in pseudopotentials.items()}
    write_json(
        output,
        {
            "atoms": len(atoms),
            "grid_shape": list(density.shape),
            "energies_eV": terms,
            "total_free_energy_eV_per_atom": energies.total / len(atoms),
            "unscreened_eV_per_atom": unscreened,
            "fermi_energy_eV": level,
            "electrons": electrons,
            **further,
            "provenance": collect_provenance("energies", settings, inputs),
        },
    )
    logger.info("%d atoms: total free energy %.6f eV/atom", len(atoms), energies.total / len(atoms))
    if unscreened > UNSCREENED_eV_PER_ATOM and not screened:
        logger.warning(
            "unscreened charge: %.2f meV/atom in waves longer than %g Å, where a metal has nearly none. The total free "
            "energy may be off by as much: train on cells that are longer than such waves (docs/prediction.md).",
            1e3 * unscreened, LONG_WAVE_A,
        )  # fmt: skip
    return energies


def check_place(place: Place, memory_MB: float | None, ranks: int, memory_GiB: float | None) -> None:
    """Log where the fields lie. Raises InputError where memory is short even with all on disk."""
    check_memory("compute_energies", place.memory_bytes, memory_MB, ranks, memory_GiB)
    if place.block_bytes is not None:
        logger.info("energies: the fields are on disk, %.2f GB at the peak", place.disk_bytes / 1e9)


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

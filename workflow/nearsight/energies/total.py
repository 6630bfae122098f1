"""The total free energy and its terms."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.energies.core_charge import core_coefficients
from nearsight.energies.disk import Scratch
from nearsight.energies.fourier import FourierGrid
from nearsight.energies.hartree import hartree_energy
from nearsight.energies.ion import ion_energy
from nearsight.energies.method import functional_of
from nearsight.energies.screening import unscreened_energy
from nearsight.energies.xc import XcTerms, xc_terms
from nearsight.errors import InputError
from nearsight.ldos import EnergyGrid, integrate_dos
from nearsight.mpi import on_first_ranks
from nearsight.reference.pseudopotential import Pseudopotential, count_electrons, select_pseudopotentials

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")

#: Largest relative deviation of a density's integral from the number of valence electrons.
ELECTRONS_TOLERANCE = 1e-4

#: Largest share of electrons in ∫ min(n, 0): the cut at ecutrho and a cube file's rounding make some points negative.
NEGATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class DensityEnergies:
    """The terms that density and ions fix, in eV; `xc_potential` is ∫ v_xc n d³r over the valence density.

    `unscreened` is no term of its own: an error that `hartree` may contain (`nearsight.energies.screening`).
    """

    hartree: float
    xc: float
    xc_potential: float
    ion: float
    unscreened: float


@dataclass(frozen=True)
class FreeEnergy:
    """Total free energy with every term in eV; `entropy` is the term -TS, `electrons` a number.

    total = band - hartree + xc - xc_potential + ion + entropy + broadening; `broadening` takes off what the LDOS's
    width is known to leave (nearsight.model.broadening); `unscreened` as in DensityEnergies.
    """

    band: float
    hartree: float
    xc: float
    xc_potential: float
    ion: float
    entropy: float
    broadening: float
    total: float
    fermi_energy: float
    electrons: float
    unscreened: float


def total_free_energy(
    atoms: Atoms,
    density: np.ndarray,
    dos: np.ndarray,
    energies_eV: np.ndarray,
    temperature_K: float,
    pseudopotentials: Mapping[str, Pseudopotential],
    *,
    ecutrho_Ry: float,
    broadening_eV: float | None,
    broadening_error_eV: float = 0.0,
    single: bool = False,
    comm: "Comm | None" = None,
    scratch: Scratch | None = None,
) -> FreeEnergy:
    """Total free energy A = E_b - E_H[n] + E_xc[n + n_core] - ∫ v_xc n + E_ion - TS of a structure, in N log N.

    density: shape (nx, ny, nz), 1/Å³, or anything with a shape that gives planes by density[i]; dos: shape
    (energies,), 1/eV; energies_eV: ascending, evenly spaced; pseudopotentials: by element, whose valence,
    core charge and functional count; ecutrho_Ry: density cutoff of the DFT; broadening_eV: width s
    of the DOS's Gaussian exp(-(ε/s)²), which the integrals then correct for (None: no correction);
    broadening_error_eV: what that correction is known to leave, to be subtracted; single: store fields in single
    precision; comm: MPI ranks that share the grid, any number of them, all of which call this and get
    the result (None: this process alone). Each reads its own planes of the density; scratch: where all fields lie on
    disk, some planes of them in memory (None: all in memory). The result is the same to the last bit.

    Raises InputError where the density is not of this grid, negative or of another number of electrons, the DOS not
    finite, the energies not ascending, the temperature not above 0 K, or a pseudopotential or core charge missing.
    """
    grid = EnergyGrid.from_energies(energies_eV)
    electrons = float(count_electrons(atoms.symbols, pseudopotentials))
    spectrum = integrate_dos(np.asarray(dos, dtype=np.float64), grid, electrons, temperature_K, broadening_eV)
    fields = density_energies(
        atoms, density, pseudopotentials, ecutrho_Ry=ecutrho_Ry, single=single, comm=comm, scratch=scratch
    )
    return assemble(
        fields,
        band=spectrum.band_energy_eV,
        entropy=spectrum.entropy_energy_eV,
        fermi_energy=spectrum.fermi_energy_eV,
        electrons=spectrum.electrons,
        broadening=-broadening_error_eV,
    )


def density_energies(
    atoms: Atoms,
    density: np.ndarray,
    pseudopotentials: Mapping[str, Pseudopotential],
    *,
    ecutrho_Ry: float,
    single: bool = False,
    comm: "Comm | None" = None,
    scratch: Scratch | None = None,
) -> DensityEnergies:
    """Hartree, exchange-correlation and ion energy; arguments as for `total_free_energy`."""
    chosen = select_pseudopotentials(atoms.symbols, pseudopotentials)
    functional = functional_of(chosen)
    charges = {element: pseudopotential.valence for element, pseudopotential in chosen.items()}
    cores = {element: pseudopotential.core for element, pseudopotential in chosen.items()}
    electrons = float(count_electrons(atoms.symbols, chosen))

    def energies(comm: "Comm | None") -> tuple[float, float, XcTerms]:
        grid = FourierGrid(np.asarray(atoms.cell), tuple(density.shape), ecutrho_Ry, single, comm, scratch)
        check_density(density, grid, electrons)
        valence = grid.coefficients(density)
        unscreened = unscreened_energy(valence, grid, atoms, charges)
        total = core_coefficients(atoms, cores, grid)
        if total is None:
            total = valence
        else:
            for i in range(grid.shape[0]):
                total[i] += valence[i]
        return hartree_energy(valence, grid), unscreened, xc_terms(valence, total, grid, functional)

    # the fields are freed before the mesh of the ions is allocated
    hartree, unscreened, xc = on_first_ranks(comm, min(density.shape[:2], default=1), energies)
    ion = ion_energy(atoms, charges, comm=comm, scratch=scratch)
    return DensityEnergies(hartree=hartree, xc=xc.energy, xc_potential=xc.potential, ion=ion, unscreened=unscreened)


def assemble(
    fields: DensityEnergies,
    *,
    band: float,
    entropy: float,
    fermi_energy: float,
    electrons: float,
    broadening: float = 0.0,
) -> FreeEnergy:
    """The total from its terms, all in eV."""
    total = band - fields.hartree + fields.xc - fields.xc_potential + fields.ion + entropy + broadening
    return FreeEnergy(
        band=band,
        hartree=fields.hartree,
        xc=fields.xc,
        xc_potential=fields.xc_potential,
        ion=fields.ion,
        entropy=entropy,
        broadening=broadening,
        total=total,
        fermi_energy=fermi_energy,
        electrons=electrons,
        unscreened=fields.unscreened,
    )


def check_density(density: np.ndarray, grid: FourierGrid, electrons: float) -> None:
    """Raise InputError unless a density is finite, not negative beyond rounding and of the given electrons."""
    voxel = grid.volume / grid.points
    wrong, sums, negatives = 0, [], []
    for i in grid.own_x:
        plane = np.asarray(density[i], dtype=np.float64)
        if not (finite := np.isfinite(plane)).all():
            wrong += int(plane.size - finite.sum())
            plane = np.where(finite, plane, 0.0)
        sums.append(float(plane.sum()))
        negatives.append(-float(np.minimum(plane, 0.0).sum()))
    # every rank learns of an error on any of them
    wrong = grid.sum(wrong)
    found, negative = (grid.sum(fsum(parts)) * voxel for parts in (sums, negatives))
    if wrong:
        raise InputError(f"density: expected finite numbers in 1/Å³, got NaN or infinity at {wrong} points.")
    if negative > NEGATIVE_TOLERANCE * electrons:
        raise InputError(
            f"density: expected no negative values beyond rounding, got {negative:.3g} of {electrons:g} electrons in "
            f"negative regions (at most {NEGATIVE_TOLERANCE * electrons:.3g}). The model or the file is not usable."
        )
    if abs(found - electrons) > ELECTRONS_TOLERANCE * electrons:
        raise InputError(
            f"density: expected {electrons:g} electrons, the sum of the pseudopotentials' valences, got {found:.6f}, "
            f"{found - electrons:+.6f} off. Is it the density of this structure, in 1/Å³?"
        )

"""Energy of the ions in a neutralising background, by particle-mesh Ewald summation."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree
from scipy.special import erfc

from nearsight import units
from nearsight.energies.disk import Scratch
from nearsight.energies.fourier import Array, FourierGrid
from nearsight.energies.structure_factor import structure_factor
from nearsight.errors import InputError
from nearsight.mpi import on_first_ranks

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Cutoff of the sum in real space, where pairs and mesh take about the same time.
CUTOFF_A = 5.0

#: Cutoff in widths σ of the Gaussians, and largest wave vector in 1/σ: erfc(6.5/√2) leaves out 8e-11 of a pair's
#: energy, the waves beyond less than 1e-8 eV/atom.
CUTOFF_PER_SMEARING = 6.5
LARGEST_G_SMEARING = 6.5

#: Atoms of a slab, which needs only the atoms near it, and how many of them have their pairs summed at a time.
SLAB = 1 << 14
BATCH = 1 << 11

#: Memory per atom with its images, and per point of the mesh with two sets of coefficients, as measured.
ATOM_BYTES = 400
POINT_BYTES = 24


def ion_energy(
    atoms: Atoms,
    charges: Mapping[str, float],
    cutoff_A: float = CUTOFF_A,
    comm: "Comm | None" = None,
    scratch: Scratch | None = None,
) -> float:
    """Electrostatic energy of periodic point charges in a uniform background that neutralises them, in eV.

    E = (e²/2) Σ_ij Σ_L Z_i Z_j/|r_i - r_j - L| in Ewald's limit, background included: the term -π (Σ Z)² σ²/Ω, σ the
    Gaussians' width, stands for what remains of the G = 0 term.

    charges: element -> charge Z of the ion in e; cutoff_A: of the sum in real space, any; comm: MPI ranks that share
    the work, all of which get the result; scratch: where the mesh lies on disk (None: in memory). Any cell, also
    triclinic ones smaller than the cutoff. Cost: O(N log N).
    """
    q, smearing = charges_of(atoms, charges), cutoff_A / CUTOFF_PER_SMEARING
    grid = mesh_of(atoms, cutoff_A)

    def energy(comm: "Comm | None") -> float:
        mesh = replace(grid, comm=comm, scratch=scratch)
        waves = mesh.sum_over_G(
            ion_coefficients(atoms, charges, mesh), lambda squared: np.exp(-0.5 * smearing**2 * squared) / squared
        )
        pairs = mesh.sum(fsum(energies_of_pairs(atoms, q, smearing, cutoff_A, comm)))
        # energy of the Gaussians with themselves and with the background
        own = float(q @ q) / (np.sqrt(2 * np.pi) * smearing) + np.pi * q.sum() ** 2 * smearing**2 / mesh.volume
        return units.COULOMB_eV_A * (2 * np.pi * mesh.volume * waves + pairs - own)

    return on_first_ranks(comm, min(grid.shape[:2]), energy)


def mesh_of(atoms: Atoms, cutoff_A: float = CUTOFF_A) -> FourierGrid:
    """The mesh on which the ions are Gaussians."""
    return FourierGrid.of_sphere(np.asarray(atoms.cell), LARGEST_G_SMEARING * CUTOFF_PER_SMEARING / cutoff_A)


def charges_of(atoms: Atoms, charges: Mapping[str, float]) -> np.ndarray:
    """Charge of every ion, shape (atoms,), e. Raises InputError for an element without one."""
    missing = sorted(set(atoms.symbols) - set(charges))
    if missing:
        raise InputError(
            f"charges: expected one for {missing[0]}, got those of {', '.join(sorted(charges)) or 'none'}."
        )
    return np.array([float(charges[symbol]) for symbol in atoms.symbols])


def ion_coefficients(atoms: Atoms, charges: Mapping[str, float], grid: FourierGrid) -> Array:
    """n_ion(G) = (1/Ω) Σ_a Z_a exp(-iG·r_a) in 1/Å³, positive like the density of the electrons that neutralise it."""
    return structure_factor(atoms.get_scaled_positions(), grid, charges_of(atoms, charges) / grid.volume)


def energies_of_pairs(
    atoms: Atoms, q: np.ndarray, smearing: float, cutoff_A: float, comm: "Comm | None"
) -> Iterator[float]:
    """This rank's parts of Σ_pairs q_i q_j erfc(r/(√2 σ))/r within the cutoff, in e²/Å; a slab of atoms at a time.

    Slabs lie across the first lattice vector; a slab needs only the atoms and images near it.
    """
    cell, scaled = np.asarray(atoms.cell), atoms.get_scaled_positions()
    positions = scaled @ cell
    order = np.argsort(scaled[:, 0], kind="stable")
    slabs = range(0, len(order), SLAB)
    for first in slabs if comm is None else slabs[comm.rank :: comm.size]:
        slab = order[first : first + SLAB]
        places, source = with_images(positions, scaled, order, slab, cell, cutoff_A)
        tree = cKDTree(places)
        for start in range(0, len(slab), BATCH):
            batch = slab[start : start + BATCH]
            near = cKDTree(positions[batch])
            pairs = near.sparse_distance_matrix(tree, cutoff_A, output_type="ndarray")
            pairs = pairs[pairs["v"] > 0]  # not an atom and itself
            r = pairs["v"]
            products = q[batch[pairs["i"]]] * q[source[pairs["j"]]]
            yield 0.5 * float(np.sum(products * erfc(r / (np.sqrt(2) * smearing)) / r))


def with_images(
    positions: np.ndarray, scaled: np.ndarray, order: np.ndarray, slab: np.ndarray, cell: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all atoms and periodic images within the cutoff of a slab, and which atom each is.

    positions: in Å, scaled: in lattice vectors, in [0, 1); order: atoms by the first of them; slab: some in that order.
    """
    # the cutoff in distances between opposite faces
    reach = cutoff_A * np.linalg.norm(np.linalg.inv(cell), axis=0) + 1e-9
    first, last = scaled[slab[0], 0] - reach[0], scaled[slab[-1], 0] + reach[0]
    counts = np.ceil(reach[1:]).astype(int)
    places, sources = [], []
    for n in range(int(np.floor(first)), int(np.floor(last)) + 1):
        begin, end = np.searchsorted(scaled[:, 0], (first - n, last - n), sorter=order)
        candidates = order[begin:end]
        for shift in itertools.product(*(range(-count, count + 1) for count in counts)):
            moved = scaled[candidates] + (n, *shift)
            inside = ((moved[:, 1:] > -reach[1:]) & (moved[:, 1:] < 1 + reach[1:])).all(axis=1)
            # an atom's own position stays the same to the last bit, which identifies it
            places.append(positions[candidates[inside]] + np.array((n, *shift)) @ cell)
            sources.append(candidates[inside])
    return np.concatenate(places), np.concatenate(sources)


def memory_bytes(atoms: Atoms, *, on_disk: bool = False) -> float:
    """Memory of `ion_energy` at its peak; on_disk: with a scratch folder for the mesh."""
    return ATOM_BYTES * len(atoms) + (0 if on_disk else POINT_BYTES * mesh_of(atoms).points)

"""The components of the bispectrum: their number, their order, and the one with a closed form."""

from collections.abc import Mapping

import numpy as np
from ase import Atoms


def component_order(twojmax: int) -> list[tuple[int, int, int]]:
    """The triples (2 j1, 2 j2, 2 j) of the bispectrum, in the order in which LAMMPS stores them.

    j1 = 0..J, j2 = 0..j1, j = j1-j2..min(J, j1+j2) in steps of 2 (doubled values), kept where j >= j1.
    """
    return [
        (j1, j2, j)
        for j1 in range(twojmax + 1)
        for j2 in range(j1 + 1)
        for j in range(j1 - j2, min(twojmax, j1 + j2) + 1, 2)
        if j >= j1
    ]


def number_of_components(twojmax: int) -> int:
    """How many components the bispectrum has: 91 for twojmax = 10."""
    return len(component_order(twojmax))


def identity_component(
    atoms: Atoms,
    points: np.ndarray,
    cutoff_A: float,
    rmin0: float = 0.0,
    weights: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Component 0 of the bispectrum from its closed form, (1 + Σ w fc(r))³ over all periodic images.

    points: shape (n, 3), Å. fc(r) = [cos(π (r - rmin0)/(cutoff - rmin0)) + 1]/2. weights: element -> w, 1 where left
    out. Independent of all backends: it checks the order of
    the grid points, the cell and the periodic images. As in LAMMPS, an atom closer than 1e-10 Å to the point is
    left out. Cost: O(n · atoms · images).
    """
    cell = np.asarray(atoms.cell)
    inverse = np.linalg.inv(cell)
    symbols = atoms.get_chemical_symbols()
    factor = np.array([(weights or {}).get(symbol, 1.0) for symbol in symbols])
    # distances between opposite faces decide how many images the cutoff reaches
    reach = np.ceil(cutoff_A * np.linalg.norm(inverse, axis=0)).astype(int)
    images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    shifts = images @ cell
    values = np.empty(len(points))
    for index, point in enumerate(points):
        fractional = (atoms.positions - point) @ inverse
        nearest = (fractional - np.round(fractional)) @ cell
        distance = np.linalg.norm(nearest[None] + shifts[:, None], axis=-1)
        inside = (distance < cutoff_A) & (distance > 1e-10)
        argument = np.clip((distance - rmin0) / (cutoff_A - rmin0), 0.0, 1.0)
        switch = np.where(inside, 0.5 * (np.cos(np.pi * argument) + 1.0), 0.0)
        values[index] = (1.0 + (switch * factor).sum()) ** 3
    return values

"""Random crystals for the tests of the bispectrum backends."""

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from nearsight.descriptors.interface import make_descriptor
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region

#: Largest deviation over a column's largest value, for atoms at least 1.2 Å apart.
TOLERANCES = {"float32": 1e-5, "float64": 1e-11}


def random_cell(generator, kind):
    """Lattice vectors, Å: compact, thin (a side far below the cutoff), skewed (angles down to 25 degrees)."""
    if kind == "thin":
        lengths = generator.permutation([generator.uniform(1.5, 2.5), *generator.uniform(3.0, 7.0, 2)])
    else:
        lengths = generator.uniform(2.5, 7.0, 3)
    while True:
        directions = generator.normal(size=(3, 3))
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        span = np.linalg.det(directions)
        low, high = (0.15, 0.4) if kind == "skewed" else (0.6, 1.0)
        if low < abs(span) < high:
            return directions * lengths[:, None] * np.array([1, 1, np.sign(span)])[:, None]


def random_atoms(generator, kind="compact", symbols=("Be",), spacing_A=1.2, most=8):
    """A crystal whose atoms are at least `spacing_A` apart, in and outside of the cell; one with one atom at least."""
    while True:
        cell = random_cell(generator, kind)
        atoms = Atoms(cell=cell, pbc=True)
        for _ in range(3 * most):
            symbol = symbols[len(atoms) % len(symbols)]
            candidate = atoms + Atoms(symbol, positions=[generator.random(3) @ cell], cell=cell, pbc=True)
            if len(neighbor_list("i", candidate, spacing_A)) == 0:
                atoms = candidate
            if len(atoms) == most:
                break
        if len(atoms) >= len(symbols):
            atoms.positions += generator.integers(-2, 3, (len(atoms), 3)) @ cell
            return atoms


def compute(atoms, shape, precision="float64", **settings):
    """The whole grid by a backend, without the checks of the structure."""
    descriptor = make_descriptor(settings, set(atoms.symbols), kind="bispectrum")
    out = np.empty((*shape, descriptor.components), dtype=precision)
    return descriptor.compute(atoms, RealGrid(atoms.cell, shape), Region.whole(shape), out)


def lammps_reference(atoms, shape, **settings):
    """The whole grid by LAMMPS, float64."""
    return compute(atoms, shape, backend="lammps", **settings)


def largest_deviation(values, reference):
    """The largest deviation over the largest value of its column."""
    values, reference = (x.reshape(-1, x.shape[-1]).astype(float) for x in (values, reference))
    return (np.abs(values - reference).max(axis=0) / np.abs(reference).max(axis=0)).max()

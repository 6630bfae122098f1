"""The torch backend: against LAMMPS and the native kernel, and its derivatives against differences."""

import numpy as np
import pytest
import torch
from mpi4py import MPI  # noqa: F401  (before lammps: it loads the MPI library)
from native_cases import lammps_reference, largest_deviation, random_atoms

from nearsight.descriptors.bispectrum import Settings
from nearsight.descriptors.bispectrum.autograd import bispectrum_at
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.errors import InputError

SHAPE = (3, 2, 3)


@pytest.mark.parametrize(
    ("symbols", "options"),
    [
        (("Be",), {"twojmax": 10}),
        (("Be",), {"twojmax": 6, "rmin0": 0.4}),
        (("Be", "H"), {"twojmax": 4, "weights": {"Be": 1.0, "H": 0.3}}),
    ],
)
def test_equals_lammps(symbols, options):
    atoms = random_atoms(np.random.default_rng(7), "thin", symbols)
    values = bispectrum(atoms, SHAPE, backend="torch", **options)
    assert largest_deviation(values, lammps_reference(atoms, SHAPE, **options)) < 1e-11


def test_derivatives():
    atoms = random_atoms(np.random.default_rng(9), most=3)
    settings = Settings(twojmax=2, cutoff_A=3.0)
    positions = torch.tensor(atoms.positions, requires_grad=True)
    cell = torch.tensor(np.asarray(atoms.cell), requires_grad=True)
    points = torch.tensor([[0.1, 0.2, 0.3], [0.6, 0.1, 0.9]], dtype=torch.float64)
    symbols = atoms.get_chemical_symbols()
    assert torch.autograd.gradcheck(lambda r, h: bispectrum_at(r, h, points, symbols, settings), (positions, cell))


def test_chemical_variant_is_refused():
    atoms = random_atoms(np.random.default_rng(9), most=2)
    with pytest.raises(InputError, match=r"descriptors\.chemical"):
        bispectrum(atoms, SHAPE, backend="torch", chemical=True)

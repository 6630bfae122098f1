"""Figure 1: a stacking fault in cells of growing size: its atoms, the density that it moves, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from nearsight.errors import InputError, MissingProgramError
from nearsight.figures.prepare.fits import fit_power_law
from nearsight.figures.tables import Table, table_of
from nearsight.structures.lammps import centrosymmetry

#: 1 eV/Å² in mJ/m².
mJ_PER_m2 = 16021.76634

#: Three layers that are shifted have a fault below and one above them.
FAULTS_PER_CELL = 2

#: Largest relative difference of the faults' area over N^(2/3) between cells of one shape.
SAME_SHAPE = 0.01

#: Largest distance in Å that an atom may be off from its place in the other cell, but for the fault.
SAME_PLACE_A = 1e-4

#: Depth in Å of the atoms that are seen on the faces of a cell.
VISIBLE_DEPTH_A = 2.6

#: Sizes in Å, along x, y and z, of the parts around the fault whose density is drawn.
SLICE_A = (0.0, 20.0, 18.0)
BLOCK_A = (9.0, 13.0, 12.0)

#: The isosurfaces are at this share of the largest change of the density, up and down.
ISOSURFACE_SHARE = 0.3

#: Points along an edge of the block that is drawn, at most.
BLOCK_POINTS = 44

ENERGY_COLUMNS = (
    *("without", "with_fault", "atoms", "source", "area_A2", "height_A", "same_shape"),
    *("difference_eV", "difference_meV_per_atom", "fault_energy_mJ_per_m2"),
)


@dataclass(frozen=True)
class FaultPair:
    """One crystal without and with the fault: names, structures, and the total free energies in eV by source."""

    without: str
    with_fault: str
    crystal: Atoms
    faulted: Atoms
    energies_eV: Mapping[str, tuple[float, float]]


def check_pair(pair: FaultPair) -> np.ndarray:
    """The atoms that the fault shifts, shape (atoms,), true or false.

    The two crystals have one cell normal to z, and their atoms are the same but for one vector in the plane of x and y,
    by which some are shifted. Raises InputError otherwise: their energies would differ by more than the fault.
    """
    one, other = pair.crystal, pair.faulted
    names = f"paper_figures.fault_pairs: {pair.without}: {pair.with_fault}"
    if len(one) != len(other) or not np.allclose(one.cell, other.cell, atol=SAME_PLACE_A):
        raise InputError(f"{names}: expected two structures with one cell, got {len(one)} and {len(other)} atoms.")
    if np.abs(np.asarray(one.cell)[[0, 1, 2, 2], [2, 2, 0, 1]]).max() > SAME_PLACE_A:
        raise InputError(f"{names}: expected a cell whose third edge is normal to the other two.")
    vectors, lengths = find_mic(other.positions - one.positions, one.cell, pbc=True)
    shifted = lengths > SAME_PLACE_A
    if not shifted.any():
        raise InputError(
            f"{names}: expected a structure without and one with a stacking fault, got two that are equal."
        )
    shift = np.median(vectors[shifted], axis=0)
    if abs(shift[2]) > SAME_PLACE_A or np.abs(vectors[shifted] - shift).max() > SAME_PLACE_A:
        raise InputError(
            f"{names}: expected the same atoms but for layers that are shifted as one, got atoms that differ otherwise "
            f"by up to {np.abs(vectors[shifted] - shift).max():.3f} Å. Make both from one snapshot without a "
            "displacement of their own."
        )
    return shifted


def tabulate_energies(pairs: Sequence[FaultPair]) -> dict[str, list]:
    """What the fault costs, by pair and source of the energies.

    same_shape: 1 for the pairs of the shape that has the most sizes, whose area grows as N^(2/3); 0 for the others.
    """
    rows = []
    for pair in pairs:
        check_pair(pair)
        cell, atoms = np.asarray(pair.crystal.cell), len(pair.crystal)
        area = float(np.linalg.norm(np.cross(cell[0], cell[1])))
        for source, (without, with_fault) in pair.energies_eV.items():
            difference = with_fault - without
            rows.append(
                {
                    "without": pair.without,
                    "with_fault": pair.with_fault,
                    "atoms": atoms,
                    "source": source,
                    "area_A2": area,
                    "height_A": float(cell[2, 2]),
                    "difference_eV": difference,
                    "difference_meV_per_atom": 1e3 * difference / atoms,
                    "fault_energy_mJ_per_m2": mJ_PER_m2 * difference / (FAULTS_PER_CELL * area),
                }
            )
    sizes = np.array([row["atoms"] for row in rows])
    shapes = np.array([row["area_A2"] / row["atoms"] ** (2 / 3) for row in rows])
    alike = [np.abs(shapes / shape - 1) < SAME_SHAPE for shape in shapes]
    # the shape with the most sizes; of several the one with the largest cell
    most = max(alike, key=lambda same: (len(set(sizes[same])), sizes[same].max()), default=[])
    for row, same in zip(rows, most, strict=True):
        row["same_shape"] = int(same)
    return table_of(ENERGY_COLUMNS, sorted(rows, key=lambda row: (row["atoms"], row["source"])))


def fit_energies(table: Table, source: str) -> dict | None:
    """The power law of the energy difference per atom against N for cells of one shape; None without two of them."""
    chosen = [
        index
        for index, (same, origin) in enumerate(zip(table["same_shape"], table["source"], strict=True))
        if same and origin == source
    ]
    law = fit_power_law(
        [table["atoms"][index] for index in chosen], [abs(table["difference_meV_per_atom"][index]) for index in chosen]
    )
    return asdict(law) if law else None


def tabulate_visible_atoms(crystal: Atoms) -> dict[str, list]:
    """Positions in Å and centrosymmetry parameter of the atoms on the faces x, y and z towards the viewer.

    The faces are those at the largest x, the smallest y and the largest z; what lies behind them is not seen.
    """
    atoms = crystal.copy()
    parameter = centrosymmetry(atoms)
    # an atom that vibrates through a face of the cell is drawn there, not on the other side
    fractions = np.mod(atoms.get_scaled_positions(wrap=False) + 0.25 / np.asarray(layer_counts(atoms)), 1.0)
    positions = fractions @ np.asarray(atoms.cell)
    edges = np.asarray(atoms.cell).diagonal()
    seen = (
        (positions[:, 0] > edges[0] - VISIBLE_DEPTH_A)
        | (positions[:, 1] < VISIBLE_DEPTH_A)
        | (positions[:, 2] > edges[2] - VISIBLE_DEPTH_A)
    )
    columns = dict(zip(("x_A", "y_A", "z_A"), positions[seen].T.round(2).tolist(), strict=True))
    return {**columns, "centrosymmetry_A2": parameter[seen].round(3).tolist()}


def layer_counts(atoms: Atoms) -> tuple[int, int, int]:
    """How many planes of atoms a crystal has along each edge, from its volume per atom: about an atom's width each."""
    spacing = (atoms.get_volume() / len(atoms)) ** (1 / 3)
    first, second, third = (max(round(length / spacing), 1) for length in atoms.cell.lengths())
    return first, second, third


def fault_block(shape: Sequence[int], edges_A: np.ndarray, centre_A: np.ndarray, size_A: Sequence[float]) -> list:
    """Indices of the grid's points, along each axis, of a block around a point; those of a whole edge where it fits."""
    indices = []
    for count, edge, centre, size in zip(shape, edges_A, centre_A, size_A, strict=True):
        wanted = min(max(round(size / edge * count), 1), count)
        first = round(centre / edge * count) - wanted // 2
        indices.append(np.mod(np.arange(first, first + wanted), count))
    return indices


def read_block(density, indices: list) -> np.ndarray:
    """Values of a field at these points, read plane by plane: large fields do not fit into memory."""
    x, y, z = indices
    return np.stack([np.asarray(density[int(i)])[np.ix_(y, z)] for i in x]).astype(np.float64)


def change_of_density(pair: FaultPair, without, with_fault) -> tuple[dict[str, list], dict[str, list], dict]:
    """Slice and isosurfaces of the change of the density by the fault, and where they are.

    without, with_fault: fields of one shape (nx, ny, nz) in 1/Å³, arrays or read from a file. The slice is the plane
    of y and z through the block's middle. Raises InputError where the grids differ.
    """
    if without.shape != with_fault.shape:
        raise InputError(
            f"{pair.without}, {pair.with_fault}: expected densities on one grid, got {tuple(without.shape)} and "
            f"{tuple(with_fault.shape)}."
        )
    edges, shape = np.asarray(pair.crystal.cell).diagonal(), without.shape
    shifted = check_pair(pair)
    # the shifted layers' middle, also where they go around the end of the cell
    angle = np.angle(np.exp(2j * np.pi * pair.crystal.get_scaled_positions(wrap=False)[shifted, 2]).mean())
    centre = np.array([*edges[:2] / 2, angle / (2 * np.pi) * edges[2]])
    steps = edges / shape

    plane = fault_block(shape, edges, centre, SLICE_A)
    plane_values = (read_block(with_fault, plane) - read_block(without, plane))[0]
    y, z = (np.arange(len(index)) * step for index, step in zip(plane[1:], steps[1:], strict=True))
    grid_y, grid_z = np.meshgrid(y, z - z.mean(), indexing="ij")
    slice_table = {
        "y_A": grid_y.ravel().round(3).tolist(),
        "z_A": grid_z.ravel().round(3).tolist(),
        "density_change_per_A3": [float(f"{value:.4g}") for value in plane_values.ravel()],
    }
    block = fault_block(shape, edges, centre, BLOCK_A)
    values = read_block(with_fault, block) - read_block(without, block)
    every = [max(-(-count // BLOCK_POINTS), 1) for count in values.shape]
    values, steps = coarsen(values, every), steps * every
    level = ISOSURFACE_SHARE * float(np.abs(values).max())
    return (
        slice_table,
        tabulate_isosurfaces(values, steps, level),
        {
            "isosurface_level_per_A3": level,
            "largest_change_per_A3": float(np.abs(plane_values).max()),
            "block_A": [float(count * step) for count, step in zip(values.shape, steps, strict=True)],
        },
    )


def coarsen(values: np.ndarray, every: Sequence[int]) -> np.ndarray:
    """Means over blocks of `every` points along each axis; what is left over at the end is cut off."""
    for axis, width in enumerate(every):
        count = values.shape[axis] // width
        kept = np.take(values, range(count * width), axis=axis)
        shape = (*kept.shape[:axis], count, width, *kept.shape[axis + 1 :])
        values = kept.reshape(shape).mean(axis=axis + 1)
    return values


def tabulate_isosurfaces(values: np.ndarray, steps_A: np.ndarray, level: float) -> dict[str, list]:
    """Triangles, one per row, of the surfaces where a field is +level (sign 1) and -level (sign -1); corners in Å."""
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingProgramError(
            f"scikit-image: expected, not found ({error}). Install it with `pip install scikit-image`."
        ) from error
    names = [f"{axis}{corner}_A" for corner in (1, 2, 3) for axis in "xyz"]
    table: dict[str, list] = {"sign": [], **{name: [] for name in names}}
    for sign in (1, -1):
        signed = sign * values
        if min(values.shape) < 2 or level <= 0 or not signed.min() < level < signed.max():
            continue
        corners, faces, _, _ = marching_cubes(signed, level, spacing=tuple(steps_A))
        triangles = corners[faces].reshape(len(faces), 9).round(2)
        table["sign"] += [sign] * len(faces)
        for name, column in zip(names, triangles.T.tolist(), strict=True):
            table[name] += [round(value, 2) for value in column]
    return table

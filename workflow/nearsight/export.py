"""The density in the formats of other programs: Gaussian cube, XCrySDen's XSF, VASP's CHGCAR, a start for pw.x."""

from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms

from nearsight import units
from nearsight.datasets import atoms_of, open_foreign_dataset, require, settings_of
from nearsight.errors import InputError
from nearsight.files import read_json, write_whole
from nearsight.reference.espresso.restart import DENSITY_FILES, write_save_density

#: Values of one line.
COLUMNS = {"cube": 6, "xsf": 6, "chgcar": 5}


def export_density(source: Path, output: Path, kind: str) -> None:
    """Write the density of a dataset as `kind`: cube (1/bohr³), xsf (1/Å³) or chgcar (density times the cell's volume).

    One plane of the density is in memory at a time for cube, all of it for the others, whose fastest axis is x.
    Raises InputError for another kind or a dataset without a density.
    """
    if kind not in WRITERS:
        raise InputError(f"--format: expected one of {', '.join(WRITERS)}, got {kind!r}.")
    with open_foreign_dataset(source) as dataset:
        require(dataset, "density", "cell", "positions", "atomic_numbers", path=source)
        with write_whole(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
            WRITERS[kind](file, atoms_of(dataset), dataset["density"])


def export_restart(source: Path, outdir: Path, ecutrho_Ry: float | None = None, *, overwrite: bool = False) -> Path:
    """Write the density of a dataset as pw.x reads it with startingpot = 'file'; return the save folder.

    outdir: pw.x's, in which the folder pwscf.save of its default prefix is made, or a folder PREFIX.save itself;
    ecutrho_Ry: density cutoff of the run to come, by default that of the dataset. Raises InputError where the dataset
    has no density or states no cutoff, or the folder has a density that is not to be overwritten.
    """
    save = outdir if outdir.suffix == ".save" else outdir / "pwscf.save"
    if not overwrite and (there := [name for name in DENSITY_FILES if (save / name).exists()]):
        raise InputError(
            f"{save}: expected a folder without a density, got one with {there[0]}. Name another, or give --overwrite."
        )
    with open_foreign_dataset(source) as dataset:
        require(dataset, "density", "cell", "positions", "atomic_numbers", path=source)
        settings = settings_of(dataset)
        electrons = settings.get("electrons", dataset.get("electrons"))
        if electrons is None:
            raise InputError(
                f"{source}: expected the number of electrons, found none. Give a prediction or a reference."
            )
        cutoff = ecutrho_Ry or find_cutoff(settings, source)
        atoms = atoms_of(dataset)
        write_save_density(save, atoms, dataset["density"].values, cutoff, float(electrons))
    return save


def find_cutoff(settings: dict, source: Path) -> float:
    """Density cutoff in Ry of a reference, or of a prediction from the energies beside it."""
    found = settings.get("dft", {}).get("ecutrho_Ry")
    energies = source.with_name("energies.json")
    if found is None and energies.is_file():
        found = read_json(energies).get("provenance", {}).get("settings", {}).get("ecutrho_Ry")
    if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
        raise InputError(
            f"{source}: expected a density cutoff in the dataset or in energies.json beside it, found none. Give "
            "--ecutrho-Ry, that of the run to come."
        )
    return float(found)


def write_cube(file: TextIO, atoms: Atoms, density: np.ndarray) -> None:
    """Gaussian cube: bohr, density in 1/bohr³, z fastest."""
    nx, ny, nz = density.shape
    file.write("electronic density in 1/bohr^3\nwritten by nearsight export\n")
    file.write(f"{len(atoms):5d} {0.0:18.12f} {0.0:18.12f} {0.0:18.12f}\n")
    for n, vector in zip((nx, ny, nz), np.asarray(atoms.cell), strict=True):
        file.write(f"{n:5d} " + " ".join(f"{x / n / units.BOHR_A:18.12f}" for x in vector) + "\n")
    for number, position in zip(atoms.numbers, atoms.positions, strict=True):
        words = " ".join(f"{x / units.BOHR_A:18.12f}" for x in position)
        file.write(f"{number:5d} {float(number):12.6f} {words}\n")
    for i in range(nx):
        plane = np.asarray(density[i], dtype=float) * units.BOHR_A**3
        for row in plane:
            file.write(in_columns(row, COLUMNS["cube"]))


def write_xsf(file: TextIO, atoms: Atoms, density: np.ndarray) -> None:
    """XSF: Å, density in 1/Å³ on the general grid, whose last planes repeat the first, x fastest."""
    vectors = "".join(" ".join(f"{x:18.12f}" for x in vector) + "\n" for vector in np.asarray(atoms.cell))
    file.write(f"CRYSTAL\nPRIMVEC\n{vectors}PRIMCOORD\n{len(atoms)} 1\n")
    for number, position in zip(atoms.numbers, atoms.positions, strict=True):
        file.write(f"{number:4d} " + " ".join(f"{x:18.12f}" for x in position) + "\n")
    nx, ny, nz = density.shape
    file.write("BEGIN_BLOCK_DATAGRID_3D\nelectronic_density_in_1/A^3\nBEGIN_DATAGRID_3D_density\n")
    file.write(f"{nx + 1} {ny + 1} {nz + 1}\n0.0 0.0 0.0\n{vectors}")
    values = np.asarray(density, dtype=float)
    for k in [*range(nz), 0]:
        plane = values[:, :, k]
        file.write(in_columns(np.pad(plane, ((0, 1), (0, 1)), mode="wrap").T.ravel(), COLUMNS["xsf"]))
    file.write("END_DATAGRID_3D\nEND_BLOCK_DATAGRID_3D\n")


def write_chgcar(file: TextIO, atoms: Atoms, density: np.ndarray) -> None:
    """CHGCAR: positions by element, density times the cell's volume, x fastest."""
    elements = list(dict.fromkeys(atoms.symbols))
    file.write("electronic density by nearsight\n   1.0\n")
    for vector in np.asarray(atoms.cell):
        file.write(" ".join(f"{x:18.12f}" for x in vector) + "\n")
    counts = [int((atoms.symbols == element).sum()) for element in elements]
    file.write(" ".join(elements) + "\n" + " ".join(map(str, counts)) + "\nDirect\n")
    scaled = atoms.get_scaled_positions()
    for element in elements:
        for position in scaled[atoms.symbols == element]:
            file.write(" ".join(f"{x:18.12f}" for x in position) + "\n")
    nx, ny, nz = density.shape
    file.write(f"\n{nx:5d}{ny:5d}{nz:5d}\n")
    values = np.asarray(density, dtype=float) * atoms.get_volume()
    step = 4 * COLUMNS["chgcar"]  # planes that fill whole lines
    for start in range(0, nz, step):
        file.write(in_columns(values[:, :, start : start + step].transpose(2, 1, 0).ravel(), COLUMNS["chgcar"]))


def in_columns(values: np.ndarray, columns: int) -> str:
    """Numbers in lines of `columns`."""
    words = [f"{value: .9E}" for value in values]
    return "".join(" ".join(words[start : start + columns]) + "\n" for start in range(0, len(words), columns))


WRITERS: dict[str, Callable[[TextIO, Atoms, np.ndarray], None]] = {
    "cube": write_cube,
    "xsf": write_xsf,
    "chgcar": write_chgcar,
}

"""Errors of the total free energy and its terms against Quantum ESPRESSO, and how they converge: tables and CSV.

    python bench/free_energy.py --page docs/performance.md
    python bench/free_energy.py --cells two eight

Cells and settings are those of tests/integration/espresso_cells.py. What Quantum ESPRESSO leaves is kept and used
again, so an interrupted run can be continued.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tables import report
from tqdm import tqdm

from nearsight.errors import NearsightError
from nearsight.ldos import EnergyGrid, integrate_dos
from nearsight.reference.espresso.outputs import ElectronicStructure
from nearsight.reference.pseudopotential import Pseudopotential

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/integration"))
from espresso_cells import (
    COARSE,
    DENSE,
    LDOS,
    TEMPERATURE_K,
    Cell,
    broadened_dos,
    errors_of_ldos,
    errors_of_terms,
    make_pseudopotentials,
)

CELLS: dict[str, Cell] = {
    "two": DENSE["two"],
    "eight": DENSE["eight"],
    "triclinic": DENSE["triclinic"],
    # what a coarse k-point grid costs
    "triclinic-coarse": replace(DENSE["triclinic"], kpoints=[6, 4, 4]),
    "sixtyfour": DENSE["sixtyfour"],
    "oxide": COARSE["oxide"],
}

#: What the tables call them.
NAMES = {
    "two": "Be, 2 atoms, hexagonal",
    "eight": "Be, 8 atoms, displaced",
    "triclinic": "Be, 4 atoms, displaced, triclinic",
    "triclinic-coarse": "the same atoms, fewer k-points",
    "sixtyfour": "Be, 64 atoms, displaced",
    "oxide": "BeO, 4 atoms, displaced",
}

#: No LDOS of it: its k-point grid is too coarse for one.
TERMS_ONLY = ("oxide",)

#: Spacing and width s of an LDOS, and lower and upper end of its window, in eV.
RESOLUTIONS = ((0.05, 0.1), (0.1, 0.1), (0.05, 0.2), (0.1, 0.2), (0.2, 0.2), (0.1, 0.4))
RESOLUTION = ("window_eV", "spacing_eV", "broadening_eV")
WINDOWS = ((-5.0, 10.9), (-4.0, 10.9), (-3.5, 10.9), (-5.0, 9.6))


def error_of_eigenvalues(
    result: ElectronicStructure,
    grid: EnergyGrid,
    broadening_eV: float,
    *,
    corrected: bool = True,
    temperature_K: float = TEMPERATURE_K,
) -> float | None:
    """Error of band energy and -TS of the DOS of eigenvalues, meV/atom; None: the corrected level has several roots."""
    dos = broadened_dos(result, grid, broadening_eV)
    try:
        found = integrate_dos(dos, grid, result.electrons, temperature_K, broadening_eV if corrected else None)
    except NearsightError:
        return None
    expected = result.band_energy + result.energies["entropy_energy"]
    return 1e3 * (found.band_energy_eV + found.entropy_energy_eV - expected) / len(result.atoms)


def convergence(result: ElectronicStructure) -> list[dict]:
    """That error for all resolutions, and for all windows at the usual resolution."""
    cases = [(WINDOWS[0], spacing, s) for spacing, s in RESOLUTIONS]
    cases += [(window, LDOS.spacing_eV, LDOS.broadening_eV) for window in WINDOWS[1:]]
    return [
        {
            "window_eV": f"{window[0]:g} to {window[1]:g}",
            "spacing_eV": spacing,
            "broadening_eV": s,
            **{
                key: error_of_eigenvalues(result, EnergyGrid.from_window(*window, spacing), s, corrected=corrected)
                for key, corrected in (("on_meV", True), ("off_meV", False))
            },
        }
        for window, spacing, s in cases
    ]


def k_set(cell: Cell) -> str:
    """The k-points of a cell in words."""
    return "×".join(map(str, cell.kpoints)) + (" shifted" if any(cell.shift) else "")


def measure(name: str, folder: Path, pseudopotentials: dict[str, Pseudopotential]) -> dict[str, list[dict]]:
    """The rows of one cell for each table."""
    cell = CELLS[name]
    folder.mkdir(parents=True, exist_ok=True)
    result, density = cell.run_scf(folder, pseudopotentials)
    row = {"cell": name, "atoms": len(cell.atoms), "kpoints": k_set(cell), "ecutwfc_Ry": cell.ecutwfc_Ry}
    rows = {"terms": [row | asdict(errors_of_terms(cell, result, density, pseudopotentials))]}
    if name in TERMS_ONLY:
        return rows
    ldos = cell.ldos(folder, pseudopotentials)
    errors = {
        f"{key}_{label}": value
        for label, corrected in (("on", True), ("off", False))
        for key, value in asdict(errors_of_ldos(cell, result, density, ldos, pseudopotentials, corrected)).items()
    }
    return rows | {"ldos": [row | errors], "convergence": [{"cell": name, **case} for case in convergence(result)]}


def terms_table(rows: Sequence[dict]) -> list[str]:
    """Errors of the terms with DFT's own density: Ry/atom, the total in meV/atom."""
    lines = ["| cell | k-points | ecutwfc (Ry) | Hartree | xc | Ewald | total |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        terms = " | ".join(f"{row[key]:+.1e}" for key in ("hartree_Ry", "xc_Ry", "ewald_Ry"))
        lines.append(
            f"| {NAMES[row['cell']]} | {row['kpoints']} | {row['ecutwfc_Ry']:g} | {terms} | {row['total_meV']:+.4f} |"
        )
    return lines


def ldos_table(rows: Sequence[dict]) -> list[str]:
    """Errors of what follows from the reference's LDOS, with and without the correction for broadening."""
    lines = ["| cell | k-points | A, on (meV/atom) | A, off | density MAPE, on (%) | off | μ - μ_QE, on (meV) | off |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        lines.append(
            f"| {NAMES[row['cell']]} | {row['kpoints']} | {row['total_meV_on']:+.2f} | {row['total_meV_off']:+.2f} "
            f"| {100 * row['density_mape_on']:.3f} | {100 * row['density_mape_off']:.3f} "
            f"| {row['level_meV_on']:+.1f} | {row['level_meV_off']:+.1f} |"
        )
    return lines


def convergence_table(rows: Sequence[dict]) -> list[str]:
    """Errors of band energy and -TS in meV/atom, a column for each cell, a row for each window and resolution."""
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    names = " | ".join(NAMES[cell] for cell in cells)
    lines = [f"| window, spacing, s (eV) | {names} |", "|---|" + "---|" * len(cells)]
    errors = {
        (row["cell"], *(row[key] for key in RESOLUTION)): f"{number(row['on_meV'])} / {number(row['off_meV'])}"
        for row in rows
    }
    for window, spacing, s in dict.fromkeys(tuple(row[key] for key in RESOLUTION) for row in rows):
        found = " | ".join(errors[cell, window, spacing, s] for cell in cells)
        lines.append(f"| {window}, {spacing:g}, {s:g} | {found} |")
    return lines


def number(value: float | None) -> str:
    """An error in meV, or that there is none."""
    return "several roots" if value is None else f"{value:+.2f}"


#: Name of a table and of its CSV -> what makes it of the rows.
TABLES = {"terms": terms_table, "ldos": ldos_table, "convergence": convergence_table}


def main() -> None:
    """Measure the cells one after the other and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--work", type=Path, default=Path("bench/work/free-energy"), help="folder for the runs")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="cells to measure")
    parser.add_argument("--page", type=Path, help=f"page whose tables are replaced: {', '.join(TABLES)}")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    pseudopotentials = make_pseudopotentials(arguments.work)
    found = {name: [] for name in TABLES}
    for cell in tqdm(arguments.cells, desc="cells", disable=None):
        for name, rows in measure(cell, arguments.work / cell, pseudopotentials).items():
            found[name] += rows
    for name, table in TABLES.items():
        if found[name]:
            report(found[name], table, arguments.output / f"{name}.csv", arguments.page, name)


if __name__ == "__main__":
    main()

"""Errors of the total free energy and its terms against Quantum ESPRESSO: table and CSV.

    python bench/free_energy.py --output bench/results
    python bench/free_energy.py --output bench/results --cells two eight

Cells and settings are those of tests/integration/espresso_cells.py. All of them take about an hour on two cores, most
of it pp.x. What Quantum ESPRESSO leaves is kept and used again, so that an interrupted run goes on.
"""

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

from tables import write_csv

from nearsight.errors import NearsightError
from nearsight.files import write_text
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
    # what a coarse k-set costs
    "triclinic-coarse": replace(DENSE["triclinic"], kpoints=[6, 4, 4]),
    "sixtyfour": DENSE["sixtyfour"],
    "oxide": COARSE["oxide"],
}

#: No LDOS of it: its k-set is too coarse for one.
TERMS_ONLY = ("oxide",)

#: Spacing and width s of an LDOS, and lower and upper end of its window, in eV.
RESOLUTIONS = ((0.05, 0.1), (0.1, 0.1), (0.05, 0.2), (0.1, 0.2), (0.2, 0.2), (0.1, 0.4))
WINDOWS = ((-5.0, 10.9), (-4.0, 10.9), (-3.5, 10.9), (-5.0, 9.6))


def error_of_eigenvalues(
    result: ElectronicStructure, grid: EnergyGrid, broadening_eV: float, corrected: bool
) -> float | None:
    """Error of band energy and -TS of the DOS of eigenvalues, meV/atom; None: the corrected level has several roots."""
    dos = broadened_dos(result, grid, broadening_eV)
    try:
        found = integrate_dos(dos, grid, result.electrons, TEMPERATURE_K, broadening_eV if corrected else None)
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
                key: error_of_eigenvalues(result, EnergyGrid.from_window(*window, spacing), s, corrected)
                for key, corrected in (("on_meV", True), ("off_meV", False))
            },
        }
        for window, spacing, s in cases
    ]


def k_set(cell: Cell) -> str:
    """The k-points of a cell in words."""
    return "×".join(map(str, cell.kpoints)) + (" shifted" if any(cell.shift) else "")


def measure(name: str, folder: Path, pseudopotentials: dict[str, Pseudopotential]) -> tuple[dict, list[dict]]:
    """Errors of one cell, and its convergence."""
    cell = CELLS[name]
    folder.mkdir(parents=True, exist_ok=True)
    result, density = cell.run_scf(folder, pseudopotentials)
    row = {"cell": name, "atoms": len(cell.atoms), "kpoints": k_set(cell), "ecutwfc_Ry": cell.ecutwfc_Ry}
    row |= asdict(errors_of_terms(cell, result, density, pseudopotentials))
    if name in TERMS_ONLY:
        return row, []
    ldos = cell.ldos(folder, pseudopotentials)
    for label, corrected in (("on", True), ("off", False)):
        errors = errors_of_ldos(cell, result, density, ldos, pseudopotentials, corrected)
        row |= {f"ldos_{key}_{label}": value for key, value in asdict(errors).items()}
    return row, [{"cell": name, **case} for case in convergence(result)]


def number(value: float | None) -> str:
    """An error in meV, or that there is none."""
    return "several roots" if value is None else f"{value:+.2f}"


def tables(rows: list[dict], cases: list[dict]) -> list[str]:
    """Three tables of Markdown: terms, LDOS, convergence."""
    lines = ["| cell | atoms | k-points | ecutwfc (Ry) | Hartree (Ry/atom) | xc | Ewald | total (meV/atom) |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        terms = " | ".join(f"{row[key]:+.1e}" for key in ("hartree_Ry", "xc_Ry", "ewald_Ry"))
        lines.append(
            f"| {row['cell']} | {row['atoms']} | {row['kpoints']} | {row['ecutwfc_Ry']:g} | {terms} "
            f"| {row['total_meV']:+.4f} |"
        )
    lines += [
        "",
        "| cell | k-points | A, on (meV/atom) | A, off | density MAPE, on (%) | off | μ - μ_QE, on (meV) | off |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    spectral = [row for row in rows if row["cell"] not in TERMS_ONLY]
    for row in spectral:
        lines.append(
            f"| {row['cell']} | {row['kpoints']} | {row['ldos_total_meV_on']:+.2f} | {row['ldos_total_meV_off']:+.2f} "
            f"| {100 * row['ldos_density_mape_on']:.3f} | {100 * row['ldos_density_mape_off']:.3f} "
            f"| {row['ldos_level_meV_on']:+.1f} | {row['ldos_level_meV_off']:+.1f} |"
        )
    names = [row["cell"] for row in spectral]
    lines += ["", f"| window, spacing, s (eV) | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    settings = dict.fromkeys((case["window_eV"], case["spacing_eV"], case["broadening_eV"]) for case in cases)
    for window, spacing, s in settings:
        mine = {
            case["cell"]: f"{number(case['on_meV'])} / {number(case['off_meV'])}"
            for case in cases
            if (case["window_eV"], case["spacing_eV"], case["broadening_eV"]) == (window, spacing, s)
        }
        lines.append(f"| {window}, {spacing:g}, {s:g} | " + " | ".join(mine[name] for name in names) + " |")
    return lines


def main() -> None:
    """Measure the cells one after the other and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of table and CSV")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="cells to measure")
    arguments = parser.parse_args()
    folder = arguments.output / "free-energy"
    folder.mkdir(parents=True, exist_ok=True)
    pseudopotentials = make_pseudopotentials(folder)
    rows, cases = [], []
    for name in arguments.cells:
        row, more = measure(name, folder / name, pseudopotentials)
        rows.append(row)
        cases += more
    lines = tables(rows, cases)
    write_text(arguments.output / "free-energy.md", "\n".join(lines) + "\n")
    write_csv(arguments.output / "free-energy.csv", rows)
    write_csv(arguments.output / "free-energy-convergence.csv", cases)
    print("\n".join(lines))


if __name__ == "__main__":
    main()

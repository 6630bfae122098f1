"""Unscreened charge of a study's large cells, and what a stacking fault changes, term by term and size by size.

    snakemake --cores 2 --configfile config/beryllium.yaml energies      (the predictions of the supercells)
    python bench/screening.py --page docs/prediction.md

Every term of a fault's energy has to fall as the fault's share of the cell, 1/L in cells of one shape.
"""

import argparse
from pathlib import Path

from tables import report

from nearsight.files import read_json
from nearsight.study.reading import load_study

TERMS = ("band", "hartree", "xc", "ion", "total")


def main() -> None:
    """Read the energies, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/beryllium.yaml"), help="a study that was run")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'unscreened' is replaced")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    folder = Path("results") / study.study / "energies/prediction"
    pairs = {one: other for one, other in study.paper_figures.fault_pairs.items() if one in study.supercells}
    rows = [compare(one, other, folder) for one, other in pairs.items()]
    report(rows, table, arguments.output / "unscreened.csv", arguments.page, "unscreened")


def compare(without: str, with_fault: str, folder: Path) -> dict:
    """One row: energies in meV/atom of two cells of the same atoms."""
    cells = {"without": without, "with_fault": with_fault}
    found = {which: read_json(folder / f"{name}.json") for which, name in cells.items()}
    row = {**cells, "atoms": found["without"]["atoms"]}
    for which, cell in found.items():
        for when in ("before", "after"):
            unscreened = 1e3 * cell["screening"][f"unscreened_eV_per_atom_{when}"]
            row[f"unscreened_{when}_{which}_meV_per_atom"] = f"{unscreened:.4f}"
    for term in TERMS:
        change = found["with_fault"]["energies_eV"][term] - found["without"]["energies_eV"][term]
        row[f"{term}_difference_meV_per_atom"] = f"{1e3 * change / row['atoms']:.4f}"
    return row


def table(rows: list[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    lines = [
        "| atoms | unscreened, without and with fault | corrected | fault: band | Hartree | xc | ions | total |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        before, after = (
            ", ".join(f"{row[f'unscreened_{when}_{which}_meV_per_atom']:.2f}" for which in ("without", "with_fault"))
            for when in ("before", "after")
        )
        change = " | ".join(f"{row[f'{term}_difference_meV_per_atom']:+.2f}" for term in TERMS)
        lines.append(f"| {row['atoms']:,} | {before} | {after} | {change} |")
    return lines


if __name__ == "__main__":
    main()

"""Unscreened charge of a study's large cells, and what a stacking fault changes, term by term and size by size.

    snakemake --cores 2 --configfile config/beryllium.yaml energies      (the predictions of the supercells)
    python bench/screening.py --page docs/prediction.md

Every term of a fault's energy has to fall as the fault's share of the cell, 1/L in cells of one shape.
"""

import argparse
import csv
from pathlib import Path

from tables import publish, read_csv

from nearsight.files import read_json, write_whole
from nearsight.study.reading import load_study

TERMS = ("band", "hartree", "xc", "ion", "total")
COLUMNS = (
    *("without", "with_fault", "atoms"),
    *(f"unscreened_{when}_{which}_meV_per_atom" for which in ("without", "with_fault") for when in ("before", "after")),
    *(f"{term}_difference_meV_per_atom" for term in TERMS),
)


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
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "unscreened.csv"
    with write_whole(target) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    lines = table(read_csv(target))
    print("\n".join(lines))
    if arguments.page:
        publish(arguments.page, "unscreened", lines, target)


def compare(without: str, with_fault: str, folder: Path) -> list:
    """One row: energies in meV/atom of two cells of the same atoms."""
    one, other = (read_json(folder / f"{name}.json") for name in (without, with_fault))
    atoms = one["atoms"]
    charge = [
        1e3 * cell["screening"][f"unscreened_eV_per_atom_{when}"]
        for cell in (one, other)
        for when in ("before", "after")
    ]
    change = [1e3 * (other["energies_eV"][term] - one["energies_eV"][term]) / atoms for term in TERMS]
    return [without, with_fault, atoms, *(f"{value:.4f}" for value in (*charge, *change))]


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

"""What each ingredient of a model gains and costs: the variants of a study, put on a page.

snakemake variants --cores 2 --configfile bench/front.yaml      (references and trainings)
python bench/front.py --page docs/beryllium.md
"""

import argparse
from pathlib import Path

from tables import publish, read_csv

from nearsight.evaluation.variants import choose, tabulate
from nearsight.study.reading import load_study


def main() -> None:
    """Read the comparison, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("bench/front.yaml"), help="a study whose variants were run")
    parser.add_argument("--page", type=Path, help="page whose table 'front' is replaced")
    arguments = parser.parse_args()
    folder = Path("results") / load_study(arguments.study).study / "variants"
    lines = table(read_csv(folder / "variants.csv"))
    print("\n".join(lines))
    if arguments.page:
        publish(arguments.page, "front", lines, folder / "variants.csv", folder / "variants.png")


def table(rows: list[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    return [*tabulate(rows), "", choose(rows)]


if __name__ == "__main__":
    main()

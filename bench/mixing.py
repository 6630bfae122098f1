"""Which density mixing needs the fewest steps: SCF runs of beryllium from superposed atoms.

    python bench/mixing.py --page docs/performance.md

At the settings of config/beryllium.yaml, with other values of dft.mixing_mode and dft.mixing_beta. What is
counted does not depend on the load of the machine: iterations, and applications of the Hamiltonian (h_psi). Finished
runs are kept: run it again to continue.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from scf_start import Scf
from tables import report
from tqdm import tqdm

from nearsight.grids.plane_waves import fft_shape
from nearsight.inference.run import ModelFiles, write_pseudopotentials
from nearsight.reference.espresso.programs import Launch
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import fold

ROOT = Path(__file__).resolve().parents[1]
TEMPERATURE_K = 298.0

#: Name of a cell -> frame, repeats of the four-atom cell, and what is tried: mode and factor of the mixing.
CELLS = {
    "64 atoms": ("test-298-64.extxyz@0", (4, 2, 2), [("plain", 0.7), ("TF", 0.7)]),
    "24 atoms, 21 Å long": (
        "test-long.extxyz@0",
        (1, 1, 6),
        [
            *[("plain", 0.7), ("plain", 0.5), ("plain", 0.3)],
            *[("TF", 0.7), ("TF", 0.4), ("local-TF", 0.7), ("local-TF", 0.3)],
        ],
    ),
}


def main() -> None:
    """Run, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench/work/mixing"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'mixing' is replaced")
    arguments = parser.parse_args()
    report(measure(arguments.work), table, arguments.output / "mixing.csv", arguments.page, "mixing")


def measure(work: Path) -> Iterator[dict]:
    """A row for each cell and mixing."""
    work.mkdir(parents=True, exist_ok=True)
    dft = load_study(ROOT / "config/beryllium.yaml").dft
    pseudopotentials = write_pseudopotentials(ModelFiles.find("Be").load(None), work)
    cases = [(name, *mixing) for name, (_, _, tried) in CELLS.items() for mixing in tried]
    for name, mode, factor in tqdm(cases, desc="SCF runs", disable=None):
        source, repeat, _ = CELLS[name]
        atoms = read_structure(ROOT / "config/beryllium" / source)
        changes = {"kpoints": fold(dft.kpoints, repeat), "mixing_mode": mode, "mixing_beta": factor}
        settings, grid = dft.model_copy(update=changes), fft_shape(atoms.cell.array, dft.ecutrho_Ry)
        scf = Scf(work / source, grid, pseudopotentials, settings, TEMPERATURE_K, Launch())
        scf.run(f"{mode}-{factor}", atoms, None)
        counts = scf.count(f"{mode}-{factor}")
        counted = {key: counts[key] for key in ("iterations", "h_psi", "free_energy_meV_per_atom")}
        yield {"cell": name, "mixing_mode": mode, "mixing_beta": factor, **counted}


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    lines = ["| cell | mixing | iterations | h_psi | energy (meV/atom) |", "|---|---|---|---|---|"]
    for row in rows:
        mixing, energy = f"{row['mixing_mode']}, {row['mixing_beta']}", row["free_energy_meV_per_atom"]
        lines.append(f"| {row['cell']} | {mixing} | {row['iterations']} | {row['h_psi']} | {energy:.4f} |")
    return lines


if __name__ == "__main__":
    main()

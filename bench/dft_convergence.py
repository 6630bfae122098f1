"""How far the accuracy study's reference is from convergence: k-set, cutoffs, the LDOS's width, steps and window.

    python bench/dft_convergence.py --page docs/beryllium.md

Each cell is computed by pw.x at the settings of config/beryllium.yaml and with one of them made finer. Width, steps and
window of the LDOS need no further run: the DOS of the study's own eigenvalues is broadened and integrated as
predictions do it, and compared with pw.x's band energy and -TS. What pw.x leaves is kept: run it again to continue.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ase import Atoms
from equation_of_state import strained_cell
from extrapolation import compute
from free_energy import error_of_eigenvalues
from tables import report
from tqdm import tqdm

from nearsight.evaluation.summary import render_table
from nearsight.evaluation.variants import describe_changes
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Study, fold

ROOT = Path(__file__).resolve().parents[1]

#: The densest k-set, and the largest cell in atoms that is computed with it.
DENSEST = [20, 12, 12]
LARGEST_DENSE = 4

#: What is made finer: keys of the section `dft`, for the lattice's own cell of four atoms.
FINER = (
    {"kpoints": [12, 6, 9]},
    {"kpoints": [16, 8, 12]},
    {"kpoints": DENSEST},
    {"ecutwfc_Ry": 40.0, "ecutrho_Ry": 160.0},
    {"ecutwfc_Ry": 60.0, "ecutrho_Ry": 240.0},
)

#: What is changed of the LDOS: the study's own, other widths and steps, other ends of the window.
WINDOWS = (
    {},
    {"broadening_eV": 0.2, "spacing_eV": 0.1},
    {"broadening_eV": 0.3, "spacing_eV": 0.15},
    {"broadening_eV": 0.6, "spacing_eV": 0.3},
    {"energy_min_eV": -14.6},
    {"energy_max_eV": -1.0},
)


def main() -> None:
    """Compute, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench/work/dft-convergence"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'convergence' is replaced")
    arguments = parser.parse_args()
    rows = measure(load_study(ROOT / "config/beryllium.yaml"), arguments.work)
    report(rows, table, arguments.output / "dft-convergence.csv", arguments.page, "convergence")


def cells_of(study: Study) -> dict[str, tuple[Atoms, list[int], float]]:
    """Cells, how often they repeat the lattice's own, and the temperature of their electrons in K."""
    frames = {"16 atoms, -0.5 %": ("train-16-m05", 298.0), "16 atoms, 600 K": ("train-16-600", 600.0)}
    crystals = {"crystal": 0.0, "crystal, -2 %": -2.0}
    return {
        **{name: (strained_cell(study, "be64", strain), [1, 1, 1], 298.0) for name, strain in crystals.items()},
        **{
            name: (read_structure(ROOT / f"config/beryllium/{frame}.extxyz@0"), [2, 2, 1], temperature_K)
            for name, (frame, temperature_K) in frames.items()
        },
    }


def measure(study: Study, work: Path) -> Iterator[dict]:
    """A row for each cell and change: how the free energy changes (dft), or what it is off (LDOS)."""
    for name, (atoms, repeat, temperature_K) in tqdm(cells_of(study).items(), desc="cells", disable=None):
        found = {}
        for change in ({}, *FINER):
            dft = study.dft.model_copy(update=change)
            if dft.kpoints == DENSEST and len(atoms) > LARGEST_DENSE:
                continue
            dft = dft.model_copy(update={"kpoints": fold(dft.kpoints, repeat)})
            label = describe_changes(change)
            folder = work / re.sub(r"\W+", "-", f"{name} {label or 'study'}").strip("-")
            found[label] = compute(atoms, dft, temperature_K, folder, Path("results") / study.study)
            if label:
                energies = [one.energies["total_free_energy"] for one in (found[label], found[""])]
                energy = round(1e3 * (energies[0] - energies[1]) / len(atoms), 3)
                yield {"cell": name, "setting": label, "kind": "change", "meV_per_atom": energy}
        for change in WINDOWS:
            ldos = study.ldos.model_copy(update=change).in_cell(atoms)
            error = error_of_eigenvalues(found[""], ldos.grid, ldos.broadening_eV, temperature_K=temperature_K)
            energy = None if error is None else round(error, 3)
            yield {"cell": name, "setting": describe_changes(change), "kind": "error", "meV_per_atom": energy}


def table(rows: Sequence[dict]) -> list[str]:
    """A line for each setting, a column for each cell, from the rows of the CSV; meV/atom."""
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    settings = dict.fromkeys((row["kind"], row["setting"]) for row in rows)
    numbers = {(row["kind"], row["setting"], row["cell"]): row["meV_per_atom"] for row in rows}
    lines = []
    for kind, setting in settings:
        what = setting if kind == "change" else f"error of the LDOS: {setting or 'as in the study'}"
        values = [numbers.get((kind, setting, cell)) for cell in cells]
        lines.append([what, *("" if value is None else f"{value:+.2f}" for value in values)])
    return render_table(["change (meV/atom)", *cells], lines).splitlines()


if __name__ == "__main__":
    main()

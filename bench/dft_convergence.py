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

import numpy as np
from ase import Atoms
from equation_of_state import strained_cell
from tables import report
from tqdm import tqdm

from nearsight.errors import NearsightError
from nearsight.evaluation.summary import render_table
from nearsight.grids.energies import EnergyGrid
from nearsight.grids.plane_waves import fft_shape
from nearsight.ldos import integrate_dos
from nearsight.reference.espresso.one_pass import gaussian
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, xml_of
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotentials
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Dft, Ldos, Study, fold

ROOT = Path(__file__).resolve().parents[1]

#: What is made finer: keys of the section `dft`, for the lattice's own cell of four atoms.
FINER = (
    {"kpoints": [12, 6, 9]},
    {"kpoints": [16, 8, 12]},
    {"kpoints": [20, 12, 12]},
    {"ecutwfc_Ry": 40.0, "ecutrho_Ry": 160.0},
    {"ecutwfc_Ry": 60.0, "ecutrho_Ry": 240.0},
)

#: The largest cell that is computed with the densest k-set, in atoms.
LARGEST_DENSE = 4

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
    study = load_study(ROOT / "config/beryllium.yaml")
    pseudopotentials = read_pseudopotentials({"Be": Path("results") / study.study / "pseudo/Be.upf"})
    rows = measure(study, pseudopotentials, arguments.work)
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


def measure(study: Study, pseudopotentials: dict[str, Pseudopotential], work: Path) -> Iterator[dict]:
    """A row for each cell and change: how the free energy changes (dft), or what it is off (LDOS)."""
    for name, (atoms, repeat, temperature_K) in tqdm(cells_of(study).items(), desc="cells", disable=None):
        results = {}
        for change in ({}, *FINER):
            dft = study.dft.model_copy(update=change)
            if dft.kpoints == [20, 12, 12] and len(atoms) > LARGEST_DENSE:
                continue
            dft = dft.model_copy(update={"kpoints": fold(dft.kpoints, repeat)})
            label = say(change)
            folder = work / re.sub(r"\W+", "-", f"{name} {label or 'study'}")
            results[label] = compute(atoms, dft, temperature_K, pseudopotentials, folder)
            if label:
                energies = [found.energies["total_free_energy"] for found in (results[label], results[""])]
                yield row(name, label, "change", (energies[0] - energies[1]) / len(atoms))
        for change in WINDOWS:
            ldos = study.ldos.model_copy(update=change).in_cell(atoms)
            yield row(name, say(change), "error", error_of(results[""], ldos, temperature_K))


def say(change: dict) -> str:
    """A change in words: `kpoints 12×6×9`."""
    values = {key: "×".join(map(str, value)) if isinstance(value, list) else value for key, value in change.items()}
    return ", ".join(f"{key} {value}" for key, value in values.items())


def row(cell: str, change: str, kind: str, energy_eV_per_atom: float | None) -> dict:
    """One number of the table."""
    energy = None if energy_eV_per_atom is None else round(1e3 * energy_eV_per_atom, 3)
    return {"cell": cell, "setting": change, "kind": kind, "meV_per_atom": energy}


def compute(
    atoms: Atoms, dft: Dft, temperature_K: float, pseudopotentials: dict[str, Pseudopotential], folder: Path
) -> ElectronicStructure:
    """What pw.x finds; an existing run is reused."""
    folder.mkdir(parents=True, exist_ok=True)
    scf = folder / "scf"
    if not scf.exists():
        grid = fft_shape(atoms.cell.array, dft.ecutrho_Ry)
        run_scf(atoms, grid, pseudopotentials, dft, temperature_K, Launch(), scf, folder / "scf.out")
    return read_electronic_structure(xml_of(scf))


def error_of(result: ElectronicStructure, ldos: Ldos, temperature_K: float) -> float | None:
    """Error of band energy and -TS of the broadened eigenvalues, eV/atom; None where no Fermi level fits."""
    grid: EnergyGrid = ldos.grid
    spread = gaussian(grid.energies_eV[:, None, None] - result.eigenvalues, ldos.broadening_eV)
    dos = np.einsum("ekb,k->e", spread, result.weights)
    try:
        found = integrate_dos(dos, grid, result.electrons, temperature_K, ldos.broadening_eV)
    except NearsightError:
        return None
    expected = result.band_energy + result.energies["entropy_energy"]
    return (found.band_energy_eV + found.entropy_energy_eV - expected) / len(result.atoms)


def table(rows: Sequence[dict]) -> list[str]:
    """A line for each setting, a column for each cell, from the rows of the CSV; meV/atom."""
    cells = list(dict.fromkeys(found["cell"] for found in rows))
    settings = dict.fromkeys((found["kind"], found["setting"]) for found in rows)
    numbers = {(found["kind"], found["setting"], found["cell"]): found["meV_per_atom"] for found in rows}
    lines = []
    for kind, setting in settings:
        what = setting if kind == "change" else f"error of the LDOS: {setting or 'as in the study'}"
        values = [numbers.get((kind, setting, cell)) for cell in cells]
        lines.append([what, *("" if value is None else f"{value:+.2f}" for value in values)])
    return render_table(["change (meV/atom)", *cells], lines).splitlines()


if __name__ == "__main__":
    main()

"""Does a start from another snapshot's density save iterations of the SCF, compared with superposed atoms?

    python bench/scf_start.py --mixing plain TF      (after `make quickstart`, whose snapshots it takes)

Each snapshot of a study is computed by pw.x at the study's settings from four densities:

- atoms: superposed atoms, which pw.x takes by itself;
- previous: the converged density of the snapshot before, as it is;
- difference: the same, less the superposed atoms there, plus those here (what pw.x does between steps of MD);
- crystal: the converged density of the ideal cell, less the superposed atoms there, plus those here.

What is counted does not depend on the load of the machine: iterations, and applications of the Hamiltonian (h_psi),
which take nearly all of the time. What pw.x leaves is kept: run it again to continue.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from ase import Atoms
from tables import write_csv

from nearsight import units
from nearsight.errors import InputError
from nearsight.evaluation.summary import render_table
from nearsight.grids.plane_waves import fft_shape
from nearsight.reference.espresso.inputs import fermi_smearing, pw_input
from nearsight.reference.espresso.ld1 import place_pseudopotentials
from nearsight.reference.espresso.outputs import read_electronic_structure, xml_of
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.restart import order_plane_waves, write_save_density
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.espresso.scf import cutoffs, electrons
from nearsight.reference.espresso.times import read_run_time
from nearsight.reference.espresso.workspace import SAVE, whole_folder
from nearsight.reference.pseudopotential import Pseudopotential, count_electrons, read_pseudopotentials
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Dft

STARTS = ("atoms", "previous", "difference", "crystal")


@dataclass(frozen=True)
class Scf:
    """What all runs of a bench have in common."""

    folder: Path
    grid: tuple[int, int, int]
    pseudopotentials: dict[str, Pseudopotential]
    settings: Dft
    temperature_K: float
    launch: Launch

    def run(self, name: str, atoms: Atoms, start: np.ndarray | None) -> Path:
        """The folder of a converged SCF, from a density in 1/Å³ or from superposed atoms."""
        target = self.folder / name
        if target.exists():
            return target
        count = count_electrons(atoms.symbols, self.pseudopotentials)
        with whole_folder(target) as folder:
            text = pw_input(
                atoms,
                place_pseudopotentials(self.pseudopotentials, set(atoms.get_chemical_symbols()), folder),
                control={"calculation": "scf"},
                system={
                    **cutoffs(self.settings, self.grid),
                    **fermi_smearing(self.temperature_K),
                    "nbnd": self.settings.bands(count),
                },
                electrons=electrons(self.settings) | ({} if start is None else {"startingpot": "file"}),
                kpoints=self.settings.kpoints,
                kpoints_shift=self.settings.kpoints_shift,
            )
            if start is not None:
                (folder / SAVE).mkdir()
                write_save_density(folder / SAVE, atoms, start, self.settings.ecutrho_Ry, count)
            run_program("pw.x", text, folder, self.launch, "scf")
            for path in (folder / SAVE).glob("wfc*"):
                path.unlink()
        return target

    def density(self, name: str) -> np.ndarray:
        """The converged density of a run in 1/Å³."""
        return read_save_density(self.folder / name, self.grid)

    def superpose(self, atoms: Atoms) -> np.ndarray:
        """Superposed atomic densities in 1/Å³ on the grid, each scaled to the valence as pw.x does."""
        miller = order_plane_waves(atoms.cell.array, self.grid, self.settings.ecutrho_Ry)
        g = np.linalg.norm(miller @ (2 * np.pi * np.linalg.inv(atoms.cell.array).T), axis=1)
        total = np.zeros(len(miller), complex)
        for element, pseudopotential in self.pseudopotentials.items():
            r, step, shell = (pseudopotential.numbers(tag) for tag in ("PP_R", "PP_RAB", "PP_RHOATOM"))
            weights = shell * step * pseudopotential.valence / (shell @ step)
            lengths, which = np.unique(g.round(9), return_inverse=True)
            radial = np.sinc(np.outer(lengths, r * units.BOHR_A) / np.pi) @ weights
            places = atoms.get_scaled_positions()[atoms.symbols == element]
            total += radial[which] * np.exp(-2j * np.pi * miller @ places.T).sum(axis=1)
        coefficients = np.zeros(self.grid, complex)
        coefficients[tuple(miller.T)] = total / atoms.get_volume()
        return scipy.fft.ifftn(coefficients, norm="forward").real

    def count(self, name: str) -> dict:
        """Cost and result of a run."""
        text = (self.folder / name / "scf.out").read_text(encoding="utf-8")
        time = read_run_time(self.folder / name / "scf.out")
        result = read_electronic_structure(xml_of(self.folder / name))
        return {
            "iterations": time.iterations,
            "h_psi": int(re.search(r"h_psi +: .*\( *(\d+) calls\)", text)[1]),
            "cpu_s": round(time.cpu_s, 2),
            "first_accuracy_Ry": float(re.search(r"estimated scf accuracy +< +(\S+) Ry", text)[1]),
            "free_energy_meV_per_atom": round(1e3 * result.energies["total_free_energy"] / len(result.atoms), 5),
        }


def main() -> None:
    """Run, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/quickstart.yaml"), help="a study of one cell")
    parser.add_argument("--mixing", nargs="+", default=["plain"], help="values of dft.mixing_mode")
    parser.add_argument("--kpoints", type=int, nargs=3, help="dft.kpoints, for a quick look: fewer than the study's")
    parser.add_argument("--work", type=Path, default=Path("bench/work/scf-start"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the table")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    results = Path("results") / study.study
    (structure,) = study.structures
    (temperature_K,) = {trajectory.temperature_K for trajectory in study.trajectories.values()}
    crystal = read_structure(results / "cells" / f"{structure}.extxyz")
    paths = sorted((results / "structures").glob("?-?.extxyz"))
    if not paths:
        raise InputError(f"{results}: expected the snapshots of a study, found none. Run `snakemake` for them first.")
    snapshots = {path.stem: read_structure(path) for path in paths}
    rows = []
    for mixing in arguments.mixing:
        changes = {"mixing_mode": mixing} | ({"kpoints": arguments.kpoints} if arguments.kpoints else {})
        settings = study.model_copy(update={"dft": study.dft.model_copy(update=changes)}).dft_of(structure)
        kpoints = "×".join(map(str, settings.kpoints))
        scf = Scf(
            arguments.work / f"{mixing}-{kpoints.replace('×', 'x')}",
            fft_shape(crystal.cell.array, settings.ecutrho_Ry),
            read_pseudopotentials({e: results / "pseudo" / f"{e}.upf" for e in set(crystal.symbols)}),
            settings,
            temperature_K,
            Launch(),
        )
        for row in measure(scf, crystal, snapshots):
            rows.append({"mixing": mixing, "kpoints": kpoints, **row})
            print(rows[-1], flush=True)
    write_csv(arguments.output / "scf-start.csv", rows)
    print(tabulate(rows))


def measure(scf: Scf, crystal: Atoms, snapshots: dict[str, Atoms]) -> Iterator[dict]:
    """A row for each snapshot and start; the first snapshot has none before it."""
    scf.run("crystal", crystal, None)
    excess = scf.density("crystal") - scf.superpose(crystal)
    before: tuple[str, Atoms] | None = None
    for name, atoms in snapshots.items():
        here = scf.superpose(atoms)
        starts = {"atoms": None}
        if before is not None:
            starts["previous"] = scf.density(f"{before[0]}-atoms")
            starts["difference"] = starts["previous"] - scf.superpose(before[1]) + here
            starts["crystal"] = excess + here
        for start, density in starts.items():
            scf.run(f"{name}-{start}", atoms, density)
            if before is not None:
                converged = scf.density(f"{name}-{start}")
                error = np.abs((here if density is None else density) - converged).sum() / converged.sum()
                row = {"snapshot": name, "start": start, "density_error_percent": round(100 * error, 3)}
                yield row | scf.count(f"{name}-{start}")
        before = name, atoms


def tabulate(rows: list[dict]) -> str:
    """Means over the snapshots, and what each start saves against superposed atoms."""
    table = []
    for mixing in dict.fromkeys(row["mixing"] for row in rows):
        atoms = None
        for start in STARTS:
            chosen = [row for row in rows if (row["mixing"], row["start"]) == (mixing, start)]
            columns = ("iterations", "h_psi", "density_error_percent", "first_accuracy_Ry")
            iterations, h_psi, error, accuracy = np.mean([[row[key] for key in columns] for row in chosen], axis=0)
            atoms = (iterations, h_psi) if atoms is None else atoms
            saved = [
                f"{100 * (1 - count / other):+.0f} %" for count, other in zip((iterations, h_psi), atoms, strict=True)
            ]
            label = f"{mixing}, {chosen[0]['kpoints']}"
            table.append([label, start, f"{iterations:.1f}", saved[0], f"{h_psi:.0f}", saved[1], f"{error:.1f} %",
                          f"{accuracy:.3f}"])  # fmt: skip
    header = ["mixing, k-points", "start", "iterations", "saved", "h_psi", "saved", "density's error", "accuracy (Ry)"]
    return render_table(header, table)


if __name__ == "__main__":
    main()

"""Errors of a model of beryllium on all held-out cells whose free energy is on record: no Quantum ESPRESSO, a minute.

    python bench/held_out.py --page docs/beryllium.md

DFT's energies are those of the accuracy study's test snapshots (docs/beryllium-states.csv, bench/accuracy.py) and of
the cells that the study leaves out (docs/beryllium-restart.csv, bench/restart.py). So another model's errors are known
as soon as it is trained. Every cell is predicted as `nearsight predict` does it.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accuracy import describe
from ase import Atoms
from restart import CELLS
from tables import read_csv, report
from tqdm import tqdm

from nearsight.evaluation.summary import render_table
from nearsight.evaluation.variants import predict_anyway
from nearsight.inference.run import ModelFiles
from nearsight.structures.io import read_frames, read_structure
from nearsight.study.reading import load_study
from nearsight.study.sections import Study

ROOT = Path(__file__).resolve().parents[1]


class Cell(NamedTuple):
    """A cell with its free energy by DFT; state: cells of a kind."""

    name: str
    state: str
    atoms: Atoms
    temperature_K: float
    dft_eV_per_atom: float


def main() -> None:
    """Predict, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Be", help="name or folder of a model of beryllium (Be)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the predictions (1)")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'held-out' is replaced")
    arguments = parser.parse_args()
    cells = all_cells(load_study(ROOT / "config/beryllium.yaml"))
    rows = measure(ModelFiles.find(arguments.model), cells, arguments.threads)
    report(rows, table, arguments.output / "held-out.csv", arguments.page, "held-out")


def all_cells(study: Study) -> list[Cell]:
    """The study's test snapshots with an energy on record, and the cells that it leaves out; each frame once."""
    known = {row["snapshot"]: row["dft_eV_per_atom"] for row in read_csv(ROOT / "docs/beryllium-states.csv")}
    cells: dict[tuple[str, int], Cell] = {}
    for name, trajectory in study.trajectories.items():
        if trajectory.snapshots.test == 0:
            continue
        for number, atoms in enumerate(read_frames(ROOT / trajectory.file)[: trajectory.snapshots.test]):
            if (snapshot := f"{name}-{number}") in known:
                key = Path(trajectory.file).name, number
                cells[key] = Cell(snapshot, name, atoms, trajectory.temperature_K, known[snapshot])
    for row in read_csv(ROOT / "docs/beryllium-restart.csv"):
        source, _, temperature_K = CELLS[row["cell"]]
        file, _, number = source.partition("@")
        atoms = read_structure(ROOT / "config/beryllium" / source)
        state = f"test{len(atoms)}" if temperature_K < 300 else f"test{temperature_K:.0f}"
        cell = Cell(source, state, atoms, temperature_K, row["qe_meV_per_atom"] / 1e3)
        cells.setdefault((file, int(number)), cell)
    return sorted(cells.values(), key=lambda cell: cell.state)


def measure(files: ModelFiles, cells: Sequence[Cell], threads: int) -> Iterator[dict]:
    """A row for each cell, those of a state together; refused: a prediction takes it only if told to."""
    for cell in tqdm(cells, desc="cells", disable=None):
        with tempfile.TemporaryDirectory() as folder:
            how = {"temperature_K": cell.temperature_K}
            found, bar, refused = predict_anyway(files, cell.atoms, Path(folder) / "prediction", threads, **how)
        yield {
            "state": cell.state,
            "cell": cell.name,
            "atoms": len(cell.atoms),
            "temperature_K": cell.temperature_K,
            "dft_meV_per_atom": round(1e3 * cell.dft_eV_per_atom, 3),
            "error_meV_per_atom": round(1e3 * (found.total / len(cell.atoms) - cell.dft_eV_per_atom), 3),
            "error_bar_meV_per_atom": None if bar is None else round(1e3 * bar, 3),
            "refused": refused,
        }


def table(rows: Sequence[Mapping]) -> list[str]:
    """A line for each state, from the rows of the CSV, and in words what all cells say together."""
    header = ["state", "cells", "atoms", "errors (meV/atom)", "MAE", "mean error bar"]
    states: dict[str, list[Mapping]] = {}
    for row in rows:
        states.setdefault(row["state"] + (" (refused)" if row["refused"] else ""), []).append(row)
    lines = []
    for state, those in states.items():
        errors, bars = columns(those, "error", "error_bar")
        atoms = " and ".join(str(n) for n in sorted({row["atoms"] for row in those}))
        numbers = ", ".join(f"{error:+.2f}" for error in errors)
        lines.append([state, str(len(those)), atoms, numbers, f"{np.abs(errors).mean():.2f}"])
        lines[-1].append("" if None in bars else f"{np.mean(bars):.1f}")
    taken = columns([row for row in rows if not row["refused"]], "dft", "error", "error_bar")
    return [*render_table(header, lines).splitlines(), "", describe(*taken)]


def columns(rows: Sequence[Mapping], *names: str) -> list[np.ndarray]:
    """Columns in meV/atom."""
    return [np.array([row[f"{name}_meV_per_atom"] for row in rows]) for name in names]


if __name__ == "__main__":
    main()

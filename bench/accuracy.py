"""Errors of a study's model on its validation and test snapshots, predicted from the atoms: by the state of the cells.

snakemake --cores 2 --configfile config/beryllium.yaml      (the study)
python bench/accuracy.py --page docs/beryllium.md
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tables import report
from tqdm import tqdm

from nearsight.evaluation.summary import render_table
from nearsight.evaluation.variants import score_snapshot
from nearsight.inference.run import ModelFiles
from nearsight.study.reading import load_study
from nearsight.study.sections import Study


def main() -> None:
    """Predict, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("config/beryllium.yaml"), help="a study that was run")
    parser.add_argument("--model", help="name or folder of another model than the study's")
    parser.add_argument("--threads", type=int, default=2, help="threads of the predictions (2)")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--page", type=Path, help="page whose table 'states' is replaced")
    arguments = parser.parse_args()
    rows = measure(load_study(arguments.study), arguments.model, arguments.threads)
    report(rows, states_table, arguments.output / "accuracy.csv", arguments.page, "states")


def measure(study: Study, model: str | None, threads: int) -> Iterator[dict]:
    """A row for each validation and test snapshot; model: None for the study's own."""
    results = Path("results") / study.study
    model = ModelFiles.find(model or results / "model")
    for snapshot in tqdm(study.snapshot_names("validation", "test"), desc="cells", disable=None):
        yield evaluate(study, model, snapshot, results / "accuracy" / snapshot, threads)


def evaluate(study: Study, model: ModelFiles, snapshot: str, folder: Path, threads: int) -> dict:
    """Errors of a prediction against DFT (evaluation.variants.score_snapshot); folder: where the prediction goes."""
    reference = Path("results") / study.study / "reference" / f"{snapshot}.h5"
    score = score_snapshot(model, reference, folder, threads)
    digits = {"dft_eV_per_atom": 6, "fermi_energy_error_meV": 1, "error_bar_meV_per_atom": 2}
    numbers = {
        key: f"{value:.{digits.get(key, 3)}f}" if isinstance(value, float) else value for key, value in score.items()
    }
    return (
        {"snapshot": snapshot, "role": study.role(snapshot)} | numbers | {"refused": "yes" if score["refused"] else ""}
    )


def states_table(rows: Sequence[dict]) -> list[str]:
    """Errors by state: snapshots of one trajectory, of one size and temperature.

    Scatter: standard deviation of the errors, which is what matters for energy differences, and that of DFT's
    energies in the same state. R² over all test snapshots that are not refused: 1 - Σ error² / Σ (E - mean E)².
    """
    header = ["state", "role", "cells", "atoms", "MAE (meV/atom)", "error bar", "mean error", "scatter",
              "DFT's scatter", "density (%)"]  # fmt: skip
    lines = []
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["snapshot"].rpartition("-")[0], row["role"], row["atoms"]), []).append(row)
    for (state, role, atoms), those in groups.items():
        energies, errors = energies_and_errors(those)
        scatter = [f"{errors.std():.2f}", f"{energies.std():.2f}"] if len(those) > 1 else ["", ""]
        bars = [row["error_bar_meV_per_atom"] for row in those]
        bar = f"{np.mean(bars):.1f}" if None not in bars else ""
        errors = [f"{np.abs(errors).mean():.2f}", bar, f"{errors.mean():+.2f}", *scatter]
        name = f"{state} (refused)" if all(row["refused"] for row in those) else state
        density = np.mean([row["density_mape_percent"] for row in those])
        lines.append([name, role, str(len(those)), str(atoms), *errors, f"{density:.2f}"])
    test = [row for row in rows if row["role"] == "test" and not row["refused"]]
    text = render_table(header, lines).splitlines()
    if len(test) < 2:
        return text
    return [*text, "", describe(*energies_and_errors(test), [row["error_bar_meV_per_atom"] for row in test])]


def describe(energies: np.ndarray, errors: np.ndarray, bars: Sequence[float | None]) -> str:
    """Errors of all test cells together, and how often their error bars cover them, if there are any; meV/atom."""
    r_squared = 1 - (errors**2).sum() / ((energies - energies.mean()) ** 2).sum()
    count, mean = len(errors), np.abs(errors).mean()
    text = f"All {count} test cells that a prediction takes: MAE {mean:.2f} meV/atom, R² {r_squared:.5f}."
    if None in bars:
        return text
    within = [int((np.abs(errors) <= n * np.array(bars)).sum()) for n in (1, 2)]
    return f"{text} Within one error bar (standard deviation): {within[0]} of {count}, within two: {within[1]}."


def energies_and_errors(rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """DFT's free energies and their predictions' errors, meV/atom."""
    energies = np.array([1e3 * row["dft_eV_per_atom"] for row in rows])
    return energies, np.array([row["free_energy_error_meV_per_atom"] for row in rows])


if __name__ == "__main__":
    main()

"""Figure 2: what Quantum ESPRESSO and a prediction cost against the number of atoms, and the workflow between them."""

import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nearsight.errors import InputError
from nearsight.figures.prepare.fits import fit_power_law
from nearsight.figures.tables import Table, rows_of, table_of
from nearsight.files import read_regular
from nearsight.reference.espresso.times import RunTime

logger = logging.getLogger("nearsight")

#: Names of what is compared.
ESPRESSO = "Quantum ESPRESSO"
STUDY = "Nearsight, this study"
MEASURED = "Nearsight, measured apart"

TIME_COLUMNS = ("name", "source", "atoms", "cpu_s", "kpoints", "iterations")

#: Rules of a prediction, from the structure to its free energy.
PREDICTION_RULES = ("plan_tiles", "predict_tiles", "gather_prediction", "compute_energies")

#: Stages of bench/inference.py that a prediction has; the start of Python is in each of them.
PREDICTION_STAGES = ("plan", "predict", "gather", "energies")

#: Below this many atoms, starting the programs takes most of a prediction's time, and no power law holds.
ASYMPTOTIC_ATOMS = 2000

#: Bytes of the largest benchmark file or table of times.
LARGEST_TIMES = 1 << 20


def espresso_rows(runs: Mapping[str, RunTime]) -> list[dict]:
    """One row per SCF run."""
    return [
        {
            "name": name,
            "source": ESPRESSO,
            "atoms": run.atoms,
            "cpu_s": run.cpu_s,
            "kpoints": run.kpoints,
            "iterations": run.iterations,
        }
        for name, run in runs.items()
    ]


def prediction_row(name: str, atoms: int, batches: int, benchmarks: Path) -> dict | None:
    """Processor time of one prediction from Snakemake's benchmark files; None, with a warning, if one is missing."""
    files = {
        "plan_tiles": [f"{name}.tsv"],
        "predict_tiles": [f"{name}-{batch}.tsv" for batch in range(batches)],
        "gather_prediction": [f"{name}.tsv"],
        "compute_energies": [f"prediction-{name}.tsv"],
    }
    seconds = 0.0
    for rule in PREDICTION_RULES:
        for file in files[rule]:
            found = read_cpu_seconds(benchmarks / rule / file)
            if found is None:
                logger.warning("%s: expected the processor time of a job, found none: %s is left out.",
                               benchmarks / rule / file, name)  # fmt: skip
                return None
            seconds += found
    return {"name": name, "source": STUDY, "atoms": atoms, "cpu_s": seconds}


def read_cpu_seconds(path: Path) -> float | None:
    """Processor time in s of a job from Snakemake's benchmark file; None where it was not measured."""
    if not path.is_file():
        return None
    text = read_regular(path, "a benchmark file of Snakemake", "Run the job again.", LARGEST_TIMES).decode("utf-8")
    try:
        times = [float(row["cpu_time"]) for row in csv.DictReader(io.StringIO(text), delimiter="\t")]
    except (KeyError, ValueError, TypeError):
        return None
    return times[-1] if times and times[-1] > 0 else None


def measured_rows(path: Path) -> list[dict]:
    """Processor times of predictions from a table of bench/inference.py: perfect crystals, stage by stage.

    Raises InputError where the table lacks a column.
    """
    text = read_regular(path, "a table of times", "Make it with bench/inference.py.", LARGEST_TIMES).decode("utf-8")
    totals: dict[int, float] = {}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            if row["fault"] == "False" and row["stage"] in PREDICTION_STAGES:
                totals[int(row["atoms"])] = totals.get(int(row["atoms"]), 0.0) + float(row["cpu_s"])
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: expected the columns atoms, fault, stage and cpu_s of bench/inference.py, got: {error!r}."
        ) from None
    return [
        {"name": f"{atoms} atoms", "source": MEASURED, "atoms": atoms, "cpu_s": seconds}
        for atoms, seconds in sorted(totals.items())
    ]


def tabulate_times(rows: Sequence[dict]) -> dict[str, list]:
    """All times, by source and size."""
    return table_of(TIME_COLUMNS, sorted(rows, key=lambda row: (row["source"], row["atoms"], row["name"])))


def analyse_times(table: Table) -> dict:
    """Exponents of the times, of Quantum ESPRESSO's per k-point too, and the speed-up at sizes that both have.

    beyond: the speed-up at the largest prediction if Quantum ESPRESSO's power law held so far, which nobody measured.
    """
    rows = rows_of(table)
    espresso = [row for row in rows if row["source"] == ESPRESSO]
    means = {source: mean_by_atoms(rows, source) for source in (ESPRESSO, STUDY, MEASURED)}
    per_kpoint = fit_power_law(
        [row["atoms"] for row in espresso], [row["cpu_s"] / row["kpoints"] for row in espresso]
    )  # fmt: skip
    fits = {
        ESPRESSO: fit_power_law([row["atoms"] for row in espresso], [row["cpu_s"] for row in espresso]),
        f"{ESPRESSO}, per k-point": per_kpoint,
    }
    for source in (STUDY, MEASURED):
        large = {atoms: seconds for atoms, seconds in means[source].items() if atoms >= ASYMPTOTIC_ATOMS}
        fits[source] = fit_power_law(list(large), list(large.values()))
    predicted = means[MEASURED] | means[STUDY]
    found = {
        "fits": {name: asdict(law) for name, law in fits.items() if law},
        "speed_up": [
            {"atoms": atoms, "factor": seconds / predicted[atoms]}
            for atoms, seconds in means[ESPRESSO].items()
            if atoms in predicted
        ],
    }
    if fits[ESPRESSO] and predicted:
        largest, law = max(predicted), fits[ESPRESSO]
        found["beyond"] = {
            "atoms": largest,
            "factor": law.factor * largest**law.exponent / predicted[largest],
        }
    return found


def mean_by_atoms(rows: Sequence[dict], source: str) -> dict[int, float]:
    """Mean processor time by number of atoms of one source."""
    sizes = sorted({row["atoms"] for row in rows if row["source"] == source})
    return {
        atoms: float(np.mean([row["cpu_s"] for row in rows if row["source"] == source and row["atoms"] == atoms]))
        for atoms in sizes
    }


def read_rule_graph(dot: str) -> list[tuple[str, str]]:
    """Pairs (rule, rule that takes its files) of the graph that `snakemake --rulegraph dot` prints.

    Raises InputError where there is none.
    """
    names = dict(re.findall(r"^\s*(\d+)\[label = \"(\w+)\"", dot, re.MULTILINE))
    links = re.findall(r"^\s*(\d+) -> (\d+)\s*$", dot, re.MULTILINE)
    if not names or any(number not in names for link in links for number in link):
        raise InputError(f"rule graph: expected the graph of `snakemake --rulegraph dot`, got {dot[:200]!r}.")
    return [(names[first], names[second]) for first, second in links]


def tabulate_rules(
    links: Sequence[tuple[str, str]], stages: Mapping[str, str]
) -> tuple[dict[str, list], dict[str, list]]:
    """Rules with their stage and layer, and links without those that a longer path spells out.

    stages: module of workflow/scripts -> stage. A rule whose name is a module's and a cell's (take_frames_a) is that
    module's; rules of no module (targets) are left out. layer: steps of the longest path from a rule without inputs.
    """

    def module_of(rule: str) -> str | None:
        fitting = [name for name in stages if rule == name or rule.startswith(f"{name}_")]
        return max(fitting, key=len, default=None)

    pairs = {(module_of(first), module_of(second)) for first, second in links}
    pairs = {(one, other) for one, other in pairs if one and other and one != other}
    followers = {name: {other for one, other in pairs if one == name} for pair in pairs for name in pair}
    reached = {name: _reachable(name, followers) for name in followers}
    direct = sorted(
        (one, other)
        for one, other in pairs
        if not any(other in reached[between] for between in followers[one] - {other})
    )
    layers = dict.fromkeys(followers, 0)
    for _ in followers:
        for one, other in pairs:
            layers[other] = max(layers[other], layers[one] + 1)
    names = sorted(followers, key=lambda name: (layers[name], name))
    rules = {
        "rule": names,
        "stage": [stages[name] for name in names],
        "layer": [layers[name] for name in names],
    }
    return rules, {"rule": [one for one, _ in direct], "follower": [other for _, other in direct]}


def _reachable(name: str, followers: Mapping[str, set[str]]) -> set[str]:
    """All rules that come after one."""
    found: set[str] = set()
    waiting = list(followers[name])
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += followers[current]
    return found

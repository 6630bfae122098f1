"""Prepare the data of figure 2: processor times by number of atoms, and the rules of the workflow."""

import argparse
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

from nearsight.errors import InputError, raise_if_stopped
from nearsight.figures.prepare.cost import (
    ESPRESSO,
    STUDY,
    analyse_times,
    espresso_rows,
    measured_rows,
    prediction_row,
    read_rule_graph,
    tabulate_rules,
    tabulate_times,
)
from nearsight.figures.tables import FigureData, write_figure_data
from nearsight.files import read_json
from nearsight.jobs import NAMED_FILES, add_record_options, make_parser, parse_settings, run_job
from nearsight.provenance import collect_provenance
from nearsight.reference.espresso.times import read_run_time

logger = logging.getLogger("nearsight")

#: Seconds for a graph of some thousand jobs.
GRAPH_LIMIT_s = 600


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--scf", **NAMED_FILES, help="outputs of pw.x")
    parser.add_argument("--energies", **NAMED_FILES, help="energies of predictions (JSON)")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files")
    parser.add_argument("--batches", type=int, required=True, help="jobs of each prediction")
    parser.add_argument("--measured", type=Path, nargs="*", default=[], help="table of bench/inference.py")
    parser.add_argument("--python", default=sys.executable, help="Python that has Snakemake")
    parser.add_argument("--snakefile", type=Path, required=True, help="Snakefile whose graph is drawn")
    parser.add_argument("--rules", type=Path, nargs="+", required=True, help="files with the rules, one per stage")
    parser.add_argument("--study-file", type=Path, required=True, help="study file of the graph")
    parser.add_argument("--overrides", type=parse_settings, default={}, help="keys that replace the file's, as JSON")
    add_record_options(parser)
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read times and graph; write the figure's record and tables."""
    rows = espresso_rows({name: read_run_time(path) for name, path in arguments.scf})
    for name, path in arguments.energies:
        row = prediction_row(name, read_json(path)["atoms"], arguments.batches, arguments.benchmarks)
        rows += [row] if row else []
    for path in arguments.measured:
        rows += measured_rows(path)
    times = tabulate_times(rows)
    graph = draw_rule_graph(arguments)
    rules, links = tabulate_rules(read_rule_graph(graph), stages_of(arguments.rules))
    missing = []
    if ESPRESSO not in times["source"]:
        missing.append("There is no run of Quantum ESPRESSO.")
    if STUDY not in times["source"]:
        missing.append("There is no prediction of this study with measured times.")
    for text in missing:
        logger.warning("figure 2: %s", text)
    inputs = {f"scf {name}": path for name, path in arguments.scf}
    inputs |= {path.name: path for path in (*arguments.measured, *arguments.rules)}
    provenance = collect_provenance("figures", arguments.settings, inputs)
    tables = {"times": times, "rules": rules, "links": links}
    data = FigureData("2", arguments.settings, analyse_times(times), tables, missing, provenance)
    write_figure_data(data, arguments.outputs)


def stages_of(files: list[Path]) -> dict[str, str]:
    """Module of every rule -> stage, the name of the file that it is in."""
    return {
        module: path.stem
        for path in files
        for module in re.findall(r'script\("(\w+)"\)', path.read_text(encoding="utf-8"))
    }


def draw_rule_graph(arguments: argparse.Namespace) -> str:
    """The graph of the whole study in the language of dot. Raises InputError where Snakemake refuses."""
    command = [arguments.python, "-m", "snakemake", "--snakefile", arguments.snakefile]
    command += ["--configfile", arguments.study_file]
    if arguments.overrides:
        command += ["--config", *(f"{key}={json.dumps(value)}" for key, value in arguments.overrides.items())]
    command += ["--rulegraph", "dot", "--", "all"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=GRAPH_LIMIT_s, check=False)
    raise_if_stopped(done.returncode)
    if done.returncode:
        raise InputError(f"snakemake --rulegraph: expected a graph, got: {done.stderr.strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""Sum up a study: errors beside those of trivial predictors, predictions, and the time of every stage."""

import argparse
from pathlib import Path

from nearsight.evaluation.summary import read_stage_times, render_markdown, summarize
from nearsight.files import read_json, write_json, write_text
from nearsight.jobs import make_parser, run_job


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True, help="files of evaluate_prediction")
    parser.add_argument("--names", nargs="+", required=True, help="name of every prediction")
    parser.add_argument(
        "--observables", type=Path, nargs="+", required=True, help="observables of every prediction, in that order"
    )
    parser.add_argument(
        "--energies", type=Path, nargs="+", required=True, help="energies of every prediction, in that order"
    )
    parser.add_argument(
        "--supercell", action="append", default=[], metavar="NAME=SNAPSHOT", help="supercell and what it repeats"
    )
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files")
    parser.add_argument("--json", type=Path, required=True, help="summary for programs")
    parser.add_argument("--markdown", type=Path, required=True, help="summary for people")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Read all results, write both summaries."""
    observables = {name: read_json(path) for name, path in zip(arguments.names, arguments.observables, strict=True)}
    for name, path in zip(arguments.names, arguments.energies, strict=True):
        observables[name]["total_free_energy_eV_per_atom"] = read_json(path)["total_free_energy_eV_per_atom"]
    summary = summarize(
        study=arguments.study,
        evaluations=[read_json(path) for path in arguments.evaluations],
        observables=observables,
        supercells=dict(item.split("=", 1) for item in arguments.supercell),
        stage_times=read_stage_times(arguments.benchmarks),
    )
    write_json(arguments.json, summary)
    write_text(arguments.markdown, render_markdown(summary))


if __name__ == "__main__":
    run_job(main, parse_arguments())

"""The `nearsight` command: check a study file, describe the configuration, look into a file."""

import argparse
import os
import sys
from pathlib import Path

from nearsight import __version__
from nearsight.config import load_study
from nearsight.errors import NearsightError
from nearsight.files import write_text
from nearsight.schema import describe_study, study_schema


def main(argv: list[str] | None = None) -> int:
    """Run the command; an error that the user can act upon is printed as its message alone."""
    arguments = parse_arguments(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except NearsightError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; nothing more must be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command; `run` is the function of the subcommand."""
    parser = argparse.ArgumentParser(prog="nearsight", description=__doc__)
    parser.add_argument("--version", action="version", version=f"nearsight {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check-config", help="check study files and say what each computes")
    check.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="study file, such as config/laptop.yaml")
    check.set_defaults(run=check_config)

    describe = commands.add_parser("describe-config", help="write README.md and schema.json of the configuration")
    describe.add_argument("--folder", type=Path, default=Path("config"), help="folder of both (default: config)")
    describe.set_defaults(run=describe_config)

    show = commands.add_parser("show", help="list the variables, units, settings and origin of a dataset")
    show.add_argument("dataset", type=Path, help="HDF5 file of Nearsight, such as results/quickstart/reference/a-0.h5")
    show.set_defaults(run=show_dataset)
    return parser.parse_args(argv)


def check_config(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for the first study that is wrong; say what the others compute."""
    for path in arguments.studies:
        study = load_study(path)
        length = study.md.time_step_fs * study.md.steps_per_segment
        total = sum(trajectory.segments for trajectory in study.trajectories.values()) * length
        counts = ", ".join(f"{len(study.snapshots(role))} {role}" for role in ("train", "validation", "test"))
        print(f"{path}: study {study.study}: {total:g} fs of DFT-MD, snapshots: {counts};", end=" ")
        print(f"larger structures: {', '.join(study.supercells) or 'none'}. No mistakes found.")


def describe_config(arguments: argparse.Namespace) -> None:
    """Generate the two files that follow from the models in nearsight/config.py."""
    write_text(arguments.folder / "README.md", describe_study())
    write_text(arguments.folder / "schema.json", study_schema())


def show_dataset(arguments: argparse.Namespace) -> None:
    """Print what a dataset holds and where it comes from."""
    # imported here: the other commands must not wait for xarray
    import json

    from nearsight.datasets import open_dataset, provenance_of, settings_of

    with open_dataset(arguments.dataset) as dataset:
        for name, variable in dataset.variables.items():
            if "meaning" in variable.attrs:
                shape = " x ".join(f"{dim} {length}" for dim, length in variable.sizes.items()) or "scalar"
                value = f" = {float(variable):.10g}" if not variable.sizes else ""
                print(f"{name} ({shape}, unit {variable.attrs['unit']}){value}: {variable.attrs['meaning']}")
        print("settings:", json.dumps(settings_of(dataset), indent=2, ensure_ascii=False))
        print("origin:", json.dumps(provenance_of(dataset), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())

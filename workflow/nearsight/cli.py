"""The `nearsight` command: build and predict structures, export densities, look into files, check studies."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from nearsight import __version__
from nearsight.errors import InputError, NearsightError
from nearsight.files import write_text
from nearsight.study.config import load_study
from nearsight.study.documents import describe_study, study_schema


def main(argv: list[str] | None = None) -> int:
    """Run the command; an error that the user can act upon is printed as its message alone."""
    arguments = parse_arguments(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except NearsightError as error:
        print(error, file=sys.stderr)
        return stop_all_ranks()
    except KeyboardInterrupt:
        print("interrupted; what is whole is kept", file=sys.stderr, flush=True)
        # as a shell expects it, and at once: libraries whose threads are still at work may abort at a usual exit
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; nothing more must be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def stop_all_ranks() -> int:
    """Exit status of a failure; under MPI the other ranks, which may be waiting for this one, are stopped too."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.COMM_WORLD.size > 1:
        sys.stderr.flush()
        mpi.COMM_WORLD.Abort(1)
    return 1


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

    export = commands.add_parser("export", help="write a density for other programs")
    export.add_argument("dataset", type=Path, help="HDF5 file with a density, such as prediction.h5")
    export.add_argument("output", type=Path, help="file to write")
    export.add_argument(
        "--format", choices=("cube", "xsf", "chgcar"), help="by default that of the output's suffix, or CHGCAR"
    )
    export.set_defaults(run=export_dataset)

    build = commands.add_parser(
        "build",
        help="build a large structure",
        description="Build an hcp crystal, or take a structure; molecular dynamics by LAMMPS on --md-repeat of it; "
        "then --repeat of that, independent displacements, a stacking fault. In this order; each step is optional.",
    )
    build.add_argument("output", type=Path, help="extended XYZ file to write")
    source = build.add_mutually_exclusive_group(required=True)
    source.add_argument("--element", help="hcp crystal of this element, in orthorhombic cells of four atoms")
    source.add_argument("--structure", type=Path, help="structure to begin with, such as a snapshot of DFT-MD")
    build.add_argument("--density-g-cm3", type=float, help="of the hcp crystal")
    build.add_argument("--c-over-a", type=float, help="of the hcp crystal")
    repeats = {"type": int, "nargs": 3, "metavar": ("NX", "NY", "NZ"), "default": (1, 1, 1)}
    build.add_argument("--md-repeat", help="repetition before the molecular dynamics (default: 1 1 1)", **repeats)
    build.add_argument("--md-steps", type=int, default=0, help="steps of molecular dynamics (default: none)")
    build.add_argument("--time-step-fs", type=float, default=2.0, help="(default: 2)")
    build.add_argument("--temperature-K", type=float, default=298.0, help="of the nuclei (default: 298)")
    build.add_argument(
        "--pair-commands",
        type=Path,
        help="file with LAMMPS's pair_style and pair_coeff lines (default: SNAP for W, Be)",
    )
    build.add_argument("--repeat", help="repetition after it (default: 1 1 1)", **repeats)
    build.add_argument(
        "--displacement-A",
        type=float,
        default=0.0,
        help="standard deviation of a displacement of every atom on its own",
    )
    build.add_argument(
        "--stacking-fault", type=int, metavar="LAYER", help="first of three shifted layers (with --element)"
    )
    build.add_argument("--seed", type=int, default=7, help="(default: 7)")
    build.set_defaults(run=build_file)

    predict = commands.add_parser(
        "predict",
        help="predict density, density of states and total free energy of a structure",
        description="Predict density, density of states and total free energy of a structure with a trained model. On "
        "several MPI ranks: mpiexec -n 4 nearsight predict ... A prediction that was stopped goes on where it was.",
    )
    predict.add_argument("model", type=Path, help="folder of a model, or its model.json")
    predict.add_argument("structure", type=Path, help="structure, such as extended XYZ, CIF or POSCAR")
    predict.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    predict.add_argument("--temperature-K", type=float, help="of the electrons (default: the model's)")
    predict.add_argument(
        "--grid",
        type=int,
        nargs=3,
        metavar=("NX", "NY", "NZ"),
        help="(default: the structure's, else Quantum ESPRESSO's)",
    )
    predict.add_argument("--threads", type=int, default=1, help="threads of each rank (default: 1)")
    predict.add_argument("--memory-GiB", type=float, default=4.0, help="memory of each rank's tiles (default: 4)")
    predict.add_argument(
        "--backend",
        choices=("native", "lammps", "torch"),
        default="native",
        help="of the descriptors (default: native; lammps for what the own kernel cannot do)",
    )
    predict.add_argument(
        "--precision", choices=("float64", "float32", "bfloat16"), default="float32", help="of the network"
    )
    predict.add_argument(
        "--ldos", metavar="REGION", help="store the LDOS of the grid points x0:x1,y0:y1,z0:z1, or of `all`"
    )
    predict.add_argument(
        "--accept-unfit", action="store_true", help="predict a structure that is far from the training set too"
    )
    predict.set_defaults(run=predict_file)
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
    """Generate the two files that follow from the models in nearsight/study/config.py."""
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


def export_dataset(arguments: argparse.Namespace) -> None:
    """Write the density of a dataset in the format of another program."""
    from nearsight.export import export_density

    kind = arguments.format or {".cube": "cube", ".cub": "cube", ".xsf": "xsf"}.get(arguments.output.suffix.lower())
    if kind is None and not arguments.output.name.upper().startswith("CHGCAR"):
        raise InputError(
            f"{arguments.output}: expected the suffix .cube or .xsf, the name CHGCAR, or --format cube, xsf, chgcar."
        )
    export_density(arguments.dataset, arguments.output, kind or "chgcar")


def build_file(arguments: argparse.Namespace) -> None:
    """Build a large structure and write it."""
    from nearsight.structures.builders import build_repetition, hcp_orthorhombic
    from nearsight.structures.io import read_structure, write_structure
    from nearsight.structures.large import add_stacking_fault, displace_independently, layers_of, run_lammps_md

    crystal = None
    if arguments.element:
        if arguments.density_g_cm3 is None or arguments.c_over_a is None:
            raise InputError("--element: expected --density-g-cm3 and --c-over-a with it.")
        crystal = hcp_orthorhombic(arguments.element, arguments.density_g_cm3, arguments.c_over_a)
    elif arguments.stacking_fault is not None:
        raise InputError("--stacking-fault: expected --element, whose lattice tells the layers, got --structure.")
    atoms = build_repetition(crystal or read_structure(arguments.structure), arguments.md_repeat, "--md-repeat")
    if arguments.md_steps:
        lines = arguments.pair_commands and arguments.pair_commands.read_text(encoding="utf-8").splitlines()
        atoms = run_lammps_md(
            atoms,
            arguments.temperature_K,
            arguments.md_steps,
            arguments.seed,
            time_step_fs=arguments.time_step_fs,
            pair_commands=lines,
        )
    atoms = build_repetition(atoms, arguments.repeat, "--repeat")
    if arguments.displacement_A:
        atoms = displace_independently(atoms, arguments.displacement_A, arguments.seed)
    if arguments.stacking_fault is not None:
        atoms = add_stacking_fault(atoms, *layers_of(crystal), arguments.stacking_fault)
    write_structure(arguments.output, atoms)
    print(f"{arguments.output}: {len(atoms)} atoms, {atoms.get_volume():.1f} Å³")


def predict_file(arguments: argparse.Namespace) -> None:
    """Predict the structure of a file; every rank of an MPI job runs this."""
    # imported here: the other commands must not wait for torch
    from nearsight.inference.plan import PredictionSettings
    from nearsight.inference.run import ModelFiles, parse_region, predict_structure
    from nearsight.jobs import show_progress
    from nearsight.mpi import on_rank_0, world
    from nearsight.structures.io import read_structure

    comm = world()
    logging.basicConfig(level=logging.INFO if comm.rank == 0 else logging.ERROR, format="%(message)s")
    atoms = on_rank_0(comm, lambda: read_structure(arguments.structure))
    energies = predict_structure(
        ModelFiles.find(arguments.model),
        atoms,
        arguments.out,
        PredictionSettings(
            backend=arguments.backend,
            precision=arguments.precision,
            memory_GiB=arguments.memory_GiB,
            threads=arguments.threads,
            accept_unfit=arguments.accept_unfit,
        ),
        comm,
        shape=arguments.grid,
        temperature_K=arguments.temperature_K,
        ldos=arguments.ldos and parse_region(arguments.ldos),
        progress=lambda items, what: show_progress(items, what, unit="tile"),
    )
    if comm.rank == 0:
        print(
            f"total free energy {energies.total / len(atoms):.6f} eV/atom, Fermi level {energies.fermi_energy:.4f} eV"
        )
        print(f"written: {arguments.out}/prediction.h5, dos.csv, observables.json, energies.json")


if __name__ == "__main__":
    sys.exit(main())

"""The `nearsight` command: check studies, build and predict structures, look at results, import and export data."""

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from nearsight import __version__
from nearsight.errors import InputError, NearsightError, Stopped, StorageError
from nearsight.files import read_json, read_regular, write_text
from nearsight.jobs import show_progress, stop_when_told
from nearsight.options import IMPORT_OPTIONS, add_options
from nearsight.study.documents import describe_study, study_schema
from nearsight.study.reading import load_study
from nearsight.study.sections import DftMdTrajectory, Inference, Ldos

if TYPE_CHECKING:
    from ase import Atoms

#: Command -> what it does in one line, and a longer description.
COMMANDS = {
    "check-config": ("check study files and say what each computes", None),
    "describe-config": ("write README.md and schema.json for study files", None),
    "show": ("list the variables, units, settings and origin of a dataset", None),
    "import": (
        "make a snapshot dataset or a model from another program's results",
        "Make a snapshot dataset from a finished run of Quantum ESPRESSO, with an LDOS from its wave functions or from "
        "cube files of pp.x; or from an LDOS of MALA and the text of its pw.x run. Or convert a model of MALA (.zip); "
        "no code in its files is run. Anything that a study would have computed differently is an error.",
    ),
    "check": (
        "say how good a reference is: how uncertain its own approximations leave the energy",
        "Say how uncertain SCF, k-points, window, bands and broadening leave a reference's energy, each as a floor in "
        "meV/atom; errors of a model below the floor mean nothing.",
    ),
    "models": ("list the models that come with Nearsight, each with its card", None),
    "export": ("write a density for other programs", None),
    "build": (
        "build a large structure",
        "Build an hcp crystal or read a structure; repeat it (--md-repeat) and run molecular dynamics with LAMMPS; "
        "repeat the result (--repeat), displace every atom, add a stacking fault: in this order, each step optional.",
    ),
    "predict": (
        "predict density, density of states and total free energy of a structure",
        "Predict density, density of states and total free energy of a structure with a trained model. A prediction "
        "that was stopped resumes where it was. On several MPI ranks: mpiexec -n 4 nearsight predict ...",
    ),
    "view": (
        "make a page of a prediction for the browser",
        "Make one HTML page of a prediction: structure and density in three dimensions, density of states, energies, "
        "origin. The page contains everything it needs and loads nothing from the network.",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; an error that the user can act upon is printed as its message alone."""
    closed = open_streams()
    arguments = parse_arguments(argv)
    try:
        with stop_when_told():
            arguments.run(arguments)
            with explain_output():
                sys.stdout.flush()
        if closed:
            raise StorageError("standard output: expected to write to it, it is closed. All files are complete.")
    except NearsightError as error:
        print(error, file=sys.stderr)
        return stop_all_ranks()
    except (KeyboardInterrupt, Stopped) as stopped:
        print("interrupted; what is finished is kept", file=sys.stderr, flush=True)
        # as a shell expects it, and at once: libraries whose threads are still running may abort a normal exit
        number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        discard_output()
    except OSError as error:  # refused by the system and explained nowhere else, such as an unreadable folder
        print(f"{error.filename or 'nearsight'}: {error.strerror or error}", file=sys.stderr)
        return stop_all_ranks()
    return 0


def open_streams() -> bool:
    """Make sure that the standard streams are open and take any character; True where standard output was closed.

    A file opened while one of the first three descriptors is free would get it, and whatever is printed.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    closed = sys.stdout is None
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return closed


@contextmanager
def explain_output() -> Iterator[None]:
    """Turn a failure to write to standard output into a StorageError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise StorageError(
            f"standard output: expected to write to it, got: {error.strerror}. All files are complete."
        ) from error


def discard_output() -> None:
    """Let nothing more go to standard output, neither now nor when Python flushes it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print a line on standard output."""
    with explain_output():
        print(text)


def stop_all_ranks() -> int:
    """Exit status of a failure; under MPI the other ranks, which may be waiting for this one, are stopped too."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.COMM_WORLD.size > 1:
        # imported here: only a job of several ranks needs it
        from nearsight.mpi import abort

        abort(mpi.COMM_WORLD, 1)
    return 1


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command; `run` is the function of the subcommand."""
    parser = argparse.ArgumentParser(prog="nearsight", description=__doc__)
    parser.add_argument("--version", action="version", version=f"nearsight {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (summary, description) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=description or summary)
        add_options(command, name)
        command.set_defaults(run=RUN[name])
    return parser.parse_args(argv)


def check_config(arguments: argparse.Namespace) -> None:
    """Say what studies compute and what may be a mistake. Raises ConfigError or InputError for the first wrong one."""
    # imported here: the other commands must not wait for numpy
    from nearsight.preflight import check_files

    for path in arguments.studies:
        study = load_study(path)
        try:
            found = check_files(study)
        except InputError as error:
            raise InputError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None
        dft_md = [one for one in study.trajectories.values() if isinstance(one, DftMdTrajectory)]
        total = sum(one.segments * study.md.time_step_fs * study.md.steps_per_segment for one in dft_md)
        counts = ", ".join(f"{len(study.snapshot_names(role))} {role}" for role in ("train", "validation", "test"))
        say(
            f"{path}: study {study.study}: {total:g} fs of DFT-MD, snapshots: {counts}; larger structures: "
            f"{', '.join(study.supercells) or 'none'}."
        )
        for line in found.cells:
            say(f"  {line}")
        for line in found.warnings:
            print(f"{path}: warning: {line}", file=sys.stderr)
        say("  No mistakes found.")


def describe_config(arguments: argparse.Namespace) -> None:
    """Generate the two files that follow from the models in nearsight/study/sections.py."""
    readme, text = arguments.folder / "README.md", describe_study()
    if readme.is_file() and readme.read_bytes().splitlines()[:1] != text.encode().splitlines()[:1]:
        raise InputError(f"{readme}: expected none, or one of the configuration, got another. Name another --folder.")
    write_text(readme, text)
    write_text(arguments.folder / "schema.json", study_schema())


def show_dataset(arguments: argparse.Namespace) -> None:
    """Print what a dataset holds and where it comes from."""
    # imported here: the other commands must not wait for xarray
    import json

    from nearsight.datasets import open_foreign_dataset, provenance_of, settings_of

    with open_foreign_dataset(arguments.dataset) as dataset:
        for name, variable in dataset.variables.items():
            if "meaning" in variable.attrs:
                shape = " x ".join(f"{dim} {length}" for dim, length in variable.sizes.items()) or "scalar"
                value = f" = {float(variable):.10g}" if not variable.sizes else ""
                say(f"{name} ({shape}, unit {variable.attrs['unit']}){value}: {variable.attrs['meaning']}")
        say("settings: " + json.dumps(settings_of(dataset), indent=2, ensure_ascii=False))
        say("origin: " + json.dumps(provenance_of(dataset), indent=2, ensure_ascii=False))


def list_models(_: argparse.Namespace) -> None:
    """Print the card of every model that comes inside the package."""
    from nearsight.models import model_names, read_model_card
    from nearsight.models.card import render_card

    names = model_names()
    say(
        "\n".join(render_card(read_model_card(name)) for name in names) if names else "no models come with this version"
    )


def import_dataset(arguments: argparse.Namespace) -> None:
    """Write the snapshot dataset, or the model, of another program's results."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for program, names in IMPORT_OPTIONS.items():
        given = [name for name in names if getattr(arguments, name) not in (None, name == "correction")]
        if program != arguments.program and given:
            option = "no-correction" if given[0] == "correction" else given[0].replace("_", "-")
            raise InputError(f"--{option}: expected it with {program} alone, got it with {arguments.program}.")
    IMPORTS[arguments.program](arguments)


def window_of(arguments: argparse.Namespace) -> Ldos | None:
    """Energies and width of an LDOS that the command line gives; None where it gives none."""
    from nearsight.imports.espresso import make_ldos

    ends = (arguments.energy_min_eV, arguments.energy_max_eV)
    if ends != (None, None) and (arguments.study is not None or None in ends or arguments.ldos):
        raise InputError(
            "--energy-min-eV: expected it with --energy-max-eV, without --study and without --ldos, which give the "
            "energies themselves."
        )
    if arguments.study is not None:
        return load_study(arguments.study).ldos
    if None in ends:
        return None
    return make_ldos(*ends, arguments.spacing_eV, arguments.broadening_eV or 0.2, "one_pass")


def import_espresso(arguments: argparse.Namespace) -> None:
    """Write the snapshot dataset of a finished run of pw.x."""
    from nearsight.imports.espresso import expand_patterns, import_run

    cubes = expand_patterns(arguments.ldos or ())
    inputs = [*cubes, *filter(None, (arguments.density, arguments.study))]
    check_output(arguments.out, inputs, overwrite=arguments.overwrite)
    result = import_run(
        arguments.source,
        arguments.out,
        window=window_of(arguments),
        cubes=cubes,
        density=arguments.density,
        nscf=arguments.nscf,
        pseudopotentials=arguments.pseudopotentials,
    )
    say_energy(arguments.out, result.atoms, result.energies["total_free_energy"])


def import_mala(arguments: argparse.Namespace) -> None:
    """Write the bundle of a model of MALA, or the snapshot dataset of one of its LDOS."""
    if arguments.pseudopotentials is None:
        raise InputError(
            "--pseudopotentials: expected the folder of the UPF files of the DFT, which MALA's files do not have."
        )
    if arguments.source.suffix.lower() == ".zip":
        import_mala_model(arguments)
        return
    from nearsight.imports.mala.snapshot import import_snapshot

    window = window_of(arguments)
    if window is None or arguments.text is None:
        raise InputError(
            "--text: expected it (what pw.x printed), and the energies of the LDOS, which MALA's arrays do not have: "
            "--energy-min-eV and --energy-max-eV, with --spacing-eV, or --study."
        )
    if window.energy_zero_eV_A3:
        raise InputError(
            f"{arguments.study}: ldos.energy_zero_eV_A3: expected none, since the energies of MALA's arrays are "
            "relative to Quantum ESPRESSO's zero. Give --energy-min-eV and --energy-max-eV instead of --study."
        )
    inputs = [path for path in (arguments.source, arguments.text, arguments.density, arguments.study) if path]
    check_output(arguments.out, inputs, overwrite=arguments.overwrite)
    snapshot = import_snapshot(
        arguments.source,
        arguments.text,
        arguments.out,
        window.grid,
        pseudopotentials=arguments.pseudopotentials,
        density=arguments.density,
        width_eV=arguments.broadening_eV,
        temperature_K=arguments.temperature_K,
        accept_coarse=arguments.accept_coarse,
    )
    say_energy(arguments.out, snapshot.atoms, snapshot.energies["total_free_energy"])


def import_mala_model(arguments: argparse.Namespace) -> None:
    """Write the bundle of a model of MALA."""
    from nearsight.imports.kernels import Broadening
    from nearsight.imports.mala.model import import_model

    for name in ("model.json", "model.safetensors"):
        check_output(arguments.out / name, [arguments.source], overwrite=arguments.overwrite)
    broadening = None
    if arguments.broadening_eV is not None:
        broadening = Broadening(arguments.kernel or "fermi-dirac", arguments.broadening_eV)
    elif arguments.kernel is not None:
        raise InputError("--kernel: expected --broadening-eV with it, the kernel's width.")
    model = import_model(
        arguments.source,
        arguments.out,
        pseudopotentials=arguments.pseudopotentials,
        data=arguments.data,
        temperature_K=arguments.temperature_K,
        broadening=broadening,
        correction=arguments.correction,
    )
    grid = model.energy_grid
    say(
        f"{arguments.out}: a model of {', '.join(model.elements)} at {model.temperature_K:g} K, {grid.count} energies "
        f"from {grid.minimum_eV:g} to {grid.maximum_eV:g} eV"
    )


def say_energy(path: Path, atoms: "Atoms", total_eV: float) -> None:
    """Print what was imported."""
    say(f"{path}: {atoms.get_chemical_formula()}, total free energy {total_eV / len(atoms):.6f} eV/atom")


def check_reference(arguments: argparse.Namespace) -> None:
    """Print the floors of a reference. Raises InputError where they are above the limit."""
    from contextlib import ExitStack

    from nearsight.datasets import open_foreign_dataset
    from nearsight.evaluation.labels import MEANINGS, energy_of_own_ldos, find_pseudopotentials, measure_floors

    with ExitStack() as stack:
        dataset = stack.enter_context(open_foreign_dataset(arguments.reference))
        folder = arguments.pseudopotentials or arguments.reference.absolute().parent.parent / "pseudo"
        pseudopotentials = find_pseudopotentials(dataset, folder)
        if pseudopotentials is None and arguments.pseudopotentials is not None:
            raise InputError(
                f"{folder}: expected the UPF files that the reference was computed with (SHA-256 in its provenance), "
                "found none or others. `nearsight show` lists what it was made from."
            )
        energy = None
        if pseudopotentials is not None:
            energy = energy_of_own_ldos(dataset, arguments.reference, pseudopotentials)
        denser = None
        if arguments.denser is not None:
            denser = stack.enter_context(open_foreign_dataset(arguments.denser)), arguments.denser
        floors = measure_floors(dataset, arguments.reference, energy, denser)
    unknown = {"kpoints": "not known; give --denser", "ldos": "not known; give --pseudopotentials"}
    for name, meaning in MEANINGS.items():
        value = getattr(floors, name)
        say(f"{name:10s} {unknown[name] if value is None else f'{value:10.4f} meV/atom'}  {meaning}")
    say(f"{'together':10s} {floors.total:10.4f} meV/atom  errors of a model below this mean nothing")
    if arguments.zero is not None:
        say(describe_energy_zero([arguments.reference, *arguments.zero]))
    if arguments.limit_meV is not None and floors.total > arguments.limit_meV:
        raise InputError(
            f"{arguments.reference}: expected floors of at most {arguments.limit_meV:g} meV/atom together, got "
            f"{floors.total:.4f}. Compute the reference again with tighter settings for the largest."
        )


def describe_energy_zero(references: list[Path]) -> str:
    """The energy zero that flattens the Fermi level of references of several densities, in words."""
    from nearsight.datasets import atoms_of, open_foreign_dataset, require
    from nearsight.evaluation.energy_zero import fit_energy_zero

    cells, levels = [], []
    for path in references:
        with open_foreign_dataset(path) as dataset:
            require(dataset, "cell", "positions", "atomic_numbers", "fermi_energy", path=path)
            cells.append(atoms_of(dataset))
            levels.append(float(dataset["fermi_energy"]))
    found = fit_energy_zero(cells, levels)
    zeros = ", ".join(f"{element}: {zero:.1f}" for element, zero in found.energy_zero_eV_A3.items())
    return (
        f"ldos.energy_zero_eV_A3: {{{zeros}}}; the Fermi levels are then within {1e3 * found.spread_eV:.0f} meV, "
        f"without it within {1e3 * found.spread_without_eV:.0f} meV"
    )


def export_dataset(arguments: argparse.Namespace) -> None:
    """Write the density of a dataset in the format of another program."""
    from nearsight.export import export_density, export_restart

    if arguments.format == "espresso":
        save = export_restart(arguments.dataset, arguments.output, arguments.ecutrho_Ry, overwrite=arguments.overwrite)
        say(
            f"{save}: start pw.x with startingpot = 'file', prefix = '{save.stem}' and outdir = '{save.parent}'. There "
            "are no wave functions: pw.x starts them from atoms; projections of ultrasoft pseudopotentials (becsum) "
            "follow from them in the first iteration."
        )
        return
    if arguments.ecutrho_Ry is not None:
        raise InputError("--ecutrho-Ry: expected it with --format espresso alone.")
    check_output(arguments.output, [arguments.dataset], overwrite=arguments.overwrite)
    kind = arguments.format or {".cube": "cube", ".cub": "cube", ".xsf": "xsf"}.get(arguments.output.suffix.lower())
    if kind is None and not arguments.output.name.upper().startswith("CHGCAR"):
        raise InputError(
            f"{arguments.output}: expected the suffix .cube or .xsf, the name CHGCAR, or --format cube, xsf, chgcar, "
            "espresso."
        )
    export_density(arguments.dataset, arguments.output, kind or "chgcar")


def build_file(arguments: argparse.Namespace) -> None:
    """Build a large structure and write it."""
    from nearsight.memory import limit_bytes, structure_bytes
    from nearsight.structures.builders import build_repetition, hcp_orthorhombic
    from nearsight.structures.io import read_structure, split_index, write_structure
    from nearsight.structures.lammps import run_lammps_md
    from nearsight.structures.large import add_stacking_fault, displace_independently, layers_of

    inputs = [split_index(path)[0] for path in (arguments.structure, arguments.pair_commands) if path is not None]
    check_output(arguments.output, inputs, overwrite=arguments.overwrite)
    crystal = None
    if arguments.element:
        if arguments.density_g_cm3 is None or arguments.c_over_a is None:
            raise InputError("--element: expected --density-g-cm3 and --c-over-a with it.")
        crystal = hcp_orthorhombic(arguments.element, arguments.density_g_cm3, arguments.c_over_a)
    elif arguments.stacking_fault is not None:
        raise InputError("--stacking-fault: expected --element, whose lattice defines the layers, got --structure.")
    atoms = crystal or read_structure(arguments.structure)
    count = len(atoms) * prod(arguments.md_repeat) * prod(arguments.repeat)
    needed, (limit, source) = structure_bytes(count), limit_bytes(None)
    if needed > limit:
        raise InputError(
            f"--repeat: expected a structure that fits in {limit / 1e9:.1f} GB ({source}), got {count:,} atoms, which "
            f"take {needed / 1e9:.1f} GB."
        )
    atoms = build_repetition(atoms, arguments.md_repeat, "--md-repeat")
    if arguments.md_steps:
        atoms = run_lammps_md(
            atoms,
            arguments.temperature_K,
            arguments.md_steps,
            arguments.seed,
            time_step_fs=arguments.time_step_fs,
            pair_commands=arguments.pair_commands and read_pair_commands(arguments.pair_commands),
        )
    atoms = build_repetition(atoms, arguments.repeat, "--repeat")
    if arguments.displacement_A:
        atoms = displace_independently(atoms, arguments.displacement_A, arguments.seed)
    if arguments.stacking_fault is not None:
        atoms = add_stacking_fault(atoms, *layers_of(crystal), arguments.stacking_fault)
    write_structure(arguments.output, atoms)
    say(f"{arguments.output}: {len(atoms)} atoms, {atoms.get_volume():.1f} Å³")


def read_pair_commands(path: Path) -> list[str]:
    """The lines of a file of LAMMPS commands. Raises InputError where it cannot be read or gives no potential."""
    content = read_regular(path, "a file of LAMMPS commands", "Give one with pair_style and pair_coeff.", 1 << 20)
    lines = content.decode("utf-8", errors="replace").splitlines()
    if not any(line.split()[:1] == ["pair_style"] for line in lines):
        raise InputError(f"{path}: expected LAMMPS's pair_style and pair_coeff lines, found no pair_style.")
    return lines


def check_output(output: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Raise InputError where the output is an input, or exists without `overwrite`."""
    if any(output.resolve() == Path(path).resolve() for path in inputs):
        raise InputError(f"{output}: expected a file other than the one that is read. Name a new one.")
    if output.is_file() and not overwrite:
        raise InputError(f"{output}: expected no such file yet, found one. Name another, or give --overwrite.")


def name_folder(structure: Path, frame: int | None) -> Path:
    """Default folder of a prediction: named after the structure, in the working directory."""
    name = structure.name.strip(".").split(".")[0] or "structure"
    return Path(f"{name}{'' if frame is None else f'@{frame}'}-prediction")


def predict_file(arguments: argparse.Namespace) -> None:
    """Predict the structure of a file; every rank of an MPI job runs this."""
    # imported here: the other commands must not wait for torch
    from nearsight.inference.run import ModelFiles, predict_structure
    from nearsight.mpi import on_rank_0, world
    from nearsight.structures.io import read_structure, split_index
    from nearsight.view.page import PAGE, write_view

    comm = world()
    logging.basicConfig(level=logging.INFO if comm.rank == 0 else logging.ERROR, format="%(message)s")
    atoms = on_rank_0(comm, lambda: read_structure(arguments.structure))
    source, frame = split_index(arguments.structure)
    folder = arguments.out or name_folder(source, frame)
    energies = predict_structure(
        ModelFiles.find(arguments.model),
        atoms,
        folder,
        Inference(
            batches=1,
            precision=arguments.precision,
            memory_GiB=arguments.memory_GiB,
            threads=arguments.threads,
            accept_extrapolation=arguments.accept_extrapolation,
            screening=arguments.screening,
            ecut_sample_Ry=arguments.ecut_sample_Ry,
        ),
        comm,
        backend=arguments.backend,
        shape=arguments.grid,
        temperature_K=arguments.temperature_K,
        ldos=arguments.ldos,
        inputs=[source],
        overwrite=arguments.overwrite,
        progress=lambda items, what: show_progress(items, what, unit="tile"),
    )
    if comm.rank == 0 and arguments.view:
        write_view(folder, folder / PAGE)
    if comm.rank == 0:
        deviation = read_json(folder / "energies.json").get("energy_deviation_eV_per_atom")
        bar = "" if deviation is None else f" ± {deviation:.4f}"
        energy = f"{energies.total / len(atoms):.6f}{bar}"
        say(f"total free energy {energy} eV/atom, Fermi level {energies.fermi_energy:.4f} eV")
        page = f", {PAGE}" if arguments.view else ""
        say(f"written: {folder}/prediction.h5, dos.csv, observables.json, energies.json{page}")


def view_prediction(arguments: argparse.Namespace) -> None:
    """Write the page of a prediction."""
    # imported here: the other commands must not wait for matplotlib
    from nearsight.view.page import PAGE, write_view

    output = arguments.output or arguments.prediction / PAGE
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{output}: expected a name that ends in .html, as browsers expect it.")
    inputs = [path for path in (arguments.prediction, arguments.compare) if path is not None]
    check_output(output, inputs, overwrite=arguments.overwrite or arguments.output is None)  # the page is ours
    write_view(arguments.prediction, output, arguments.compare)
    say(f"written: {output} ({output.stat().st_size / 1e6:.1f} MB)")


#: Program of `import` -> its function.
IMPORTS = {"qe": import_espresso, "mala": import_mala}

RUN = {
    "check-config": check_config,
    "describe-config": describe_config,
    "show": show_dataset,
    "import": import_dataset,
    "check": check_reference,
    "models": list_models,
    "export": export_dataset,
    "build": build_file,
    "predict": predict_file,
    "view": view_prediction,
}

if __name__ == "__main__":
    sys.exit(main())

"""Predictions of 256 k³ beryllium atoms on this machine: time of every stage, µs per grid point and core, memory.

    python bench/inference.py --largest 131072 --page docs/performance.md

Each size runs stage by stage in processes of their own, and what is finished is kept in the work folder: run the same
command again to continue. The predicted points are those of the model's sampling cutoff, or of --ecut-sample-Ry.
The structures are hcp cells after molecular dynamics (LAMMPS, the SNAP potential for W and Be), repeated, with
independent displacements added, so that no part repeats; --fault adds a stacking fault.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from math import prod
from pathlib import Path

import matplotlib
import numpy as np
from tables import publish, read_csv

# the grid of 256 atoms: 4,374 points per atom, 573 million for 131,072 atoms; products of 2 and 3
GRID = (81, 144, 96)
CELLS = (4, 4, 4)  # orthorhombic cells of four atoms
DENSITY_g_cm3, C_OVER_A = 1.896, 1.5797
TEMPERATURE_K = 298.0
MD_STEPS = 300
# added to every atom independently, Å; the vibrations of the cell that was repeated are five times as large
INDEPENDENT_A = 0.02
STAGES = ("structure", "start", "plan", "predict", "gather", "energies")
SIZES = ("1", "2", "4", "8", "16x16x8", "16")
COLUMNS = (
    *("atoms", "points", "predicted_points", "fault", "threads", "memory_GiB", "ecut_sample_Ry", "model_sha256"),
    *("stage", "wall_s", "cpu_s", "peak_GiB", "descriptors_s", "network_s"),
    *("total_eV_per_atom", "unscreened_eV_per_atom", "fermi_energy_eV"),
)


def main() -> None:
    """Run the stages that are missing, then write the table and the figure."""
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.stage:
        run_stage(arguments)
        return
    for size in arguments.sizes:
        atoms = 256 * prod(repeats_of(size))
        if atoms > arguments.largest:
            continue
        for stage in STAGES:
            record = arguments.work / name_of(size, arguments) / f"{stage}.json"
            if record.exists():
                check_setup(record, arguments)
            else:
                print(f"{atoms} atoms: {stage}", flush=True)
                subprocess.run([sys.executable, __file__, *sys.argv[1:], "--stage", stage, "--size", size], check=True)
    write_results(arguments)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Be", help="folder or name of a model of beryllium (Be)")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="k of 256 k³ atoms, or KxLxM of 256 KLM")
    parser.add_argument("--largest", type=int, default=16384, help="leave out cells with more atoms (default: 16384)")
    parser.add_argument("--ecut-sample-Ry", type=float, help="cutoff of the points that are predicted (the model's)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--memory-GiB", type=float, default=4.0, help="memory; the rest is on disk (default: 4)")
    parser.add_argument(
        "--grid", type=int, nargs=3, default=GRID, help="points for 256 atoms (default: those of 160 Ry)"
    )
    parser.add_argument("--fault", action="store_true", help="with a stacking fault")
    parser.add_argument("--work", type=Path, default=Path("bench/work"), help="folder for structures and predictions")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for table and figure")
    parser.add_argument("--page", type=Path, help="page whose table is replaced, such as docs/performance.md")
    parser.add_argument("--table", default="prediction", help="name of that table (default: prediction)")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        repeats_of(size)
    return arguments


def repeats_of(size: str) -> tuple[int, int, int]:
    """How often the cell of 256 atoms is repeated along each axis. Stops at a size that is neither K nor KxLxM."""
    counts = size.split("x")
    if len(counts) not in (1, 3) or not all(count.isdecimal() and int(count) > 0 for count in counts):
        raise SystemExit(f"--sizes: expected numbers such as 4, or three such as 16x16x8, got {size}.")
    return tuple(int(count) for count in counts * (3 // len(counts)))


def name_of(size: str, arguments: argparse.Namespace) -> str:
    """Folder of one prediction."""
    return f"be{256 * prod(repeats_of(size))}{'-fault' if arguments.fault else ''}"


def setup_of(arguments: argparse.Namespace) -> dict:
    """What the numbers of a work folder depend on."""
    from nearsight.files import sha256_of
    from nearsight.inference.run import ModelFiles

    given = {key: getattr(arguments, key) for key in ("threads", "memory_GiB", "ecut_sample_Ry")}
    given["points_of_256_atoms"] = prod(arguments.grid)
    return given | {"model_sha256": sha256_of(ModelFiles.find(arguments.model).weights)}


def check_setup(record: Path, arguments: argparse.Namespace) -> None:
    """Stop where an earlier run had another model or other settings."""
    found, expected = json.loads(record.read_text()), setup_of(arguments)
    for key, value in expected.items():
        if found.get(key) != value:
            raise SystemExit(
                f"{record}: expected {key} = {value}, as in this run, found {found.get(key)}. Name another folder with "
                "--work, or remove this one."
            )


def run_stage(arguments: argparse.Namespace) -> None:
    """One stage of one size, in this process; writes its record when it has succeeded."""
    folder = arguments.work / name_of(arguments.size, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    started, before = time.perf_counter(), cpu_seconds()
    further = RUN[arguments.stage](arguments.size, folder, arguments) or {}
    spent = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": cpu_seconds() - before,
        "peak_GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    record = {
        "atoms": 256 * prod(repeats_of(arguments.size)),
        "points": prod(arguments.grid) * prod(repeats_of(arguments.size)),
        "fault": arguments.fault,
        **setup_of(arguments),
        "stage": arguments.stage,
        **spent,
        **further,
    }
    temporary = folder / f".{arguments.stage}.json"
    temporary.write_text(json.dumps(record))
    os.replace(temporary, folder / f"{arguments.stage}.json")


def cpu_seconds() -> float:
    """CPU time of this process, all threads."""
    return time.process_time()


def build(size: str, folder: Path, arguments: argparse.Namespace) -> None:
    """The structure: a cell after molecular dynamics, repeated, each atom displaced independently."""
    from nearsight.structures.builders import hcp_orthorhombic
    from nearsight.structures.gridded import GRID_SHAPE
    from nearsight.structures.io import write_structure
    from nearsight.structures.lammps import run_lammps_md
    from nearsight.structures.large import add_stacking_fault, displace_independently, layers_of

    cell = hcp_orthorhombic("Be", DENSITY_g_cm3, C_OVER_A)
    repeats = repeats_of(size)
    inner = 1 if any(k % 2 for k in repeats) else 2  # molecular dynamics of 2,048 or 256 atoms
    seed = repeats[2]
    moved = run_lammps_md(cell.repeat([inner * n for n in CELLS]), TEMPERATURE_K, MD_STEPS, seed=seed, time_step_fs=2.0)
    atoms = displace_independently(moved.repeat([k // inner for k in repeats]), INDEPENDENT_A, seed=seed)
    if arguments.fault:
        atoms = add_stacking_fault(atoms, *layers_of(cell), first_layer=CELLS[2] * repeats[2])
    # no atom on a grid point
    atoms.positions += 0.01
    atoms.info = {GRID_SHAPE: [n * k for n, k in zip(arguments.grid, repeats, strict=True)]}
    write_structure(folder / "structure.extxyz", atoms)


def load(folder: Path, arguments: argparse.Namespace) -> tuple:
    """Model, atoms and grid of a prediction."""
    from nearsight.inference.run import ModelFiles
    from nearsight.structures.gridded import read_gridded_structure

    files = ModelFiles.find(arguments.model)
    return files, files.load(None), *read_gridded_structure(folder / "structure.extxyz")


def start(size: str, folder: Path, arguments: argparse.Namespace) -> None:
    """What every stage does first, whatever the size: import the libraries, read the model."""
    from nearsight.inference.run import ModelFiles

    ModelFiles.find(arguments.model).load(None)


def plan(size: str, folder: Path, arguments: argparse.Namespace) -> dict:
    """Extrapolation and pre-pass."""
    from nearsight.files import sha256_of, write_json
    from nearsight.inference.plan import make_plan
    from nearsight.study.sections import Inference

    files, model, atoms, shape = load(folder, arguments)
    settings = Inference(
        batches=1,
        threads=arguments.threads,
        memory_GiB=arguments.memory_GiB,
        accept_extrapolation=True,
        ecut_sample_Ry=arguments.ecut_sample_Ry,
    )
    made = make_plan(
        model,
        atoms,
        shape,
        settings,
        model_sha256=sha256_of(files.weights),
        structure_sha256=sha256_of(folder / "structure.extxyz"),
        progress=lambda tiles: show(tiles, "pre-pass"),
    )
    write_json(folder / "prediction-plan.json", made.to_json())
    scores = {"descriptor_score": made.descriptor_score, "rdf_score": made.rdf_score}
    return {**scores, "predicted_points": int(np.prod(made.shape))}


def predict(size: str, folder: Path, arguments: argparse.Namespace) -> dict:
    """The main pass: one batch, resumable by tile."""
    from nearsight.files import sha256_of
    from nearsight.inference.batch import predict_batch
    from nearsight.inference.plan import PredictionPlan
    from nearsight.mpi import alone
    from nearsight.provenance import collect_provenance

    _, model, atoms, _ = load(folder, arguments)
    file = folder / "prediction-plan.json"
    plan = PredictionPlan.from_file(file)
    spent = predict_batch(
        plan,
        0,
        model,
        atoms,
        folder / "batch-0.h5",
        plan_sha256=sha256_of(file),
        provenance=lambda settings: collect_provenance("inference", settings, {"plan": file}),
        threads=arguments.threads,
        comm=alone(),
        progress=lambda tiles: show(tiles, "tiles"),
    )
    return {
        "descriptors_s": spent.descriptors,
        "network_s": spent.network,
        "predicted_points": int(np.prod(plan.shape)),
    }


def gather(size: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Fermi level, density, DOS."""
    from nearsight.inference.gather import gather_batches

    outputs = {"dos": folder / "dos.csv", "observables": folder / "observables.json"}
    _, model, _, _ = load(folder, arguments)
    plan, batches, output = folder / "prediction-plan.json", [folder / "batch-0.h5"], folder / "prediction.h5"
    gather_batches(plan, model, batches, output, screening=True, memory_GiB=arguments.memory_GiB, **outputs)
    (folder / "batch-0.h5").unlink()


def energies(size: str, folder: Path, arguments: argparse.Namespace) -> dict:
    """Total free energy with all terms."""
    from nearsight.energies.report import write_energies
    from nearsight.inference.run import write_pseudopotentials
    from nearsight.mpi import alone

    _, model, atoms, _ = load(folder, arguments)
    found = write_energies(
        folder / "prediction.h5",
        write_pseudopotentials(model, folder),
        model.ecutrho_Ry,
        folder / "total-free-energy.json",
        alone(),
        memory_GiB=arguments.memory_GiB,
    )
    (folder / "prediction.h5").unlink()  # the numbers are kept, the fields are not
    return {
        "total_eV_per_atom": found.total / len(atoms),
        "unscreened_eV_per_atom": found.unscreened / len(atoms),
        "fermi_energy_eV": found.fermi_energy,
    }


def show(items: list, what: str):
    """A progress bar."""
    from nearsight.jobs import show_progress

    return show_progress(items, what, unit="tile")


RUN = dict(zip(STAGES, (build, start, plan, predict, gather, energies), strict=True))


def write_results(arguments: argparse.Namespace) -> None:
    """The table of all records as CSV, the table of docs/performance.md, and the figure."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    records = [json.loads(path.read_text()) for path in arguments.work.glob("be*/*.json") if path.stem in STAGES]
    records.sort(key=lambda record: (record["fault"], record["atoms"], STAGES.index(record["stage"])))
    target = arguments.output / "inference.csv"
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.9g}" if isinstance(v, float) else v for k, v in record.items()} for record in records
        )
    lines = table(read_csv(target))
    print("\n".join(lines))
    draw(records, arguments.output / "inference.png")
    if arguments.page:
        publish(arguments.page, arguments.table, lines, target, target.with_suffix(".png"))


def table(records: list[dict]) -> list[str]:
    """Predictions whose stages are all done, as a Markdown table."""
    lines = [
        "| atoms | points (10⁶) | predicted (10⁶) | start-up | plan | predict | gather | energies | wall | descriptors "
        "| network | ms per atom | energies | peak (GiB) |",
        "|---" * 14 + "|",
    ]
    finished = []
    for atoms, fault in sorted({(record["atoms"], record["fault"]) for record in records}):
        rows = {r["stage"]: r for r in records if (r["atoms"], r["fault"]) == (atoms, fault)}
        if set(rows) == set(STAGES):
            lines.append(line_of(rows))
            finished.append(rows)
    return [*lines, "", *(describe(rows) for rows in finished[-1:])]


def describe(rows: dict[str, dict]) -> str:
    """What the largest cell takes, all stages together, in words."""
    stages = [rows[stage] for stage in STAGES[2:]]
    hours, minutes = sum(row["cpu_s"] for row in stages) / 3600, sum(row["wall_s"] for row in stages) / 60
    peak = max(row["peak_GiB"] for row in stages)
    return (
        f"{stages[0]['atoms']:,} atoms take {hours:.2f} hours of processor time, {minutes:.0f} minutes by the clock "
        f"and {peak:.1f} GiB of memory, all stages together."
    )


def line_of(rows: dict[str, dict]) -> str:
    """One prediction's line: processor time of each stage and wall time of all in s; µs per point predicted.

    In ms per atom: the time is that of plan, predict and gather without their start-up; the energies have their own.
    """
    main_pass, atoms = rows["predict"], rows["predict"]["atoms"]
    # records from before the sampling grid have none: all points were predicted
    predicted = main_pass.get("predicted_points") or main_pass["points"]
    seconds = [rows[stage]["cpu_s"] for stage in STAGES[1:]]
    startup = seconds[0]
    wall = sum(rows[stage]["wall_s"] for stage in STAGES[2:])
    per_point = [main_pass[f"{key}_s"] / predicted * 1e6 for key in ("descriptors", "network")]
    per_atom = [1e3 * (sum(seconds[1:4]) - 3 * startup) / atoms, 1e3 * (seconds[4] - startup) / atoms]
    cells = [
        f"{atoms:,}{', fault' if main_pass['fault'] else ''}",
        f"{main_pass['points'] / 1e6:.1f}",
        f"{predicted / 1e6:.1f}",
        *(f"{s:.1f}" for s in seconds),
        f"{wall:.0f}",
        *(f"{value:.2f}" for value in per_point),
        *(f"{value:.1f}" for value in per_atom),
        f"{max(rows[stage]['peak_GiB'] for stage in STAGES[1:]):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def draw(records: list[dict], path: Path) -> None:
    """CPU time per atom by stage, and peak memory, against the number of atoms."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    plain = [record for record in records if not record["fault"]]
    for stage, marker in zip(STAGES[2:], "osv^", strict=True):
        rows = [record for record in plain if record["stage"] == stage]
        atoms = [row["atoms"] for row in rows]
        left.loglog(atoms, [1e3 * row["cpu_s"] / row["atoms"] for row in rows], marker=marker, label=stage)
        right.loglog(atoms, [row["peak_GiB"] for row in rows], marker=marker, label=stage)
    left.set(xlabel="atoms", ylabel="CPU time (ms per atom)", title="Be, 4,374 grid points per atom")
    right.axhline(16, color="grey", linestyle="--", linewidth=1)
    right.set(xlabel="atoms", ylabel="peak memory (GiB)", title="dashed: 16 GiB", ylim=(0.25, 25))
    left.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()

"""The native bispectrum kernel against LAMMPS: same process, same core, in turns.

    python bench/bispectrum.py --page docs/performance.md

Times are processor time of this process (others on the machine do not count), per grid point, medians over
repetitions in which the two backends take turns. LAMMPS gets fewer points of the same cell, because its time per
point does not depend on their number; its start and the setup of the cell are left out. The bound is what the
kernel's operations would take at the core's own speed for independent multiply-adds in registers, measured in the
same run (without fused multiply-adds, that is portable on x86, it says little: there a lone addition costs half).
Two threads against one are wall times, the shortest of many.
"""

import argparse
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from mpi4py import MPI  # noqa: F401  (before lammps: it loads the MPI library)
from tables import publish, read_csv, write_csv
from tqdm import tqdm

from nearsight.descriptors.bispectrum import Settings, kernel, lammps
from nearsight.descriptors.bispectrum.components import number_of_components
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region
from nearsight.structures.lammps import start_lammps

CUTOFF_A = 4.67637
TWOJMAX = (4, 6, 8, 10, 12)
THREADS = "two threads against one"


def two_atoms() -> Atoms:
    """Hcp beryllium, the cell of docs/conventions.md."""
    cell = [[2.25982587, 0, 0], [-1.129912935, 1.957066616, 0], [0, 0, 3.56987856]]
    positions = [[1.7528828707, 0.3210037143, 2.6776725841], [-0.6229700257, 1.6360627414, 0.8922054159]]
    return Atoms("Be2", positions=positions, cell=cell, pbc=True)


def displaced_atoms() -> Atoms:
    """128 atoms, displaced by 0.1 Å."""
    atoms = two_atoms().repeat((4, 4, 4))
    atoms.positions += np.random.default_rng(1).normal(scale=0.1 / np.sqrt(3), size=(128, 3))
    return atoms


CASES = {
    # name: structure, grid and its part for the native kernel, grid for LAMMPS
    "2 atoms": (two_atoms, (18, 18, 27), None, (6, 6, 9)),
    "128 atoms": (displaced_atoms, (72, 72, 108), Region((0, 16), (0, 24), (0, 108)), (6, 6, 9)),
}


def time_lammps(atoms: Atoms, shape: tuple[int, int, int], settings: Settings) -> float:
    """Processor seconds per point of LAMMPS's loop over its grid."""
    instance = start_lammps()
    try:
        lammps.load_structure(instance, atoms, settings.cutoff_A, ["Be"])
        instance.command(lammps.compute_command("sna/grid/local", shape, settings, ["Be"]))
        instance.command("run 0 post no")
        start = time.process_time()
        lammps._local_region(instance, shape, number_of_components(settings.twojmax))
        return (time.process_time() - start) / np.prod(shape)
    finally:
        instance.close()


def time_native(atoms, shape, region, settings, out, name, threads=1, clock=time.process_time) -> float:
    """Seconds per point of the native kernel."""
    os.environ[kernel.INSTRUCTION_SET] = name
    start = clock()
    kernel.bispectrum_region(atoms, RealGrid(atoms.cell, shape), settings, region, out, threads=threads)
    seconds = clock() - start
    del os.environ[kernel.INSTRUCTION_SET]
    return seconds / (out.size // out.shape[-1])


def mean_neighbours(atoms: Atoms) -> float:
    """Atoms within the cutoff of a point, on average."""
    return len(atoms) / atoms.get_volume() * 4 / 3 * np.pi * CUTOFF_A**3


def measure(case: str, twojmax: int, names: list[str], repeats: int) -> Iterator[dict]:
    """A row per instruction set and precision."""
    build, shape, region, coarse = CASES[case]
    atoms, settings = build(), Settings(twojmax=twojmax)
    region = region or Region.whole(shape)
    lengths = [stop - start for start, stop in region]
    kinds = [(name, precision) for precision in ("float32", "float64") for name in names]
    # written once before: a fresh array costs page faults
    arrays = {p: np.zeros((*lengths, number_of_components(twojmax)), dtype=p) for p in ("float32", "float64")}
    reference, seconds, peak = [], {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    for _ in range(repeats):
        reference.append(time_lammps(atoms, coarse, settings))
        for name, precision in kinds:
            out = arrays[precision]
            seconds[name, precision].append(time_native(atoms, shape, region, settings, out, name))
            facts = kernel.load().kernel_facts(name, twojmax, out.itemsize)
            peak[name, precision].append(facts["multiply_add_seconds"])
    for name, precision in kinds:
        facts = kernel.load().kernel_facts(name, twojmax, arrays[precision].itemsize)
        operations = facts["operations"] + mean_neighbours(atoms) * facts["neighbour_operations"]
        bound = operations / facts["lanes"] * median(peak[name, precision])
        ratios = [a / b for a, b in zip(reference, seconds[name, precision], strict=True)]
        yield {
            "case": case,
            "twojmax": twojmax,
            "instruction_set": name,
            "precision": precision,
            "lammps_us": 1e6 * median(reference),
            "native_us": 1e6 * median(seconds[name, precision]),
            "ratio": median(ratios),
            "bound_us": 1e6 * bound,
            "share_of_peak": bound / median(seconds[name, precision]),
            "multiply_add_ns": 1e9 * median(peak[name, precision]),
            "repeats": repeats,
            "processor": processor(),
        }


def measure_threads(repeats: int) -> Iterator[dict]:
    """A row per precision: wall time of one thread over that of two; the shortest of many, the least disturbed ones."""
    build, shape, _, _ = CASES["128 atoms"]
    atoms, settings = build(), Settings()
    region = Region((0, 16), (0, 16), (0, 108))
    for precision in ("float32", "float64"):
        out = np.zeros((16, 16, 108, 91), dtype=precision)
        seconds = {1: [], 2: []}
        for _ in range(6 * repeats):
            for threads, times in seconds.items():
                name = kernel.instruction_set()
                times.append(time_native(atoms, shape, region, settings, out, name, threads, time.perf_counter))
        speed = min(seconds[1]) / min(seconds[2])
        yield {"case": THREADS, "precision": precision, "ratio": speed, "processor": processor()}


def processor() -> str:
    """The processor's name and flags that matter."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def share(row: dict) -> str:
    """The share of the peak, where the peak means something."""
    return "" if row["instruction_set"] == "portable" else f"{100 * row['share_of_peak']:.0f} %"


def table(rows: Sequence[dict]) -> list[str]:
    """The rows as a Markdown table; what holds for all of them, and two threads, in words below it."""
    cases = [row for row in rows if row["case"] != THREADS]
    lines = [
        "| case | 2J | instructions | precision | LAMMPS µs/point | native µs/point | ratio | share of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in cases:
        times = f"{row['lammps_us']:.1f} | {row['native_us']:.2f} | {row['ratio']:.1f} | {share(row)}"
        lines.append(f"| {row['case']} | {row['twojmax']} | {row['instruction_set']} | {row['precision']} | {times} |")
    return [*lines, "", describe(cases, rows[len(cases) :])]


def describe(cases: Sequence[dict], threads: Sequence[dict]) -> str:
    """Processor, its speed, two threads."""
    speed = next(row["multiply_add_ns"] for row in cases if row["precision"] == "float32")
    ratios = " and ".join(f"{row['ratio']:.2f} ({row['precision']})" for row in threads)
    return (
        f"{cases[0]['processor']}, one core, medians of {cases[0]['repeats']}; it does one multiply-add of "
        f"{cases[0]['instruction_set']} in {speed:.2f} ns. Two threads are {ratios} times as fast as one, by the clock."
    )


def draw(rows: list[dict], path: Path) -> None:
    """µs per point against twojmax: both backends and the kernel's bound."""
    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    chosen = [row for row in rows if row["case"] == "2 atoms" and row["instruction_set"] == rows[0]["instruction_set"]]
    for precision, colour in (("float32", "C0"), ("float64", "C1")):
        mine = [row for row in chosen if row["precision"] == precision]
        x = [row["twojmax"] for row in mine]
        if precision == "float32":
            axes.plot(x, [row["lammps_us"] for row in mine], "ks-", label="LAMMPS")
        axes.plot(x, [row["native_us"] for row in mine], "o-", color=colour, label=f"native, {precision}")
        axes.plot(x, [row["bound_us"] for row in mine], ":", color=colour, label=f"bound, {precision}")
    axes.set(yscale="log", xlabel="2J (twojmax)", ylabel="µs per grid point, one core", xticks=list(TWOJMAX))
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure, and write a table, its CSV and a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for CSV and figure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--page", type=Path, help="page whose table is replaced, such as docs/performance.md")
    arguments = parser.parse_args()
    threads = list(measure_threads(arguments.repeats))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = [name for name in ("avx512", "avx2", "portable") if kernel.load().instruction_set(name)]
    cases = [("2 atoms", twojmax, names if twojmax == 10 else names[:1]) for twojmax in TWOJMAX]
    rows = []
    for case in tqdm([*cases, ("128 atoms", 10, names[:1])], desc="cases", disable=None):
        rows += measure(*case, arguments.repeats)
    target = arguments.output / "bispectrum.csv"
    write_csv(target, rows + threads)
    lines = table(read_csv(target))
    print("\n".join(lines))
    draw(rows, target.with_suffix(".png"))
    if arguments.page:
        publish(arguments.page, "kernel", lines, target, target.with_suffix(".png"))


if __name__ == "__main__":
    main()

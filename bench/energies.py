"""Time and memory of the energies of a density, from 256 to 131,072 atoms: CSV, table and figure.

    python bench/energies.py --page docs/performance.md
    python bench/energies.py --atoms 256 1024

Quantum ESPRESSO makes the density of 64 displaced atoms of beryllium once (a minute), with 4,410 grid points per atom;
it is repeated to each size, plane by plane, so that the density itself takes no memory. Each size runs in a process of
its own on one core: processor time of `density_energies` and its terms, and the largest resident memory of the process.
A size becomes a row of the CSV as soon as it is done and is not measured again; the largest takes about a quarter of an
hour and 14 GiB. A size for which there is not enough memory is left out, with a message.

All sizes have the same energy per atom, so the float64 result of the smallest shows what float32 changes.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms
from tables import publish

from nearsight.energies import density_energies, total
from nearsight.reference.pseudopotential import read_pseudopotentials

ATOMS = (256, 1024, 4096, 16384, 32768, 131072)

#: Sizes that are measured with fields of float64, too.
ALSO_DOUBLE = 4096

#: Bytes per grid point at the peak (single precision: six fields) and of Python with its libraries.
POINT_BYTES, PROCESS_BYTES = 25, 0.4 * 2**30

SHAPE = (70, 63, 64)
ECUTRHO_Ry = 160.0

#: Terms whose time is taken: name in the table -> function of nearsight.energies.total.
TERMS = {"core_charge": "core_coefficients", "xc": "xc_terms", "ions": "ion_energy"}
ENERGIES = ("hartree", "xc", "xc_potential", "ion")


def displaced_atoms() -> Atoms:
    """64 atoms of hcp beryllium, displaced by 0.08 Å along each axis: about 300 K."""
    places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 5 / 6, 0.5], [0, 1 / 3, 0.5]]
    cell = [2.2706, 2.2706 * np.sqrt(3), 3.5868]
    atoms = Atoms("Be4", cell=cell, scaled_positions=places, pbc=True).repeat((4, 2, 2))
    atoms.positions += np.random.default_rng(5).normal(0, 0.08, atoms.positions.shape)
    return atoms


def make_density(folder: Path) -> None:
    """The density of `displaced_atoms` by Quantum ESPRESSO, density.npy, and the pseudopotential, Be.upf."""
    from nearsight.reference.espresso.ld1 import generate_pseudopotential
    from nearsight.reference.espresso.programs import Launch
    from nearsight.reference.espresso.save import read_save_density
    from nearsight.reference.espresso.scf import run_scf
    from nearsight.study.sections import Dft

    source = Path(__file__).resolve().parents[1] / "config/pseudo/Be.pbe-rrkjus.in"
    files = {"Be": generate_pseudopotential(source, "Be", folder / "Be.upf")}
    settings = Dft(
        ecutwfc_Ry=30.0, ecutrho_Ry=ECUTRHO_Ry, kpoints=[1, 1, 1], kpoints_shift=[1, 1, 1], bands_per_occupied=1.25
    )
    launch = Launch("mpirun.openmpi --bind-to none", min(os.cpu_count() or 1, 2))
    run_scf(displaced_atoms(), SHAPE, files, settings, 298.0, launch, folder / "scf", folder / "scf.out")
    np.save(folder / "density.tmp.npy", read_save_density(folder / "scf", SHAPE))
    os.replace(folder / "density.tmp.npy", folder / "density.npy")


class RepeatedDensity:
    """A density repeated along all axes, that gives its planes one at a time."""

    def __init__(self, cell: np.ndarray, repeat: tuple[int, int, int]) -> None:
        self.cell, self.repeat = cell, repeat
        self.shape = tuple(n * count for n, count in zip(cell.shape, repeat, strict=True))

    def __getitem__(self, i: int) -> np.ndarray:
        return np.tile(self.cell[i % self.cell.shape[0]], self.repeat[1:])


def repeat_of(atoms: Atoms, count: int) -> tuple[int, int, int]:
    """Repeat to `count` atoms, 64 times a power of two, as compactly as possible."""
    repeat = np.ones(3, dtype=int)
    while len(atoms) * repeat.prod() < count:
        repeat[np.argmin(atoms.cell.lengths() * repeat)] *= 2
    if len(atoms) * repeat.prod() != count:
        raise SystemExit(f"--atoms: expected 64 times a power of two, got {count}.")
    return tuple(map(int, repeat))


def measure(count: int, single: bool, folder: Path) -> dict:
    """One row: runs in a process of its own."""
    seconds: dict[str, float] = {}

    def timed(name: str, function):
        def call(*arguments, **options):
            start = time.process_time()
            result = function(*arguments, **options)
            seconds[name] = time.process_time() - start
            return result

        return call

    for name, function in TERMS.items():
        setattr(total, function, timed(name, getattr(total, function)))
    atoms = displaced_atoms()
    repeat = repeat_of(atoms, count)
    density = RepeatedDensity(np.load(folder / "density.npy"), repeat)
    start, wall = time.process_time(), time.perf_counter()
    files = read_pseudopotentials({"Be": folder / "Be.upf"})
    found = density_energies(atoms.repeat(repeat), density, files, ecutrho_Ry=ECUTRHO_Ry, single=single)
    return {
        "atoms": count,
        "points": int(np.prod(density.shape)),
        "precision": "float32" if single else "float64",
        "seconds": time.process_time() - start,
        **{f"{name}_seconds": seconds[name] for name in TERMS},
        "wall_seconds": time.perf_counter() - wall,
        "peak_GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        **{f"{name}_eV_per_atom": getattr(found, name) / count for name in ENERGIES},
    }


def read_rows(path: Path) -> list[dict]:
    """The rows of an earlier run, as numbers."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as handle:
        return [
            {key: value if key == "precision" else float(value) for key, value in row.items()}
            for row in csv.DictReader(handle)
        ]


def append(row: dict, path: Path) -> None:
    """Add one row to the CSV."""
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def available_bytes() -> float:
    """Memory that is still available on this machine."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable"):
            return 1024.0 * int(line.split()[1])
    return float("inf")


def change_meV(row: dict, reference: dict) -> float:
    """Change of the free energy per atom against the reference's density terms, meV."""
    signs = {"hartree": -1, "xc": 1, "xc_potential": -1, "ion": 1}
    return 1e3 * sum(
        sign * (row[key] - reference[key]) for key, sign in ((f"{k}_eV_per_atom", s) for k, s in signs.items())
    )


def table(rows: list[dict]) -> list[str]:
    """The rows as a Markdown table."""
    reference = next((row for row in rows if row["precision"] == "float64"), rows[0])
    lines = [
        "| atoms | points (10⁶) | stored | time (s) | core charge | xc | ions | ms/atom | peak (GiB) | KiB/atom "
        "| change (meV/atom) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        terms = " | ".join(f"{row[f'{name}_seconds']:.1f}" for name in TERMS)
        lines.append(
            f"| {row['atoms']:,.0f} | {row['points'] / 1e6:.1f} | {row['precision']} | {row['seconds']:.1f} | {terms} "
            f"| {1e3 * row['seconds'] / row['atoms']:.2f} | {row['peak_GiB']:.2f} "
            f"| {row['peak_GiB'] * 2**20 / row['atoms']:.0f} | {change_meV(row, reference):+.1e} |"
        )
    return lines


def draw(rows: list[dict], path: Path) -> None:
    """Time per atom, with its terms, and peak memory against the number of atoms."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for precision, style in (("float32", "o-"), ("float64", "s--")):
        mine = [row for row in rows if row["precision"] == precision]
        x = [row["atoms"] for row in mine]
        left.plot(x, [1e3 * row["seconds"] / row["atoms"] for row in mine], f"k{style}", label=f"all, {precision}")
        right.plot(x, [row["peak_GiB"] for row in mine], f"k{style}", label=precision)
        if precision == "float32":
            for name, colour in zip(TERMS, ("C0", "C1", "C2"), strict=True):
                values = [1e3 * row[f"{name}_seconds"] / row["atoms"] for row in mine]
                left.plot(x, values, ".-", color=colour, label=name.replace("_", " "))
    top = 1.5 * max(1e3 * row["seconds"] / row["atoms"] for row in rows)  # room for the legend
    left.set(xscale="log", xlabel="atoms", ylabel="processor time per atom (ms)", ylim=(0, top))
    right.axhline(16, color="C3", linewidth=1, label="16 GiB")
    right.set(xscale="log", yscale="log", xlabel="atoms", ylabel="peak memory of the process (GiB)", ylim=(0.1, 60))
    for axes, columns in ((left, 2), (right, 1)):
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", ncols=columns)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure what is not yet in the CSV, then write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for CSV and figure")
    parser.add_argument("--atoms", type=int, nargs="+", default=ATOMS, help="sizes: 64 times a power of two")
    parser.add_argument("--page", type=Path, help="page whose table is replaced, such as docs/performance.md")
    parser.add_argument("--measure", nargs=2, metavar=("ATOMS", "PRECISION"), help="one size in this process: a row")
    arguments = parser.parse_args()
    folder, target = arguments.output / "energies-cell", arguments.output / "energies.csv"
    if arguments.measure:
        count, precision = arguments.measure
        print(json.dumps(measure(int(count), precision == "float32", folder)))
        return

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "density.npy").exists():
        make_density(folder)
    known = {(row["atoms"], row["precision"]) for row in read_rows(target)}
    wanted = chain.from_iterable(
        [(count, "float64")] * (count <= ALSO_DOUBLE) + [(count, "float32")] for count in sorted(arguments.atoms)
    )
    for count, precision in wanted:
        if (count, precision) in known:
            continue
        needed = count * np.prod(SHAPE) / 64 * POINT_BYTES * (2 if precision == "float64" else 1) + PROCESS_BYTES
        if needed > (free := available_bytes()):
            print(f"{count} atoms are left out: they need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free")
            continue
        command = [sys.executable, __file__, "--output", str(arguments.output), "--measure", str(count), precision]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(
                f"{count} atoms: the process ended with {done.returncode} (-9: killed, as a rule for want of memory). "
                "The rows before are kept; start again to go on."
            )
        append(json.loads(done.stdout), target)
    if rows := sorted(read_rows(target), key=lambda row: (row["atoms"], row["precision"] == "float32")):
        lines = table(rows)
        draw(rows, target.with_suffix(".png"))
        print("\n".join(lines))
        if arguments.page:
            publish(arguments.page, "energies", lines, target, target.with_suffix(".png"))


if __name__ == "__main__":
    main()

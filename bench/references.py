"""What a reference costs: SCF and LDOS of one 64-atom snapshot, with old and new BLAS kernels, by pp.x and in one pass.

    python bench/references.py --page docs/performance.md

A held-out snapshot of config/beryllium.yaml at the settings of that study; processor time, with that of the programs
that a step starts. Kernels are forced by OPENBLAS_CORETYPE: Prescott (SSE3) is what OpenBLAS takes on a processor newer
than itself; those that this processor cannot run are left out. One process at a time, on an idle machine.
"""

import argparse
import csv
import os
import re
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tables import publish, read_csv

from nearsight.files import write_whole
from nearsight.grids.plane_waves import fft_shape
from nearsight.reference.espresso.blas import KERNELS, processor_flags
from nearsight.reference.espresso.collect import collect_snapshot
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.ldos import run_ldos
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.structures.io import read_structure
from nearsight.study.reading import load_study
from nearsight.units import RYDBERG_eV

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("step", "kernels", "processor_s", "energy_eV_per_atom")
STEPS = {
    "scf": "SCF, pw.x",
    "espresso": "LDOS and density by a non-SCF run of pw.x, pp.x, and reading its cube files",
    "one_pass": "LDOS and density in one pass over the SCF's wave functions, with all checks",
}


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("bench/results"), help="folder for the rows (bench/results)"
    )
    parser.add_argument("--work", type=Path, default=Path("bench/work-references"), help="a new folder for the runs")
    parser.add_argument("--trajectory", default="test64", help="whose first frame is taken (test64)")
    parser.add_argument("--page", type=Path, help="page whose table 'references' is replaced")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True)
    rows = list(measure(arguments.trajectory, arguments.work))
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "references.csv"
    with write_whole(target) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    lines = table(read_csv(target))
    print("\n".join(lines))
    if arguments.page:
        publish(arguments.page, "references", lines, target)


def measure(name: str, work: Path) -> Iterator[dict]:
    """A row for each step and kernel; the LDOS in one pass, which does not use QE's BLAS, comes last."""
    study = load_study(ROOT / "config/beryllium.yaml")
    trajectory = study.trajectories[name]
    atoms = read_structure(ROOT / (trajectory.file if "@" in trajectory.file else f"{trajectory.file}@0"))
    grid = fft_shape(atoms.cell.array, study.dft.ecutrho_Ry)
    dft = study.dft_of(study.structure_of(name))
    temperature_K = trajectory.temperature_K
    pseudopotentials = {"Be": generate_pseudopotential(ROOT / "config/pseudo/Be.pbe-rrkjus.in", "Be", work / "Be.upf")}
    for kernel in list_kernels():
        os.environ["OPENBLAS_CORETYPE"] = kernel
        scf, text, cubes = (work / f"{kernel}{end}" for end in ("-scf", "-scf.out", "-cubes"))
        with processor_time() as spent:
            run_scf(atoms, grid, pseudopotentials, dft, temperature_K, Launch(), scf, text)
        yield {
            "step": "scf",
            "kernels": kernel,
            "processor_s": spent[0],
            "energy_eV_per_atom": total_energy(text, len(atoms)),
        }
        with processor_time() as spent:
            run_ldos(atoms, grid, pseudopotentials, scf, dft, study.ldos, Launch(), cubes)
            collect_snapshot(atoms, grid, scf, text, pseudopotentials, study.ldos, temperature_K, cubes)
        yield {"step": "espresso", "kernels": kernel, "processor_s": spent[0]}
    with processor_time() as spent:
        collect_snapshot(atoms, grid, scf, text, pseudopotentials, study.ldos, temperature_K)
    yield {"step": "one_pass", "processor_s": spent[0]}


def list_kernels() -> list[str]:
    """OPENBLAS_CORETYPE of the kernels to compare, slowest first: SSE3, and all that this processor can run."""
    flags = processor_flags()
    return ["Prescott", *(kernel for _, kernel, needed in reversed(KERNELS) if needed <= flags)]


@contextmanager
def processor_time() -> Iterator[list[float]]:
    """A list that has the processor time in s of this process and of those that it waited for, after the block."""
    spent: list[float] = []
    before = _times()
    yield spent
    spent.append(round(_times() - before, 1))


def _times() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def total_energy(text: Path, atoms: int) -> str:
    """pw.x's total energy in eV/atom, with all digits that it prints."""
    value = re.findall(r"^!\s+total energy\s+=\s+(\S+) Ry", text.read_text(encoding="utf-8"), re.MULTILINE)[-1]
    return f"{float(value) * RYDBERG_eV / atoms:.9f}"


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    lines = [
        "| step | kernels | processor s | energy (eV/atom) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        energy = f"{row['energy_eV_per_atom']:.9f}" if row["energy_eV_per_atom"] else ""
        kernels = row["kernels"] or ""
        lines.append(f"| {STEPS[row['step']]} | {kernels} | {row['processor_s']:.0f} | {energy} |")
    return lines


if __name__ == "__main__":
    main()

"""What a reference costs: SCF and LDOS of one 64-atom snapshot, with old and new BLAS kernels, by pp.x and in one pass.

    python bench/references.py --page docs/performance.md

A held-out snapshot of config/beryllium.yaml at the settings of that study; processor time, with that of the programs
that a step starts. Kernels are forced by OPENBLAS_CORETYPE: Prescott (SSE3) is what OpenBLAS takes on a processor newer
than itself; those that this processor cannot run are left out. One process at a time, on an idle machine.
"""

import argparse
import os
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tables import report

from nearsight.grids.plane_waves import fft_shape
from nearsight.reference.espresso.blas import KERNELS, processor_flags
from nearsight.reference.espresso.collect import collect_snapshot
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.ldos import run_ldos
from nearsight.reference.espresso.outputs import read_electronic_structure, xml_of
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.structures.builders import build_structure
from nearsight.structures.io import take_frames
from nearsight.study.reading import load_study

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "scf": "SCF, pw.x",
    "espresso": "LDOS and density by a non-SCF run of pw.x, pp.x, and reading its cube files",
    "one_pass": "LDOS and density in one pass over the SCF's wave functions, with all checks",
}


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the rows")
    parser.add_argument("--trajectory", default="test64", help="whose first frame is taken (test64)")
    parser.add_argument("--page", type=Path, help="page whose table 'references' is replaced")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        rows = measure(arguments.trajectory, Path(work))
        report(rows, table, arguments.output / "references.csv", arguments.page, "references")


def measure(name: str, work: Path) -> Iterator[dict]:
    """A row for each step and kernel; the LDOS in one pass, which does not use QE's BLAS, comes last."""
    study = load_study(ROOT / "config/beryllium.yaml")
    trajectory, cell = study.trajectories[name], study.structure_of(name)
    (atoms,) = take_frames(ROOT / trajectory.file, build_structure(study.structures[cell]), 1)
    grid = fft_shape(atoms.cell.array, study.dft.ecutrho_Ry)
    dft, ldos, temperature_K = study.dft_of(cell), study.ldos, trajectory.temperature_K
    deck = ROOT / study.pseudopotentials["Be"].ld1_input
    pseudopotentials = {"Be": generate_pseudopotential(deck, "Be", work / "Be.upf")}

    for kernel in list_kernels():
        os.environ["OPENBLAS_CORETYPE"] = kernel
        scf, text, cubes = (work / f"{kernel}{end}" for end in ("-scf", "-scf.out", "-cubes"))
        run = (atoms, grid, pseudopotentials)
        collect = (atoms, grid, scf, text, pseudopotentials, ldos, temperature_K)
        spent = processor_seconds(run_scf, *run, dft, temperature_K, Launch(), scf, text)
        energy = read_electronic_structure(xml_of(scf)).energies["total_free_energy"] / len(atoms)
        yield {"step": "scf", "kernels": kernel, "processor_s": spent, "energy_eV_per_atom": f"{energy:.9f}"}
        spent = processor_seconds(run_ldos, *run, scf, dft, ldos, Launch(), cubes)
        spent += processor_seconds(collect_snapshot, *collect, cubes)
        yield {"step": "espresso", "kernels": kernel, "processor_s": spent}
    yield {"step": "one_pass", "processor_s": processor_seconds(collect_snapshot, *collect)}


def list_kernels() -> list[str]:
    """OPENBLAS_CORETYPE of the kernels to compare, slowest first: SSE3, and all that this processor can run."""
    flags = processor_flags()
    return ["Prescott", *(kernel for _, kernel, needed in reversed(KERNELS) if needed <= flags)]


def processor_seconds(step: Callable, *arguments: object) -> float:
    """Processor time in s of a call: that of this process and of the processes that it waits for."""

    def used() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in both)

    before = used()
    step(*arguments)
    return round(used() - before, 1)


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV; last what a snapshot costs as it was, and as it is."""
    lines = [
        "| step | kernels | processor s | energy (eV/atom) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        energy = f"{row['energy_eV_per_atom']:.9f}" if row["energy_eV_per_atom"] else ""
        kernels = row["kernels"] or ""
        lines.append(f"| {STEPS[row['step']]} | {kernels} | {row['processor_s']:.1f} | {energy} |")
    seconds = {(row["step"], row["kernels"]): row["processor_s"] for row in rows}
    kernels = [kernels for step, kernels in seconds if step == "scf"]
    old, new, one_pass = kernels[0], kernels[-1], seconds["one_pass", None]
    for what, kernel, further in (
        ("by pp.x", old, seconds["espresso", old]),
        ("by pp.x", new, seconds["espresso", new]),
        ("in one pass", new, one_pass),
    ):
        lines.append(f"| *a snapshot, LDOS {what}* | {kernel} | {seconds['scf', kernel] + further:.0f} | |")
    return lines


if __name__ == "__main__":
    main()

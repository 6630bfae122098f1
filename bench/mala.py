"""The cost of a grid point: Nearsight's prediction and MALA's method as published, on one core, in one run.

MALA's: descriptors by LAMMPS (compute sna/grid), standardisation, the network 91-800-800-800-250-250 in float32 on the
whole grid, the LDOS kept, then the integrals of density and DOS (Fiedler et al. 2023). Ours: the
native kernel and the streamed network, the same one and 91-256-256-250. CPU time, median of the repetitions.

For comparison the SCF of pw.x, once, with the BLAS kernels that the reference jobs choose for it: of eight atoms, which
favours it, since its time per point grows with the number of atoms.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from tables import report

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region
from nearsight.inference.network import fold_network
from nearsight.inference.predict import prepare_predictor
from nearsight.ldos import EnergyGrid, fermi_weights
from nearsight.model.bundle import ModelBundle
from nearsight.model.domain import measure_domain
from nearsight.model.network import build_network
from nearsight.model.scaling import Scaling
from nearsight.reference.espresso.blas import describe_kernels
from nearsight.reference.espresso.ld1 import generate_pseudopotential
from nearsight.reference.espresso.programs import Launch
from nearsight.reference.espresso.scf import run_scf
from nearsight.reference.espresso.times import read_run_time
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.study.sections import Dft, Perceptron

MALA, TOGETHER = "MALA's method", "together"
PUBLISHED = (800, 800, 800, 250)
SMALL = (256, 256)
ENERGIES = 250
POINTS_PER_ATOM = 4320
DESCRIPTORS = {"kind": "bispectrum", "twojmax": 10, "cutoff_A": 4.67637}

#: Of the SCF: those of the quickstart, 108 k-points of the eight atoms.
DFT = Dft(ecutwfc_Ry=30.0, ecutrho_Ry=120.0, kpoints=[6, 6, 6], kpoints_shift=[1, 1, 1], bands_per_occupied=2.375)


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder for the table")
    parser.add_argument("--page", type=Path, help="page whose table 'mala' is replaced, such as docs/performance.md")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    atoms = hcp_orthorhombic("Be", 1.896, 1.5797).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    shape = (40, 36, 24)  # POINTS_PER_ATOM of eight atoms
    whole = Region.whole(shape)
    rows = bispectrum(atoms, shape, **DESCRIPTORS).reshape(-1, 91)
    models = {hidden: make_model(rows, hidden) for hidden in (PUBLISHED, SMALL)}
    grid = models[SMALL].energy_grid
    weights = fermi_weights(grid, 3.0, 298.0, 0.2)
    projection = np.stack([weights.count, weights.count_slope, weights.count_curvature], axis=1)

    results = []
    points = len(rows)
    stages = {
        "LAMMPS descriptors": lambda: bispectrum(atoms, shape, backend="lammps", **DESCRIPTORS),
        "network 91-800-800-800-250-250, LDOS kept": lambda: keep_ldos(models[PUBLISHED], rows, weights.count),
    }
    spent = {name: cpu_seconds(stage, arguments.repeat) / points * 1e6 for name, stage in stages.items()}
    published = sum(spent.values())
    results += [(MALA, name, cost) for name, cost in spent.items()]
    results.append((MALA, TOGETHER, published))
    for hidden, label in ((PUBLISHED, "91-800-800-800-250-250"), (SMALL, "91-256-256-250")):
        ready = prepare_predictor(
            models[hidden], atoms, RealGrid(atoms.cell, shape), backend="native", precision="float32", threads=1
        )
        cost = cpu_seconds(lambda ready=ready: ready.predict(whole, projection), arguments.repeat) / points * 1e6
        alone = cpu_seconds(
            lambda hidden=hidden: fold_network(models[hidden], "float32").reduce(rows.astype(np.float32), projection),
            arguments.repeat,
        )
        results.append(("Nearsight", f"network {label}, streamed", alone / points * 1e6))
        results.append(("Nearsight", f"together, {label}", cost))
    stage, cost = scf_cost(atoms, shape)
    results.append(("Quantum ESPRESSO", stage, cost))
    columns = ("method", "stage", "cpu_us_per_point")
    rows = (dict(zip(columns, (*row[:2], f"{row[2]:.4g}"), strict=True)) for row in results)
    report(rows, table, arguments.output / "mala.csv", arguments.page, "mala")


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of the table, from the rows of the CSV."""
    (published,) = (row["cpu_us_per_point"] for row in rows if (row["method"], row["stage"]) == (MALA, TOGETHER))
    lines = ["| method | stage | µs per point and core | ms per atom | MALA's method / this |", "|---|---|---|---|---|"]
    for row in rows:
        cost = row["cpu_us_per_point"]
        per_atom = 1e-3 * cost * POINTS_PER_ATOM
        lines.append(f"| {row['method']} | {row['stage']} | {cost:.2f} | {per_atom:.1f} | {published / cost:.3g} |")
    return lines


def scf_cost(atoms: Atoms, shape: tuple[int, int, int]) -> tuple[str, float]:
    """What was run, with its BLAS kernels, and the processor time of pw.x's SCF in µs per point of the grid."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = Path(__file__).resolve().parents[1] / "config/pseudo/Be.pbe-rrkjus.in"
        pseudopotentials = {"Be": generate_pseudopotential(source, "Be", folder / "Be.upf")}
        run_scf(atoms, shape, pseudopotentials, DFT, 298.0, Launch(), folder / "scf", folder / "scf.out")
        time = read_run_time(folder / "scf.out")
    label = f"SCF, {time.atoms} atoms, {time.kpoints} k-points, {describe_kernels('pw.x')}"
    return label, 1e6 * time.cpu_s / np.prod(shape)


def keep_ldos(model: ModelBundle, rows: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The LDOS of all rows, then density and DOS from it."""
    scaled = torch.from_numpy(model.descriptor_scaling.apply(rows))
    with torch.inference_mode():
        outputs = [model.network(part) for part in scaled.split(1000)]
    ldos = model.ldos_scaling.invert(torch.cat(outputs).numpy())
    return ldos @ count, ldos.sum(axis=0, dtype=np.float64)


def cpu_seconds(function, repeat: int) -> float:
    """Median CPU time of a call."""
    function()
    times = []
    for _ in range(repeat):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return float(np.median(times))


def make_model(rows: np.ndarray, hidden: tuple[int, ...]) -> ModelBundle:
    """An untrained model: the cost depends on the shapes alone."""
    grid = EnergyGrid(-5.0, 0.064, ENERGIES)
    network = Perceptron(hidden=list(hidden))
    rdf = np.linspace(0, 1, 8)
    return ModelBundle(
        network=build_network(network, rows.shape[1], ENERGIES, seed=1),
        network_settings=network,
        descriptor_scaling=Scaling(rows.mean(axis=0), rows.std(axis=0)),
        ldos_scaling=Scaling(np.full(ENERGIES, 0.1), np.full(ENERGIES, 0.1)),
        descriptor_settings=DESCRIPTORS,
        energy_grid=grid,
        broadening_eV=0.2,
        temperature_K=298.0,
        elements=["Be"],
        electrons_per_element={"Be": 2.0},
        pseudopotentials={"Be": ""},
        ecutrho_Ry=160.0,
        domain=measure_domain(rows[:1000], rows[1000:2000], rdf[None], rdf[None] + 0.1, 4.0, 0),
        training={},
        provenance={},
    )


if __name__ == "__main__":
    main()

"""Small results of a study whose physics is known, for the figures of the paper: made up, written as the jobs write."""

import json
from pathlib import Path

import ase.io
import numpy as np
from model_files import make_random_model

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.model.bundle import save_bundle
from nearsight.structures.builders import hcp_orthorhombic
from nearsight.structures.large import add_stacking_fault, layers_of

SETTINGS = {
    "study": "toy",
    "elements": ["Be"],
    "ecutwfc_Ry": 30.0,
    "ecutrho_Ry": 120.0,
    "kpoints": [8, 4, 6],
    "kpoints_shift": [1, 1, 1],
    "temperatures_K": [298.0, 900.0],
    "energy_min_eV": -5.0,
    "energy_max_eV": 11.0,
    "spacing_eV": 0.2,
    "broadening_eV": 0.4,
    "descriptors": "kind bispectrum, twojmax 10, cutoff_A 4.67637",
    "network": "kind perceptron, hidden [256, 256]",
    "train": 2,
    "validation": 1,
    "test": 5,
}

#: What each of the two faults of a cell costs, and an atom of the crystal.
FAULT_mJ_PER_m2 = 500.0
ATOM_eV = -36.5

SCF_TEXT = """
     Parallel version (MPI), running on     {ranks} processors
     number of atoms/cell      =           {atoms}
     number of k points=     {kpoints}  Fermi-Dirac smearing, width (Ry)=  0.0019
     convergence has been achieved in  18 iterations
     calbec       :     33.19s CPU     34.56s WALL (     721 calls)
     PWSCF        :   {minutes}m {seconds:.2f}s CPU   3m24.97s WALL
"""


def crystal(repeat, seed=0, deviation_A=0.06):
    """hcp beryllium with atoms displaced on their own."""
    unit = hcp_orthorhombic("Be", 1.896, 1.5797)
    atoms = unit.repeat(repeat)
    atoms.rattle(deviation_A, seed=seed)
    return atoms, layers_of(unit)


def cube_pair(k, seed=3):
    """256 k³ atoms of which every 256 are alike, without and with three shifted layers in the middle."""
    block, layers = crystal((4, 4, 4), seed)
    atoms = block.repeat((k, k, k))
    return atoms, add_stacking_fault(atoms, *layers, 4 * k - 1)


def density_of(atoms, shape):
    """Gaussians at the nuclei of orthogonal cells, on a grid, with the ions' two electrons each; 1/Å³."""
    grid = np.zeros(shape)
    edges = np.asarray(atoms.cell).diagonal()
    waves = [2 * np.pi * np.fft.fftfreq(n, edge / n) for n, edge in zip(shape, edges, strict=True)]
    axes = [np.exp(-1j * np.outer(atoms.positions[:, i], wave)) for i, wave in enumerate(waves)]
    factor = np.einsum("ai,aj,ak->ijk", *axes, optimize=True)
    square = sum(np.meshgrid(*[wave**2 for wave in waves], indexing="ij"))
    grid = np.fft.ifftn(2 * factor * np.exp(-square * 0.55**2 / 2)).real * np.prod(shape) / atoms.get_volume()
    return grid + 0.02


def write_pair(folder: Path, without: str, with_fault: str, pair, shape=None):
    """Structures, energies and, with a shape, densities of a pair; energies of the faults' area."""
    area = pair[0].cell[0, 0] * pair[0].cell[1, 1]
    fault_eV = 2 * area * FAULT_mJ_PER_m2 / 16021.76634
    files = {"structures": [], "energies": [], "densities": []}
    for name, atoms, extra in ((without, pair[0], 0.0), (with_fault, pair[1], fault_eV)):
        ase.io.write(folder / f"{name}.extxyz", atoms)
        record = {"atoms": len(atoms), "energies_eV": {"total": ATOM_eV * len(atoms) + extra}}
        (folder / f"{name}.json").write_text(json.dumps(record))
        files["structures"].append(f"{name}={folder / f'{name}.extxyz'}")
        files["energies"].append(f"{name}={folder / f'{name}.json'}")
        if shape is not None:
            variables = {**variables_of_atoms(atoms), "density": density_of(atoms, shape)}
            write_dataset(folder / f"{name}.h5", variables, {}, {})
            files["densities"].append(f"{name}={folder / f'{name}.h5'}")
    return files


def fault_arguments(folder: Path, sizes=(1, 2), points_per_A=1.8):
    """Command line of prepare_stacking_fault but for its outputs: cubes by prediction, the smallest by DFT too."""
    words = {"structures": [], "energies": [], "densities": []}
    pairs = {}
    for k in sizes:
        pair = cube_pair(k)
        shape = tuple(round(points_per_A * edge) for edge in pair[0].cell.lengths()) if k == sizes[-1] else None
        for option, values in write_pair(folder, f"cube{k}", f"fault{k}", pair, shape).items():
            words[option] += values
        pairs[f"cube{k}"] = f"fault{k}"
    block, layers = crystal((2, 2, 3), 5)
    small = (block, add_stacking_fault(block, *layers, 1))
    references = []
    for option, values in write_pair(folder, "small-0", "fault-0", small).items():
        words[option] += values
    for name, atoms, extra in (("small-0", small[0], 0.0), ("fault-0", small[1], 2.1)):
        variables = {**variables_of_atoms(atoms), "total_free_energy": ATOM_eV * len(atoms) + extra}
        write_dataset(folder / f"{name}-dft.h5", variables, {}, {})
        references.append(f"{name}={folder / f'{name}-dft.h5'}")
    pairs = {"small-0": "fault-0", **pairs}
    return [
        *("--pairs", json.dumps(pairs), "--structures", *words["structures"], "--energies", *words["energies"]),
        *("--references", *references, "--densities", *words["densities"], "--literature", '{"made up": 510.0}'),
        *("--settings", json.dumps(SETTINGS)),
    ]


def cell_of(**changes):
    """What the workflow says of a cell."""
    usual = {
        "role": "test",
        "imported": False,
        "temperature_K": 298.0,
        "usual_temperature_K": 298.0,
        "strain_percent": 0.0,
    }
    return {**usual, "vacancies": 0, "fault": False, **changes}


#: Held-out cells: repeat and what the workflow says of them.
CELLS = {
    "a-0": ((4, 2, 2), cell_of()),
    "a-1": ((4, 2, 2), cell_of()),
    "a-2": ((4, 2, 2), cell_of()),
    "b-0": ((4, 4, 2), cell_of()),
    "b-1": ((4, 4, 2), cell_of()),
    "hot-0": ((4, 2, 2), cell_of(temperature_K=900.0)),
    "hot-1": ((4, 2, 2), cell_of(temperature_K=900.0)),
    "wide-0": ((4, 2, 2), cell_of(strain_percent=2.0)),
    "hole-0": ((4, 2, 2), cell_of(vacancies=1)),
    "fault-0": ((2, 2, 3), cell_of(fault=True)),
}


def held_out_cells(folder: Path):
    """Structures of CELLS by name, written to files; hotter ones are more displaced."""
    structures = {}
    for number, (name, (repeat, cell)) in enumerate(CELLS.items()):
        deviation = 0.06 * np.sqrt(cell["temperature_K"] / 298.0)
        atoms, layers = crystal(repeat, 11 + number, deviation)
        atoms.set_cell(atoms.cell * (1 + cell["strain_percent"] / 100), scale_atoms=True)
        if cell["fault"]:
            atoms = add_stacking_fault(atoms, *layers, 1)
        del atoms[list(range(cell["vacancies"]))]
        ase.io.write(folder / f"{name}.extxyz", atoms)
        structures[name] = atoms
    return structures


def evaluation_of(name, atoms, dft_eV, error_meV_per_atom, density_percent):
    """A record of evaluate_prediction, as far as the figures read it."""
    prediction = dft_eV + 1e-3 * error_meV_per_atom * atoms
    return {
        "name": name,
        "role": "test",
        "atoms": atoms,
        "fields": {
            "network": {"density_mape_percent": density_percent},
            "mean_ldos": {"density_mape_percent": 9.0},
        },
        "total_free_energy_eV": {"dft": dft_eV, "prediction": prediction},
        "total_free_energy_error_meV_per_atom": {"total": error_meV_per_atom, "method": 0.8, "mean_energy": 13.0},
    }


def accuracy_arguments(folder: Path, energy_of, errors=(1.5, -0.8, 2.2, 0.7, -1.1, 6.0, 4.0, 3.0, -5.0, 8.0)):
    """Command line of prepare_accuracy but for its outputs; energy_of(atoms): DFT's energy in eV."""
    evaluations, structures = [], []
    for (name, atoms), error in zip(held_out_cells(folder).items(), errors, strict=True):
        record = evaluation_of(name, len(atoms), energy_of(atoms), error, 0.3 + abs(error) / 10)
        (folder / f"evaluation-{name}.json").write_text(json.dumps(record))
        evaluations.append(f"{name}={folder / f'evaluation-{name}.json'}")
        structures.append(f"{name}={folder / f'{name}.extxyz'}")
    cells = {name: cell for name, (_, cell) in CELLS.items()}
    return [
        *("--cells", json.dumps(cells), "--evaluations", *evaluations, "--structures", *structures),
        *("--potentials", '{"SNAP (Wood 2019)": []}', "--settings", json.dumps(SETTINGS)),
    ]


def cost_arguments(folder: Path, repository: Path, sizes=(32, 64, 128, 256)):
    """Command line of prepare_cost but for its outputs: Quantum ESPRESSO as N² with noise, predictions as N."""
    scf, energies = [], []
    benchmarks = folder / "benchmarks"
    for number, atoms in enumerate(sizes):
        for copy in range(2):
            seconds = 0.05 * atoms**2 * (1 + 0.1 * (-1) ** copy)
            text = SCF_TEXT.format(
                ranks=1, atoms=atoms, kpoints=max(768 // atoms, 2), minutes=int(seconds // 60), seconds=seconds % 60
            )  # fmt: skip
            path = folder / f"scf-{number}-{copy}.out"
            path.write_text(text)
            scf.append(f"s{number}-{copy}={path}")
    for atoms in (64, 128, 256, 2048, 6912, 16384):
        name = f"p{atoms}"
        (folder / f"{name}.json").write_text(json.dumps({"atoms": atoms}))
        energies.append(f"{name}={folder / f'{name}.json'}")
        for rule, file, share in (
            ("plan_tiles", f"{name}.tsv", 0.05),
            ("predict_tiles", f"{name}-0.tsv", 0.4),
            ("predict_tiles", f"{name}-1.tsv", 0.4),
            ("gather_prediction", f"{name}.tsv", 0.05),
            ("compute_energies", f"prediction-{name}.tsv", 0.1),
        ):
            (benchmarks / rule).mkdir(parents=True, exist_ok=True)
            seconds = 2.0 + share * 0.02 * atoms
            (benchmarks / rule / file).write_text(f"s\th:m:s\tcpu_time\n{seconds + 1}\t0\t{seconds}\n")
    rules = [repository / f"rules/{name}.smk" for name in ("reference", "descriptors", "training", "inference")]
    rules += [repository / f"rules/{name}.smk" for name in ("energies", "figures")]
    return [
        *("--scf", *scf, "--energies", *energies, "--benchmarks", benchmarks, "--batches", 2),
        *("--measured", repository / "docs/performance-prediction.csv", "--snakefile", repository / "Snakefile"),
        *("--rules", *rules, "--study-file", "config/quickstart.yaml", "--settings", json.dumps(SETTINGS)),
    ]


def similarity_arguments(folder: Path):
    """Command line of prepare_similarity but for its outputs: two training cells beside the held-out ones."""
    structures = held_out_cells(folder)
    cells = {name: cell for name, (_, cell) in CELLS.items()}
    for number in range(2):
        name = f"t-{number}"
        structures[name] = crystal((4, 2, 2), 50 + number)[0]
        ase.io.write(folder / f"{name}.extxyz", structures[name])
        cells[name] = cell_of(role="train")
    plans = []
    for number, name in enumerate(structures):
        scores = {"descriptor_score": 0.9 + 0.3 * (number % 5), "rdf_score": 1.1 + 0.2 * (number % 4)}
        (folder / f"plan-{name}.json").write_text(json.dumps(scores))
        plans.append(f"{name}={folder / f'plan-{name}.json'}")
    settings = {"twojmax": 2, "cutoff_A": 4.67637}
    small = hcp_orthorhombic("Be", 1.896, 1.5797)
    model = make_random_model(bispectrum(small, (4, 6, 6), **settings), settings)
    save_bundle(model, folder / "model.json", folder / "model.safetensors")
    return [
        *("--cells", json.dumps(cells)),
        *("--structures", *(f"{name}={folder / f'{name}.extxyz'}" for name in structures)),
        *("--plans", *plans, "--model", folder / "model.json", "--weights", folder / "model.safetensors"),
        *("--settings", json.dumps(SETTINGS)),
    ]

"""Made-up fields with all that the energies need, for tests without Quantum ESPRESSO."""

from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.grids.plane_waves import fft_shape
from nearsight.ldos import EnergyGrid, density_from_ldos, dos_from_ldos, fermi_weights, integrate_dos

ECUTRHO_Ry = 40.0
GRID = EnergyGrid(-8.0, 0.2, 81)
CONDITIONS = {"temperature_K": 3000.0, "broadening_eV": 0.4}


def two_atoms() -> Atoms:
    """Two atoms in a triclinic cell."""
    return Atoms(
        "Be2", cell=[[2.2, 0, 0], [-1.1, 1.9, 0], [0, 0.1, 3.6]], positions=[[0, 0, 0], [0, 1.2, 1.8]], pbc=True
    )


def write_upf(path: Path, element: str = "Be", valence: float = 2.0, core: bool = True) -> Path:
    """A pseudopotential's header, mesh and core charge exp(-(r/0.5)²)."""
    r = 1e-3 * np.exp(0.0125 * np.arange(801))
    columns = {"PP_R": r, "PP_RAB": 0.0125 * r}
    if core:
        columns["PP_NLCC"] = np.exp(-((r / 0.5) ** 2))
    body = "".join(f"<{tag}>{' '.join(map(str, values.tolist()))}</{tag}>\n" for tag, values in columns.items())
    corrected = str(core).lower()
    header = f'<PP_HEADER element="{element}" z_valence="{valence}" core_correction="{corrected}" functional="PBE"/>'
    path.write_text(f"<UPF>{header}\n{body}</UPF>")
    return path


def write_study(folder: Path, atoms: Atoms, ecutrho_Ry: float = ECUTRHO_Ry) -> None:
    """An LDOS as snapshot.h5, the same as prediction.h5 and batch-0.h5, and Be.upf."""
    write_upf(folder / "Be.upf")
    shape = fft_shape(atoms.cell.array, ecutrho_Ry)
    wave = 1 + 0.3 * np.cos(2 * np.pi * np.arange(shape[2]) / shape[2])
    spectrum = 0.04 * np.sqrt(np.maximum(GRID.energies_eV + 6, 0))
    ldos = (np.ones(shape)[..., None] * wave[:, None] * spectrum).astype(np.float32)
    dos = dos_from_ldos(ldos, atoms.get_volume() / np.prod(shape))
    electrons = 2.0 * len(atoms)
    found = integrate_dos(dos, GRID, electrons, **CONDITIONS)
    density = density_from_ldos(ldos, fermi_weights(GRID, found.fermi_energy_eV, **CONDITIONS))
    common = {**variables_of_atoms(atoms), "energy": GRID.energies_eV, "dos": dos, "density": density}
    common |= {
        "electrons": electrons,
        "fermi_energy": found.fermi_energy_eV,
        "band_energy": found.band_energy_eV,
        "entropy_energy": found.entropy_energy_eV,
    }
    write_dataset(folder / "prediction.h5", common, {**CONDITIONS, "electrons": electrons}, {})
    region = [(0, n) for n in shape]
    write_dataset(folder / "batch-0.h5", {"ldos": ldos}, {"region": region}, {})
    settings = {
        "temperature_K": CONDITIONS["temperature_K"],
        "ldos": {"broadening_eV": CONDITIONS["broadening_eV"]},
        "dft": {"conv_thr_Ry": 1e-9},
    }
    # levels of this DOS: where its integral has passed the next of 2000 equal parts
    integral = np.cumsum(dos) * GRID.spacing_eV
    levels = np.interp((np.arange(2000) + 0.5) / 2000 * integral[-1], integral, GRID.energies_eV)
    common["ldos_eigenvalues"] = levels.reshape(10, 200).T
    common["kpoint_weights"] = np.full(200, integral[-1] / 2000)
    write_dataset(folder / "snapshot.h5", {**common, "ldos": ldos, "total_free_energy": -73.0}, settings, {})

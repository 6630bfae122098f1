"""The bispectrum as a descriptor, with any of its backends."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.descriptors.bispectrum import Settings
from nearsight.descriptors.bispectrum.components import identity_component, number_of_components
from nearsight.descriptors.interface import Descriptor, describe, make_descriptor
from nearsight.errors import NearsightError
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

#: Backend -> the module that has it; a backend is chosen by the user and never guessed.
BACKENDS = {"native": "kernel", "lammps": "lammps", "torch": "autograd"}

#: Largest relative deviation of component 0 from its closed form.
TOLERANCES = {"float32": 5e-5, "float64": 1e-9}


@dataclass(frozen=True)
class BispectrumDescriptor(Descriptor):
    """The bispectrum of the neighbours' density, with the section's settings."""

    settings: Settings
    elements: tuple[str, ...]

    @property
    def components(self) -> int:
        """91 with twojmax = 10; in the chemical variant, as many for every triple of elements."""
        return number_of_components(self.settings.twojmax) * (len(self.elements) ** 3 if self.settings.chemical else 1)

    @property
    def cutoff_A(self) -> float:
        """Where the switching function reaches zero, Å."""
        return self.settings.cutoff_A

    @property
    def whole_grid(self) -> bool:
        """LAMMPS computes the whole grid."""
        return self.settings.backend == "lammps"

    def compute(self, atoms: Atoms, grid: RealGrid, region: Region, out: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """Fill `out`; the order of the components is that of `component_order`, once per triple if chemical."""
        if self.whole_grid:
            _, values = self._by_lammps(atoms, grid)
            out[...] = values[region.slices()]
            return out
        backend = importlib.import_module(f"{__package__}.{BACKENDS[self.settings.backend]}")
        return backend.bispectrum_region(atoms, grid, self.settings, region, out, threads=threads)

    def compute_share(
        self, atoms: Atoms, grid: RealGrid, dtype: np.dtype, comm: "Comm", *, threads: int = 1
    ) -> tuple[Region, np.ndarray]:
        """This rank's region; LAMMPS cuts the grid itself."""
        if not self.whole_grid:
            return super().compute_share(atoms, grid, dtype, comm, threads=threads)
        region, values = self._by_lammps(atoms, grid, comm)
        return region, values.astype(dtype, copy=False)

    def warnings(self, atoms: Atoms, grid: RealGrid) -> list[str]:
        """Atoms on grid points: the bispectrum jumps there."""
        scaled = atoms.get_scaled_positions() * grid.shape
        away = np.abs(scaled - np.round(scaled)) / grid.shape @ np.abs(grid.cell)
        touching = int((np.linalg.norm(away, axis=1) < 1e-10).sum())
        if touching == 0:
            return []
        return [
            f"{touching} atoms lie on a grid point within 1e-10 Å; the bispectrum there leaves the atom itself out, as "
            "LAMMPS defines it, and jumps. Shift the structure against the grid by a fraction of a step."
        ]

    def verify(self, atoms: Atoms, grid: RealGrid, region: Region, values: np.ndarray, points: int) -> None:
        """Component 0 has a closed form, (1 + Σ w fc)³."""
        super().verify(atoms, grid, region, values, points)
        if values.size == 0 or self.settings.chemical or min(self.settings.weights.values(), default=1.0) < 0:
            return  # no closed form, or none that is far from 0
        lengths = values.shape[:3]
        chosen = np.unravel_index(np.unique(np.linspace(0, np.prod(lengths) - 1, points).astype(int)), lengths)
        places = (np.stack(chosen, axis=1) + region.origin) / grid.shape @ grid.cell
        expected = identity_component(atoms, places, self.cutoff_A, self.settings.rmin0, self.settings.weights)
        deviation = (np.abs(values[(*chosen, 0)] - expected) / np.maximum(np.abs(expected), 1.0)).max()
        if not deviation < TOLERANCES[values.dtype.name]:
            raise NearsightError(
                f"descriptors: expected component 0 = (1 + Σ fc)³ at every point, got a deviation of {deviation:.1e}. "
                "Are two atoms in one place, is one within 1e-10 Å of a grid point, or is the backend's build faulty?"
            )

    def _by_lammps(self, atoms: Atoms, grid: RealGrid, comm: "Comm | None" = None):
        from nearsight.descriptors.bispectrum import lammps

        return lammps.bispectrum_share(atoms, grid.shape, self.settings, self.elements, comm)


def bispectrum(
    atoms: Atoms,
    shape: tuple[int, int, int],
    *,
    precision: str = "float64",
    region: Region | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
    **settings,
) -> np.ndarray:
    """Bispectrum of the atoms around every point of a grid, shape (*shape, components), or of a region of it.

    settings: backend, twojmax, cutoff_A and the other keys of the section `descriptors` (config/README.md). The other
    arguments and the errors are those of `descriptors.interface.describe`.
    """
    descriptor = make_descriptor(settings, set(atoms.symbols), kind="bispectrum")
    return describe(descriptor, atoms, shape, precision=precision, region=region, threads=threads, out=out)

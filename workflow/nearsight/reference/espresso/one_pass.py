"""The local density of states from the SCF's own wave functions, each read and transformed once.

    d(ε, r) = Σ_nk w_k g(ε - e_nk) [|ψ_nk(r)|² + Σ_ij Q_ij(r - R) <β_i|ψ_nk><ψ_nk|β_j>]

pp.x (plot_num = 3) goes over all states again for every energy; here a batch of states takes one matrix product,
points × states times states × energies. The augmentation is linear in the matrices <β_i|ψ><ψ|β_j>, so these (a few
numbers per atom) are broadened first and multiplied by Q_ij once per energy, in reciprocal space as in QE.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import scipy.fft
from scipy.linalg.blas import sgemm

from nearsight import units
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.jobs import show_progress
from nearsight.reference.espresso.augmentation import Augmentation, read_augmentation
from nearsight.reference.espresso.outputs import ElectronicStructure, read_electronic_structure, xml_of
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.espresso.wavefunctions import open_wavefunctions
from nearsight.reference.pseudopotential import Pseudopotential, select_pseudopotentials

logger = logging.getLogger("nearsight")

#: g(x, s) in 1/eV: the kernel of width s at distances x, both in eV, with ∫ g dx = 1.
Kernel = Callable[[np.ndarray, float], np.ndarray]


def gaussian(distance_eV: np.ndarray, width_eV: float) -> np.ndarray:
    """exp(-(x/s)²)/(s√π), Quantum ESPRESSO's Gaussian of width degauss_ldos."""
    return np.exp(-np.square(distance_eV / width_eV)) / (width_eV * np.sqrt(np.pi))


#: Memory for the states of a batch and their projections, besides the LDOS itself.
WORK_BYTES = 256 << 20

#: Largest ∫|n - n_SCF| per electron, n = Σ f |ψ|²: rounding gives 1e-6, another snapshot's wave functions a few %.
DENSITY_TOLERANCE = 1e-4


#: Plane waves of the density whose augmentation is summed at once.
WAVES_AT_ONCE = 4096


@dataclass(frozen=True)
class _Element:
    """The atoms of an element with augmentation charges.

    positions: fractional, shape (atoms, 3); reciprocal: lattice vectors as rows, 1/bohr; volume: of the cell, bohr³.
    """

    augmentation: Augmentation
    positions: np.ndarray
    reciprocal: np.ndarray
    volume: float


def compute_ldos(
    scf: str | Path,
    pseudopotentials: Mapping[str, Pseudopotential],
    energies: EnergyGrid,
    broadening_eV: float,
    kernel: Kernel = gaussian,
    work_bytes: int = WORK_BYTES,
) -> np.ndarray:
    """LDOS of an SCF's save folder, float32 of shape (nx, ny, nz, energies) in 1/(eV Å³), spin-summed.

    k-points reduced by time reversal are fine (|ψ_k| = |ψ_-k|), those by other symmetries are refused. The states must
    give the SCF's density. Raises InputError where files are missing, damaged or of another run.
    """
    run = read_electronic_structure(xml_of(scf))
    _require_whole_zone(run, xml_of(scf))
    waves = [open_wavefunctions(scf, run, index) for index in range(len(run.weights))]
    sums = _Sums(run, _augmented_elements(run, pseudopotentials), energies.count, work_bytes)
    for index, wave in enumerate(show_progress(waves, "LDOS", unit="k-point")):
        spread = kernel(energies.energies_eV - run.eigenvalues[index][:, None], broadening_eV)
        # one more column, of the occupations, gives the density
        factors = run.weights[index] * np.column_stack([spread, run.occupations[index]])
        batch = max(int(work_bytes / 2 / state_bytes(len(wave.miller), prod(run.grid))), 1)
        for start in range(0, wave.bands, batch):
            part = factors[start : start + batch]
            sums.add_states(wave.read(start, start + len(part)), wave.miller, run.kpoints[index], part)
    sums.add_augmentation()
    _check_density(sums.density.reshape(run.grid), run, scf)
    return sums.ldos.reshape(*run.grid, energies.count)


def state_bytes(waves: int, points: int) -> int:
    """Memory of a state in a batch: its coefficients, and |ψ|² in float32."""
    return 16 * waves + 4 * points


class _Sums:
    """Sums over states: LDOS (points, energies), density (points,), and of the elements with augmentation charges the
    matrices (atoms, energies + 1, pairs) of <ψ|β_i><β_j|ψ>, whose last column is of the occupations.

    work_bytes: for what is held at once besides these.
    """

    def __init__(self, run: ElectronicStructure, elements: list[_Element], energies: int, work_bytes: int) -> None:
        self.run, self.elements, self.work_bytes = run, elements, work_bytes
        self.ldos = np.zeros((prod(run.grid), energies), dtype=np.float32)
        self.density = np.zeros(prod(run.grid))
        self.matrices = [
            np.zeros((len(element.positions), energies + 1, len(element.augmentation.mixing))) for element in elements
        ]

    def add_states(self, coefficients: np.ndarray, miller: np.ndarray, kpoint: np.ndarray, factors: np.ndarray) -> None:
        """Add states of one k-point, (states, waves), each times its factors, (states, energies + 1)."""
        squares = squares_on_grid(coefficients, miller, self.run.grid)
        single = np.asarray(factors / self.run.atoms.get_volume(), dtype=np.float32)
        self.density += single[:, -1] @ squares
        # in place: ldos += squaresᵀ single
        spread = np.ascontiguousarray(single[:, :-1])
        sgemm(1.0, spread.T, squares.T, 1.0, self.ldos.T, trans_b=True, overwrite_c=True)
        for element, matrices in zip(self.elements, self.matrices, strict=True):
            self._add_projections(matrices, element, coefficients, miller + kpoint, factors)

    def _add_projections(
        self,
        matrices: np.ndarray,
        element: _Element,
        coefficients: np.ndarray,
        waves: np.ndarray,
        factors: np.ndarray,
    ) -> None:
        """Add Σ_n factor(n, column) Re <ψ_n|β_i><β_j|ψ_n>; waves: k+G in reciprocal lattice vectors, (waves, 3)."""
        at_origin = element.augmentation.transform_projectors(waves @ element.reciprocal, element.volume).conj()
        first, second = element.augmentation.pairs
        atoms = max(int(self.work_bytes / 4 / at_origin.nbytes), 1)
        for start in range(0, len(matrices), atoms):
            phases = np.exp(2j * np.pi * (element.positions[start : start + atoms] @ waves.T))
            projectors = (phases[:, None] * at_origin).reshape(-1, len(waves))
            found = (projectors @ coefficients.T).reshape(len(phases), len(at_origin), -1)
            products = (found[:, first].conj() * found[:, second]).real  # atoms, pairs, states
            matrices[start : start + atoms] += (products @ factors).swapaxes(1, 2)

    def add_augmentation(self) -> None:
        """Add Σ_a,ij Q_ij(r - R_a) times the matrices to LDOS and density, all plane waves of the density."""
        if not self.elements:
            return
        grid, columns = self.run.grid, self.ldos.shape[1] + 1
        whole = [np.rint(np.fft.fftfreq(n) * n).astype(int) for n in grid]
        waves = np.stack(np.meshgrid(*whole[:2], np.arange(grid[2] // 2 + 1), indexing="ij"), axis=-1)
        inside = np.square(waves @ self.elements[0].reciprocal).sum(axis=-1) <= self.run.ecutrho_Ry
        waves = waves[inside]
        step = max(int(self.work_bytes / 4 / (16 * len(waves))), 1)
        for start in range(0, columns, step):
            for column, values in enumerate(self._sum_charges(waves, slice(start, start + step)), start):
                coefficients = np.zeros(inside.shape, dtype=np.complex128)
                coefficients[inside] = values
                field = scipy.fft.irfftn(coefficients, grid, norm="forward", overwrite_x=True).ravel()
                target = self.ldos[:, column] if column < columns - 1 else self.density
                target += field

    def _sum_charges(self, waves: np.ndarray, columns: slice) -> np.ndarray:
        """Σ_a,c weight(a, column, c) Q_c(G) exp(-iG·R_a) of channels c, shape (columns, waves), in single precision."""
        weights = [
            (matrices[:, columns] @ element.augmentation.mixing).astype(np.float32)
            for element, matrices in zip(self.elements, self.matrices, strict=True)
        ]
        sums = np.zeros((weights[0].shape[1], len(waves)), dtype=np.complex128)
        for begin in range(0, len(waves), WAVES_AT_ONCE):
            part = slice(begin, begin + WAVES_AT_ONCE)
            for element, weight in zip(self.elements, weights, strict=True):
                charges = element.augmentation.transform_charges(waves[part] @ element.reciprocal, element.volume)
                charges = charges.astype(np.complex64)
                atoms = max(int(self.work_bytes / 4 / charges.nbytes), 1)
                for start in range(0, len(weight), atoms):
                    phases = np.exp(-2j * np.pi * (element.positions[start : start + atoms] @ waves[part].T))
                    moved = (phases.astype(np.complex64)[:, None] * charges).reshape(-1, charges.shape[1])
                    mixed = weight[start : start + atoms].swapaxes(0, 1).reshape(len(sums), -1)
                    sums[:, part] += (mixed @ moved.view(np.float32)).view(np.complex64)
        return sums


def squares_on_grid(coefficients: np.ndarray, miller: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Ω |ψ(r)|² of each row of coefficients, float32 of shape (states, points).

    |ψ| does not change when all Miller indices are shifted: from zero on, only a corner of the grid holds
    coefficients, and each axis is transformed before the next one is filled with zeros.
    """
    shifted = miller - miller.min(axis=0)
    corner = tuple(shifted.max(axis=0) + 1)
    squares = np.empty((len(coefficients), prod(grid)), dtype=np.float32)
    for square, row in zip(squares, coefficients, strict=True):
        box = np.zeros(corner, dtype=np.complex128)
        box[tuple(shifted.T)] = row
        for axis in (2, 1, 0):
            box = scipy.fft.ifft(box, grid[axis], axis, norm="forward", overwrite_x=True)
        square[:] = (box.real**2 + box.imag**2).ravel()
    return squares


def _require_whole_zone(run: ElectronicStructure, path: Path) -> None:
    """Raise InputError where the sum over states would not be the density on the grid."""
    if run.symmetries != 1:
        raise InputError(
            f"{path}: expected k-points that no symmetry but time reversal reduces, got those of {run.symmetries} "
            "symmetries. Run the SCF with nosym = .true., or choose ldos.backend: espresso."
        )
    if run.ecutrho_Ry < 4 * run.ecutwfc_Ry * (1 - 1e-9):
        raise InputError(
            f"{path}: expected ecutrho of at least 4 ecutwfc, which |ψ|² needs, got {run.ecutrho_Ry:g} and "
            f"{run.ecutwfc_Ry:g} Ry. Raise dft.ecutrho_Ry."
        )
    # the largest Miller index is at most |G| |a| / 2π; no more than a step beyond half of the grid
    reach = np.sqrt(run.ecutrho_Ry) * run.atoms.cell.lengths() / units.BOHR_A / (2 * np.pi)
    if (reach > np.array(run.grid) / 2 + 1).any():
        raise InputError(f"{path}: expected a grid that holds ecutrho = {run.ecutrho_Ry:g} Ry, got {run.grid}.")


def _augmented_elements(run: ElectronicStructure, pseudopotentials: Mapping[str, Pseudopotential]) -> list[_Element]:
    """The elements that have augmentation charges."""
    symbols, places = np.array(run.atoms.get_chemical_symbols()), run.atoms.get_scaled_positions(wrap=False)
    cell = run.atoms.cell.array / units.BOHR_A
    reciprocal, volume = 2 * np.pi * np.linalg.inv(cell).T, abs(np.linalg.det(cell))
    largest = np.sqrt(run.ecutrho_Ry)
    chosen = select_pseudopotentials(symbols, pseudopotentials)
    found = {name: read_augmentation(pseudopotential, largest) for name, pseudopotential in chosen.items()}
    return [_Element(a, places[symbols == name], reciprocal, volume) for name, a in found.items() if a is not None]


def _check_density(density: np.ndarray, run: ElectronicStructure, scf: str | Path) -> None:
    """Raise InputError unless Σ f |ψ|² with its augmentation is the SCF's density."""
    difference = np.abs(density - read_save_density(scf, run.grid)).mean() * run.atoms.get_volume() / run.electrons
    logger.info("density of the states: %.1e from the SCF's, per electron", difference)
    if not difference < DENSITY_TOLERANCE:
        raise InputError(
            f"{scf}: expected wave functions of the SCF's density, got those of one that differs by {difference:.1e} "
            "per electron. Are they another structure's, or made with other pseudopotentials? Run run_scf again."
        )

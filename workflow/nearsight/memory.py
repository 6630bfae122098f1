"""How much memory a job will take, from its structure and settings, and how much it may take: refused before it starts.

Each stage's function gives the largest resident memory of one process in bytes; the tests compare it with what was
measured. The estimate is meant to lie between 1 and 1.5 times that (docs/reliability.md).
"""

import logging
import math
import os
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nearsight import units
from nearsight.errors import InputError

logger = logging.getLogger("nearsight")

#: Python with the libraries of a stage, as measured: numpy, ASE, HDF5, MPI; all but the first two with torch.
PROCESS_BYTES = 176 << 20
LAMMPS_PROCESS_BYTES = 206 << 20
ENERGIES_PROCESS_BYTES = 230 << 20
TRAINING_PROCESS_BYTES = 450 << 20
INFERENCE_PROCESS_BYTES = 420 << 20
EVALUATION_PROCESS_BYTES = 460 << 20
GATHERING_PROCESS_BYTES = 450 << 20

#: What torch and the kernel keep for a thread, as measured.
INFERENCE_THREAD_BYTES = 70 << 20

#: An atom while its structure is read, checked, predicted or written; measured: 0.2 to 0.9 kB, up to 524,288 atoms.
ATOM_BYTES = 1 << 10

#: Fields at the peak of the energies, in xc: coefficients of both densities, and two transforms of each along x.
ENERGY_FIELDS = 6

#: What the energies take per point of a plane, in xc: field, gradient and coefficients of both densities.
PLANE_POINT_BYTES = 130

#: Blocks of columns that a transform along x has at a time: before, after, and what it is multiplied by.
BLOCKS_AT_WORK = 3

#: A block of columns along x where the fields are in memory.
BLOCK_BYTES = 32 << 20

#: What the Davidson diagonalisation of pw.x holds of each vector of its space: ψ, Hψ, Sψ.
DAVIDSON_SETS = 3

#: Complex fields on the dense grid in pw.x: densities, potentials, mixing (8 iterations of old densities), work space.
PW_FIELDS = 40

#: pw.x with its libraries, as measured.
PW_PROCESS_BYTES = 34 << 20

#: A cube file while it is read, per number: its text three times (13 bytes), a Python string, a float.
CUBE_BYTES = 130

#: Chunks that HDF5 keeps of one open file.
HDF5_CACHE_BYTES = 4 << 20

#: Work space of the BLAS of numpy and of scipy, as measured.
BLAS_BYTES = 60 << 20

#: Augmentation charges of an atom on the plane waves that are summed at once.
CHARGES_BYTES = 1.1e6

#: Projectors of an atom without d states: two of s and two of each of three p.
PROJECTORS_PER_ATOM = 8


def structure_bytes(atoms: int) -> float:
    """Memory of a job that builds, checks and writes a structure of so many atoms."""
    return PROCESS_BYTES + ATOM_BYTES * atoms


def descriptors_bytes(points: int, components: int, atoms: int, block_bytes: int, *, ranks: int, whole: bool) -> float:
    """Memory of one rank of compute_descriptors.

    block_bytes: of one block of descriptors in float64; whole: the backend computes the rank's share of the grid at
    once (LAMMPS): its own array of the components and their coordinates, and copies.
    """
    if whole:
        return LAMMPS_PROCESS_BYTES + 8 * points * 3 * components / ranks + ATOM_BYTES * atoms
    return PROCESS_BYTES + 2 * min(block_bytes, 8 * points * components) + ATOM_BYTES * atoms


def training_bytes(
    points: Sequence[int], row_bytes: int, tensors: Sequence[Sequence[int]], batch: int, budget_bytes: int
) -> float:
    """Memory of train_model. points: grid points of the training and of the validation snapshots; tensors: shapes of
    the network's.

    Rows up to the budget for each (twice that where they are streamed: the buffer is joined from its blocks), their
    order, one batch (a unit of the network has a bias, whose vector counts it); the network six times: weights, best
    weights, gradients, two moments, checkpoint.
    """
    rows = sum(row_bytes * n if row_bytes * n <= budget_bytes else 2 * budget_bytes for n in points)
    weights = sum(4 * math.prod(shape) for shape in tensors)
    units = sum(shape[0] for shape in tensors if len(shape) == 1)
    # a tenth of the rows for what is read and drawn from them
    return TRAINING_PROCESS_BYTES + 1.1 * rows + 8 * max(points) + 6 * weights + 4 * batch * (row_bytes + 4 * units)


def field_bytes(shape: Sequence[int], *, single: bool) -> float:
    """Bytes of a field of the energies, or of its coefficients."""
    return (4 if single else 8) * math.prod(shape)


def energies_bytes(
    shape: Sequence[int],
    ion_bytes: float,
    *,
    single: bool,
    ranks: int,
    block_bytes: int | None = None,
    process_bytes: int = ENERGIES_PROCESS_BYTES,
) -> float:
    """Memory of rank 0 of the energies: its share of the fields, or, after them, what the ions take.

    ion_bytes: `energies.ion.memory_bytes` of the structure; block_bytes: of the columns that are in memory at a time
    where the fields are on disk (None: all fields are in memory); process_bytes: what the process has already.
    """
    fields = ENERGY_FIELDS * field_bytes(shape, single=single) / ranks if block_bytes is None else 0.0
    blocks = BLOCKS_AT_WORK * block_of_columns(shape[0] * shape[2], block_bytes)
    of_planes = fields + blocks + PLANE_POINT_BYTES * shape[1] * shape[2]
    return process_bytes + max(of_planes, ion_bytes)


def block_of_columns(points: int, block_bytes: int | None) -> float:
    """A block of columns along x: at least one column of planes, of that many points of the field."""
    return max(BLOCK_BYTES if block_bytes is None else block_bytes, 8 * points)


def inference_bytes(
    tile_points: int, components: int, energies: int, atoms: int, chunk_points: int, *, threads: int, keep_ldos: bool
) -> float:
    """Memory of one rank of predict_tiles: a tile's three fields with copies, a chunk of each thread, the atoms."""
    chunk = min(chunk_points, tile_points) * (8 * components + 4 * energies * keep_ldos)
    of_threads = threads * (INFERENCE_THREAD_BYTES + chunk)
    tile = tile_points * (48 + 8 * energies * keep_ldos)
    return INFERENCE_PROCESS_BYTES + of_threads + tile + ATOM_BYTES * atoms


def gathering_bytes(plane_points: int, batches: int, waves_bytes: float) -> float:
    """Memory of gather_prediction: a plane's fields with sums and transforms, what HDF5 keeps of each open batch.

    waves_bytes: `memory_bytes` of `energies.screening` and `energies.continuation`, for those that are done.
    """
    return GATHERING_PROCESS_BYTES + 72 * plane_points + batches * HDF5_CACHE_BYTES + waves_bytes


def reference_bytes(points: int, energies: int) -> float:
    """Memory of collect_reference where pp.x computed the LDOS: that in float32, and one cube file as text."""
    return PROCESS_BYTES + points * (CUBE_BYTES + 4 * energies + 8)


def one_pass_bytes(points: int, energies: int, atoms: int, bands: int, work_bytes: int) -> float:
    """Memory of collect_reference where it computes the LDOS: that in float32, fields, and states up to `work_bytes`.

    A state: its plane waves (points/16 with the usual ecutrho = 4 ecutwfc) and |ψ|²; an atom: projectors and their
    phases; then the augmentation of all energies on the plane waves of half the sphere (points/4).
    """
    states = points * (5 * bands + (PROJECTORS_PER_ATOM + 3) * atoms)
    charges = 4.2 * points * (energies + 1) + CHARGES_BYTES * atoms
    return (
        PROCESS_BYTES + BLAS_BYTES + points * (4 * energies + 24) + min(0.75 * work_bytes, 1.25 * max(states, charges))
    )


def evaluation_bytes(points: int, energies: int) -> float:
    """Memory of evaluate_prediction: the LDOS of prediction and reference in float32, differences in float64."""
    return EVALUATION_PROCESS_BYTES + points * (24 * energies + 32)


def dft_bytes(
    volume_A3: float,
    points: int,
    atoms: int,
    bands: int,
    ecutwfc_Ry: float,
    kpoints: Sequence[int],
    *,
    ndim: int = 4,
    ranks: int = 1,
    pools: int = 1,
) -> float:
    """Memory of one rank of pw.x in an SCF.

    Plane waves of a wave function: Ω k³/(6π²), k = √ecutwfc (bohr⁻¹, Ry). Wave functions of every k-point (pw.x keeps
    them in memory by default), Davidson's space of ndim times those of one, projectors and fields are shared out over
    the ranks of a pool, k-points over the pools. kpoints: the mesh, of which time reversal leaves half.
    """
    waves = volume_A3 / units.BOHR_A**3 * ecutwfc_Ry**1.5 / (6 * math.pi**2)
    mesh = math.prod(kpoints)
    # k and -k are one, up to eight are their own opposites
    different = (mesh + min(mesh, 8)) // 2
    vectors = bands * (math.ceil(different / pools) + DAVIDSON_SETS * ndim) + PROJECTORS_PER_ATOM * atoms
    return PW_PROCESS_BYTES + 16 * (waves * vectors + PW_FIELDS * points) * pools / ranks


# ------------------------------------------------------------------------------------------------------- limits


def limit_bytes(
    rank_MB: float | None,
    ranks: int = 1,
    environment: Mapping[str, str] = os.environ,
    system: Path = Path("/"),
    *,
    memory_GiB: float | None = None,
) -> tuple[float, str]:
    """The smallest limit on the memory of one of `ranks` equal processes, and where it comes from.

    rank_MB: what the rule promised each; memory_GiB: what the user gives each; else Slurm's variables, the control
    groups of this process, the machine's memory. A node's memory is shared by the ranks on it.
    """
    # "4(x2)": four tasks on each of two nodes
    tasks = re.match(r"\d+", environment.get("SLURM_TASKS_PER_NODE", ""))
    here = min(ranks, int(tasks[0])) if tasks else ranks
    limits = [(_machine(system), "the machine's memory"), *((n, "its control group") for n in _groups(system))]
    if per_node := environment.get("SLURM_MEM_PER_NODE"):
        limits.append((float(per_node) * 2**20, "SLURM_MEM_PER_NODE"))
    limits = [(size / here, source) for size, source in limits]
    if rank_MB is not None:
        limits.append((rank_MB * 1e6, "the rule's memory"))
    if memory_GiB is not None:
        limits.append((memory_GiB * 2**30, "memory_GiB"))
    if per_cpu := environment.get("SLURM_MEM_PER_CPU"):
        cores = int(environment.get("SLURM_CPUS_PER_TASK", "1"))
        limits.append((float(per_cpu) * 2**20 * cores, "SLURM_MEM_PER_CPU"))
    return min(limits)


def check_memory(
    stage: str, needed_bytes: float, rank_MB: float | None = None, ranks: int = 1, memory_GiB: float | None = None
) -> None:
    """Log what each of a stage's ranks will take. Raises InputError where that is more than it may take."""
    limit, source = limit_bytes(rank_MB, ranks, memory_GiB=memory_GiB)
    each = " by each rank" if ranks > 1 else ""
    logger.info(
        "memory: about %.0f MB at the peak%s, %.0f MB allowed (%s)", needed_bytes / 1e6, each, limit / 1e6, source
    )
    if needed_bytes > limit:
        how = f"set-resources: {stage} in the profile; without a profile snakemake --set-resources {stage}:..."
        if source == "memory_GiB":
            how = f"{math.ceil(100 * needed_bytes / 2**30) / 100:.2f} GiB: inference.memory_GiB, --memory-GiB"
        raise InputError(
            f"{stage}: expected to need about {needed_bytes / 1e9:.2f} GB of memory{each}, got {limit / 1e9:.2f} GB "
            f"({source}). Give it {math.ceil(needed_bytes / 1e6)} MB ({how}), take more "
            "ranks or a machine with more memory, or make the problem smaller."
        )


def log_memory_used() -> None:
    """Log the largest resident memory of this process so far, and of the largest program that it ran."""
    ours, programs = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    kibibyte = 1 if sys.platform == "darwin" else 1024
    logger.info(
        "memory: %.0f MB were used at the peak (largest program started: %.0f MB)",
        ours * kibibyte / 1e6, programs * kibibyte / 1e6,
    )  # fmt: skip


def _machine(system: Path) -> float:
    for line in (system / "proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return float(line.split()[1]) * 1024
    return math.inf


def _groups(system: Path) -> list[float]:
    """Limits of this process's control groups, versions 1 and 2, and of those around them."""
    found = []
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind not in ("", "memory"):
            continue
        top = system / "sys/fs/cgroup" / kind
        name = "memory.limit_in_bytes" if kind else "memory.max"
        folder = top / path.lstrip("/")
        while folder == top or top in folder.parents:
            try:
                text = (folder / name).read_text(encoding="ascii").strip()
            except OSError:
                text = "max"
            if text != "max":
                found.append(float(text))
            folder = folder.parent
    return found

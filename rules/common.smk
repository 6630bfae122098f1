"""Names and small functions that all stages share; no rules."""

import inspect
import json
import re

from nearsight.study.sections import DftMdTrajectory, FileStructure, FramesTrajectory, LammpsMdTrajectory

# Structures that the finished model predicts; those among them with a DFT reference to compare with. The training set's
# own belong to it: an error that is small on them and large on others is the sign of too few snapshots.
EVALUATED = STUDY.snapshot_names()
PREDICTED = [*EVALUATED, *STUDY.supercells]
HELD_OUT = STUDY.snapshot_names("test")
DRAWN = [*HELD_OUT, *STUDY.supercells]


def trajectories(kind):
    """The trajectories of one kind by name."""
    return {name: trajectory for name, trajectory in STUDY.trajectories.items() if isinstance(trajectory, kind)}


DFT_MD = trajectories(DftMdTrajectory)
FRAMES = trajectories(FramesTrajectory)
# Snapshots whose DFT is run here; the others' datasets are there.
COMPUTED = [name for name in EVALUATED if name not in STUDY.snapshots]
LAMMPS_SNAPSHOTS = [name for name in EVALUATED if name.rpartition("-")[0] in trajectories(LammpsMdTrajectory)]

PSEUDOPOTENTIALS = [f"{RESULTS}/pseudo/{element}.upf" for element in STUDY.pseudopotentials]
PSEUDOPOTENTIAL_OPTIONS = [
    part
    for element, path in zip(STUDY.pseudopotentials, PSEUDOPOTENTIALS)
    for part in ("--pseudopotential", f"{element}={path}")
]

# The launcher and the number of ranks change no result: they are resources, so that a change reruns nothing and
# a profile can replace them. Only with several ranks is a run an MPI job for the cluster.
ESPRESSO_MPI = {"mpi": STUDY.dft.launcher} if STUDY.dft.ranks > 1 else {}

# The training asks the cluster for a GPU where the study does.
TRAINING_GPU = {"gpu": 1} if STUDY.training.device == "cuda" else {}

# One process needs no launcher; Slurm refuses an MPI job of one task.
TRAINING_MPI, TRAINING_LAUNCHER, TRAINING_SHARES = {}, "", "--threads {threads}"
if STUDY.training.ranks > 1:
    TRAINING_MPI = {"mpi": "mpiexec", "tasks": STUDY.training.ranks, "cpus_per_task": STUDY.training.threads}
    TRAINING_LAUNCHER = "{resources.mpi} -n {resources.tasks} "
    TRAINING_SHARES = "--ranks {resources.tasks} --threads {resources.cpus_per_task}"
INFERENCE_MPI = {"mpi": "mpiexec"} if STUDY.inference.ranks > 1 else {}
INFERENCE_LAUNCHER = "{resources.mpi} -n {resources.tasks} " if STUDY.inference.ranks > 1 else ""

# The study as each variant has it; its own is one of them.
VARIED = {OWN_MODEL: STUDY} | {name: STUDY.varied(name) for name in STUDY.variants}
VARIANTS = f"{RESULTS}/variants"

# Cost and errors of every variant by name, the study's own first.
SCORES = {variant: f"{VARIANTS}/{variant}/score.json" for variant in VARIED}

# Tiles and fields are chosen to fit into memory_GiB; a fifth more for what the libraries take besides.
INFERENCE_MB = int(1.2 * 1024 * STUDY.inference.memory_GiB)


def one_of(names):
    """Pattern that matches only the given names, so that a typo is no target."""
    return "|".join(re.escape(str(name)) for name in names) or r"(?!)"


def script(name):
    """Path of a rule's module, relative to the working directory."""
    return f"{SCRIPTS}/{name}.py"


def growing(amount):
    """Resource that grows with every attempt: a job that was killed for lack of it gets more the next time."""

    def grown(wildcards, attempt):
        return amount * attempt

    # Snakemake looks at it for every job: kept, it is found at once
    grown.__signature__ = inspect.signature(grown)
    return grown


def pseudopotential_source(wildcards):
    """The user's file that an element's pseudopotential comes from; a function's braces are no wildcards."""
    source = STUDY.pseudopotentials[wildcards.element]
    return source.ld1_input or source.upf


def pseudopotential_source_options(wildcards):
    """How make_pseudopotential is told about that file."""
    source = STUDY.pseudopotentials[wildcards.element]
    if source.ld1_input:
        return ["--ld1-input", source.ld1_input]
    return ["--upf", source.upf, "--sha256", source.sha256]


def structure_source(wildcards):
    """The user's structure file, if a cell is read from one."""
    structure = STUDY.structures[wildcards.cell]
    return [structure.path] if isinstance(structure, FileStructure) else []


def cell_file(structure):
    """The cell that a structure of `structures` is."""
    return f"{RESULTS}/cells/{structure}.extxyz"


def trajectory_cell(wildcards):
    """The cell of a trajectory."""
    return cell_file(STUDY.structure_of(wildcards.trajectory))


def snapshot_dft(wildcards):
    """The section `dft` of a snapshot's cell, without what changes no result, as JSON."""
    return STUDY.dft_of(STUDY.snapshot_structure(wildcards.snapshot)).to_json("launcher", "ranks")


def crystal_options(wildcards):
    """The lattice of a supercell's snapshot, if the study builds it."""
    snapshot = STUDY.supercells[wildcards.supercell].snapshot
    if snapshot in STUDY.snapshots:
        return []
    crystal = STUDY.structures[STUDY.snapshot_structure(snapshot)]
    return ["--crystal", crystal.to_json("repeat", "vacancies", "stacking_fault_layer")]


def segment_start(wildcards):
    """What a segment of the MD starts from: the previous segment."""
    folder = f"{RESULTS}/md/{wildcards.trajectory}"
    number = int(wildcards.segment)
    return f"{folder}/segment-{number - 1}.extxyz" if number else f"{folder}/start.extxyz"


def segment_files(wildcards):
    """All segments of a trajectory, in order."""
    count = STUDY.trajectories[wildcards.trajectory].segments
    return [f"{RESULTS}/md/{wildcards.trajectory}/segment-{number}.extxyz" for number in range(count)]


def snapshot_files(trajectory):
    """The snapshots that are taken from a trajectory."""
    count = len(STUDY.trajectories[trajectory].snapshots.roles())
    return [f"{RESULTS}/structures/{trajectory}-{number}.extxyz" for number in range(count)]


def batch_files(wildcards):
    """The parts of a structure's prediction."""
    folder = f"{RESULTS}/predictions/{wildcards.structure}"
    return [f"{folder}/batch-{number}.h5" for number in range(STUDY.inference.batches)]


def datasets(kind, *roles):
    """Files results/<study>/<kind>/<snapshot>.h5 of the snapshots with one of the roles."""
    return [f"{RESULTS}/{kind}/{snapshot}.h5" for snapshot in STUDY.snapshot_names(*roles)]


def observables_files():
    """Density of states, Fermi level and energies of every prediction."""
    return [f"{RESULTS}/predictions/{structure}/observables.json" for structure in PREDICTED]


def prediction_files(structures):
    """Predictions of the structures."""
    return [f"{RESULTS}/predictions/{structure}/prediction.h5" for structure in structures]


def fields_file(wildcards):
    """Density and DOS of a prediction, or LDOS of a snapshot."""
    if wildcards.source == "reference":
        return f"{RESULTS}/reference/{wildcards.structure}.h5"
    return f"{RESULTS}/predictions/{wildcards.structure}/prediction.h5"


def energy_files(source, structures):
    """Total free energies of the structures: source is prediction or reference."""
    return [f"{RESULTS}/energies/{source}/{structure}.json" for structure in structures]


def evaluation_files():
    """Errors of every prediction that has a DFT reference."""
    return [f"{RESULTS}/evaluation/{snapshot}.json" for snapshot in EVALUATED]


def figure_files():
    """All figures as PNG, PDF and CSV."""
    names = ["dos", "training", "band-energy", *(f"density-{snapshot}" for snapshot in HELD_OUT)]
    return [f"{RESULTS}/figures/{name}.{kind}" for name in names for kind in ("png", "pdf", "csv")]


def electron_temperature(wildcards):
    """Temperature of the electrons of a snapshot that is computed here."""
    return STUDY.electron_temperature_K(wildcards.snapshot)


def temperature_file(wildcards):
    """The dataset that gives the temperature of a structure's electrons, if the study does not."""
    snapshot = STUDY.source_of(wildcards.structure)
    return [f"{RESULTS}/reference/{snapshot}.h5"] if snapshot in STUDY.snapshots else []


def temperature_options(wildcards, input):
    """How plan_tiles is told the temperature of the electrons."""
    if input.conditions:
        return ["--reference", *input.conditions]
    return ["--temperature-K", STUDY.electron_temperature_K(wildcards.structure)]


def variant_descriptors(variant, names):
    """Descriptors that a variant learns from: the study's own unless it changes them."""
    own = VARIED[variant].descriptors == STUDY.descriptors
    folder = RESULTS if own else f"{VARIANTS}/{variant}"
    return [f"{folder}/descriptors/{name}.h5" for name in names]


def variant_file(name):
    """A file of a variant's model, or of the study's own."""
    return lambda wildcards: (
        f"{RESULTS}/model/{name}" if wildcards.variant == OWN_MODEL else f"{VARIANTS}/{wildcards.variant}/model/{name}"
    )

"""What the figures of the paper are drawn from, and what their captions quote; no rules."""

from nearsight.figures.captions import caption_of
from nearsight.figures.contents import MANIFEST, data_names
from nearsight.study.sections import BuiltStructure

PAPER = "results/deposited" if DEPOSITED else f"{RESULTS}/paper"

# Data and pictures that are kept with the sources.
DEPOSIT = "docs/figures/data"


def is_available(snapshot):
    """Whether a snapshot is to be shown: with `available` only where its DFT is done."""
    return not AVAILABLE or snapshot in STUDY.snapshots or os.path.exists(f"{RESULTS}/reference/{snapshot}.h5")


SHOWN = [snapshot for snapshot in HELD_OUT if is_available(snapshot)]
LEARNED = [snapshot for snapshot in STUDY.snapshot_names("train") if is_available(snapshot)]

FAULT_PAIRS = {
    without: with_fault
    for without, with_fault in STUDY.paper_figures.fault_pairs.items()
    if all(is_available(name) for name in (without, with_fault) if name in EVALUATED)
}
PAIRED = [name for pair in FAULT_PAIRS.items() for name in pair]

# The last pair is drawn.
DRAWN_PAIR = PAIRED[-2:]


def prepared(figure):
    """The files that a figure is drawn from."""
    return [f"{PAPER}/data/{name}" for name in data_names(figure)]


def named(template, names):
    """Words NAME=FILE for a command line."""
    return [f"{name}={template.format(name)}" for name in names]


STRUCTURE = f"{RESULTS}/structures/{{}}.extxyz"
ENERGY = f"{RESULTS}/energies/prediction/{{}}.json"
REFERENCE = f"{RESULTS}/reference/{{}}.h5"
DENSITY = f"{RESULTS}/predictions/{{}}/prediction.h5"
PLAN = f"{RESULTS}/predictions/{{}}/plan.json"
SCF_TEXT = f"{RESULTS}/reference/{{}}/scf.out"
EVALUATION = f"{RESULTS}/evaluation/{{}}.json"

# Runs of pw.x that figure 2 shows.
TIMED = [name for name in COMPUTED if not AVAILABLE or os.path.exists(SCF_TEXT.format(name))]
MEASURED = [STUDY.paper_figures.prediction_times] if STUDY.paper_figures.prediction_times else []

# The rules of the pipeline, without those of this file.
RULE_FILES = [
    os.path.relpath(os.path.join(workflow.current_basedir, f"{stage}.smk"))
    for stage in ("reference", "descriptors", "training", "inference", "energies", "figures")
]


def usual_temperature():
    """The temperature of the most training snapshots."""
    counts = {}
    for trajectory in STUDY.trajectories.values():
        counts[trajectory.temperature_K] = counts.get(trajectory.temperature_K, 0) + trajectory.snapshots.train
    return max(counts, key=counts.get, default=None)


def describe(name):
    """What the figures say of a snapshot or supercell."""
    supercell, snapshot = STUDY.supercells.get(name), STUDY.source_of(name)
    role = "supercell" if supercell else STUDY.role(name)
    faulted = supercell is not None and supercell.stacking_fault_layer is not None
    if snapshot in STUDY.snapshots:
        # what it is, its dataset alone knows
        return {"role": role, "imported": True, "fault": faulted}
    structure = STUDY.structures[STUDY.snapshot_structure(snapshot)]
    fault = isinstance(structure, BuiltStructure) and structure.stacking_fault_layer is not None
    return {
        "role": role,
        "imported": False,
        "temperature_K": STUDY.trajectories[snapshot.rpartition("-")[0]].temperature_K,
        "usual_temperature_K": usual_temperature(),
        "strain_percent": structure.strain_percent,
        "vacancies": len(structure.vacancies),
        "fault": fault or faulted,
    }


def describe_all(names):
    """`describe` of some structures as JSON."""
    return json.dumps({name: describe(name) for name in names})


def settings_of_study():
    """The settings that captions quote: of the deposit where there is one."""
    if DEPOSITED:
        try:
            with open(f"{DEPOSITED}/{MANIFEST}", encoding="utf-8") as file:
                return json.load(file)["settings"]
        except (OSError, ValueError, KeyError) as error:
            raise WorkflowError(
                f"deposited: expected a folder with {MANIFEST}, such as {DEPOSIT}, got {DEPOSITED}: {error}."
            ) from None
    descriptors = STUDY.descriptors.model_dump(exclude={"backend", "ranks", "threads", "precision"})
    network = STUDY.training.network.model_dump()
    return {
        "study": STUDY.study,
        "elements": list(STUDY.pseudopotentials),
        **STUDY.dft.model_dump(include={"ecutwfc_Ry", "ecutrho_Ry", "kpoints", "kpoints_shift"}),
        "temperatures_K": sorted({trajectory.temperature_K for trajectory in STUDY.trajectories.values()}),
        **STUDY.ldos.model_dump(include={"energy_min_eV", "energy_max_eV", "spacing_eV", "broadening_eV"}),
        "descriptors": ", ".join(f"{key} {value}" for key, value in descriptors.items() if value not in ({}, False)),
        "network": ", ".join(f"{key} {value}" for key, value in network.items()),
        **{role: len(STUDY.snapshot_names(role)) for role in ("train", "validation", "test")},
    }


SETTINGS = settings_of_study()
SETTINGS_TEXT = json.dumps(SETTINGS)

"""Nearsight: configuration, constraints, stages and targets. The stages are in rules/, the physics in workflow/."""

import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

PACKAGES = os.path.join(os.path.abspath(workflow.current_basedir), "workflow")
SCRIPTS = os.path.relpath(os.path.join(PACKAGES, "scripts"))
sys.path.insert(0, PACKAGES)

from nearsight.errors import ConfigError
from nearsight.figures.contents import TABLES
from nearsight.study.reading import load_study
from nearsight.study.sections import OWN_MODEL
from nearsight.versions import STAGES

# Snakemake compares the values of a rule's params without their names: each has to tell what it is, or 2, 3 for a number of
# batches and a version changed to 3, 3 would look the same.
VERSIONS = {stage: f"{stage} {number}" for stage, number in STAGES.items()}

# Jobs find this checkout's package, and the python and mpiexec of the environment that runs Snakemake.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
    PYTHONPATH=os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")])),
)

# A study file is complete by itself: `configfile:` would merge two of them key by key.
STUDY_FILES = [os.path.relpath(path) for path in workflow.overwrite_configfiles] or ["config/quickstart.yaml"]
if len(STUDY_FILES) > 1:
    raise WorkflowError(f"expected one study file, got {', '.join(STUDY_FILES)}: each is complete by itself.")

# Of --config: keys of the study, but for what tells where the paper's figures take their data from (rules/paper.smk).
OVERRIDES = dict(workflow.config_settings.config)
DEPOSITED = OVERRIDES.pop("deposited", None)
AVAILABLE = str(OVERRIDES.pop("available", False)).lower() == "true"

try:
    STUDY = load_study(STUDY_FILES[0], overrides=OVERRIDES)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{STUDY.study}"


include: "rules/common.smk"


wildcard_constraints:
    element=one_of(STUDY.pseudopotentials),
    cell=one_of(STUDY.structures),
    trajectory=one_of(DFT_MD),
    segment=one_of(range(max((trajectory.segments for trajectory in DFT_MD.values()), default=0))),
    lammps_snapshot=one_of(LAMMPS_SNAPSHOTS),
    snapshot=one_of(STUDY.snapshot_names()),
    imported=one_of(STUDY.snapshots),
    supercell=one_of(STUDY.supercells),
    structure=one_of([*STUDY.snapshot_names(), *STUDY.supercells]),
    variant=one_of([OWN_MODEL, *STUDY.variants]),
    batch=one_of(range(STUDY.inference.batches)),
    source=one_of(["prediction", "reference"]),
    number=one_of(TABLES),


rule all:
    """Everything: the summary, the model's card and the figures."""
    default_target: True
    input:
        f"{RESULTS}/summary.md",
        f"{RESULTS}/model/card.md",
        figure_files(),


rule reference:
    """The snapshot datasets of the DFT reference."""
    input:
        [f"{RESULTS}/reference/{snapshot}.h5" for snapshot in STUDY.snapshot_names()],


rule model:
    """The trained model bundle."""
    input:
        f"{RESULTS}/model/model.json",


rule predictions:
    """The predictions of the held-out snapshots and of the larger structures."""
    input:
        observables_files(),
        energy_files("prediction", PREDICTED),


rule figures:
    """All figures, each with its numbers as CSV."""
    input:
        figure_files(),


include: "rules/reference.smk"
include: "rules/descriptors.smk"
include: "rules/training.smk"
include: "rules/variants.smk"
include: "rules/inference.smk"
include: "rules/energies.smk"
include: "rules/figures.smk"
include: "rules/paper_inputs.smk"
include: "rules/paper.smk"

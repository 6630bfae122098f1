"""The study file: one model per section, the single source of schema, defaults, units and descriptions.

A study file is complete by itself: what it leaves out takes the default written here. Every number is
checked for type, sign and range, every name against the others, and an error names the file, the key,
what was expected, what was found and where to read more.

Every job parses this module again, so it imports only pydantic and PyYAML.
"""

import difflib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, SerializeAsAny, Tag, ValidationError
from pydantic.fields import FieldInfo

from nearsight.errors import ConfigError, InputError
from nearsight.files import read_regular
from nearsight.plugins import DESCRIPTORS, NETWORKS, other_kinds

ROLES = ("train", "validation", "test")

#: k_B in eV/K (CODATA 2018); `nearsight.units` has the same number, but needs scipy. A test compares them.
BOLTZMANN_eV_per_K = 8.617333262e-05

#: Names that end up in file names and in wildcards.
STUDY_NAME = r"^[A-Za-z0-9_-]{1,64}$"
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"

#: Names of the user's files: Snakemake takes braces for wildcards, in places even where it should not; no file has a
#: name with a NUL, and other control characters would garble terminals and logs. A leading hyphen looks like an option.
FILE_NAME = r"^[^-{}\x00-\x1f\x7f][^{}\x00-\x1f\x7f]{0,1023}$"

#: A study file of a thousand structures has 50 kB and 10,000 nodes; aliases of aliases can stand for any number.
LARGEST_STUDY_BYTES = 1 << 20
LARGEST_STUDY_NODES = 200_000

#: Snapshots of all trajectories: their names are listed whenever the file is read.
MOST_SNAPSHOTS = 100_000

#: Energies of the LDOS: pp.x numbers its files with three digits.
MOST_ENERGIES = 999

Positive = Annotated[int, Field(ge=1, le=10000)]
Width = Annotated[int, Field(ge=1, le=65536)]
Shift = Annotated[int, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=NAME)]


def _key(
    description: str, expected: str, *, unit: str = "", default: Any = ..., reference: bool = False, **limits: Any
) -> Any:
    """One key of the study file.

    expected: the phrase of the error message, without unit and limits ("a length"). reference: the default is
    the value of the published reference, and the error message says so.
    """
    extra = {"expected": expected, "unit": unit, "reference": reference}
    if isinstance(default, list | dict):
        return Field(default_factory=lambda: default.copy(), description=description, json_schema_extra=extra, **limits)
    return Field(default, description=description, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """A part of the study file: strict types, no unknown keys, no NaN or infinity, never changed after reading."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_json(cls, text: str) -> typing.Self:
        """The section that a job is handed as JSON. Raises InputError, which names each wrong key."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            raise InputError(f"settings: expected the section {cls.__name__}, got {'; '.join(lines)}.") from None

    def only(self, *names: str) -> str:
        """The named keys as canonical JSON, to be handed to a script."""
        return json.dumps(self.model_dump(include=set(names)), sort_keys=True)

    def without(self, *names: str) -> str:
        """All keys but the named ones as canonical JSON, to be handed to a script."""
        return json.dumps(self.model_dump(exclude=set(names)), sort_keys=True)


class Pseudopotential(Section):
    """Where an element's pseudopotential comes from: `ld1_input`, or `upf` together with `sha256`."""

    ld1_input: str | None = _key(
        "input of Quantum ESPRESSO's atomic code ld1.x, which makes the pseudopotential",
        "a file name without braces and control characters that does not begin with a hyphen",
        default=None,
        pattern=FILE_NAME,
    )
    upf: str | None = _key(
        "a ready pseudopotential in UPF format",
        "a file name without braces and control characters that does not begin with a hyphen",
        default=None,
        pattern=FILE_NAME,
    )
    sha256: str | None = _key(
        "checksum of the UPF file, so that a study says exactly what it used",
        "64 hexadecimal digits",
        default=None,
        pattern=r"^[0-9a-f]{64}$",
    )


class BuiltStructure(Section):
    """The cell of the DFT-MD, built from a lattice, a density and a number of repetitions."""

    element: str = _key("chemical symbol", "a chemical symbol such as Be", pattern=r"^[A-Z][a-z]?$")
    lattice: Literal["hcp"] = _key(
        "lattice; hcp is built as the orthorhombic cell of four atoms with the edges a, √3 a and c", "a lattice"
    )
    density_g_cm3: float = _key("mass density", "a mass density", unit="g/cm³", gt=0, le=100)
    c_over_a: float = _key(
        "ratio of the hexagonal cell's edges; the default is the one of beryllium",
        "a ratio",
        default=1.5797,
        ge=0.5,
        le=5,
    )
    repeat: list[Positive] = _key(
        "repetitions of the lattice's cell along its three edges",
        "three whole numbers between 1 and 10000",
        min_length=3,
        max_length=3,
    )


class FileStructure(Section):
    """The cell of the DFT-MD, read from a file."""

    file: str = _key(
        "structure file: extended XYZ, CIF, POSCAR, pw.x input or XSF",
        "a file name without braces and control characters that does not begin with a hyphen",
        pattern=FILE_NAME,
    )


class Dft(Section):
    """Quantum ESPRESSO's SCF run of every snapshot, from which LDOS, density and energies come."""

    ecutwfc_Ry: float = _key("cutoff of the wave functions", "an energy", unit="Ry", gt=0, le=1000)
    ecutrho_Ry: float = _key(
        "cutoff of the density; it sets the grid of all fields of the study", "an energy", unit="Ry", gt=0, le=8000
    )
    kpoints: list[Positive] = _key(
        "k-point grid of the DFT-MD cell; all cells of a study use grids that fold onto the same k-points",
        "three whole numbers between 1 and 10000",
        min_length=3,
        max_length=3,
    )
    kpoints_shift: list[Shift] = _key(
        "shift of the k-point grid by half a step, as in Quantum ESPRESSO; 0 0 0 is centred on Γ",
        "three times 0 or 1",
        default=[0, 0, 0],
        min_length=3,
        max_length=3,
    )
    bands: int = _key(
        "number of Kohn-Sham bands; the top band must lie 4 broadenings above the LDOS window",
        "a whole number",
        ge=1,
        le=100000,
    )
    conv_thr_Ry: float = _key("convergence threshold of the SCF", "an energy", unit="Ry", default=1e-9, gt=0, le=1e-5)
    electron_maxstep: int = _key("most iterations of the SCF", "a whole number", default=100, ge=1, le=10000)
    mixing_beta: float = _key("mixing factor of the SCF", "a number", default=0.7, gt=0, le=1)
    launcher: str = _key(
        "command that starts Quantum ESPRESSO's MPI programs; a profile may replace it (resource `launcher`)",
        "a command without braces and control characters",
        default="mpirun.openmpi --bind-to none",
        pattern=r"^[^{}\x00-\x1f\x7f]{0,1024}$",
    )
    ranks: int = _key("MPI ranks of one Quantum ESPRESSO run", "a whole number", default=1, ge=1, le=4096)


class Md(Section):
    """Born-Oppenheimer molecular dynamics with Quantum ESPRESSO, in segments that can be repeated alone."""

    time_step_fs: float = _key("time step", "a time", unit="fs", ge=0.001, le=10)
    steps_per_segment: int = _key("time steps of one segment, which is one job", "a whole number", ge=1, le=1000000)
    thermostat: Literal["not_controlled", "rescaling", "berendsen", "svr"] = _key(
        "what acts on the velocities at the start of every segment; svr is canonical",
        "a thermostat",
        default="svr",
    )
    thermostat_time_fs: float = _key("coupling time of the thermostat", "a time", unit="fs", default=20.0, gt=0, le=1e9)
    equilibration_fs: float = _key(
        "start of every trajectory that no snapshot is taken from", "a time", unit="fs", ge=0, le=1e9
    )
    ecutwfc_Ry: float = _key(
        "cutoff of the wave functions; the motion needs less than the LDOS", "an energy", unit="Ry", gt=0, le=1000
    )
    kpoints: list[Positive] = _key(
        "k-point grid of the DFT-MD cell", "three whole numbers between 1 and 10000", min_length=3, max_length=3
    )
    kpoints_shift: list[Shift] = _key(
        "shift of the k-point grid by half a step",
        "three times 0 or 1",
        default=[0, 0, 0],
        min_length=3,
        max_length=3,
    )
    conv_thr_Ry: float = _key("convergence threshold of the SCF", "an energy", unit="Ry", default=1e-7, gt=0, le=1e-4)


class Snapshots(Section):
    """How many snapshots of a trajectory serve for what, in order of time."""

    train: int = _key("snapshots that the network learns from", "a whole number", default=0, ge=0, le=10000)
    validation: int = _key("snapshots that decide when the training stops", "a whole number", default=0, ge=0, le=10000)
    test: int = _key("snapshots that only the finished model sees", "a whole number", default=0, ge=0, le=10000)

    def roles(self) -> list[str]:
        """The role of snapshot 0, 1, ... of the trajectory."""
        return [role for role in ROLES for _ in range(getattr(self, role))]


class Trajectory(Section):
    """One DFT-MD run with its own seed."""

    segments: int = _key("number of segments", "a whole number", ge=1, le=10000)
    snapshots: Snapshots = _key(
        "numbers of snapshots by role", "numbers of snapshots by role (train, validation, test)"
    )


class Ldos(Section):
    """The energies of the local density of states and its broadening."""

    energy_min_eV: float = _key("lowest energy", "an energy", unit="eV", ge=-1000, le=1000)
    energy_max_eV: float = _key("highest energy", "an energy", unit="eV", ge=-1000, le=1000)
    spacing_eV: float = _key("distance between energies", "an energy", unit="eV", default=0.1, ge=0.001, le=5)
    broadening_eV: float = _key(
        "s of the Gaussian exp(-(ε/s)²)/(s√π), which is Quantum ESPRESSO's degauss_ldos; usual is twice the spacing",
        "an energy",
        unit="eV",
        default=0.2,
        gt=0,
        le=10,
    )
    backend: Literal["one_pass", "espresso"] = _key(
        "what computes it: one pass over the SCF's wave functions; or, slow, a non-SCF run and pp.x as the reference",
        "a backend",
        default="one_pass",
    )


class Descriptors(Section):
    """What the jobs of every kind of descriptor need to know."""

    precision: Literal["float32", "float64"] = _key(
        "precision in which they are computed (by lammps: stored); float32 is twice as fast and half as large",
        "a precision",
        default="float64",
    )
    ranks: int = _key(
        "MPI ranks of one job, of compute_energies too, on Slurm at least 2; the results do not depend on it",
        "a whole number",
        default=2,
        ge=1,
        le=4096,
    )
    threads: int = _key(
        "threads of each rank with the backend native; the results do not depend on it",
        "a whole number",
        default=1,
        ge=1,
        le=1024,
    )


class Bispectrum(Descriptors):
    """Bispectrum descriptors of every grid point; another descriptor is named by its `kind`."""

    kind: Literal["bispectrum"] = _key("descriptor", "a descriptor", default="bispectrum")
    backend: Literal["native", "lammps", "torch"] = _key(
        "program that computes them: the package's own kernel, LAMMPS as the reference, torch (slow, differentiable)",
        "a backend",
        default="native",
    )
    twojmax: int = _key(
        "twice the largest angular momentum; 10 gives 91 components",
        "an even whole number",
        default=10,
        ge=2,
        le=20,
        multiple_of=2,
        reference=True,
    )
    cutoff_A: float = _key(
        "distance up to which atoms are seen", "a length", unit="Å", default=4.67637, ge=1, le=12, reference=True
    )
    rfac0: float = _key(
        "factor of the map from distance to angle", "a number", default=0.99363, gt=0, lt=1, reference=True
    )
    rmin0: float = _key("offset of that map", "a length", unit="Å", default=0.0, ge=0, le=5, reference=True)
    weights: dict[Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")], Annotated[float, Field(ge=-1000, le=1000)]] = _key(
        "weight of each element as a neighbour, 1 where there is one element; several need theirs, or chemical",
        "weights between -1000 and 1000 by chemical symbol",
        default={},
    )
    chemical: bool = _key("one bispectrum per triple of elements (backend lammps)", "true or false", default=False)


class Perceptron(Section):
    """The network from descriptors to LDOS; another architecture is named by its `kind`."""

    kind: Literal["perceptron"] = _key("architecture", "an architecture", default="perceptron")
    hidden: list[Width] = _key(
        "widths of the hidden layers",
        "one to 64 whole numbers between 1 and 65536",
        default=[256, 256],
        min_length=1,
        max_length=64,
    )
    activation: Literal["leaky_relu", "relu", "tanh", "silu", "gelu"] = _key(
        "activation function of the hidden layers", "an activation function", default="leaky_relu"
    )


class Training(Section):
    """The network from descriptors to LDOS and how it is trained."""

    network: Annotated[SerializeAsAny[Perceptron], other_kinds(NETWORKS, "perceptron")] = _key(
        "architecture of the network", "a section", default=Perceptron()
    )
    learning_rate: float = _key(
        "first learning rate of the optimiser; with one_cycle the largest", "a number", default=1e-3, gt=0, le=1
    )
    schedule: Literal["cosine", "plateau", "one_cycle"] = _key(
        "learning-rate schedule: cosine falls over all epochs, plateau where the validation error stays, one_cycle "
        "rises and falls within all epochs",
        "a schedule",
        default="cosine",
    )
    weight_decay: float = _key("decay of the weights (AdamW)", "a number", default=0.0, ge=0, le=1)
    batch_size: int = _key(
        "grid points of one step of the optimiser", "a whole number", default=1000, ge=1, le=100000000
    )
    epochs: int = _key("most passes over the training snapshots", "a whole number", ge=1, le=1000000)
    patience: int = _key(
        "epochs without a better validation error after which the training stops",
        "a whole number",
        default=10,
        ge=1,
        le=1000000,
    )
    device: Literal["cpu", "cuda"] = _key("where the network is trained", "a device", default="cpu")
    threads: int = _key(
        "threads of the training; results may differ by rounding", "a whole number", default=2, ge=1, le=1024
    )


class Supercell(Section):
    """A larger structure that the model predicts: a snapshot, repeated; displaced, faulted if asked."""

    snapshot: str = _key("name of the snapshot, such as b-0", "the name of a snapshot")
    repeat: list[Positive] = _key(
        "repetitions along the three edges", "three whole numbers between 1 and 10000", min_length=3, max_length=3
    )
    displacement_A: float = _key(
        "standard deviation of a further displacement of every atom along each axis, so that no part repeats",
        "a length",
        unit="Å",
        default=0.0,
        ge=0,
        le=0.5,
    )
    stacking_fault_layer: int | None = _key(
        "first of the three hexagonal layers, counted from 0 along the third edge, that are shifted by a/√3; only for "
        "cells that are built from a lattice",
        "a whole number",
        default=None,
        ge=0,
        le=100000,
    )

    @property
    def is_repetition(self) -> bool:
        """Whether its energies per atom are the snapshot's."""
        return self.displacement_A == 0 and self.stacking_fault_layer is None


class Inference(Section):
    """How predictions are computed and cut into jobs; results depend on `precision`, and on nothing else of it."""

    batches: int = _key(
        "jobs per structure, each with its share of the tiles", "a whole number", default=2, ge=1, le=10000
    )
    precision: Literal["float64", "float32", "bfloat16"] = _key(
        "precision of the network: float64 (slow), float32, bfloat16 (for processors with AMX)",
        "float64, float32 or bfloat16",
        default="float32",
    )
    memory_GiB: float = _key(
        "memory of one process, which sets the size of the tiles", "a size", unit="GiB", default=4.0, gt=0, le=4096
    )
    largest_stride: int = _key(
        "coarseness of the pre-pass for the first Fermi level (1: every grid point)", "1, 2 or 3", default=3, ge=1, le=3
    )
    accept_unfit: bool = _key(
        "predict structures that are far from the training set too", "true or false", default=False
    )
    ranks: int = _key("MPI ranks of one job", "a whole number", default=1, ge=1, le=65536)
    threads: int = _key("threads of one rank", "a whole number", default=1, ge=1, le=1024)


def _structure_kind(value: Any) -> str:
    is_file = "file" in value if isinstance(value, Mapping) else isinstance(value, FileStructure)
    return "(file)" if is_file else "(built)"


Structure = Annotated[
    Annotated[BuiltStructure, Tag("(built)")] | Annotated[FileStructure, Tag("(file)")], Discriminator(_structure_kind)
]


class Study(Section):
    """A study file of Nearsight: everything that decides its results."""

    study: str = _key(
        "name of the study; its files are in results/<study>/", "letters, digits, _ and - only", pattern=STUDY_NAME
    )
    seed: int = _key("seed of all random numbers", "a whole number", default=7, ge=0, le=2**31 - 1)
    temperature_K: float = _key(
        "temperature of the nuclei and of the electrons", "a temperature", unit="K", gt=0, le=1e6
    )
    pseudopotentials: dict[Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")], Pseudopotential] = _key(
        "pseudopotential of each element", "one entry per chemical symbol", min_length=1
    )
    structure: Structure = _key("the cell of the DFT-MD", "either `file` or the keys of a lattice")
    dft: Dft = _key("SCF of the snapshots", "a section")
    md: Md = _key("DFT-MD", "a section")
    trajectories: dict[Name, Trajectory] = _key("DFT-MD runs by name", "one entry per trajectory", min_length=1)
    ldos: Ldos = _key("local density of states", "a section")
    descriptors: Annotated[SerializeAsAny[Bispectrum], other_kinds(DESCRIPTORS, "bispectrum")] = _key(
        "descriptors", "a section", default=Bispectrum()
    )
    training: Training = _key("training", "a section")
    supercells: dict[Name, Supercell] = _key("larger structures by name", "one entry per supercell", default={})
    inference: Inference = _key("prediction", "a section", default=Inference())

    def snapshots(self, *roles: str) -> list[str]:
        """Names of the snapshots with one of the roles (all, where none is given), in order of trajectory and time."""
        return [
            f"{name}-{index}"
            for name, trajectory in self.trajectories.items()
            for index, role in enumerate(trajectory.snapshots.roles())
            if not roles or role in roles
        ]

    def role(self, snapshot: str) -> str:
        """What a snapshot serves for. Raises KeyError for a name that is no snapshot."""
        trajectory, _, index = snapshot.rpartition("-")
        return self.trajectories[trajectory].snapshots.roles()[int(index)]

    def seed_of(self, name: str) -> int:
        """Seed of one trajectory or supercell: a function of the study's seed and the name alone, not of the others."""
        return int(sha256(f"{self.seed} {name}".encode()).hexdigest()[:7], 16)


# ----------------------------------------------------------------------------------------------- reading


class _Loader(yaml.SafeLoader):
    """Safe YAML of bounded size without duplicate keys, in which 1e-3 is a number (YAML 1.1 wants 1.0e-3)."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count_nodes(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(
                    f"line {line}: {key}: expected every key once, found it in line {seen[key]} already. Remove one."
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _count_nodes(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Number of nodes with every alias written out; raises ConfigError where a few lines stand for very many."""
    if node not in counts:
        counts[node] = LARGEST_STUDY_NODES  # met again inside of itself, it has no end
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        pairs = isinstance(node, yaml.MappingNode)
        parts = (part for child in children for part in (child if pairs else (child,)))
        counts[node] = 1 + sum(_count_nodes(part, counts) for part in parts)
        if counts[node] > LARGEST_STUDY_NODES:
            line = node.start_mark.line + 1
            raise ConfigError(f"line {line}: expected at most {LARGEST_STUDY_NODES} values with all aliases, got more.")
    return counts[node]


def read_yaml(path: str | Path) -> dict:
    """The mapping of a YAML file. Raises ConfigError: missing, no YAML, too large, duplicate keys."""
    advice = "Give one with --configfile, or run in the folder that holds config/."
    try:
        text = read_regular(path, "a study file", advice, LARGEST_STUDY_BYTES).decode("utf-8")
        content = yaml.load(text, _Loader)  # a safe loader
    except InputError as error:
        raise ConfigError(str(error)) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:  # PyYAML raises errors of Python beside its own: a date of month 13, 5000 digits, ...
        raise ConfigError(f"{path}: expected YAML, got: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, got {_show(content)}.")
    return content


def load_study(path: str | Path, overrides: Mapping | None = None) -> Study:
    """Read and check a study file.

    overrides: nested keys that replace those of the file (Snakemake's --config). Raises ConfigError with one
    line per mistake.
    """
    content = read_yaml(path)
    if overrides:
        content = _merge(content, _typed(overrides))
    return parse_study(content, str(path))


def parse_study(content: Mapping, source: str) -> Study:
    """Check the content of a study file; `source` is its name in messages. Raises ConfigError."""
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
    else:
        lines = [f"{key}: {text}" for key, text in _contradictions(study)]
        if not lines:
            return study
    shown = "\n".join(f"{source}: {line}" for line in dict.fromkeys(lines))
    raise ConfigError(shown)


def _typed(value: Any) -> Any:
    """Numbers and truth values in an override, which Snakemake's --config leaves as text inside of sections."""
    if isinstance(value, Mapping):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        read = yaml.load(value, _Loader)
    except yaml.YAMLError:
        return value
    return read if isinstance(read, bool | int | float) else value


def _merge(base: Mapping, changes: Mapping) -> dict:
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return merged


# ---------------------------------------------------------------------------------- relations between keys


def _contradictions(study: Study) -> list[tuple[str, str]]:
    """What is wrong between keys that are right by themselves, as (key, message)."""
    count = sum(sum(trajectory.snapshots.model_dump().values()) for trajectory in study.trajectories.values())
    if count > MOST_SNAPSHOTS:
        return [("trajectories", f"expected at most {MOST_SNAPSHOTS} snapshots in all, got {count}.")]
    return [
        *_wrong_pseudopotentials(study),
        *_wrong_dft(study),
        *_wrong_trajectories(study),
        *_wrong_energies(study),
        *_wrong_supercells(study),
    ]


def _wrong_pseudopotentials(study: Study) -> list[tuple[str, str]]:
    wrong = []
    for element, source in study.pseudopotentials.items():
        key = f"pseudopotentials.{element}"
        if (source.ld1_input is None) == (source.upf is None):
            wrong.append(
                (key, 'expected either ld1_input, or upf with sha256. See config/README.md, "pseudopotentials".')
            )
        elif (source.upf is None) != (source.sha256 is None):
            wrong.append((key, "expected upf and sha256 together. `sha256sum FILE` prints the checksum."))
    structure = study.structure
    if isinstance(structure, BuiltStructure) and structure.element not in study.pseudopotentials:
        known = ", ".join(study.pseudopotentials)
        wrong.append(
            (
                f"pseudopotentials.{structure.element}",
                f"expected a pseudopotential for the element of the structure, found only {known}. "
                "Give ld1_input, or upf with sha256.",
            )
        )
    return wrong


def _wrong_dft(study: Study) -> list[tuple[str, str]]:
    dft = study.dft
    if dft.ecutrho_Ry < 4 * dft.ecutwfc_Ry:
        return [
            (
                "dft.ecutrho_Ry",
                f"expected at least 4 times dft.ecutwfc_Ry, that is {4 * dft.ecutwfc_Ry:g} Ry, got {dft.ecutrho_Ry:g}.",
            )
        ]
    return []


def _wrong_trajectories(study: Study) -> list[tuple[str, str]]:
    wrong = []
    step = study.md.time_step_fs
    for name, trajectory in study.trajectories.items():
        count = len(trajectory.snapshots.roles())
        if count == 0:
            wrong.append((f"trajectories.{name}.snapshots", "expected at least one snapshot, got none."))
        length = trajectory.segments * study.md.steps_per_segment * step
        frames = math.floor((length - study.md.equilibration_fs) / step + 1e-9)
        if frames < count:
            wrong.append(
                (
                    f"trajectories.{name}.segments",
                    f"expected MD long enough for {count} snapshots after md.equilibration_fs = "
                    f"{study.md.equilibration_fs:g} fs, got {trajectory.segments} segments of "
                    f"{study.md.steps_per_segment} steps, {length:g} fs in all. Add segments.",
                )
            )
    for role in ROLES:
        if not study.snapshots(role):
            wrong.append(("trajectories", f"expected at least one {role} snapshot in some trajectory, got none."))
    for name, trajectory in study.trajectories.items():
        if trajectory.snapshots.test and (trajectory.snapshots.train or trajectory.snapshots.validation):
            wrong.append(
                (
                    f"trajectories.{name}.snapshots.test",
                    "expected test snapshots in a trajectory without train and validation snapshots, because "
                    "neighbours in time are alike. Move them to a trajectory of their own.",
                )
            )
    return wrong


def _wrong_energies(study: Study) -> list[tuple[str, str]]:
    ldos = study.ldos
    wrong = []
    width = ldos.energy_max_eV - ldos.energy_min_eV
    thermal = BOLTZMANN_eV_per_K * study.temperature_K
    steps = width / ldos.spacing_eV
    needed = 25 * thermal + 8 * ldos.broadening_eV
    if width <= 0:
        wrong.append(
            (
                "ldos.energy_max_eV",
                f"expected an energy in eV above ldos.energy_min_eV = {ldos.energy_min_eV:g}, "
                f"got {ldos.energy_max_eV:g}.",
            )
        )
    elif abs(steps - round(steps)) > 1e-6:
        wrong.append(
            (
                "ldos.spacing_eV",
                f"expected a spacing that divides the window of {width:g} eV, got {ldos.spacing_eV:g}.",
            )
        )
    elif not steps < MOST_ENERGIES:
        wrong.append(
            (
                "ldos.spacing_eV",
                f"expected at most {MOST_ENERGIES} energies (pp.x numbers its files with three digits), got "
                f"{steps + 1:.0f}. Raise the spacing or make the window narrower.",
            )
        )
    elif width < needed:
        wrong.append(
            (
                "ldos.energy_max_eV",
                f"expected a window of at least 25 k_B T + 8 broadening_eV = {needed:.3g} eV, "
                f"got {width:g} eV: it has to reach from below the lowest state to where all states are empty.",
            )
        )
    ratio = ldos.broadening_eV / ldos.spacing_eV
    if ratio < 1 - 1e-9 or ratio > 10 + 1e-9:
        wrong.append(
            (
                "ldos.broadening_eV",
                f"expected between 1 and 10 times ldos.spacing_eV = {ldos.spacing_eV:g} eV, "
                f"got {ldos.broadening_eV:g}. The reference uses twice the spacing.",
            )
        )
    return wrong


def _wrong_supercells(study: Study) -> list[tuple[str, str]]:
    wrong = []
    snapshots = study.snapshots()
    for name, supercell in study.supercells.items():
        if name == "reference":
            wrong.append((f"supercells.{name}", "expected another name: `reference` is the cell of the DFT-MD."))
        if supercell.snapshot not in snapshots:
            wrong.append(
                (
                    f"supercells.{name}.snapshot",
                    f"expected one of the snapshots {', '.join(snapshots)}, got {supercell.snapshot}.",
                )
            )
        if supercell.stacking_fault_layer is not None and not isinstance(study.structure, BuiltStructure):
            wrong.append(
                (
                    f"supercells.{name}.stacking_fault_layer",
                    "expected a cell that is built from a lattice, whose layers are known, got structure.file.",
                )
            )
    return wrong


# ----------------------------------------------------------------------------------------------- messages


def _explain(error: Mapping) -> str:
    """One of pydantic's errors in our words."""
    path, section, field, container = _locate(error["loc"])
    name = ".".join(path) or "study file"
    kind, value = error["type"], error["input"]
    page = f'see config/README.md, "{section}".'
    if kind == "extra_forbidden":
        return f"{name}: unknown key. {_suggest(path[-1], container)}"
    if field is None:
        return f"{name}: expected keys and values, got {_show(value)}; {page}"
    if error["loc"][-1] == "[key]":
        return f"{name}: expected {_name_rule(path)}, got {_show(value)}; {page}"
    expected = expected_text(field)
    if kind == "missing":
        return f"{name}: expected {expected}, found nothing. Add the key; {page}"
    default = default_text(field)
    if default is None:
        advice = f"S{page[1:]}"
    else:
        extra = field.json_schema_extra or {}
        advice = f"The {'reference uses' if extra.get('reference') else 'default is'} {default}; {page}"
    return f"{name}: expected {expected}, got {_show(value)}.\n  {advice}"


def _name_rule(path: list[str]) -> str:
    if path[0] == "pseudopotentials":
        return "a chemical symbol such as Be"
    return "a name of letters, digits and _ that begins with a letter"


def _locate(location: tuple) -> tuple[list[str], str, FieldInfo | None, type[BaseModel]]:
    """Follow pydantic's location: key path for the message, section of the README, field, innermost model."""
    path: list[str] = []
    model: type[BaseModel] = Study
    field: FieldInfo | None = None
    annotation: Any = Study
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, int) and path:
            path[-1] += f"[{part}]"
            continue
        options = {tag: kind for kind in models_of(annotation) for tag in _TAGS.get(kind, ())}
        if part in options and field is not None:  # the tag of a union, no key of the file
            annotation = model = options[part]
            continue
        path.append(str(part))
        inner = models_of(annotation)
        if typing.get_origin(annotation) is dict:
            annotation, model = inner[0], inner[0]
        elif inner and part in inner[0].model_fields:
            model = inner[0]
            field = model.model_fields[part]
            annotation = field.annotation
            nested = models_of(annotation)
            if len(nested) == 1 and typing.get_origin(annotation) is not dict:
                model = nested[0]
    return path, path[0] if path else "study", field, model


_TAGS = {BuiltStructure: ("(built)",), FileStructure: ("(file)",)}


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation: itself, a union's members, a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) is dict:
        return models_of(typing.get_args(annotation)[1])
    if typing.get_origin(annotation) in (Annotated, typing.Union, types.UnionType):
        return [model for argument in typing.get_args(annotation) for model in models_of(argument)]
    return []


def expected_text(field: FieldInfo) -> str:
    """What a key takes: "a length in Å between 1 and 12"."""
    extra = field.json_schema_extra or {}
    unit = f" in {extra['unit']}" if extra.get("unit") else ""
    choices = [str(value) for value in typing.get_args(field.annotation)]
    if typing.get_origin(field.annotation) is Literal:
        return f"{extra['expected']} ({' or '.join(choices)})"
    return f"{extra['expected']}{unit}{_limits(field)}"


def _limits(field: FieldInfo) -> str:
    found = {
        name: value
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if (value := getattr(item, name, None)) is not None
    }
    if "ge" in found and ("le" in found or "lt" in found):
        top = found["le"] if "le" in found else found["lt"]
        return f" between {_number(found['ge'])} and {_number(top)}"
    text = []
    if "ge" in found:
        text.append(f"of at least {_number(found['ge'])}")
    if "gt" in found:
        text.append(f"above {_number(found['gt'])}")
    if "le" in found:
        text.append(f"at most {_number(found['le'])}")
    if "lt" in found:
        text.append(f"below {_number(found['lt'])}")
    return " " + " and ".join(text) if text else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def default_text(field: FieldInfo) -> Any:
    """The default of a key as YAML-like text; None where there is none."""
    value = field.get_default(call_default_factory=True, validated_data={}) if not field.is_required() else None
    if value is None or isinstance(value, BaseModel):
        return None
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _suggest(key: str, model: type[BaseModel]) -> str:
    """The nearest key to an unknown one; `cutoff` leads to `cutoff_A`, whose unit is part of its name."""
    known = list(model.model_fields)
    stem = {name: _without_unit(name, model.model_fields[name]) for name in known}
    near = [name for name in known if stem[name] == _strip_suffix(key, stem[name])]
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}" ({expected_text(model.model_fields[near[0]])})?'
    return f"Known keys here: {', '.join(known)}."


def _without_unit(name: str, field: FieldInfo) -> str:
    unit = (field.json_schema_extra or {}).get("unit", "")
    return name.rpartition("_")[0] if unit and "_" in name else name


def _strip_suffix(key: str, stem: str) -> str:
    """`cutoff_nm` names the same quantity as `cutoff_A`: compare up to the last underscore."""
    return key if key == stem else (key.rpartition("_")[0] or key)


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

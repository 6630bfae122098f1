"""The options of the `nearsight` command in one table: name, type with its range, meaning.

`nearsight.Calculator` takes the same ranges for the same things.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearsight.errors import InputError

#: Points along an axis: at a tenth of an Å from point to point, a cell of ten micrometres.
LARGEST_GRID = 100_000


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`: the type of an option, called with its text, and of a Calculator's argument."""

    kind: type[int] | type[float]
    low: float
    high: float
    unit: str = ""

    def __call__(self, text: str) -> int | float:
        """The number. Raises argparse's error with the range otherwise."""
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not self.holds(value):
            raise argparse.ArgumentTypeError(f"expected {self}, got {text[:40]!r}")
        return value

    def holds(self, value: object) -> bool:
        """Whether a value is of this kind and range; a boolean or a NaN is not."""
        whole = isinstance(value, int) or (hasattr(value, "__index__") and not isinstance(value, bool))
        number = whole if self.kind is int else whole or isinstance(value, float)
        return number and not isinstance(value, bool) and self.low <= value <= self.high

    def check(self, name: str, value: object) -> Any:
        """The value. Raises InputError where it is out of range."""
        if not self.holds(value):
            raise InputError(f"{name}: expected {self}, got {value!r}.")
        return value

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"a {'whole ' if self.kind is int else ''}number from {self.low:g} to {self.high:g}{unit}"


def element(text: str) -> str:
    """The symbol of a chemical element."""
    from ase.data import chemical_symbols  # here: not every command waits for it

    if text not in chemical_symbols[1:]:
        raise argparse.ArgumentTypeError(f"expected the symbol of an element, such as Be, got {text[:40]!r}")
    return text


def region(text: str) -> str | tuple[tuple[int, int], ...]:
    """A region of grid points from 'x0:x1,y0:y1,z0:z1', with some points in each direction, or 'all'."""
    if text == "all":
        return text
    try:
        pairs = tuple(tuple(int(number) for number in part.split(":")) for part in text.split(","))
    except ValueError:
        pairs = ()
    if len(pairs) != 3 or any(len(pair) != 2 or not 0 <= pair[0] < pair[1] <= LARGEST_GRID for pair in pairs):
        raise argparse.ArgumentTypeError(f"expected grid points as in 0:10,0:10,5:6, or all, got {text[:40]!r}")
    return pairs


GRID = Number(int, 1, LARGEST_GRID)
THREADS = Number(int, 1, 1024)
TEMPERATURE = Number(float, 1, 1e6, "K")
ECUT_SAMPLE = Number(float, 1, 8000, "Ry")
REPEAT = Number(int, 1, 10_000)
#: LAMMPS takes seeds of 31 bits.
SEED = Number(int, 0, 2**31 - 1)

ENERGY = Number(float, -1000, 1000, "eV")

_OVERWRITE = ("--overwrite", {"action": "store_true", "help": "replace the output if it is there already"})

_THREE = {"nargs": 3, "metavar": ("NX", "NY", "NZ")}

#: Command -> (name of an argument or option, argparse's keywords); a tuple of them: one of these has to be given.
OPTIONS: dict[str, list[tuple]] = {
    "check-config": [
        ("studies", {"type": Path, "nargs": "+", "metavar": "STUDY", "help": "study file, such as config/laptop.yaml"}),
    ],
    "describe-config": [
        ("--folder", {"type": Path, "default": Path("config"), "help": "folder of both (default: config)"}),
    ],
    "show": [
        ("dataset", {"type": Path, "help": "HDF5 file of Nearsight, such as results/quickstart/reference/a-0.h5"}),
    ],
    "models": [],
    "check": [
        ("reference", {"type": Path, "help": "snapshot dataset, such as results/quickstart/reference/a-0.h5"}),
        (
            "--zero",
            {
                "type": Path,
                "nargs": "+",
                "metavar": "REFERENCE",
                "help": "references of other densities: what ldos.energy_zero_eV_A3 they give",
            },
        ),
        ("--denser", {"type": Path, "metavar": "REFERENCE", "help": "the same structure with more k-points"}),
        (
            "--pseudopotentials",
            {"type": Path, "metavar": "DIR", "help": "folder of the UPF files (default: the study's, ../pseudo)"},
        ),
        (
            "--limit-meV",
            {"type": Number(float, 0, 1e6, "meV"), "help": "fail where the floors' sum per atom is larger"},
        ),
    ],
    "import": [
        ("program", {"choices": ("qe",), "help": "qe: a finished run of Quantum ESPRESSO's pw.x"}),
        ("outdir", {"type": Path, "help": "pw.x's outdir, or its PREFIX.save"}),
        ("--out", {"type": Path, "required": True, "metavar": "FILE", "help": "snapshot dataset to write (HDF5)"}),
        _OVERWRITE,
        (
            "--ldos",
            {
                "nargs": "+",
                "metavar": "CUBE",
                "help": "cube files of pp.x (plot_num = 3) or patterns of them; without, the LDOS is computed",
            },
        ),
        ("--density", {"type": Path, "metavar": "CUBE", "help": "density by pp.x (default: the save folder's)"}),
        ("--nscf", {"type": Path, "metavar": "OUTDIR", "help": "of the non-SCF run that pp.x has read"}),
        ("--study", {"type": Path, "help": "study whose section `ldos` tells energies and broadening"}),
        ("--energy-min-eV", {"type": ENERGY, "help": "lowest energy of the LDOS, in place of --study"}),
        ("--energy-max-eV", {"type": ENERGY, "help": "highest energy of the LDOS"}),
        ("--spacing-eV", {"type": Number(float, 1e-3, 5, "eV"), "default": 0.1, "help": "(default: 0.1)"}),
        ("--broadening-eV", {"type": Number(float, 1e-3, 10, "eV"), "default": 0.2, "help": "(default: 0.2)"}),
        (
            "--pseudopotentials",
            {"type": Path, "metavar": "DIR", "help": "folder of UPF files (default: the save folder)"},
        ),
    ],
    "export": [
        ("dataset", {"type": Path, "help": "HDF5 file with a density, such as prediction.h5"}),
        ("output", {"type": Path, "help": "file to write; for espresso a folder, pw.x's outdir or its PREFIX.save"}),
        _OVERWRITE,
        (
            "--format",
            {
                "choices": ("cube", "xsf", "chgcar", "espresso"),
                "help": "by default that of the output's suffix, or CHGCAR; espresso is a start for pw.x",
            },
        ),
        (
            "--ecutrho-Ry",
            {"type": Number(float, 1, 8000, "Ry"), "help": "of the run that espresso is for (default: the dataset's)"},
        ),
    ],
    "build": [
        ("output", {"type": Path, "help": "extended XYZ file to write"}),
        _OVERWRITE,
        (
            ("--element", {"type": element, "help": "hcp crystal of it, in orthorhombic cells of four atoms"}),
            ("--structure", {"help": "structure to begin with, such as a snapshot of DFT-MD; FILE@INDEX of several"}),
        ),
        ("--density-g-cm3", {"type": Number(float, 1e-3, 100, "g/cm³"), "help": "of the hcp crystal"}),
        ("--c-over-a", {"type": Number(float, 0.1, 10), "help": "of the hcp crystal"}),
        (
            "--md-repeat",
            {"type": REPEAT, "default": (1, 1, 1), "help": "repetition before the MD (default: 1 1 1)", **_THREE},
        ),
        (
            "--md-steps",
            {"type": Number(int, 0, 10**9), "default": 0, "help": "steps of molecular dynamics (default: none)"},
        ),
        ("--time-step-fs", {"type": Number(float, 1e-3, 100, "fs"), "default": 2.0, "help": "(default: 2)"}),
        ("--temperature-K", {"type": TEMPERATURE, "default": 298.0, "help": "of the nuclei (default: 298)"}),
        (
            "--pair-commands",
            {
                "type": Path,
                "help": "file with LAMMPS's pair_style and pair_coeff lines (default: SNAP for W, Be)",
            },
        ),
        ("--repeat", {"type": REPEAT, "default": (1, 1, 1), "help": "repetition after it (default: 1 1 1)", **_THREE}),
        (
            "--displacement-A",
            {
                "type": Number(float, 0, 10, "Å"),
                "default": 0.0,
                "help": "standard deviation of a displacement of every atom on its own",
            },
        ),
        (
            "--stacking-fault",
            {
                "type": Number(int, 0, 10**6),
                "metavar": "LAYER",
                "help": "first of three shifted layers (with --element)",
            },
        ),
        ("--seed", {"type": SEED, "default": 7, "help": "(default: 7)"}),
    ],
    "predict": [
        ("model", {"type": Path, "help": "folder of a model, its model.json, or a name that `nearsight models` lists"}),
        ("structure", {"help": "structure, such as extended XYZ, CIF or POSCAR; FILE@INDEX of several, as in ASE"}),
        ("--out", {"type": Path, "required": True, "metavar": "DIR", "help": "folder for the results"}),
        ("--overwrite", {"action": "store_true", "help": "replace the prediction of another structure in this folder"}),
        ("--temperature-K", {"type": TEMPERATURE, "help": "of the electrons (default: the model's)"}),
        ("--grid", {"type": GRID, "help": "(default: the structure's, else Quantum ESPRESSO's)", **_THREE}),
        ("--threads", {"type": THREADS, "default": 1, "help": "threads of each rank (default: 1)"}),
        (
            "--memory-GiB",
            {
                "type": Number(float, 0.01, 4096, "GiB"),
                "default": 4.0,
                "help": "memory of each rank's tiles (default: 4)",
            },
        ),
        (
            "--backend",
            {
                "help": "of the descriptors, as in a study's `descriptors` (default: the one of the training)",
            },
        ),
        (
            "--precision",
            {"choices": ("float64", "float32", "bfloat16"), "default": "float32", "help": "of the network"},
        ),
        (
            "--ldos",
            {
                "type": region,
                "metavar": "REGION",
                "help": "store the LDOS of the grid points x0:x1,y0:y1,z0:z1, or of `all`",
            },
        ),
        (
            "--accept-extrapolation",
            {"action": "store_true", "help": "predict a structure that is far from the training set too"},
        ),
        (
            "--ecut-sample-Ry",
            {
                "type": ECUT_SAMPLE,
                "help": "cutoff of the grid that is predicted, before the density is continued to its own grid "
                "(default: the model's, and with --grid all points of that grid)",
            },
        ),
        (
            "--no-screening",
            {
                "dest": "screening",
                "action": "store_false",
                "help": "leave the density's waves longer than 10 Å as the model has them, in a metal too",
            },
        ),
        ("--view", {"action": "store_true", "help": "make a page of it too, DIR/view.html"}),
    ],
    "view": [
        ("prediction", {"type": Path, "metavar": "DIR", "help": "folder of a prediction"}),
        (
            "--compare",
            {
                "type": Path,
                "metavar": "DIR",
                "help": "another prediction, or a dataset such as DFT's, of the same cell and grid, to subtract",
            },
        ),
        ("--output", {"type": Path, "metavar": "FILE", "help": "page to write (default: DIR/view.html)"}),
        _OVERWRITE,
    ],
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Give a parser the arguments and options of a command."""
    for entry in OPTIONS[command]:
        if isinstance(entry[0], tuple):
            group = parser.add_mutually_exclusive_group(required=True)
            for name, keywords in entry:
                group.add_argument(name, **keywords)
        else:
            parser.add_argument(entry[0], **entry[1])

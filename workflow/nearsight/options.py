"""The options of the `nearsight` command in one table: name, type with its range, meaning.

`nearsight.Calculator` uses the same ranges for the same quantities.
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


def _option(name: str, meaning: str, **keywords: Any) -> tuple[str, dict[str, Any]]:
    """An argument or option with argparse's keywords; its help ends with the default, if it has one."""
    if "default" in keywords:
        default = keywords["default"]
        meaning += f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
    return name, {**keywords, "help": meaning}


_OVERWRITE = _option("--overwrite", "replace the output if it exists", action="store_true")

#: Options of `import` that one program alone has.
IMPORT_OPTIONS = {
    "qe": ("ldos", "nscf"),
    "mala": ("text", "data", "temperature_K", "kernel", "correction", "accept_coarse"),
}

_THREE = {"nargs": 3, "metavar": ("NX", "NY", "NZ")}

#: Command -> (name of an argument or option, argparse's keywords); a tuple of them: one of these has to be given.
OPTIONS: dict[str, list[tuple]] = {
    "check-config": [
        _option("studies", "study file, such as config/laptop.yaml", type=Path, nargs="+", metavar="STUDY")
    ],
    "describe-config": [_option("--folder", "folder to write to", type=Path, default=Path("config"))],
    "show": [_option("dataset", "HDF5 file made by Nearsight, such as results/quickstart/reference/a-0.h5", type=Path)],
    "models": [],
    "check": [
        _option("reference", "snapshot dataset, such as results/quickstart/reference/a-0.h5", type=Path),
        _option(
            "--zero",
            "references of other densities; prints the ldos.energy_zero_eV_A3 that they give",
            type=Path,
            nargs="+",
            metavar="REFERENCE",
        ),
        _option("--denser", "a dataset of the same structure with more k-points", type=Path, metavar="REFERENCE"),
        _option(
            "--pseudopotentials",
            "folder with the UPF files (default: the study's, ../pseudo)",
            type=Path,
            metavar="DIR",
        ),
        _option("--limit-meV", "fail if the sum of the floors per atom is larger", type=Number(float, 0, 1e6, "meV")),
    ],
    "import": [
        _option(
            "program",
            "qe: a finished run of Quantum ESPRESSO's pw.x; mala: a model or an LDOS of MALA",
            choices=("qe", "mala"),
        ),
        _option(
            "source", "qe: pw.x's outdir, or its PREFIX.save; mala: a model (.zip), or an LDOS (.npy, .h5)", type=Path
        ),
        _option(
            "--out",
            "snapshot dataset to write (HDF5); for a model the folder to write to",
            type=Path,
            required=True,
            metavar="FILE",
        ),
        _OVERWRITE,
        _option(
            "--ldos",
            "qe: cube files of pp.x (plot_num = 3), or patterns of their names (default: compute the LDOS)",
            nargs="+",
            metavar="CUBE",
        ),
        _option(
            "--density",
            "density; qe: as written by pp.x (default: the save folder's); mala: .npy, .h5 (default: the LDOS's own)",
            type=Path,
            metavar="FILE",
        ),
        _option("--nscf", "qe: outdir of the non-SCF run that pp.x read", type=Path, metavar="OUTDIR"),
        _option("--text", "mala: what pw.x printed, with verbosity = 'high'", type=Path, metavar="FILE"),
        _option("--study", "study file whose section `ldos` gives the energies, for qe the broadening too", type=Path),
        _option("--energy-min-eV", "lowest energy of the LDOS, instead of --study", type=ENERGY),
        _option("--energy-max-eV", "highest energy of the LDOS", type=ENERGY),
        _option("--spacing-eV", "energy step", type=Number(float, 1e-3, 5, "eV"), default=0.1),
        _option(
            "--broadening-eV",
            "width of the broadening (default: 0.2; for mala: measured)",
            type=Number(float, 1e-3, 10, "eV"),
        ),
        _option(
            "--pseudopotentials",
            "folder with the UPF files (default for qe: the save folder)",
            type=Path,
            metavar="DIR",
        ),
        _option(
            "--data",
            "mala, a model: folder with its training snapshots (descriptors, LDOS, what pw.x printed)",
            type=Path,
            metavar="DIR",
        ),
        _option("--temperature-K", "mala: of the electrons (default: MALA's, with few digits)", type=TEMPERATURE),
        _option(
            "--kernel",
            "mala, a model: how its LDOS is broadened, with --broadening-eV (default: fermi-dirac)",
            choices=("fermi-dirac", "gaussian"),
        ),
        _option(
            "--no-correction",
            "mala, a model: leave energies uncorrected for the broadening, as MALA does",
            dest="correction",
            action="store_false",
        ),
        _option(
            "--accept-coarse",
            "mala, an LDOS: import a run that no study would take, with a warning for each reason",
            action="store_true",
        ),
    ],
    "export": [
        _option("dataset", "HDF5 file with a density, such as prediction.h5", type=Path),
        _option("output", "file to write; for espresso a folder: pw.x's outdir, or the PREFIX.save in it", type=Path),
        _OVERWRITE,
        _option(
            "--format",
            "default: by the name of the output (.cube, .xsf, CHGCAR); espresso is a start for pw.x",
            choices=("cube", "xsf", "chgcar", "espresso"),
        ),
        _option(
            "--ecutrho-Ry",
            "density cutoff of the run that --format espresso is for (default: the dataset's)",
            type=Number(float, 1, 8000, "Ry"),
        ),
    ],
    "build": [
        _option("output", "extended XYZ file to write", type=Path),
        _OVERWRITE,
        (
            _option(
                "--element", "build an hcp crystal of this element, in orthorhombic cells of four atoms", type=element
            ),
            _option(
                "--structure", "file of a structure to begin with, such as a snapshot; FILE@INDEX if it holds several"
            ),
        ),
        _option("--density-g-cm3", "mass density of the hcp crystal", type=Number(float, 1e-3, 100, "g/cm³")),
        _option("--c-over-a", "ratio c/a of the hcp crystal", type=Number(float, 0.1, 10)),
        _option("--md-repeat", "repetitions before the MD", type=REPEAT, default=(1, 1, 1), **_THREE),
        _option("--md-steps", "steps of molecular dynamics", type=Number(int, 0, 10**9), default=0),
        _option("--time-step-fs", "time step of the MD", type=Number(float, 1e-3, 100, "fs"), default=2.0),
        _option("--temperature-K", "temperature of the MD", type=TEMPERATURE, default=298.0),
        _option(
            "--pair-commands",
            "file with LAMMPS's pair_style and pair_coeff lines (default: SNAP for W and Be)",
            type=Path,
        ),
        _option("--repeat", "repetitions after the MD", type=REPEAT, default=(1, 1, 1), **_THREE),
        _option(
            "--displacement-A",
            "standard deviation of a random displacement of every atom along each axis",
            type=Number(float, 0, 10, "Å"),
            default=0.0,
        ),
        _option(
            "--stacking-fault",
            "first of the three layers to shift, counted from 0 (with --element)",
            type=Number(int, 0, 10**6),
            metavar="LAYER",
        ),
        _option("--seed", "seed of all random numbers", type=SEED, default=7),
    ],
    "predict": [
        _option("model", "folder of a model, its model.json, or a name that `nearsight models` lists", type=Path),
        _option(
            "structure", "file of a structure, such as extended XYZ, CIF or POSCAR; FILE@INDEX if it holds several"
        ),
        _option(
            "--out",
            "folder for the results (default: STRUCTURE-prediction, in the working directory)",
            type=Path,
            metavar="DIR",
        ),
        _option("--overwrite", "replace the prediction of another structure in this folder", action="store_true"),
        _option("--temperature-K", "temperature of the electrons (default: the model's)", type=TEMPERATURE),
        _option(
            "--grid",
            "grid points of the density (default: the structure's, else Quantum ESPRESSO's)",
            type=GRID,
            **_THREE,
        ),
        _option("--threads", "threads of each rank", type=THREADS, default=1),
        _option(
            "--memory-GiB",
            "memory of each rank; what does not fit lies on disk, in DIR",
            type=Number(float, 0.01, 4096, "GiB"),
            default=4.0,
        ),
        _option(
            "--backend", "backend of the descriptors, as in a study's `descriptors` (default: that of the training)"
        ),
        _option(
            "--precision", "precision of the network", choices=("float64", "float32", "bfloat16"), default="float32"
        ),
        _option(
            "--ldos", "write the LDOS at the grid points x0:x1,y0:y1,z0:z1, or at `all`", type=region, metavar="REGION"
        ),
        _option(
            "--accept-extrapolation",
            "predict the structure even if it is far from the training set",
            action="store_true",
        ),
        _option(
            "--ecut-sample-Ry",
            "cutoff of the grid that is predicted, before the density is continued to its own grid (default: the "
            "model's; with --grid all points of that grid)",
            type=ECUT_SAMPLE,
        ),
        _option(
            "--no-screening",
            "do not correct a metal's density in waves longer than 10 Å",
            dest="screening",
            action="store_false",
        ),
        _option("--view", "also make a page for the browser, DIR/view.html", action="store_true"),
    ],
    "view": [
        _option("prediction", "folder of a prediction", type=Path, metavar="DIR"),
        _option(
            "--compare",
            "another prediction, or a dataset such as DFT's, on the same cell and grid, to subtract",
            type=Path,
            metavar="DIR",
        ),
        _option("--output", "page to write (default: DIR/view.html)", type=Path, metavar="FILE"),
        _OVERWRITE,
    ],
}


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Give a parser the arguments and options of a command."""
    for entry in OPTIONS[command]:
        if isinstance(entry[0], tuple):
            group = parser.add_mutually_exclusive_group(required=True)
            for name, keywords in entry:
                group.add_argument(name, **keywords)
        else:
            parser.add_argument(entry[0], **entry[1])

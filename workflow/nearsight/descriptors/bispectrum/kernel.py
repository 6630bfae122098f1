"""The native backend: the compiled kernel (native/), behind checks of its arguments."""

import os
from collections.abc import Callable

import numpy as np
from ase import Atoms

from nearsight.descriptors.bispectrum import Settings
from nearsight.errors import InputError, MissingProgramError
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region

#: Environment variable that forces an instruction set: avx512, avx2 or portable.
INSTRUCTION_SET = "NEARSIGHT_INSTRUCTION_SET"


def load():
    """The compiled module. Raises MissingProgramError where it was not built."""
    try:
        from nearsight.descriptors.bispectrum import _native
    except ImportError as error:
        raise MissingProgramError(
            f"nearsight.descriptors.bispectrum._native: expected the compiled kernel, not found ({error}). "
            "Build it with `make setup`, or with `pip install .` (needs a C++17 compiler)."
        ) from error
    return _native


def instruction_set() -> str:
    """The instruction set that the kernel runs on. Raises InputError where a forced one is not available."""
    forced = os.environ.get(INSTRUCTION_SET) or None
    chosen = load().instruction_set(forced)
    if chosen is None:
        raise InputError(
            f"{INSTRUCTION_SET}: expected avx512, avx2 or portable, whichever this processor has, got {forced!r}."
        )
    return chosen


def bispectrum_region(
    atoms: Atoms,
    grid: RealGrid,
    settings: Settings,
    region: Region,
    out: np.ndarray,
    *,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Fill `out`, shape (*lengths of region, components), C order, float32 or float64, and return it.

    Equal to the last bit for any region and any number of threads. progress: called now and then with the finished
    fraction; an exception in it (or Ctrl-C) stops the computation. Memory: `out`, and 80 bytes per periodic image
    within reach of the region. Raises InputError on invalid arguments.
    """
    module = load()
    symbols = atoms.get_chemical_symbols()
    compute = {"float32": module.bispectrum_float32, "float64": module.bispectrum_float64}[out.dtype.name]
    start, stop = zip(*region, strict=True)
    if 0 in region.shape:
        return out
    try:
        compute(
            out=out,
            cell=np.ascontiguousarray(grid.cell),
            positions=np.ascontiguousarray(atoms.positions, dtype=float),
            weights=np.array([settings.weights.get(symbol, 1.0) for symbol in symbols]),
            cutoffs=np.full(len(symbols), settings.cutoff_A),
            shape=grid.shape,
            start=start,
            stop=stop,
            twojmax=settings.twojmax,
            rfac0=settings.rfac0,
            switching=True,
            subtract_zero=False,
            self_weight=1.0,
            threads=threads,
            instruction_set=instruction_set(),
            progress=progress,
        )
    except ValueError as error:
        raise InputError(f"descriptors: {error}.") from error
    return out

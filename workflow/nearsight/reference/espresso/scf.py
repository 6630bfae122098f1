"""Self-consistent field: the run behind the reference data."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from nearsight.errors import InputError
from nearsight.files import write_text
from nearsight.reference.espresso.inputs import fermi_smearing, pw_input
from nearsight.reference.espresso.ld1 import place_pseudopotentials
from nearsight.reference.espresso.outputs import check_convergence
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.workspace import whole_folder
from nearsight.reference.pseudopotential import Pseudopotential, count_electrons
from nearsight.study.sections import Dft

logger = logging.getLogger("nearsight")


def run_scf(
    atoms: Atoms,
    grid: Sequence[int],
    pseudopotentials: dict[str, Pseudopotential],
    settings: Dft,
    temperature_K: float,
    launch: Launch,
    outdir: str | Path,
    output_text: str | Path,
) -> None:
    """Run the SCF of one structure; `outdir` and `output_text` (with the input beside it) appear only if it converged.

    grid: (nx, ny, nz) of the density, given to QE so that all data of a structure share it.
    Raises ConvergenceError, InputError, MissingProgramError or ProgramError.
    """
    with whole_folder(outdir) as folder:
        names = place_pseudopotentials(pseudopotentials, set(atoms.get_chemical_symbols()), folder)
        text = pw_input(
            atoms,
            names,
            control={"calculation": "scf", "tprnfor": True},
            system={
                **cutoffs(settings, grid),
                **fermi_smearing(temperature_K),
                "nbnd": settings.bands(count_electrons(atoms.symbols, pseudopotentials)),
            },
            electrons=electrons(settings),
            kpoints=settings.kpoints,
            kpoints_shift=settings.kpoints_shift,
        )
        output = run_program(
            "pw.x",
            text,
            folder,
            launch.in_pools(settings.kpoints, settings.kpoints_shift),
            "scf",
            explain=lambda out: check_convergence(out, "dft", settings.conv_thr_Ry, settings.electron_maxstep),
        )
        write_text(Path(output_text).with_suffix(".in"), text)
        write_text(output_text, output)


def cutoffs(settings: Dft, grid: Sequence[int]) -> dict[str, object]:
    """Keys of &system that fix basis and grid; nosym, since nuclei at a temperature have no symmetry to find."""
    if len(grid) != 3:
        raise InputError(f"grid_shape: expected three whole numbers, got {list(grid)}.")
    return {
        "ecutwfc": settings.ecutwfc_Ry,
        "ecutrho": settings.ecutrho_Ry,
        **{f"nr{axis + 1}": int(n) for axis, n in enumerate(grid)},
        "nosym": True,
    }


def electrons(settings: Dft) -> dict[str, object]:
    """Keys of &electrons."""
    return {
        "conv_thr": settings.conv_thr_Ry,
        "electron_maxstep": settings.electron_maxstep,
        "mixing_beta": settings.mixing_beta,
        "mixing_mode": settings.mixing_mode,
        # a larger Davidson space costs memory and saves a quarter of the time where many bands are empty
        "diago_david_ndim": 4,
    }

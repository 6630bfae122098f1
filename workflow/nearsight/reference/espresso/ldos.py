"""The local density of states: a Gaussian-smeared non-SCF run, then pp.x."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from nearsight import units
from nearsight.errors import InputError
from nearsight.files import write_text
from nearsight.reference.espresso.inputs import pw_input
from nearsight.reference.espresso.ld1 import place_pseudopotentials
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.scf import cutoffs, electrons
from nearsight.reference.espresso.workspace import PREFIX, copy_save, scratch_folder, whole_folder
from nearsight.reference.pseudopotential import Pseudopotential, count_electrons
from nearsight.study.sections import Dft, Ldos

#: Threshold of the non-SCF diagonalisation in Ry: eigenvalues below the window's top are then exact to 1e-8 eV
#: (measured against 1e-11 on 8 atoms). pw.x's default follows conv_thr and costs twice the SCF.
EIGENVALUE_THRESHOLD_Ry = 1.0e-8


def run_ldos(
    atoms: Atoms,
    grid: Sequence[int],
    pseudopotentials: dict[str, Pseudopotential],
    scf: str | Path,
    settings: Dft,
    ldos: Ldos,
    launch: Launch,
    output: str | Path,
) -> None:
    """Write one cube file per energy of the LDOS (1/(Ry bohr³)), and the non-SCF run's XML, into the folder `output`.

    pp.x broadens with the smearing kernel of the run that it reads, so a non-SCF run with Gaussian smearing comes
    first, in a copy of the SCF's folder, because it rewrites the XML. Its orbitals start from the SCF's. The window is
    that of the settings in this cell's energies.
    Raises InputError, MissingProgramError or ProgramError; after an error nothing is left.
    """
    ldos = ldos.in_cell(atoms)
    with scratch_folder(Path(output).with_name(f"{Path(output).name}-run")) as scratch:
        copy_save(scf, scratch, wavefunctions=True)
        names = place_pseudopotentials(pseudopotentials, set(atoms.get_chemical_symbols()), scratch)
        nscf = run_program(
            "pw.x",
            pw_input(
                atoms,
                names,
                control={"calculation": "nscf"},
                system={
                    **cutoffs(settings, grid),
                    "occupations": "smearing",
                    "smearing": "gaussian",
                    # the kernel only: pp.x takes the width from degauss_ldos, and energies come from the SCF
                    "degauss": ldos.broadening_eV / units.RYDBERG_eV,
                    "nbnd": settings.bands(count_electrons(atoms.symbols, pseudopotentials)),
                },
                electrons={
                    **electrons(settings),
                    "startingwfc": "file",
                    "diago_thr_init": EIGENVALUE_THRESHOLD_Ry,
                },
                kpoints=settings.kpoints,
                kpoints_shift=settings.kpoints_shift,
            ),
            scratch,
            launch.in_pools(settings.kpoints, settings.kpoints_shift),
            "nscf",
        )
        post = run_program(
            "pp.x",
            f"&inputpp\n  prefix = '{PREFIX}'\n  outdir = '.'\n  filplot = 'ldos'\n  plot_num = 3\n"
            f"  emin = {ldos.energy_min_eV!r}\n"
            # a quarter of a step more, so that no rounding loses the last energy
            f"  emax = {ldos.energy_min_eV + (ldos.count - 0.75) * ldos.spacing_eV!r}\n"
            f"  delta_e = {ldos.spacing_eV!r}\n  degauss_ldos = {ldos.broadening_eV!r}\n/\n"
            "&plot\n  iflag = 3\n  output_format = 6\n  fileout = '.cube'\n/\n",
            scratch,
            launch,
            "pp",
        )
        with whole_folder(output) as folder:
            for index, energy in enumerate(ldos.grid.energies_eV):
                product = scratch / cube_name(index)
                check_cube_energy(product, energy, ldos.broadening_eV)
                os.replace(product, folder / cube_name(index))
            if (scratch / cube_name(ldos.count)).exists():
                raise InputError(f"pp.x: expected {ldos.count} energies, got more. Check the section ldos.")
            shutil.copyfile(scratch / f"{PREFIX}.save" / "data-file-schema.xml", folder / "nscf.xml")
        write_text(Path(output).with_name("nscf.out"), nscf)
        write_text(Path(output).with_name("ldos.out"), post)


def cube_name(index: int) -> str:
    """File name of the LDOS at the energy of this index (from 0)."""
    return f"ldos{index + 1:03d}.cube"


def check_cube_energy(path: Path, energy_eV: float, broadening_eV: float) -> None:
    """Raise InputError unless a cube of pp.x is there and is of this energy and broadening (four decimals)."""
    if not path.is_file():
        raise InputError(f"{path}: expected the LDOS at {energy_eV:.4f} eV, found no file. Run run_ldos again.")
    with open(path, encoding="utf-8", errors="replace") as handle:
        handle.readline(1000)
        comment = handle.readline(1000)
    match = re.search(r"Energy =\s*([-+.\d]{1,30}) eV, broadening =\s*([-+.\d]{1,30}) eV", comment)
    if (
        match is None
        or abs(float(match.group(1)) - energy_eV) > 1.01e-4
        or abs(float(match.group(2)) - broadening_eV) > 1.01e-4
    ):
        raise InputError(
            f"{path}: expected the LDOS at {energy_eV:.4f} eV with a broadening of {broadening_eV:.4f} eV, "
            f"got {comment.strip()!r}. Run run_ldos again."
        )

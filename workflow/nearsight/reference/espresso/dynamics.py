"""Born-Oppenheimer molecular dynamics with pw.x, in segments."""

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms
from ase import units as ase_units
from ase.calculators.singlepoint import SinglePointCalculator

from nearsight import units
from nearsight.errors import InputError
from nearsight.reference.espresso.inputs import fermi_smearing, pw_input
from nearsight.reference.espresso.ld1 import place_pseudopotentials
from nearsight.reference.espresso.outputs import MdStep, check_convergence, md_xml_of, read_md_steps
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.workspace import scratch_folder
from nearsight.reference.pseudopotential import Pseudopotential
from nearsight.structures.velocities import (
    apply_thermostat,
    generator_of_state,
    kinetic_energy,
    temperature_of,
    without_drift,
)
from nearsight.study.sections import Md

logger = logging.getLogger("nearsight")


def run_segment(
    start: Atoms,
    pseudopotentials: dict[str, Pseudopotential],
    settings: Md,
    temperature_K: float,
    launch: Launch,
    scratch_beside: str | Path,
) -> list[Atoms]:
    """Run one segment of dynamics from the positions and velocities of `start`.

    The thermostat acts on the velocities at the start, then pw.x does plain Verlet dynamics with Fermi-Dirac
    occupations at the ionic temperature. Returns `steps_per_segment` frames, the first one time step after `start`,
    each with energy, forces, velocities, temperature and time; the last one starts the next segment.
    Without a thermostat the segments make exactly the trajectory of one long run: positions are never wrapped.
    Raises ConvergenceError, InputError, MissingProgramError or ProgramError.
    """
    if "time_fs" not in start.info or not start.has("momenta"):
        raise InputError("start: expected velocities and time_fs in the structure. Make it with start_dft_md.")
    masses = start.get_masses()
    velocities = without_drift(masses, start.get_velocities() * ase_units.fs)
    if float(start.info["time_fs"]) > 0:  # at the very start velocities are as they were drawn
        velocities = apply_thermostat(
            settings.thermostat,
            masses,
            velocities,
            temperature_K,
            settings.time_step_fs * settings.steps_per_segment,
            settings.thermostat_time_fs,
            generator_of_state(start),
        )
    with scratch_folder(scratch_beside) as folder:
        names = place_pseudopotentials(pseudopotentials, set(start.get_chemical_symbols()), folder)
        run_program(
            "pw.x",
            pw_input(
                start,
                names,
                control={
                    "calculation": "md",
                    "dt": settings.time_step_fs / units.RYDBERG_TIME_fs,
                    # pw.x counts the start as a step
                    "nstep": settings.steps_per_segment + 1,
                },
                system={
                    "ecutwfc": settings.ecutwfc_Ry,
                    "ecutrho": settings.ecutrho_Ry or 4 * settings.ecutwfc_Ry,
                    "nosym": True,
                    **fermi_smearing(temperature_K),
                },
                electrons={
                    "conv_thr": settings.conv_thr_Ry,
                    "electron_maxstep": settings.electron_maxstep,
                    "mixing_beta": settings.mixing_beta,
                },
                ions={
                    "ion_dynamics": "verlet",
                    "ion_velocities": "from_input",
                    "ion_temperature": "not_controlled",
                    "pot_extrapolation": "second_order",
                    "wfc_extrapolation": "second_order",
                },
                velocities=velocities,
                kpoints=settings.kpoints,
                kpoints_shift=settings.kpoints_shift,
            ),
            folder,
            launch.in_pools(settings.kpoints, settings.kpoints_shift),
            "md",
            explain=lambda out: check_convergence(out, "md", settings.conv_thr_Ry, settings.electron_maxstep),
        )
        steps = read_md_steps(md_xml_of(folder))
    if len(steps) != settings.steps_per_segment + 1:
        raise InputError(f"pw.x: expected {settings.steps_per_segment + 1} steps of dynamics, got {len(steps)}.")
    return frames_of_steps(start, steps, settings.time_step_fs)


def frames_of_steps(start: Atoms, steps: list[MdStep], time_step_fs: float) -> list[Atoms]:
    """Frames with velocities from consecutive Verlet positions; the first step is `start` itself and is left out.

    v(n) = (r(n) - r(n-1))/dt + a(n) dt/2, which is Verlet's central difference without the next positions.
    """
    masses = start.get_masses()
    # eV/(Å amu) in Å/fs²
    acceleration = ase_units.fs**2
    frames = []
    for number, (before, step) in enumerate(pairwise(steps), start=1):
        velocities = (step.positions - before.positions) / time_step_fs
        velocities = velocities + 0.5 * time_step_fs * acceleration * step.forces / masses[:, None]
        velocities = without_drift(masses, velocities)  # as pw.x, which subtracts the net force
        frame = Atoms(numbers=start.numbers, positions=step.positions, cell=start.cell, pbc=True)
        frame.set_velocities(velocities / ase_units.fs)
        frame.calc = SinglePointCalculator(frame, energy=step.total_free_energy, forces=step.forces)
        frame.info = {
            "time_fs": float(start.info["time_fs"]) + number * time_step_fs,
            "temperature_K": temperature_of(masses, velocities),
            "total_free_energy_eV": step.total_free_energy,
            "conserved_energy_eV": step.total_free_energy + kinetic_energy(masses, velocities),
        }
        frames.append(frame)
    drift = np.ptp([frame.info["conserved_energy_eV"] for frame in frames]) / len(start)
    logger.info("conserved energy of the segment: constant within %.2f meV/atom", 1e3 * drift)
    return frames

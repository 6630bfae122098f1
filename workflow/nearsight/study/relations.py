"""Contradictions between keys that are each valid by themselves, and what a later stage would refuse."""

import math
from collections.abc import Iterator

from pydantic import ValidationError

from nearsight.plugins import DESCRIPTORS, find_kind
from nearsight.study.messages import explain
from nearsight.study.sections import (
    MOST_ENERGIES,
    MOST_SNAPSHOTS,
    OWN_MODEL,
    ROLES,
    BOLTZMANN_eV_per_K,
    BuiltStructure,
    DftMdTrajectory,
    Study,
)

#: A key and what is wrong with it.
Contradiction = tuple[str, str]


def find_contradictions(study: Study) -> list[Contradiction]:
    """All contradictions of a study."""
    count = sum(sum(trajectory.snapshots.model_dump().values()) for trajectory in study.trajectories.values())
    if count > MOST_SNAPSHOTS:
        return [("trajectories", f"expected at most {MOST_SNAPSHOTS} snapshots in all, got {count}.")]
    checks = (pseudopotentials, structures, cutoffs, kpoints, trajectories, snapshots, energies, descriptors)
    checks += (training, variants, supercells, figures)
    return [found for check in checks for found in check(study)]


def pseudopotentials(study: Study) -> Iterator[Contradiction]:
    """Every element has one, from one source."""
    for element, source in study.pseudopotentials.items():
        key = f"pseudopotentials.{element}"
        if (source.ld1_input is None) == (source.upf is None):
            yield key, 'expected either ld1_input, or upf with sha256. See config/README.md, "pseudopotentials".'
        elif (source.upf is None) != (source.sha256 is None):
            yield key, "expected upf and sha256 together. `sha256sum FILE` prints the checksum."
    built = [structure for structure in study.structures.values() if isinstance(structure, BuiltStructure)]
    for element in sorted({element for structure in built for element in structure.elements}):
        if element not in study.pseudopotentials:
            yield (
                f"pseudopotentials.{element}",
                f"expected a pseudopotential for the element of a structure, found only "
                f"{', '.join(study.pseudopotentials)}. Give ld1_input, or upf with sha256.",
            )


def structures(study: Study) -> Iterator[Contradiction]:
    """A lattice has one size and as many elements as sites; only hcp has a stacking fault."""
    compounds = ("rocksalt", "zincblende", "cesiumchloride", "wurtzite")
    for name, structure in study.structures.items():
        if not isinstance(structure, BuiltStructure):
            continue
        key = f"structures.{name}"
        if (structure.density_g_cm3 is None) == (structure.a_A is None):
            yield f"{key}.density_g_cm3", "expected either density_g_cm3 or a_A, which sets the size of the lattice."
        sites = 2 if structure.lattice in compounds else 1
        if len(structure.elements) != sites:
            yield (
                f"{key}.formula",
                f"expected {sites} element{'s' if sites > 1 else ''} for {structure.lattice}, got {structure.formula}.",
            )
        if structure.stacking_fault_layer is not None and structure.lattice != "hcp":
            yield f"{key}.stacking_fault_layer", f"expected the lattice hcp, got {structure.lattice}."


def cutoffs(study: Study) -> Iterator[Contradiction]:
    """The density's cutoff is at least four times that of the wave functions, and not below that of a prediction."""
    for name, section in (("dft", study.dft), ("md", study.md)):
        if section is not None and section.ecutrho_Ry and section.ecutrho_Ry < 4 * section.ecutwfc_Ry:
            yield (
                f"{name}.ecutrho_Ry",
                f"expected at least 4 times {name}.ecutwfc_Ry, that is {4 * section.ecutwfc_Ry:g} Ry, got "
                f"{section.ecutrho_Ry:g}.",
            )
    sampled = study.inference.ecut_sample_Ry
    if sampled is not None and sampled > study.dft.ecutrho_Ry:
        yield (
            "inference.ecut_sample_Ry",
            f"expected at most dft.ecutrho_Ry, that is {study.dft.ecutrho_Ry:g} Ry, got {sampled:g}.",
        )


def kpoints(study: Study) -> Iterator[Contradiction]:
    """Every cell's grid folds onto the lattice's own: the repeats divide it."""
    used = {study.structure_of(name) for name in study.trajectories if study.structure_of(name) in study.structures}
    moving = {study.structure_of(name) for name, one in study.trajectories.items() if isinstance(one, DftMdTrajectory)}
    for section_name, section, names in (("dft", study.dft, used), ("md", study.md, used & moving)):
        for name in sorted(names) if section is not None else ():
            repeat = study.structures[name].repeat
            if any(n % times for n, times in zip(section.kpoints, repeat, strict=True)):
                fitting = [[r for r in range(1, n + 1) if n % r == 0] for n in section.kpoints]
                yield (
                    f"structures.{name}.repeat",
                    f"expected repeats that divide {section_name}.kpoints = {section.kpoints}, so that the cell's grid "
                    f"folds onto the same k-points, got {repeat}. Those that do: "
                    f"{'; '.join(', '.join(map(str, options)) for options in fitting)} along the three edges.",
                )


def trajectories(study: Study) -> Iterator[Contradiction]:
    """Every trajectory has a cell, is long enough, and every role has a snapshot that the others do not resemble."""
    if study.trajectories and not study.structures:
        yield "structures", "expected the cells of the trajectories, got none. Add one entry per cell."
        return
    for name, trajectory in study.trajectories.items():
        key = f"trajectories.{name}"
        known = ", ".join(study.structures)
        if trajectory.structure is None and len(study.structures) > 1:
            yield f"{key}.structure", f"expected one of the structures {known}, found nothing."
        elif study.structure_of(name) not in study.structures:
            yield f"{key}.structure", f"expected one of the structures {known}, got {trajectory.structure}."
        count = len(trajectory.snapshots.roles())
        if count == 0:
            yield f"{key}.snapshots", "expected at least one snapshot, got none."
        if isinstance(trajectory, DftMdTrajectory):
            yield from dft_md(study, key, trajectory, count)
        if trajectory.snapshots.test and (trajectory.snapshots.train or trajectory.snapshots.validation):
            yield (
                f"{key}.snapshots.test",
                "expected test snapshots in a trajectory without train and validation snapshots, because neighbours in "
                "time are alike. Move them to a trajectory of their own.",
            )
    for role in ROLES:
        if not study.snapshot_names(role):
            yield "trajectories", f"expected at least one {role} snapshot in some trajectory, got none."


def snapshots(study: Study) -> Iterator[Contradiction]:
    """No two snapshots that are computed already are of one file: what a model was trained on is no test of it."""
    files: dict[str, str] = {}
    for name, snapshot in study.snapshots.items():
        if (other := files.setdefault(snapshot.dataset, name)) != name:
            yield f"snapshots.{name}.dataset", f"expected another file than that of {other}, got {snapshot.dataset}."


def dft_md(study: Study, key: str, trajectory: DftMdTrajectory, count: int) -> Iterator[Contradiction]:
    """DFT-MD has settings and is long enough for its snapshots."""
    if study.md is None:
        yield "md", f"expected a section, since {key} is DFT-MD, found nothing. Add the key."
        return
    step = study.md.time_step_fs
    length = trajectory.segments * study.md.steps_per_segment * step
    if math.floor((length - study.md.equilibration_fs) / step + 1e-9) < count:
        yield (
            f"{key}.segments",
            f"expected MD long enough for {count} snapshots after md.equilibration_fs = "
            f"{study.md.equilibration_fs:g} fs, got {trajectory.segments} segments of {study.md.steps_per_segment} "
            f"steps, {length:g} fs in all. Add segments.",
        )


def energies(study: Study) -> Iterator[Contradiction]:
    """The LDOS window holds all that the Fermi function reaches, in steps that the broadening needs."""
    ldos = study.ldos
    width = ldos.energy_max_eV - ldos.energy_min_eV
    steps = width / ldos.spacing_eV
    # snapshots that are computed already are checked against the window when their datasets are read
    hottest = max((one.electron_temperature_K or one.temperature_K for one in study.trajectories.values()), default=0.0)
    needed = 25 * BOLTZMANN_eV_per_K * hottest + 4 * ldos.broadening_eV
    if width <= 0:
        yield (
            "ldos.energy_max_eV",
            f"expected an energy in eV above ldos.energy_min_eV = {ldos.energy_min_eV:g}, got {ldos.energy_max_eV:g}.",
        )
    elif abs(steps - round(steps)) > 1e-6:
        yield (
            "ldos.spacing_eV",
            f"expected a spacing that divides the window of {width:g} eV, got {ldos.spacing_eV:g}.",
        )
    elif not steps < MOST_ENERGIES:
        yield (
            "ldos.spacing_eV",
            f"expected at most {MOST_ENERGIES} energies (pp.x numbers its files with three digits), got "
            f"{steps + 1:.0f}. Raise the spacing or make the window narrower.",
        )
    elif width < needed:
        yield (
            "ldos.energy_max_eV",
            f"expected a window of at least 25 k_B T + 4 broadening_eV = {needed:.3g} eV, got {width:g} eV: it has to "
            "reach from below the lowest state to where all states are empty.",
        )
    ratio = ldos.broadening_eV / ldos.spacing_eV
    if ratio < 1 - 1e-9 or ratio > 10 + 1e-9:
        yield (
            "ldos.broadening_eV",
            f"expected between 1 and 10 times ldos.spacing_eV = {ldos.spacing_eV:g} eV, got {ldos.broadening_eV:g}. "
            "The reference uses twice the spacing.",
        )


def descriptors(study: Study) -> Iterator[Contradiction]:
    """The descriptor can be computed for the study's elements."""
    kind = find_kind(DESCRIPTORS, study.descriptors.kind, "descriptors.kind")
    for key, text in kind.limits(study.descriptors, list(study.pseudopotentials)):
        yield f"descriptors.{key}", text


def training(study: Study) -> Iterator[Contradiction]:
    """Ranks share the points of a batch on processors; a GPU has one process."""
    if study.training.ranks > 1 and study.training.device != "cpu":
        yield (
            "training.ranks",
            f"expected 1 with training.device = {study.training.device}, got {study.training.ranks}.",
        )


def variants(study: Study) -> Iterator[Contradiction]:
    """The changed sections are valid, and there are as many training snapshots as a variant asks for."""
    known = len(study.snapshot_names("train"))
    for name, variant in study.variants.items():
        key = f"variants.{name}"
        if name == OWN_MODEL:
            yield key, f"expected another name: {OWN_MODEL} is the study's own model."
        if variant.snapshots is not None and variant.snapshots > known:
            yield f"{key}.snapshots", f"expected at most {known}, all training snapshots, got {variant.snapshots}."
        try:
            varied = study.varied(name)
        except ValidationError as error:
            for item in error.errors():
                found, _, text = explain(item, Study).partition(": ")
                yield f"{key}.{found}", text
        else:
            yield from ((f"{key}.{found}", text) for check in (descriptors, training) for found, text in check(varied))


def supercells(study: Study) -> Iterator[Contradiction]:
    """A supercell repeats a snapshot; its layers are known where it is a built hcp crystal."""
    names = study.snapshot_names()
    for name, supercell in study.supercells.items():
        if name in study.structures:
            yield f"supercells.{name}", f"expected another name: {name} is one of the structures."
        if name in study.snapshots:
            yield f"supercells.{name}", f"expected another name: {name} is one of the snapshots."
        if supercell.snapshot not in names:
            yield (
                f"supercells.{name}.snapshot",
                f"expected one of the snapshots {', '.join(names)}, got {supercell.snapshot}.",
            )
            continue
        built = None if supercell.snapshot in study.snapshots else study.snapshot_structure(supercell.snapshot)
        structure = study.structures.get(built)
        is_hcp = isinstance(structure, BuiltStructure) and structure.lattice == "hcp"
        if supercell.stacking_fault_layer is not None and not is_hcp:
            yield (
                f"supercells.{name}.stacking_fault_layer",
                "expected a snapshot of an hcp crystal that is built from a lattice, whose layers are known.",
            )


def figures(study: Study) -> Iterator[Contradiction]:
    """What the paper's figures compare is predicted."""
    known = [*study.snapshot_names(), *study.supercells]
    for name, faulted in study.paper_figures.fault_pairs.items():
        for wanted in (name, faulted):
            if wanted not in known:
                yield (
                    f"paper_figures.fault_pairs.{name}",
                    f"expected names of snapshots or supercells, got {wanted}. Those of this study: "
                    f"{', '.join(known)}.",
                )

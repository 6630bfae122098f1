"""Captions of the paper's figures, which quote the study's settings; imports nothing, because every job reads it."""

TITLES = {
    "1": "A stacking fault in cells of growing size",
    "2": "Cost and workflow",
    "3": "Accuracy on held-out cells",
    "4": "Similarity to the training set",
}

BODIES = {
    "1": (
        "(a) Above: the largest cell with three layers shifted by a/√3, which is two basal stacking faults I2; "
        "atoms are coloured by the centrosymmetry parameter of their 12 nearest neighbours, small where the "
        "layers are stacked as in fcc. Below: predicted density of this cell minus that of the same cell without "
        "the fault, in a plane normal to the layers and as surfaces of equal gain (red) and loss (blue) around "
        "the fault. (b) Difference of the total free energies per atom with and without the fault against the "
        "number of atoms, with the fitted power law and the exponent −1/3 of an area over a volume; open symbols "
        "are cells of other shapes, which are not fitted."
    ),
    "2": (
        "(a) Processor time, the sum over all cores, of one self-consistent field of Quantum ESPRESSO and of one "
        "prediction (descriptors, network, density, density of states and total free energy), every run a point. "
        "Solid lines are power laws fitted to what was measured, those of predictions from 2,000 atoms on; the "
        "dashed line goes beyond what was measured. k-point grids of Quantum ESPRESSO fold onto one k-set, so "
        "that larger cells have fewer k-points. (b) Rules of the workflow as Snakemake's rule graph has them, "
        "without links that a longer way spells out, coloured by stage."
    ),
    "3": (
        "(a) Errors of total free energy (absolute) and density (mean absolute percentage error) of every held-"
        "out cell against DFT, by number of atoms. (b) Energies relative to the mean of the cells of the same "
        "kind and size, predicted against DFT, with fitted lines; on the diagonal they agree. Nearsight predicts "
        "the total free energy, interatomic potentials the energy of the nuclei."
    ),
    "4": (
        "(a) Radial distribution functions, means over the cells of each set, shifted by 0.2 each in the order of"
        " (c), which names them; the dashed line is the cutoff of the descriptors. (b) Their differences to the "
        "training set's. (c) Extrapolation scores of every predicted cell: 1 is as far from the training set as "
        "the validation snapshots are, above 3 Nearsight warns, above 10 it refuses."
    ),
}


def quote_settings(settings: dict) -> str:
    """The settings behind a figure in one sentence; an unknown kind of descriptor has no numbers of its own."""
    temperatures = ", ".join(f"{value:g}" for value in settings["temperatures_K"])
    kpoints, shift = ("×".join(map(str, settings[key])) for key in ("kpoints", "kpoints_shift"))
    return (
        f"Study {settings['study']} ({', '.join(settings['elements'])}): Quantum ESPRESSO with "
        f"{settings['ecutwfc_Ry']:g} Ry ({settings['ecutrho_Ry']:g} Ry for the density), k-points {kpoints} (shift "
        f"{shift}) of the lattice's own cell, {temperatures} K; LDOS from {settings['energy_min_eV']:g} to "
        f"{settings['energy_max_eV']:g} eV in steps of {settings['spacing_eV']:g} eV, broadened by "
        f"{settings['broadening_eV']:g} eV; descriptors: {settings['descriptors']}; network: {settings['network']}; "
        f"learned from {settings['train']} snapshots, stopped by {settings['validation']}, {settings['test']} held out."
    )


def caption_of(figure: str, settings: dict) -> str:
    """The caption of one figure."""
    return f"Figure {figure}. {TITLES[figure]}. {BODIES[figure]} {quote_settings(settings)}"

"""How far a structure is from the training set: its descriptors and radial distribution beside those of the set."""

import logging

import numpy as np
from ase import Atoms

from nearsight.errors import UnknownStructureError
from nearsight.grids.energies import SAME_DENSITY
from nearsight.grids.nuclei import around_nuclei
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import split_compactly
from nearsight.model.bundle import ModelBundle
from nearsight.model.domain import (
    DENSITY_KEYS,
    REFUSAL_SCORE,
    REFUSAL_SHARE,
    SAMPLES,
    WARNING_SCORE,
    WARNING_SHARE,
    Extrapolation,
)
from nearsight.structures.correlation import radial_distribution

logger = logging.getLogger("nearsight")

#: What a refusal advises last.
ACCEPT = "accept the unknown error with inference.accept_extrapolation (`nearsight predict --accept-extrapolation`)."

#: Fewest points per atom for the atoms' scores: 1.3 Å apart in beryllium.
POINTS_PER_ATOM = 4

#: Share of the density beyond which a structure is refused.
LARGEST_DENSITY_CHANGE = 0.01


def measure_extrapolation(model: ModelBundle, atoms: Atoms, grid: RealGrid, backend: str | None) -> Extrapolation:
    """Scores of a structure: descriptors at about SAMPLES points of its cell, radial distribution of all its atoms."""
    coarse = grid.coarser(SAMPLES)
    descriptors = np.empty((*coarse.shape, model.network.inputs))
    model.descriptor(backend).compute(atoms, coarse, coarse.whole, descriptors)
    _, rdf = radial_distribution(atoms, model.domain.rdf_cutoff_A, len(model.domain.rdf))
    rows = descriptors.reshape(-1, descriptors.shape[-1])
    score, share = model.domain.compare(rows)
    return Extrapolation(descriptor_score=score, rdf_score=model.domain.rdf_score(rdf), unknown_share=share)


def score_atoms(model: ModelBundle, atoms: Atoms, grid: RealGrid, backend: str | None) -> np.ndarray:
    """How far the surroundings of each atom are from the training set, shape (atoms,); 1 is validation's mean.

    The descriptors' distance at points of a coarse grid, averaged with a Gaussian around each nucleus: where in a
    structure the mean score of `measure_extrapolation` comes from.
    """
    coarse = grid.coarser(max(SAMPLES, POINTS_PER_ATOM * len(atoms)))
    descriptor, field = model.descriptor(backend), np.empty(coarse.shape)
    for part in split_compactly(coarse.whole, SAMPLES):
        rows = np.empty((*part.shape, model.network.inputs))
        descriptor.compute(atoms, coarse, part, rows)
        field[part.slices()] = model.domain.distances(rows.reshape(-1, rows.shape[-1])).reshape(part.shape)
    return np.maximum(around_nuclei(field, coarse.cell, atoms.positions), 0.0)


def check_density(model: ModelBundle, atoms: Atoms, *, accept: bool) -> None:
    """Warn of atoms per volume that no training cell had. Raises UnknownStructureError where they are far from them.

    DFT's energies are relative to the mean potential of the cell, which depends on the atoms per volume, so that the
    whole LDOS shifts with it; no descriptor sees the shift due to a strain or a vacancy elsewhere. An energy zero
    removes it to first order (grids.energies), as far as the training cells show.
    """
    try:
        least, most = (float(model.training[key]) for key in DENSITY_KEYS)
    except KeyError:  # an older model
        return
    density = len(atoms) / atoms.get_volume()
    outside = max(1 - density / least, density / most - 1)
    if outside <= SAME_DENSITY:
        return
    text = (
        f"{density:.6f} atoms/Å³, {100 * outside:.2g} % outside the training set's {least:.6f} to {most:.6f}: "
        "energies of a cell are relative to a potential that depends on it, and the model "
        + ("knows the shift only for those" if model.energy_zero_eV_A3 else "cannot know the shift")
    )
    if outside > LARGEST_DENSITY_CHANGE and not accept:
        raise UnknownStructureError(
            f"structure: expected a density that the model was trained on, got {text}. Train on such cells, or {ACCEPT}"
        )
    expected = "" if model.energy_zero_eV_A3 else ", for beryllium 2 meV/atom per 0.01 %"
    logger.warning("the structure has %s. Expect errors in energies%s.", text, expected)


def check_extrapolation(found: Extrapolation, *, accept: bool) -> None:
    """Warn of a structure outside the training domain. Raises UnknownStructureError where it is far outside."""
    scores = f"descriptors {found.descriptor_score:.1f}, radial distribution {found.rdf_score:.1f}"
    advice = f"Train on such structures, or {ACCEPT}"
    if found.score > REFUSAL_SCORE and not accept:
        raise UnknownStructureError(
            f"structure: expected one like the model's training set (scores up to {REFUSAL_SCORE:g}; 1 is as far as "
            f"the validation snapshots are), got {scores}. {advice}"
        )
    if found.unknown_share > REFUSAL_SHARE and not accept:
        raise UnknownStructureError(
            f"structure: expected surroundings like the training set's at all but {100 * REFUSAL_SHARE:g} % of its "
            f"points, got {100 * found.unknown_share:.1f} % that are like none of the validation snapshots', as "
            f"around a vacancy, a surface or an interstitial. {advice}"
        )
    if found.score > WARNING_SCORE:
        logger.warning(
            "the structure is outside the training domain (1 is as far as the validation snapshots are): %s. Expect "
            "larger errors than on the test set.",
            scores,
        )
    if found.unknown_share > WARNING_SHARE:
        logger.warning(
            "%.1f %% of the structure's points have surroundings that are like none of the validation snapshots', as "
            "around a vacancy, a surface or an interstitial. Expect larger errors than on the test set.",
            100 * found.unknown_share,
        )

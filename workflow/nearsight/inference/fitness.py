"""Is the model fit for this structure? Its descriptors and radial distribution beside those of the training set."""

import logging
from math import prod

import numpy as np
from ase import Atoms

from nearsight.errors import InputError
from nearsight.grids.regions import Region
from nearsight.model.bundle import ModelBundle
from nearsight.model.domain import REFUSAL_SCORE, SAMPLES, WARNING_SCORE, Fitness
from nearsight.structures.correlation import radial_distribution

logger = logging.getLogger("nearsight")


def judge_fitness(model: ModelBundle, atoms: Atoms, shape: tuple[int, int, int], backend: str | None) -> Fitness:
    """Scores of a structure: descriptors at about SAMPLES points of its cell, radial distribution of all its atoms."""
    coarse = sample_shape(shape, SAMPLES)
    descriptors = np.empty((*coarse, model.network.inputs))
    model.descriptor(backend).compute(atoms, coarse, Region.whole(coarse), descriptors)
    _, rdf = radial_distribution(atoms, model.domain.rdf_cutoff_A, len(model.domain.rdf))
    return Fitness(
        descriptor_score=model.domain.descriptor_score(descriptors.reshape(-1, descriptors.shape[-1])),
        rdf_score=model.domain.rdf_score(rdf),
    )


def sample_shape(shape: tuple[int, int, int], points: int) -> tuple[int, int, int]:
    """A grid of about `points` points with the proportions of `shape`, not finer than it."""
    factor = min((points / prod(shape)) ** (1 / 3), 1.0)
    return tuple(max(round(n * factor), 1) for n in shape)


def check_fitness(fitness: Fitness, *, accept_unfit: bool) -> None:
    """Warn of a structure outside the training domain. Raises InputError where it is far outside."""
    found = f"descriptors {fitness.descriptor_score:.1f}, radial distribution {fitness.rdf_score:.1f}"
    if fitness.score > REFUSAL_SCORE and not accept_unfit:
        raise InputError(
            f"structure: expected one like the model's training set (scores up to {REFUSAL_SCORE:g}; 1 is as far as "
            f"the validation snapshots are), got {found}. Train on such structures, or accept the unknown error with "
            "inference.accept_unfit (`nearsight predict --accept-extrapolation`)."
        )
    if fitness.score > WARNING_SCORE:
        logger.warning(
            "the structure is outside the training domain (1 is as far as the validation snapshots are): %s. Expect "
            "larger errors than on the test set.",
            found,
        )

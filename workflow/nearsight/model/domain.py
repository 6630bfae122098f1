"""What a model was trained on, so that a prediction can say whether a structure is like it.

Two questions, each answered by a number that is 1 for the model's own validation snapshots: How far are the structure's
descriptors from the nearest training points? And how far is its radial distribution function from the training set's?
Both are means over the structure. A vacancy is lost in them, hence a third: which share of the points is farther from
the training points than any of the validation set?
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nearsight.errors import InputError

#: Training points that are kept.
REFERENCES = 4096

#: Keys of a bundle's `training`: the range of the training cells' atoms per volume.
DENSITY_KEYS = ("least_atoms_per_A3", "most_atoms_per_A3")

#: Grid points of a structure, or of the validation set, that are compared with them.
SAMPLES = 8192

#: Principal components of the standardised descriptors whose variance is below this share of the total are left out:
#: they are noise, and distances along them mean nothing.
VARIANCE_FLOOR = 1e-3

#: A structure beyond the first score causes a warning, beyond the second it is refused.
WARNING_SCORE = 3.0
REFUSAL_SCORE = 10.0

#: Points are like none of the validation set where they are farther from the training than its farthest by this factor.
FARTHER = 1.25

#: With fewer validation snapshots their farthest point says little, and no points are counted.
FEWEST_SNAPSHOTS = 3

#: The same for the share of its points that are like none of the validation set: a vacancy among 63 atoms
#: has 10 %.
WARNING_SHARE = 0.002
REFUSAL_SHARE = 0.02


@dataclass(frozen=True)
class TrainingDomain:
    """Descriptors and radial distribution of a training set.

    mean, components: shapes (n,) and (n, k), from raw descriptors to whitened principal components; references: shape
    (m, k), training points there; distance: the mean distance of validation points to the nearest reference;
    largest_distance: that of the farthest of them, None with few snapshots or in older models; rdf: shape (bins,),
    mean g(r) of the training snapshots, bins from 0 to rdf_cutoff_A; rdf_distance: the mean |g - rdf| of the validation
    snapshots.
    """

    mean: np.ndarray
    components: np.ndarray
    references: np.ndarray
    distance: float
    rdf: np.ndarray
    rdf_cutoff_A: float
    rdf_distance: float
    largest_distance: float | None = None

    def __post_init__(self) -> None:
        """Raise InputError unless sizes fit together and all is finite."""
        n, k = self.components.shape if self.components.ndim == 2 else (0, 0)
        shapes = self.mean.shape == (n,) and self.references.shape == (len(self.references), k) and self.rdf.ndim == 1
        arrays = (self.mean, self.components, self.references, self.rdf)
        if not (shapes and k and len(self.references) and len(self.rdf) and all(np.isfinite(a).all() for a in arrays)):
            raise InputError(
                f"domain: expected finite arrays that fit together, got {[a.shape for a in arrays]}. Train again."
            )

    def compare(self, descriptors: np.ndarray) -> tuple[float, float]:
        """Mean distance of descriptors, shape (points, n), to the nearest training point, in units of validation's; and
        the share of them that are clearly farther than any of validation.
        """
        distances = self.distances(descriptors)
        farthest = np.inf if self.largest_distance is None else self.largest_distance / self.distance
        return float(distances.mean()), float((distances > FARTHER * farthest).mean())

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """Distance of each point's descriptors, shape (points, n), to the nearest training point, in units of
        validation's mean distance.
        """
        return nearest_distances(self.transform(descriptors), self.references) / self.distance

    def descriptor_score(self, descriptors: np.ndarray) -> float:
        """The first of `compare`."""
        return self.compare(descriptors)[0]

    def rdf_score(self, rdf: np.ndarray) -> float:
        """Mean distance of a radial distribution, shape (bins,), from the training set's, in units of validation's."""
        return float(np.abs(rdf - self.rdf).mean()) / self.rdf_distance

    def transform(self, descriptors: np.ndarray) -> np.ndarray:
        """Whitened principal components, shape (points, k)."""
        return (np.asarray(descriptors, dtype=np.float64) - self.mean) @ self.components


@dataclass(frozen=True)
class Extrapolation:
    """Scores of a structure, 1 where it is as far from the training set as the validation snapshots are, and the share
    of its points that are like none of them.
    """

    descriptor_score: float
    rdf_score: float
    unknown_share: float = 0.0

    @property
    def score(self) -> float:
        """The larger of the two."""
        return max(self.descriptor_score, self.rdf_score)


def density_range(densities_per_A3: Sequence[float]) -> dict[str, float]:
    """Least and most atoms per volume of a training set, by the keys of a bundle's `training`."""
    return dict(zip(DENSITY_KEYS, (min(densities_per_A3), max(densities_per_A3)), strict=True))


def measure_domain(
    training: np.ndarray,
    validation: np.ndarray,
    training_rdfs: np.ndarray,
    validation_rdfs: np.ndarray,
    rdf_cutoff_A: float,
    seed: int,
) -> TrainingDomain:
    """The domain of a training set.

    training, validation: descriptors of sampled points, shape (points, n); *_rdfs: shape (snapshots, bins). Raises
    InputError where all snapshots are the same: nothing is unlike them.
    """
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    scaled = np.where(deviation > 1e-12 * np.abs(mean), deviation, np.inf)
    standard = (training - mean) / scaled
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = variances > VARIANCE_FLOOR * variances.sum()
    components = np.ascontiguousarray(vectors[:, kept] / np.sqrt(variances[kept]) / scaled[:, None])
    chosen = np.random.default_rng(seed).permutation(len(training))[:REFERENCES]
    references = ((training[chosen] - mean) @ components).astype(np.float32)
    rdf = training_rdfs.mean(axis=0)
    distances = nearest_distances((validation - mean) @ components, references)
    distance = float(distances.mean())
    # one snapshot of few atoms has noise of its own, whether it is of the training set or not
    rdf_distance = float(np.abs(np.concatenate([validation_rdfs, training_rdfs]) - rdf).mean())
    if not (distance > 0 and rdf_distance > 0):
        raise InputError(
            "training, validation: expected snapshots that differ, got one structure in all of them. Take different "
            "frames, or a temperature that moves the atoms."
        )
    return TrainingDomain(
        mean=mean,
        components=components,
        references=references,
        distance=distance,
        rdf=rdf,
        rdf_cutoff_A=rdf_cutoff_A,
        rdf_distance=rdf_distance,
        largest_distance=float(distances.max()) if len(validation_rdfs) >= FEWEST_SNAPSHOTS else None,
    )


def nearest_distances(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Distances of points, shape (n, k), to the nearest of references, shape (m, k)."""
    return cKDTree(references).query(points)[0]

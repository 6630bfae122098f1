"""Figure 4: how similar the predicted cells are to the training set, by pairs of atoms and by the model's scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from nearsight.errors import InputError
from nearsight.figures.tables import table_of
from nearsight.structures.correlation import BIN_A, radial_distribution

#: Name of the set that the model learned from.
TRAINING = "training"

#: Radial distributions are drawn up to this many cutoffs of the descriptors.
REACH_CUTOFFS = 1.5

SCORE_COLUMNS = ("name", "set", "kind", "atoms", "descriptor_score", "rdf_score")


def tabulate_rdfs(cells: Mapping[str, Mapping], structures: Mapping[str, Atoms], cutoff_A: float) -> dict[str, list]:
    """Mean radial distribution function of every set, and its difference from the training set's.

    cells: name -> set; the training set is named TRAINING. Empty differences where there is no training set.
    """
    reach = REACH_CUTOFFS * cutoff_A
    sets: dict[str, list[np.ndarray]] = {}
    sizes: dict[str, set[int]] = {}
    distances = np.empty(0)
    for name, atoms in structures.items():
        distances, values = radial_distribution(atoms, reach, round(reach / BIN_A))
        sets.setdefault(cells[name]["set"], []).append(values)
        sizes.setdefault(cells[name]["set"], set()).add(len(atoms))
    training = np.mean(sets[TRAINING], axis=0) if TRAINING in sets else None
    table: dict[str, list] = {name: [] for name in ("set", "atoms", "cells", "distance_A", "rdf", "difference")}
    for label in sorted(sets, key=lambda label: (label != TRAINING, max(sizes[label]), label)):
        mean = np.mean(sets[label], axis=0)
        table["set"] += [label] * mean.size
        table["atoms"] += [max(sizes[label])] * mean.size
        table["cells"] += [len(sets[label])] * mean.size
        table["distance_A"] += [float(value) for value in distances.round(6)]
        table["rdf"] += [float(value) for value in mean]
        table["difference"] += [None] * mean.size if training is None else [float(v) for v in mean - training]
    return table


def tabulate_scores(cells: Mapping[str, Mapping], plans: Mapping[str, Mapping], sizes: Mapping[str, int]) -> dict:
    """The extrapolation scores of every predicted cell; plans: name -> record of plan_tiles.

    Raises InputError where a plan has no scores.
    """
    rows = []
    for name, plan in plans.items():
        try:
            scores = {key: float(plan[key]) for key in ("descriptor_score", "rdf_score")}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"plan of {name}: expected extrapolation scores, found no {error}. Plan again.") from None
        rows.append({"name": name, **cells[name], "atoms": sizes[name], **scores})
    order = sorted(rows, key=lambda row: (row["set"] != TRAINING, row["atoms"], row["set"], row["name"]))
    return table_of(SCORE_COLUMNS, order)


def analyse_similarity(rdfs: Mapping[str, Sequence], scores: Mapping[str, Sequence]) -> dict:
    """Largest and mean difference of each set's radial distribution, and its mean scores."""
    found: dict[str, dict] = {}
    for label in dict.fromkeys(rdfs["set"]):
        values = [
            abs(value)
            for name, value in zip(rdfs["set"], rdfs["difference"], strict=True)
            if name == label and value is not None
        ]
        if values:
            found.setdefault(label, {}).update(
                largest_rdf_difference=max(values), mean_rdf_difference=float(np.mean(values))
            )
    for label in dict.fromkeys(scores["set"]):
        for key in ("descriptor_score", "rdf_score"):
            values = [value for name, value in zip(scores["set"], scores[key], strict=True) if name == label]
            found.setdefault(label, {})[f"mean_{key}"] = float(np.mean(values))
    return {"sets": found}

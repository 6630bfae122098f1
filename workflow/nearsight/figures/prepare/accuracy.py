"""Figure 3: errors of every held-out cell, and whether energies follow DFT from cell to cell."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from nearsight.errors import InputError
from nearsight.figures.prepare.fits import fit_line
from nearsight.figures.tables import Table, rows_of, table_of

#: Name of the prediction among the methods of the parity.
NEARSIGHT = "Nearsight"

ERROR_COLUMNS = (
    *("name", "set", "kind", "atoms", "temperature_K", "free_energy_error_meV_per_atom"),
    *("free_energy_method_error_meV_per_atom", "free_energy_mean_error_meV_per_atom"),
    *("density_mape_percent", "density_mean_ldos_mape_percent"),
)

PARITY_COLUMNS = (
    *("name", "set", "atoms", "method", "dft_meV_per_atom", "predicted_meV_per_atom"),
    *("dft_relative_meV_per_atom", "predicted_relative_meV_per_atom"),
)


def tabulate_errors(cells: Mapping[str, Mapping], evaluations: Sequence[Mapping]) -> dict[str, list]:
    """One row per held-out cell that was evaluated.

    cells: name -> set, kind and temperature_K; evaluations: records of evaluate_prediction. Raises InputError where a
    record is not of that kind.
    """
    rows = []
    for evaluation in evaluations:
        try:
            energy, fields = evaluation["total_free_energy_error_meV_per_atom"], evaluation["fields"]
            rows.append(
                {
                    "name": evaluation["name"],
                    **cells[evaluation["name"]],
                    "atoms": evaluation["atoms"],
                    "free_energy_error_meV_per_atom": energy["total"],
                    "free_energy_method_error_meV_per_atom": energy["method"],
                    "free_energy_mean_error_meV_per_atom": energy["mean_energy"],
                    "density_mape_percent": fields["network"]["density_mape_percent"],
                    "density_mean_ldos_mape_percent": fields["mean_ldos"]["density_mape_percent"],
                }
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"evaluation: expected a record of evaluate_prediction, found no {error}.") from None
    return table_of(ERROR_COLUMNS, sorted(rows, key=lambda row: (row["atoms"], row["set"], row["name"])))


def tabulate_parity(
    cells: Mapping[str, Mapping], evaluations: Sequence[Mapping], potentials: Mapping[str, Mapping[str, float]]
) -> dict[str, list]:
    """Energies in meV per atom by method, and their differences from the mean of their set, for sets of two and more.

    potentials: method -> cell -> energy in eV. The mean is taken over the same cells for DFT and for the method.
    """
    rows = []
    sizes = {evaluation["name"]: evaluation["atoms"] for evaluation in evaluations}
    free = {evaluation["name"]: evaluation["total_free_energy_eV"] for evaluation in evaluations}
    energies = {NEARSIGHT: {name: terms["prediction"] for name, terms in free.items()}, **potentials}
    for method, found in energies.items():
        sets: dict[str, list[str]] = {}
        for name in sizes:
            if name in found:
                sets.setdefault(cells[name]["set"], []).append(name)
        for label, names in sets.items():
            if len(names) < 2:
                continue
            dft = np.array([1e3 * free[name]["dft"] / sizes[name] for name in names])
            other = np.array([1e3 * found[name] / sizes[name] for name in names])
            rows += [
                {
                    "name": name,
                    "set": label,
                    "atoms": sizes[name],
                    "method": method,
                    "dft_meV_per_atom": float(dft[i]),
                    "predicted_meV_per_atom": float(other[i]),
                    "dft_relative_meV_per_atom": float(dft[i] - dft.mean()),
                    "predicted_relative_meV_per_atom": float(other[i] - other.mean()),
                }
                for i, name in enumerate(names)
            ]
    return table_of(PARITY_COLUMNS, rows)


def analyse_accuracy(errors: Table, parity: Table) -> dict:
    """Means by set, and the line through each method's differences: slope 1 and R² 1 are what DFT has."""
    sets = {}
    for row in rows_of(errors):
        sets.setdefault(row["set"], []).append(row)
    found = {
        "sets": {
            label: {
                "cells": len(rows),
                "atoms": rows[0]["atoms"],
                "mean_absolute_free_energy_error_meV_per_atom": float(
                    np.mean([abs(row["free_energy_error_meV_per_atom"]) for row in rows])
                ),
                "mean_density_mape_percent": float(np.mean([row["density_mape_percent"] for row in rows])),
            }
            for label, rows in sets.items()
        },
        "lines": {},
    }
    for method in dict.fromkeys(parity["method"]):
        rows = rows_of(parity, method=method)
        dft = [row["dft_relative_meV_per_atom"] for row in rows]
        other = [row["predicted_relative_meV_per_atom"] for row in rows]
        line = fit_line(dft, other)
        if line:
            deviation = np.subtract(other, dft)
            found["lines"][method] = {
                **asdict(line),
                "root_mean_square_deviation_meV_per_atom": float(np.sqrt(np.mean(deviation**2))),
            }
    return found

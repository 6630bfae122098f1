"""Folders of predictions as `nearsight predict` leaves them, with numbers of our choice."""

import hashlib
import json

import numpy as np
from ase import Atoms

from nearsight.datasets import variables_of_atoms, write_dataset
from nearsight.files import sha256_of

TERMS_eV = {"band": 5.0, "hartree": 0.5, "xc": -14.0, "xc_potential": -18.0, "ion": -25.0, "entropy": -0.1}
TERMS_eV["total"] = 5.0 - 0.5 - 14.0 + 18.0 - 25.0 - 0.1

#: A triclinic cell, rows in Å.
CELL = np.array([[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [-0.7, 0.9, 6.0]])


def make_atoms(count=5, seed=0):
    """Atoms of two elements anywhere in the triclinic cell."""
    numbers = np.where(np.arange(count) % 3 == 1, 14, 4)
    return Atoms(numbers=numbers, positions=np.random.default_rng(seed).random((count, 3)) @ CELL, cell=CELL, pbc=True)


def blob(shape, height=1.0):
    """A field that is highest in the middle of the cell, 1/Å³: Σ -cos(2π f) + 3, times height."""
    x, y, z = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    return height * (3.0 - np.cos(x) - np.cos(y) - np.cos(z)) / 6


def write_prediction(
    folder, *, atoms=None, density=None, dos=True, scores=None, settings=None, provenance=None, energies=True
):
    """A whole folder: plan.json, prediction.h5, energies.json, request.json. density, scores: None for none."""
    folder.mkdir(parents=True, exist_ok=True)
    atoms = make_atoms() if atoms is None else atoms
    plan = json.dumps({"descriptor_score": 1.25, "rdf_score": 0.75})
    (folder / "plan.json").write_text(plan)
    (folder / "request.json").write_text("{}")
    variables = {**variables_of_atoms(atoms), "fermi_energy": 1.0}
    if density is not None:
        variables["density"] = density
    if scores is not None:
        variables["extrapolation_score"] = scores
    if dos:
        energies_eV = np.linspace(-6, 4, 51)
        variables |= {"energy": energies_eV, "dos": len(atoms) * np.sqrt(energies_eV + 6) / 7}
    origin = {"inputs_sha256": {"plan": hashlib.sha256(plan.encode()).hexdigest()}, **(provenance or {})}
    write_dataset(folder / "prediction.h5", variables, {"temperature_K": 300.0, **(settings or {})}, origin)
    if energies:
        write_energies(folder)
    return folder


def write_energies(folder, **changes):
    """The folder's energies.json; changes: of its keys."""
    content = {
        "energies_eV": TERMS_eV,
        "unscreened_eV_per_atom": 0.0002,
        "energy_deviation_eV_per_atom": 0.0015,
        "provenance": {"inputs_sha256": {"fields": sha256_of(folder / "prediction.h5")}},
        **changes,
    }
    (folder / "energies.json").write_text(json.dumps(content))

"""A model as an ASE calculator, for cells that fit on one machine."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from nearsight.errors import InputError
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone
from nearsight.options import ECUT_SAMPLE, GRID, TEMPERATURE, THREADS
from nearsight.structures.gridded import GRID_SHAPE
from nearsight.study.sections import Inference


def _parameter(name: str) -> property:
    """An attribute that is a parameter: a change of it discards the results."""
    return property(lambda self: self.parameters[name], lambda self, value: self.set(**{name: value}))


class Calculator(AseCalculator):
    """Total free energy of a structure from a trained model.

    model: folder of a model bundle, its JSON file, or the name of one that comes with Nearsight; temperature_K: of the
    electrons (by default the model's); threads: of this process; accept_extrapolation: whether structures far from the
    training set are computed too; screening: whether a metal's density follows its ions' long waves
    (docs/prediction.md); shape: the grid, which by default is the structure's own (`atoms.info["grid_shape"]`) or
    Quantum ESPRESSO's. All are attributes, and parameters of `set`: after a change of one, or of the structure or its
    grid, everything is recomputed.

    `energy` is the free energy A = E - TS here, equal to `free_energy`: it is what a model of electrons at finite
    temperature gives. Forces and stress are not implemented and raise PropertyNotImplementedError. After a calculation
    `results` also holds `fermi_level`, and `terms` all energy terms in eV. Raises InputError for parameters out of
    range, and for structures that are not crystals or unknown to the model.
    """

    implemented_properties = ("energy", "free_energy")
    default_parameters = {  # noqa: RUF012 - as ASE has it
        "model": None,
        "temperature_K": None,
        "threads": 1,
        "accept_extrapolation": False,
        "screening": True,
        "ecut_sample_Ry": None,
        "shape": None,
    }
    model, temperature_K, threads = _parameter("model"), _parameter("temperature_K"), _parameter("threads")
    accept_extrapolation, screening = _parameter("accept_extrapolation"), _parameter("screening")
    ecut_sample_Ry, shape = _parameter("ecut_sample_Ry"), _parameter("shape")

    def __init__(self, model: str | Path, **parameters: Any) -> None:
        self.terms = None
        super().__init__(model=model, **parameters)

    def set(self, **parameters: Any) -> dict:
        """Change parameters and return those that changed. Raises InputError for an unknown or impossible one."""
        unknown = sorted(set(parameters) - set(self.default_parameters))
        if unknown:
            raise InputError(
                f"Calculator: expected the parameters {', '.join(self.default_parameters)}, got {', '.join(unknown)}."
            )
        if "model" in parameters:
            parameters["model"] = Path(parameters["model"])
        if parameters.get("temperature_K") is not None:
            TEMPERATURE.check("Calculator: temperature_K", parameters["temperature_K"])
        if parameters.get("ecut_sample_Ry") is not None:
            ECUT_SAMPLE.check("Calculator: ecut_sample_Ry", parameters["ecut_sample_Ry"])
        THREADS.check("Calculator: threads", parameters.get("threads", 1))
        for name in ("accept_extrapolation", "screening"):
            if not isinstance(parameters.get(name, True), bool):
                raise InputError(f"Calculator: {name}: expected True or False, got {parameters[name]!r}.")
        if parameters.get("shape") is not None:
            shape = np.ravel(parameters["shape"]).tolist()
            if len(shape) != 3:
                raise InputError(f"Calculator: shape: expected three numbers of grid points, got {shape}.")
            parameters["shape"] = tuple(GRID.check("Calculator: shape", n) for n in shape)
        changed = super().set(**parameters)
        if changed:
            self.reset()
        return changed

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, including the structure's grid."""
        changes = super().check_state(atoms, tol)
        if not changes and not np.array_equal(*(a.info.get(GRID_SHAPE) for a in (self.atoms, atoms))):
            changes.append(GRID_SHAPE)
        return changes

    def calculate(
        self, atoms: Atoms | None = None, properties: tuple = ("energy",), system_changes: list = all_changes
    ) -> None:
        """Predict the structure. Raises InputError where the model does not fit it."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise InputError("Calculator: expected atoms to compute, got none. Set atoms.calc, or pass atoms.")
        with tempfile.TemporaryDirectory(prefix="nearsight-") as folder:
            self.terms = predict_structure(
                ModelFiles.find(self.model),
                self.atoms,
                Path(folder),
                Inference(
                    batches=1,
                    threads=self.threads,
                    accept_extrapolation=self.accept_extrapolation,
                    screening=self.screening,
                    ecut_sample_Ry=self.ecut_sample_Ry and float(self.ecut_sample_Ry),
                ),
                alone(),
                shape=self.shape,
                temperature_K=self.temperature_K,
            )
        self.results = {
            "energy": self.terms.total,
            "free_energy": self.terms.total,
            "fermi_level": self.terms.fermi_energy,
        }

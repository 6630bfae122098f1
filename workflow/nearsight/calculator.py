"""A model as a calculator of ASE, for cells that fit on one machine."""

import tempfile
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from nearsight.inference.plan import PredictionSettings
from nearsight.inference.run import ModelFiles, predict_structure
from nearsight.mpi import alone


class Calculator(AseCalculator):
    """Total free energy of a structure by a trained model.

    model: folder of a model bundle, or its JSON file; temperature_K: of the electrons (the model's, where left out);
    threads: of this process; accept_unfit: whether structures far from the training set are computed too; shape: the
    grid, which by default is the structure's own (`atoms.info["grid_shape"]`) or Quantum ESPRESSO's.

    `energy` is the free energy A = E - TS here, equal to `free_energy`: it is what a model of electrons at a
    temperature gives. Forces and stress are not implemented and raise PropertyNotImplementedError. After a calculation
    `results` also holds `fermi_level`, and `terms` all energy terms in eV.
    """

    implemented_properties = ("energy", "free_energy")

    def __init__(
        self,
        model: str | Path,
        *,
        temperature_K: float | None = None,
        threads: int = 1,
        accept_unfit: bool = False,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.files = ModelFiles.find(Path(model))
        self.temperature_K = temperature_K
        self.shape = shape
        self.settings = PredictionSettings(threads=threads, accept_unfit=accept_unfit)
        self.terms = None

    def calculate(
        self, atoms: Atoms | None = None, properties: tuple = ("energy",), system_changes: list = all_changes
    ) -> None:
        """Predict the structure. Raises InputError where the model does not fit it."""
        super().calculate(atoms, properties, system_changes)
        with tempfile.TemporaryDirectory(prefix="nearsight-") as folder:
            self.terms = predict_structure(
                self.files,
                self.atoms,
                Path(folder),
                self.settings,
                alone(),
                shape=self.shape,
                temperature_K=self.temperature_K,
            )
        self.results = {
            "energy": self.terms.total,
            "free_energy": self.terms.total,
            "fermi_level": self.terms.fermi_energy,
        }

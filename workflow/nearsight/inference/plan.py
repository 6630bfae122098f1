"""The plan of a prediction: its batches and tiles, and a first Fermi level from a pre-pass.

The pre-pass predicts the LDOS on every third point along each axis (of a small grid, on more of them). Its Fermi
level μ0 is close to the final one, so that the main pass can write n(r; μ0) and dn/dμ instead of an LDOS: that of a
large cell is never stored.
"""

from dataclasses import asdict, dataclass
from math import prod

import numpy as np
import xarray as xr
from ase import Atoms

from nearsight.datasets import atoms_of, settings_of
from nearsight.errors import InputError
from nearsight.files import read_json
from nearsight.inference.tiles import Block, choose_tile_shape, plan_batches
from nearsight.ldos import find_fermi_level
from nearsight.model.bundle import ModelBundle

#: Largest stride of the pre-pass: every third point leaves the Fermi level of two beryllium atoms 0.08 meV off,
#: strides of six and more miss the structure of the density.
LARGEST_STRIDE = 3

#: Points that the pre-pass takes at least, where the grid has them: it costs seconds then, and saves little with fewer.
FEWEST_POINTS = 20_000


@dataclass(frozen=True)
class PredictionPlan:
    """Everything that the batches of one prediction share.

    shape: the grid's; batches: one Block each; fermi_level_eV: μ0 of the pre-pass;
    electrons: of the structure; model_sha256 and descriptors_sha256: the files the plan was made from.
    """

    shape: tuple[int, int, int]
    batches: list[Block]
    tile_shape: tuple[int, int, int]
    fermi_level_eV: float
    electrons: float
    prepass_stride: int
    model_sha256: str
    descriptors_sha256: str

    def to_json(self) -> dict:
        """The plan as plain JSON."""
        return asdict(self)

    @classmethod
    def from_file(cls, path: str) -> "PredictionPlan":
        """Read a plan. Raises InputError where a key is missing."""
        content = read_json(path)
        try:
            content["batches"] = [Block(tuple(batch["start"]), tuple(batch["stop"])) for batch in content["batches"]]
            content["shape"], content["tile_shape"] = tuple(content["shape"]), tuple(content["tile_shape"])
            return cls(**content)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path}: expected a plan made by plan_tiles, got {error}. Delete it and run again."
            ) from None


def count_valence_electrons(atoms: Atoms, model: ModelBundle) -> float:
    """Number of valence electrons of a structure. Raises InputError for an element that the model does not know."""
    unknown = sorted(set(atoms.symbols) - set(model.electrons_per_element))
    if unknown:
        raise InputError(
            f"structure: expected the model's elements ({', '.join(model.elements)}), got {', '.join(unknown)}. Train "
            f"a model on these elements first."
        )
    return float(sum(model.electrons_per_element[symbol] for symbol in atoms.symbols))


def make_plan(
    model: ModelBundle,
    descriptors: xr.Dataset,
    *,
    batches: int,
    tile_points: int,
    model_sha256: str,
    descriptors_sha256: str,
) -> PredictionPlan:
    """Check that the descriptors fit the model, run the pre-pass and cut the grid.

    descriptors: an open descriptor dataset (bispectrum of shape (nx, ny, nz, components) and the geometry).
    """
    model.check_fits(settings_of(descriptors))
    atoms = atoms_of(descriptors)
    shape = tuple(descriptors["bispectrum"].shape[:3])
    electrons = count_valence_electrons(atoms, model)
    stride = choose_stride(shape)
    dos = prepass_dos(model, descriptors, stride, atoms.get_volume())
    return PredictionPlan(
        shape=shape,
        batches=plan_batches(shape, batches),
        tile_shape=choose_tile_shape(shape, tile_points),
        fermi_level_eV=find_fermi_level(dos, model.energy_grid, electrons, model.temperature_K, model.broadening_eV),
        electrons=electrons,
        prepass_stride=stride,
        model_sha256=model_sha256,
        descriptors_sha256=descriptors_sha256,
    )


def choose_stride(shape: tuple[int, int, int]) -> int:
    """The largest stride, up to LARGEST_STRIDE, that leaves FEWEST_POINTS points of the grid; 1 for small grids."""
    fitting = [s for s in range(1, LARGEST_STRIDE + 1) if prod(-(-n // s) for n in shape) >= FEWEST_POINTS]
    return max(fitting, default=1)


def prepass_dos(model: ModelBundle, descriptors: xr.Dataset, stride: int, volume_A3: float) -> np.ndarray:
    """DOS in 1/eV from every `stride`-th point along each axis, one plane of points in memory at a time."""
    total, points = np.zeros(model.energy_grid.count), 0
    field = descriptors["bispectrum"]
    for i in range(0, field.shape[0], stride):
        plane = field[i, ::stride, ::stride].values
        ldos = model.predict_ldos(plane.reshape(-1, plane.shape[-1]))
        total += ldos.sum(axis=0, dtype=np.float64)
        points += ldos.shape[0]
    return total * volume_A3 / points

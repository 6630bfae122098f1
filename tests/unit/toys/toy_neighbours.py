"""A descriptor from outside of the package: how many neighbours of each element are within some radii."""

from typing import Literal

import numpy as np
from pydantic import Field

from nearsight.descriptors.interface import Descriptor
from nearsight.study.sections import Descriptors


class Settings(Descriptors):
    """Radii in Å up to which neighbours are counted."""

    kind: Literal["neighbours"]
    radii_A: list[float] = Field(default=[1.5, 2.5])


def limits(settings, elements):
    if not all(0 < radius <= 12 for radius in settings.radii_A):
        yield "radii_A", f"expected lengths between 0 and 12 Å, got {settings.radii_A}."


def build_descriptor(settings, elements):
    return Neighbours(settings, elements)


class Neighbours(Descriptor):
    def __init__(self, settings, elements):
        self.settings, self.elements = settings, elements

    @property
    def components(self):
        return len(self.settings.radii_A) * len(self.elements)

    @property
    def cutoff_A(self):
        return max(self.settings.radii_A)

    def compute(self, atoms, grid, region, out, *, threads=1):
        points = grid.fractions(region)
        reach = np.ceil(self.cutoff_A * np.linalg.norm(np.linalg.inv(grid.cell), axis=0)).astype(int) + 1
        images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
        out[...] = 0
        for symbol, scaled in zip(atoms.symbols, atoms.get_scaled_positions(), strict=True):
            away = scaled - points
            away -= np.floor(away)
            distance = np.linalg.norm((away[..., None, :] + images) @ grid.cell, axis=-1)
            for number, radius in enumerate(self.settings.radii_A):
                column = self.elements.index(symbol) * len(self.settings.radii_A) + number
                # smooth, so that rounding moves no neighbour across
                out[..., column] += (np.clip(1 - distance / radius, 0, None) ** 2).sum(axis=-1)
        return out

"""The real-space grid of a periodic cell."""

from dataclasses import dataclass
from math import prod

import numpy as np

from nearsight.errors import InputError
from nearsight.grids.regions import Region


@dataclass(frozen=True)
class RealGrid:
    """Points r_ijk = i a/nx + j b/ny + k c/nz of a cell, x slowest in memory.

    cell: shape (3, 3), rows in Å; shape: (nx, ny, nz). Raises InputError for a cell without volume or an empty grid.
    """

    cell: np.ndarray
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        cell = np.asarray(self.cell, dtype=float)
        if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 1e-9:
            raise InputError(f"cell: expected three independent lattice vectors in Å, got {cell.tolist()}.")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"grid: expected a grid of three dimensions, got the shape {tuple(self.shape)}.")
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def points(self) -> int:
        """Number of grid points."""
        return prod(self.shape)

    @property
    def voxel(self) -> float:
        """Volume of a grid point, Å³."""
        return self.volume / self.points

    @property
    def whole(self) -> Region:
        """All grid points."""
        return Region.whole(self.shape)

    def coarser(self, points: int) -> "RealGrid":
        """A grid of the cell with about `points` points and the same proportions, not finer than this one."""
        factor = min((points / self.points) ** (1 / 3), 1.0)
        return RealGrid(self.cell, tuple(max(round(n * factor), 1) for n in self.shape))

    def fractions(self, region: Region) -> np.ndarray:
        """Fractional coordinates of a region's points, shape (*region.shape, 3)."""
        axes = [np.arange(start, stop) / n for (start, stop), n in zip(region, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def positions(self, region: Region) -> np.ndarray:
        """Cartesian positions of a region's points, shape (*region.shape, 3), Å."""
        return self.fractions(region) @ self.cell

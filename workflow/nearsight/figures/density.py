"""A plane of the electronic density: DFT, prediction, and the prediction's error."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matplotlib import rc_context
from matplotlib.figure import Figure

from nearsight.figures.output import new_figure
from nearsight.figures.style import STYLE

#: Nuclei closer to the plane than this are marked.
NEAR_PLANE_A = 0.35


@dataclass(frozen=True)
class DensitySlice:
    """Densities in 1/Å³ on the plane of the first two lattice vectors; x_A, y_A: coordinates in it, shape (nx, ny).

    height_A: distance of the plane from the origin's; nuclei_A: in-plane coordinates of the nuclei near it, (n, 2).
    """

    x_A: np.ndarray
    y_A: np.ndarray
    height_A: float
    reference: np.ndarray
    prediction: np.ndarray
    nuclei_A: np.ndarray


def slice_density(atoms: Atoms, reference: np.ndarray, prediction: np.ndarray) -> DensitySlice:
    """The grid plane nearest to the first nucleus; densities of shape (nx, ny, nz)."""
    nx, ny, nz = reference.shape
    fractional = atoms.get_scaled_positions()
    k = round(fractional[0, 2] * nz) % nz
    # a frame in which the plane's axes are first along a, then in the plane of a and b
    lengths = atoms.cell.standard_form()[0]
    i, j = np.meshgrid(np.arange(nx) / nx, np.arange(ny) / ny, indexing="ij")
    in_plane = np.stack([i, j, np.full_like(i, k / nz)], axis=-1) @ np.asarray(lengths)
    offset = fractional[:, 2] - k / nz
    near = np.abs(offset - np.round(offset)) * lengths[2, 2] < NEAR_PLANE_A
    nuclei = fractional[near].copy()
    nuclei[:, 2] = k / nz
    return DensitySlice(
        x_A=in_plane[..., 0],
        y_A=in_plane[..., 1],
        height_A=float(k / nz * lengths[2, 2]),
        reference=reference[:, :, k],
        prediction=prediction[:, :, k],
        nuclei_A=(nuclei @ np.asarray(lengths))[:, :2],
    )


def draw_density_slice(plane: DensitySlice, name: str) -> Figure:
    """Three panels: DFT and prediction on one scale, and the relative error in percent; crosses are nuclei."""
    with rc_context(STYLE):
        figure = new_figure(8.4, 2.9)
        panels = figure.subplots(1, 3, sharey=True)
        low = min(plane.reference.min(), plane.prediction.min())
        high = max(plane.reference.max(), plane.prediction.max())
        error = 100 * (plane.prediction - plane.reference) / plane.reference
        bound = np.abs(error).max()
        for axis, values, title in (
            (panels[0], plane.reference, "DFT"),
            (panels[1], plane.prediction, "prediction"),
        ):
            image = axis.pcolormesh(
                plane.x_A, plane.y_A, values, cmap="viridis", vmin=low, vmax=high, shading="nearest",
                rasterized=True,
            )  # fmt: skip
            axis.set_title(title, fontsize=9)
        figure.colorbar(image, ax=panels[:2], label="density (1/Å³)", pad=0.01)
        difference = panels[2].pcolormesh(
            plane.x_A, plane.y_A, error, cmap="RdBu_r", vmin=-bound, vmax=bound, shading="nearest", rasterized=True
        )  # fmt: skip
        panels[2].set_title("(prediction − DFT) / DFT", fontsize=9)
        figure.colorbar(difference, ax=panels[2], label="error (%)", pad=0.01)
        for axis in panels:
            # the density's own limits, fixed before the nuclei are drawn: one on the far edge must not widen them
            axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())
            axis.plot(*plane.nuclei_A.T, "+", color="white", markersize=6, markeredgewidth=2.2)
            axis.plot(*plane.nuclei_A.T, "+", color="black", markersize=5, markeredgewidth=0.9)
            axis.set_aspect("equal")
            axis.set_xlabel("x (Å)")
        panels[0].set_ylabel("y (Å)")
        figure.suptitle(f"{name}: plane {plane.height_A:.2f} Å along c, + nuclei near it", fontsize=9)
    return figure


def tabulate_density_slice(plane: DensitySlice) -> dict[str, list]:
    """One row per point of the plane."""
    return {
        "x_A": plane.x_A.ravel().round(6).tolist(),
        "y_A": plane.y_A.ravel().round(6).tolist(),
        "dft_density_per_A3": plane.reference.ravel().tolist(),
        "predicted_density_per_A3": plane.prediction.ravel().tolist(),
    }

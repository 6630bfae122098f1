"""The training curve."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nearsight.figures.output import new_figure
from nearsight.figures.style import PREDICTION, REFERENCE, SECONDARY, STYLE


def draw_training(
    epochs: np.ndarray, train_loss: np.ndarray, validation_loss: np.ndarray, learning_rate: np.ndarray
) -> Figure:
    """Losses (mean squared error of the scaled LDOS) and learning rate against epochs; the lowest is marked."""
    with rc_context(STYLE):
        figure = new_figure(4.6, 3.4)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        best = int(np.nanargmin(validation_loss))
        top.semilogy(epochs, train_loss, color=REFERENCE["color"], label="training")
        top.semilogy(epochs, validation_loss, color=PREDICTION["color"], label="validation snapshot")
        top.plot(
            epochs[best], validation_loss[best], "o", color=PREDICTION["color"], markersize=5,
            label=f"lowest: epoch {epochs[best]:.0f}",
        )  # fmt: skip
        top.set_ylabel("loss (scaled LDOS, mean square)")
        top.legend()
        bottom.semilogy(epochs, learning_rate, **SECONDARY)
        bottom.set_ylabel("learning rate")
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure

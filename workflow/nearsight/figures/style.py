"""How all figures look: widths, fonts, and colours that colour-blind readers can tell apart."""

#: The colours of Okabe and Ito (jfly.uni-koeln.de/color), which people with any colour vision can tell apart.
OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}

#: Reference, prediction and trivial predictor look the same in every figure.
REFERENCE = {"color": OKABE_ITO["black"], "label": "DFT"}
PREDICTION = {"color": OKABE_ITO["vermilion"], "label": "prediction"}
SECONDARY = {"color": OKABE_ITO["blue"]}

#: Width of a journal's column.
COLUMN_WIDTH_mm = 86.0

MM_PER_INCH = 25.4

STYLE = {
    "font.size": 9,
    "axes.linewidth": 0.8,
    "axes.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}

#: At column width: type of 7 points and thinner lines, ticks on all sides.
COLUMN_STYLE = {
    **STYLE,
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6,
    "legend.handlelength": 1.4,
    "legend.labelspacing": 0.3,
    "legend.borderaxespad": 0.3,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
}

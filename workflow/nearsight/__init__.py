"""Nearsight: electronic structure at any length scale from the local density of states.

The package holds all physics and all formats and knows nothing of Snakemake.
"""

__version__ = "0.1.0"

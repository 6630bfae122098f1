"""Nearsight: electronic structure at any length scale from the local density of states.

The package holds all physics and all formats and knows nothing of Snakemake.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`nearsight.Calculator`, imported when it is asked for: a workflow is read without ASE and torch."""
    if name == "Calculator":
        from nearsight.calculator import Calculator

        return Calculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

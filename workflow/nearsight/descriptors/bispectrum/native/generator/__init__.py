"""Writes the C++ of the bispectrum for one twojmax: `python -m generator --help`. Standard library alone."""

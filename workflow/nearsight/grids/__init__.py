"""Grids: real space and its parts, plane waves, LDOS energies."""

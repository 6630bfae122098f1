"""Prediction of a structure of any size, tile by tile; the LDOS of a large cell is never stored."""

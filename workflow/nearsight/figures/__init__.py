"""Figures: each with units, as PNG and PDF, its data as CSV beside it."""

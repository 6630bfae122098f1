"""Errors of predictions against DFT, and the summary of a study."""

"""Figures, each as PNG and PDF, with units, and with its data as CSV."""

"""Quantum ESPRESSO: its inputs, its outputs, and how its programs are run."""

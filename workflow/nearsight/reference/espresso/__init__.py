"""Quantum ESPRESSO: inputs, outputs, and running its programs."""

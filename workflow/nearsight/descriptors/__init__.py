"""Descriptors of the atoms around every grid point."""

"""Bispectrum descriptors of the atoms around every grid point."""

from nearsight.descriptors.bispectrum.components import component_order, number_of_components
from nearsight.descriptors.bispectrum.compute import bispectrum, bispectrum_brick
from nearsight.descriptors.bispectrum.settings import BispectrumSettings
from nearsight.grids.regions import Brick

__all__ = [
    "BispectrumSettings",
    "Brick",
    "bispectrum",
    "bispectrum_brick",
    "component_order",
    "number_of_components",
]

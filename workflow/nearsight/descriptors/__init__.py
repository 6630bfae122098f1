"""Bispectrum descriptors of the atoms around every grid point."""

from nearsight.descriptors.bispectrum import bispectrum, bispectrum_brick
from nearsight.descriptors.bricks import Brick
from nearsight.descriptors.components import component_order, number_of_components
from nearsight.descriptors.settings import BispectrumSettings

__all__ = [
    "BispectrumSettings",
    "Brick",
    "bispectrum",
    "bispectrum_brick",
    "component_order",
    "number_of_components",
]

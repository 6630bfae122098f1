"""From a local density of states to the Fermi level, density, band energy and entropy."""

from nearsight.grids.energies import EnergyGrid
from nearsight.ldos.fermi import FermiWeights, fermi_weights
from nearsight.ldos.observables import (
    DosObservables,
    check_window,
    density_from_ldos,
    dos_from_ldos,
    find_fermi_level,
    integrate_dos,
)

__all__ = [
    "DosObservables",
    "EnergyGrid",
    "FermiWeights",
    "check_window",
    "density_from_ldos",
    "dos_from_ldos",
    "fermi_weights",
    "find_fermi_level",
    "integrate_dos",
]

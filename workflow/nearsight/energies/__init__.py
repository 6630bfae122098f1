"""Total free energy from LDOS, density and positions, one term per module, in N log N."""

from nearsight.energies.fourier import FourierGrid
from nearsight.energies.total import (
    DensityEnergies,
    FreeEnergy,
    assemble,
    density_energies,
    total_free_energy,
)

__all__ = ["DensityEnergies", "FourierGrid", "FreeEnergy", "assemble", "density_energies", "total_free_energy"]

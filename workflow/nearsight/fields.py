"""Every dataset of every file, with its dimensions, unit and meaning.

Writers and readers go through this registry (`nearsight.datasets`), so that a name means one thing.
Dimensions: x, y, z (grid; x slowest in memory), energy (LDOS energies), component (descriptors),
atom, direction (Cartesian), voigt (of a stress), vector (lattice vectors, rows), kpoint, band.
"""

from dataclasses import dataclass

GRID = ("x", "y", "z")


@dataclass(frozen=True)
class Field:
    """One dataset: `dims` in order of memory, `unit`, `dtype` on disk, and what it is."""

    dims: tuple[str, ...]
    unit: str
    meaning: str
    dtype: str = "float64"


FIELDS = {
    # geometry
    "cell": Field(("vector", "direction"), "Å", "lattice vectors, one per row"),
    "positions": Field(("atom", "direction"), "Å", "positions of the nuclei"),
    "atomic_numbers": Field(("atom",), "1", "atomic numbers", "int32"),
    "forces": Field(("atom", "direction"), "eV/Å", "forces of the DFT reference"),
    "stress": Field(("voigt",), "eV/Å³", "stress of the DFT reference, xx yy zz yz xz xy, with the sign of ASE"),
    "extrapolation_score": Field(
        ("atom",), "1", "distance of the surroundings from the training set; 1: that of the validation set", "float32"
    ),
    # fields on the grid
    "density": Field(GRID, "1/Å³", "electronic density, summed over spin"),
    "density_slope": Field(GRID, "1/(eV Å³)", "dn/dμ, the change of the density with the Fermi level", "float32"),
    "density_curvature": Field(GRID, "1/(eV² Å³)", "d²n/dμ²", "float32"),
    "ldos": Field((*GRID, "energy"), "1/(eV Å³)", "local density of states, summed over spin", "float32"),
    "descriptors": Field((*GRID, "component"), "1", "descriptors of the atoms around a point; float32 on request"),
    # spectra
    "energy": Field(("energy",), "eV", "energies of the LDOS and the DOS"),
    "dos": Field(("energy",), "1/eV", "density of states, summed over spin"),
    "eigenvalues": Field(("kpoint", "band"), "eV", "Kohn-Sham eigenvalues of the SCF run"),
    "ldos_eigenvalues": Field(
        ("kpoint", "band"), "eV", "Kohn-Sham eigenvalues that the LDOS comes from: the SCF's, or pp.x's non-SCF run's"
    ),
    "kpoint_weights": Field(("kpoint",), "1", "weights of the k-points; their sum is 2 (spin)"),
    # Quantum ESPRESSO's own numbers
    "fermi_energy": Field((), "eV", "Fermi energy of the SCF run"),
    "electrons": Field((), "1", "number of valence electrons"),
    "band_energy": Field((), "eV", "sum of occupied eigenvalues, Σ w f ε"),
    "one_electron_energy": Field((), "eV", "QE's one-electron contribution"),
    "hartree_energy": Field((), "eV", "QE's Hartree contribution"),
    "xc_energy": Field((), "eV", "QE's exchange-correlation contribution"),
    "ewald_energy": Field((), "eV", "QE's Ewald contribution"),
    "entropy_energy": Field((), "eV", "entropy term -TS (QE's smearing contribution)"),
    "total_free_energy": Field((), "eV", "total free energy (QE's line with the exclamation mark)"),
}

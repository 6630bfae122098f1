"""The seam for DFT codes: what an adapter hands over becomes a dataset that the later stages read."""

import numpy as np
import pytest
from ase.build import bulk
from model_files import UPF, ENERGIES_eV

from nearsight.datasets import atoms_of, open_dataset, settings_of
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.model.method import read_method
from nearsight.reference.pseudopotential import parse_pseudopotential
from nearsight.reference.snapshot import Snapshot, describe_settings, write_snapshot
from nearsight.study.sections import Dft, Ldos

DFT = Dft(ecutwfc_Ry=20.0, ecutrho_Ry=80.0, kpoints=[4, 4, 2], bands_per_occupied=2.0)
LDOS = Ldos(energy_min_eV=-1.0, energy_max_eV=1.0, spacing_eV=0.25, broadening_eV=0.5)


def make(**changes):
    """A snapshot of another code: two k-points, four bands, no stress."""
    generator = np.random.default_rng(1)
    parts = {
        "atoms": bulk("Be"),
        "density": generator.random((3, 4, 5)),
        "ldos": generator.random((3, 4, 5, 9), dtype=np.float32),
        "energy_grid": EnergyGrid.from_energies(ENERGIES_eV),
        "eigenvalues": generator.random((2, 4)),
        "ldos_eigenvalues": generator.random((2, 4)),
        "kpoint_weights": np.array([0.5, 1.5]),
        "fermi_energy": 0.25,
        "electrons": 4.0,
        "band_energy": 1.5,
        "energies": {"total_free_energy": -3.0, "entropy_energy": -0.1},
        "forces": generator.random((2, 3)),
    }
    return Snapshot(**{**parts, **changes})


def settings():
    pseudopotentials = {"Be": parse_pseudopotential(UPF.encode(), "Be.upf", "Be")}
    return describe_settings(DFT, LDOS, 298.0, "PBE", pseudopotentials)


@pytest.mark.parametrize("stress", [None, np.arange(6.0)])
def test_what_is_handed_over_is_what_is_read(tmp_path, stress):
    snapshot = make(stress=stress)
    write_snapshot(tmp_path / "x.h5", snapshot, settings(), {"stage": "reference"})
    with open_dataset(tmp_path / "x.h5") as dataset:
        assert ("stress" in dataset) == (stress is not None)
        for name, values in snapshot.variables().items():
            np.testing.assert_array_equal(dataset[name].values, values)
        assert atoms_of(dataset) == snapshot.atoms
        assert settings_of(dataset)["dft"]["kpoints"] == [4, 4, 2]
        method = read_method(dataset, tmp_path / "x.h5")
    assert (method.functional, method.kernel, method.broadening_eV) == ("PBE", "gaussian", 0.5)
    assert (method.ecutwfc_Ry, method.ecutrho_Ry, method.valence) == (20.0, 80.0, {"Be": 2.0})


def test_the_density_of_states_is_the_sum_over_the_cell():
    snapshot = make()
    expected = snapshot.ldos.astype(float).sum(axis=(0, 1, 2)) * snapshot.atoms.get_volume() / 60
    np.testing.assert_allclose(snapshot.dos, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": np.ones((3, 4, 6))}, "expected"),
        ({"forces": np.ones((3, 3))}, "forces: expected 2 along atom"),
        ({"kpoint_weights": np.ones(3)}, "kpoint_weights: expected 2 along kpoint"),
        ({"fermi_energy": np.nan}, "fermi_energy: expected finite numbers in eV"),
        ({"energies": {"total": -3.0}}, "total: expected a name of fields"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        write_snapshot(tmp_path / "x.h5", make(**changes), settings(), {})
    assert not list(tmp_path.iterdir())

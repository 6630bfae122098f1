"""The native kernel against LAMMPS in the same process, over random crystals and settings."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpi4py import MPI  # noqa: F401  (before lammps: it loads the MPI library)
from native_cases import TOLERANCES, compute, lammps_reference, largest_deviation, random_atoms

from nearsight.descriptors.bispectrum import NATIVE_TWOJMAX as TWOJMAX
from nearsight.descriptors.bispectrum.components import component_order
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.descriptors.bispectrum.kernel import INSTRUCTION_SET, instruction_set, load

cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "kind": st.sampled_from(["compact", "thin", "skewed"]),
        "symbols": st.sampled_from([("Be",), ("Be", "H"), ("Be", "C", "H")]),
        "twojmax": st.sampled_from(TWOJMAX),
        "cutoff_A": st.floats(2.0, 6.0),
        "rfac0": st.floats(0.9, 0.999),
    }
)

#: Of random crystals 98 in 100 keep within TOLERANCES; the others' columns nearly vanish (docs/performance.md).
RANDOM_TOLERANCES = {**TOLERANCES, "float32": 3e-5}


def check_case(case):
    generator = np.random.default_rng(case["seed"])
    atoms = random_atoms(generator, case["kind"], case["symbols"])
    shape = tuple(int(n) for n in generator.integers(3, 6, 3))
    options = {key: case[key] for key in ("twojmax", "cutoff_A", "rfac0")}
    if len(case["symbols"]) > 1:
        options["weights"] = {symbol: float(generator.uniform(0.3, 2.0)) for symbol in case["symbols"]}
    reference = lammps_reference(atoms, shape, **options)
    for precision, tolerance in RANDOM_TOLERANCES.items():
        values = bispectrum(atoms, shape, precision=precision, **options)
        assert values.dtype == precision
        assert largest_deviation(values, reference) < tolerance, precision


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases)
def test_random_crystals(case):
    check_case(case)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases)
def test_many_random_crystals(case):
    check_case(case)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("twojmax", TWOJMAX)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_every_instruction_set(monkeypatch, name, twojmax, precision):
    if load().instruction_set(name) is None:
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv(INSTRUCTION_SET, name)
    assert instruction_set() == name
    atoms = random_atoms(np.random.default_rng(3))
    reference = lammps_reference(atoms, (3, 2, 3), twojmax=twojmax)
    values = bispectrum(atoms, (3, 2, 3), twojmax=twojmax, precision=precision)
    assert largest_deviation(values, reference) < TOLERANCES[precision]


@pytest.mark.parametrize("precision", TOLERANCES)
def test_atoms_on_grid_points(precision):
    """LAMMPS leaves an atom out at its own point; float32 must not be led astray by rounding, nor by 1e-8 Å."""
    cell = np.array([[4.5, 0.3, 0.2], [-1.3, 3.9, 0.1], [2.0, 0.5, 3.6]])
    shape = (6, 5, 4)
    from ase import Atoms

    for offset in (0.0, 2e-11, 1e-9, 1e-8, 1e-5):
        scaled = np.array([[0, 0, 0], [3, 2, 1], [1, 4, 3]]) / shape
        atoms = Atoms("Be3", cell=cell, scaled_positions=scaled, pbc=True)
        atoms.positions[:, 0] += offset
        atoms.positions += cell.sum(axis=0) * 3
        reference = lammps_reference(atoms, shape, twojmax=4)
        values = bispectrum(atoms, shape, twojmax=4, precision=precision)
        assert largest_deviation(values, reference) < TOLERANCES[precision], offset


@pytest.mark.parametrize(("spacing_A", "tolerance"), [(0.8, 2e-5), (0.4, 1e-4)])
def test_float32_degrades_slowly_where_atoms_are_close(spacing_A, tolerance):
    """Many neighbours within the cutoff: sums of more terms, larger products. docs/performance.md has the numbers."""
    atoms = random_atoms(np.random.default_rng(5), spacing_A=spacing_A, most=40)
    reference = lammps_reference(atoms, (3, 3, 3))
    assert largest_deviation(compute(atoms, (3, 3, 3), "float32"), reference) < tolerance


def test_vacuum_has_the_self_term_alone():
    from ase import Atoms

    atoms = Atoms("Be", positions=[[0.1, 0.1, 0.1]], cell=[20.0, 20.0, 20.0], pbc=True)
    values = bispectrum(atoms, (2, 2, 2), twojmax=4)[1, 1, 1]
    np.testing.assert_allclose(values, [j + 1 for _, _, j in component_order(4)], rtol=1e-14)

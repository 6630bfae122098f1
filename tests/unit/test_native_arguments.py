"""Hostile arguments: a Python exception each, never a crash."""

import contextlib

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.descriptors.bispectrum.kernel import INSTRUCTION_SET, load
from nearsight.errors import InputError

CELL = [[4.5, 0.0, 0.0], [0.3, 3.9, 0.0], [0.0, 0.0, 3.6]]
SHAPE = (4, 3, 5)


def make_atoms(**changes):
    values = {"symbols": "Be2", "positions": [[0.2, 0.1, 0.3], [2.3, 2.0, 1.8]], "cell": CELL, "pbc": True}
    return Atoms(**(values | changes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"twojmax": 7}, r"descriptors\.twojmax: expected an even whole number.*got 7"),
        ({"twojmax": 14}, r"descriptors\.twojmax: expected one of 2, 4"),
        ({"twojmax": 10**9}, r"descriptors\.twojmax"),
        ({"rmin0": 0.1}, r"descriptors\.rmin0: expected 0 with the backend native.*lammps"),
        ({"chemical": True}, r"descriptors\.chemical"),
        ({"cutoff_A": -4.7}, r"descriptors\.cutoff_A"),
        ({"cutoff_A": float("nan")}, r"descriptors\.cutoff_A"),
        ({"rfac0": float("inf")}, r"descriptors\.rfac0"),
        ({"weights": {"Be": float("nan")}}, r"descriptors\.weights\.Be"),
        ({"weights": {"Xx": 1.0}}, r"descriptors\.weights\.Xx: expected one of the elements Be"),
        ({"precision": "float16"}, r"descriptors\.precision: expected one of float32, float64"),
        ({"threads": 0}, "threads: expected"),
        ({"threads": 10**7}, "threads: expected"),
        ({"threads": 1.5}, "threads: expected"),
        ({"backend": "numpy"}, r"descriptors\.backend"),
        ({"region": ((0, 5), (0, 3), (0, 5))}, "region: expected"),
        ({"region": ((3, 2), (0, 3), (0, 5))}, "region: expected"),
        ({"region": ((-1, 2), (0, 3), (0, 5))}, "region: expected"),
        ({"region": 7}, "region: expected"),
        ({"out": np.empty((4, 3, 5, 90))}, "out: expected"),
        ({"out": np.empty((4, 3, 5, 91), dtype=np.float32)}, "out: expected"),
        ({"out": np.empty((4, 3, 5, 91), dtype=np.int64)}, "out: expected"),
        ({"out": np.empty((4, 3, 91, 5)).transpose(0, 1, 3, 2)}, "out: expected .* got strided"),
        ({"out": np.empty((4, 3, 5, 182))[..., ::2]}, "out: expected .* got strided"),
        ({"out": np.broadcast_to(0.0, (4, 3, 5, 91))}, "out: expected .* got read-only"),
        ({"out": [1.0]}, "out: expected .* got list"),
        ({"cutof_A": 4.0}, r"descriptors\.cutof_A: unknown key.*cutoff_A"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        bispectrum(make_atoms(), SHAPE, **options)


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": np.zeros((3, 3))},
        {"cell": [[4, 0, 0], [4, 0, 0], [0, 0, 4]]},
        {"cell": np.full((3, 3), np.nan)},
        {"positions": [[np.nan, 0, 0], [2, 2, 2]]},
        {"positions": [[np.inf, 0, 0], [2, 2, 2]]},
        {"positions": [[0, 0, 0], [0, 0, 0]]},
        {"pbc": [True, True, False]},
    ],
)
def test_bad_structures(changes):
    with pytest.raises(InputError):
        bispectrum(make_atoms(**changes), SHAPE)


def test_forced_instruction_set_that_is_not_there(monkeypatch):
    monkeypatch.setenv(INSTRUCTION_SET, "sse9")
    with pytest.raises(InputError, match="expected avx512, avx2 or portable"):
        bispectrum(make_atoms(), SHAPE)


def to_float32(values):
    with np.errstate(all="ignore"):
        return values.astype(np.float32)


numbers = st.one_of(
    st.sampled_from([0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"), 1e-9, 4.0]),
    st.floats(),
)
integers = st.one_of(st.integers(-3, 6), st.sampled_from([-(2**63), 2**63 - 1, 2**31, 10**7, 2**70]))
arrays = st.one_of(
    st.sampled_from(
        [
            np.empty((2, 2, 2, 5)),
            np.empty((2, 2, 2, 5), dtype=np.float32),
            np.empty((0, 2, 2, 5)),
            np.empty((2, 2, 2)),
            np.empty((2, 2, 2, 5))[::-1],
            np.broadcast_to(0.0, (2, 2, 2, 5)),
            np.empty((2, 2, 2, 5), dtype=complex),
            np.empty((2, 2, 2, 5), dtype=">f8"),
            None,
            "array",
        ]
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_compiled_module_itself(data):
    """The module behind the checks, with one to three good arguments replaced by any others."""
    arguments = {
        "out": np.empty((2, 2, 2, 5)),
        "cell": np.array(CELL),
        "positions": np.array([[0.2, 0.1, 0.3], [2.3, 2.0, 1.8]]),
        "weights": np.ones(2),
        "cutoffs": np.full(2, 4.0),
        "shape": (2, 2, 2),
        "start": (0, 0, 0),
        "stop": (2, 2, 2),
        "twojmax": 2,
        "rfac0": 0.99363,
        "switching": True,
        "subtract_zero": False,
        "self_weight": 1.0,
        "threads": 1,
        "instruction_set": None,
        "progress": None,
    }

    def some(*shape):
        size = int(np.prod(shape))
        return st.lists(numbers, min_size=size, max_size=size).map(lambda x: np.array(x).reshape(shape))

    other = {
        "out": arrays,
        "cell": st.one_of(some(3, 3), some(2, 3), some(3, 3).map(to_float32), st.just(None)),
        "positions": st.one_of(some(2, 3), some(1, 3), some(0, 3), some(3, 2).map(np.transpose), st.just(4)),
        "weights": st.one_of(some(2), some(3), some(2, 2)),
        "cutoffs": st.one_of(some(2), some(0)),
        "shape": st.tuples(integers, integers, integers),
        "start": st.tuples(integers, integers, integers),
        "stop": st.tuples(integers, integers, integers),
        "twojmax": integers,
        "rfac0": numbers,
        "switching": st.sampled_from([0, "x", None, False]),
        "self_weight": numbers,
        "threads": st.integers(-3, 3),
        "instruction_set": st.sampled_from(["", "avx", "avx2", "portable", 7]),
        "progress": st.sampled_from([print, 7, lambda: None]),
    }
    names = data.draw(st.lists(st.sampled_from(sorted(other)), min_size=1, max_size=3, unique=True))
    for name in names:
        arguments[name] = data.draw(other[name], label=name)
    with contextlib.suppress(ValueError, TypeError, MemoryError, OverflowError):
        load().bispectrum_float64(**arguments)

"""The settings of the bispectrum, checked once."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields

import numpy as np
from ase.data import atomic_numbers

from nearsight.descriptors.bispectrum.components import number_of_components
from nearsight.errors import InputError

#: R of an element without an entry in `radii`: its cutoff 2 R cutoff_A is cutoff_A itself.
DEFAULT_RADIUS = 0.5


@dataclass(frozen=True)
class BispectrumSettings:
    """Settings of LAMMPS's sna/grid; the others are fixed by the conventions (docs: physics).

    twojmax: twice the largest angular momentum; cutoff_A: where the switching function reaches zero, Å;
    rfac0: the fraction of the 3-sphere that is used; rmin0: shift of the distance, Å; switching: whether neighbours
    fade out towards the cutoff; self_weight: weight of the grid point itself; bzero: whether the components of an
    isolated point are subtracted; quadratic: whether products of components follow; chemical: whether there is a
    bispectrum per triple of elements. weights, radii: element -> weight as a neighbour, and R, so that the
    element's cutoff is 2 R cutoff_A; 1 and 0.5 where left out, but several elements need their weights.
    """

    twojmax: int = 10
    cutoff_A: float = 4.67637
    rfac0: float = 0.99363
    rmin0: float = 0.0
    switching: bool = True
    self_weight: float = 1.0
    bzero: bool = False
    quadratic: bool = False
    chemical: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    radii: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise InputError on a value that no bispectrum can have."""
        _expect("twojmax", self.twojmax, "a whole number between 0 and 20", 0, 20, whole=True)
        _expect("cutoff_A", self.cutoff_A, "a length in Å between 1 and 12", 1.0, 12.0)
        _expect("rfac0", self.rfac0, "a fraction between 0 and 1", 1e-6, 1.0)
        _expect("rmin0", self.rmin0, "a length in Å from 0 to below the cutoff", 0.0, 0.999 * self.cutoff_A)
        _expect("self_weight", self.self_weight, "a weight between -1000 and 1000", -1e3, 1e3)
        for key in ("switching", "bzero", "quadratic", "chemical"):
            if not isinstance(getattr(self, key), bool):
                raise InputError(f"descriptors.{key}: expected true or false, got {getattr(self, key)!r}.")
        for key, what, low, high in (
            ("weights", "a weight between -1000 and 1000", -1e3, 1e3),
            ("radii", "a radius R between 0.01 and 5", 0.01, 5.0),
        ):
            values = getattr(self, key)
            if not isinstance(values, dict) or not all(name in atomic_numbers for name in values):
                raise InputError(f"descriptors.{key}: expected numbers by chemical symbol, got {values!r}.")
            for name, value in values.items():
                _expect(f"{key}.{name}", value, what, low, high)

    def weights_of(self, symbols: Iterable[str]) -> np.ndarray:
        """Weight of every atom as a neighbour."""
        return np.array([self.weights.get(symbol, 1.0) for symbol in symbols], dtype=float)

    def cutoffs_of(self, symbols: Iterable[str]) -> np.ndarray:
        """Cutoff of every atom as a neighbour, Å."""
        return np.array([2 * self.radii.get(symbol, DEFAULT_RADIUS) * self.cutoff_A for symbol in symbols], dtype=float)

    def number_of_components(self, elements: int = 1) -> int:
        """How many numbers a grid point has: 91 for twojmax = 10 and the defaults."""
        count = number_of_components(self.twojmax) * (elements**3 if self.chemical else 1)
        return count + count * (count + 1) // 2 if self.quadratic else count

    @classmethod
    def from_dict(cls, settings: dict) -> "BispectrumSettings":
        """Settings from a configuration's section. Raises InputError on an unknown key or a bad value."""
        known = {key.name for key in fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise InputError(
                f"descriptors: expected the keys {', '.join(sorted(known))}, got also {', '.join(unknown)}."
            )
        return cls(**settings)

    def to_dict(self) -> dict:
        """The settings as plain JSON values."""
        return asdict(self)


def _expect(key: str, value: object, what: str, low: float, high: float, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    if not good:
        raise InputError(f'descriptors.{key}: expected {what}, got {value!r}. See config/README.md, "descriptors".')

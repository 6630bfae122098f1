"""The settings of the bispectrum, checked once."""

import math
from dataclasses import asdict, dataclass, fields

from nearsight.errors import InputError


@dataclass(frozen=True)
class BispectrumSettings:
    """Settings of LAMMPS's sna/grid; the others are fixed by the conventions (docs: physics).

    twojmax: twice the largest angular momentum; cutoff_A: where the switching function reaches zero, Å;
    rfac0: the fraction of the 3-sphere that is used; rmin0: shift of the distance, Å.
    """

    twojmax: int = 10
    cutoff_A: float = 4.67637
    rfac0: float = 0.99363
    rmin0: float = 0.0

    def __post_init__(self) -> None:
        """Raise InputError on a value that no bispectrum can have."""
        _expect("twojmax", self.twojmax, "a whole number between 0 and 20", 0, 20, whole=True)
        _expect("cutoff_A", self.cutoff_A, "a length in Å between 1 and 12", 1.0, 12.0)
        _expect("rfac0", self.rfac0, "a fraction between 0 and 1", 1e-6, 1.0)
        _expect("rmin0", self.rmin0, "a length in Å from 0 to below the cutoff", 0.0, 0.999 * self.cutoff_A)

    @classmethod
    def from_dict(cls, settings: dict) -> "BispectrumSettings":
        """Settings from a configuration's section. Raises InputError on an unknown key or a bad value."""
        known = {field.name for field in fields(cls)}
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

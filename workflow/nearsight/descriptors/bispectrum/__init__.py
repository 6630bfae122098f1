"""Bispectrum descriptors, as LAMMPS's `compute sna/grid` defines them: self term 1, no normalisation."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nearsight.study.sections import Bispectrum as Settings

if TYPE_CHECKING:
    from nearsight.descriptors.interface import Descriptor

__all__ = ["NATIVE_TWOJMAX", "Settings", "build_descriptor", "limits"]

#: Values of twojmax that the native kernel is compiled for.
NATIVE_TWOJMAX = (2, 4, 6, 8, 10, 12)


def limits(settings: Settings, elements: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the backend cannot do, and elements that would be taken for one another: (key, message)."""
    advice = "Take another value, or the backend lammps."
    if settings.backend == "native" and settings.twojmax not in NATIVE_TWOJMAX:
        known = ", ".join(map(str, NATIVE_TWOJMAX))
        yield "twojmax", f"expected one of {known} with the backend native, got {settings.twojmax}. {advice}"
    if settings.backend == "native" and settings.rmin0 > 0:
        yield "rmin0", f"expected 0 with the backend native, got {settings.rmin0:g} Å. {advice}"
    if settings.backend != "lammps" and settings.chemical:
        yield "chemical", f"expected false with the backend {settings.backend}, got true. Take lammps."
    if settings.rmin0 >= settings.cutoff_A:
        yield "rmin0", f"expected a length below cutoff_A = {settings.cutoff_A:g} Å, got {settings.rmin0:g}."
    missing = [element for element in elements if element not in settings.weights]
    if len(elements) > 1 and missing and not settings.chemical:
        yield (
            "weights",
            f"expected a weight for each of {', '.join(elements)}, found none for {', '.join(missing)}. Give "
            "all, as in weights: {Be: 1.0, O: 0.7}.",
        )
    for element in settings.weights:
        if element not in elements:
            yield f"weights.{element}", f"expected one of the elements {', '.join(elements)}."


def build_descriptor(settings: Settings, elements: tuple[str, ...]) -> "Descriptor":
    """The descriptor for structures of these elements."""
    from nearsight.descriptors.bispectrum.compute import BispectrumDescriptor

    return BispectrumDescriptor(settings, elements)

"""Which functionals and kinds of pseudopotentials the energies support, checked before anything is computed."""

from collections.abc import Mapping

from nearsight.energies.xc import FUNCTIONALS
from nearsight.errors import InputError
from nearsight.reference.espresso.ld1 import deck_valence, describe_deck, read_deck
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotential
from nearsight.study.sections import Pseudopotential as Source


def check_sources(sources: Mapping[str, Source]) -> dict[str, float | None]:
    """Valence electrons of a study's pseudopotentials, None where an ld1.x deck does not say; no program runs.

    sources: the section `pseudopotentials`, whose files are opened. Raises InputError where they cannot be read, or the
    energies do not support them.
    """
    found = {element: _check_source(element, source) for element, source in sources.items()}
    require_one_functional({functional for functional, _ in found.values()})
    return {element: valence for element, (_, valence) in found.items()}


def _check_source(element: str, source: Source) -> tuple[str, float | None]:
    """Functional and valence of an element's pseudopotential."""
    if source.ld1_input is not None:
        deck = read_deck(source.ld1_input, element)
        (functional, kind), valence = describe_deck(deck), deck_valence(deck)
    else:
        found = read_pseudopotential(source.upf, element)
        found.require_sha256(source.sha256)
        functional, kind, valence = found.functional, found.kind, found.valence
    check_method(functional, kind, element)
    return functional, valence


def functional_of(pseudopotentials: Mapping[str, Pseudopotential]) -> str:
    """The functional of all pseudopotentials, a key of `FUNCTIONALS`. Raises InputError for several or another."""
    for element, found in pseudopotentials.items():
        check_method(found.functional, found.kind, element)
    return require_one_functional({found.functional for found in pseudopotentials.values()})


def require_one_functional(names: set[str]) -> str:
    """The only one of these functionals. Raises InputError where they are several."""
    if len(names) != 1:
        raise InputError(f"pseudopotentials: expected one functional for all elements, got {', '.join(sorted(names))}.")
    return next(iter(names))


def check_method(functional: str, kind: str, element: str) -> None:
    """Raise InputError where the energies do not support a pseudopotential's functional or kind (NC, US, PAW).

    PAW: its energy has terms of spheres around the atoms, which follow from the occupations of projectors and not from
    the LDOS.
    """
    key = f"pseudopotentials.{element}"
    if functional not in FUNCTIONALS:
        raise InputError(
            f"{key}: expected a pseudopotential for the functional {' or '.join(FUNCTIONALS)}, got one for "
            f"{functional[:80] or 'none that it names'}. Take another, or add the functional (docs/developing.md)."
        )
    if kind == "PAW":
        raise InputError(
            f"{key}: expected a norm-conserving or ultrasoft pseudopotential, got a PAW data set, whose total energy "
            "has terms that no LDOS gives. Take an ultrasoft one of the same element and functional."
        )

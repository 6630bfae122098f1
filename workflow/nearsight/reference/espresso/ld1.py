"""Pseudopotentials made by Quantum ESPRESSO's atomic code ld1.x, and laid out for pw.x."""

import re
from collections.abc import Mapping
from pathlib import Path

from nearsight.errors import InputError
from nearsight.files import read_regular, write_whole
from nearsight.reference.espresso.programs import Launch, run_program
from nearsight.reference.espresso.workspace import scratch_folder
from nearsight.reference.pseudopotential import (
    Pseudopotential,
    is_true,
    name_functional,
    parse_pseudopotential,
    select_pseudopotentials,
)

#: A deck of ld1.x has some hundred lines.
LARGEST_DECK = 1 << 20

#: Where ld1.x writes the date: an attribute of the header, and a line of the comment.
_DATE = re.compile(rb'(?<=\bdate=")[^"]*(?=")|(?<=Generation date:)[^\n]*')


def generate_pseudopotential(deck: str | Path, element: str, output: str | Path) -> Pseudopotential:
    """Run ld1.x on an input deck and write the pseudopotential that it makes, whole.

    The deck names its product in `file_pseudopw`. Raises InputError where it does not, or makes another element's.
    """
    text = read_deck(deck, element)
    product_name = deck_value(text, "file_pseudopw")
    if product_name is None:
        raise InputError(f"{deck}: expected `file_pseudopw = 'NAME'` in &inputp, found none.")
    with scratch_folder(output) as folder:
        run_program("ld1.x", text, folder, Launch(), "ld1")
        product = folder / Path(product_name).name
        if not product.is_file():
            raise InputError(f"{deck}: expected ld1.x to write {product.name}, found none. Check iswitch = 3.")
        # without the date, the same deck makes the same file and the same SHA-256
        found = parse_pseudopotential(_DATE.sub(b"", product.read_bytes()), output, element)
        with write_whole(output) as path:
            path.write_bytes(found.content)
    return found


def read_deck(deck: str | Path, element: str) -> str:
    """The text of a deck that names no file outside its folder. Raises InputError for any other."""
    advice = f"Check pseudopotentials.{element}.ld1_input in the configuration."
    text = read_regular(deck, f"an input of ld1.x for {element}", advice, LARGEST_DECK).decode("utf-8", "replace")
    check_deck(text, deck)
    return text


def check_deck(text: str, deck: str | Path) -> None:
    """Raise InputError where a deck names a file outside the folder that ld1.x runs in.

    ld1.x reads and writes under any name that a deck gives it. A path needs a slash; otherwise a slash only ends a
    namelist, as the last character of a line. Comments may hold any.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        code, quoted = _without_comment(line)
        if quoted:  # a comment on the next line might then not be one
            raise InputError(
                f"{deck}: line {number}: expected quotes that end on their line, got {line.strip()[:80]!r}."
            )
        if re.search(r"/(?!\s*$)|\S/", code):
            raise InputError(
                f"{deck}: line {number}: expected file names without folders, since ld1.x runs in a folder of its "
                f"own, got {line.strip()[:80]!r}. Name files without a slash; a namelist's own stands on a line alone."
            )


def deck_value(text: str, name: str) -> str | None:
    """The value of a namelist's key in a deck, without quotes, in any case; None where it is not set."""
    code = "\n".join(_without_comment(line)[0] for line in text.splitlines())
    match = re.search(rf"(?<![\w%]){name}\s*=\s*(?:'([^'\n]*)'|\"([^\"\n]*)\"|([^\s,/]+))", code, re.IGNORECASE)
    return match and next(value for value in match.groups() if value is not None)


def describe_deck(text: str) -> tuple[str, str]:
    """Functional and kind (NC, US, PAW) of the pseudopotential that a deck makes."""
    kind = "US" if (deck_value(text, "pseudotype") or "1").strip() == "3" else "NC"
    if is_true(deck_value(text, "lpaw") or "F"):
        kind = "PAW"
    return name_functional(deck_value(text, "dft") or "LDA"), kind


def deck_valence(text: str) -> float | None:
    """Valence electrons of the pseudopotential that a deck makes; None where its list of states has another form.

    After &inputp comes the number of states, then one on each line: name, n, l, occupation, ... A state that is not
    occupied has a negative number there, or 0.
    """
    lines = [_without_comment(line)[0].strip() for line in text.splitlines()]
    try:
        start = next(number for number, line in enumerate(lines) if line.lower().startswith("&inputp"))
        end = next(number for number in range(start, len(lines)) if lines[number].endswith("/"))
        table = [line.split() for line in lines[end + 1 :] if line]
        states = table[1 : int(table[0][0]) + 1]
        return sum(max(float(state[3].upper().replace("D", "E")), 0.0) for state in states) or None
    except (StopIteration, ValueError, IndexError):
        return None


def place_pseudopotentials(
    pseudopotentials: Mapping[str, Pseudopotential], elements: set[str], folder: Path
) -> dict[str, str]:
    """Write the pseudopotentials of `elements` into a run's folder under short names; return element -> name.

    Raises InputError for an element without pseudopotential.
    """
    names = {}
    for element, found in select_pseudopotentials(elements, pseudopotentials).items():
        names[element] = f"{element}.upf"
        (folder / names[element]).write_bytes(found.content)
    return names


def _without_comment(line: str) -> tuple[str, bool]:
    """A line of a namelist up to its comment, and whether a quote is still open at its end."""
    quote = ""
    for place, letter in enumerate(line):
        if letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        elif not quote and letter == "!":
            return line[:place], False
    return line, bool(quote)

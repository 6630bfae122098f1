"""Tables of pages that a bench writes itself: what is between two markers, from a CSV beside the page.

<!-- table: NAME -->
| ... |
<!-- end: NAME -->
"""

import csv
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from nearsight.files import write_text


def read_csv(path: Path) -> list[dict]:
    """The rows of a CSV; what looks like a number is one, True and False are booleans, an empty cell is None."""
    with open(path, newline="", encoding="utf-8") as handle:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(handle)]


def _value(text: str) -> str | int | float | bool | None:
    words = {"True": True, "False": False, "": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def tables_of(page: str) -> dict[str, list[str]]:
    """The lines of a page between its markers, by name."""
    found = re.findall(r"^<!-- table: (\S+) -->\n(.*?)^<!-- end: \1 -->$", page, re.MULTILINE | re.DOTALL)
    return {name: text.splitlines() for name, text in found}


def replace_table(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with other lines between the markers of a name."""
    if name not in tables_of(page):
        raise SystemExit(
            f"--page: expected a page with the lines '<!-- table: {name} -->' and '<!-- end: {name} -->', found none. "
            "Write them where the table shall stand."
        )
    pattern = rf"(?<=^<!-- table: {name} -->\n).*?(?=^<!-- end: {name} -->$)"
    return re.sub(pattern, lambda _: "".join(f"{line}\n" for line in lines), page, flags=re.MULTILINE | re.DOTALL)


def publish(page: Path, name: str, lines: Sequence[str], source: Path) -> None:
    """Put a table on a page, and the CSV that it is made from beside it: PAGE-NAME.csv."""
    text = replace_table(page.read_text(encoding="utf-8"), name, lines)
    shutil.copyfile(source, page.with_name(f"{page.stem}-{name}.csv"))
    write_text(page, text)

"""Tables that a bench itself writes into a page: what is between two markers.

<!-- table: NAME -->
| ... |
<!-- end: NAME -->
"""

import csv
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from nearsight.files import write_text, write_whole


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


def write_csv(path: Path, rows: Sequence[Mapping]) -> None:
    """Rows as CSV, whole, with all columns that any of them has; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def fill_page(page: Path, tables: Mapping[str, Sequence[str]]) -> None:
    """Put the lines of each table between its markers on a page."""
    text = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        text = replace_table(text, name, lines)
    write_text(page, text)


def publish(page: Path, name: str, lines: Sequence[str], source: Path, figure: Path | None = None) -> None:
    """Put a table on a page, and next to it what it is made from, PAGE-NAME.csv, and the figure, PAGE-NAME.png."""
    fill_page(page, {name: lines})
    for file in (source, figure):
        if file:
            shutil.copyfile(file, page.with_name(f"{page.stem}-{name}{file.suffix}"))


def report(
    rows: Iterable[Mapping], table: Callable[[Sequence[dict]], list[str]], target: Path, page: Path | None, name: str
) -> None:
    """Write rows as CSV, print the table that is made of them there, and put both on a page if one is given."""
    write_csv(target, list(rows))
    lines = table(read_csv(target))
    print("\n".join(lines))
    if page:
        publish(page, name, lines, target)

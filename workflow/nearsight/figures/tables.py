"""The data between preparing and drawing a figure: one JSON record and a few CSV tables, nothing else."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nearsight.errors import InputError
from nearsight.figures.contents import TABLES, data_names
from nearsight.figures.output import write_table
from nearsight.files import read_json, read_regular, write_json

#: Bytes of the largest table that is written or read: a figure is drawn from numbers, not from fields.
LARGEST_TABLE = 8 << 20

#: A table: equally long columns by name, each with its unit in the name.
Table = Mapping[str, Sequence]


@dataclass(frozen=True)
class FigureData:
    """What one figure is drawn from.

    settings: of the study, for the caption; found: numbers that follow from the tables (fits, means); missing: what the
    figure should show and cannot, one sentence each.
    """

    figure: str
    settings: dict
    found: dict
    tables: dict[str, Table]
    missing: list[str] = field(default_factory=list)
    provenance: dict = field(default_factory=dict)


def write_figure_data(data: FigureData, outputs: Sequence[Path]) -> None:
    """Write a record and its tables to the files with their names. Raises InputError unless these are all of them."""
    by_name = {path.name: path for path in outputs}
    if sorted(by_name) != sorted(data_names(data.figure)):
        raise InputError(f"--outputs: expected {', '.join(data_names(data.figure))}, got {', '.join(by_name)}.")
    record = {name: getattr(data, name) for name in ("figure", "settings", "found", "missing", "provenance")}
    for name in TABLES[data.figure]:
        table = {column: [_text(value) for value in values] for column, values in data.tables[name].items()}
        size = sum(len(value) + 1 for values in table.values() for value in values)
        if size > LARGEST_TABLE:
            raise InputError(f"figure {data.figure}: {name}: expected a table of at most {LARGEST_TABLE >> 20} MiB.")
        write_table(table, by_name[f"figure-{data.figure}-{name}.csv"])
    write_json(by_name[f"figure-{data.figure}.json"], record)


def read_figure_data(inputs: Sequence[Path]) -> FigureData:
    """Read a record and its tables. Raises InputError where a file is missing or not of this kind."""
    by_name = {path.name: path for path in inputs}
    figures = [figure for figure in TABLES if f"figure-{figure}.json" in by_name]
    if len(figures) != 1 or sorted(by_name) != sorted(data_names(figures[0])):
        wanted = ", ".join(data_names(figures[0])) if len(figures) == 1 else "the files of one figure"
        raise InputError(f"figure data: expected {wanted}, got {', '.join(sorted(by_name))}.")
    (figure,) = figures
    source = by_name[f"figure-{figure}.json"]
    record = read_json(source)
    kinds = {"figure": str, "settings": dict, "found": dict, "missing": list, "provenance": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]
    if wrong or set(record) != set(kinds) or record["figure"] != figure:
        raise InputError(f"{source}: expected the record of figure {figure} with {', '.join(kinds)}. Prepare it again.")
    tables = {name: read_table(by_name[f"figure-{figure}-{name}.csv"]) for name in TABLES[figure]}
    return FigureData(tables=tables, **record)


def read_table(source: Path) -> dict[str, list]:
    """Columns of a CSV table; numbers are floats, an empty cell is None. Raises InputError where it is none."""
    text = read_regular(source, "a CSV table", "Run the rule that makes it.", 2 * LARGEST_TABLE)
    try:
        header, *rows = csv.reader(io.StringIO(text.decode("utf-8"), newline=""))
        return {name: [_value(row[i]) for row in rows] for i, name in enumerate(header)}
    except (ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{source}: expected a CSV table with a header, got: {error}. Prepare it again.") from None


def rows_of(table: Table, **wanted: object) -> list[dict]:
    """The rows of a table as dictionaries, those alone whose columns have the wanted values."""
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def table_of(columns: Sequence[str], rows: Sequence[Mapping]) -> dict[str, list]:
    """Rows as a table with these columns; a value that a row lacks is an empty cell."""
    return {column: [row.get(column) for row in rows] for column in columns}


def _text(value: object) -> str:
    """Eight digits are more than any figure shows, and few enough that rounding on another machine is not seen."""
    if value is None:
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _value(text: str) -> float | str | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text

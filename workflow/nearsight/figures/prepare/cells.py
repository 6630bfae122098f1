"""Names of a study's cells in the figures: size, and what sets each apart."""

from collections.abc import Mapping

#: What a cell can be; the first that applies. A bulk cell is the crystal at the temperature of most training snapshots.
KINDS = ("stacking fault", "imported", "vacancy", "strain", "temperature", "bulk")


def kind_of(cell: Mapping) -> str:
    """The kind of a cell with the keys fault, imported, temperature_K, usual_temperature_K, strain_percent, vacancies.

    An imported one has only the first two: the study does not know what it is.
    """
    if cell["fault"]:
        return "stacking fault"
    if cell["imported"]:
        return "imported"
    if cell["vacancies"]:
        return "vacancy"
    if cell["strain_percent"] != 0:
        return "strain"
    return "bulk" if cell["temperature_K"] == cell["usual_temperature_K"] else "temperature"


def describe_cell(cell: Mapping, atoms: int) -> dict:
    """Set, kind and temperature_K of a cell: cells of one set are alike but for the motion of their atoms."""
    kind = kind_of(cell)
    if cell["imported"]:
        label = f"{atoms:,} atoms, imported{', fault' if cell['fault'] else ''}"
        return {"set": label, "kind": kind, "temperature_K": None}
    details = {
        "stacking fault": ", fault",
        "vacancy": f", {cell['vacancies']} vacanc{'y' if cell['vacancies'] == 1 else 'ies'}",
        "strain": f", {cell['strain_percent']:+g} %",
        "temperature": "",
        "bulk": "",
    }
    label = f"{atoms:,} atoms{details[kind]}"
    if cell["temperature_K"] != cell["usual_temperature_K"]:
        label += f", {cell['temperature_K']:g} K"
    return {"set": label, "kind": kind, "temperature_K": cell["temperature_K"]}

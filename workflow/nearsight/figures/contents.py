"""Which files the figures of the paper are drawn from; imports nothing, because every job's Snakefile reads it."""

#: Tables of each figure's data, beside its record: figure-1.json, figure-1-energies.csv, ...
TABLES = {
    "1": ("energies", "atoms", "slice", "isosurface"),
    "2": ("times", "rules", "links"),
    "3": ("errors", "parity"),
    "4": ("rdf", "scores"),
}

#: Name of the manifest of a deposit.
MANIFEST = "manifest.json"


def data_names(figure: str) -> list[str]:
    """Names of the files that one figure is drawn from: its record and its tables."""
    return [f"figure-{figure}.json", *(f"figure-{figure}-{table}.csv" for table in TABLES[figure])]

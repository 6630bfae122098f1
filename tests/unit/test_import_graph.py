"""The rooms of the package lie above one another: none imports one above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

#: From below. A room uses only rooms before it; docs/developing.md says what is in each.
ORDER = (
    *("errors", "versions", "units", "fields", "options", "plugins", "files", "memory", "hdf5", "datasets", "jobs"),
    *("mpi", "provenance", "resume", "grids", "study", "structures", "descriptors", "ldos", "reference", "model"),
    *("energies", "imports", "models", "inference", "evaluation", "export", "figures", "view", "calculator"),
    *("preflight", "cli"),
)


def rooms_imported(path: Path) -> Iterator[str]:
    """Rooms that a module imports, inside of functions too, but for type annotations alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    annotations = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    ignored = {id(child) for node in annotations for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in ignored or not isinstance(node, ast.ImportFrom | ast.Import):
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        if names == ["nearsight"]:
            names = [f"nearsight.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("nearsight.") and "__" not in name)


def test_no_module_imports_one_above_it(repository):
    package = repository / "workflow/nearsight"
    wrong = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room == "__init__" or "native" in path.parts:
            continue
        for other in rooms_imported(path):
            if ORDER.index(other) > ORDER.index(room):
                wrong.append(f"{path.relative_to(package)} imports {other}, which is above {room}")
    assert not wrong, "\n".join(wrong)


def test_physics_knows_nothing_of_the_workflow(repository):
    for path in (repository / "workflow/nearsight").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in modules if name.startswith(("snakemake", "scripts"))], path


def test_only_its_own_folder_names_the_bispectrum(repository):
    """The descriptor is found by its name: see nearsight.descriptors.interface."""
    package = repository / "workflow/nearsight"
    # MALA's parameters name it
    allowed = {"descriptors", "study", "imports"}
    for path in package.rglob("*.py"):
        if path.relative_to(package).parts[0] not in allowed:
            assert "bispectrum" not in path.read_text(encoding="utf-8").lower(), path

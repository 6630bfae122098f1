"""The pseudopotentials of others' data, which name them but do not include them."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from nearsight.errors import InputError
from nearsight.reference.pseudopotential import Pseudopotential, read_pseudopotential


def find_pseudopotentials(
    folder: Path, elements: Iterable[str], names: Mapping[str, str]
) -> dict[str, Pseudopotential]:
    """Those of the elements in a folder of UPF files.

    names: element -> file that the data name, whose folder is ignored. Without a name there has to be exactly one file
    of the element. Raises InputError where it is missing or another's.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".upf") if folder.is_dir() else []
    found = {}
    for element in elements:
        name = PurePosixPath(names.get(element, "").replace("\\", "/")).name
        path = next((path for path in files if path.name == name), None)
        if path is None and not name:
            own = [one for one in map(read_pseudopotential, files) if one.element == element]
            path = own[0].path if len(own) == 1 else None
        if path is None:
            raise InputError(
                f"{folder}: expected the pseudopotential of {element}, {name or 'one UPF file of it'}, found "
                f"{', '.join(path.name for path in files[:5]) or 'no UPF file'}. Name its folder with "
                "--pseudopotentials."
            )
        found[element] = read_pseudopotential(path, element)
    return found

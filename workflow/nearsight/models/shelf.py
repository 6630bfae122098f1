"""Finding the models that come inside the package, and putting one there."""

import re
import shutil
from pathlib import Path

from nearsight.errors import InputError
from nearsight.files import explain_storage, sha256_of, write_whole
from nearsight.models.card import CARD_JSON, CARD_MARKDOWN, Card, read_card, write_card

#: Where the models are.
FOLDER = Path(__file__).resolve().parent

#: A model's name begins with a letter and is no path.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

#: The two files of a bundle.
BUNDLE, WEIGHTS = "model.json", "model.safetensors"

#: Most bytes of a model in the package: everyone downloads it.
LARGEST_BYTES = 5_000_000


def model_names() -> list[str]:
    """Names of the models that come inside the package."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{BUNDLE}"))


def find_model(path: str | Path) -> Path:
    """Folder or JSON file of a model that is given by either or by name; what exists wins over a name.

    Raises InputError where it is neither.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        return path
    names = model_names()
    if str(path) in names:
        return FOLDER / path
    raise InputError(
        f"{path}: expected the folder of a model, its model.json, or the name of one that comes with Nearsight "
        f"({', '.join(names) or 'none does'}), found none. Check the path; `nearsight models` lists the names."
    )


def read_model_card(name: str) -> Card:
    """The card of a model that comes inside the package. Raises InputError where its files are not those of the card.

    name: one of `model_names`.
    """
    folder = FOLDER / name
    card = read_card(folder / CARD_JSON)
    check_files(card, folder)
    return card


def check_files(card: Card, folder: Path) -> None:
    """Raise InputError unless the files of a card are in the folder and have the card's SHA-256."""
    if set(card.files) != {BUNDLE, WEIGHTS}:
        raise InputError(f"{folder / CARD_JSON}: files: expected {BUNDLE} and {WEIGHTS}, got {', '.join(card.files)}.")
    for file, expected in card.files.items():
        path = folder / file
        if not path.is_file() or sha256_of(path) != expected:
            raise InputError(
                f"{path}: expected the file of the model's card (SHA-256 {expected}), found none or another. Install "
                "Nearsight again, or write the card again."
            )


def ship_model(source: Path, name: str, licence: str) -> Path:
    """Copy a trained model with its card into the package under a name; return the folder.

    source: folder with model.json, model.safetensors and card.json, such as results/STUDY/model. Raises InputError
    where the card is of other files, or the model is too large for the package.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r}: expected a name of letters, digits, _ and - that begins with a letter.")
    card = read_card(source / CARD_JSON)
    check_files(card, source)
    if (size := sum((source / file).stat().st_size for file in card.files)) > LARGEST_BYTES:
        raise InputError(f"{source}: expected at most {LARGEST_BYTES} bytes in a model that comes along, got {size}.")
    folder = FOLDER / name
    with explain_storage(folder):
        folder.mkdir(exist_ok=True)
    for file in card.files:
        with write_whole(folder / file) as temporary:
            shutil.copyfile(source / file, temporary)
    card = card.model_copy(update={"name": name, "licence": licence})
    write_card(card, folder / CARD_JSON, folder / CARD_MARKDOWN)
    return folder

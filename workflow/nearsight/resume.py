"""Folders of unfinished work, from which a killed job resumes if its input is still the same."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from nearsight.files import explain_storage, write_json
from nearsight.provenance import hash_settings

#: File of a folder that says what its work depends on.
JOB = "job.json"


def open_folder(
    target: Path, kind: str, identity: dict, begin: Callable[[Path], dict] = lambda _: {}, needs: Sequence[str] = ()
) -> tuple[Path, dict]:
    """The hidden folder beside `target` for its unfinished work, and what was noted when it was begun.

    An earlier run's folder is taken if it was made from the same identity (all that the numbers depend on, as JSON) and
    has the files of `needs`. Otherwise it is emptied, and `begin`, called with the folder, gives what to note, as JSON.
    By one process alone. Raises StorageError where the machine refuses to write.
    """
    folder, fingerprint = target.with_name(f".{target.stem}.{kind}"), hash_settings(identity)
    try:
        known = json.loads((folder / JOB).read_text(encoding="utf-8"))
        if known.pop("fingerprint") == fingerprint and all((folder / name).exists() for name in needs):
            return folder, known
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or one that was killed while it began
    with explain_storage(target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        noted = begin(folder)
    write_json(folder / JOB, {"fingerprint": fingerprint, **noted})
    return folder, noted

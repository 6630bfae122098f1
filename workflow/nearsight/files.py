"""Files appear only whole: written under a temporary name beside the target, then renamed."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.errors import InputError


@contextmanager
def write_whole(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; rename it to `target` if the block succeeds.

    The temporary name keeps the target's suffix, because writers choose a format by it. On any error the
    temporary file is removed and the target stays as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.part-{os.getpid()}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: str | Path, text: str) -> None:
    """Write a whole text file (UTF-8)."""
    with write_whole(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: str | Path, content: object) -> None:
    """Write a whole JSON file; NaN and infinities are refused, because JSON has none."""
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(source: str | Path) -> dict:
    """Read a JSON object. Raises InputError where the file is missing, truncated or not an object."""
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{source}: expected a JSON file, found none. Run the rule that makes it.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: expected a whole JSON file, got {error}. Delete it and run again.") from None
    if not isinstance(content, dict):
        raise InputError(f"{source}: expected a JSON object, got a {type(content).__name__}.")
    return content


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

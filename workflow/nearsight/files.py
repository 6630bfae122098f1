"""Files appear only whole: written under a temporary name beside the target, then renamed."""

import hashlib
import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nearsight.errors import InputError

#: Bytes of the largest JSON file that is read: plans and summaries of thousands of structures are far smaller.
LARGEST_JSON = 64 << 20


@contextmanager
def write_whole(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; rename it to `target` if the block succeeds.

    The temporary name keeps the target's suffix, because writers choose a format by it. On any error the
    temporary file is removed and the target stays as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.part-{os.getpid()}{target.suffix}")
    # made anew and exclusively: a link that somebody put in this place would be followed
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
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


@contextmanager
def open_regular(source: str | Path, what: str, advice: str, largest_bytes: int) -> Iterator[BinaryIO]:
    """Yield a regular file of at most `largest_bytes`, open for reading.

    A pipe, a device or a folder, also behind a link, is refused: reading it might never end. what, advice: for the
    message. Raises InputError.
    """
    try:
        # a pipe without a writer would block its opening
        handle = os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb")
    except FileNotFoundError:
        raise InputError(f"{source}: expected {what}, found none. {advice}") from None
    except OSError as error:
        raise InputError(f"{source}: expected {what}, got: {error.strerror}. {advice}") from None
    with handle:
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{source}: expected {what}, got no regular file. {advice}")
        if status.st_size > largest_bytes:
            raise InputError(
                f"{source}: expected {what} of at most {largest_bytes} bytes, got {status.st_size}. {advice}"
            )
        yield handle


def read_regular(source: str | Path, what: str, advice: str, largest_bytes: int) -> bytes:
    """The bytes of a regular file of at most `largest_bytes`. Raises InputError as `open_regular` does."""
    with open_regular(source, what, advice, largest_bytes) as handle:
        return handle.read(os.fstat(handle.fileno()).st_size)  # a larger number would be reserved at once


@contextmanager
def bounded_memory(more_bytes: int) -> Iterator[None]:
    """Let this process take at most so much address space beside what it has; beyond, Python raises MemoryError.

    For readers of others that believe what a file announces. Where a limit is lower already, it stays.
    """
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [taken + more_bytes, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def read_json(source: str | Path) -> dict:
    """Read a JSON object. Raises InputError where the file is missing, truncated or not an object."""
    content = read_regular(source, "a JSON file", "Run the rule that makes it.", LARGEST_JSON)
    try:
        content = json.loads(content, parse_constant=_refuse_constant)
    # RecursionError: nested a thousand times; ValueError: damaged, no UTF-8, or a number of thousands of digits
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: expected a whole JSON file, got {error}. Delete it and run again.") from None
    if not isinstance(content, dict):
        raise InputError(f"{source}: expected a JSON object, got a {type(content).__name__}.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no number")


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

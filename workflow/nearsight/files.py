"""Files that appear only when complete: written under a temporary name beside the target, then renamed."""

import errno
import glob
import hashlib
import json
import math
import os
import resource
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nearsight.errors import InputError, NearsightError, StorageError

#: When this process began, in seconds since the epoch.
PROCESS_START = time.time()

#: What to do where the machine refuses to write.
ADVICE = {
    errno.ENOSPC: "Free space on that disk, or move the working directory to a larger one",
    errno.EDQUOT: "Free space within your quota, or move the working directory",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or use a file system that supports large files",
    errno.EROFS: "The file system is mounted read-only: run in a writable folder, or have it mounted again",
    errno.EACCES: "Run in a folder that you may write to, or have its permissions changed (chmod u+w)",
    errno.EPERM: "Run in a folder that you may write to, or have its permissions changed (chmod u+w)",
    errno.EIO: "The disk or its server failed: ask its administrator",
    errno.EISDIR: "Name a file, not a folder",
    errno.ENOTDIR: "Name another folder: a file lies where it would be",
    errno.EEXIST: "Name another folder: a file lies where it would be",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ELOOP: "A link points to itself: remove it",
    errno.ESTALE: "The file server lost the file, or another job removed it",
}

#: Bytes of the largest JSON file that is read: plans and summaries of thousands of structures are far smaller.
LARGEST_JSON = 64 << 20


@contextmanager
def write_whole(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; rename it to `target` if the block succeeds.

    The temporary name keeps the target's suffix, because writers choose a format by it. On any error the
    temporary file is removed and the target stays as it was; what a killed job left is removed by the next one.
    Raises StorageError where the machine refuses to write, or the target is a device: renaming would remove it.
    """
    target = Path(target)
    with explain_storage(target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "", str(target))
        if target.exists() and not target.is_file():
            raise StorageError(f"{target}: expected the name of a file to write, got a device or a pipe.")
        temporary = target.with_name(f".{target.stem}.part-{os.getpid()}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(target, "part", target.suffix)
            # created exclusively: a link that somebody put in this place would be followed
            temporary.unlink(missing_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError as error:
            raise StorageError(f"{target}: expected a folder where files can be made. Name another one.") from error
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        try:
            yield temporary
            os.chmod(temporary, mode)  # safetensors writes files that nobody else may read
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(target: Path, kind: str, suffix: str = "") -> None:
    """Remove the temporary files and folders that killed jobs left beside `target`: `.stem.kind-*suffix`.

    Only what is older than this process: an abandoned job that still runs on another node, because Snakemake was killed
    and started again, keeps the file that it writes now, and its target is the same.
    """
    name = target.stem if suffix else target.name
    for path in target.parent.glob(f".{glob.escape(name)}.{kind}-*{glob.escape(suffix)}"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime >= PROCESS_START:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


@contextmanager
def explain_storage(target: str | Path) -> Iterator[None]:
    """Turn the machine's refusal to write `target` into a StorageError that says what to do."""
    try:
        yield
    except NearsightError:
        raise
    except Exception as error:
        number = _refusal(error)
        if number is None or _is_elsewhere(error, Path(target)):
            raise
        free = ""
        if number == errno.ENOSPC:
            free = f" ({shutil.disk_usage(_existing(Path(target))).free / 2**20:.1f} MiB free)"
        raise StorageError(
            f"{target}: expected to write this file, got: {os.strerror(number)}{free}. {ADVICE[number]}; then run "
            "again: all complete files are kept."
        ) from error


def _refusal(error: BaseException) -> int | None:
    """The errno behind an error of writing, also where a library (HDF5, safetensors) gives it in words only."""
    if isinstance(error, OSError) and error.errno in ADVICE:
        return error.errno
    text = str(error)
    return next((number for number in ADVICE if os.strerror(number) in text), None)


def _is_elsewhere(error: BaseException, target: Path) -> bool:
    """True where the error names a file outside the target's folder and of those above it: one that was read."""
    # an error of copying names both files
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if not isinstance(name, str | os.PathLike):
        return False
    path, folder = Path(name).absolute(), target.absolute().parent
    return not (path.is_relative_to(folder) or folder.is_relative_to(path))


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


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
    """Let this process take at most `more_bytes` of further address space; beyond, Python raises MemoryError.

    For other people's readers, which believe what a file announces. A lower limit stays as it is.
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
    return parse_json(read_regular(source, "a JSON file", "Run the rule that makes it.", LARGEST_JSON), source)


def parse_json(content: bytes, source: str | Path) -> dict:
    """The JSON object of a file's content; source: its name for messages. Raises InputError as `read_json` does."""
    try:
        found = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite_float)
    # RecursionError: nested a thousand times; ValueError: damaged, no UTF-8, or a number of thousands of digits
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{source}: expected a whole JSON file, got {error}. "
            "Get a whole copy, or move it away and run the rule that makes it."
        ) from None
    if not isinstance(found, dict):
        raise InputError(f"{source}: expected a JSON object, got a {type(found).__name__}.")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is not a number")


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text}, which is too large for a number")
    return value


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

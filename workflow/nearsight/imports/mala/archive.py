"""Files inside a zip archive, which may be a stranger's: looked at before they are unpacked."""

import io
import zipfile

from nearsight.errors import InputError


def open_archive(content: bytes, path: str) -> zipfile.ZipFile:
    """An archive in memory. Raises InputError where it is damaged."""
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:  # zipfile raises a different type for every kind of damage
        raise InputError(f"{path}: expected a whole zip archive, got {type(error).__name__}: {error}.") from None


def read_member(archive: zipfile.ZipFile, name: str, path: str, largest_bytes: int) -> bytes:
    """One file of an archive, of at most so many bytes. Raises InputError where it is missing, damaged or larger."""
    try:
        size = archive.getinfo(name).file_size
        if size > largest_bytes:
            raise InputError(f"{path}: {name[:80]}: expected at most {largest_bytes} bytes, got {size}.")
        with archive.open(name) as handle:
            return handle.read(size)
    except InputError:
        raise
    except KeyError:
        raise InputError(
            f"{path}: {name[:80]}: expected it in the archive, found none. Save the model again with MALA."
        ) from None
    except Exception as error:
        raise InputError(f"{path}: {name[:80]}: expected a whole file, got {type(error).__name__}: {error}.") from None

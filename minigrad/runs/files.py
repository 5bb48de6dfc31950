"""Bytes of a file: whole or absent."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from minigrad.errors import RunError

__all__ = ["StrPath", "atomic_write", "read"]

StrPath = str | os.PathLike[str]


def atomic_write(path: StrPath, data: bytes) -> None:
    """Write `data` to the file at `path`: afterwards it holds all of `data`, or what it held.

    A temporary file in the same directory is written, flushed to disk and moved into place;
    whatever goes wrong before the move, the temporary file is removed. A new file gets the mode
    that open() would give it, an existing one keeps its mode, and a symbolic link is followed.
    Raises RunError.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.tmp-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix" and target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(f"atomic_write: cannot write {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Flush a directory, and with it the move of a file into it, where the platform allows."""
    if os.name != "posix":
        return
    # The new file is in place already: a file system that cannot do this is no failed write.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: StrPath) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error

"""One file, wherever it is: on disk, in memory, or, by its URI, in an object store.

Written it is whole or as it was before; read it is whole, or only the bytes that are asked for.
"""

import contextlib
import io
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from minigrad.errors import RunError
from minigrad.runs.locks import NO_LINK, taken
from minigrad.runs.stores import Remote, redacted

__all__ = [
    "Local", "Memory", "Place", "Seekable", "StrPath", "Stream", "Target", "atomic_write", "inside",
    "is_uri", "local", "place_of", "read", "shown", "sync_directory",
]  # fmt: skip

StrPath = str | os.PathLike[str]
# What a file is given as: its path or URI; its bytes, to read; or an open binary file.
Target = Any

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # of two letters at least: C:/ is a drive
# How `atomic_write` calls what it moves.
TEMPORARY = re.compile(r"\.(.+)\.tmp-[0-9a-f]{16}", re.DOTALL)


class Place(Protocol):
    """Where the bytes of a file are. Methods raise RunError, naming the place."""

    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` to `stop`, or to the end; fewer only where the file ends."""
        ...

    def write(self, pieces: Iterable[bytes]) -> None:
        """Put these bytes there, one piece after the other: afterwards all are there, or none."""
        ...


def place_of(target: Target) -> Place:
    """The place of a path, a URI, bytes or an open binary file.

    Raises RunError for what is none of them.
    """
    if isinstance(target, Local | Memory | Remote | Stream):
        return target
    if isinstance(target, bytes | bytearray | memoryview):
        return Memory(bytes(target))
    if hasattr(target, "read") or hasattr(target, "write"):
        return Stream(target)
    if not isinstance(target, str | os.PathLike):
        raise RunError(
            f"expects a path, a URI, bytes or an open binary file, got {type(target).__name__}"
        )
    if is_uri(target):
        return Remote(os.fspath(target))
    return Local(_path_of(target))


def is_uri(target: Target) -> bool:
    """Whether `target` names something in an object store. (file:// is a path.)

    Raises RunError for a URI that became a Path on its way, and with it lost a slash; and for a
    chain of fsspec's, as simplecache::s3://bucket, whose caches would show what has been replaced.
    """
    if not isinstance(target, str | os.PathLike):
        return False
    text = os.fspath(target)
    if not isinstance(target, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\][^/\\]", text):
        uri = redacted(re.sub(r":[/\\\\]", "://", text, count=1))
        raise RunError(f"{uri} was a URI before it became a {type(target).__name__}; pass a str")
    if "://" in text and "::" in text:
        raise RunError(f"{redacted(text)} is a chain of stores; give the URI of the store itself")
    return bool(_URI.match(text)) and not text.lower().startswith("file://")


def shown(target: Target) -> str:
    """A target as messages name it: of a URI, nothing that is secret."""
    return redacted(os.fspath(target)) if is_uri(target) else str(target)


def _path_of(target: StrPath) -> Path:
    text = os.fspath(target)
    if isinstance(text, str) and text.lower().startswith("file://"):
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise RunError(f"{text}: a file on another machine ({parts.netloc}) cannot be reached")
        return Path(url2pathname(parts.path))
    return Path(text)


def local(function: str, target: StrPath) -> Path:
    """The path of what must be on this machine's disk. Raises RunError for a URI of a store."""
    if is_uri(target):
        raise RunError(f"{function}: {shown(target)}: expects a directory on disk")
    return _path_of(target)


def inside(directory: StrPath, name: str) -> StrPath:
    """The file or directory `name` in a directory that is given by its path or URI."""
    if is_uri(directory):
        uri, mark, query = os.fspath(directory), "", ""
        if re.match("https?://", uri, re.IGNORECASE):
            uri, mark, query = uri.partition("?")  # as signed ones have it
        return f"{uri.rstrip('/')}/{name}{mark}{query}"
    return _path_of(directory) / name


def read(target: Target) -> bytes:
    """All bytes of a file. Raises RunError."""
    return place_of(target).read()


def atomic_write(path: Target, data: bytes) -> None:
    """Write `data` to the file at `path`: afterwards it holds all of `data`, or what it held.

    A temporary file in the same directory is written, flushed to disk and moved into place;
    whatever goes wrong before the move, the temporary file is removed. A new file gets the mode
    that open() would give it, an existing one keeps its mode, and a symbolic link is followed.

    Args:
        path: a path, a URI, or an open binary file, which is written as it is.

    Raises:
        RunError: it cannot be written.
    """
    place_of(path).write([data])


class Local:
    """A file on disk."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise RunError(f"cannot read {self}: {error.strerror or error}") from error

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                return file.read() if stop is None else file.read(stop - start)
        except OSError as error:
            raise RunError(f"cannot read {self}: {error.strerror or error}") from error

    def write(self, pieces: Iterable[bytes]) -> None:
        target = Path(os.path.realpath(self.path))
        remove_abandoned(target.parent, target.name)
        while not self._written(target, pieces):
            pass
        sync_directory(target.parent)

    def _written(self, target: Path, pieces: Iterable[bytes]) -> bool:
        """False if another process took the new file for an abandoned one, before it was locked."""
        temporary = target.with_name(f".{target.name}.tmp-{secrets.token_hex(8)}")
        try:
            with open(temporary, "xb") as file:
                if os.name != "nt" and (taken(file.fileno()) is False or not temporary.exists()):
                    return False
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                if os.name == "posix" and target.exists():
                    os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
                if os.name == "nt":
                    file.close()  # it moves no open files, nor removes them
                os.replace(temporary, target)
        except OSError as error:
            raise RunError(f"atomic_write: cannot write {self}: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return True


def remove_abandoned(directory: Path, name: str | None = None) -> None:
    """Remove the temporary files of writers that were killed: those that nobody has locked.

    Args:
        name: of the file that was to be written; None for any.
    """
    found = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            match = TEMPORARY.fullmatch(entry.name)
            if match and name in (None, match[1]) and entry.is_file(follow_symlinks=False):
                found.append(entry.path)
    for path in found:
        with contextlib.suppress(OSError):
            if os.name == "nt":
                os.unlink(path)  # not while another has it open
                continue
            descriptor = os.open(path, os.O_RDONLY | NO_LINK)
            try:
                if taken(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def sync_directory(directory: Path) -> None:
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


class Seekable(io.RawIOBase):
    """A place as an open file that can be read from anywhere, for code that wants one."""

    def __init__(self, place: Place):
        self.place, self._at, self._size = place, 0, place.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self.place.read(self._at, min(self._at + len(buffer), self._size))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Memory:
    """Bytes that are read as a file is."""

    def __init__(self, data: bytes, name: str | None = None):
        self.data = data
        self.name = name  # of what they were read from

    def __str__(self) -> str:
        return f"{len(self.data)} bytes" if self.name is None else self.name

    def size(self) -> int:
        return len(self.data)

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        return self.data[start:stop]

    def write(self, pieces: Iterable[bytes]) -> None:
        raise RunError("cannot write into bytes; give a path, a URI or an open binary file")


class Stream:
    """An open binary file, from where it stands; one that cannot seek is read to its end, once."""

    def __init__(self, file: Any):
        self.file = file
        self._begin: int | None = None  # where it stood
        self._all: bytes | None = None  # of one that cannot seek

    def __str__(self) -> str:
        return str(getattr(self.file, "name", type(self.file).__name__))

    def _start(self) -> int:
        """Where the file begins; -1 if it was read whole."""
        if self._begin is None:
            seekable = getattr(self.file, "seekable", lambda: False)()
            self._begin = self.file.tell() if seekable else -1
        if self._begin < 0 and self._all is None:
            self._all = self._bytes()
        return self._begin

    def _bytes(self, count: int = -1) -> bytes:
        """So many bytes, or all: an unbuffered file or a socket gives them in parts."""
        parts, left = [], count
        while left:
            data = self.file.read(left)
            if not isinstance(data, bytes):
                raise RunError(f"{self} is no binary file: reading gives {type(data).__name__}")
            if not data:
                break
            parts.append(data)
            left -= len(data) if count > 0 else 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self) -> int:
        try:
            if (begin := self._start()) < 0:
                assert self._all is not None
                return len(self._all)
            end = self.file.seek(0, os.SEEK_END)
            self.file.seek(begin)
            return end - begin
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self}: {error}") from error

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        try:
            if (begin := self._start()) < 0:
                assert self._all is not None
                return self._all[start:stop]
            self.file.seek(begin + start)
            return self._bytes(-1 if stop is None else stop - start)
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self}: {error}") from error

    def write(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                left = memoryview(piece)
                while left:  # an unbuffered file or a socket may take a part of it
                    count = self.file.write(left)
                    if count == 0 or (count is None and isinstance(self.file, io.RawIOBase)):
                        raise OSError("it takes no more")
                    left = left[len(left) if count is None else count :]
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"cannot write {self}: {error}; expects an open binary file") from error

"""A lock on a directory: one process at a time writes into it.

The system itself releases the lock of a process that has ended, however it ended, so that none is
left behind. (`flock` on POSIX, `msvcrt.locking` on Windows.)
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minigrad.errors import RunError

__all__ = ["LOCK", "locked", "taken"]

LOCK = ".lock"
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # nobody's link leads us out of the directory

_held: dict[tuple[str, int, int], int] = {}  # how often, by directory, process and thread
_counting = threading.Lock()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Inside this block no other process, nor another thread, has the lock of the directory.

    Blocks of one thread can lie in each other.

    Raises:
        RunError: somebody has it, or it cannot be made.
    """
    key = os.path.realpath(directory), os.getpid(), threading.get_ident()
    with _counting:
        _held[key] = _held.get(key, 0) + 1
        first = _held[key] == 1
    descriptor = None
    try:
        if first:
            descriptor = _acquire(directory)
        yield
    finally:
        with _counting:
            _held[key] -= 1
            if not _held[key]:
                del _held[key]
        if descriptor is not None:
            _release(directory / LOCK, descriptor)


def _acquire(directory: Path) -> int:
    path = directory / LOCK
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        except OSError as error:
            raise RunError(f"cannot write into {directory}: {error.strerror or error}") from error
        try:
            if taken(descriptor) is False:
                raise RunError(
                    f"another process is writing into {directory}; wait for it, or choose another "
                    f"directory"
                )
            # Whoever had it may have removed the file meanwhile: then a third could lock a new one.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


if os.name == "nt":
    import msvcrt

    def taken(descriptor: int) -> bool | None:
        """Whether an open file is locked now by us; None where files cannot be locked."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True

    def _release(path: Path, descriptor: int) -> None:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)  # not while another has it open

else:
    import fcntl

    def taken(descriptor: int) -> bool | None:
        """Whether an open file is locked now by us; None where files cannot be locked."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None  # one process at a time is then up to people
        return True

    def _release(path: Path, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)

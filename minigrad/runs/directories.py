"""Directories of files that belong together: written as one, verified by the manifest of hashes.

A save into a directory that has an older one in it goes like this, and a process may be killed at
any instant of it:

    DIR/.save-1f0c.../     the new files are written and flushed, their manifest last
    DIR/.commit/           the same directory by another name: from here on the new save counts
    DIR/                   the files move into their places, the manifest last

Who reads takes the files in `.commit`, if there is one, before those in their places. Who writes
next moves what is left there, and removes what killed saves have left.
"""

import hashlib
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from minigrad.errors import RunError
from minigrad.runs.arrays import load_arrays
from minigrad.runs.documents import load_json, save_json
from minigrad.runs.files import TEMPORARY, StrPath, local, remove_abandoned, sync_directory
from minigrad.runs.locks import LOCK, locked

__all__ = [
    "MANIFEST",
    "files_of",
    "has_run",
    "is_temporary",
    "load_together",
    "prepare_directory",
    "remove",
    "tidy",
    "transaction",
    "verify",
    "verify_manifest",
    "write_manifest",
]

MANIFEST = "manifest.json"
COMMIT = ".commit"
STAGING = re.compile(r"\.save-[0-9a-f]{16}")
REMOVED = re.compile(r"\..+\.gone-[0-9a-f]{16}")
# Of names that no file may have on Windows, whatever follows a dot.
_DEVICES = re.compile(r"(con(in\$|out\$)?|prn|aux|nul|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)
LONGEST_NAME = 255 - len(f"..tmp-{'':16}")  # bytes; with what `atomic_write` puts around it
TRIES = 100  # of a reader, before it takes the directory for one that is never at rest

Fingerprint = dict[str, Any]
T = TypeVar("T")

_written = set[tuple[str, int]]()  # directories that transactions of this process write into


def prepare_directory(path: StrPath, overwrite: bool = False) -> Path:
    """The directory at `path`, created with its parents if need be.

    Even with `overwrite` nothing is deleted: later saves replace the files that they name, and
    others stay. What killed saves have left does not count.

    Raises:
        RunError: it holds something and `overwrite` is False, or it cannot be used.
    """
    directory = local("prepare_directory", path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        occupied = any(not is_temporary(p.name) for p in directory.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"prepare_directory: {error.filename} is not a directory") from error
    except OSError as error:
        raise RunError(f"prepare_directory: cannot use {path}: {error}") from error
    if occupied and not overwrite:
        raise RunError(
            f"prepare_directory: {path} is not empty; choose another directory, or pass "
            "overwrite=True to replace its files"
        )
    return directory


def is_temporary(name: str) -> bool:
    """Whether a file or directory of that name is what a save, or a removal, makes on its way."""
    return name == LOCK or any(p.fullmatch(name) for p in (STAGING, TEMPORARY, REMOVED))


# --------------------------------------------------------------------------------------- writing


@contextmanager
def transaction(path: StrPath) -> Iterator[Path]:
    """A directory to write files into, which are those of the directory at `path` afterwards.

        with runs.transaction("models/first") as new:
            runs.save_arrays(new / "model.safetensors", model.state_dict())
            runs.save_json(new / "config.json", config)

    They get a manifest, and take the places of those that the manifest before names, all at once:
    whatever happens, readers find either the old files or the new ones. Files that no manifest
    names stay. If the block raises, nothing has changed.

    Raises:
        RunError: something cannot be written, or another process is writing into the directory.
    """
    directory = prepare_directory(path, overwrite=True)
    with locked(directory), _alone(directory):
        try:
            complete(directory)
            tidy(directory)
            new = directory / f".save-{secrets.token_hex(8)}"
            new.mkdir()
        except OSError as error:
            raise RunError(f"cannot write into {directory}: {error}") from error
        try:
            yield new
            names = sorted(p.name for p in new.iterdir() if not is_temporary(p.name))
            write_manifest(new, [name for name in names if name != MANIFEST])
            for name in names:
                if (directory / name).is_dir():
                    raise RunError(f"cannot write {directory / name}: there is a directory")
                _flush(new / name)
                with suppress(FileNotFoundError):
                    if os.name == "posix":
                        os.chmod(new / name, stat.S_IMODE((directory / name).stat().st_mode))
            sync_directory(new)
            os.rename(new, directory / COMMIT)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            if isinstance(error, RunError):
                raise
            raise RunError(f"cannot write into {directory}: {error}") from error
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        sync_directory(directory)
        try:
            complete(directory)
        except OSError as error:
            raise RunError(
                f"{directory}: the new files are whole in {COMMIT}, and count; they cannot be "
                f"moved into their places yet: {error}"
            ) from error


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Raises RunError for a transaction within one of the same directory: they share a lock."""
    key = os.path.realpath(directory), os.getpid()
    if key in _written:
        raise RunError(f"transaction: one that writes into {directory} has not ended")
    _written.add(key)
    try:
        yield
    finally:
        _written.discard(key)


def _flush(path: Path) -> None:
    """Flush a file to disk, whoever has written it and how."""
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def complete(directory: Path) -> None:
    """Move the files of a save that counts already into their places."""
    commit = directory / COMMIT
    if commit.is_symlink() or not commit.is_dir():
        return
    if os.path.lexists(commit / MANIFEST):
        new, old = _manifest(commit / MANIFEST, directory), dict[str, Fingerprint]()
        with suppress(RunError):
            old = _manifest(directory / MANIFEST, directory)
        for name in new:
            if os.path.lexists(commit / name):
                os.replace(commit / name, directory / name)
        folded = set(map(_folded, new))
        for name in old:
            # (What was only written in other letters is a new file on macOS and Windows.)
            if _folded(name) not in folded and not (directory / name).is_dir():
                (directory / name).unlink(missing_ok=True)
        sync_directory(directory)
        os.replace(commit / MANIFEST, directory / MANIFEST)
        sync_directory(directory)
    tidy(commit)
    commit.rmdir()


def tidy(path: StrPath) -> None:
    """Remove what killed saves and removals have left; for who has the lock."""
    directory = local("tidy", path)
    remove_abandoned(directory)
    for left in directory.iterdir():
        if STAGING.fullmatch(left.name) or REMOVED.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)  # links are not followed


def remove(path: StrPath) -> None:
    """Remove a directory with all in it; who is killed meanwhile leaves none that looks whole.

    Raises:
        RunError: it cannot be removed.
    """
    directory = local("remove", path)
    gone = directory.with_name(f".{directory.name}.gone-{secrets.token_hex(8)}")
    try:
        os.replace(directory, gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise RunError(f"cannot remove {path}: {error}") from error


def write_manifest(directory: StrPath, names: Iterable[str]) -> None:
    """Write manifest.json, with size and SHA-256 of the named files of `directory`; do so last.

    Names are plain file names, and such as Linux, macOS and Windows can have beside each other.

    Raises:
        RunError: a name is none of these, or its file is missing.
    """
    files, folded = {}, dict[str, str]()
    for name in sorted(set(names)):
        if not _is_plain(name):
            raise RunError(
                f"write_manifest: expects plain names of files, which every system can have, got "
                f"{name!r}"
            )
        if (other := folded.setdefault(_folded(name), name)) != name:
            raise RunError(
                f"write_manifest: {other!r} and {name!r} are one file on macOS and Windows"
            )
        files[name] = _fingerprint(Path(directory, name), Path(directory))
    if missing := [name for name, fingerprint in files.items() if fingerprint is None]:
        raise RunError(f"write_manifest: {directory} has no readable {', '.join(missing)}")
    save_json(Path(directory, MANIFEST), {"files": files})


# --------------------------------------------------------------------------------------- reading


def verify(path: StrPath) -> list[str]:
    """What is wrong at `path`, a line for each file; an empty list if all is well.

    Args:
        path: a directory with a manifest, or a safetensors file.

    Raises:
        RunError: there is nothing, or no manifest in the directory that could be read.
    """
    place = local("verify", path)
    if not place.is_file():
        return _look(place)[1]
    try:
        load_arrays(place)
    except RunError as error:
        return [str(error)]
    return []


def verify_manifest(directory: StrPath) -> list[str]:
    """The names in manifest.json, after checking that each file is the one it was written for.

    Raises:
        RunError: files are missing or differ, as when one of them was copied from elsewhere; each
            is named.
    """
    return list(files_of(directory))


def files_of(directory: StrPath, optional: Callable[[str], bool] | None = None) -> dict[str, Path]:
    """Where each file is that the manifest names, after checking it as `verify_manifest` does.

    (Between a save and its last move, some are not in their places yet.)

    Args:
        optional: which names may be missing, and are left out then; by default none.

    Raises:
        RunError: as by `verify_manifest`.
    """
    files, problems = _look(local("files_of", directory), optional)
    if problems:
        raise RunError(
            f"{directory}: files do not belong together: {'; '.join(problems)}; "
            "restore them or save the run again"
        )
    return files


def has_run(directory: Path) -> bool:
    """Whether a save into the directory has come to its end, ever."""
    return _place(directory, MANIFEST).is_file()


def load_together(directory: StrPath, load: Callable[[dict[str, Path]], T]) -> T:
    """What `load` makes of the verified files of a directory, by name; all of them of one save.

        def read(files):
            config = runs.load_json(files["config.json"])
            return config, runs.load_arrays(files["model.safetensors"])

        config, arrays = runs.load_together("models/first", read)

    Somebody may save after one file was read and before the next. Then `load` is called again.

    Raises:
        RunError: as by `verify_manifest`, and by `load`; or somebody saves all the time.
    """
    place = local("load_together", directory)
    return _at_rest(place, lambda: load(files_of(place)), lambda found: True)


def _look(
    directory: Path, optional: Callable[[str], bool] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """The files that the manifest names, and what is wrong with them."""
    if not directory.is_dir():
        raise RunError(f"{directory}: there is no such directory")
    return _at_rest(
        directory, lambda: _look_once(directory, optional), lambda found: bool(optional or found[1])
    )


def _look_once(
    directory: Path, optional: Callable[[str], bool] | None
) -> tuple[dict[str, Path], list[str]]:
    manifest = _manifest(_place(directory, MANIFEST), directory)
    files = {name: _place(directory, name) for name in manifest}
    problems = []
    for name, expected in manifest.items():
        try:
            found = _fingerprint(files[name], directory)
        except RunError as error:
            problems.append(f"{name} {error}")
            continue
        if found is None and optional is not None and optional(name):
            del files[name]
        elif found is None:
            problems.append(f"{name} is missing")
        elif found != expected:
            problems.append(f"{name} differs")
    return files, problems


def _at_rest(directory: Path, look: Callable[[], T], doubtful: Callable[[T], bool]) -> T:
    """What `look` finds; once more if that is doubtful, or an error, and somebody saved meanwhile.

    A save that counts but is on its way does not change what there is, but where.
    """
    for _ in range(TRIES):
        before = _stamp(directory)
        try:
            if not doubtful(found := look()) or _stamp(directory) == before:
                return found
        except Exception:  # whatever files of two saves may lead to
            if _stamp(directory) == before:
                raise
    raise RunError(f"{directory}: it is written into all the time; try again later")


def _place(directory: Path, name: str) -> Path:
    """Where a file of the directory is, of a save that is not in its place, too."""
    commit = directory / COMMIT
    waiting = commit / name
    return waiting if os.path.lexists(waiting) and not commit.is_symlink() else directory / name


def _stamp(directory: Path) -> Any:
    """What differs after a save, and while files are moved into their places."""
    found: list[Any] = []
    for path in (directory / COMMIT / MANIFEST, directory / MANIFEST):
        with suppress(OSError):
            seen = path.lstat()
            found += [seen.st_mtime_ns, seen.st_size, seen.st_ino]
            if stat.S_ISREG(seen.st_mode):
                found.append(path.read_bytes())
        found.append(None)
    with suppress(OSError):
        found += sorted(os.listdir(directory / COMMIT))
    return found


def _manifest(path: Path, directory: Path) -> dict[str, Fingerprint]:
    """The files that the manifest of a directory names."""
    if _leads_out(path, directory):
        raise RunError(f"{path} leads out of the directory")
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise RunError(f"{path} is no file")
    manifest = load_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    # Names from a file: they must not lead out of the directory.
    if not isinstance(files, dict) or not all(map(_is_plain, files)):
        raise RunError(f'{path}: expects {{"files": {{plain name: ...}}}}')
    return files


def _folded(name: str) -> str:
    """The same for names that are one file on macOS or Windows."""
    return unicodedata.normalize("NFC", name.casefold())


def _is_plain(name: str) -> bool:
    """Whether `name` is one file name, not a path, on every platform; and not one of our own."""
    return (
        isinstance(name, str)
        and name.casefold() not in ("", ".", "..", MANIFEST, COMMIT, LOCK)
        and not is_temporary(name)
        and PureWindowsPath(name).name == name
        and not _DEVICES.fullmatch(name)
        and name == name.rstrip(". ")
        and not any(c in '<>:"/\\|?*' or unicodedata.category(c) in ("Cc", "Cs") for c in name)
        and unicodedata.is_normalized("NFC", name)  # as macOS would change it
        and len(name.encode()) <= LONGEST_NAME
    )


def _fingerprint(path: Path, within: Path | None = None) -> Fingerprint | None:
    """Size and SHA-256 of a file; None if there is none.

    Raises RunError if it cannot be read, or is not inside the directory `within`.
    """
    try:
        if within is not None and _leads_out(path, within):
            raise RunError("leads out of the directory")
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            return None
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error


def _leads_out(path: Path, directory: Path) -> bool:
    """Whether a file is elsewhere than in the directory, as a link's can be."""
    home = Path(os.path.realpath(directory))
    return not Path(os.path.realpath(path)).is_relative_to(home)

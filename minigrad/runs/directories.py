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
from typing import Any

from minigrad.errors import RunError
from minigrad.runs.arrays import load_arrays
from minigrad.runs.documents import load_json, save_json
from minigrad.runs.files import TEMPORARY, StrPath, local, sync_directory
from minigrad.runs.locks import LOCK, locked

__all__ = [
    "MANIFEST",
    "files_of",
    "has_run",
    "is_temporary",
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
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

Fingerprint = dict[str, Any]


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
    with locked(directory):
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


def complete(directory: Path) -> None:
    """Move the files of a save that counts already into their places."""
    commit = directory / COMMIT
    if not commit.is_dir():
        return
    if (commit / MANIFEST).exists():
        new, old = _manifest(commit / MANIFEST), dict[str, Fingerprint]()
        with suppress(RunError):
            old = _manifest(directory / MANIFEST)
        for name in new:
            if (commit / name).exists():
                os.replace(commit / name, directory / name)
        for name in old.keys() - new.keys():
            (directory / name).unlink(missing_ok=True)
        sync_directory(directory)
        os.replace(commit / MANIFEST, directory / MANIFEST)
        sync_directory(directory)
    commit.rmdir()


def tidy(path: StrPath) -> None:
    """Remove what killed saves and removals have left; for who has the lock."""
    directory = local("tidy", path)
    for left in directory.iterdir():
        if left.name != LOCK and is_temporary(left.name):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


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
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise RunError(
                f"write_manifest: {other!r} and {name!r} are one file on macOS and Windows"
            )
        files[name] = _fingerprint(Path(directory, name))
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


def _look(
    directory: Path, optional: Callable[[str], bool] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """The files that the manifest names, and what is wrong with them."""
    if not directory.is_dir():
        raise RunError(f"{directory}: there is no such directory")
    while True:
        path = _place(directory, MANIFEST)
        before = _stamp(path)
        manifest = _manifest(path)
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
        if not problems or _stamp(_place(directory, MANIFEST)) == before:
            return files, problems
        # Somebody has saved meanwhile: look again.


def _place(directory: Path, name: str) -> Path:
    """Where a file of the directory is, of a save that is not in its place, too."""
    waiting = directory / COMMIT / name
    return waiting if waiting.exists() else directory / name


def _stamp(path: Path) -> Any:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _manifest(path: Path) -> dict[str, Fingerprint]:
    """The files that a manifest names."""
    manifest = load_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    # Names from a file: they must not lead out of the directory.
    if not isinstance(files, dict) or not all(map(_is_plain, files)):
        raise RunError(f'{path}: expects {{"files": {{plain name: ...}}}}')
    return files


def _is_plain(name: str) -> bool:
    """Whether `name` is one file name, not a path, on every platform; and not one of our own."""
    return (
        name not in ("", ".", "..", MANIFEST, COMMIT)
        and not is_temporary(name)
        and PureWindowsPath(name).name == name
        and not _DEVICES.fullmatch(name)
        and name == name.rstrip(". ")
        and not any(c in '<>:"/\\|?*' or ord(c) < 32 for c in name)
        and unicodedata.is_normalized("NFC", name)  # as macOS would change it
    )


def _fingerprint(path: Path, within: Path | None = None) -> Fingerprint | None:
    """Size and SHA-256 of a file; None if there is none.

    Raises RunError if it cannot be read, or is no file inside the directory `within`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            return None
        if within is not None:
            home = Path(os.path.realpath(within))
            if not Path(os.path.realpath(path)).is_relative_to(home):
                raise RunError("leads out of the directory")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error

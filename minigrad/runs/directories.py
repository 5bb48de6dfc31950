"""Directories of files that belong together: written as one, verified by the manifest of hashes.

A save into a directory that has an older one in it goes like this, and a process may be killed at
any instant of it:

    DIR/.save-1f0c.../     the new files are written and flushed, their manifest last
    DIR/.commit/           the same directory by another name: from here on the new save counts
    DIR/                   the files move into their places, the manifest last

Who reads takes the files in `.commit`, if there is one, before those in their places. Who writes
next moves what is left there, and removes what killed saves have left.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minigrad.errors import RunError
from minigrad.runs import prefixes
from minigrad.runs.arrays import load_arrays
from minigrad.runs.documents import save_json
from minigrad.runs.files import StrPath, Target, inside, is_uri, local, read, sync_directory
from minigrad.runs.locks import LOCK, locked
from minigrad.runs.manifests import (
    COMMIT,
    MANIFEST,
    Fingerprint,
    check_problems,
    file_fingerprint,
    fingerprints,
    is_temporary,
    location,
    mismatched,
    parse_manifest,
)
from minigrad.runs.stores import Remote

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


def prepare_directory(path: StrPath, overwrite: bool = False) -> Any:
    """The directory at `path`, created with its parents if need be.

    Even with `overwrite` nothing is deleted: later saves replace the files that they name, and
    others stay. What killed saves have left does not count.

    Returns:
        Its Path; of a URI, where there is nothing to create, the URI.

    Raises:
        RunError: it holds something and `overwrite` is False, or it cannot be used.
    """
    if is_uri(path):
        prefixes.prepare(os.fspath(path), overwrite)
        return path
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

    Of a URI they are written on this machine's disk, and uploaded at the end; of two processes that
    save there the last one wins, whole.

    Raises:
        RunError: something cannot be written, or another process is writing into the directory.
    """
    if is_uri(path):
        with prefixes.transaction(os.fspath(path)) as new:
            yield new
        return
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
        gone = {location(name, entry) for name, entry in old.items()} - new.keys()
        for name in new:
            if (commit / name).exists():
                os.replace(commit / name, directory / name)
        for place in gone:
            folder = (directory / place).parent  # another one in a run from an object store
            if not folder.is_symlink():
                (directory / place).unlink(missing_ok=True)
            if folder != directory:
                with suppress(OSError):
                    folder.rmdir()
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
    if is_uri(path):
        prefixes.remove(os.fspath(path))
        return
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
    directory = local("write_manifest", directory)
    save_json(directory / MANIFEST, {"files": fingerprints(directory, names)})


# --------------------------------------------------------------------------------------- reading


def verify(path: StrPath) -> list[str]:
    """What is wrong at `path`, a line for each file; an empty list if all is well.

    Args:
        path: a directory with a manifest, or a safetensors file; by its path or URI.

    Raises:
        RunError: there is nothing, or no manifest in the directory that could be read.
    """
    if is_uri(path):
        if not Remote(os.fspath(path)).is_file():
            return prefixes.problems(os.fspath(path))[1]
    elif not (directory := local("verify", path)).is_file():
        return _look(directory)[1]
    try:
        load_arrays(path)
    except RunError as error:
        return [str(error)]
    return []


def verify_manifest(directory: StrPath) -> list[str]:
    """The names in manifest.json, after checking that each file is the one it was written for.

    Raises:
        RunError: files are missing or differ, as when one of them was copied from elsewhere; each
            is named.
    """
    if is_uri(directory):
        names, problems = prefixes.problems(os.fspath(directory))
    else:
        files, problems = _look(local("verify_manifest", directory))
        names = list(files)
    check_problems(directory, problems)
    return names


def files_of(
    directory: StrPath, optional: Callable[[str], bool] | None = None
) -> dict[str, Target]:
    """Each file that the manifest names, for `load_arrays` or `load_json`; checked as by
    `verify_manifest`.

    On disk it is the file's path. (Between a save and its last move, some are not in their places
    yet.) Of a URI it is what was read to check it: whoever replaces the run meanwhile, these files
    are of one save.

    Args:
        optional: which names may be missing, and are left out then; by default none.

    Raises:
        RunError: as by `verify_manifest`.
    """
    if is_uri(directory):
        return dict(prefixes.files(os.fspath(directory), optional))
    files, problems = _look(local("files_of", directory), optional)
    check_problems(directory, problems)
    return files


def has_run(directory: StrPath) -> bool:
    """Whether a save into the directory has come to its end, ever."""
    if is_uri(directory):
        return Remote(str(inside(directory, MANIFEST))).is_file()
    directory = local("has_run", directory)
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
        files = {n: _place(directory, n, location(n, entry)) for n, entry in manifest.items()}
        problems = list[str]()
        for name, expected in manifest.items():
            try:
                found = file_fingerprint(files[name], directory)
            except RunError as error:
                problems.append(f"{name} {error}")
                continue
            if found is None and optional is not None and optional(name):
                del files[name]
            elif problem := mismatched(name, expected, found):
                problems.append(problem)
        if not problems or _stamp(_place(directory, MANIFEST)) == before:
            return files, problems
        # Somebody has saved meanwhile: look again.


def _place(directory: Path, name: str, usual: str | None = None) -> Path:
    """Where a file of the directory is, of a save that is not in its place, too."""
    waiting = directory / COMMIT / name
    return waiting if waiting.exists() else directory / (usual or name)


def _stamp(path: Path) -> Any:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _manifest(path: Path) -> dict[str, Fingerprint]:
    return parse_manifest(path, read(path))

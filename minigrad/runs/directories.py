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
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from minigrad.errors import RunError
from minigrad.runs import prefixes
from minigrad.runs.arrays import load_arrays
from minigrad.runs.documents import save_json
from minigrad.runs.files import (
    StrPath,
    Target,
    inside,
    is_uri,
    local,
    read,
    remove_abandoned,
    sync_directory,
)
from minigrad.runs.locks import locked
from minigrad.runs.manifests import (
    COMMIT,
    MANIFEST,
    REMOVED,
    STAGING,
    Fingerprint,
    check_problems,
    file_fingerprint,
    fingerprints,
    folded_name,
    is_temporary,
    leads_out,
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
    "load_together",
    "prepare_directory",
    "remove",
    "tidy",
    "transaction",
    "verify",
    "verify_manifest",
    "write_manifest",
]

TRIES = 100  # of a reader, before it takes the directory for one that is never at rest

T = TypeVar("T")

_written = set[tuple[str, int]]()  # directories that transactions of this process write into


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
            _discard(new)
            if isinstance(error, RunError):
                raise
            raise RunError(f"cannot write into {directory}: {error}") from error
        except BaseException:
            _discard(new)
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


def _discard(tree: Path, strict: bool = False) -> None:
    """Remove a directory with all in it."""
    import shutil  # here, as it loads libraries for archives, and readers need none

    shutil.rmtree(tree, ignore_errors=not strict)


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
        folded = set(map(folded_name, new))
        for name, entry in old.items():
            # (What was only written in other letters is a new file on macOS and Windows.)
            place = directory / location(name, entry)
            folder = place.parent  # another one in a run from an object store
            kept = folder == directory and folded_name(name) in folded
            if not kept and not folder.is_symlink() and not place.is_dir():
                place.unlink(missing_ok=True)
            if folder != directory:
                with suppress(OSError):
                    folder.rmdir()
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
        if not (STAGING.fullmatch(left.name) or REMOVED.fullmatch(left.name)):
            continue
        if left.is_dir() and not left.is_symlink():
            _discard(left)
        else:
            with suppress(OSError):
                left.unlink()  # of a pipe, `rmtree` would wait for a writer


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
        _discard(gone, strict=True)
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


def load_together(
    directory: StrPath,
    load: Callable[[dict[str, Target]], T],
    optional: Callable[[str], bool] | None = None,
) -> T:
    """What `load` makes of the verified files of a directory, by name; all of them of one save.

        def read(files):
            config = runs.load_json(files["config.json"])
            return config, runs.load_arrays(files["model.safetensors"])

        config, arrays = runs.load_together("models/first", read)

    Somebody may save after one file was read and before the next. Then `load` is called again.

    Args:
        optional: as of `files_of`.

    Raises:
        RunError: as by `verify_manifest`, and by `load`; or somebody saves all the time.
    """
    if is_uri(directory):
        return load(files_of(directory, optional))  # what was read to check it: of one save
    place = local("load_together", directory)
    return _at_rest(place, lambda: load(files_of(place, optional)), lambda found: True)


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


def _place(directory: Path, name: str, usual: str | None = None) -> Path:
    """Where a file of the directory is, of a save that is not in its place, too."""
    commit = directory / COMMIT
    waiting = commit / name
    there = os.path.lexists(waiting) and not commit.is_symlink()
    return waiting if there else directory / (usual or name)


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
    if leads_out(path, directory):
        raise RunError(f"{path} leads out of the directory")
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise RunError(f"{path} is no file")
    return parse_manifest(path, read(path))

"""Directories in object stores: objects whose names begin alike, written as one.

    s3://bucket/run/save-1f0c.../model.safetensors    the files of a save; nobody writes them again
    s3://bucket/run/save-1f0c.../config.json
    s3://bucket/run/manifest.json                     says which save counts; written last

A store puts one object in place at once, and nothing else. So the manifest alone decides: readers
find the old run until the new manifest is there, and the new one from then on. Of two who save at
the same time the last manifest wins, whole. The files that the manifest before named are removed
afterwards; a reader who was still at them finds another manifest, and begins again.

What a killed save has uploaded is named by no manifest, and does not count. The next save removes
it once it is older than `DEAD`, by the store's own clock; a save that takes longer than `LONGEST`
gives up, so that by then nobody can be about to name it.

Runs that were copied into the store from a disk, all files beside the manifest, are read as well.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from minigrad.errors import RunError
from minigrad.runs.documents import save_json
from minigrad.runs.files import Memory, Place, inside, shown
from minigrad.runs.manifests import (
    MANIFEST,
    SAVE,
    Fingerprint,
    check_problems,
    fingerprints,
    is_temporary,
    location,
    mismatched,
    parse_manifest,
)
from minigrad.runs.stores import Remote

__all__ = ["files", "prepare", "problems", "read_file", "remove", "transaction"]

T = TypeVar("T")

LONGEST = timedelta(days=1)
DEAD = timedelta(days=2)
PIECE = 1 << 24  # bytes that are read at once where only their hash is asked for


def prepare(uri: str, overwrite: bool) -> None:
    """Raises RunError if something is there and may not be replaced, or the store refuses."""
    names = Remote(uri).names()
    if not overwrite and any(not SAVE.fullmatch(name) for name in names):
        raise RunError(
            f"prepare_directory: {shown(uri)} is not empty; choose another directory, or pass "
            "overwrite=True to replace its files"
        )


# --------------------------------------------------------------------------------------- writing


@contextmanager
def transaction(uri: str) -> Iterator[Path]:
    """A directory on disk to write files into, which are uploaded afterwards; the manifest last."""
    import tempfile

    _found(uri)  # a store that refuses does so before anything is written
    with tempfile.TemporaryDirectory(prefix="minigrad-", ignore_cleanup_errors=True) as folder:
        new = Path(folder)
        yield new
        names = {path.name for path in new.iterdir() if not is_temporary(path.name)}
        _upload(uri, new, fingerprints(new, names - {MANIFEST}))


def remove(uri: str) -> None:
    """Remove all objects of the run, the manifest first: no half of it looks whole.

    Raises:
        RunError: one cannot be removed.
    """
    for name in [MANIFEST, *Remote(uri).below()]:
        _under(uri, name).remove()


def _upload(uri: str, new: Path, files: dict[str, Fingerprint]) -> None:
    begun = time.time()
    save = f"save-{secrets.token_hex(8)}"
    for name in files:
        files[name]["at"] = f"{save}/{name}"
    home, there = _under(uri, MANIFEST), list[Remote]()
    try:
        for name, entry in files.items():
            there.append(_place(uri, name, entry))
            there[-1].write([(new / name).read_bytes()])
        save_json(new / MANIFEST, {"files": files})
        before = _found(uri)
        if time.time() - begun > LONGEST.total_seconds():
            raise RunError(f"cannot write {shown(uri)}: it took longer than a day")
    except BaseException as error:
        for place in there:
            with suppress(RunError):
                place.remove(attempts=1)
        if isinstance(error, OSError) and not isinstance(error, RunError):
            raise RunError(f"cannot write {shown(uri)}: {error}") from error
        raise
    # From here on the manifest may be there, or on its way, whatever the store answers: what it
    # names stays.
    data = (new / MANIFEST).read_bytes()
    try:
        home.write([data])
    except RunError:
        if home.whole() != data:
            raise
    for name, entry in before.items():
        with suppress(RunError):
            _place(uri, name, entry).remove()
    with suppress(RunError):
        _tidy(uri, home)


def _tidy(uri: str, home: Remote) -> None:
    """Remove what killed saves have left."""
    now = home.modified()
    kept = {location(name, entry).partition("/")[0] for name, entry in _found(uri).items()}
    for save in Remote(uri).names() if now is not None else ():
        if SAVE.fullmatch(save) and save not in kept:
            for name in _under(uri, save).below():
                place = _under(uri, f"{save}/{name}")
                written = place.modified()
                if now is not None and written is not None and now - written > DEAD:
                    place.remove()


# --------------------------------------------------------------------------------------- reading


def files(uri: str, optional: Callable[[str], bool] | None = None) -> dict[str, Memory]:
    """The verified bytes of each file that the manifest names: those of one save.

    Args:
        optional: which names may be missing, and are left out then.

    Raises:
        RunError: files are missing or differ; each is named.
    """

    def look(manifest: dict[str, Fingerprint]) -> tuple[dict[str, Memory], list[str]]:
        found, wrong = {}, []
        for name, entry in manifest.items():
            may_miss = optional is not None and optional(name)
            if may_miss and not _place(uri, name, entry).is_file():
                continue
            found[name], problem = _verified(uri, name, entry)
            wrong += [problem] if problem else []
        return found, wrong

    found, wrong = _steadily(uri, look)
    check_problems(uri, wrong)
    return found


def problems(uri: str) -> tuple[list[str], list[str]]:
    """The names in the manifest, and what is wrong with the files, a line for each.

    Raises:
        RunError: there is no manifest that could be read.
    """

    def look(manifest: dict[str, Fingerprint]) -> tuple[list[str], list[str]]:
        found = [_verified(uri, name, entry, keep=False)[1] for name, entry in manifest.items()]
        return list(manifest), [problem for problem in found if problem]

    return _steadily(uri, look)


def read_file(uri: str, name: str, whole: bool, use: Callable[[Place], T]) -> T:
    """What `use` makes of one file of a directory; of another save's, if there is one meanwhile.

    Args:
        whole: read and verify all of it first. Else `use` reads what it needs, of a file that has
            the size that it should have.

    Raises:
        RunError: the directory has no such file, or it differs from the manifest's.
    """

    def look(manifest: dict[str, Fingerprint]) -> tuple[T, list[str]]:
        if name not in manifest:
            listed = ", ".join(manifest)
            raise RunError(f"{shown(uri)} has no {name}; its files are {listed}")
        place: Place = _place(uri, name, manifest[name])
        if whole:
            place, problem = _verified(uri, name, manifest[name])
        else:
            found = {"bytes": place.size()}
            problem = mismatched(name, {"bytes": manifest[name].get("bytes")}, found)
        if problem:
            raise RunError(f"{shown(uri)}: {problem}; restore it or save the run again")
        return use(place), []

    return _steadily(uri, look)[0]


def _steadily(
    uri: str, look: Callable[[dict[str, Fingerprint]], tuple[T, list[str]]]
) -> tuple[T, list[str]]:
    """What is found by the manifest, and what is wrong with it.

    Who finds something wrong looks again as long as others replace the manifest.
    """
    home = _under(uri, MANIFEST)
    while True:
        if (data := home.whole()) is None:
            raise RunError(f"cannot read {home}: there is no such object")
        try:
            found = look(parse_manifest(home, data))
        except RunError:
            if home.whole() == data:
                raise
            continue
        if not found[1] or home.whole() == data:
            return found


def _found(uri: str) -> dict[str, Fingerprint]:
    """The files that count now: of no manifest, or of none that could be read, there are none."""
    home = _under(uri, MANIFEST)
    if (data := home.whole()) is not None:
        with suppress(RunError):
            return parse_manifest(home, data)
    return {}


def _under(uri: str, name: str) -> Remote:
    return Remote(str(inside(uri, name)))


def _place(uri: str, name: str, entry: Fingerprint) -> Remote:
    return _under(uri, location(name, entry))


def _verified(
    uri: str, name: str, entry: Fingerprint, keep: bool = True
) -> tuple[Memory, str | None]:
    """The bytes of a file, if they are to be kept, and what is wrong with it, or None."""
    place, pieces = _place(uri, name, entry), list[bytes]()
    found: Fingerprint | None = None
    try:
        if place.is_file():
            found = {"bytes": place.size()}
            if found["bytes"] == entry.get("bytes"):  # else it differs, and is not read
                digest = hashlib.sha256()
                step = found["bytes"] if keep else PIECE
                for start in range(0, found["bytes"], step or 1):
                    data = place.read(start, start + step)
                    digest.update(data)
                    pieces += [data] if keep else []
                found["sha256"] = digest.hexdigest()
        problem = mismatched(name, entry, found)
    except RunError as error:
        problem = f"{name} {error}"
    return Memory(b"".join(pieces), str(place)), problem

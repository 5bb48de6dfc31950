"""Directories of files that belong together: the manifest of their hashes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

from minigrad.errors import RunError
from minigrad.runs.documents import load_json, save_json
from minigrad.runs.files import StrPath

__all__ = ["MANIFEST", "prepare_directory", "verify_manifest", "write_manifest"]

MANIFEST = "manifest.json"


def prepare_directory(path: StrPath, overwrite: bool = False) -> Path:
    """The directory at `path`, created with its parents if need be.

    One that holds anything is refused with RunError unless `overwrite`. Even then nothing is
    deleted: later saves replace file by file, and files that they do not name stay.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"prepare_directory: {error.filename} is not a directory") from error
    except OSError as error:
        raise RunError(f"prepare_directory: cannot use {path}: {error}") from error
    if occupied and not overwrite:
        raise RunError(
            f"prepare_directory: {path} is not empty; choose another directory, or pass "
            "overwrite=True to replace its files one by one"
        )
    return directory


def write_manifest(directory: StrPath, names: Iterable[str]) -> None:
    """Write manifest.json, with size and SHA-256 of the named files of `directory`; do so last.

    Names are plain file names. Raises RunError for other names and for files that are missing.
    """
    files = {}
    for name in sorted(set(names)):
        if not _is_plain(name):
            raise RunError(f"write_manifest: expects plain names of files, got {name!r}")
        files[name] = _fingerprint(Path(directory, name))
    if missing := [name for name, fingerprint in files.items() if fingerprint is None]:
        raise RunError(f"write_manifest: {directory} has no readable {', '.join(missing)}")
    save_json(Path(directory, MANIFEST), {"files": files})


def verify_manifest(directory: StrPath) -> list[str]:
    """The names in manifest.json, after checking that each file is the one it was written for.

    Raises RunError listing every file that is missing or differs, as when a save was interrupted
    half-way, so that the model is of one save and the optimizer of another.
    """
    path = Path(directory, MANIFEST)
    manifest = load_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    # Names from a file: they must not lead out of the directory.
    if not isinstance(files, dict) or not all(map(_is_plain, files)):
        raise RunError(f'{path}: expects {{"files": {{plain name: ...}}}}')
    problems = []
    for name, expected in files.items():
        found = _fingerprint(Path(directory, name))
        if found is None:
            problems.append(f"{name} is missing")
        elif found != expected:
            problems.append(f"{name} differs")
    if problems:
        raise RunError(
            f"{directory}: files do not belong together: {'; '.join(problems)}; "
            "restore them or save the run again"
        )
    return list(files)


def _is_plain(name: str) -> bool:
    """Whether `name` is one file name, not a path, on every platform; and not the manifest's."""
    return name not in ("", ".", "..", MANIFEST) and PureWindowsPath(name).name == name


def _fingerprint(path: Path) -> dict[str, Any] | None:
    """Size and SHA-256 of a file; None if there is none."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error

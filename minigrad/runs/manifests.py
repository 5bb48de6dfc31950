"""manifest.json: which files belong together, by size and SHA-256, and what they may be called.

    {"files": {"config.json": {"bytes": 312, "sha256": "..."}, ...}}

Of a run that was saved in an object store, "at" says where a file is: save-1f0c.../config.json.
"""

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

from minigrad.errors import RunError
from minigrad.runs.documents import parse_json
from minigrad.runs.files import TEMPORARY, StrPath, shown
from minigrad.runs.locks import LOCK

__all__ = [
    "COMMIT", "MANIFEST", "SAVE", "Fingerprint", "check_problems", "file_fingerprint",
    "fingerprints", "folded_name", "is_temporary", "leads_out", "location", "mismatched",
    "parse_manifest",
]  # fmt: skip

MANIFEST = "manifest.json"
COMMIT = ".commit"
STAGING = re.compile(r"\.save-[0-9a-f]{16}")
REMOVED = re.compile(r"\..+\.gone-[0-9a-f]{16}")
SAVE = re.compile(r"save-[0-9a-f]{16}")  # where an object store has the files of one save
# Of names that no file may have on Windows, whatever follows a dot.
_DEVICES = re.compile(r"(con(in\$|out\$)?|prn|aux|nul|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)
LONGEST_NAME = 255 - len(f"..tmp-{'':16}")  # bytes; with what `atomic_write` puts around it

Fingerprint = dict[str, Any]


def is_temporary(name: str) -> bool:
    """Whether a file or directory of that name is what a save, or a removal, makes on its way."""
    return name == LOCK or any(p.fullmatch(name) for p in (STAGING, TEMPORARY, REMOVED))


def folded_name(name: str) -> str:
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


def fingerprints(directory: StrPath, names: Iterable[str]) -> dict[str, Fingerprint]:
    """Size and SHA-256 of the named files of `directory`, which may be called that everywhere.

    Raises:
        RunError: a name is not plain, two are one where case does not count, or a file is missing.
    """
    files, folded, missing = dict[str, Fingerprint](), dict[str, str](), []
    for name in sorted(set(names)):
        if not _is_plain(name):
            raise RunError(
                f"write_manifest: expects plain names of files, which every system can have, got "
                f"{name!r}"
            )
        if (other := folded.setdefault(folded_name(name), name)) != name:
            raise RunError(
                f"write_manifest: {other!r} and {name!r} are one file on macOS and Windows"
            )
        if (found := file_fingerprint(Path(directory, name), Path(directory))) is None:
            missing.append(name)
        else:
            files[name] = found
    if missing:
        raise RunError(f"write_manifest: {directory} has no readable {', '.join(missing)}")
    return files


def parse_manifest(place: Any, data: bytes) -> dict[str, Fingerprint]:
    """The files that a manifest names. Raises RunError if it is none."""
    manifest = parse_json(place, data)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    # Names from a file: they must not lead out of the directory.
    if not isinstance(files, dict) or not all(map(_is_plain, files)):
        raise RunError(f'{place}: expects {{"files": {{plain name: ...}}}}')
    for name, entry in files.items():
        if not isinstance(entry, dict):
            files[name] = {}  # differs from every file
        elif "at" in entry:
            save, _, rest = str(entry["at"]).partition("/")
            if rest != name or not SAVE.fullmatch(save):
                raise RunError(f"{place}: {name!r} is at {entry['at']!r}; expects save-.../{name}")
    return files


def location(name: str, entry: Fingerprint) -> str:
    """Where the manifest says that a file is, from its directory on."""
    return entry.get("at", name)


def mismatched(name: str, entry: Fingerprint, found: Fingerprint | None) -> str | None:
    """What is wrong with a file of this fingerprint; None if it is the manifest's."""
    if found is None:
        return f"{name} is missing"
    if {k: v for k, v in entry.items() if k != "at"} != found:
        return f"{name} differs"
    return None


def check_problems(directory: StrPath, problems: list[str]) -> None:
    """Raises RunError if there are problems with the files of a directory."""
    if problems:
        raise RunError(
            f"{shown(directory)}: files do not belong together: {'; '.join(problems)}; "
            "restore them or save the run again"
        )


def file_fingerprint(path: Path, within: Path | None = None) -> Fingerprint | None:
    """Size and SHA-256 of a file; None if there is none.

    Raises RunError if it cannot be read, or is not inside the directory `within`.
    """
    try:
        if within is not None and leads_out(path, within):
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


def leads_out(path: Path, directory: Path) -> bool:
    """Whether a file is elsewhere than in the directory, as a link's can be."""
    home = Path(os.path.realpath(directory))
    return not Path(os.path.realpath(path)).is_relative_to(home)

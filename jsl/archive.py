"""A run's directory as one file: a .zip of its files, or of the folder that they are in.

Nothing is unpacked to disk. The names in an archive lead nowhere: only those files are read which
the run's manifest names, each of as many bytes as it says, and no more than memory holds.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsl import memory
from jsl.errors import RunDirError
from jsl.messages import listed, reason_of, say
from minigrad import runs
from minigrad.errors import RunError

if TYPE_CHECKING:
    import zipfile

SUFFIX = ".zip"
MANIFEST_BYTES = 1 << 20  # more is no manifest
# Weights do not become much smaller by packing. What does was made to fill somebody's memory.
MOST_TIMES, HARMLESS = 100, 1 << 20


def is_archive(place: Path | str) -> bool:
    """Whether a run is in one file: by its name, or by how it begins; in a store by its name."""
    if isinstance(place, str):
        return place.lower().endswith(SUFFIX)
    if not place.is_file():
        return False
    if place.suffix.lower() == SUFFIX:
        return True
    with suppress(OSError), open(place, "rb") as file:
        return file.read(4) == b"PK\3\4"
    return False


def packed(files: Mapping[str, bytes]) -> bytes:
    """A .zip of files, the manifest last; equal files give equal bytes, whenever and wherever."""
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files, key=lambda name: (name == runs.MANIFEST, name)):
            info = zipfile.ZipInfo(name)  # of 1980-01-01
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, files[name], compresslevel=9)
    return stream.getvalue()


def files_of(place: Path | str, optional: Callable[[str], bool]) -> dict[str, Any]:
    """Each file that the manifest of an archive names, in memory, verified by it.

    Args:
        optional: which names may be missing, and are left out then.

    Raises:
        RunDirError: it is no archive of one run, is damaged or encrypted, or would fill the memory.
    """
    import struct
    import zipfile
    import zlib

    path = runs.redacted(str(place))
    broken = (
        zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError,
        ValueError, RuntimeError, OverflowError, MemoryError,
    )  # fmt: skip
    try:
        source: Any = place if isinstance(place, Path) else io.BytesIO(_stored(place))
        with zipfile.ZipFile(source) as archive:
            return _verified(path, archive, optional)
    except broken as error:
        raise RunDirError(say("archive.damaged", path=path, reason=reason_of(error))) from error


def _stored(uri: str) -> bytes:
    from minigrad.runs.files import read

    return read(uri)


def _verified(
    path: str, archive: "zipfile.ZipFile", optional: Callable[[str], bool]
) -> dict[str, Any]:
    from minigrad.runs.files import Memory
    from minigrad.runs.manifests import check_problems, location, mismatched, parse_manifest

    there: dict[str, list[zipfile.ZipInfo]] = {}
    for info in archive.infolist():
        if not info.is_dir():
            # (Some programs of Windows write backslashes.)
            name = info.filename.replace("\\", "/").removeprefix("./")
            there.setdefault(name, []).append(info)
    home = _folder(path, list(there))
    [*_, first] = there[home + runs.MANIFEST]
    size = min(first.file_size, MANIFEST_BYTES)
    data = _member(path, archive, home + runs.MANIFEST, there, size)
    entries = parse_manifest(f"{path}/{runs.MANIFEST}", data)
    sizes = {name: entry.get("bytes") for name, entry in entries.items()}
    total = sum(size for size in sizes.values() if type(size) is int)
    if total > (room := memory.installed()):
        raise RunDirError(
            say("archive.large", path=path, size=total / 2**30, room=room / 2**30)
        )  # fmt: skip
    found, problems = dict[str, Any](), list[str]()
    for name, entry in entries.items():
        inside = home + location(name, entry)
        if inside not in there and optional(name):
            continue
        fingerprint = None
        if inside in there:
            data = _member(path, archive, inside, there, sizes[name])
            fingerprint = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            found[name] = Memory(data, f"{path}/{name}")
        if problem := mismatched(name, entry, fingerprint):
            problems.append(problem)
    try:
        check_problems(path, problems)
    except RunError as error:
        raise RunDirError(say("checkpoint.damaged", path=path, reason=reason_of(error))) from error
    return found


def _folder(path: str, names: list[str]) -> str:
    """What stands before the names of the run's files: nothing, or the name of one folder."""
    if runs.MANIFEST in names:
        return ""
    homes = [name.removesuffix(runs.MANIFEST) for name in names if name.count("/") == 1
             and name.endswith(f"/{runs.MANIFEST}")]  # fmt: skip
    if not homes:
        raise RunDirError(say("archive.no_run", path=path, name=runs.MANIFEST))
    if len(homes) > 1:
        raise RunDirError(say("archive.several", path=path, names=listed(sorted(homes))))
    return homes[0]


def _member(
    path: str,
    archive: "zipfile.ZipFile",
    name: str,
    there: Mapping[str, "list[zipfile.ZipInfo]"],
    size: int | None,
) -> bytes:
    """The bytes of a file in an archive, of which there should be `size`."""
    import zipfile

    if len(there[name]) > 1:  # programs differ in which of them they take
        raise RunDirError(say("archive.twice", path=path, name=name))
    [info] = there[name]
    if info.flag_bits & 1:
        raise RunDirError(say("archive.encrypted", path=path))
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RunDirError(say("archive.method", path=path, name=name))
    if info.file_size != size:
        reason = f"{name}: {info.file_size} bytes, {size}"
        raise RunDirError(say("archive.damaged", path=path, reason=reason))
    if size > max(MOST_TIMES * info.compress_size, HARMLESS):
        raise RunDirError(
            say("archive.bomb", path=path, name=name, size=size, packed=info.compress_size)
        )
    with archive.open(info) as file:
        return file.read(size + 1)  # and so to the end, where the checksum is compared

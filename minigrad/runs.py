"""Files of a run directory: safetensors and JSON; whole or absent, hashed, verified on load.

    prepare_directory("models/first")
    save_arrays("models/first/model.safetensors", model.state_dict())
    save_json("models/first/config.json", config)
    write_manifest("models/first", ["model.safetensors", "config.json"])

    verify_manifest("models/first")
    arrays = load_arrays("models/first/model.safetensors")

Every file is written beside its place and then moved there, so that an interrupted save leaves
the old file as it was. A file of arrays carries its own digest; a manifest, written last, says
which files belong together. Nothing here can run code from a file: no pickle.
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import stat
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from minigrad.errors import DtypeError, RunError

__all__ = [
    "MANIFEST",
    "atomic_write",
    "load_arrays",
    "load_json",
    "load_metadata",
    "prepare_directory",
    "save_arrays",
    "save_json",
    "save_text",
    "verify_manifest",
    "write_manifest",
]

MANIFEST = "manifest.json"

StrPath = str | os.PathLike[str]

# The names that safetensors gives to dtypes.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "F16": np.dtype(np.float16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "F32": np.dtype(np.float32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
}
TAGS = {dtype: tag for tag, dtype in DTYPES.items()}

# Our own entries in a file's metadata. There are two, and each asks for the other, so that no
# damage to one name can pass our file off as a foreign one, which has no digest to check.
RESERVED = "minigrad."
FORMAT = RESERVED + "format"
DIGEST = RESERVED + "sha256"


# --------------------------------------------------------------------------------------- bytes


def atomic_write(path: StrPath, data: bytes) -> None:
    """Write `data` to the file at `path`: afterwards it holds all of `data`, or what it held.

    A temporary file in the same directory is written, flushed to disk and moved into place;
    whatever goes wrong before the move, the temporary file is removed. A new file gets the mode
    that open() would give it, an existing one keeps its mode, and a symbolic link is followed.
    Raises RunError.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.tmp-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix" and target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(f"atomic_write: cannot write {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
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


def _read(path: StrPath) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


# ---------------------------------------------------------------------------------------- text


def save_text(path: StrPath, text: str) -> None:
    """Write `text` as UTF-8, line ends as they are, on every platform; see `atomic_write`.

    Raises:
        RunError: it cannot be written.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise RunError(f"save_text: cannot write {path} as UTF-8: {error}") from error
    atomic_write(path, data)


def save_json(path: StrPath, value: Any) -> None:
    """Write `value` as JSON: UTF-8, indented, ending in a line feed; see `atomic_write`.

    `value` is made of dictionaries with string keys, lists, tuples (which load as lists),
    strings, integers, finite floats, booleans and None. Raises RunError naming the place, such
    as history[3].loss, of anything else.
    """
    try:
        _check_json(path, value, "")
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except (ValueError, RecursionError) as error:  # a giant integer; a list that holds itself
        raise RunError(f"save_json: cannot write {path}: {error}") from error
    save_text(path, text + "\n")


def _check_json(path: StrPath, value: Any, place: str) -> None:
    match value:
        case dict():
            for name, item in value.items():
                if not isinstance(name, str):
                    _refuse_json(path, place, f"has the key {name!r}; keys are strings")
                _check_json(path, item, f"{place}.{name}" if place else name)
        case list() | tuple():
            for i, item in enumerate(value):
                _check_json(path, item, f"{place}[{i}]")
        case float():
            if not math.isfinite(value):
                _refuse_json(path, place, f"is {value}, which JSON cannot hold; use None")
        case str() | int() | None:
            pass
        case _:
            kind = type(value).__name__
            _refuse_json(path, place, f"is of type {kind}; convert it (int, float, str, list)")


def _refuse_json(path: StrPath, place: str, reason: str) -> None:
    raise RunError(f"save_json: cannot write {path}: {place or 'the value'} {reason}")


def load_json(path: StrPath) -> Any:
    """The value in the JSON file at `path`.

    Raises RunError, with line and column where they are known, for a file that is missing or is
    not UTF-8 or JSON, for NaN, infinities, numbers beyond float64, and for repeated keys.
    """
    return _parse_json(path, _read(path))


def _parse_json(path: StrPath, data: bytes) -> Any:
    def refuse(token):
        raise RunError(f"{path}: the number {token} is not finite")

    def number(token):
        x = float(token)
        return x if math.isfinite(x) else refuse(token)

    def unique(pairs):
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise RunError(f"{path}: the key {twice!r} is repeated in one object")
        return result

    try:
        return json.loads(
            data.decode(), object_pairs_hook=unique, parse_float=number, parse_constant=refuse
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RunError(f"{path}: not JSON at {where}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not JSON: {error}") from error


# -------------------------------------------------------------------------------------- arrays


def save_arrays(
    path: StrPath,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named NumPy arrays, and strings about them, as a safetensors file; `atomic_write`.

    Arrays may be of any shape, strides and byte order, and of a boolean, integer, float16,
    float32 or float64 dtype; others raise DtypeError. Equal content gives equal bytes, in
    whatever order it comes. The metadata also receives a SHA-256 of everything, which
    `load_arrays` checks; names that begin with "minigrad." are kept for that. Raises RunError.

    https://huggingface.co/docs/safetensors
    """
    metadata = {} if metadata is None else dict(metadata)
    for name, text in metadata.items():
        if not (isinstance(name, str) and isinstance(text, str)) or name.startswith(RESERVED):
            raise RunError(
                f"save_arrays: cannot write {path}: metadata {name!r}: {text!r}; expects strings "
                f"under names that do not begin with {RESERVED!r}"
            )
    entries = []
    for name, array in arrays.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise RunError(f"save_arrays: cannot write {path}: an entry cannot be named {name!r}")
        entries.append((name, *_encode(name, array)))

    # Written here and not by safetensors, which orders metadata by chance and reads arrays that
    # are not contiguous wrongly. Wide dtypes come first: then every array is aligned.
    try:
        metadata[FORMAT] = "1"
        metadata[DIGEST] = _digest(entries, metadata)
        header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
        entries.sort(key=lambda entry: (-DTYPES[entry[1]].itemsize, entry[0]))
        end = 0
        for name, tag, shape, data in entries:
            start, end = end, end + len(data)
            header[name] = {"dtype": tag, "shape": shape, "data_offsets": [start, end]}
        head = _compact(header)
    except UnicodeEncodeError as error:
        raise RunError(f"save_arrays: cannot write {path}: a name is not UTF-8: {error}") from error
    head += b" " * (-len(head) % 8)
    atomic_write(path, b"".join([struct.pack("<Q", len(head)), head, *(e[3] for e in entries)]))


def load_arrays(path: StrPath) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, in the order of their names.

    They are writable copies and keep no hold of the file. Raises RunError for a file that is
    missing, truncated or malformed, that differs from its digest, or that holds a dtype NumPy
    has not (bfloat16). Files by others, which have no digest of ours, load unverified.
    """
    entries, _ = _load(path)
    arrays = {}
    for name, tag, shape, data in entries:
        if (dtype := DTYPES.get(tag)) is None:
            raise RunError(
                f"load_arrays: {path}: entry {name!r} is {tag}; expects one of "
                f"{', '.join(DTYPES)}; convert it to float32 where it was made"
            )
        stored = np.dtype(np.uint8) if tag == "BOOL" else dtype.newbyteorder("<")
        try:
            arrays[name] = np.frombuffer(data, stored).reshape(shape).astype(dtype)
        except ValueError as error:  # more axes, or longer ones, than NumPy has
            raise RunError(f"load_arrays: {path}: entry {name!r}: {error}") from error
    return arrays


def load_metadata(path: StrPath) -> dict[str, str]:
    """The strings saved with the arrays of a safetensors file, verified as by `load_arrays`."""
    _, metadata = _load(path)
    return {name: text for name, text in metadata.items() if not name.startswith(RESERVED)}


# An array as a file holds it: its name, the tag of its dtype, its shape, and its elements in C
# order, little end first.
Entry = tuple[str, str, list[int], bytes]


def _encode(name: str, array: np.ndarray) -> tuple[str, list[int], bytes]:
    """Tag, shape and bytes of one array."""
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise DtypeError(f"save_arrays: entry {name!r} is of type {kind}; expects a numpy.ndarray")
    if (tag := TAGS.get(array.dtype.newbyteorder("="))) is None:
        raise DtypeError(
            f"save_arrays: entry {name!r} has dtype {array.dtype}; expects one of "
            f"{', '.join(map(str, TAGS))}; convert it first"
        )
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return tag, list(array.shape), little.tobytes()


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _digest(entries: Iterable[Entry], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, dtypes, shapes, metadata and elements, free of the file's layout."""
    entries = sorted(entries)
    about = sorted((name, text) for name, text in metadata.items() if name != DIGEST)
    digest = hashlib.sha256(_compact([about, [entry[:3] for entry in entries]]))
    for *_, data in entries:
        digest.update(data)
    return digest.hexdigest()


def _load(path: StrPath) -> tuple[list[Entry], dict[str, str]]:
    """The entries in the order of their names, and the metadata, of a safetensors file."""
    import safetensors

    data = _read(path)
    try:
        views = safetensors.deserialize(data)  # checks header, lengths and offsets
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise RunError(f"{path}: not a whole safetensors file: {error}") from error
    head = data[8 : 8 + int.from_bytes(data[:8], "little")]
    if not head.rstrip(b" ").endswith(b"}"):
        raise RunError(
            f"{path}: not a safetensors file: its header is padded with other than spaces"
        )
    metadata = _parse_json(path, head).get("__metadata__") or {}
    entries = sorted((name, v["dtype"], list(v["shape"]), v["data"]) for name, v in views)
    ours = FORMAT in metadata or DIGEST in metadata
    if ours and metadata.get(DIGEST) != _digest(entries, metadata):
        raise RunError(
            f"{path}: the file is damaged: its content differs from the digest it was saved with"
        )
    return entries, metadata


# --------------------------------------------------------------------------------- directories


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

"""Named arrays, as safetensors files that carry their own digest."""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.errors import DtypeError, RunError
from minigrad.runs.documents import parse_json
from minigrad.runs.files import StrPath, atomic_write, read

__all__ = ["load_arrays", "load_metadata", "save_arrays"]

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

    data = read(path)
    try:
        views = safetensors.deserialize(data)  # checks header, lengths and offsets
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise RunError(f"{path}: not a whole safetensors file: {error}") from error
    head = data[8 : 8 + int.from_bytes(data[:8], "little")]
    if not head.rstrip(b" ").endswith(b"}"):
        raise RunError(
            f"{path}: not a safetensors file: its header is padded with other than spaces"
        )
    metadata = parse_json(path, head).get("__metadata__") or {}
    entries = sorted((name, v["dtype"], list(v["shape"]), v["data"]) for name, v in views)
    ours = FORMAT in metadata or DIGEST in metadata
    if ours and metadata.get(DIGEST) != _digest(entries, metadata):
        raise RunError(
            f"{path}: the file is damaged: its content differs from the digest it was saved with"
        )
    return entries, metadata

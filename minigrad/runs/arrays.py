"""Named arrays, as safetensors files that carry their own digests."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.arguments import nearest
from minigrad.errors import DtypeError, RunError
from minigrad.runs.documents import parse_json
from minigrad.runs.files import Local, Place, Target, place_of

__all__ = ["ArrayFile", "load_arrays", "load_metadata", "save_arrays"]

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
BFLOAT16 = "BF16"  # the upper half of a float32, which is what it is read as
HALVES = ("F16", BFLOAT16)

# Our own entries in a file's metadata. Format and digest ask for each other, so that no damage to
# one name can pass our file off as a foreign one, which has no digest to check. The digest is of
# the header; from format 2 on the header has the hash of each array, so that one of them can be
# verified without the others. (In format 1 the digest is of the arrays' bytes, too.)
RESERVED = "minigrad."
FORMAT = RESERVED + "format"
DIGEST = RESERVED + "sha256"
HASHES = RESERVED + "hashes"
TIED = RESERVED + "tied"  # other names of arrays
DTYPES_BEFORE = RESERVED + "dtypes"  # of arrays that are kept with fewer bits
OURS = (FORMAT, DIGEST, HASHES, TIED, DTYPES_BEFORE)

LONGEST_HEADER = 100_000_000  # of the safetensors library
LARGE = 1 << 20  # bytes from which on hashing is worth a thread


class Entry(NamedTuple):
    """An array as a file holds it: elements in C order, little end first."""

    name: str
    tag: str
    shape: list[int]
    data: Any  # bytes or a memoryview of them


# ---------------------------------------------------------------------------------------- saving


def save_arrays(
    path: Target,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named NumPy arrays, and strings about them, as a safetensors file; `atomic_write`.

    Arrays may be of any shape, strides and byte order, and of a boolean, integer, float16,
    float32 or float64 dtype. Equal content gives equal bytes, in whatever order it comes. An array
    that comes under several names is written once. The metadata also receives a SHA-256 of each
    array and of the rest, which `load_arrays` checks; names that begin with "minigrad." are kept
    for that. https://huggingface.co/docs/safetensors

    Args:
        path: a path, a URI, or an open binary file.

    Raises:
        DtypeError: an array is of another dtype, or none.
        RunError: a name or a string is not what it must be, or the file cannot be written.
    """
    metadata = {} if metadata is None else dict(metadata)
    for name, text in metadata.items():
        if not (isinstance(name, str) and isinstance(text, str)) or name.startswith(RESERVED):
            raise RunError(
                f"save_arrays: cannot write {_shown(path)}: metadata {name!r}: {text!r}; expects "
                f"strings under names that do not begin with {RESERVED!r}"
            )
    write_arrays(path, arrays, metadata)


def write_arrays(
    path: Target,
    arrays: Mapping[str, np.ndarray],
    metadata: dict[str, str],
    tags: Mapping[str, str] | None = None,
) -> None:
    """As `save_arrays`, with entries of our own in `metadata`.

    Args:
        tags: of arrays that are written as another dtype: uint16 as 'BF16'.
    """
    where = _shown(path)
    arrays = dict(arrays)  # a mapping may make them as it is asked; two must not have one address
    for name in arrays:
        if not isinstance(name, str) or name == "__metadata__":
            raise RunError(f"save_arrays: cannot write {where}: an entry cannot be named {name!r}")
    entries, tied, first = [], {}, dict[Any, str]()
    for name, array in sorted(arrays.items()):
        entry = _encode(name, array)
        key = (array.ctypes.data, array.strides, array.dtype.str, *entry.shape)
        if array.size and first.setdefault(key, name) != name:
            tied[name] = first[key]
        else:
            entries.append(entry._replace(tag=(tags or {}).get(name, entry.tag)))
    # Written here and not by safetensors, which orders metadata by chance and reads arrays that
    # are not contiguous wrongly. Wide dtypes come first: then every array is aligned.
    try:
        metadata = dict(metadata)
        metadata[FORMAT] = "2"
        names = [e.name for e in entries]
        metadata[HASHES] = as_text(dict(zip(names, _hashes(entries), strict=True)))
        if tied:
            metadata[TIED] = as_text(tied)
        metadata[DIGEST] = _digest(entries, metadata)
        header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
        entries.sort(key=lambda e: (-_itemsize(e.tag), e.name))
        end = 0
        for e in entries:
            start, end = end, end + len(e.data)
            header[e.name] = {"dtype": e.tag, "shape": e.shape, "data_offsets": [start, end]}
        head = _compact(header)
    except UnicodeEncodeError as error:
        raise RunError(
            f"save_arrays: cannot write {where}: a name is not UTF-8: {error}"
        ) from error
    head += b" " * (-len(head) % 8)
    if len(head) > LONGEST_HEADER:
        raise RunError(
            f"save_arrays: cannot write {where}: names and metadata are {len(head)} bytes; "
            f"safetensors has at most {LONGEST_HEADER}"
        )
    place_of(path).write([struct.pack("<Q", len(head)), head, *(e.data for e in entries)])


def _encode(name: str, array: np.ndarray) -> Entry:
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise DtypeError(f"save_arrays: entry {name!r} is of type {kind}; expects a numpy.ndarray")
    if (tag := TAGS.get(array.dtype.newbyteorder("="))) is None:
        raise DtypeError(
            f"save_arrays: entry {name!r} has dtype {array.dtype}; expects one of "
            f"{', '.join(map(str, TAGS))}; convert it first"
        )
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return Entry(name, tag, list(array.shape), little.reshape(-1).view(np.uint8).data)


def _itemsize(tag: str) -> int:
    return 2 if tag == BFLOAT16 else DTYPES[tag].itemsize


def _hashes(entries: Sequence[Entry]) -> list[str]:
    """SHA-256 of the bytes of each."""

    def of(entry: Entry) -> str:
        return hashlib.sha256(entry.data).hexdigest()

    if sum(len(e.data) >= LARGE for e in entries) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            return list(pool.map(of, entries))
    return list(map(of, entries))


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def as_text(value: Mapping[str, str]) -> str:
    """A dictionary as a string of the metadata."""
    return json.dumps(dict(sorted(value.items())), ensure_ascii=False, separators=(",", ":"))


def _digest(entries: Iterable[Entry], metadata: Mapping[str, str], data: bool = False) -> str:
    """SHA-256 over names, dtypes, shapes and metadata, free of the file's layout; of the elements,
    too, if `data`: in format 1, where the metadata have no hashes.
    """
    entries = sorted(entries, key=lambda e: e.name)
    about = sorted((name, text) for name, text in metadata.items() if name != DIGEST)
    digest = hashlib.sha256(_compact([about, [e[:3] for e in entries]]))
    for e in entries if data else ():
        digest.update(e.data)
    return digest.hexdigest()


def _shown(target: Target) -> str:
    """A target as errors name it."""
    return str(place_of(target))


# --------------------------------------------------------------------------------------- loading


def load_arrays(path: Target) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, in the order of their names.

    They are writable copies and keep no hold of the file; those of several names are one array.
    bfloat16, which NumPy has not, comes as float32. Files by others, which have no digest of ours,
    load unverified.

    Args:
        path: a path, a URI, bytes, or an open binary file.

    Raises:
        RunError: the file is missing, truncated or malformed, differs from its digests, or holds
            another dtype that NumPy has not.
    """
    return ArrayFile(path, whole=True).load()


def load_metadata(path: Target) -> dict[str, str]:
    """The strings saved with the arrays of a safetensors file, verified as by `load_arrays`.

    Raises:
        RunError: as by `load_arrays`.
    """
    file = ArrayFile(path, whole=True)
    for name in file.entries:
        file.bytes_of(name)
    return {k: text for k, text in file.metadata.items() if k not in OURS}


class ArrayFile(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file, each read when it is asked for: `file["decoder.bias"]`.

    Attributes:
        entries: for each array, the safetensors name of its dtype, its shape, and where its bytes
            begin and end.
        metadata: the file's strings, ours among them.

    Args:
        path: a path, a URI, bytes, or an open binary file.
        whole: read all bytes at once.

    Raises:
        RunError: the header is no safetensors header, differs from its digest, or promises other
            than the file holds; later, an array differs from its hash.
    """

    def __init__(self, path: Target, whole: bool = False):
        self.place: Place = place_of(path)
        data = self.place.read() if whole else None
        size = self.place.size() if data is None else len(data)
        self._data = data

        def part(start: int, stop: int) -> bytes:
            return self.place.read(start, stop) if data is None else data[start:stop]

        length = int.from_bytes(part(0, 8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise RunError(
                f"{self.place}: not a whole safetensors file: {size} bytes, and a header of "
                f"{length if size >= 8 else '?'}"
            )
        head, self._begin = part(8, 8 + length), 8 + length
        self.entries, self.metadata = _header(self.place, head, size - 8 - length)
        if data is not None:
            _check_with_the_library(self.place, data)
        self._hashes = self._checked()
        self.tied = self._table(TIED)
        if unknown := [v for v in self.tied.values() if v not in self.entries]:
            raise RunError(f"{self.place}: {TIED} names {unknown[0]!r}, which is no entry")
        if twice := self.tied.keys() & self.entries.keys():
            raise RunError(f"{self.place}: {TIED} has {min(twice)!r}, which is an entry")
        self.before = self._table(DTYPES_BEFORE)
        for name, tag in self.before.items():
            kept = self.entries.get(self.tied.get(name, name), ("",))[0]
            if tag not in ("F32", "F64") or kept not in HALVES:
                raise RunError(f"{self.place}: {DTYPES_BEFORE} says that {name!r} was {tag!r}")

    def _table(self, name: str) -> dict[str, str]:
        """A dictionary that is kept as a string of the metadata."""
        found = parse_json(self.place, self.metadata.get(name, "{}").encode())
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise RunError(f"{self.place}: {name} is no dictionary of strings")
        return found

    def _checked(self) -> dict[str, str]:
        """The hashes of the arrays, after checking the header's digest; of others' files none."""
        ours = [name for name in OURS if name in self.metadata]
        if not ours:
            return {}
        version = self.metadata.get(FORMAT)
        if version not in ("1", "2", None):
            raise RunError(
                f"{self.place}: it is of format {version}, this version of minigrad reads 1 and "
                f"2; a newer one can read it"
            )
        whole = version == "1"
        entries = [
            Entry(name, tag, shape, self._raw(name) if whole else b"")
            for name, (tag, shape, _, _) in self.entries.items()
        ]
        hashes = {} if whole else self._table(HASHES)
        if (
            version is None
            or self.metadata.get(DIGEST) != _digest(entries, self.metadata, whole)
            or (not whole and hashes.keys() != self.entries.keys())
        ):
            self._damaged("its content differs from the digest it was saved with")
        return hashes

    def _damaged(self, reason: str) -> None:
        raise RunError(f"{self.place}: the file is damaged: {reason}")

    def _raw(self, name: str) -> Any:
        _, _, start, stop = self.entries[name]
        start, stop = self._begin + start, self._begin + stop
        whole = self._data
        data = self.place.read(start, stop) if whole is None else memoryview(whole)[start:stop]
        if len(data) != stop - start:
            self._damaged(f"entry {name!r} ends before its time")
        return data

    def bytes_of(self, name: str) -> Any:
        """The verified bytes of an entry, or a view of them."""
        data = self._raw(name)
        if self._hashes and hashlib.sha256(data).hexdigest() != self._hashes[name]:
            self._damaged(f"entry {name!r} differs from the digest it was saved with")
        return data

    def __getitem__(self, name: str) -> np.ndarray:
        """The array of that name, read and verified now.

        Raises:
            KeyError: there is none.
            RunError: it differs from its hash, or NumPy cannot have its shape.
        """
        name = self.tied.get(name, name)
        if name not in self.entries:
            raise KeyError(name)
        tag, shape, _, _ = self.entries[name]
        data = self.bytes_of(name)
        try:
            if tag == BFLOAT16:
                upper = np.frombuffer(data, "<u2").astype(np.uint32)
                array = (upper << 16).view(np.float32).reshape(shape)
            else:
                dtype = DTYPES[tag]
                stored = np.dtype(np.uint8) if tag == "BOOL" else dtype.newbyteorder("<")
                array = np.frombuffer(data, stored).reshape(shape).astype(dtype)
        except (ValueError, OverflowError) as error:  # more axes, or longer ones, than NumPy has
            raise RunError(f"{self.place}: entry {name!r}: {error}") from error
        return array.astype(DTYPES[self.before[name]]) if name in self.before else array

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*self.entries, *self.tied]))

    def __len__(self) -> int:
        return len(self.entries) + len(self.tied)

    def __repr__(self) -> str:
        return f"ArrayFile({str(self.place)!r}, {len(self)} arrays)"

    def load(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
        """The arrays with the wanted names; those that are one in the file are one array."""
        found = {name: self.tied.get(name, name) for name in filter(wanted, self)}
        entries = list(dict.fromkeys(found.values()))
        sizes = [stop - start for _, _, start, stop in map(self.entries.__getitem__, entries)]
        if self._data is not None and sum(size >= LARGE for size in sizes) > 1:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor() as pool:  # hashing lets other threads run
                arrays = list(pool.map(self.__getitem__, entries))
        else:
            arrays = [self[entry] for entry in entries]
        read = dict(zip(entries, arrays, strict=True))
        return {name: read[entry] for name, entry in found.items()}

    def selected(self, names: str | Iterable[str] | None) -> dict[str, np.ndarray]:
        """The arrays of these names, and those within the modules of these names; None for all.

        Raises:
            RunError: a name is neither.
        """
        if names is None:
            return self.load()
        return self.load(set(chosen(self.place, self, names)).__contains__)


def chosen(place: Any, known: Iterable[str], names: str | Iterable[str]) -> list[str]:
    """Which of the known names are among `names`, or within the modules of these names.

    Raises:
        RunError: of one there is neither.
    """
    known, found = list(known), set[str]()
    for name in [names] if isinstance(names, str) else names:
        those = {n for n in known if n == name or n.startswith(f"{name}.")}
        if not those:
            raise RunError(
                f"{place}: there is neither an array nor a module {name!r} in it"
                f"{nearest(name, known)}"
            )
        found |= those
    return [n for n in known if n in found]


def _header(
    place: Place, head: bytes, size: int
) -> tuple[dict[str, tuple[str, list[int], int, int]], dict[str, str]]:
    """The entries in the order of their names, and the metadata, of a header.

    Args:
        size: of the arrays together, in bytes.
    """

    def refuse(reason: str) -> None:
        raise RunError(f"{place}: not a whole safetensors file: {reason}")

    if not head.startswith(b"{"):
        refuse("its header is no JSON object")
    if not head.rstrip(b" ").endswith(b"}"):
        refuse("its header is padded with other than spaces")
    found = parse_json(place, head)
    if not isinstance(found, dict):
        refuse("its header is no JSON object")
    metadata = found.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        refuse("its metadata are not strings")
    try:
        "".join([*found, *metadata, *metadata.values()]).encode()
    except UnicodeEncodeError:
        refuse("a name or a string in its header is not UTF-8")
    entries = {}
    for name, entry in found.items():
        match entry:
            case {"dtype": str(tag), "shape": list(shape), "data_offsets": [start, stop]}:
                if len(entry) > 3:
                    refuse(f"entry {name!r} has more than dtype, shape and data_offsets")
            case _:
                refuse(f"entry {name!r} has not just dtype, shape and data_offsets")
        if not all(type(x) is int and x >= 0 for x in (*shape, start, stop)):
            refuse(f"entry {name!r} has a length or an offset that is no integer from 0 on")
        if tag != BFLOAT16 and tag not in DTYPES:
            raise RunError(
                f"load_arrays: {place}: entry {name!r} is {tag}; expects one of "
                f"{', '.join([*DTYPES, BFLOAT16])}; convert it to float32 where it was made"
            )
        count = 0 if 0 in shape else _itemsize(tag)
        for n in shape if count else ():
            count *= n
            if count > size:
                break  # before the product of absurd lengths takes its time
        if stop - start != count:
            refuse(f"entry {name!r} has {stop - start} bytes, which its shape does not have")
        entries[name] = (tag, shape, start, stop)
    end = 0
    for name, (_, _, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != end:
            refuse(f"entry {name!r} begins at {start}, and the one before ends at {end}")
        end = stop
    if end != size:
        refuse(f"its header promises {end} bytes, and there are {size}")
    return dict(sorted(entries.items())), metadata


def _check_with_the_library(place: Place, data: bytes) -> None:
    """That the safetensors library reads the file as well."""
    import safetensors

    try:
        if isinstance(place, Local):
            with safetensors.safe_open(place.path, "numpy"):  # it looks at the header, and maps
                pass
        else:
            safetensors.deserialize(data)
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise RunError(f"{place}: not a whole safetensors file: {error}") from error

"""Files of PyTorch, .pt and .pth: their tensors as NumPy arrays, without torch and without pickle.

    arrays = read(open("model.pth", "rb"))                # {"layers.0.weight": ..., ...}
    arrays, others = read_all(data)                       # and {"epoch": 3, ...}
    part = read(file, names=["layers.0.weight"])          # reads the bytes of no other tensor

What `torch.save` writes is a pickle, in which each tensor is a description (dtype, shape, strides)
that points into a storage: bytes that lie beside the pickle. The pickle is read by a machine of
our own, see `minigrad.runs.pickled`, that builds these descriptions and can run nothing; a file
that needs its classes to be imported, as a model saved whole does, is refused. Here are the
containers, the zip archive of PyTorch since 1.6 and the stream of pickles before it, and what is
made of the descriptions.

https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import contextlib
import difflib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from minigrad.errors import RunError
from minigrad.runs.pickled import DTYPES, PICKLE, Machine, Stream, Tensor, Unreadable, flat

__all__ = ["contents", "read", "read_all", "recognise"]

Source = bytes | bytearray | memoryview | BinaryIO

# What the arrays of a file may need: a tensor can repeat one number along an axis of any length.
TIMES = 16  # its bytes, so many times
ALWAYS = 16 * 2**20  # bytes, whatever its size


@contextlib.contextmanager
def _of_file(where: str) -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        raise RunError(f"{where}: {error}") from error


# -------------------------------------------------------------------------------------- public


def recognise(source: Source) -> str | None:
    """Which kind of PyTorch's files this is: 'zip', 'torchscript', 'legacy'; None for any other.

    Told from the bytes, not from a name. A damaged file may be recognised; `read` says what it
    lacks.

    Args:
        source: the bytes, or a binary file that can seek.

    Raises:
        RunError: the file cannot be read.
    """
    with _of_file("recognise"):
        file = _File(source)
        head = file.at(0, min(file.size, 512))
        if _is_legacy(head):
            return "legacy"
        if head[:4] != b"PK\x03\x04":
            return None
        try:
            return _kind_of(_zip_entries(file))
        except Unreadable:  # the directory, at the end, is damaged; the first name is not
            name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
            ours = re.fullmatch(rb"[^/]+/(data\.pkl|version|byteorder|data/\d+)", name)
            return "zip" if ours else None


def contents(source: Source, where: str = "the file") -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype, by its name in PyTorch, and the shape of each tensor, by name; reads no tensor.

    Raises:
        RunError: as `read`.
    """
    with _of_file(where):
        tensors = _Archive(source).tensors
        return {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def read(
    source: Source, names: str | Iterable[str] | None = None, where: str = "the file"
) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary or a checkpoint, by name, in the order of the file.

    Dictionaries and lists in each other have their names joined by dots: of `{"model": model.
    state_dict(), "epoch": 3}` there is 'model.layer.weight'. A tensor saved alone is called
    'tensor'. Arrays are in C order, of the machine's byte order, and writable; each has memory of
    its own, except that one tensor under two names, as a tied weight, is one array. bfloat16,
    which NumPy has not, comes as float32, exactly. Everything else has NumPy's dtype of the same
    name.

    Args:
        source: the bytes, or a binary file that can seek, which is read from its beginning.
        names: of the tensors that are wanted, or of modules, for all tensors in them; the bytes of
            others are not read.
        where: what the file is called in messages.

    Raises:
        RunError: the file is none of PyTorch's, is damaged, or lacks one of `names`; it needs code
            to be read, as a whole model and TorchScript do; it holds a tensor that is sparse,
            quantised or of a dtype that NumPy has not; it asks for more memory than it could fill.
    """
    return read_all(source, names, where)[0]


def read_all(
    source: Source, names: str | Iterable[str] | None = None, where: str = "the file"
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of `read`, and what else there is by name: numbers, strings, None, lists of such.

    Lists and tuples without tensors come as one list; dtypes and devices as their names.

    Raises:
        RunError: as `read`.
    """
    with _of_file(where):
        archive = _Archive(source)
        wanted = archive.tensors if names is None else _chosen(archive.tensors, names)
        return archive.read(wanted), archive.others


def _chosen(tensors: dict[str, Tensor], names: str | Iterable[str]) -> dict[str, Tensor]:
    asked = set()
    for name in [names] if isinstance(names, str) else names:
        inside = [name] if name in tensors else [n for n in tensors if n.startswith(f"{name}.")]
        if not inside:
            near = difflib.get_close_matches(str(name), list(tensors)[:10_000], 1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise Unreadable(f"has no tensor {name!r}, and none in it{hint}")
        asked.update(inside)
    return {name: tensor for name, tensor in tensors.items() if name in asked}


# -------------------------------------------------------------------------------------- containers


class _File:
    """The bytes of a source, in any order."""

    def __init__(self, source: Source):
        if isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        if not (hasattr(source, "seek") and hasattr(source, "read")):
            kind = type(source).__name__
            raise Unreadable(f"expects bytes, or a binary file that can seek, got a {kind}")
        if isinstance(source, io.TextIOBase):
            raise Unreadable("expects a binary file, got one of text; open it in mode 'rb'")
        self.file = source
        with self.failures():
            source.seek(0, io.SEEK_END)
            self.size = source.tell()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a ValueError of a file that is closed
            raise Unreadable(f"cannot be read: {error}") from error

    def at(self, offset: int, n: int) -> bytes:
        """The n bytes from `offset` on."""
        if not 0 <= offset <= offset + n <= self.size:
            raise Unreadable(f"is cut off: expects {n:,} bytes at {offset:,} of {self.size:,}")
        buffer = bytearray(n)
        self.fill(offset, memoryview(buffer))
        return bytes(buffer)

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Read into a buffer."""
        with self.failures():
            self.file.seek(offset)
            while buffer:
                if hasattr(self.file, "readinto"):
                    n = self.file.readinto(buffer)
                else:
                    part = self.file.read(min(len(buffer), 2**20))
                    n = len(part)
                    buffer[:n] = part
                if not n:
                    raise Unreadable("is cut off")
                buffer = buffer[n:]


@dataclass(frozen=True)
class _Place:
    """Where bytes lie in a file, and their CRC-32, if it is known."""

    offset: int
    nbytes: int
    crc: int | None = None


def _zip_entries(file: _File) -> dict[str, zipfile.ZipInfo]:
    """What the directory of a zip archive lists, by name."""
    try:
        with zipfile.ZipFile(file.file) as archive:
            found = archive.infolist()
    # What zipfile raises of damaged directories, among them a struct.error and an OSError.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error,
            EOFError, OSError) as error:  # fmt: skip
        raise Unreadable(f"is damaged: as a zip archive it has no readable end: {error}") from error
    entries = {entry.filename: entry for entry in found}
    if len(entries) < len(found):
        raise Unreadable("is damaged: its zip archive has two entries of one name")
    return entries


def _kind_of(entries: Iterable[str]) -> str | None:
    inside = [name.partition("/")[2] for name in entries]
    if any(name.startswith("code/") or name == "constants.pkl" for name in inside):
        return "torchscript"
    return "zip" if "data.pkl" in inside else None


LEGACY = 0x1950A86A20F9469CFC6C  # the first value in a file of the older kind
LEGACY_VERSION = 1001


def _is_legacy(head: bytes) -> bool:
    """Whether a file begins with the pickle of that number: in protocol 4 and 5, in a frame."""
    number = b"\x8a\x0a" + LEGACY.to_bytes(10, "little") + b"."
    return re.match(rb"\x80[\x02-\x05](\x95.{8})?" + re.escape(number), head, re.DOTALL) is not None


class _Archive:
    """A file of PyTorch that has been opened: its pickle is read, its storages are not.

    Attributes:
        tensors: their descriptions, by name.
        others: values that are no tensors, by name.
    """

    def __init__(self, source: Source):
        self.file = _File(source)
        head = self.file.at(0, min(self.file.size, 512))
        self.order = "<"  # of the bytes in storages
        self.storages: dict[str, int]  # how many bytes each has
        self.place_of: Callable[[str], _Place]  # where those are, looked up when they are read
        if head[:4] == b"PK\x03\x04":
            value, steps = self._open_zip()
        elif _is_legacy(head):
            value, steps = self._open_legacy()
        elif head[257:262] == b"ustar":
            raise Unreadable("is a tar archive, as PyTorch wrote before 0.1.10; save it anew there")
        else:
            raise Unreadable(
                f"is no file that torch.save writes: it begins with {head[:8]!r}; expects a zip "
                f"archive or the older stream of pickles"
            )
        self.tensors, self.others = flat(value, steps)
        for name, tensor in self.tensors.items():
            nbytes = self.storages.get(tensor.storage.key)
            if nbytes != tensor.storage.nbytes:
                found = "none" if nbytes is None else f"one of {nbytes:,}"
                raise Unreadable(
                    f"is damaged: tensor {name[:200]!r} expects a storage of "
                    f"{tensor.storage.nbytes:,} bytes, there is {found}"
                )

    # -- zip

    def _open_zip(self) -> tuple[Any, int]:
        entries = _zip_entries(self.file)
        kind = _kind_of(entries)
        if kind == "torchscript":
            raise Unreadable(
                "is a TorchScript archive, which needs its code to be read; in PyTorch, save the "
                "numbers alone: torch.save(torch.jit.load(path).state_dict(), path)"
            )
        roots = [name[: -len("data.pkl")] for name in entries if name.count("/") == 1
                 and name.endswith("/data.pkl")]  # fmt: skip
        if len(roots) != 1:
            raise Unreadable(
                f"is a zip archive with {len(roots)} entries 'data.pkl' in a folder; of "
                f"torch.save it has one"
            )
        [root] = roots
        # Each entry ends before the next begins, so all together are no longer than the file.
        starts = sorted(entry.header_offset for entry in entries.values())
        if len(set(starts)) < len(starts):
            raise Unreadable("is damaged: two entries of its zip archive are at one place")
        ends = dict(zip(starts, [*starts[1:], self.file.size], strict=True))
        # torch.serialization.set_crc32_options(False) leaves all sums out.
        summed = any(entry.CRC for entry in entries.values())

        def place(entry: zipfile.ZipInfo) -> _Place:
            name = entry.filename
            if entry.compress_type or entry.flag_bits & 1:
                raise Unreadable(
                    f"its entry {name[:200]!r} is compressed or encrypted, which torch.save does "
                    f"not do; pack it anew without (zip -0), or save it anew"
                )
            head = self.file.at(entry.header_offset, 30)
            lengths = struct.unpack("<HH", head[26:30])
            offset = entry.header_offset + 30 + sum(lengths)
            own = self.file.at(entry.header_offset + 30, lengths[0])
            if (
                head[:4] != b"PK\x03\x04"
                or own.decode("utf-8", "replace") != entry.orig_filename
                or entry.compress_size != entry.file_size
                or offset + entry.file_size > ends[entry.header_offset]
            ):
                raise Unreadable(
                    f"is damaged: its entry {name[:200]!r} is not where the zip archive's end "
                    f"says, or of another size"
                )
            return _Place(offset, entry.file_size, entry.CRC if summed else None)

        if (order := entries.get(f"{root}byteorder")) is not None:
            said = self._bytes_of(place(order), "byteorder", most=16)
            if said not in (b"little", b"big"):
                raise Unreadable(f"its byte order is {said!r}; expects b'little' or b'big'")
            self.order = "<" if said == b"little" else ">"
        pickled = self._bytes_of(place(entries[f"{root}data.pkl"]), "data.pkl", most=PICKLE)
        prefix = f"{root}data/"
        self.storages = {
            name.removeprefix(prefix): entry.file_size
            for name, entry in entries.items()
            if name.startswith(prefix)
        }
        self.place_of = lambda key: place(entries[prefix + key])
        machine = Machine(Stream(_File(pickled)))
        value = machine.run()
        if machine.stream.left():
            raise Unreadable("its pickle is damaged: bytes follow its end")
        return value, machine.steps

    # -- the older container

    def _open_legacy(self) -> tuple[Any, int]:
        """Three pickles about the file, that of the value, that of the storages' keys; storages.

        Of each storage there is the count of elements, 8 bytes, and the elements. The count and
        the elements are written little end first on every machine, except for what the machine
        with the big end took for elements of another size.
        """
        stream = Stream(self.file)
        number, version, system = (Machine(stream).run() for _ in range(3))
        if number != LEGACY or version != LEGACY_VERSION or type(system) is not dict:
            raise Unreadable("is damaged: its head is not as PyTorch writes it")
        machine = Machine(stream, legacy=True)
        value = machine.run()
        keys = Machine(stream).run()
        if type(keys) is not list or any(type(key) is not str for key in keys):
            raise Unreadable("is damaged: its storages have no list of names")
        storages = machine.storages
        places: dict[str, _Place] = {}
        position = stream.position
        for key in keys:
            if key in places or (storage := storages.get(key)) is None:
                raise Unreadable("is damaged: a storage is there twice, or for no tensor")
            if storage.length != int.from_bytes(self.file.at(position, 8), "little", signed=True):
                raise Unreadable("is damaged: a storage is of another length than its tensor says")
            if system.get("little_endian") is False and (
                not storage.dtype or storage.dtype.startswith("complex")
            ):
                raise Unreadable(
                    f"holds a tensor of {storage.dtype or 'bytes'} that a machine with the big end "
                    f"first wrote in the older format; save it anew there, in the zip format"
                )
            places[key] = _Place(position + 8, storage.nbytes)
            position += 8 + storage.nbytes
        if position != self.file.size:
            raise Unreadable(
                f"is cut off, or more was written behind it: its storages end at byte "
                f"{position:,} of {self.file.size:,}"
            )
        self.storages = {key: place.nbytes for key, place in places.items()}
        self.place_of = places.__getitem__
        return value, machine.steps

    # -- storages

    def _bytes_of(self, place: _Place, name: str, most: int) -> bytes:
        if place.nbytes > most:
            raise Unreadable(f"its {name} has {place.nbytes:,} bytes; expects at most {most:,}")
        data = self.file.at(place.offset, place.nbytes)
        _check(place, data, name)
        return data

    def read(self, wanted: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """The arrays of tensors, by name; each storage is read once, and one after the other."""
        total = sum(tensor.nbytes for tensor in set(wanted.values()))
        if total > (most := max(ALWAYS, TIMES * self.file.size)):
            raise Unreadable(
                f"is of {self.file.size:,} bytes and asks for arrays of {total:,}, as tensors "
                f"repeat their numbers (strides of 0) or share them; expects at most {most:,}; "
                f"save x.contiguous() or ask for some of its tensors by names"
            )
        users: dict[str, dict[Tensor, None]] = {}
        for tensor in wanted.values():
            users.setdefault(tensor.storage.key, {})[tensor] = None
        arrays: dict[Tensor, np.ndarray] = {}
        for key, tensors in users.items():
            place = self.place_of(key)
            buffer = np.empty(place.nbytes, np.uint8)
            self.file.fill(place.offset, buffer.data)
            _check(place, buffer, f"storage {key[:80]!r}")
            for tensor in tensors:
                try:
                    arrays[tensor] = self._array(tensor, buffer, alone=len(tensors) == 1)
                except (ValueError, OverflowError) as error:  # lengths beyond NumPy's, beside a 0
                    raise Unreadable(f"has a tensor that NumPy cannot hold: {error}") from error
        return {name: arrays[tensor] for name, tensor in wanted.items()}

    def _array(self, tensor: Tensor, buffer: np.ndarray, alone: bool) -> np.ndarray:
        dtype = np.dtype(self.order + DTYPES[tensor.dtype])
        if not tensor.size:
            offset, strides = 0, None
        else:
            offset = tensor.offset * dtype.itemsize
            offset += tensor.storage.start * tensor.storage.itemsize
            # An axis of length 1 is never stepped along, whatever its stride.
            strides = tuple(
                s * dtype.itemsize if n > 1 else 0
                for n, s in zip(tensor.shape, tensor.strides, strict=True)
            )
        x = np.ndarray(tensor.shape, dtype, buffer.data, offset, strides)
        if tensor.dtype == "bfloat16":
            x = x.astype(np.uint32, order="C")
            x <<= np.uint32(16)
            return self._marked(tensor, x.view(np.float32))
        if tensor.dtype == "bool":
            return np.asarray(x != 0, order="C")
        whole = x.flags.c_contiguous and x.nbytes == len(buffer)  # then the buffer is the array
        native = dtype.newbyteorder("=")
        return self._marked(tensor, x.astype(native, order="C", copy=not (alone and whole)))

    def _marked(self, tensor: Tensor, x: np.ndarray) -> np.ndarray:
        if tensor.conj:
            np.conjugate(x, out=x)
        if tensor.neg:
            np.negative(x, out=x)
        return x


def _check(place: _Place, data: Any, name: str) -> None:
    if place.crc is not None and zlib.crc32(data) != place.crc:
        raise Unreadable(f"is damaged: its {name} differs from its checksum")

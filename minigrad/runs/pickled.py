"""What PyTorch pickles, as descriptions: a machine that builds values, and runs nothing.

A pickle is a program for a small machine, which can call any function of any module. The machine
here has the few instructions that build lists, dictionaries, strings and numbers; the functions
that it may meet are names in a table, `FUNCTIONS`, and to "call" one is to note down a description.
So nothing in a file can run. What needs more than that is refused.
"""

import math
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["DTYPES", "PICKLE", "Machine", "Storage", "Stream", "Tensor", "Unreadable", "flat"]

# What a pickle may ask for. It can name one list a thousand times in a list, that one a thousand
# times, and so on.
PICKLE = 64 * 2**20  # its bytes
STEPS = 4_000_000  # instructions in it
AXES = 64  # of a tensor, as NumPy has it
DEPTH = 64  # of dictionaries and lists in each other
LONGEST = 1000  # letters of a name

# Names of dtypes in PyTorch, and NumPy's; bfloat16, which NumPy has not, is the upper half of a
# float32.
DTYPES = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "complex64": "c8",
    "complex128": "c16", "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "u1",
}  # fmt: skip
STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "ComplexDouble": "complex128", "ComplexFloat": "complex64", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
}  # fmt: skip

# Names of PyTorch that may stand in a file as values; they are given as strings, 'torch.float32'.
VALUES = re.compile(
    r"torch\.(u?int\d+|b?float\d+(_\w+)?|complex\d+|bool|bits\w+|q(u?int|uint)\w+|per_\w+_\w+"
    r"|strided|contiguous_format|channels_last|preserve_format)"
)
STORAGE = re.compile(r"torch\.(cuda\.|storage\.)?(\w+)Storage")
TENSOR_TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}

REFUSED = {
    "torch._utils._rebuild_qtensor": "a quantised tensor; give it numbers by x.dequantize()",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor; make it dense by x.to_dense()",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor; make it dense by x.to_dense()",
    "torch._utils._rebuild_nested_tensor": "a nested tensor; save the tensors in it, x.unbind()",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor of 'meta', which has no numbers",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own; save plain tensors",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of a device; save x.cpu()",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of a device; save x.cpu()",
    "torch._utils._rebuild_xla_tensor": "a tensor of a device; save x.cpu()",
    "numpy.core.multiarray._reconstruct": "a NumPy array; save it as torch.from_numpy(x)",
    "numpy._core.multiarray._reconstruct": "a NumPy array; save it as torch.from_numpy(x)",
}
WAY_OUT = "in PyTorch, save the numbers alone: torch.save(model.state_dict(), path)"


class Unreadable(Exception):
    """Why a file is not read, in a sentence to which its name is put in front."""


class Bytes(Protocol):
    """The bytes of a file, in any order."""

    size: int

    def at(self, offset: int, n: int) -> bytes: ...


class Stream:
    """The bytes of a file one after the other, from its beginning."""

    def __init__(self, file: Bytes):
        self.file, self.position = file, 0
        self.block, self.start = b"", 0  # what was read ahead, and from where

    def left(self) -> int:
        """How many bytes follow."""
        return self.file.size - self.position

    def read(self, n: int) -> bytes:
        """The next n bytes."""
        if n > self.left():
            raise Unreadable("its pickle is cut off")
        i = self.position - self.start
        if i + n > len(self.block):
            self.block = self.file.at(self.position, min(self.left(), max(n, 2**16)))
            self.start, i = self.position, 0
        self.position += n
        return self.block[i : i + n]

    def line(self) -> str:
        """A name, up to the end of its line."""
        name = b""
        while (letter := self.read(1)) != b"\n":
            name += letter
            if len(name) > LONGEST:
                raise Unreadable("its pickle is damaged: a name is too long")
        return name.decode("utf-8", "replace")


# --------------------------------------------------------------------------- what is in a pickle


@dataclass(frozen=True)
class _Name:
    """What a pickle imports: a function or class, which stays a name."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Bytes beside the pickle: `count` elements from `start` on, of the storage `key`."""

    key: str
    dtype: str  # of the elements; '' for bytes whose dtype the tensor says
    length: int  # elements of the whole storage
    start: int
    count: int

    @property
    def itemsize(self) -> int:
        return np.dtype(DTYPES[self.dtype or "uint8"]).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage."""
        return self.length * self.itemsize


@dataclass(frozen=True)
class Tensor:
    """A description of a tensor. Two that are equal are one tensor."""

    storage: Storage
    dtype: str
    offset: int  # elements, as are the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conj: bool = False  # to be conjugated and negated, which PyTorch puts off
    neg: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array that is given for it."""
        wide = "f4" if self.dtype == "bfloat16" else DTYPES[self.dtype]
        return self.size * np.dtype(wide).itemsize


class _Mark:
    """What stands on the stack below the items of a list that is begun."""


MARK = _Mark()


class Machine:
    """Runs a pickle of protocol 2 to 5, as far as it only builds values.

    Args:
        stream: of the pickle.
        legacy: whether storages are described as in the older container.
    """

    def __init__(self, stream: Stream, legacy: bool = False):
        self.stream, self.legacy = stream, legacy
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.steps = 0

    def run(self) -> Any:
        """The value that the pickle builds; the stream stands behind it then."""
        read = self.stream.read
        if read(1) != b"\x80" or not 2 <= (protocol := read(1)[0]) <= 5:
            raise Unreadable("its pickle does not begin as those of protocols 2 to 5 do")
        end = self.stream.position + PICKLE
        while (op := read(1)) != b".":
            self.count(1 if self.stream.position <= end else STEPS)
            step = INSTRUCTIONS.get(op)
            if step is None:
                raise Unreadable(
                    f"its pickle of protocol {protocol} has the instruction {op!r}, which plain "
                    f"values do not need; it is damaged, or needs code to be read; {WAY_OUT}"
                )
            step(self)
        value = self.pop()
        if self.stack:
            raise Unreadable("its pickle is damaged: values are left over")
        return value

    def count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > STEPS:
            raise Unreadable(
                f"its pickle is too long; expects at most {STEPS:,} instructions and {PICKLE:,} "
                f"bytes"
            )

    # -- the stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise Unreadable("its pickle is damaged: a value is missing")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The last value, which is of this kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Unreadable(f"its pickle is damaged: expects a {kind.__name__}")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Takes the values above the last mark, and the mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise Unreadable("its pickle is damaged: a mark is missing")

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.stream.read(struct.calcsize(form)))[0]

    def text(self, form: str) -> str:
        try:
            return self.stream.read(self.number(form)).decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"its pickle has a string that is not UTF-8: {error}") from error

    # -- instructions

    def tuple_of(self, n: int) -> None:
        self.push(tuple([self.pop() for _ in range(n)][::-1]))

    def long(self) -> None:
        self.push(int.from_bytes(self.stream.read(self.number("<B")), "little", signed=True))

    def frame(self) -> None:
        if self.number("<Q") > self.stream.left():
            raise Unreadable("its pickle is cut off")

    def put(self, place: int) -> None:
        if not self.stack or self.stack[-1] is MARK:
            raise Unreadable("its pickle is damaged: nothing is there to be remembered")
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise Unreadable(f"its pickle is damaged: nothing was remembered as {place}")
        self.push(self.memo[place])

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def add(self) -> None:
        items = self.since_mark()
        self.top(set).update(map(_scalar, items))

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise Unreadable("its pickle is damaged: a key has no value")
        _fill(self.top(dict), zip(items[::2], items[1::2], strict=True))

    def import_lines(self) -> None:
        self.push(_imported(self.stream.line(), self.stream.line()))

    def import_strings(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise Unreadable("its pickle is damaged: it imports what is no name")
        self.push(_imported(module, name))

    def build(self) -> None:
        """Attributes for a value: those of a state dictionary, which say its layers' versions."""
        state = self.pop()
        if self.stack and type(self.stack[-1]) is _Dtype:  # and the byte order of a NumPy dtype
            if len(_tuple(state)) < 2 or state[1] not in ("<", ">", "|"):
                raise Unreadable("its pickle is damaged: a NumPy dtype has no byte order")
            self.stack[-1].order = state[1].replace("|", "<")
        elif type(state) is not dict or type(self.top(dict)) is not dict:
            raise Unreadable("its pickle is damaged: it sets attributes that are no dictionary")

    def persistent(self) -> None:
        """A storage: ('storage', its type, key, device, length), and in the older files a view."""
        given = _tuple(self.pop())
        if given[:1] != ("storage",) or len(given) != (6 if self.legacy else 5):
            raise Unreadable("its pickle is damaged: it points at what is no storage")
        _, kind, key, device, length, *view = given
        if type(key) is not str or type(device) is not str:
            raise Unreadable("its pickle is damaged: a storage has no name")
        if device == "meta":
            raise Unreadable(f"holds {REFUSED['torch._utils._rebuild_meta_tensor_no_storage']}")
        dtype = _dtype_of_storage(kind)
        length = _count(length)
        start, count = 0, length
        if view and view[0] is not None:
            _, start, count = _tuple(view[0], 3)
            if _count(start) + _count(count) > length:
                raise Unreadable("its pickle is damaged: a view is longer than its storage")
        storage = Storage(key, dtype, length, start, count)
        if self.storages.setdefault(key, storage).nbytes != storage.nbytes:
            raise Unreadable("its pickle is damaged: a storage has two lengths")
        self.push(storage)

    def reduce(self) -> None:
        """Where pickle calls a function: the description of what some known ones would make."""
        args, function = self.pop(), self.pop()
        # What is copied counts, as one long list can be given to many calls.
        self.count(sum(len(x) for x in _tuple(args) if isinstance(x, list | tuple | dict | str)))
        self.push(_called(function, args))


# Each instruction by its code, as Python's documentation of pickle names them.
INSTRUCTIONS: dict[bytes, Callable[[Machine], None]] = {
    b"q": lambda m: m.put(m.number("<B")),  # BINPUT
    b"r": lambda m: m.put(m.number("<I")),  # LONG_BINPUT
    b"\x94": lambda m: m.put(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.get(m.number("<B")),  # BINGET
    b"j": lambda m: m.get(m.number("<I")),  # LONG_BINGET
    b"X": lambda m: m.push(m.text("<I")),  # BINUNICODE
    b"\x8c": lambda m: m.push(m.text("<B")),  # SHORT_BINUNICODE
    b"\x8d": lambda m: m.push(m.text("<Q")),  # BINUNICODE8
    b"U": lambda m: m.push(m.text("<B")),  # SHORT_BINSTRING, which Python 2 wrote
    b"T": lambda m: m.push(m.text("<I")),  # BINSTRING
    b"C": lambda m: m.push(m.stream.read(m.number("<B"))),  # SHORT_BINBYTES
    b"B": lambda m: m.push(m.stream.read(m.number("<I"))),  # BINBYTES
    b"\x8e": lambda m: m.push(m.stream.read(m.number("<Q"))),  # BINBYTES8
    b"K": lambda m: m.push(m.number("<B")),  # BININT1
    b"M": lambda m: m.push(m.number("<H")),  # BININT2
    b"J": lambda m: m.push(m.number("<i")),  # BININT
    b"\x8a": Machine.long,  # LONG1
    b"G": lambda m: m.push(m.number(">d")),  # BINFLOAT
    b"N": lambda m: m.push(None),  # NONE
    b"\x88": lambda m: m.push(True),  # NEWTRUE
    b"\x89": lambda m: m.push(False),  # NEWFALSE
    b"(": lambda m: m.push(MARK),  # MARK
    b")": lambda m: m.push(()),  # EMPTY_TUPLE
    b"\x85": lambda m: m.tuple_of(1),  # TUPLE1
    b"\x86": lambda m: m.tuple_of(2),  # TUPLE2
    b"\x87": lambda m: m.tuple_of(3),  # TUPLE3
    b"t": lambda m: m.push(tuple(m.since_mark())),  # TUPLE
    b"]": lambda m: m.push([]),  # EMPTY_LIST
    b"a": lambda m: m.append([m.pop()]),  # APPEND
    b"e": lambda m: m.append(m.since_mark()),  # APPENDS
    b"}": lambda m: m.push({}),  # EMPTY_DICT
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),  # SETITEM
    b"u": lambda m: m.set_items(m.since_mark()),  # SETITEMS
    b"\x8f": lambda m: m.push(set()),  # EMPTY_SET
    b"\x90": Machine.add,  # ADDITEMS
    b"c": Machine.import_lines,  # GLOBAL
    b"\x93": Machine.import_strings,  # STACK_GLOBAL
    b"R": Machine.reduce,  # REDUCE
    b"b": Machine.build,  # BUILD
    b"Q": Machine.persistent,  # BINPERSID
    b"\x95": Machine.frame,  # FRAME
}


def _imported(module: str, name: str) -> Any:
    """A name that a file may hold; a value's name is a value, the string."""
    full = f"{module}.{name}"
    if VALUES.fullmatch(full):
        return full
    if full in FUNCTIONS or full in TENSOR_TYPES or STORAGE.fullmatch(full):
        return _Name(full)
    if full in REFUSED:
        raise Unreadable(f"holds {REFUSED[full]}")
    raise Unreadable(
        f"holds {full[:200]!r}, which needs code to be made: it is a whole model, or holds objects "
        f"beside tensors; nothing of it was run; {WAY_OUT}"
    )


def _dtype_of_storage(kind: Any) -> str:
    found = STORAGE.fullmatch(kind.name) if type(kind) is _Name else None
    name = found[2] if found else ""
    if name == "Untyped":
        return ""
    if name not in STORAGES:
        if name[:2] in ("QI", "QU"):  # of integers
            raise Unreadable(f"holds {REFUSED['torch._utils._rebuild_qtensor']}")
        raise Unreadable(f"its pickle is damaged: there is no kind of storage {name[:40]!r}")
    return STORAGES[name]


def _tuple(value: Any, length: int | None = None) -> tuple:
    if type(value) is not tuple or (length is not None and len(value) != length):
        raise Unreadable("its pickle is damaged: expects a tuple")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise Unreadable("its pickle is damaged: a length, stride or offset is no count")
    return value


def _scalar(value: Any) -> Any:
    if value is not None and type(value) not in (str, int, float, bool):
        kind = type(value).__name__.strip("_").lower()
        raise Unreadable(f"has a key or an item of a set that is a {kind}, not a string or number")
    return value


def _fill(target: dict, pairs: Iterable[tuple[Any, Any]]) -> dict:
    for key, value in pairs:
        if _scalar(key) in target:
            raise Unreadable(f"its pickle is damaged: the key {str(key)[:80]!r} is repeated")
        target[key] = value
    return target


# ------------------------------------------------------------- what stands for PyTorch's functions


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any = False, hooks: Any = None,
    metadata: Any = None, *, dtype: str = "",
) -> Tensor:  # fmt: skip
    """What `torch._utils._rebuild_tensor_v2` would make."""
    if type(storage) is not Storage:
        raise Unreadable("its pickle is damaged: a tensor has no storage")
    if len(_tuple(shape)) != len(_tuple(strides)) or len(shape) > AXES:
        raise Unreadable(
            f"has a tensor of {len(shape)} lengths and {len(strides)} strides; expects as many of "
            f"both, and at most {AXES}"
        )
    shape, strides = (tuple(map(_count, x)) for x in (shape, strides))
    dtype = dtype or storage.dtype or "uint8"
    metadata = {} if metadata is None else metadata
    if type(metadata) is not dict or hooks not in (None, {}):
        raise Unreadable("its pickle is damaged: a tensor is not described as PyTorch does")
    if metadata.keys() - {"conj", "neg"}:
        raise Unreadable(f"has a tensor with {str(next(iter(metadata)))[:40]!r}, not known here")
    tensor = Tensor(
        storage, dtype, _count(offset), shape, strides,
        metadata.get("conj") is True, metadata.get("neg") is True,
    )  # fmt: skip
    kind = np.dtype(DTYPES[dtype]).kind
    if (tensor.conj and kind != "c") or (tensor.neg and kind not in "fc"):
        raise Unreadable(f"its pickle is damaged: a tensor of {dtype} is marked as conjugated")
    if tensor.size:
        last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        width = np.dtype(DTYPES[dtype]).itemsize
        if (last + 1) * width > storage.count * storage.itemsize:
            raise Unreadable(
                f"has a tensor of shape {str(shape)[:80]} that reaches beyond its storage"
            )
    return tensor


def _tensor_of_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    """What `torch._utils._rebuild_tensor_v3` would make: the storage is bytes."""
    name = dtype.removeprefix("torch.") if type(dtype) is str else ""
    if name not in DTYPES:
        raise Unreadable(
            f"holds a tensor of dtype {name[:40] or 'unknown'}, which NumPy has not; convert "
            f"it first, as by x.to(torch.float32)"
        )
    return _tensor(storage, offset, shape, strides, grad, hooks, metadata, dtype=name)


def _parameter(tensor: Any, _grad: Any, hooks: Any, _state: Any = None) -> Tensor:
    if type(tensor) is not Tensor or hooks not in (None, {}):
        raise Unreadable("its pickle is damaged: a parameter is no tensor, or has hooks")
    return tensor


def _with_attributes(function: Any, kind: Any, args: Any, _state: Any) -> Tensor:
    """A tensor on which a user set attributes."""
    if type(kind) is not _Name or kind.name not in TENSOR_TYPES:
        raise Unreadable("its pickle is damaged: a tensor has no type")
    if type(function) is _Name and function.name == "torch._tensor._rebuild_from_type_v2":
        raise Unreadable("its pickle is damaged: a tensor is described by itself")
    tensor = _called(function, args)
    if type(tensor) is not Tensor:
        raise Unreadable("its pickle is damaged: a tensor is not described as PyTorch does")
    return tensor


def _dictionary(items: Any = ()) -> dict:
    """An ordered dictionary, of which Python 2 wrote a list of pairs; or a counter's."""
    if type(items) is dict:
        return dict(items)
    if type(items) not in (list, tuple):
        raise Unreadable("its pickle is damaged: expects pairs for a dictionary")
    return _fill({}, (_tuple(tuple(i) if type(i) is list else i, 2) for i in items))


def _set(items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise Unreadable("its pickle is damaged: expects a list for a set")
    return set(map(_scalar, items))


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes: as a string of their codes."""
    try:
        if type(text) is str and encoding == "latin1":
            return text.encode("latin1")
    except UnicodeEncodeError:
        pass
    raise Unreadable("its pickle is damaged: bytes are not written as a string of their codes")


def _device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise Unreadable("its pickle is damaged: a device has no name")
    return kind if index is None else f"{kind}:{index}"


def _complex(real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise Unreadable("its pickle is damaged: a complex number is not made of two")
    return complex(real, imaginary)


@dataclass
class _Dtype:
    """A dtype of NumPy, of a scalar in a checkpoint; its byte order is said later."""

    code: str
    order: str = "<"


def _numpy_dtype(code: Any, _align: Any = False, _copy: Any = True) -> _Dtype:
    if type(code) is not str or not re.fullmatch(r"f[248]|[iu][1248]|b1|c8|c16", code):
        raise Unreadable("holds a NumPy scalar that is no plain number")
    return _Dtype(code)


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    if type(dtype) is not _Dtype or type(data) is not bytes:
        raise Unreadable("its pickle is damaged: a NumPy scalar is not described as NumPy does")
    kind = np.dtype(dtype.order + dtype.code)
    if len(data) != kind.itemsize:
        raise Unreadable("its pickle is damaged: a NumPy scalar has other bytes than its dtype")
    return bool(data[0]) if dtype.code == "b1" else np.frombuffer(data, kind)[0].item()


def _called(function: Any, args: Any) -> Any:
    if type(function) is not _Name or function.name not in FUNCTIONS:
        raise Unreadable("its pickle is damaged: it calls what is no function")
    least, most = ARITY[function.name]
    if not least <= len(_tuple(args)) <= most:
        raise Unreadable(f"its pickle is damaged: {function.name} is given {len(args)} arguments")
    return FUNCTIONS[function.name](*args)


def _size(lengths: Any) -> tuple:
    return tuple(map(_count, _tuple(lengths)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "_codecs.encode": _encoded,
    "numpy.dtype": _numpy_dtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    **{f"{m}.set": _set for m in ("builtins", "__builtin__")},
    **{f"{m}.complex": _complex for m in ("builtins", "__builtin__")},
}


def _arity(function: Callable[..., Any]) -> tuple[int, int]:
    code, defaults = function.__code__, function.__defaults__ or ()
    return code.co_argcount - len(defaults), code.co_argcount


ARITY = {name: _arity(function) for name, function in FUNCTIONS.items()}


# ------------------------------------------------------------------------------------- the values


def flat(value: Any, steps: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors in a value, and what else is in it, by names joined with dots.

    A list that stands in many places is walked through in each, so the walk is bounded by the
    `steps` that built the value.
    """
    tensors: dict[str, Tensor] = {}
    others: dict[str, Any] = {}
    left = 10_000 + 4 * steps

    def visit(value: Any, name: str, depth: int) -> None:
        nonlocal left
        left -= 1 + len(name) // 16
        if len(name) > LONGEST:
            raise Unreadable(f"has an entry whose name has {len(name):,} letters")
        if left < 0:
            raise Unreadable("repeats its dictionaries and lists too often, one in the other")
        if depth > DEPTH:
            raise Unreadable(f"has dictionaries and lists in each other, more than {DEPTH} deep")
        if type(value) in (_Name, Storage, _Dtype):
            raise Unreadable(
                f"holds a {type(value).__name__.strip('_').lower()} that belongs to no tensor"
            )

    def copied(value: Any, depth: int) -> Any:
        """Lists of numbers and strings, with memory of their own; MARK if there is more in them."""
        visit(value, "", depth)
        if not isinstance(value, list | tuple):
            return MARK if isinstance(value, dict | Tensor) else value
        copies = []
        for item in value:
            if (copy := copied(item, depth + 1)) is MARK:
                return MARK
            copies.append(copy)
        return copies

    def walk(value: Any, name: str, depth: int) -> None:
        visit(value, name, depth)
        if isinstance(value, Tensor):
            target, leaf = tensors, value
        elif isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, f"{name}.{key}" if depth else str(key), depth + 1)
            return
        elif (leaf := {} if value == {} else copied(value, depth)) is not MARK:
            target = others
        else:
            for i, item in enumerate(value):
                walk(item, f"{name}.{i}" if depth else str(i), depth + 1)
            return
        if name in tensors or name in others:
            raise Unreadable(f"has two entries that are both called {name[:200]!r}")
        target[name] = leaf

    walk(value, "tensor" if isinstance(value, Tensor) else "value", 0)
    return tensors, others

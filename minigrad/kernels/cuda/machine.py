"""Pages of CUDA kernels: how they are compiled, and launched.

    PAGE = Page("softmaxes")                  # minigrad/kernels/cuda/softmaxes.cu

    softmax = Kernel("softmax", PAGE)

    @softmax.accepts
    def _(x, *, axis, dtype=None):            # what comes out; None to decline
        return x if ... else None

    @softmax.launches
    def _(p, outputs, x, **options):          # how it is computed
        yield Launch(PAGE, "softmax_rows", {"T": x.dtype}, rows, 128, args=(*outputs, x, rows, d))

    @softmax.examples                         # calls for which tests compile it
    def _(dtype):
        yield (Empty((8, 1024), dtype),), {"axis": -1}

Arrays are CuPy's in an eager call, and `minigrad.programs.values.Value` in a program; both have
`shape`, `strides`, `dtype`, `ndim`, `size` and `flags.c_contiguous`, and `address(x)` by the time
of `launches`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from minigrad.kernels.instructions import Declined, Drawn, NotByGroup
from minigrad.kernels.layouts import Empty
from minigrad.random import Key

__all__ = [
    "C_TYPES", "Eager", "Empty", "Kernel", "Launch", "Page", "Stand", "address", "aligned",
]  # fmt: skip

# dtypes as sources name them. bfloat16 and float16 are structs of `common.cuh`.
C_TYPES = {
    "float32": "float", "float64": "double", "float16": "f16", "bfloat16": "bf16",
    "int64": "i64", "int32": "int", "bool": "bool", "uint8": "u8", "int16": "short",
    "int8": "signed char",
}  # fmt: skip


class Page:
    """The CUDA source of a page, behind the text of `common.cuh`.

    Attributes:
        name: of the file beside this one, without `.cu`.
        text: what was made, and comes behind it.
        shared: of a file with `.cuh` that several pages have before theirs, if there is one.
    """

    def __init__(self, name: str, text: str = "", shared: str = ""):
        self.name, self.text, self.shared = name, text, shared
        self._more: dict[str, Page] = {}

    def plus(self, text: str) -> "Page":
        """The page with more text behind it; for equal texts the same, so it is compiled once."""
        if text not in self._more:
            self._more[text] = Page(self.name, self.text + text, self.shared)
        return self._more[text]

    def source(self, define: tuple[tuple[str, str], ...]) -> str:
        """The whole text; `define` are names with what they stand for in the page."""
        lines = "".join(f"#define {name} {text}\n" for name, text in define)
        shared = _text(f"{self.shared}.cuh") if self.shared else ""
        return _text("common.cuh") + lines + shared + _text(f"{self.name}.cu") + self.text

    def __repr__(self) -> str:
        return f"<page {self.name}.cu>"


@cache
def _text(file: str) -> str:
    return (resources.files("minigrad.kernels.cuda") / file).read_text(encoding="utf-8")


def definitions(define: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """`define` in words of C: a dtype stands for its name there, True for 1."""
    return tuple((name, _in_c(x)) for name, x in define.items())


def _in_c(x: Any) -> str:
    if isinstance(x, np.dtype):
        return C_TYPES[x.name]
    return str(int(x) if isinstance(x, bool) else x)


def address(x: Any) -> int:
    """Where an array begins: on the device, or in a program's memory."""
    return x.address if hasattr(x, "address") else x.data.ptr


def aligned(*arrays: Any, to: int = 16) -> bool:
    """Whether all arrays begin at multiples of `to` bytes."""
    return not any(address(x) % to for x in arrays if x is not None)


@dataclass(frozen=True)
class Launch:
    """One launch of a function of a page.

    Attributes:
        page, function: which.
        define: what the page is compiled with, by name: dtypes, integers, names.
        grid, block: blocks, and threads of a block; an integer stands for one axis.
        args: arrays and values (their addresses go), None for a null pointer; Python's integers go
            as `i64`, its floats as `double`, NumPy's numbers as they are.
        shared: bytes of dynamic shared memory (`DYNAMIC_SHARED` in the source).
    """

    page: Page
    function: str
    define: Mapping[str, Any]
    grid: int | tuple[int, ...]
    block: int | tuple[int, ...]
    args: tuple[Any, ...]
    shared: int = 0

    def ready(self) -> Callable[[], None]:
        """Compile it and look up addresses; what is returned launches it on the current stream."""
        function = _function(self.page, self.function, definitions(self.define), self.shared)
        grid, block = ((x,) if isinstance(x, int) else tuple(x) for x in (self.grid, self.block))
        args = tuple(map(_argument, self.args))

        def launch() -> None:  # it keeps the arrays alive, with `self`
            function(grid, block, args, shared_mem=self.shared)

        return launch


def _argument(x: Any) -> Any:
    if x is None:
        return 0  # a null pointer, of 64 bits
    if isinstance(x, int | float | np.generic):
        return x
    return address(x)


@cache
def _module(page: Page, define: tuple[tuple[str, str], ...]) -> Any:
    import cupy

    return cupy.RawModule(code=page.source(define), options=("--std=c++17",))


@cache
def _function(page: Page, name: str, define: tuple[tuple[str, str], ...], shared: int) -> Any:
    function = _module(page, define).get_function(name)
    if shared > 48 * 1024:  # which a kernel has to ask for
        function.max_dynamic_shared_size_bytes = shared
    return function


class Eager:
    """Who asks for launches where a kernel is called on arrays, and not by a program.

    Attributes:
        scratch: arrays of what `Kernel.scratch` told, in order.
    """

    program = False

    def __init__(self, scratch: Iterable[Any]):
        import cupy

        self.scratch = [cupy.empty(like.shape, like.dtype) for like in scratch]

    def key(self, key: Key | Drawn) -> tuple[Any, int, int]:
        """A key as three arguments: an address of two `i64` or null, and else the two words."""
        assert isinstance(key, Key)  # keys that a run draws are a program's
        return None, key.low, key.high

    def owns(self, *values: Any) -> bool:
        """Whether one of them is a group's own (`Groups` of programs)."""
        return False

    def table(self, value: Any) -> Any:
        """The addresses of a value in each group, as `i64` on the device.

        Raises:
            NotByGroup: it is not a group's own, or a part of it.
        """
        raise NotByGroup

    def groups(self, rows: int) -> tuple[int, Any, int]:
        """How many groups; where each one's samples begin, as `i64` on the device; how many of
        `rows` a sample has.

        Raises:
            NotByGroup: the rows are not those of samples.
        """
        raise NotByGroup

    def words(self, numbers: Sequence[int]) -> Any:
        """Integers as `i64` on the device."""
        import cupy

        return cupy.asarray(np.array(numbers, np.int64))

    def status(self) -> Any:
        """Where a fault is written down: its first `i64` is 0 while there is none."""
        from minigrad.kernels.cuda.faults import words

        return words()

    def fault(self, tell: Callable[[int, int], Exception]) -> tuple[Any, int]:
        """Two arguments for `fault(status, number, position, value)` of a source.

        `tell(position, value)` makes the error, raised at the next transfer.
        """
        from minigrad.kernels.cuda.faults import note, words

        return words(), note(tell)


class Kernel:
    """A kernel of a page: which arrays it takes, and its launches.

    Four functions are given to it by decorators:

    accepts     `f(*inputs, **params)`: what comes out, as one thing with `shape` and `dtype` for
                each output, an input itself if it is like it; None to decline.
    launches    `f(p, outputs, *inputs, **params)`: gives each `Launch`, or whatever has a `ready`
                that gives a function to be called. `p` is who asks: see `Eager`. Raises `Declined`
                for what shows only in the outputs.
    scratch     `f(*inputs, **params)`: what it needs of memory meanwhile, as a tuple of `Empty`.
    examples    `f(dtype)`: pairs of inputs (`Empty` stands for an array) and params, which
                between them take every function and every set of definitions. Tests compile them.
                Without `accepts` the last of the inputs is what comes out; with it, a third thing
                beside inputs and params, if there is one.

    Attributes:
        dtypes: of floats, by their names, that examples are made for.
        strided: whether outputs of programs may lie in any layout; else they are C-contiguous.
        by_group: whether it can be told that rows belong to groups, and which have what.
    """

    strided = False

    def __init__(
        self,
        name: str,
        page: Page,
        dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16"),
        by_group: bool = False,
    ):
        self.name = self.__name__ = name
        self.page, self.dtypes, self.by_group = page, dtypes, by_group
        self.outputs: Any = None  # what `accepts` was given
        self._launches: Callable[..., Iterator[Any]] | None = None
        self._scratch: Callable[..., tuple] = lambda *inputs, **params: ()
        self._examples: Callable[[Any], Iterator[tuple[Any, ...]]] | None = None
        KERNELS.append(self)

    def accepts(self, function: Callable) -> Callable:
        """Decorator: see the class."""
        self.outputs = function
        return function

    def launches(self, function: Callable) -> Callable:
        """Decorator: see the class."""
        self._launches = function
        return function

    def scratch(self, function: Callable) -> Callable:
        """Decorator: see the class."""
        self._scratch = function
        return function

    def examples(self, function: Callable) -> Callable:
        """Decorator: see the class."""
        self._examples = function
        return function

    def needs(self, *inputs: Any, **params: Any) -> tuple:
        """What it needs of memory meanwhile, as things with shape and dtype."""
        return self._scratch(*inputs, **params)

    def launched(self, p: Any, outputs: list, /, *inputs: Any, **params: Any) -> list[Any]:
        """Its launches.

        Raises:
            Declined: it does not take these after all.
        """
        assert self._launches is not None
        return list(self._launches(p, outputs, *inputs, **params))

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        return self.call(*inputs, **params)

    def call(self, *inputs: Any, **params: Any) -> Any:
        """The result on CuPy arrays, or NotImplemented."""
        import cupy

        like = self.outputs(*inputs, **params)
        if like is None:
            return NotImplemented
        many = type(like) is tuple
        outputs = [cupy.empty(v.shape, v.dtype) for v in (like if many else (like,))]
        try:
            found = self.launched(Eager(self.needs(*inputs, **params)), outputs, *inputs, **params)
        except Declined:
            return NotImplemented
        for launch in found:
            launch.ready()()
        return tuple(outputs) if many else outputs[0]

    def compiled_with(self, begin: int = 1 << 20) -> Iterator[Launch]:
        """The launches of all examples, on arrays that are not there: what there is to compile.

        Args:
            begin: the address of the arrays of `Empty`; what is declined because of it is left out.
        """
        if self._examples is None:
            return

        def stand(x: Any) -> Any:
            return Stand(x.shape, x.dtype, begin) if isinstance(x, Empty) else x

        for dtype in self.dtypes:
            for inputs, params, *told in self._examples(_dtype(dtype)):
                given = [stand(x) for x in inputs]
                if told:
                    (like,) = told
                elif self.outputs is None:
                    *given, like = given
                else:
                    like = self.outputs(*given, **params)
                assert like is not None, f"{self.name} declines its own example"
                likes = like if type(like) is tuple else (like,)
                asks = Nobody(self.needs(*given, **params))
                outputs = [v if type(v) is Stand else Stand(v.shape, v.dtype, begin) for v in likes]
                try:
                    found = self.launched(asks, outputs, *given, **params)
                except Declined:
                    if begin % 16 == 0:
                        raise
                    continue
                yield from (x for x in found if isinstance(x, Launch))


KERNELS: list[Kernel] = []  # of all pages that were imported


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes  # which makes NumPy know it

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


@dataclass
class Stand:
    """In place of an array, where a kernel is only compiled.

    Attributes:
        steps: its strides; by default those of a C-contiguous array.
        by_group: whether each group of rows has one of its own.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    address: int = field(default=1 << 20)
    steps: tuple[int, ...] | None = None
    by_group: bool = False

    size = property(lambda self: math.prod(self.shape))
    ndim = property(lambda self: len(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    flags = property(lambda self: self)
    c_contiguous = True

    @property
    def strides(self) -> tuple[int, ...]:
        if self.steps is not None:
            return self.steps
        steps = [self.dtype.itemsize]
        for n in self.shape[:0:-1]:
            steps.append(steps[-1] * n)
        return tuple(steps[: len(self.shape)][::-1])


class Nobody(Eager):
    """Who asks where a kernel is only compiled."""

    def __init__(self, scratch: Iterable[Any]):
        self.scratch = [Stand(x.shape, x.dtype) for x in scratch]

    def owns(self, *values: Any) -> bool:
        return any(type(v) is Stand and v.by_group for v in values)

    def table(self, value: Any) -> Any:
        if not self.owns(value):
            raise NotByGroup
        return Stand((3,), np.dtype("int64"))

    def status(self) -> Any:
        return None

    def words(self, numbers: Sequence[int]) -> Any:
        return Stand((len(numbers),), np.dtype("int64"))

    def groups(self, rows: int) -> tuple[int, Any, int]:
        return 3, Stand((4,), np.dtype("int64")), 1

    def fault(self, tell: Callable[[int, int], Exception]) -> tuple[Any, int]:
        return None, 0

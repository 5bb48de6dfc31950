"""An ONNX graph in the making. The one file that asks for the `onnx` library."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import ExportError
from minigrad.export.comparing import Constant, Filled, Numbers, Range, Table, Triangle
from minigrad.export.sizes import Root, Size

OPSET = 18
IR_VERSION = 8  # the one that came with this opset
LARGEST = 2**31 - 2**20  # bytes: a protobuf has at most 2 GiB

INT64 = np.dtype(np.int64)
# In what to compute, where runtimes have no kernel for a dtype.
LIFTED: dict[str, Any] = {
    "bool": np.int32, "float16": np.float32, "int32": np.int64, "uint64": np.int64,
}  # fmt: skip
ENDS = np.iinfo(np.int64)


def library() -> Any:
    """The `onnx` library.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "export.onnx needs the onnx library: pip install 'minigrad[onnx]', or pip install onnx",
            name=error.name,
        ) from error
    import onnx.checker
    import onnx.helper
    import onnx.numpy_helper

    return onnx


class Term(NamedTuple):
    """An array in the graph: its name, its dtype, and its shape where that matters.

    Attributes:
        shape: ints and Sizes, None for a length that cannot be expressed; None if nobody has said.
    """

    name: str
    dtype: np.dtype
    shape: tuple | None = None

    @property
    def ndim(self) -> int:
        assert self.shape is not None
        return len(self.shape)


class Builder:
    """Nodes and constants in order.

    Attributes:
        scope: how the names of what is added begin.
    """

    def __init__(self) -> None:
        self.onnx = library()
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.sources: dict[str, tuple[Term, int]] = {}  # of a named length: whose, which axis
        self.scope = ""
        self._taken: set[str] = set()
        self._numbers: dict[tuple, Term] = {}
        self._made: dict[Any, Term] = {}

    def name(self, wanted: str) -> str:
        """`wanted`, or the like of it, if that is taken."""
        found, i = wanted, 1
        while found in self._taken:
            found, i = f"{wanted}_{i}", i + 1
        self._taken.add(found)
        return found

    def node(
        self, kind: str, *inputs: Term | None, dtype: Any = None, shape: Any = None,
        outputs: int = 1, **attributes: Any,
    ) -> Any:  # fmt: skip
        """Add a node; its output, with the dtype of its first input unless another is given.

        Of several outputs, a tuple; all have one dtype.
        """
        dtype = inputs[0].dtype if dtype is None and inputs[0] is not None else np.dtype(dtype)
        label = self.name(f"{self.scope}/{kind}")
        names = [self.name(f"{label}_output_{i}") for i in range(outputs)]
        given = [x.name if x is not None else "" for x in inputs]
        while not given[-1]:  # what is left out at the end is not there
            given.pop()
        settings = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(self.onnx.helper.make_node(kind, given, names, label, **settings))
        found = tuple(Term(name, dtype, shape) for name in names)
        return found[0] if outputs == 1 else found

    # -- constants

    def constant(self, array: Any, dtype: Any = None, name: str | None = None) -> Term:
        """An array that is part of the file."""
        array = np.asarray(array, dtype)
        if array.dtype.kind not in "fiub":
            raise ExportError(f"export.onnx: {array.dtype} is not supported; use float32 instead")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if name is None and key in self._numbers:
            return self._numbers[key]
        label = self.name(name or f"constant_{len(self.weights)}")
        self.weights[label] = array
        found = Term(label, array.dtype, array.shape)
        if name is None and key is not None:
            self._numbers[key] = found
        return found

    def ints(self, values: Iterable[Any]) -> Term:
        """Whole numbers and Sizes as a vector of int64."""
        values = list(values)
        if not any(type(v) is Size for v in values):
            return self.constant(np.array(values, np.int64))
        parts, run = [], []  # runs of plain numbers are one constant
        for v in values:
            if type(v) is not Size:
                run.append(v)
                continue
            if run:
                parts.append(self.constant(np.array(run, np.int64)))
            parts.append(self.size(v))
            run = []
        if run:
            parts.append(self.constant(np.array(run, np.int64)))
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def size(self, size: Size) -> Term:
        """A Size as a vector of one int64."""
        if size not in self._made:
            scope, self.scope = self.scope, "sizes"
            total = None
            for names, factor in size.terms.items():
                term = None if names and factor == 1 else self.constant([factor], np.int64)
                for name in names:
                    length = self._length(name)
                    term = length if term is None else self.node("Mul", term, length)
                total = term if total is None else self.node("Add", total, term)
            self.scope = scope
            self._made[size] = total  # type: ignore[assignment]
        return self._made[size]

    def _length(self, name: str) -> Term:
        if name not in self._made:
            source, axis = self.sources[name]
            self._made[name] = self.node(
                "Shape", source, dtype=INT64, start=axis, end=axis + 1, shape=(1,)
            )
        return self._made[name]

    def number(self, x: Any, dtype: Any) -> Term:
        """A number, a Size or a Root, without axes."""
        dtype = np.dtype(dtype)
        if type(x) is Size:
            return self.cast(self.node("Squeeze", self.size(x), self.ints([0])), dtype)
        if type(x) is Root:
            base = self.number(x.size, np.float64)
            power = self.node("Pow", base, self.constant(x.power, np.float64))
            return self.cast(self.node("Mul", power, self.constant(x.factor, np.float64)), dtype)
        return self.constant(x, dtype)

    def cast(self, x: Any, dtype: Any) -> Term:
        """A Term or a number in a dtype."""
        dtype = np.dtype(dtype)
        if type(x) is not Term:
            return self.number(x, dtype)
        if x.dtype == dtype:
            return x
        return self.node("Cast", x, dtype=dtype, shape=x.shape, to=self.kind(dtype))

    def kind(self, dtype: Any) -> int:
        """ONNX's number of a dtype."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    # -- constants that grow

    def grown(self, x: Any) -> Term:
        """An array of the model's that is no parameter, as `comparing` has found it."""
        if x not in self._made:
            scope, self.scope = self.scope, "constants"
            self._made[x] = self._grown(x)
            self.scope = scope
        return self._made[x]

    def _grown(self, x: Any) -> Term:
        if type(x) is Constant:
            return self.constant(x.array)
        if type(x) is Filled:
            y = self.node("Expand", self.constant(x.number, x.dtype), self.ints(x.shape))
        elif type(x) is Range:
            [n] = [n for n in x.shape if n != 1]
            wide = np.int64 if x.dtype.kind in "iu" else np.float64
            y = self.cast(self.arange(n), wide)
            y = self.node("Mul", y, self.number(x.step, wide))
            y = self.node("Add", y, self.number(x.start, wide))
            y = self.node("Reshape", self.cast(y, x.dtype), self.ints(x.shape), allowzero=1)
        elif type(x) is Triangle:
            rows, columns = (self.arange(n) for n in x.shape[-2:])
            ends = self.node("Add", rows, self.constant(x.k, np.int64))
            below = self.node(
                "LessOrEqual", columns, self.node("Unsqueeze", ends, self.ints([1])), dtype=bool
            )
            low, high = self.constant(x.low, x.dtype), self.constant(x.high, x.dtype)
            y = self.choice(below, low, high)
            y = self.node("Reshape", y, self.ints(x.shape), allowzero=1)
        elif type(x) is Numbers:
            parts = [self.node("Unsqueeze", self.number(n, x.dtype), self.ints([0]))
                     for n in x.numbers]  # fmt: skip
            y = parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)
            y = self.node("Reshape", y, self.ints(x.shape), allowzero=1)
        else:
            assert type(x) is Table
            # Not a slice: that would give less where there is no more, and nobody would know. As
            # int32, since onnxruntime makes a slice of a look-up at a plain range.
            y = self.constant(x.array)
            for axis, n in enumerate(x.shape):
                if type(n) is Size:
                    y = self.node("Gather", y, self.cast(self.arange(n), np.int32), axis=axis)
        return y._replace(shape=x.shape)

    def arange(self, n: Any) -> Term:
        """0 .. n - 1, int64."""
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        return self.node("Range", zero, self.number(n, np.int64), one)

    # -- what several translations need

    def choice(self, condition: Term, a: Term, b: Term) -> Term:
        """`a` where the condition holds, else `b`; of one dtype. (Where is not for all dtypes.)"""
        condition = self.cast(condition, bool)
        if a.dtype.kind == "b":
            yes = self.node("And", condition, a)
            return self.node("Or", yes, self.node("And", self.node("Not", condition), b))
        return self.through(lambda *xs: self.node("Where", condition, *xs, dtype=xs[0].dtype), a, b)

    def through(self, function: Any, *xs: Term, also: Sequence[str] = ()) -> Term:
        """`function` of arrays of one dtype, computed in one that runtimes have kernels for.

        Args:
            also: further dtypes for which there is none: those of `LIFTED`. (Of int64 sums and
                products have the bits that those of uint64 have.)
        """
        dtype = xs[0].dtype
        wide = LIFTED[dtype.name] if dtype.name in also else None
        if wide is None and dtype.kind in "iu" and dtype.itemsize < 4:
            wide = np.int32
        wide = INT64 if dtype == np.uint32 else np.dtype(wide or dtype)
        return self.cast(function(*(self.cast(x, wide) for x in xs)), dtype)

    def endless(self, x: Term) -> Term:
        """Where `x` is infinite."""
        half = x.dtype == np.float16  # which IsInf does not take
        return self.node("IsInf", self.cast(x, np.float32) if half else x, dtype=bool)

    def reshape(self, x: Term, shape: Sequence[Any]) -> Term:
        """`x` in another shape; one length may be -1."""
        y = self.node("Reshape", x, self.ints(shape), allowzero=1)
        return y._replace(shape=tuple(shape))

    def transpose(self, x: Term, perm: Sequence[int]) -> Term:
        if list(perm) == sorted(perm):
            return x
        shape = None if x.shape is None else tuple(x.shape[a] for a in perm)
        return self.node("Transpose", x, perm=list(perm), shape=shape)

    def shape_of(self, x: Term, start: int = 0, end: int | None = None) -> Term:
        """The lengths of axes of `x`, whatever they will be, as a vector of int64."""
        return self.node("Shape", x, dtype=INT64, start=start, end=end)

    # -- the file

    def model(self, inputs: Sequence[Term], outputs: Sequence[Term], about: Mapping[str, str]):
        """The whole, checked.

        Raises:
            ExportError: it is too large, or not a valid model.
        """
        size = math.fsum(w.nbytes for w in self.weights.values())
        if size > LARGEST:
            raise ExportError(
                f"export.onnx: the arrays have {size / 2**30:.1f} GiB, and an ONNX file has at "
                f"most 2; export the parts of the model one by one"
            )
        helper, to_tensor = self.onnx.helper, self.onnx.numpy_helper.from_array
        graph = helper.make_graph(
            self.nodes,
            "minigrad",
            [self._info(x) for x in inputs],
            [self._info(x) for x in outputs],
            [to_tensor(np.ascontiguousarray(w), name) if w.ndim else to_tensor(w, name)
             for name, w in self.weights.items()],
        )  # fmt: skip
        model = helper.make_model(
            graph, producer_name="minigrad",
            opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        )  # fmt: skip
        helper.set_model_props(model, dict(about))
        try:
            self.onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # the checker's, or that of shape inference
            raise ExportError(f"export.onnx: the graph is not valid ONNX: {error}") from error
        return model

    def _info(self, x: Term) -> Any:
        assert x.shape is not None
        shape = [n if n is None or isinstance(n, int) else str(n) for n in x.shape]
        return self.onnx.helper.make_tensor_value_info(x.name, self.kind(x.dtype), shape)

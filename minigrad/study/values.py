"""Arrays of a record: copied when they were seen; as text, all numbers or a picture of them."""

import base64
import functools
import hashlib
import math
from typing import Any

import numpy as np

from minigrad.backend import describe, is_array, to_numpy
from minigrad.batched import base
from minigrad.errors import DataError
from minigrad.sparse import SparseRows

SIDE = 24  # of a picture, at most
FIGURES = ("low", "high", "mean", "std", "zeros", "nan", "infinite")
_NOT_FINITE = 255  # in a picture


class Value:
    """One state of one array.

    Attributes:
        array: a copy of it; None where only `figures` are kept of a large one.
        made: the step that computed it; None for one from outside.
        leaf: which leaf it is a state of; None for one that a step computed.
        figures: statistics and a picture, once they were asked for.
        digest: of the bits, where the array is not kept.
    """

    # Of the class, as there are thousands of values, most of which never have any.
    figures: dict[str, Any] | None = None
    digest: bytes | None = None
    _layout: tuple[tuple[int, ...], str] | None = None

    def __init__(self, array: np.ndarray | None, made: int | None = None, leaf: int | None = None):
        self.array, self.made, self.leaf = array, made, leaf

    @classmethod
    def described_only(cls, shape: tuple[int, ...], dtype: str, figures: dict[str, Any]) -> "Value":
        """One of which there are statistics and a picture."""
        value = cls(None)
        value._layout, value.figures = (shape, dtype), figures
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's; under `vmap` with the hidden axes in front."""
        return self._layout[0] if self.array is None else self.array.shape  # type: ignore[index]

    @property
    def dtype(self) -> str:
        """The name of the array's dtype."""
        if self.array is None:
            return self._layout[1]  # type: ignore[index]
        return name_of(self.array.dtype)

    def numbers(self) -> np.ndarray:
        """The array.

        Raises:
            DataError: it was too large to be kept.
        """
        if self.array is None:
            raise DataError(
                f"of this {self.dtype} {self.shape} the record has statistics and a picture only "
                f"(.figures); record it again, and save it with a larger `full`"
            )
        self.array = to_numpy(self.array)
        return self.array

    def shrink(self) -> None:
        """Keep statistics and a picture only."""
        self.figures, self.digest = self.described(), _digest(self.numbers())
        self._layout, self.array = (self.shape, self.dtype), None

    def differs(self, x: np.ndarray) -> bool:
        """Whether an array of the same shape and dtype has other bits by now."""
        if self.array is None:
            return _digest(x) != self.digest
        return x.tobytes() != self.array.tobytes()

    def described(self) -> dict[str, Any]:
        """Statistics and a picture."""
        if self.figures is None:
            self.figures = figures_of(self.numbers())
        return self.figures

    def norm(self) -> float:
        """The root of the sum of its squares."""
        if self.array is not None:
            x = widened(self.numbers()).astype(np.float64).reshape(-1)
            with np.errstate(all="ignore"):
                size = float(np.abs(x).max(initial=0))
                if not 1e-150 < size < 1e150 and 0 < size < math.inf:  # squares would not fit
                    return float(size * np.sqrt((x / size) @ (x / size)))
                return float(np.sqrt(x @ x))
        figures = self.described()
        mean, std = figures["mean"], figures["std"]
        if mean is None or std is None or figures["nan"] or figures["infinite"]:
            return math.nan
        try:
            return math.sqrt(math.prod(self.shape)) * math.hypot(std, mean)
        except OverflowError:
            return math.inf

    def __repr__(self) -> str:
        return f"<value {self.dtype} {self.shape}>"


def copy_of(x: Any) -> Any:
    """A copy of what an op was given or gave, where it lies; under `vmap` of all examples.

    The rows of a sparse gradient are written out.
    """
    x = base(x)
    return x.to_dense() if type(x) is SparseRows else x.copy()


@functools.cache
def name_of(dtype: np.dtype) -> str:
    """Of a dtype, in whichever order its bytes are; NumPy puts it together anew each time."""
    return dtype.name


def _digest(x: np.ndarray) -> bytes:
    return hashlib.blake2b(x.tobytes(), digest_size=16).digest()


def widened(x: np.ndarray) -> np.ndarray:
    """Floats that NumPy does not know well, such as bfloat16, as float32."""
    return x.astype(np.float32) if x.dtype.kind == "V" or x.dtype == np.float16 else x


def figures_of(x: np.ndarray) -> dict[str, Any]:
    """Statistics of the finite elements, how many are not, and a picture."""
    x = widened(x)
    floats = x.dtype.kind == "f"
    finite = x[np.isfinite(x)] if floats else x
    found: dict[str, Any] = dict.fromkeys(FIGURES[:4])
    if finite.size:
        with np.errstate(all="ignore"):
            wide = finite.astype(np.float64)
            numbers = (finite.min(), finite.max(), wide.mean(), wide.std())
        found = {
            name: _short(float(n)) if np.isfinite(n) else None
            for name, n in zip(found, numbers, strict=True)
        }
    return {
        **found,
        "zeros": int((x == 0).sum()),
        "nan": int(np.isnan(x).sum()) if floats else 0,
        "infinite": int(np.isinf(x).sum()) if floats else 0,
        "picture": picture_of(x),
    }


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns as which an array is drawn: leading axes fold into rows."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def picture_of(x: np.ndarray) -> dict[str, Any]:
    """Means over blocks, at most `SIDE` each way, in 255 steps from the lowest to the highest."""
    m = x.reshape(as_matrix(x.shape)).astype(np.float64)
    for axis in (0, 1):
        n = m.shape[axis]
        if n > SIDE:
            cuts = np.arange(SIDE) * n // SIDE
            widths = np.diff([*cuts, n])
            with np.errstate(all="ignore"):
                m = np.add.reduceat(m, cuts, axis=axis)
            m = m / (widths[:, None] if axis == 0 else widths)
    finite = np.isfinite(m)
    low, high = (float(m[finite].min()), float(m[finite].max())) if finite.any() else (0.0, 0.0)
    levels = np.full(m.shape, _NOT_FINITE, np.uint8)
    span = high / 2 - low / 2  # half of it: the whole may be beyond the largest float
    if span > 0:
        levels[finite] = np.rint((m[finite] / 2 - low / 2) / span * 254)
    else:
        levels[finite] = 127
    return {
        "shape": list(m.shape),
        "low": _short(low),
        "high": _short(high),
        "data": _encoded(levels),
    }


def _short(x: float) -> float:
    """As many digits as a float32 has."""
    return float(f"{x:.9g}")


def to_json(value: Value, full: int) -> dict[str, Any]:
    """A value as a record has it: all its numbers, or if there are more than `full`, figures."""
    found: dict[str, Any] = {
        "shape": list(value.shape), "dtype": value.dtype, "made": value.made, "leaf": value.leaf,
    }  # fmt: skip
    if value.array is not None and math.prod(value.shape) <= full:
        return {**found, "data": _encoded(value.numbers())}
    return {**found, **value.described()}


def from_json(found: dict[str, Any]) -> Value:
    """The value that `to_json` has written."""
    shape, dtype = tuple(found["shape"]), found["dtype"]
    if "data" in found:
        raw = base64.b64decode(found["data"], validate=True)
        return Value(_decoded(raw, dtype).reshape(shape), found["made"], found["leaf"])
    own = ("shape", "dtype", "made", "leaf")
    figures = {k: v for k, v in found.items() if k not in own}
    value = Value.described_only(shape, dtype, figures)
    value.made, value.leaf = found["made"], found["leaf"]
    return value


def _encoded(x: np.ndarray) -> str:
    """The bytes of an array, little end first, in base64."""
    if x.dtype.kind != "V":
        x = x.astype(x.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(x).tobytes()).decode("ascii")


def _decoded(raw: bytes, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        import ml_dtypes  # which whoever recorded one had, too

        return np.frombuffer(raw, ml_dtypes.bfloat16).copy()
    little = np.dtype(dtype).newbyteorder("<")
    return np.frombuffer(raw, little).astype(dtype)  # a copy, in this machine's order


def shown(x: Any) -> str:
    """A parameter of an op as text, short."""
    if x is None or type(x) in (int, bool, float):
        return repr(x)
    text = describe(x) if is_array(x) else repr(x)
    return text if len(text) <= 200 else f"{text[:200]}..."


def layout_of(v: Value) -> str:
    """Its dtype and shape, short."""
    return f"{v.dtype}{list(v.shape)}"

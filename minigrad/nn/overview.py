"""What a model looks like: the shapes that go through it, and the numbers that it holds."""

import copy
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minigrad import random
from minigrad.abstract import Abstract
from minigrad.autodiff import Tensor, no_grad, wrap
from minigrad.backend import array_module
from minigrad.errors import ShapeError

if TYPE_CHECKING:
    from minigrad.nn.module import Module

# ------------------------------------------------------------------------------ shapes of outputs

_BATCH = 9973  # a length that nothing else has, so that it is found again


def shapes(
    model: "Module", input_shape: Any, dtype: Any = "float32"
) -> dict[str, tuple[int | str, ...] | Any]:
    """The shape that each module below gives for inputs of `input_shape`, by its full name.

    Nothing is computed: the model is called once, in eval mode, with arrays that have no numbers
    (`minigrad.abstract`). A module that is called several times has the shape of the last call.

    Args:
        input_shape: of an example, without the batch; or a list of such, one for each input.
        dtype: of the inputs, or one for each: 'int64' for ids.

    Returns:
        {name: shape}, in the order of the calls' ends, that of the model itself, '', last; 'N'
        stands for the length of the batch. Several outputs have a tuple of shapes.

    Raises:
        ShapeError: a layer does not take what comes; or the model wants to know a value.
    """
    several = isinstance(input_shape, list) and not all(isinstance(n, int) for n in input_shape)
    inputs = input_shape if several else [input_shape]
    kinds = list(dtype) if isinstance(dtype, list | tuple) else [dtype] * len(inputs)
    if len(kinds) != len(inputs):
        raise ShapeError(f"shapes: {len(kinds)} dtypes for {len(inputs)} inputs; give one each")
    given = [
        wrap(Abstract((_BATCH, *((s,) if isinstance(s, int) else s)), kind))
        for s, kind in zip(inputs, kinds, strict=True)
    ]
    if any(m.unmade for m in model.modules()):
        model = copy.deepcopy(model)  # lazy layers stay as they are
    found: dict[str, Any] = {}
    removers = []
    for name, module in model.named_modules():

        def note(_module: Any, _args: Any, y: Any, name: str = name) -> None:
            found.pop(name, None)
            found[name] = _shapes_of(y)

        removers.append(module.register_forward_hook(note))
    try:
        # A stream of its own: the caller's is not used up.
        with model.in_mode(training=False), no_grad(), random.stream(0):
            model(*given)
    finally:
        for remove in removers:
            remove()
    return found


def _shapes_of(y: Any) -> Any:
    if isinstance(y, Mapping):
        return {name: _shapes_of(v) for name, v in y.items()}
    if isinstance(y, tuple | list):
        return tuple(map(_shapes_of, y))
    if not hasattr(y, "shape"):
        return type(y).__name__
    return tuple(_length(n) for n in y.shape)


def _length(n: int) -> int | str:
    if n and n % _BATCH == 0:
        return "N" if n == _BATCH else f"{n // _BATCH}N"
    return n


def _shown(shape: Any) -> str:
    if isinstance(shape, Mapping):
        return ", ".join(f"{name} {_shown(s)}" for name, s in shape.items())
    if isinstance(shape, tuple) and any(isinstance(s, tuple) for s in shape):
        return ", ".join(map(_shown, shape))
    return f"({', '.join(map(str, shape))})" if isinstance(shape, tuple) else str(shape)


# ----------------------------------------------------------------------------- numbers in arrays


def statistics(array: Any) -> dict[str, float]:
    """Mean, (population) standard deviation, least and largest element, and how many are not 0.

    Computed in float64. Of no elements there are NaN and 0.
    """
    if not math.prod(array.shape):
        return {"mean": math.nan, "std": math.nan, "min": math.nan, "max": math.nan, "non-zeros": 0}
    xp = array_module(array)
    wide = array.astype("float64")
    with xp.errstate(all="ignore") if hasattr(xp, "errstate") else no_grad():
        return {
            "mean": float(wide.mean()),
            "std": float(wide.std()),
            "min": float(wide.min()),
            "max": float(wide.max()),
            "non-zeros": int((wide != 0).sum()),
        }


def _arrays(model: "Module") -> Iterator[tuple[str, Tensor, str]]:
    """(name, tensor, remark) of each parameter, then of each buffer."""
    for name, p in model.named_parameters():
        yield name, p, "" if p.requires_grad else " (frozen)"
    for name, b in model.named_buffers():
        yield name, b, " (buffer)"


def size_of(model: "Module") -> tuple[int, int]:
    """How many numbers the parameters of a model have so far, and how many bytes they take."""
    tensors = model._parameters(complete=False).values()
    return sum(p.size for p in tensors), sum(p.data.nbytes for p in tensors)


def line_of(tensor: Tensor) -> str:
    """'float32 (10, 2), mean 0.1, ...': what a `repr` says about an array."""
    parts = [f"{name} {value:.3g}" for name, value in list(statistics(tensor.data).items())[:-1]]
    return ", ".join(
        [
            f"{tensor.dtype} {tensor.shape}",
            *(parts if tensor.size else []),
            f"non-zeros {statistics(tensor.data)['non-zeros']:,}",
            f"count {tensor.size:,}",
            f"bytes {tensor.data.nbytes:,}",
        ]
    )


# -------------------------------------------------------------------------------------- tables


def summary(model: "Module", input_shape: Any = None, dtype: Any = "float32") -> str:
    """Tables of a model: what its layers give, and what its arrays hold.

    Args:
        input_shape: of an example, without the batch, or a list of such: then there is a table of
            the layers in the order in which they are called, see `shapes`. Without it, there is
            only that of the arrays.
        dtype: of the inputs.

    Raises:
        StateError: a lazy layer has no arrays yet; `shapes` needs none.
    """
    arrays = list(_arrays(model))
    count, size = size_of(model)
    tables = []
    if input_shape is not None:
        tables.append(_layers(model, shapes(model, input_shape, dtype)))
    rows: list[tuple[str, ...]] = [
        ("parameter", "shape", "dtype", "mean", "std", "min", "max", "non-zeros", "count", "bytes")
    ]
    for name, x, remark in arrays:
        numbers = statistics(x.data)
        nonzero = f"{numbers.pop('non-zeros'):,}"
        rows.append(
            (
                name + remark, str(x.shape), str(x.dtype),
                *(f"{v:.3g}" if x.size else "-" for v in numbers.values()),
                nonzero, f"{x.size:,}", f"{x.data.nbytes:,}",
            )
        )  # fmt: skip
    total = (f"total of {type(model).__name__}", *[""] * 7, f"{count:,}", f"{size:,}")
    tables.append(table([*rows, total], left=3))
    return "\n\n".join(tables)


def _layers(model: "Module", found: dict[str, Any]) -> str:
    kinds = dict(model.named_modules())
    rows: list[tuple[str, ...]] = [("layer", "kind", "output", "count")]
    for name, shape in found.items():
        own = sum(p.size for p in vars(kinds[name]).values() if type(p) is Tensor and p.name)
        label = name or "(model)"
        whole = size_of(model)[0] if not name else own
        rows.append((label, type(kinds[name]).__name__, _shown(shape), f"{whole:,}"))
    return table(rows, left=3)


def table(rows: Sequence[Sequence[str]], left: int) -> str:
    """Rows of cells as lines, the first `left` columns to the left, the others to the right."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]

    def cells(row):
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - columns(cell))
            yield cell + gap if i < left else gap + cell

    return "\n".join("  ".join(cells(row)).rstrip() for row in rows)


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for each wide character, as in 日本."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

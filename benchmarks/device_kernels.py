"""Kernels for CUDA as cases: what they get, what must come out, and what they move or multiply.

`benchmarks.kernels --device cuda` goes through all of them, `benchmarks.gpu` through those that the
project has a target for. Each is verified by its formula before it is timed, by events on the
device's own clock.
"""

import statistics
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import ops, optim
from minigrad.backend import to_numpy
from minigrad.kernels import find

MIB = 1 << 20
TARGET = 0.8  # share of the copy's bandwidth


@dataclass
class Case:
    """One kernel on arrays that are there.

    Attributes:
        name, shape, dtype: in words.
        call: launches it.
        found: what it writes.
        wanted: gives what must be there after the first call.
        bytes, products: to move at least; multiplications and additions.
    """

    name: str
    shape: str
    dtype: str
    call: Callable[[], Any]
    found: list[Any]
    wanted: Callable[[], Any]
    bytes: float = 0
    products: float = 0

    def verify(self, like: str = "") -> None:
        """Raise unless it gives what it must, to the rounding of `like` (by default its dtype)."""
        self.call()
        wanted = self.wanted()
        wanted = wanted if type(wanted) in (tuple, list) else (wanted,)
        for a, b in zip(self.found, wanted, strict=True):
            close(a, b, like or self.dtype, f"{self.name} {self.shape} {self.dtype}")


def close(found: Any, wanted: Any, dtype: str, what: str) -> None:
    """Raise unless `found` is `wanted` but for rounding, measured by the largest there is.

    Raises:
        AssertionError: it does, or is not a number.
    """
    import cupy

    a, b = (cupy.asarray(x).astype("float64") for x in (found, wanted))
    assert a.shape == b.shape, f"{what}: {a.shape}, not {b.shape}"
    off = float(cupy.abs(a - b).max())
    most = (1e-4 if dtype == "float32" else 2e-2) * max(float(cupy.abs(b).max()), 1e-30)
    assert off <= most, f"{what}: off by {off:.2g}, where {most:.2g} is rounding"


class Pace:
    """How often a kernel is timed, and how often it is called in one round."""

    rounds, calls = 7, 50


def seconds_on_device(call: Callable[[], Any]) -> float:
    """Seconds a call on the device, the median over rounds of several."""
    import cupy

    stream = cupy.cuda.get_current_stream()
    call()
    found = []
    for _ in range(Pace.rounds):
        began, ended = cupy.cuda.Event(), cupy.cuda.Event()
        began.record(stream)
        for _ in range(Pace.calls):
            call()
        ended.record(stream)
        ended.synchronize()
        found.append(cupy.cuda.get_elapsed_time(began, ended) / 1e3 / Pace.calls)
    return statistics.median(found)


def copy_rate(size: int = 128 * MIB) -> float:
    """Bytes a second that a plain copy reads and writes, together."""
    import cupy

    a, b = (cupy.zeros(size, "uint8") for _ in range(2))
    stream = cupy.cuda.get_current_stream()
    copy = cupy.cuda.runtime.memcpyAsync
    return 2 * size / seconds_on_device(lambda: copy(a.data.ptr, b.data.ptr, size, 3, stream.ptr))


@cache
def product_rate(dtype: str, side: int, precision: str) -> float:
    """Multiplications and additions a second of cuBLAS, on square matrices.

    Args:
        precision: as `mg.get_float32_matmul_precision` says; products must be made so.
    """
    assert precision == mg.get_float32_matmul_precision()
    a, b = (normal(dtype, side, side, seed=i) for i in range(2))
    return 2 * side**3 / seconds_on_device(launcher("products.matmul", (a, b), {})[0])


def kind_of(dtype: str) -> np.dtype:
    return mg.precision.half(dtype) if dtype == "bfloat16" else np.dtype(dtype)


def normal(dtype: str, *shape: int, seed: int = 0) -> Any:
    import cupy

    host = np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)
    return cupy.asarray(host).astype(kind_of(dtype))


def whole(n: int, *shape: int) -> Any:
    import cupy

    return cupy.asarray(np.random.default_rng(n).integers(0, n, shape))


def launcher(
    name: str, inputs: tuple, params: dict, like: tuple | None = None
) -> tuple[Callable[[], None], list]:
    """What launches a kernel on arrays that are there, and its outputs.

    Args:
        name: of the page and of the kernel, with a dot.
        like: what comes out, where the kernel does not say it.
    """
    import cupy

    from minigrad.kernels.cuda.machine import Eager

    kernel = find(f"cuda.{name}")
    like = kernel.outputs(*inputs, **params) if like is None else like
    assert like is not None, f"{name} declines its case"
    likes = like if type(like) is tuple else (like,)
    outputs = [cupy.empty(v.shape, v.dtype) for v in likes]
    asks = Eager(kernel.needs(*inputs, **params))
    calls = [x.ready() for x in kernel.launched(asks, outputs, *inputs, **params)]

    def call() -> None:
        for launch in calls:
            launch()

    call.alive = inputs, outputs, asks.scratch  # type: ignore[attr-defined]  # as addresses go
    return call, outputs


def widened(x: Any) -> Any:
    """Floats of 16 bits as float32, in which formulas are computed."""
    return x.astype("float32") if getattr(getattr(x, "dtype", None), "itemsize", 4) == 2 else x


def of_op(
    name: str, kernel: str, op: Any, inputs: tuple, params: dict | None = None, **cost: float
) -> Case:
    """The case of a kernel that has the formula of an op."""
    import cupy

    params = {**op.static, **(params or {})}
    call, outputs = launcher(kernel, inputs, params)
    first = next(x for x in inputs if getattr(x, "dtype", np.dtype(bool)).kind in "fV")
    return Case(
        name, "x".join(map(str, first.shape)), first.dtype.name, call, outputs,
        lambda: op.formula(cupy, *map(widened, inputs), **params), **cost,
    )  # fmt: skip


# ---------------------------------------------------------------- those that have a target


def with_targets(size: int, dtype: str, widths: tuple[int, ...]) -> Iterator[Case]:
    """Softmax, layer norm, cross entropy with gradients, dropout, and Adam on float32.

    Args:
        size: bytes of the largest input.
        widths: numbers in a row.
    """
    for d in widths:
        x = normal(dtype, max(size // kind_of(dtype).itemsize // d, 1), d)
        g, weight, bias = (normal(dtype, *s, seed=1) for s in (x.shape, (d,), (d,)))
        ids, rows, n = whole(d, x.shape[0]), x[:, 0].copy(), x.nbytes
        axis, eps, losses = {"axis": -1}, {"eps": 1e-5}, ops.losses
        yield of_op("softmax", "softmaxes.softmax", ops.softmax, (x,), axis, bytes=2 * n)
        grad = ops.softmaxes.softmax_grad
        yield of_op("softmax_grad", "softmaxes.softmax_grad", grad, (g, x), axis, bytes=3 * n)
        given = x, weight, bias
        yield of_op("layer_norm", "norms.layer_norm", ops.layer_norm, given, eps, bytes=2 * n)
        grad, given = ops.layer_norm_grad, (g, x, weight)
        yield of_op("layer_norm_grad", "norms.layer_norm_grad", grad, given, eps, bytes=3 * n)
        name, op = "cross_entropy_rows", losses.cross_entropy_rows
        yield of_op(name, f"losses.{name}", op, (x, ids), bytes=n)
        name, op = "cross_entropy_rows_grad", losses.cross_entropy_rows_grad
        yield of_op(name, f"losses.{name}", op, (rows, x, ids), bytes=2 * n)
    x = normal(dtype, size // kind_of(dtype).itemsize)
    given = x, mg.random.key(1)
    yield of_op("dropout", "noise.dropout", ops.dropout, given, {"p": 0.1}, bytes=2 * x.nbytes)
    if dtype == "float32":
        options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
        numbers = 1e-3, 0.9, 0.999, 1e-8, 1.0, 0.0
        yield of_update("adam_step", optim.adam.adam_step, size // 4, 2, numbers, options)


def of_update(
    rule: str, formula: Callable, size: int, moments: int, numbers: tuple, options: dict
) -> Case:
    """One step of an optimizer on flat float32; it reads and writes weights and moments."""
    import cupy

    w, g = normal("float32", size), normal("float32", size, seed=1)
    each = [cupy.zeros_like(w) for _ in range(moments)]
    want = [to_numpy(x).astype(np.float64) for x in (w, g, *each)]

    def wanted() -> np.ndarray:
        formula(np, *want, 1, **options)
        return want[0]

    inputs = w, g, *each, *[None] * (3 - moments), *[None] * 9
    segment = 0, size, 1, numbers
    call, _ = launcher("updates.update", inputs, {"rule": rule, "segment": segment})
    moved = (3 + 2 * moments) * w.nbytes
    return Case(rule, str(size), "float32", call, [w], wanted, bytes=moved)


# -------------------------------------------------------------------------- the other ones


def of_sgd(size: int) -> Case:
    """With momentum, by PyTorch's formula."""

    def formula(_xp, w, g, m, _step, *, lr, momentum):
        m[:] = g  # as the first step has it
        w -= lr * m

    options = {"lr": 0.1, "momentum": 0.9}
    return of_update("sgd_step", formula, size, 1, (0.1, 0.9, 0.0, 0.0, 0.0, 0.0), options)


def of_rows(size: int, d: int) -> Iterator[Case]:
    x = normal("float32", max(size // 4 // d, 1), d)
    g, weight = normal("float32", *x.shape, seed=1), normal("float32", d)
    n, axis, eps = x.nbytes, -1, 1e-5
    softs, norms = ops.softmaxes, ops.norms
    given: dict[str, Any] = {"axis": axis}
    yield of_op("log_softmax", "softmaxes.log_softmax", softs.log_softmax, (x,), given, bytes=2 * n)
    name, grad = "log_softmax_grad", softs.log_softmax_grad
    yield of_op(name, f"softmaxes.{name}", grad, (g, x), given, bytes=3 * n)
    given = {"eps": eps}
    yield of_op("rms_norm", "norms.rms_norm", norms._rms_norm, (x, weight), given, bytes=2 * n)
    grad = norms._rms_norm_grad
    yield of_op("rms_norm_grad", "norms.rms_norm_grad", grad, (g, x, weight), given, bytes=3 * n)
    given = {"axis": axis, "keepdims": False}
    yield of_op("argmax", "sorting.argmax", ops.argmax, (x,), given, bytes=n)
    given = {"k": 4, "descending": True}
    yield of_op("top_ids", "sorting.top_ids", ops.sorting._top_ids, (x,), given, bytes=n)


def of_sums(size: int, d: int) -> Iterator[Case]:
    """Reductions, and a chain of element-wise ops as programs make them."""
    from minigrad.kernels.cuda.elementwise import Step

    x, y = (normal("float32", max(size // 4 // d, 1), d, seed=i) for i in range(2))
    for name, axis in (("all", None), ("of rows", -1), ("of columns", 0)):
        given = {"axis": axis, "keepdims": False, "dtype": None}
        yield of_op(f"sum {name}", "reductions.total", ops.sum, (x,), given, bytes=x.nbytes)
    kind = x.dtype
    steps = [Step("multiply", (-1, -2), kind), Step("add", (0, -1), kind), Step("tanh", (1,), kind)]
    params = {"steps": steps, "kept": (2,)}
    call, outputs = launcher("elementwise.elementwise", (x, y), params)

    def wanted() -> Any:
        import cupy

        return cupy.tanh(x * y + x)

    shape = "x".join(map(str, x.shape))
    yield Case("chain of three", shape, "float32", call, outputs, wanted, bytes=3 * x.nbytes)


def of_tables(size: int, d: int, rows: int) -> Iterator[Case]:
    table, n = normal("float32", rows, d), max(size // 4 // d, 1)
    ids, g = whole(rows, n), normal("float32", n, d)
    call, outputs = launcher("embeddings.embedding", (ids, table), {})
    shape, moved = f"{n} of {rows}x{d}", g.nbytes + min(table.nbytes, g.nbytes)
    yield Case("embedding", shape, "float32", call, outputs, lambda: table[ids], bytes=moved)
    name, given = "embedding_grad", {"rows": rows}
    yield of_op(name, f"embeddings.{name}", ops.embedding_grad, (g, ids), given,
                bytes=g.nbytes + table.nbytes)  # fmt: skip


def of_images(batch: int, channels: int, side: int) -> Iterator[Case]:
    import cupy

    shape, half = (batch, channels, side, side), side // 2
    x, n = normal("float32", *shape), 4 * batch * channels * side * side
    like = normal("float32", *shape, seed=1)
    weight, bias = (normal("float32", channels, seed=i) for i in range(2))
    norms, windows = ops.norms, ops.windows
    name, op, given = "batch_norm_train", norms._batch_norm_train, {"eps": 1e-5}
    yield of_op(name, f"norms.{name}", op, (x, weight, bias), given, bytes=3 * n)
    name, op = "batch_norm_grad", norms._batch_norm_grad
    yield of_op(name, f"norms.{name}", op, (like, x, weight), given, bytes=5 * n)
    along = {"axis": -1, "size": 3, "count": side - 2}
    case = of_op("windows", "windows.windows", windows._windows, (x,), along)
    slid = case.found[0]
    case.bytes = n + slid.nbytes
    yield case
    back = {"axis": -1, "length": side}
    slid = normal("float32", *slid.shape)
    name, op = "sum_windows", windows._sum_windows
    yield of_op(name, f"windows.{name}", op, (slid,), back, bytes=n + slid.nbytes)
    # No two are equal, so that the largest of a window is one.
    places = (cupy.arange(x.size, dtype="int64") * 7919) % x.size
    x = places.astype("float32").reshape(shape)
    g = normal("float32", batch, channels, half, half)
    four = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1), "counts": (half, half)}
    seen = x.reshape(batch, channels, half, 2, half, 2)

    def first_largest() -> Any:
        y = seen.max(axis=(3, 5), keepdims=True)
        return cupy.where(seen == y, g[:, :, :, None, :, None], np.float32(0)).reshape(shape)

    for name, inputs, wanted, moved in (
        ("max_windows", (x,), lambda: seen.max(axis=(3, 5)), 1.25 * n),
        ("max_windows_grad", (g, x), first_largest, 2.25 * n),
    ):
        call, outputs = launcher(f"windows.{name}", inputs, four)
        words = "x".join(map(str, shape))
        yield Case(name, words, "float32", call, outputs, wanted, bytes=moved)


def of_products(dtype: str, n: int, d: int, wide: int, groups: int) -> Iterator[Case]:
    """A product as linear layers have it, and many small ones in one launch."""
    import cupy

    from minigrad.kernels.cuda.products import Problem

    x, w = normal(dtype, n, d), normal(dtype, d, wide)
    work = 2.0 * n * d * wide
    call, outputs = launcher("products.matmul", (x, w), {})
    yield Case(
        "matmul", f"{n}x{d} @ {d}x{wide}", dtype, call, outputs,
        lambda: cupy.matmul(widened(x), widened(w)), products=work,
    )  # fmt: skip
    parts = [normal(dtype, n // groups, d, seed=i) for i in range(groups)]
    weights = [normal(dtype, d, d, seed=i) for i in range(groups)]
    problem = Problem(n // groups, d, d, d, d)
    given = tuple(v for pair in zip(parts, weights, strict=True) for v in pair)
    params = {"problems": [problem] * groups, "flip_a": False, "flip_b": False}
    call, outputs = launcher("products.products_together", given, params, tuple(parts))
    yield Case(
        f"products of {groups} groups", f"{n // groups}x{d} @ {d}x{d}", dtype, call, outputs,
        lambda: [cupy.matmul(widened(a), widened(b)) for a, b in zip(parts, weights, strict=True)],
        products=2.0 * n * d * d,
    )  # fmt: skip


def of_attention(dtype: str, batch: int, heads: int, length: int, d: int = 64) -> Iterator[Case]:
    """Causal attention, and its gradient with what the forward pass has written down."""
    import cupy

    q, k, v, g = (normal(dtype, batch, length, heads * d, seed=i) for i in range(4))
    op, grad = ops.attention, ops.attentions.attention_grad
    params = {**op.static, "heads": heads, "causal": True}
    shape, work = f"{batch}x{length}x{heads * d}", 2.0 * batch * heads * length * length * d
    forward, outputs = launcher(
        "attention.attention", (q, k, v, None, None), {**params, "keep": True}
    )
    lifted = [widened(x) for x in (q, k, v)]
    yield Case(
        "attention", shape, dtype, forward, outputs[:1],
        lambda: op.formula(cupy, *lifted, None, None, **params), products=work,
    )  # fmt: skip
    y, stats = outputs
    params = {**grad.static, "heads": heads, "causal": True}
    forward()
    given = g, q, k, v, None, None, y, stats
    backward, outputs = launcher("attention.attention_grad", given, params)
    yield Case(
        "attention_grad", shape, dtype, backward, outputs,
        lambda: grad.formula(cupy, widened(g), *lifted, None, None, **params), products=2.5 * work,
    )  # fmt: skip


def all_cases(small: bool, only: Collection[str] | None = None) -> Iterator[Case]:
    """Each kernel, on 64 MiB or on shapes of a large model; or those that are named."""
    return (case for case in _all_cases(small) if only is None or case.name in only)


def _all_cases(small: bool) -> Iterator[Case]:
    size = 1 << 14 if small else 64 * MIB
    halves = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
    for dtype in halves:
        yield from with_targets(size, dtype, (64,) if small else (256, 1024, 8192))
    yield of_sgd(size // 4)
    yield from of_rows(size, 64 if small else 1024)
    yield from of_sums(size, 64 if small else 1024)
    yield from of_tables(size, 16 if small else 512, 30 if small else 32000)
    yield from of_images(*((2, 3, 8) if small else (64, 64, 64)))
    for dtype in halves:
        yield from of_products(dtype, *((64, 32, 48, 4) if small else (8192, 512, 2048, 8)))
        yield from of_attention(dtype, *((1, 2, 64) if small else (8, 16, 1024)))


def has_bfloat16() -> bool:
    """Whether NumPy knows it, by ml_dtypes."""
    try:
        import ml_dtypes  # noqa: F401
    except ImportError:
        return False
    return True


def rows_of(cases: Iterator[Case], small: bool) -> Iterator[dict[str, Any]]:
    """The row of each: verified, timed, and as a share of a copy's or of a product's rate."""
    copied = copy_rate(1 << 14 if small else 128 * MIB)
    for case in cases:
        case.verify()
        seconds = seconds_on_device(case.call)
        if case.products:
            side = 64 if small else 8192
            rate = product_rate(case.dtype, side, mg.get_float32_matmul_precision())
            amount, unit, limit = case.products, "TFLOP/s", "product"
        else:
            rate, amount, unit, limit = copied, case.bytes, "TB/s", "copy"
        yield {
            "kernel": case.name, "shape": case.shape, "dtype": case.dtype, "us": seconds * 1e6,
            "rate": f"{amount / seconds / 1e12:.3g} {unit}", "limit": limit,
            "of the limit, %": 100 * amount / seconds / rate,
        }  # fmt: skip

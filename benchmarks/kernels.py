"""Every kernel beside what the machine can do and beside its formula in NumPy.

    python -m benchmarks.kernels [--rounds N] [--threads N] [--only NAME ...] [--save] [--json FILE]
    python -m benchmarks.kernels --device cuda [--small] [...]

A kernel has to move bytes, multiply and add, and take exponentials. What the machine needs at least
for each is measured in the same rounds, on one thread: a copy by NumPy that reads and writes as
many bytes in all (and so lies in the same cache), a product of 1024 x 1024 by the BLAS, and NumPy's
exp of 16 KB. The longest of the three is the kernel's limit, and its share is the limit's time over
the kernel's. It is more than 100 % where a kernel mostly reads, which is cheaper than writing.

Shapes are those of the models long and large of `benchmarks.train_step`, and of images as a small
convolutional network has them; all float32. A kernel that programs have is timed in a program, on
arrays that are there; "as a call" is the kernel called on arrays, which makes an array
for its result. The formula has one thread as well.

With `--device cuda` they are the kernels for CUDA (`benchmarks.device_kernels`), on shapes of 64
MiB or of a large model. Their limits are a copy on the device and a product of cuBLAS.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from benchmarks import device_kernels
from benchmarks.harness import finish, measure, no_device, on_the_host, parser
from benchmarks.train_step import SIZES
from minigrad import nn, ops, optim
from minigrad.kernels import (
    attention,
    blas,
    embeddings,
    losses,
    machine,
    noise,
    norms,
    reductions,
    softmaxes,
    sorting,
    updates,
    windows,
)
from minigrad.optim.adam import adam_step
from minigrad.trees import flatten

# Why a kernel is below half of its limit, where it is.
WHY = {
    "layer_norm": "a row of 64 is four vectors, and adding up the lanes of two sums and a square "
    "root take longer than moving it within the cache",
    "layer_norm of a sum": "as layer_norm; the sum is a pass of its own before it",
    "layer_norm_grad": "as layer_norm, with four sums across lanes, and the gradients of weight "
    "and bias read and written again for every row",
    "attention": "the limit counts the longest of products, exponentials and bytes, but they add "
    "up; 50 queries fill four blocks of 16 lanes to 78 %; and products of 16 or 32 channels use "
    "what they load a few times only",
    "attention, causal": "as attention; besides, a block of 16 queries computes all keys up to its "
    "last query, so that of 50 x 50 scores 93 % are computed where 51 % count",
    "attention_grad": "as attention, with five products in place of two",
    "embedding": "the copy is one stretch, this is one call of a loop and a check for each row of "
    "64",
    "embedding_grad": "every row is added to one that may be anywhere: read, added to, written; "
    "the limit counts the table once",
    "max_windows": "rows of 13 windows are three vectors of 4 and one by itself",
    "max_windows_grad": "as max_windows, with six comparisons for four elements",
    "windows": "rows are 24 elements long, and finding where each begins takes as long as copying "
    "it",
    "sum_windows": "as windows; each element is read and written once for every window it is in",
    "batch_norm_train": "the limit counts x once for mean, variance and result together; it is "
    "read three times",
    "batch_norm_grad": "as batch_norm_train",
    "top_ids": "elements are compared one by one with the last of those found, a branch each",
    "dropout": "a random word of 32 bits takes ten rounds of Philox for four elements, which is "
    "what it is measured by: computing, not moving",
}


@dataclass
class Case:
    """One kernel on one shape.

    Attributes:
        name: of the kernel.
        shape: in words.
        bytes, products, exps: bytes to move, multiplications and additions, exponentials.
        formula: the same in NumPy, without arguments.
        call: the kernel on arrays, without arguments; None if there is none.
        step: what `jit` makes a program with the kernel of; None if programs have no such kernel.
        arrays: the arguments of `step`.
        handler: its name in programs, if that is another.
        result: what to compare after `step` has run, in place of what it gives.
    """

    name: str
    shape: str
    formula: Callable[[], Any]
    bytes: float = 0
    products: float = 0
    exps: float = 0
    call: Callable[[], Any] | None = None
    step: Callable | None = None
    arrays: tuple[np.ndarray, ...] = ()
    handler: str = ""
    result: Callable[[], Any] | None = None


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def whole(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, n, shape)


def cases(size: str) -> Iterator[Case]:
    """What a training step of the translator is made of."""
    vocabulary, d, heads, ff, layers, length, batch = SIZES[size]
    n = batch * length
    yield from of_classes(n, vocabulary)
    yield from of_norms(n, d)
    yield from of_attention(batch, length, d, heads)
    yield from of_embeddings(n, d, vocabulary)
    yield from of_products(n, d, ff)
    yield from of_elements(n, d, ff)
    weights = 2 * vocabulary * d + layers * (16 * d * d + 4 * d * ff)
    yield of_noise(n, d)
    yield of_norm(weights)
    yield of_adam(weights)


def of_classes(n: int, classes: int) -> Iterator[Case]:
    x, g, target = normal(n, classes), normal(n, classes), whole(classes, n)
    y, rows = ops.softmax(x), normal(n)
    shape, size = f"({n}, {classes})", x.nbytes
    yield Case(
        "softmax", shape, partial(ops.softmax.formula, np, x), 2 * size, exps=x.size,
        call=partial(softmaxes.softmax, x, axis=-1),
    )  # fmt: skip
    yield Case(
        "softmax_grad", shape, partial(ops.softmax_grad.formula, np, g, y), 3 * size,
        call=partial(softmaxes.softmax_grad, g, y, axis=-1),
    )  # fmt: skip
    logs = ops.log_softmax(x)
    yield Case(
        "log_softmax", shape, partial(ops.log_softmax.formula, np, x), 2 * size, exps=x.size,
        call=partial(softmaxes.log_softmax, x, axis=-1),
    )  # fmt: skip
    yield Case(
        "log_softmax_grad", shape, partial(ops.log_softmax_grad.formula, np, g, logs), 3 * size,
        exps=x.size, call=partial(softmaxes.log_softmax_grad, g, logs, axis=-1),
    )  # fmt: skip
    yield Case(
        "top_ids", f"{shape}, 4 of each",
        partial(ops.sorting._top_ids.formula, np, x, k=4, descending=True), size + 8 * 4 * n,
        call=partial(sorting.top_ids, x, k=4, descending=True),
    )  # fmt: skip
    options = {"ignore_index": -100, "label_smoothing": 0.0}
    yield Case(
        "cross_entropy_rows", shape, partial(ops.cross_entropy_rows.formula, np, x, target), size,
        exps=x.size,
        call=partial(losses.cross_entropy_rows, x, target, **options),
        step=ops.cross_entropy_rows, arrays=(x, target),
    )  # fmt: skip

    def gradient() -> np.ndarray:
        p = ops.softmax.formula(np, x)
        p[np.arange(n), target] -= 1
        return p * rows[:, None]

    yield Case(
        "cross_entropy_rows_grad", shape, gradient, 2 * size, exps=x.size,
        call=partial(losses.cross_entropy_rows_grad, rows, x, target, **options),
        step=ops.cross_entropy_rows_grad, arrays=(rows, x, target),
    )  # fmt: skip


def of_norms(n: int, d: int) -> Iterator[Case]:
    x, g, more, weight, bias = normal(n, d), normal(n, d), normal(n, d), normal(d), normal(d)
    shape = f"({n}, {d})"
    yield Case(
        "layer_norm", shape, partial(ops.layer_norm.formula, np, x, weight, bias), 2 * x.nbytes,
        call=partial(norms.layer_norm, x, weight, bias, eps=1e-5),
        step=ops.layer_norm, arrays=(x, weight, bias),
    )  # fmt: skip

    def with_sum(x, more, weight, bias):
        total = x + more
        return total, mg.layer_norm(total, weight, bias)

    def with_sum_in_numpy():
        total = x + more
        return total, ops.layer_norm.formula(np, total, weight, bias)

    yield Case(
        "layer_norm of a sum", shape, with_sum_in_numpy, 4 * x.nbytes,
        step=with_sum, arrays=(x, more, weight, bias), handler="layer_norm",
    )  # fmt: skip
    yield Case(
        "layer_norm_grad", shape, partial(ops.layer_norm_grad.formula, np, g, x, weight),
        3 * x.nbytes,
        call=partial(norms.layer_norm_grad, g, x, weight, eps=1e-5),
        step=ops.layer_norm_grad, arrays=(g, x, weight),
    )  # fmt: skip


def of_attention(batch: int, length: int, d: int, heads: int) -> Iterator[Case]:
    g, q, k, v = (normal(batch, length, d) * (i + 1) / 4 for i in range(4))
    plain = {"heads": heads, "causal": False, "scale": None, "dropout": 0.0}
    pairs = batch * heads * length * length
    shape = f"({batch}, {length}, {d}), {heads} heads"
    yield Case(
        "attention", shape, partial(ops.attention.formula, np, q, k, v, heads=heads),
        4 * q.nbytes, 4 * pairs * (d // heads), pairs,
        call=partial(attention.attention, q, k, v, None, None, **plain),
        step=partial(ops.attention, heads=heads), arrays=(q, k, v),
    )  # fmt: skip
    yield Case(
        "attention, causal", shape,
        partial(ops.attention.formula, np, q, k, v, heads=heads, causal=True),
        4 * q.nbytes, 2 * pairs * (d // heads), pairs / 2,
        call=partial(attention.attention, q, k, v, None, None, **plain | {"causal": True}),
        step=partial(ops.attention, heads=heads, causal=True), arrays=(q, k, v),
        handler="attention",
    )  # fmt: skip
    yield Case(
        "attention_grad", shape, partial(ops.attention_grad.formula, np, g, q, k, v, heads=heads),
        7 * q.nbytes, 10 * pairs * (d // heads), pairs,
        call=partial(attention.attention_grad, g, q, k, v, None, None, **plain),
        step=partial(ops.attention_grad, heads=heads), arrays=(g, q, k, v),
    )  # fmt: skip


def of_embeddings(n: int, d: int, rows: int) -> Iterator[Case]:
    table, ids, g = normal(rows, d), whole(rows, n), normal(n, d)
    shape = f"{n} of ({rows}, {d})"
    yield Case(
        "embedding", shape, partial(np.take, table, ids, axis=0),
        table.nbytes + g.nbytes,
        step=mg.embedding, arrays=(ids, table),
    )  # fmt: skip
    yield Case(
        "embedding_grad", shape, partial(ops.embedding_grad.formula, np, g, ids, rows=rows),
        table.nbytes + g.nbytes,
        call=partial(embeddings.embedding_grad, g, ids, rows=rows),
        step=partial(ops.embedding_grad, rows=rows), arrays=(g, ids),
    )  # fmt: skip


def of_products(n: int, d: int, ff: int) -> Iterator[Case]:
    x, weight, bias, g = normal(n, d), normal(ff, d), normal(ff), normal(n, ff)
    moved, work = x.nbytes + weight.nbytes + g.nbytes, 2 * n * d * ff
    yield Case(
        "product, bias and relu", f"({n}, {d}) @ ({d}, {ff})",
        lambda: np.maximum(x @ weight.T + bias, 0), moved, work,
        step=lambda x, weight, bias: mg.relu(mg.linear(x, weight, bias)),
        arrays=(x, weight, bias), handler="product",
    )  # fmt: skip
    yield Case(
        "product, by the input", f"({n}, {ff}) @ ({ff}, {d})", lambda: g @ weight, moved, work,
        step=mg.matmul, arrays=(g, weight), handler="product",
    )  # fmt: skip
    yield Case(
        "product, by the weight", f"({ff}, {n}) @ ({n}, {d})", lambda: g.T @ x, moved, work,
        step=lambda g, x: mg.swapaxes(g, 0, 1) @ x, arrays=(g, x), handler="product",
    )  # fmt: skip
    yield Case(
        "column_sums", f"({n}, {ff})", partial(np.sum, g, axis=0), g.nbytes,
        step=partial(mg.sum, axis=0), arrays=(g,),
    )  # fmt: skip


def of_elements(n: int, d: int, ff: int) -> Iterator[Case]:
    x, y, g = normal(n, d), normal(d), normal(n, ff)
    z = np.maximum(normal(n, ff), 0)
    yield Case(
        "add, of a row", f"({n}, {d})", lambda: x + y, 2 * x.nbytes,
        step=mg.add, arrays=(x, y), handler="add",
    )  # fmt: skip
    yield Case(
        "relu", f"({n}, {ff})", partial(np.maximum, g, 0), 2 * g.nbytes,
        step=mg.relu, arrays=(g,),
    )  # fmt: skip
    yield Case(
        "relu_grad", f"({n}, {ff})", lambda: np.where(z > 0, g, np.float32(0)), 3 * g.nbytes,
        step=gradient_of(mg.relu), arrays=(z, g),
    )  # fmt: skip


def of_noise(n: int, d: int) -> Case:
    x, key = normal(n, d), mg.random.key(3)
    options = {"p": 0.1, "shared": (), "levels": None}
    return Case(
        "dropout", f"({n}, {d})", partial(ops.dropout.formula, np, x, key, **options), 2 * x.nbytes,
        call=partial(noise.dropout, x, key, **options),
        step=lambda x: nn.functional.dropout(x, 0.1, key=key), arrays=(x,),
    )  # fmt: skip


def of_norm(size: int) -> Case:
    g = normal(size)
    return Case(
        "square_sum", f"{size}", lambda: np.square(g, dtype=np.float64).sum(), g.nbytes,
        call=lambda: np.array(reductions.square_sum(g)),
    )  # fmt: skip


def gradient_of(function: Callable) -> Callable:
    """A function of x and g: the gradient of x, given g by what `function` gives."""
    return lambda x, g: mg.vjp(function, x)[1](g)[0]


def of_adam(size: int) -> Case:
    class Weights(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(normal(size))

    options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    g = normal(size) / 4
    theirs, ours = ([normal(size), g, *np.zeros((2, size), np.float32)] for _ in range(2))
    segment = np.zeros(1, np.int64), np.full(1, size), np.ones(1, np.int64)
    model = Weights()
    adam = optim.Adam(model, lr=1e-3)

    def formula() -> np.ndarray:
        adam_step(np, *theirs, 1, **options)
        return theirs[0]

    def call() -> np.ndarray:
        assert updates.adam_step(*ours, *segment, **options, decoupled=False) is None
        return ours[0]

    def step(g):
        adam.step({"w": g})

    return Case(
        "adam_step", f"{size}", formula, 7 * g.nbytes, call=call, step=step, arrays=(g,),
        handler="adam", result=lambda: model.w.data,
    )  # fmt: skip


def of_images() -> Iterator[Case]:
    """What a network for 32 images of 26 x 26 with 32 channels is made of, beside products."""
    x = normal(32, 32, 26, 26)
    g = normal(32, 32, 13, 13)
    shape = "(32, 32, 26, 26)"
    seen = x.reshape(32, 32, 13, 2, 13, 2)

    def first_largest():
        y = seen.max(axis=(3, 5), keepdims=True)
        return (np.where(seen == y, g[:, :, :, None, :, None], np.float32(0))).reshape(x.shape)

    along = {"axis": -1, "size": 3, "count": 24}
    slid = ops.windows._windows(x, **along)
    pool = partial(mg.max_pool2d, kernel_size=2)
    four = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1), "counts": (13, 13)}
    yield Case(
        "max_windows", shape, lambda: seen.max(axis=(3, 5)), x.nbytes + g.nbytes,
        call=partial(windows.max_windows, x, **four),
        step=pool, arrays=(x,),
    )  # fmt: skip
    yield Case(
        "max_windows_grad", shape, first_largest, 2 * x.nbytes + g.nbytes,
        call=partial(windows.max_windows_grad, g, x, **four),
        step=gradient_of(pool), arrays=(x, g),
    )  # fmt: skip
    yield Case(
        "windows", shape, partial(ops.windows._windows.formula, np, x, **along),
        x.nbytes + slid.nbytes,
        call=partial(windows.windows, x, **along),
        step=partial(ops.windows._windows, **along), arrays=(x,),
    )  # fmt: skip
    yield Case(
        "sum_windows", shape,
        partial(ops.windows._sum_windows.formula, np, slid, axis=-1, length=26),
        x.nbytes + slid.nbytes,
        call=partial(windows.sum_windows, slid, axis=-1, length=26),
        step=partial(ops.windows._sum_windows, axis=-1, length=26), arrays=(slid,),
    )  # fmt: skip
    weight, bias, mean, variance = normal(32), normal(32), normal(32), normal(32) ** 2
    like = np.ascontiguousarray(x[::-1])
    norm, norm_grad = ops.norms._batch_norm_train, ops.norms._batch_norm_grad
    yield Case(
        "batch_norm_train", shape, partial(norm.formula, np, x, weight, bias), 3 * x.nbytes,
        call=partial(norms.batch_norm_train, x, weight, bias, eps=1e-5),
        step=norm, arrays=(x, weight, bias),
    )  # fmt: skip
    yield Case(
        "batch_norm_grad", shape, partial(norm_grad.formula, np, like, x, weight), 5 * x.nbytes,
        call=partial(norms.batch_norm_grad, like, x, weight, eps=1e-5),
        step=norm_grad, arrays=(like, x, weight),
    )  # fmt: skip
    yield Case(
        "batch_norm_stats", shape,
        partial(ops.batch_norm_stats.formula, np, x, mean, variance), 2 * x.nbytes,
        call=partial(norms.batch_norm_stats, x, mean, variance, momentum=0.1),
        step=ops.batch_norm_stats, arrays=(x, mean, variance),
    )  # fmt: skip
    yield Case(
        "channel_sums", shape, partial(np.sum, x, axis=(0, 2, 3)), x.nbytes,
        step=partial(mg.sum, axis=(0, 2, 3)), arrays=(x,),
    )  # fmt: skip


# ---------------------------------------------------------------------------------- measuring


class Prepared:
    """A case, verified; its candidates for `measure`.

    Raises:
        AssertionError: kernel and formula differ, or the program has no such kernel.
    """

    REPEATS = 10  # of a kernel in a program, as finding the threads takes some microseconds

    def __init__(self, case: Case):
        self.case = case
        expected = case.formula()
        if case.call is not None:
            self.compare(case.call(), expected)
        if case.step is None:
            return
        step = mg.jit(case.step)
        y = step(*case.arrays)
        self.compare(y if case.result is None else case.result(), expected)
        self.step, self.program = step, step._last.program  # a program needs its step alive
        wanted = case.handler or case.name
        names = [i.name for i in self.program.instructions]
        self.places = [
            i
            for i, instruction in enumerate(self.program.instructions)
            if instruction.name == wanted and instruction.function is None
        ]
        assert self.places, f"{case.name}: no {wanted} among the program's {names}"

    def compare(self, found: Any, expected: Any) -> None:
        assert found is not NotImplemented, f"{self.case.name} declines {self.case.shape}"
        pairs = zip(flatten(found)[0], flatten(expected)[0], strict=True)
        for a, b in pairs:
            a = a.numpy() if type(a) is mg.Tensor else a
            size = float(np.abs(b).max())
            np.testing.assert_allclose(
                a, b, rtol=1e-4, atol=2e-5 * size, err_msg=f"{self.case.name} {self.case.shape}"
            )

    def run(self, threads: int) -> None:
        with machine.team(threads) as run:
            for _ in range(self.REPEATS):
                for i in self.places:
                    run(self.program.addresses, self.program.records, i, i + 1)

    def candidates(self, threads: int) -> dict[str, Callable]:
        case = self.case
        found = {"formula": case.formula}
        if case.call is not None:
            found["call"] = case.call
        if case.step is not None:
            found["one"] = partial(self.run, 1)
            if threads > 1:
                found["more"] = partial(self.run, threads)
        return found


class Limits:
    """What the machine takes at least, on one thread."""

    SIDE, EXPS, REPEATS = 1024, 4096, 16

    def __init__(self):
        self.a, self.b = normal(self.SIDE, self.SIDE), normal(self.SIDE, self.SIDE)
        self.c = np.empty_like(self.a)
        self.x, self.y = normal(self.EXPS), np.empty(self.EXPS, np.float32)

    def product(self) -> None:
        np.matmul(self.a, self.b, out=self.c)

    def exps(self) -> None:
        for _ in range(self.REPEATS):
            np.exp(self.x, out=self.y)

    def candidates(self, case: Case) -> dict[str, Callable]:
        source = np.ones(int(case.bytes) // 8, np.float32)
        found = {"copy": partial(np.copyto, np.ones_like(source), source)}
        if case.products:
            found["product"] = self.product
        if case.exps:
            found["exp"] = self.exps
        return found

    def amounts(self, case: Case) -> dict[str, tuple[float, float, str]]:
        """For each kind: how much the case has, how much is in one call of the candidate, unit."""
        return {
            "copy": (case.bytes, case.bytes, "GB/s"),
            "product": (case.products, 2 * self.SIDE**3, "GFLOP/s"),
            "exp": (case.exps, self.REPEATS * self.EXPS, "G/s"),
        }


def measured(case: Case, limits: Limits, rounds: int, threads: int) -> dict[str, Any]:
    """The row of a case."""
    prepared = Prepared(case)
    candidates = limits.candidates(case) | prepared.candidates(threads)
    with blas.one_thread():
        found = measure(candidates, rounds=rounds, seconds=0.03)
    repeats = prepared.REPEATS
    ours, each = (found["one"], repeats) if "one" in found else (found["call"], 1)
    amounts = {k: v for k, v in limits.amounts(case).items() if k in found}
    # For each limit: its share of the kernel's time.
    shares = {
        kind: found[kind].ratio(ours) * each * amount / step
        for kind, (amount, step, _) in amounts.items()
    }
    kind = max(shares, key=shares.get)
    seconds = ours.median / each
    return {
        "kernel": case.name,
        "shape": case.shape,
        "us": seconds * 1e6,
        "rate": f"{amounts[kind][0] / seconds / 1e9:.3g} {amounts[kind][2]}",
        "limit": kind,
        "of the limit, %": 100 * shares[kind],
        f"{threads} threads, us": found["more"].median / each * 1e6 if "more" in found else None,
        "as a call, us": found["call"].median * 1e6 if "call" in found else None,
        "formula / kernel": found["formula"].ratio(ours) * each,
    }


def reasons(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for each kernel that is below half of its limit."""
    slow = dict.fromkeys(row["kernel"] for row in rows if row["of the limit, %"] < 50)
    return [f"*{name}*: {WHY.get(name, 'not yet explained')}." for name in slow]


def on_the_device(options: Any) -> None:
    """Measure the kernels for CUDA."""
    if missing := no_device():
        sys.exit(f"benchmarks.kernels --device cuda needs a GPU: {missing}")
    import cupy

    pace = device_kernels.Pace
    pace.rounds, pace.calls = (1, 1) if options.small else (options.rounds, pace.calls)
    with mg.backend.using("cupy"):
        cases = device_kernels.all_cases(options.small, options.only)
        rows = list(device_kernels.rows_of(cases, options.small))
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    finish("kernels_cuda", rows, options, device=device, cupy=cupy.__version__)


def main() -> None:
    arguments = parser(__doc__, rounds=7, threads=2, host=False)
    arguments.add_argument("--only", nargs="+", metavar="NAME", help="kernels to measure")
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default cpu)")
    arguments.add_argument("--small", action="store_true", help="tiny shapes, on a device")
    options = arguments.parse_args()
    if options.device == "cuda":
        on_the_device(options)
        return
    on_the_host()
    mg.kernels.warm_up()
    limits, rows = Limits(), []
    for case in (*cases("long"), *cases("large"), *of_images()):
        if options.only is None or case.name in options.only:
            rows.append(measured(case, limits, options.rounds, options.threads))
    names = [row["kernel"] for row in rows]
    rows.sort(key=lambda row: names.index(row["kernel"]))
    finish("kernels", rows, options, notes=reasons(rows), threads=options.threads)


if __name__ == "__main__":
    main()

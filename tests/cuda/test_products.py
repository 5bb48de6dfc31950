"""Matrix products on a device: by cuBLAS, by kernels of ours, and of groups of rows."""

import gc
import itertools

import cupy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.kernels.cuda import blas, products
from minigrad.kernels.cuda.machine import Eager
from minigrad.kernels.instructions import Declined, NotByGroup
from minigrad.precision import float32_matmul_precision, half

DTYPES = [np.dtype(d) for d in ("float32", "float64", "float16")] + [half("bfloat16")]
EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def numbers(shape, dtype, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return x.astype("float32").astype(dtype)


def wide(x):
    return (x.get() if isinstance(x, cupy.ndarray) else x).astype(np.float64)


def close(y, a, b, bias=None, after=None):
    """Whether `y` is a @ b (+ bias), summed in float32 at least and rounded once for each step."""
    a, b = wide(a), wide(b)
    exact, size = a @ b, abs(a) @ abs(b)
    if bias is not None:
        exact, size = exact + wide(bias), size + abs(wide(bias))
    if after is not None:
        exact = after(exact)
    name = y.dtype.name
    allowed = 2 * EPS[name] * size if name in ("float16", "bfloat16") else 0
    sums = EPS["float64" if name == "float64" else "float32"]
    allowed = allowed + (a.shape[-1] + 8) * sums * size + 1e-300
    found = wide(y)
    assert found.shape == exact.shape
    assert (abs(found - exact) <= allowed).all(), abs(found - exact).max()


# How the last two axes of an array lie.
steps = st.sampled_from(["rows", "columns", "gaps", "apart", "backwards", "repeated"])


def laid(x, how):
    """A device array with the numbers of `x` (or some), whose last two axes lie as `how` says."""
    m, n = x.shape[-2:]
    if how == "columns":
        return cupy.asarray(np.ascontiguousarray(x.swapaxes(-1, -2))).swapaxes(-1, -2)
    if how == "gaps":
        room = np.zeros((*x.shape[:-2], m + 1, n + 2), x.dtype)
        room[..., :m, :n] = x
        return cupy.asarray(room)[..., :m, :n]
    if how == "apart":
        room = np.zeros((*x.shape[:-2], 2 * m, 3 * n), x.dtype)
        room[..., ::2, ::3] = x
        return cupy.asarray(room)[..., ::2, ::3]
    if how == "backwards":
        return cupy.asarray(np.ascontiguousarray(x[..., ::-1, ::-1]))[..., ::-1, ::-1]
    if how == "repeated":
        return cupy.broadcast_to(cupy.asarray(np.ascontiguousarray(x[..., :1, :])), x.shape)
    return cupy.asarray(x)


# ------------------------------------------------------------------------------- cuBLAS

SHAPES = [
    ((3, 4), (4, 5)), ((1, 1), (1, 1)), ((1, 7), (7, 1)), ((7, 1), (1, 3)), ((4,), (4,)),
    ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 1, 3, 4), (3, 1, 4, 2)),
    ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((1, 3, 4), (1, 4, 5)), ((2, 3, 4), (1, 4, 5)),
    ((33, 17), (17, 40)), ((3, 0), (0, 2)), ((0, 4), (4, 2)), ((2, 3, 0), (0, 4)),
    ((2, 1, 2, 1, 2, 3, 4), (2, 1, 2, 1, 2, 4, 3)),
]  # fmt: skip


def turned(x, how):
    return laid(x, how) if x.ndim > 1 else cupy.asarray(x)


@settings(FEW, max_examples=40)
@given(dtype=st.sampled_from(DTYPES), both=st.sampled_from(SHAPES), layouts=st.tuples(steps, steps))
def test_matmul_is_the_product(dtype, both, layouts):
    a, b = (turned(numbers(s, dtype), how) for s, how in zip(both, layouts, strict=True))
    y = mg.matmul(a, b)
    assert isinstance(y, cupy.ndarray)
    assert y.dtype == dtype
    close(y, a, b)


@pytest.mark.parametrize("both", SHAPES, ids=str)
def test_matmul_of_all_that_cublas_takes(both):
    for layouts in itertools.product(["rows", "columns", "gaps"], repeat=2):
        a, b = (turned(numbers(s, "float32"), how) for s, how in zip(both, layouts, strict=True))
        close(mg.matmul(a, b), a, b)


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    lead=st.sampled_from([(), (1,), (5,), (2, 3)]),
    sizes=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    bias=st.booleans(),
)
def test_linear_is_a_product_and_a_bias(dtype, lead, sizes, bias):
    k, n = sizes
    x, w = numbers((*lead, k), dtype), numbers((n, k), dtype, 1)
    shift = numbers((n,), dtype, 2) if bias else None
    y = mg.linear(*(None if v is None else cupy.asarray(v) for v in (x, w, shift)))
    assert y.dtype == dtype
    close(y, x, w.T, shift)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_are_those_of_the_host(dtype):
    found = []
    for xp in (np, cupy):
        a, b, w, shift = (
            mg.Tensor(xp.asarray(numbers(s, dtype, i)), requires_grad=True)
            for i, s in enumerate([(2, 3, 4), (2, 4, 5), (6, 5), (6,)])
        )
        y = mg.linear(mg.matmul(a, b), w, shift)
        mg.sum(y * y).backward()
        found.append([wide(t.grad.data) for t in (a, b, w, shift)])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, atol=20 * EPS[dtype.name] * abs(x).max())


def test_shapes_that_do_not_fit_are_told_as_on_the_host():
    a = cupy.zeros((2, 3), "float32")
    with pytest.raises(mg.errors.ShapeError, match="matmul"):
        mg.matmul(a, a)
    with pytest.raises(mg.errors.ShapeError, match="linear"):
        mg.linear(a, cupy.zeros((4, 2), "float32"))


def test_other_dtypes_go_as_they_did():
    ids = cupy.asarray(np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(mg.matmul(ids, ids.T).get(), ids.get() @ ids.get().T)
    a, b = numbers((2, 3), "float32"), numbers((3, 2), "float64")
    y = mg.matmul(cupy.asarray(a), cupy.asarray(b))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.get(), a @ b)


def test_nothing_is_copied_for_what_lies_transposed():
    a, b = (cupy.asarray(numbers((3, 4, 4), "float32", i)).swapaxes(1, 2) for i in range(2))
    y = cupy.empty((3, 4, 4), "float32")
    views = [products.View(x, x.shape, x.strides) for x in (y, a, b)]
    (gemm,) = blas.products(*views)
    assert (gemm.batch, gemm.flip_a, gemm.flip_b) == (3, True, True)
    assert gemm.a is a


def test_batches_of_one_matrix_are_one_product():
    a, b = cupy.zeros((5, 3, 4), "float32"), cupy.zeros((4, 2), "float32")
    y = cupy.empty((5, 3, 2), "float32")
    (gemm,) = blas.products(*(products.View(x, x.shape, x.strides) for x in (y, a, b)))
    assert (gemm.batch, gemm.m) == (1, 15)


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    sizes=st.tuples(st.integers(1, 20), st.integers(0, 20), st.sampled_from([1, 8, 9, 16, 32])),
    flips=st.tuples(st.booleans(), st.booleans()),
    after=st.sampled_from(["", "add", "bias", "relu", "by_row", "by_row relu"]),
)
def test_products_of_programs(dtype, sizes, flips, after):
    (m, k, n), (flip_a, flip_b) = sizes, flips
    a, b = numbers((m, k), dtype), numbers((k, n), dtype, 1)
    bias = numbers((m,) if "by_row" in after else (n,), dtype, 2)
    total = numbers((m, n), dtype, 3)
    given = [
        cupy.asarray(np.ascontiguousarray(x.T if flip else x))
        for x, flip in ((a, flip_a), (b, flip_b))
    ]
    with_bias = after not in ("", "add")
    shift = cupy.asarray(bias) if with_bias else None
    c = cupy.asarray(total) if after == "add" else cupy.full((m, n), np.nan, dtype)
    launch(
        products.product, Eager(()), [c], *given, shift, m=m, n=n, k=k,
        layout=(m if flip_a else k, flip_a, k if flip_b else n, flip_b), add=after == "add",
        relu="relu" in after, by_row="by_row" in after,
    )  # fmt: skip
    shift = bias[:, None] if "by_row" in after else bias
    shift = total if after == "add" else shift if with_bias else None
    close(c, a, b, shift, (lambda x: np.maximum(x, 0)) if "relu" in after else None)


def test_float16_may_go_to_float32():
    a, b = numbers((3, 4), "float16"), numbers((4, 5), "float16", 1)
    x, y = cupy.asarray(a), cupy.asarray(b)
    c = cupy.zeros((3, 5), "float32")
    blas.Gemm(c, x, y, 3, 5, 4, 4, 5, 5, alpha=2.0).ready()()
    np.testing.assert_allclose(c.get(), 2 * wide(a) @ wide(b), rtol=1e-5, atol=1e-5)


def test_tf32_is_for_float32_and_only_if_it_is_asked_for(monkeypatch):
    asked, call = [], blas.Blas.call

    def noted(self, function, *args):
        asked.append(args[-2])  # the compute type
        call(self, function, *args)

    arrays = [cupy.asarray(numbers((4, 4), dtype)) for dtype in DTYPES]
    close(mg.matmul(arrays[0], arrays[0]), arrays[0], arrays[0])
    monkeypatch.setattr(blas.Blas, "call", noted)
    for precision in ("highest", "high"):
        with float32_matmul_precision(precision):
            for x in arrays:
                mg.matmul(x, x)
    exact = [blas.COMPUTE_32F, blas.COMPUTE_64F, blas.COMPUTE_32F, blas.COMPUTE_32F]
    assert asked == [*exact, blas.COMPUTE_TF32, *exact[1:]]


def test_each_stream_has_a_handle_and_gives_it_back():
    first = blas.current()
    assert blas.current() is first
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        other = blas.current()
        assert other is not first
        assert blas.current() is other
    assert blas.current() is first
    ended = other._end
    del other, stream
    gc.collect()
    assert not ended.alive


def test_what_cublas_refuses_is_told():
    x = cupy.zeros((4, 4), "float32")
    wrong = blas.Gemm(x, x, x, 4, 4, 4, 2, 4, 4)  # rows of 4 cannot lie 2 apart
    with pytest.raises(mg.errors.BackendError, match=r"cublasGemmEx: status 7.*invalid"):
        wrong.ready()()


def test_products_can_be_recorded():
    a, b = numbers((2, 3, 4), "float32"), numbers((2, 4, 5), "float32", 1)
    x, y = cupy.asarray(a), cupy.asarray(b)
    found = cupy.zeros((2, 3, 5), "float32")
    views = [products.View(v, v.shape, v.strides) for v in (found, x, y)]
    launches = [gemm.ready() for gemm in blas.products(*views)]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        blas.current()
        stream.begin_capture()
        for compute in launches:
            compute()
        graph = stream.end_capture()
    assert not found.get().any()  # nothing has been computed yet
    for scale in (1, 2):
        x[...] = cupy.asarray(a * np.float32(scale))
        graph.launch(stream)
        stream.synchronize()
        np.testing.assert_allclose(found.get(), scale * a @ b, rtol=1e-5)


# ----------------------------------------------------------------------------- anywhere


def by_hand(a, b):
    """The product by the kernel that takes any steps, whatever cuBLAS would do."""
    like = products.matmul.outputs(a, b)
    y = cupy.empty(like.shape, like.dtype)
    views = (products.View(x, x.shape, x.strides) for x in (y, a, b))
    products.anywhere(*views).ready()()
    return y


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 70)),
    layouts=st.tuples(steps, steps),
    batch=st.sampled_from(
        [((), ()), ((2,), ()), ((2,), (2,)), ((2, 1), (3,)), ((2, 1, 2), (2, 2, 1))]
    ),
)
def test_a_product_of_what_lies_anywhere(dtype, sizes, layouts, batch):
    m, k, n = sizes
    a = laid(numbers((*batch[0], m, k), dtype, 1), layouts[0])
    b = laid(numbers((*batch[1], k, n), dtype, 2), layouts[1])
    close(by_hand(a, b), a, b)


def test_infinities_and_nan_come_through():
    a = numbers((3, 4), "float32")
    a[0, 1], a[1, 2] = np.inf, np.nan
    y = by_hand(cupy.asarray(a), cupy.asarray(np.ones((4, 2), "float32"))).get()
    assert np.isposinf(y[0]).all()
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[2]).all()


# ------------------------------------------------------------------------------- groups


class Grouped(Eager):
    """Who asks for launches of groups: `tables` are the groups' own arrays, by any one's id."""

    def __init__(self, offsets, each, **owned):
        super().__init__(())
        self.offsets, self.each = cupy.asarray(offsets, "int64"), each
        self.owned = owned
        self.tables = {
            name: cupy.asarray([x.data.ptr for x in xs], "int64") for name, xs in owned.items()
        }

    def _name(self, value):
        return next((n for n, xs in self.owned.items() if any(x is value for x in xs)), None)

    def owns(self, *values):
        return any(self._name(v) is not None for v in values)

    def table(self, value):
        if self._name(value) is None:
            raise NotByGroup
        return self.tables[self._name(value)]

    def groups(self, rows):
        return len(self.offsets) - 1, self.offsets, self.each


splits = st.lists(st.sampled_from([0, 1, 3, 30, 70]), min_size=1, max_size=4).filter(any)


def launch(kernel, *args, **params):
    for x in kernel.launched(*args, **params):
        x.ready()()


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    counts=splits,
    each=st.sampled_from([1, 2]),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    flip=st.booleans(),
    bias=st.booleans(),
    relu=st.booleans(),
)
def test_rows_go_through_their_groups_weights(dtype, counts, each, sizes, flip, bias, relu):
    (k, n), groups = sizes, len(counts)
    offsets = np.cumsum([0, *counts])
    rows = int(offsets[-1]) * each
    a = numbers((rows, k), dtype, 1)
    weights = [numbers((n, k) if flip else (k, n), dtype, g) for g in range(groups)]
    shifts = [numbers((n,), dtype, 9 + g) for g in range(groups)]
    bs, biases = ([cupy.asarray(x) for x in xs] for xs in (weights, shifts))
    owned = {"b": bs, "bias": biases} if bias else {"b": bs}
    c = cupy.full((rows, n), np.nan, dtype)
    launch(
        products.product, Grouped(offsets, each, **owned), [c], cupy.asarray(a), bs[0],
        biases[0] if bias else None, m=rows, n=n, k=k,
        layout=(k, False, k if flip else n, flip), add=False, relu=relu,
    )  # fmt: skip
    y = c.get()
    for g in range(groups):
        here = slice(offsets[g] * each, offsets[g + 1] * each)
        w = weights[g].T if flip else weights[g]
        after = (lambda x: np.maximum(x, 0)) if relu else None
        close(y[here], a[here], w, shifts[g] if bias else None, after)


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    counts=splits,
    each=st.sampled_from([1, 2]),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_gradients_of_groups_are_of_their_rows(dtype, counts, each, sizes):
    (m, n), groups = sizes, len(counts)
    offsets = np.cumsum([0, *counts])
    rows = int(offsets[-1]) * each
    a, b = numbers((rows, m), dtype, 1), numbers((rows, n), dtype, 2)
    cs = [cupy.full((m, n), 7, dtype) for _ in range(groups)]
    launch(
        products.group_products, Grouped(offsets, each, c=cs), [cs[0]], cupy.asarray(a),
        cupy.asarray(b), None, m=m, n=n, k=rows, layout=(m, True, n, False), add=False, relu=False,
    )  # fmt: skip
    for g in range(groups):
        here = slice(offsets[g] * each, offsets[g + 1] * each)
        if counts[g]:
            close(cs[g].get(), a[here].T, b[here])
        else:
            assert (cs[g].get() == 7).all()  # who has no rows has no gradient


def test_a_sum_can_be_added_to_for_each_group():
    counts, k, n = [2, 3], 4, 5
    offsets = np.cumsum([0, *counts])
    a, total = numbers((5, k), "float32", 1), numbers((5, n), "float32", 2)
    weights = [numbers((k, n), "float32", g) for g in range(2)]
    bs, c = [cupy.asarray(w) for w in weights], cupy.asarray(total)
    launch(
        products.product, Grouped(offsets, 1, b=bs), [c], cupy.asarray(a), bs[0], None,
        m=5, n=n, k=k, layout=(k, False, n, False), add=True, relu=False,
    )  # fmt: skip
    expected = total + np.concatenate([a[:2] @ weights[0], a[2:] @ weights[1]])
    np.testing.assert_allclose(c.get(), expected, rtol=1e-5, atol=1e-5)


def test_what_groups_cannot_do_is_refused():
    b = cupy.zeros((4, 5), "float32")
    a, c = cupy.zeros((3, 4), "float32"), cupy.zeros((3, 5), "float32")
    sizes = {"m": 3, "n": 5, "k": 4, "layout": (4, False, 5, False), "add": False, "relu": False}
    p = Grouped([0, 3], 1, b=[b])
    with pytest.raises(Declined):
        products.group_products.launched(p, [c], a, b, None, **sizes)
    with pytest.raises(NotByGroup):
        products.product.launched(p, [c], b, b, None, **sizes)
    with pytest.raises(NotByGroup):
        products.product.launched(p, [c], a, b, c[0], **sizes)
    with pytest.raises(Declined):
        products.product.launched(Grouped([0, 3], 1, c=[c]), [c], a, b, None, **sizes)


@FEW
@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=600))
def test_where_groups_begin_is_counted_on_the_device(ids):
    ids = np.array(ids, np.int64)
    offsets = cupy.empty(6, "int64")
    there = cupy.asarray(ids)
    products.offsets_of(offsets, there).ready()()
    expected = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=5))])
    np.testing.assert_array_equal(offsets.get(), expected)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_autocast_multiplies_in_16_bits_and_gradients_are_float32(name):
    x, w = numbers((5, 8), "float32"), numbers((3, 8), "float32", 1)
    weight = mg.Tensor(cupy.asarray(w), requires_grad=True)
    with mg.autocast(name):
        y = mg.linear(cupy.asarray(x), weight)
        loss = mg.mean(y)
    assert (y.dtype, loss.dtype) == (half(name), np.float32)
    rounded = [v.astype(half(name)) for v in (x, w.T)]
    close(y.data, *rounded)
    loss.backward()
    assert weight.grad.dtype == np.float32
    expected = np.tile(rounded[0].astype("float64").mean(axis=0) / 3, (3, 1))
    np.testing.assert_allclose(weight.grad.data.get(), expected, rtol=0, atol=4 * EPS[name] / 3)

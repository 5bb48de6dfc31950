"""The loops of kernels as programs run them: by a record, share by share; and that records fit.

A typo in the name of a field would read a 0, or an address that belongs to something else.
"""

import ast
import inspect
import struct
import textwrap

import numpy as np
import pytest
from support import every_kernel

from minigrad import ops, random
from minigrad.autodiff import REGISTRY
from minigrad.kernels import find
from minigrad.kernels.layouts import INT64
from minigrad.kernels.machine import PROTOTYPE, Alone, Kernel, float_of, kernel
from minigrad.ops.activations import _relu_grad
from minigrad.ops.indexing import _reorder_rows
from minigrad.ops.losses import _count_of
from minigrad.ops.windows import _sum_windows, _windows
from minigrad.programs.lowering import CHOICES

KERNELS = every_kernel()
BY_FUSION = {  # whose calls are put together to fit them
    "products.product", "products.group_products", "elementwise.elementwise",
    "updates.adam", "updates.update",
}  # fmt: skip
NOT_BY_FILLS = {"updates.adam", "updates.update"}  # optimizers fill these
PARTS = (1, 2, 3, 7)


# --------------------------------------------------------------------- that everything is there


def test_the_pages_have_kernels():
    assert len(KERNELS) > 30
    assert {"norms.layer_norm", "windows.strided", "products.product"} <= KERNELS.keys()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, op in REGISTRY.items()
        if "numpy" in op.kernel and op.__module__.startswith("minigrad.")
    ],
)
def test_the_kernel_that_an_op_names_is_one_with_its_arguments(name):
    op = REGISTRY[name]
    kernel = op.kernel["numpy"]
    kernel = find(kernel) if type(kernel) is str else kernel
    assert type(kernel) is Kernel
    assert KERNELS[f"{kernel.__module__.rpartition('.')[2]}.{kernel.name}"] is kernel
    inputs, settings = arguments(op.formula)
    functions = [(kernel.outputs, 0)]
    if kernel._fills is not None:
        functions.append((kernel._fills, 2))  # the first ones are not the op's
    if kernel._direct is not None:
        functions.append((kernel._direct, op.outputs))
    for function, others in functions:
        given, options = arguments(function)
        # What only programs give comes last, and may be left out.
        more = given[others + len(inputs) - 1 :]
        assert len(given) >= others + len(inputs) - 1
        assert all(p.default is not p.empty for p in more)
        names = {p.name for p in options}
        assert "options" in names or {p.name for p in settings} <= names
        assert all(
            p.default is not p.empty
            for p in options
            if p.name not in {p.name for p in settings} | {"options"}
        )


def arguments(function):
    """The parameters by place, and those by name."""
    found = inspect.signature(function).parameters.values()
    by_name = [p for p in found if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    return [p for p in found if p not in by_name], by_name


@pytest.mark.parametrize("place", KERNELS)
def test_a_kernel_says_what_it_accepts_and_fills_or_is_made_by_fusion(place):
    kernel = KERNELS[place]
    if place in BY_FUSION:
        assert kernel.outputs is None
    elif place != "windows.strided":  # the loop of others, which say it
        assert kernel.outputs is not None
    assert kernel.__doc__
    if kernel._direct is not None:
        assert kernel.example is not None, "nothing could compile it ahead"


def test_every_kernel_is_used():
    named = {op.kernel["numpy"] for op in REGISTRY.values() if op.kernel.get("numpy")}
    used = {KERNELS.get(k) if type(k) is str else k for k in named}
    used |= {kernel for choices in CHOICES.values() for kernel in choices}
    left = {place for place, kernel in KERNELS.items() if kernel not in used}
    assert left == {
        "windows.strided", "elementwise.elementwise", "updates.adam", "updates.update",
    }  # fmt: skip


def fields_read(kernel):
    """The names of the fields that the loop of a kernel, or what it hands its record to, reads."""
    found, todo, seen = set(), [kernel.loop], set()
    while todo:
        function = todo.pop()
        if function in seen:
            continue
        seen.add(function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "r":
                found.add(node.attr)
            if isinstance(node, ast.Call) and "r" in map(ast.unparse, node.args):
                helper = function.__globals__[ast.unparse(node.func)]
                todo.append(helper.py_func)
    return found


@pytest.mark.parametrize("place", KERNELS)
def test_a_loop_reads_every_field_of_its_record_and_no_other(place):
    kernel = KERNELS[place]
    assert fields_read(kernel) == set(kernel.layout.names)


def test_a_field_that_is_not_there_is_refused():
    kernel = KERNELS["elementwise.relu"]
    with pytest.raises(TypeError, match="relu: its record has no fields called lenght"):
        kernel.record({"lenght": 3})


def test_a_field_that_nothing_gives_is_refused():
    loop = KERNELS["elementwise.relu"].loop

    @kernel("y x more n")
    def found(record, kind, part, parts):
        loop(record, kind, part, parts)

    found.accepts(lambda x, more=None: x)
    y, x = np.ones((2, 3))
    with pytest.raises(TypeError, match="found: nothing gives its fields n"):
        found.values(Alone(), (y,), x)
    found.fills(lambda program, outputs, x, more=None: {"n": x.size})
    assert found.values(Alone(), (y,), x) == {"y": y, "x": x, "more": None, "n": 3}
    found.fills(lambda program, outputs, x, more=None: {"n": x.size, "lenght": 3})
    with pytest.raises(TypeError, match="found: its record has no fields called lenght"):
        found(x)


def test_a_record_has_its_fields_in_their_places():
    kernel, x = KERNELS["windows.strided"], np.ones(3)
    record = kernel.record({"y": x, "b": None, "what": True, "axes": 2, "lengths": [5, 6]})
    [found] = record.view(kernel.layout)
    assert found["y"] == x.ctypes.data
    assert (found["a"], found["b"], found["what"], found["axes"]) == (0, 0, 1, 2)
    assert found["lengths"].tolist() == [5, 6, 0, 0, 0, 0]
    kernel = KERNELS["norms.layer_norm"]
    [found] = kernel.record({"eps": 0.25, "n": np.int64(7)}).view(kernel.layout)
    assert (found["eps"], found["n"], found["groups"]) == (0.25, 7, 0)
    with pytest.raises(struct.error):
        kernel.record({"n": 0.5})


# ---------------------------------------------------------------------------- what loops compute


class Page(Alone):
    """What a program is to `fills`."""

    number = 7

    def __init__(self, scratch):
        self.status = np.zeros(1, np.int64)
        self.memory, self.following, self.alive = scratch, [], []

    def scratch(self):
        return self.memory.ctypes.data

    def then(self, instruction):
        self.following.append(instruction)

    def keep(self, array):
        self.alive.append(array)
        return array

    def key(self, key):
        return self.keep(np.array(tuple(key), np.int64)).ctypes.data


def unset(like):
    """An array in which what was not written shows."""
    return np.full(like.shape, np.nan if like.dtype.kind == "f" else -77, like.dtype)


def by_record(kernel, inputs, params, parts, outputs=None):
    """The outputs as a program with `parts` threads makes them, one share after the other."""
    likes = kernel.outputs(*inputs, **params)
    assert likes is not None, "declined"
    likes = likes if type(likes) is tuple else (likes,)
    outputs = outputs or tuple(map(unset, likes))
    page = Page(None if kernel.scratch is None else unset(kernel.scratch(*inputs)))
    values = kernel.values(page, outputs, *inputs, **params)
    values.pop("work", None)
    record = kernel.record(values)
    lines = [(kernel.address(float_of(*outputs, *inputs)), record)]
    for address, record in lines + [(i.address, i.record) for i in page.following]:
        for part in range(parts):
            PROTOTYPE(address)(record.ctypes.data, 0, part, parts)
    return (*outputs, page.status)


def apart(x):
    """The same values, with gaps along the first axis."""
    wide = np.full((2 * x.shape[0], *x.shape[1:]), np.nan, x.dtype)
    wide[::2] = x
    return wide[::2]


def turned(x):
    """The same values, with the first two axes the other way round in memory."""
    return np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)


def cases(place, dtype):
    """(inputs, params) for a kernel: small and large, in all layouts that it takes."""
    rng = np.random.default_rng(5)

    def n(*shape):
        return np.asarray(rng.standard_normal(shape), dtype)

    def ids(*shape, below):
        return rng.integers(0, below, shape)

    match place:
        case "softmaxes.softmax" | "softmaxes.log_softmax":
            for shape in [(1,), (3, 1), (5, 37), (2, 3, 16), (4, 0), (0, 3)]:
                yield (n(*shape) * 4,), {"axis": -1}
                yield (n(*shape) * 4,), {"axis": len(shape) - 1, "dtype": None}
            x = n(4, 19)
            x[1], x[2, 3:], x[3, 0] = -np.inf, -np.inf, np.nan
            yield (x,), {"axis": 1}
        case "softmaxes.softmax_grad" | "softmaxes.log_softmax_grad":
            forward = getattr(ops, place.partition(".")[2].removesuffix("_grad"))
            for shape in [(1,), (3, 1), (5, 37), (2, 3, 16), (4, 0)]:
                yield (n(*shape), forward.formula(np, n(*shape))), {"axis": -1}
        case "norms.layer_norm":
            for shape in [(9,), (3, 1), (40, 16), (2, 21, 37)]:
                d = shape[-1]
                yield (n(*shape) + 3, n(d), n(d)), {"eps": 1e-5}
        case "norms.layer_norm_grad":
            for shape in [(9,), (40, 16), (2, 21, 37), (200, 5)]:
                yield (n(*shape), n(*shape) + 3, n(shape[-1])), {"eps": 1e-5}
        case "norms.batch_norm_train" | "norms.batch_norm_grad":
            for shape in [(5, 3), (40, 33), (7, 4, 5), (3, 2, 5, 7)]:
                for lie in (np.ascontiguousarray, apart, turned):
                    x, w, b = lie(n(*shape) * 3 + 1), n(shape[1]), n(shape[1])
                    if place.endswith("grad"):
                        yield (n(*shape), x, w), {"eps": 0.1}
                        yield (lie(n(*shape)), np.ascontiguousarray(x), w), {"eps": 0.1}
                    else:
                        yield (x, w, b), {"eps": 0.1}
        case "norms.batch_norm_stats":
            for shape in [(5, 3), (40, 33), (7, 4, 5), (3, 2, 5, 7)]:
                for lie in (np.ascontiguousarray, apart, turned):
                    yield (lie(n(*shape)), n(shape[1]), n(shape[1]) ** 2), {"momentum": 0.3}
        case "attention.attention" | "attention.attention_grad":
            for B, T, S, mask in [(1, 3, 3, None), (3, 5, 21, "B11S"), (4, 17, 6, "1HTS")]:
                for causal, scale in ((False, None), (True, 0.3)):
                    x = n(B, T, 8), n(B, S, 8), n(B, S, 12)
                    if mask is not None:
                        sides = {"B": B, "H": 4, "T": T, "S": S, "1": 1}
                        m = rng.random([sides[s] for s in mask]) < 0.7
                        m[..., 0] = True
                    else:
                        m = None
                    g = (n(B, T, 12),) if place.endswith("grad") else ()
                    options = {"heads": 4, "causal": causal, "scale": scale, "dropout": 0.0}
                    yield (*g, *x, m, None), options
                    yield (*g, *x, m, random.key(9)), options | {"dropout": 0.4}
                    if m is not None:
                        yield (*g, *x, m[0, 0] if m.shape[:2] == (1, 1) else m, None), options
        case "losses.cross_entropy_rows" | "losses.cross_entropy_rows_grad":
            for rows, classes in [(1, 1), (5, 7), (40, 33)]:
                for smoothing in (0.0, 0.1, 1.0):
                    x, t = n(rows, classes) * 3, ids(rows, below=classes)
                    t[1::3] = -100
                    options = {"ignore_index": -100, "label_smoothing": smoothing}
                    if place.endswith("grad"):
                        yield (n(rows), x, t), options
                        yield (np.broadcast_to(n(1)[0], (rows,)), x, t), options
                    else:
                        yield (x, t), options
        case "losses.count_of":
            t = ids(40, below=4)
            for target, ignored in [(t, 2), (t, -100), (t[:0], 1), (t * 0, 0)]:
                for empty in (False, True):
                    yield (n(3), target), {"ignore_index": ignored, "empty_is_zero": empty}
        case "embeddings.embedding":
            for shape, d in [((1,), 1), ((40,), 16), ((3, 7), 5), ((0,), 4), ((), 3)]:
                yield (np.asarray(ids(*shape, below=6)), n(6, d)), {}
                yield (np.asarray(ids(*shape, below=6)), n(6, d)), {"padding_idx": 2}
        case "embeddings.reorder_rows":
            for shape in [(1,), (20,), (20, 3), (40, 2, 9)]:
                order = rng.permutation(shape[0])
                yield (n(*shape), order, np.argsort(order)), {}
        case "embeddings.embedding_grad":
            for shape, d in [((1,), 1), ((40,), 16), ((3, 7), 37), ((), 3)]:
                yield (n(*shape, d), np.asarray(ids(*shape, below=6))), {"rows": 6}
        case "windows.windows":
            x = n(2, 3, 9, 19)
            for axis, size, stride, dilation in [(-1, 3, 1, 1), (-2, 2, 3, 2), (-1, 1, 2, 1)]:
                length = x.shape[axis]
                count = (length - (size - 1) * dilation - 1) // stride + 1
                options = {"axis": axis, "size": size, "stride": stride, "dilation": dilation}
                for lie in (
                    np.ascontiguousarray,
                    apart,
                    turned,
                    lambda x: x.astype(dtype).T.copy().T,
                ):
                    yield (lie(x),), options | {"count": count}
                    yield (lie(x),), options | {"count": 1}
        case "windows.sum_windows":
            for axis, size, stride, dilation in [(-1, 3, 1, 1), (-2, 2, 3, 2), (-1, 2, 1, 3)]:
                g = n(2, 3, size, 4, 18)
                length = (g.shape[axis] - 1) * stride + (size - 1) * dilation + 1
                options = {"axis": axis, "stride": stride, "dilation": dilation}
                for lie in (np.ascontiguousarray, apart, turned):
                    yield (lie(g),), options | {"length": length}
                    yield (lie(g),), options | {"length": length + 2}
        case "windows.max_windows" | "windows.max_windows_grad":
            for lengths, kernel, stride, dilation in [
                ((13, 39), (2, 2), (2, 2), (1, 1)),
                ((9, 11), (3, 2), (2, 3), (1, 2)),
                ((11,), (3,), (1,), (2,)),
                ((40,), (2,), (2,), (1,)),
            ]:
                sizes = zip(lengths, kernel, stride, dilation, strict=True)
                counts = tuple((m - (k - 1) * d - 1) // s + 1 for m, k, s, d in sizes)
                options = {
                    "kernel": kernel, "stride": stride, "dilation": dilation, "counts": counts
                }  # fmt: skip
                for lie in (np.ascontiguousarray, apart, turned):
                    x = np.floor(n(2, 3, *lengths) * 2)
                    x[0, 0, 3] = np.nan
                    g = n(2, 3, *counts)
                    if place.endswith("grad"):
                        yield (g, lie(x)), options
                        yield (lie(g), x), options
                    else:
                        yield (lie(x),), options
        case "windows.reshape":
            for x, shape in [(n(6, 4), (3, 8)), (n(4, 6).T, (2, 12)), (turned(n(3, 4, 5)), (60,))]:
                yield (x,), {"shape": shape}
            yield (np.broadcast_to(n(5), (7, 5)),), {"shape": (35,)}
            yield (n(1),), {"shape": ()}
        case "sorting.top_ids":
            for shape in [(1,), (7, 50), (2, 3, 33)]:
                for descending in (False, True):
                    x = np.floor(n(*shape) * 3)
                    x.reshape(-1)[0] = np.nan
                    k = min(4, shape[-1])
                    yield (x,), {"k": k, "descending": descending}
        case "noise.dropout":
            for shape in [(), (1,), (3, 171), (1025,)]:
                for p in (0, 0.3):
                    options = {"p": p, "shared": (), "levels": None}
                    yield (n(*shape), random.fold(random.key(2**64 - 1), "a")), options
        case "elementwise.add":
            for a, b in [((3,), (3,)), ((5, 7), (7,)), ((33,), (40, 33)), ((2, 3, 5), (3, 5))]:
                yield (n(*a), n(*b)), {}
            yield (n(2100), n(2100)), {}
            yield (n(3, 2), n()), {}
        case "elementwise.relu" | "elementwise.relu_grad" | "elementwise.relu_grad_strided":
            for shape in [(), (1,), (33, 40), (4100,)]:
                x = n(*shape)
                x.reshape(-1)[:3] = [np.nan, 0, -0.0][: x.size]
                g = (n(*shape),) if "grad" in place else ()
                yield (*g, np.asarray(np.maximum(x, 0)) if g else x), {}
            if "grad_strided" in place:
                yield (turned(n(5, 6, 7)), np.maximum(n(5, 6, 7), 0)), {}
                yield (n(5, 6), np.maximum(apart(n(5, 6)), 0)), {}
                yield (np.broadcast_to(n(1)[0], (5, 6)), np.maximum(n(6, 5), 0).T), {}
        case "reductions.column_sums":
            for shape in [(1, 1), (7, 5), (33, 40), (9, 300)]:
                for axis in (0, -2, (0,)):
                    yield (n(*shape),), {"axis": axis, "keepdims": axis == -2}
        case "reductions.sum_all":
            for shape in [(), (1,), (33, 40)]:
                for keepdims in (False, True):
                    yield (n(*shape),), {"keepdims": keepdims}
        case "reductions.channel_sums":
            for shape in [(2, 3, 5), (3, 2, 4, 9)]:
                for lie in (np.ascontiguousarray, apart, turned):
                    axes = tuple(i for i in range(len(shape)) if i != 1)
                    yield (lie(n(*shape)),), {"axis": axes}
                    yield (lie(n(*shape)),), {"axis": axes[::-1], "keepdims": True}
        case _:
            raise NotImplementedError(place)


OF_PROGRAMS = {
    "losses.count_of": _count_of, "embeddings.embedding": ops.embedding,
    "embeddings.reorder_rows": _reorder_rows, "windows.reshape": ops.reshape,
    "elementwise.add": ops.add, "elementwise.relu": ops.relu,
    "elementwise.relu_grad_strided": _relu_grad, "reductions.column_sums": ops.sum,
    "reductions.sum_all": ops.sum, "reductions.channel_sums": ops.sum,
    "elementwise.relu_grad": _relu_grad, "windows.windows": _windows,
    "windows.sum_windows": _sum_windows,
}  # fmt: skip
ON_ARRAYS = {
    op.kernel["numpy"]: op
    for op in REGISTRY.values()
    if op.__module__.startswith("minigrad.") and type(op.kernel.get("numpy")) is str
}
OPS = {place: OF_PROGRAMS.get(place) or ON_ARRAYS.get(place) for place in KERNELS}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("place", [p for p in KERNELS if p not in BY_FUSION | {"windows.strided"}])
def test_a_loop_gives_what_the_formula_gives_on_any_number_of_threads(place, dtype):
    kernel = KERNELS[place]
    count = 0
    for inputs, params in cases(place, dtype):
        count += 1
        wide = [x.astype("f8") if getattr(x, "dtype", INT64).kind == "f" else x for x in inputs]
        expected = formula(OPS[place], wide, params)
        *found, status = by_record(kernel, inputs, params, 1)
        assert not status[0]
        what = f"{params} of {[getattr(x, 'shape', x) for x in inputs]}"
        for y, z in zip(found, expected, strict=True):
            finite = np.isfinite(z)
            scale = max(1.0, np.max(np.abs(z), initial=0.0, where=finite)) * max(z.size, 1) ** 0.5
            close = 3e-6 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(y, z, rtol=close, atol=close * scale, err_msg=what)
        for parts in PARTS[1:]:
            *again, _ = by_record(kernel, inputs, params, parts)
            for y, z in zip(found, again, strict=True):
                assert y.tobytes() == z.tobytes(), f"{parts} parts: {what}"
        if kernel._direct is not None:
            direct = kernel(*inputs, **params)
            direct = direct if type(direct) is tuple else (direct,)
            for y, z in zip(found, direct, strict=True):
                np.testing.assert_allclose(y, z, rtol=1e-5, atol=close * scale, err_msg=what)
    assert count > 2


def formula(op, inputs, params):
    """What the formula gives, as a tuple."""
    with np.errstate(all="ignore"):
        if op is ops.embedding:
            found = inputs[1][inputs[0]]
        elif op is ops.reshape:
            found = inputs[0].reshape(params["shape"])
        else:
            found = op.formula(np, *inputs, **params)
    return found if type(found) is tuple else (found,)

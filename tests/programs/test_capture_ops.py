"""Every op of the table in a program: what it gives, and its first derivatives.

And that ids are read anew in each call, by ops that look at them on the host.
"""

import importlib
import pkgutil

import numpy as np
import pytest
from cases import CASES
from hypothesis import HealthCheck, given, settings

import minigrad as mg
from minigrad.backend import is_array
from minigrad.errors import CaptureError, MinigradError
from minigrad.random import Key

# The shape of what they give depends on values, or what they draw on a key that is no argument.
GROUPS = {}
for _case in CASES:
    GROUPS.setdefault(_case.op.__name__, []).append(_case)


@pytest.mark.parametrize("name", GROUPS)
def test_op(name):
    for case in GROUPS[name]:
        check(case)


def check(case):
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case.calls)
    def each(call):
        if any(type(x) is Key for x in (*call.inputs, *call.params.values())):
            return

        def values(*inputs):
            y = case.op(*inputs, **call.params)
            return list(y) if isinstance(y, tuple | list) else [y]

        def gradients(*inputs):
            floats = [
                x.requires_grad_()
                for x in inputs
                if type(x) is mg.Tensor and x.dtype in ("float32", "float64")
            ]
            ys = [y for y in values(*inputs) if type(y) is mg.Tensor and y.requires_grad]
            if not ys or not floats:
                return []
            found = mg.gradients([(y * y).sum() for y in ys], floats)
            return [g for g in found if g is not None]

        for function in (values, gradients) if case.order else (values,):
            fast = mg.jit(function)
            for scale in (1.0, 0.9995):
                inputs = [
                    x * np.asarray(scale, x.dtype) if is_array(x) and x.dtype.kind == "f" else x
                    for x in call.inputs
                ]
                tensors = [mg.Tensor(x) if is_array(x) else x for x in inputs]
                try:
                    expected = function(*tensors)
                except MinigradError:
                    return  # a scaled input may leave the domain
                try:
                    with np.errstate(all="ignore"):
                        got = fast(*inputs)
                except (CaptureError, MinigradError) as error:
                    if "depends on values" in str(error) or "asks for a value" in str(error):
                        return
                    raise
                for a, b in zip(got, expected, strict=True):
                    a, b = (t.data if type(t) is mg.Tensor else t for t in (a, b))
                    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)

    each()


# -------------------------------------------------------------------------- ids that change

NUMBERS = np.random.default_rng(0)


def floats(*shape):
    return NUMBERS.uniform(0.1, 0.9, shape)


def ids(high, *shape, low=0):
    return NUMBERS.integers(low, high, shape)


def each_once(*shape):
    return NUMBERS.permuted(np.tile(np.arange(8), (*shape[:-1], 1)), axis=-1)[..., : shape[-1]]


def reduced(reduce, *self):
    return lambda x, i, v: mg.scatter_reduce(x, i, v, 0, reduce, *self)


LENGTHS = (6, 5), (3, 2)
CHANGING = {
    "scatter_reduce, sum": (reduced("sum"), lambda: (floats(4, 3), ids(4, 5, 3), floats(5, 3))),
    "scatter_reduce, prod": (reduced("prod"), lambda: (floats(4, 3), ids(4, 5, 3), floats(5, 3))),
    "scatter_reduce, mean": (
        reduced("mean", False), lambda: (floats(4, 3), ids(4, 5, 3), floats(5, 3))),
    "scatter_reduce, amax": (
        reduced("amax", False), lambda: (floats(4, 3), ids(4, 5, 3), floats(5, 3))),
    "index_reduce": (
        lambda x, i, v: mg.index_reduce(x, i, v, 0, "prod"),
        lambda: (floats(4, 3), ids(4, 5), floats(5, 3))),
    "index_fill": (
        lambda x, i: mg.index_fill(x, i, 2.0, 0), lambda: (floats(4, 3), ids(4, 5))),
    "index_put": (
        lambda x, i, v: mg.index_put(x, (i,), v, True),
        lambda: (floats(4, 3), ids(4, 5), floats(5, 3))),
    "index_put, a number": (
        lambda x, i: mg.index_put(x, (i,), 2.0), lambda: (floats(4, 3), ids(4, 5))),
    "max_unpool1d": (
        lambda x, i: mg.max_unpool1d(x, i, 2), lambda: (floats(2, 3, 4), each_once(2, 3, 4))),
    "multilabel_margin_loss": (
        mg.multilabel_margin_loss, lambda: (floats(4, 3), ids(3, 4, 3, low=-1))),
    "multi_margin_loss": (mg.multi_margin_loss, lambda: (floats(4, 3), ids(3, 4))),
    "nll_loss": (mg.nll_loss, lambda: (floats(4, 3), ids(3, 4))),
    "nll_loss, weighted": (mg.nll_loss, lambda: (floats(4, 3), ids(3, 4), floats(3))),
    "cross_entropy": (mg.cross_entropy, lambda: (floats(4, 3), ids(3, 4))),
    "cross_entropy, weighted": (
        lambda x, i, w: mg.cross_entropy(x, i, w, label_smoothing=0.1),
        lambda: (floats(4, 3), ids(3, 4), floats(3))),
    "ctc_loss": (
        lambda x, i: mg.ctc_loss(x, i, *LENGTHS), lambda: (floats(6, 2, 4), ids(4, 2, 3, low=1))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("name", CHANGING)
def test_ids_are_read_anew_in_each_call(name, dtype):
    function, draw = CHANGING[name]

    def gradient(x, *others):
        y = function(x.requires_grad_(), *others)
        return y, mg.gradients((y * y).sum(), x)

    fast, first = mg.jit(gradient), draw()
    for k in range(5):
        # The first two calls, from which a program is made, have the same ids.
        arrays = [
            a.astype(dtype) if a.dtype.kind == "i" else a for a in (draw() if k > 1 else first)
        ]
        expected = gradient(*map(mg.tensor, arrays))
        for a, b in zip(fast(*map(mg.tensor, arrays)), expected, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-6, 1e-9)


def test_lengths_that_decide_a_loop_are_refused():
    fast = mg.jit(mg.ctc_loss)
    x, targets = mg.tensor(floats(6, 2, 4)), mg.tensor(ids(4, 2, 3, low=1))
    lengths = [mg.tensor(np.array(n)) for n in LENGTHS]
    with pytest.raises(CaptureError, match="for its input_lengths; give tuples"):
        [fast(x, targets, *lengths) for _ in range(3)]


def _names_of_the_inside():
    """Names that mean something to who makes programs, and those of all ops."""
    from minigrad import kernels, programs
    from minigrad.autodiff import REGISTRY
    from minigrad.kernels.warming import PAGES

    found = set()
    for module in (*PAGES, kernels, np):
        found |= {name.lstrip("_") for name in vars(module)}
    for inner in pkgutil.iter_modules(programs.__path__, "minigrad.programs."):
        module = importlib.import_module(inner.name)
        found |= {name.lstrip("_") for name in vars(module)}
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == inner.name:
                found |= {name.lstrip("_") for name in vars(kind)}
    return sorted(n for n in found | REGISTRY.keys() if n.isidentifier())


def test_an_op_of_a_users_may_have_any_name():
    """A program takes no op for another that is called the same."""
    from minigrad.autodiff import primitive

    x = np.linspace(0.5, 2, 6).astype("float32").reshape(2, 3)
    for name in _names_of_the_inside():

        def formula(xp, x):
            return x * 3 + 1

        formula.__name__ = formula.__qualname__ = name
        theirs = primitive(formula)
        theirs.vjps(lambda g, y, _x: g * 3)
        fast = mg.jit(lambda x, f=theirs: mg.tanh(f(x) * 2).sum())
        for scale in (1.0, 0.5, 2.0):
            expected = np.tanh((x * scale * 3 + 1) * 2).sum()
            np.testing.assert_allclose(fast(x * scale).item(), expected, rtol=1e-5, err_msg=name)

"""Transforms: against each other, against formulas known by heart, and nested to third order."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.autodiff import Tensor
from minigrad.backend import to_device, to_numpy
from minigrad.errors import DtypeError, GradientError, ShapeError


def array(*shape, seed=0, dtype="float64"):
    return to_device(np.random.default_rng(seed).uniform(0.3, 1.5, shape).astype(dtype))


def host_tree(tree):
    """Results as NumPy arrays."""
    if isinstance(tree, dict):
        return {k: host_tree(v) for k, v in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(map(host_tree, tree))
    return to_numpy(tree.detach().data if type(tree) is Tensor else tree)


def trees_close(got, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(host_tree(got), host_tree(expected), rtol=rtol, atol=atol)


def network(w, x):
    """(5,) to (3,), bent."""
    return mg.tanh(mg.tanh(x @ w["a"]) @ w["b"])


WEIGHTS = {"a": array(5, 4, seed=1), "b": array(4, 3, seed=2)}


# ---------------------------------------------------------------------------- grad and kind


def test_grad_of_an_array_is_an_array():
    x = array(3)
    value, g = mg.value_and_grad(lambda x: (x**3).sum())(x)
    assert type(value) is type(g) is type(x)
    trees_close(value, host_tree(x) ** 3 @ np.ones(3))
    trees_close(g, 3 * host_tree(x) ** 2)


def test_grad_of_a_tensor_is_an_untracked_tensor():
    for x in (Tensor(array(3)), Tensor(array(3), requires_grad=True)):
        g = mg.grad(lambda x: (x**2).sum())(x)
        assert type(g) is Tensor
        assert g.requires_grad == x.requires_grad, "an outer derivative may follow"
        trees_close(g, 2 * host_tree(x))
        assert x.grad is None


def test_grad_of_a_number():
    assert mg.grad(lambda x: x * x * x)(2.0).item() == 12


def test_argnums_and_trees():
    def f(a, b, tree):
        return (a * b * tree["w"][0]).sum() + tree["v"].sum() * 2

    a, b, tree = array(2), array(2, seed=1), {"w": [array(2, seed=2)], "v": array(3, seed=3)}
    trees_close(mg.grad(f, 1)(a, b, tree), host_tree(a) * host_tree(tree["w"][0]))
    da, dtree = mg.grad(f, (0, -1))(a, b, tree)
    trees_close(da, host_tree(b) * host_tree(tree["w"][0]))
    trees_close(dtree["w"][0], host_tree(a) * host_tree(b))
    trees_close(dtree["v"], [2, 2, 2])
    assert list(dtree) == ["w", "v"]


def test_has_aux_and_keywords():
    def f(x, *, scale):
        y = x * scale
        return y.sum(), {"y": y, "n": 3}

    (value, aux), g = mg.value_and_grad(f, has_aux=True)(array(2), scale=4.0)
    trees_close(value, host_tree(array(2)).sum() * 4)
    trees_close(g, [4, 4])
    assert aux["n"] == 3
    assert not aux["y"].requires_grad
    g, aux = mg.grad(f, has_aux=True)(array(2), scale=4.0)
    trees_close(g, [4, 4])
    trees_close(aux["y"], host_tree(array(2)) * 4)


def test_an_unused_argument_has_zero_gradient_and_an_unused_parameter_none():
    g = mg.grad(lambda a, b: mg.sum(Tensor(a)), 1)(array(2), array(3))
    assert host_tree(g).tolist() == [0, 0, 0]
    model = nn.Linear(2, 2)
    assert mg.grad(lambda m: m.weight.sum())(model)["bias"] is None


def test_nothing_tracked_gives_zeros():
    assert host_tree(mg.grad(lambda x: Tensor(array()))(array(2))).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("function", "argument", "error", "message"),
    [
        (lambda x: x, np.ones(3), GradientError, "must give a floating-point scalar"),
        (lambda x: 3.0, np.ones(3), GradientError, "gave float"),
        (lambda x: (x > 0).all(), np.ones(3), GradientError, "scalar"),
        (lambda x: x.sum(), np.arange(3), DtypeError, r"argument 0 is int64 \(3,\)"),
        (lambda x: x["a"].sum(), {"a": np.arange(3)}, DtypeError, r"argument 0\['a'\]"),
    ],
)
def test_grad_says_what_is_wrong(function, argument, error, message):
    argument = {k: to_device(v) for k, v in argument.items()} if isinstance(argument, dict) else (
        to_device(argument)
    )  # fmt: skip
    with pytest.raises(error, match=message):
        mg.grad(function)(argument)


def test_argnums_out_of_range():
    with pytest.raises(TypeError, match="argnums=2 for 1 positional"):
        mg.grad(lambda x: x.sum(), 2)(array(2))


def test_grad_records_under_no_grad():
    with mg.no_grad():
        trees_close(mg.grad(lambda x: (x * x).sum())(array(2)), 2 * host_tree(array(2)))


# ---------------------------------------------------------------------------------- nesting


def test_third_order():
    third = mg.grad(mg.grad(mg.grad(mg.sin)))
    x = array()
    trees_close(third(x), -np.cos(host_tree(x)))
    trees_close(mg.jacfwd(mg.jacrev(mg.jacfwd(mg.sin)))(x), -np.cos(host_tree(x)))
    trees_close(mg.jacrev(mg.jacfwd(mg.jacfwd(mg.exp)))(x), np.exp(host_tree(x)))
    trees_close(mg.hessian(mg.grad(lambda x: x**5))(x), 60 * host_tree(x) ** 2)


def test_perturbations_are_not_confused():
    def outer(x):
        return x * mg.grad(lambda y: x * y)(x)  # the inner derivative is x, not 2 x

    trees_close(mg.grad(outer)(array()), 2 * host_tree(array()))
    inner = mg.jvp(lambda x: x * mg.jvp(lambda y: x * y, (x,), (mg.ones_like(x),))[1],
                   (array(),), (mg.ones_like(array()),))[1]  # fmt: skip
    trees_close(inner, 2 * host_tree(array()))


def test_a_closure_over_an_outer_variable_is_differentiated():
    def outer(w):
        g = mg.grad(lambda x: (w * w * x).sum())(array(3))  # w ** 2
        return g.sum()

    trees_close(mg.grad(outer)(array(3)), 2 * host_tree(array(3)))
    w = Tensor(array(3), requires_grad=True)  # with PyTorch's idiom around it
    outer(w).backward()
    trees_close(w.grad, 2 * host_tree(array(3)))


def test_jacobians_agree():
    x = array(5)
    rev = mg.jacrev(network, 1)(WEIGHTS, x)
    fwd = mg.jacfwd(network, 1)(WEIGHTS, x)
    assert rev.shape == (3, 5)
    trees_close(rev, fwd)
    step = 1e-6 * np.eye(5)
    numeric = [
        (
            host_tree(network(WEIGHTS, x + to_device(e)))
            - host_tree(network(WEIGHTS, x - to_device(e)))
        )
        / 2e-6
        for e in step
    ]
    trees_close(rev, np.stack(numeric, axis=-1), rtol=1e-6)


def test_jacobian_of_trees():
    def f(w, x):
        return {"y": network(w, x), "z": x.sum()}

    rev, fwd = (j(f, (0, 1))(WEIGHTS, array(5)) for j in (mg.jacrev, mg.jacfwd))
    assert rev["y"][0]["a"].shape == (3, 5, 4)
    assert rev["z"][1].shape == (5,)
    for a, b in ((rev, fwd),):
        for name in ("y", "z"):
            trees_close(a[name][0]["a"], b[name][0]["a"])
            trees_close(a[name][1], b[name][1])


def test_hessian_and_hvp():
    def f(x):
        return (mg.tanh(x) * x[::-1] ** 2).sum() + mg.logsumexp(x)

    x, v = array(4), array(4, seed=5)
    h = mg.hessian(f)(x)
    trees_close(h, host_tree(h).T)
    trees_close(h, mg.jacrev(mg.jacrev(f))(x))
    trees_close(h, mg.jacfwd(mg.jacfwd(f))(x))
    trees_close(mg.hvp(f, x, v), host_tree(h) @ host_tree(v))
    (product,) = mg.hvp(f, (x,), (v,))
    trees_close(product, host_tree(h) @ host_tree(v))


def test_jvp_is_the_jacobian_times_a_vector():
    x, v = array(5), array(5, seed=3)
    value, tangent = mg.jvp(lambda x: network(WEIGHTS, x), (x,), (v,))
    assert type(value) is type(tangent) is type(x)
    trees_close(value, network(WEIGHTS, x))
    trees_close(tangent, host_tree(mg.jacrev(network, 1)(WEIGHTS, x)) @ host_tree(v))
    with pytest.raises(ShapeError, match="a tangent has shape"):
        mg.jvp(mg.sin, (x,), (array(4),))


def test_vjp_may_be_pulled_often():
    value, pull = mg.vjp(network, WEIGHTS, array(5))
    trees_close(value, network(WEIGHTS, array(5)))
    jacobian = host_tree(mg.jacrev(network, 1)(WEIGHTS, array(5)))
    for seed in (1, 2):
        g = array(3, seed=seed)
        dw, dx = pull(g)
        assert dw["a"].shape == (5, 4)
        trees_close(dx, host_tree(g) @ jacobian)
    with pytest.raises(ShapeError, match="expected one array, got a tuple of 2"):
        pull((array(3), array(3)))


def test_jvp_of_a_module():
    model = nn.Linear(3, 2)
    x = mg.randn(4, 3)
    direction = {"weight": mg.ones((2, 3))}
    _, tangent = mg.jvp(lambda m: m(x), (model,), (direction,))
    trees_close(tangent, host_tree(x) @ np.ones((3, 2)), rtol=1e-5)


# ------------------------------------------------------------------------------------- vmap


def looped(function, *args, in_axes):
    """`vmap` by a loop over the examples."""
    n = next(x.shape[a] for x, a in zip(args, in_axes, strict=True) if a is not None)
    rows = [
        host_tree(function(*(
            x if a is None else to_device(np.take(host_tree(x), i, axis=a))
            for x, a in zip(args, in_axes, strict=True)
        )))
        for i in range(n)
    ]  # fmt: skip
    return np.stack(rows)


def test_vmap_of_a_network_and_its_derivatives():
    xs = array(7, 5)
    f = lambda x: network(WEIGHTS, x)  # noqa: E731
    trees_close(mg.vmap(f)(xs), looped(f, xs, in_axes=[0]))
    g = mg.grad(lambda x: f(x).sum())
    trees_close(mg.vmap(g)(xs), looped(g, xs, in_axes=[0]))
    for jacobian in (mg.jacrev(f), mg.jacfwd(f), mg.hessian(lambda x: f(x).sum())):
        trees_close(mg.vmap(jacobian)(xs), looped(jacobian, xs, in_axes=[0]))
    hv = lambda x: mg.hvp(lambda x: f(x).sum(), x, x)  # noqa: E731
    trees_close(mg.vmap(hv)(xs), looped(hv, xs, in_axes=[0]))


def test_grad_of_vmap_sums_over_the_batch():
    xs = array(7, 5)
    by_batch = mg.grad(lambda w: mg.vmap(lambda x: network(w, x))(xs).sum())(WEIGHTS)
    by_product = mg.grad(lambda w: network(w, xs).sum())(WEIGHTS)
    for name in WEIGHTS:
        trees_close(by_batch[name], by_product[name])


def test_gradients_of_each_example():
    xs = array(7, 5)
    each = mg.vmap(lambda x: mg.grad(lambda w: network(w, x).sum())(WEIGHTS))(xs)
    one_by_one = [mg.grad(lambda w, x=x: network(w, x).sum())(WEIGHTS) for x in xs]
    for name in WEIGHTS:
        trees_close(each[name], np.stack([host_tree(g[name]) for g in one_by_one]))
    model = nn.Linear(5, 2)
    rows = xs.astype("float32")
    each = mg.vmap(lambda x: mg.grad(lambda m: (m(x) ** 2).sum())(model))(rows)
    assert each["weight"].shape == (7, 2, 5)
    total = mg.grad(lambda m: (m(rows) ** 2).sum())(model)
    trees_close(each["weight"].sum(axis=0), total["weight"], rtol=1e-5)


def test_second_order_through_vmap():
    xs = array(4, 5)

    def loss(w):
        penalty = mg.vmap(mg.grad(lambda x: network(w, x).sum()))(xs)
        return (penalty**2).sum()

    found = mg.grad(loss)(WEIGHTS)
    for name, w in WEIGHTS.items():
        move = array(*w.shape, seed=9)
        step = 1e-5
        plus, minus = (loss({**WEIGHTS, name: w + s * move}) for s in (step, -step))
        slope = (float(plus) - float(minus)) / (2 * step)
        assert math.isclose(
            float((host_tree(found[name]) * host_tree(move)).sum()), slope, rel_tol=1e-6
        )


def test_nested_vmaps():
    xs, ys = array(3, 5), array(4, 5, seed=1)
    outer = mg.vmap(lambda x: mg.vmap(lambda y: (x * y).sum())(ys))(xs)
    trees_close(outer, host_tree(xs) @ host_tree(ys).T)
    table = mg.vmap(mg.vmap(lambda x, y: x - y, (None, 0)), (0, None))(xs, ys)
    trees_close(table, host_tree(xs)[:, None] - host_tree(ys))


@pytest.mark.parametrize("in_axis", [0, 1, -1])
@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_vmap_axes(in_axis, out_axis):
    xs = array(3, 4)
    y = mg.vmap(lambda x: x * 2, in_axis, out_axis)(xs)
    expected = np.moveaxis(np.moveaxis(host_tree(xs), in_axis, 0) * 2, 0, out_axis)
    trees_close(y, expected)


def test_vmap_of_trees():
    tree = {"a": array(3, 2), "b": [array(2, 3, seed=1), array(4, seed=2)]}
    out = mg.vmap(
        lambda t, c: (t["a"] + t["b"][0], t["b"][1] * c),
        in_axes=({"a": 0, "b": [1, None]}, None),
        out_axes=(0, None),
    )(tree, 2.0)
    trees_close(out[0], host_tree(tree["a"]) + host_tree(tree["b"][0]).T)
    trees_close(out[1], host_tree(tree["b"][1]) * 2)


def test_vmap_keeps_kinds():
    assert type(mg.vmap(mg.sin)(array(3))) is type(array(3))
    assert type(mg.vmap(mg.sin)(Tensor(array(3)))) is Tensor
    x = Tensor(array(3), requires_grad=True)
    mg.vmap(mg.sin)(x).sum().backward()
    trees_close(x.grad, np.cos(host_tree(x)))


def test_vmap_of_an_empty_batch():
    assert mg.vmap(lambda x: mg.softmax(x) @ WEIGHTS["a"])(array(0, 5)).shape == (0, 4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x[x > 0.5], "depends on values"),
        (lambda x: mg.nonzero(x), "depends on values"),
        (lambda x: x.item(), "differs"),
    ],
)
def test_vmap_refuses_what_depends_on_values(function, message):
    with pytest.raises((ShapeError, TypeError, ValueError), match=message):
        mg.vmap(function)(array(3, 1))


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "args", "message"),
    [
        (0, 0, (array(3), array(4)), "different lengths"),
        (None, 0, (array(3), array(3)), "at least one"),
        (1, 0, (array(3), array(3)), "has no axis 1"),
        ((0,), 0, (array(3), array(3)), "does not fit 2"),
        (0, None, (array(3), array(3)), "differs from example to example"),
    ],
)
def test_vmap_says_what_is_wrong(in_axes, out_axes, args, message):
    with pytest.raises(ShapeError, match=message):
        mg.vmap(lambda x, y: x + y, in_axes, out_axes)(*args)


def test_vmap_explains(capsys):
    mapped = mg.vmap(lambda x: mg.softmax(x).sum(), explain=True)
    mapped(array(3, 4))
    out = capsys.readouterr().out
    assert "no loop over examples" in out
    assert "softmax: 1 calls" in out
    assert mapped.report.calls["softmax"] == 1


def test_dropout_differs_from_example_to_example():
    x = mg.ones((8, 64))
    y = mg.vmap(lambda row: mg.dropout(row, mg.random.key(3), p=0.5))(x)
    assert len({tuple(row) for row in host_tree(y).tolist()}) == 8


# ------------------------------------------------------------------------------- checkpoint


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args):
        self.calls += 1
        return self.function(*args)


@pytest.mark.parametrize("backend_dtype", ["float32", "float64"])
def test_checkpoint_changes_no_bit(backend_dtype):
    w = Tensor(array(4, 4, dtype=backend_dtype), requires_grad=True)  # captured, not passed
    x = Tensor(array(3, 4, seed=1, dtype=backend_dtype), requires_grad=True)
    block = Counted(lambda h: mg.tanh(mg.dropout(h @ w, mg.random.next_key(), p=0.25)))

    def loss(function):
        with mg.random.stream(7):
            h = x * 2.0  # tracked, no leaf
            for _ in range(3):
                h = function(h)
            return (h * h).sum()

    checkpointed = mg.checkpoint(block)
    kept = mg.gradients(loss(checkpointed), [x, w], retain_graph=False)
    calls = block.calls
    assert calls == 6, "three forward, three again"

    # The same keys are drawn if every block has a stream of its own.
    def streamed(h):
        with mg.random.stream(mg.random.next_key()):
            return block.function(h)

    plain = mg.gradients(loss(streamed), [x, w])
    for a, b in zip(kept, plain, strict=True):
        np.testing.assert_array_equal(host_tree(a), host_tree(b))


def test_checkpoint_keeps_nothing_inside_and_nests():
    f = mg.checkpoint(lambda x: mg.sin(mg.exp(x)))
    x = array()
    e = np.exp(host_tree(x))
    trees_close(mg.grad(f)(x), np.cos(e) * e)
    trees_close(mg.grad(mg.grad(f))(x), np.cos(e) * e - np.sin(e) * e * e)
    trees_close(mg.grad(mg.checkpoint(mg.checkpoint(f)))(x), np.cos(e) * e)
    trees_close(
        mg.vmap(mg.grad(f))(array(3)),
        np.cos(np.exp(host_tree(array(3)))) * np.exp(host_tree(array(3))),
    )


def test_checkpoint_of_several_outputs_and_a_module():
    model = nn.Linear(3, 3)
    f = mg.checkpoint(lambda x, scale=1.0: {"y": model(x) * scale, "ids": mg.argmax(x, axis=-1)})
    x = mg.randn(2, 3)
    out = f(x, scale=2.0)
    assert not out["ids"].requires_grad
    out["y"].sum().backward()
    expected = mg.grad(lambda m: (m(x) * 2.0).sum())(model)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(host_tree(p.grad), host_tree(expected[name]))


# ------------------------------------------------------------------------------- custom_vjp


def test_custom_vjp():
    @mg.custom_vjp
    def clipped(x, low, high):
        return mg.clip(x, low, high)

    def fwd(x, low, high):
        return mg.clip(x, low, high), (x,)

    def bwd(residuals, g):
        (x,) = residuals
        return g * mg.cos(x), None, None

    clipped.defvjp(fwd, bwd)
    x = array(3)
    trees_close(mg.grad(lambda x: clipped(x, 0.0, 1.0).sum())(x), np.cos(host_tree(x)))
    trees_close(mg.grad(lambda x: mg.grad(lambda x: clipped(x, 0.0, 1.0).sum())(x).sum())(x),
          -np.sin(host_tree(x)))  # fmt: skip
    t = Tensor(x, requires_grad=True)
    clipped(t, 0.0, 1.0).sum().backward()
    trees_close(t.grad, np.cos(host_tree(x)))
    assert not clipped(Tensor(x), 0.0, 1.0).requires_grad
    trees_close(mg.vmap(mg.grad(lambda x: clipped(x, 0.0, 1.0)))(x), np.cos(host_tree(x)))


def test_custom_vjp_that_does_not_fit():
    f = mg.custom_vjp(lambda x: x * 2)
    t = Tensor(array(2), requires_grad=True)
    with pytest.raises(GradientError, match="defvjp"):
        f(t)
    f.defvjp(lambda x: (x * 2, None), lambda residuals, g: g)
    with pytest.raises(GradientError, match="tuple of 1"):
        f(t).sum().backward()


def test_stop_gradient_in_transforms():
    trees_close(mg.grad(lambda x: (x * mg.stop_gradient(x)).sum())(array(2)), host_tree(array(2)))


# ------------------------------------------------------------------------- the three idioms


def test_three_idioms_give_the_same_bits():
    x, target = mg.randn(8, 5, key=mg.random.key(1)), mg.randn(8, 3, key=mg.random.key(2))

    def build():
        mg.random.seed(0)
        return nn.Linear(5, 3)

    def loss_fn(model, x):
        return ((mg.tanh(model(x)) - target) ** 2).mean()

    pytorch, jax, tensorflow = build(), build(), build()
    adams = [optim.Adam(m, lr=0.1) for m in (pytorch, jax, tensorflow)]
    for _ in range(3):
        adams[0].zero_grad()
        loss_fn(pytorch, x).backward()
        adams[0].step()

        _, g = mg.value_and_grad(loss_fn)(jax, x)
        adams[1].step(g)

        variables = dict(tensorflow.named_parameters())
        found = mg.gradients(loss_fn(tensorflow, x), variables)
        adams[2].step(found)
        for name, p in pytorch.named_parameters():
            np.testing.assert_array_equal(host_tree(p.grad), host_tree(g[name]))
            np.testing.assert_array_equal(host_tree(p.grad), host_tree(found[name]))
    for a, b, c in zip(*(m.parameters() for m in (pytorch, jax, tensorflow)), strict=True):
        np.testing.assert_array_equal(host_tree(a), host_tree(b))
        np.testing.assert_array_equal(host_tree(a), host_tree(c))


def test_transforms_of_float32_stay_float32():
    x = array(3, dtype="float32")
    f = lambda x: (mg.tanh(x) * 0.5).sum()  # noqa: E731
    for y in (mg.grad(f)(x), mg.hessian(f)(x), mg.jacfwd(mg.tanh)(x), mg.vmap(mg.grad(f))(x)):
        assert y.dtype == np.float32
    assert mg.jvp(f, (x,), (x,))[1].dtype == np.float32


# ------------------------------------------------------------------------- what must not pass


def test_trees_of_gradients_go_by_key():
    x = array(3)
    two = lambda x: {"u": x, "v": x * 2}  # noqa: E731
    _, pull = mg.vjp(two, x)
    ones, zeros = mg.ones_like(x), mg.zeros_like(x)
    trees_close(pull({"v": ones, "u": zeros})[0], [2, 2, 2])
    trees_close(pull({"u": ones, "v": None})[0], [1, 1, 1])
    with pytest.raises(ShapeError, match=r"keys \['u', 'v'\], got keys \['v', 'w'\]"):
        pull({"v": ones, "w": ones})
    primal, tangent = {"u": x, "v": x}, {"v": ones, "u": zeros}
    push = lambda t: mg.jvp(lambda d: d["u"] * 2 + d["v"], (primal,), (t,))[1]  # noqa: E731
    trees_close(push(tangent), [1, 1, 1])
    trees_close(push({"u": ones, "v": None}), [2, 2, 2])
    with pytest.raises(ShapeError, match="expected a mapping with the keys"):
        push({"v": ones, "q": zeros})


@pytest.mark.parametrize("tangent", [{"wieght": np.ones((2, 3), "float32")}, np.ones(3)])
def test_the_tangent_of_a_module_names_its_parameters(tangent):
    model = nn.Linear(3, 2)
    with pytest.raises(ShapeError, match="mapping of names of its parameters, weight, bias"):
        mg.jvp(lambda m: m(mg.ones((1, 3))), (model,), (tangent,))


@pytest.mark.parametrize(
    ("argnums", "message"),
    [((0, 0), "twice"), ((1, -1), "twice"), (1.0, "an int or several"), ((), "argnums=")],
)
def test_argnums_that_are_wrong(argnums, message):
    with pytest.raises(TypeError, match=message):
        mg.grad(lambda x, y: (x * y).sum(), argnums)(array(2), array(2))


def test_argnums_from_numpy():
    trees_close(mg.grad(lambda x, y: (x * y).sum(), np.int64(1))(array(2), array(2)), array(2))


def test_what_is_no_number_is_named():
    with pytest.raises(DtypeError, match=r"argument 0\[1\] is a str"):
        mg.grad(lambda t: t[0].sum())([array(2), "s"])
    with pytest.raises(TypeError, match="no positional argument"):
        mg.vjp(lambda: mg.ones(2))


@pytest.mark.parametrize("jacobian", [mg.jacrev, mg.jacfwd])
def test_integers_have_no_jacobian(jacobian):
    with pytest.raises(DtypeError, match="int64"):
        jacobian(lambda x: mg.argmax(x))(array(3))


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "message"),
    [
        ("0", 0, "in_axes: expected an int or None"),
        (0.0, 0, "in_axes: expected an int or None"),
        (({"b": 0},), 0, "in_axes: the keys"),
        (0, 2, "out_axes 2 for an output of shape"),
        (0, -3, "out_axes -3"),
        (0, "a", "out_axes: expected"),
    ],
)
def test_axes_that_are_wrong(in_axes, out_axes, message):
    with pytest.raises(ShapeError, match=message):
        mg.vmap(lambda d: d["a"], in_axes, out_axes)({"a": array(3, 4)})


def test_what_leaks_from_a_vmap_is_refused():
    leaked = []
    mg.vmap(lambda x: leaked.append(x) or x)(array(3, 4))
    with pytest.raises(ShapeError, match="another vmap, which has ended"):
        mg.vmap(lambda x: x * leaked[0])(array(3, 4))


def test_a_report_is_of_the_last_call():
    mapped = mg.vmap(lambda x: x.sum(), explain=True)
    for _ in range(2):
        mapped(array(3, 4))
    assert mapped.report.calls["sum"] == 1


@pytest.mark.parametrize("which", [0, 1])
def test_a_write_to_an_argument_of_a_checkpoint_is_noticed(which):
    x, constant = Tensor(array(3), requires_grad=True), Tensor(array(3, seed=1))
    args = (x * 2, constant)
    y = mg.checkpoint(lambda h, c: h * c)(*args).sum()
    args[which].data.flags.writeable = True  # the suite also runs with results that are read-only
    args[which].data += 1
    with pytest.raises(GradientError, match=r"'checkpoint'.* has been overwritten"):
        y.backward()


@pytest.mark.parametrize("second", [lambda x: x.detach(), lambda x: x.sum()])
def test_a_checkpoint_that_does_something_else_again(second):
    calls = iter([lambda x: x * 2, second])
    x = Tensor(array(3), requires_grad=True)
    y = mg.checkpoint(lambda x: next(calls)(x))(x).sum()
    with pytest.raises(GradientError, match="did not do the same again"):
        y.backward()


def product():
    f = mg.custom_vjp(lambda d, scale=1.0: d["a"] * d["b"] * scale)
    f.defvjp(lambda d, scale=1.0: (d["a"] * d["b"] * scale, d),
             lambda d, g: ({"b": g * d["a"], "a": g * d["b"]}, None))  # fmt: skip
    return f


def test_custom_vjp_takes_dictionaries_by_key_and_keywords():
    d = {"a": array(3), "b": array(3, seed=1)}
    g = mg.grad(lambda d: product()(d, scale=1.0).sum())(d)
    trees_close(g["a"], d["b"])
    trees_close(g["b"], d["a"])


def test_custom_vjp_refuses_what_it_would_lose():
    w, x = Tensor(array(3), requires_grad=True), Tensor(array(3), requires_grad=True)
    f = mg.custom_vjp(lambda x: x * w)
    f.defvjp(lambda x: (x * w, None), lambda _, g: (g * w,))
    with pytest.raises(GradientError, match="tracked and no argument"):
        f(x)
    assert f(Tensor(array(3))).requires_grad, "without tracked arguments it is the function itself"
    m = mg.custom_vjp(lambda m: m.weight * 2)
    m.defvjp(lambda m: (m.weight * 2, None), lambda _, g: (g,))
    with pytest.raises(GradientError, match="Module cannot be an argument"):
        m(nn.Linear(2, 2))
    f.defvjp(lambda x: x * 2, lambda _, g: (g,))
    with pytest.raises(GradientError, match="fwd must give a pair"):
        f(x)


def test_under_no_grad_nothing_keeps_a_history():
    w, x = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0])

    def f(x):
        return (w * x**2).sum()

    with mg.no_grad():
        found = [*mg.jvp(f, (x,), (x,)), mg.grad(f)(x), mg.jacrev(f)(x), mg.hessian(f)(x)]
        found += [*mg.value_and_grad(f)(x), mg.vjp(f, x)[0], mg.vjp(f, x)[1](mg.tensor(1.0))[0]]
        found += [mg.vmap(mg.grad(f))(mg.stack([x, x])), mg.hvp(f, x, x)]
    assert not any(t.requires_grad for t in found)
    np.testing.assert_allclose(found[4].numpy(), np.diag([2.0, 4.0]))

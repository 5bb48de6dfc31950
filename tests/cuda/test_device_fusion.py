"""Calls of a program on a device that become few launches: how many, and what they compute."""

import copy
from collections import Counter

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.backend import to_numpy, using

cupy = pytest.importorskip("cupy")
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")


def lines_of(step):
    """Who makes which lines of a program, counted."""
    return Counter((x.who, x.name) for x in step.steps[0].program.instructions)


def graphs_of(step):
    """How many graphs and how many functions in between a program has become."""
    functions = [p for p in step.steps[0].program.parts if hasattr(p, "func")]
    return len(step.steps[0].program.parts) - len(functions), len(functions)


# ------------------------------------------------------------------- steps that are left out


POISON = [1, 1, 1, np.inf, 1, np.nan, 1, np.inf, np.inf, 1, 1]
MAKES = {
    "adam": lambda net: optim.Adam(net, lr=0.01),
    "momentum": lambda net: optim.SGD(net, lr=0.05, momentum=0.9, dampening=0.5),
    "schedule": lambda net: optim.AdamW(net, lr=lambda step: 0.01 * (step + 1)),
    "two buffers": lambda net: optim.Adam(
        [
            {"params": list(net.named_parameters())[:2], "lr": 0.03},
            {"params": list(net.named_parameters())[2:], "lr": 0.01},
        ]
    ),
}


def scaled_step(make, clip=True):
    """A net, its optimizer and scaler, and a step under the scaler."""
    with random.stream(0):
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer, scaler = make(net), optim.LossScaler(2.0**10, growth_interval=3)

    def step(x, poison):
        with mg.autocast("float16"):
            y = mg.mse_loss(net(x), x[:, :1])
        scaler.scale(y * poison).backward()
        if clip:
            scaler.unscale(optimizer)
            optim.clip_grad_norm_(net, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return y

    return net, optimizer, scaler, step


def scaled_batches():
    return np.random.default_rng(0).normal(size=(len(POISON), 5, 4)).astype(np.float32)


def scaled_training(backend, jit, make, ask=False, rows=lambda i: 5):
    """Losses, scales and step counts of some steps; and the state at their end."""
    with using(backend):
        net, optimizer, scaler, step = scaled_step(make)
        step = mg.jit(step) if jit else step
        found = []
        for i, poison in enumerate(POISON):
            x = mg.asarray(scaled_batches()[i, : rows(i)])
            loss = float(step(x, mg.asarray(np.float32(poison))))
            found.append((loss, scaler.get_scale(), optimizer.step_count if ask else None))
        state = {
            **optimizer.state_dict(),
            **{k: to_numpy(p.data) for k, p in net.named_parameters()},
        }
        return found, state, step


def assert_same_training(mine, theirs):
    assert [x[1:] for x in mine[0]] == [x[1:] for x in theirs[0]]
    np.testing.assert_allclose([x[0] for x in mine[0]], [x[0] for x in theirs[0]], rtol=5e-3)
    assert mine[1].keys() == theirs[1].keys()
    for name, x in theirs[1].items():
        if "step" in name:
            assert mine[1][name] == x, name
        np.testing.assert_allclose(mine[1][name], x, rtol=1e-2, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@pytest.mark.parametrize("ask", [True, False], ids=["asked in between", "asked at the end"])
def test_a_scaled_step_is_one_graph(make, ask):
    mine = scaled_training("cupy", True, make, ask)
    assert_same_training(mine, scaled_training("numpy", False, make, ask))
    assert graphs_of(mine[2]) == (1, 0)
    lines = lines_of(mine[2])
    assert lines["CUDA", "leave_out"] == 1
    assert lines["CUDA", "_some_lost"] == 2
    assert not any(who == "Python" for who, _ in lines)


@pytest.mark.parametrize("ask", [True, False], ids=["asked in between", "asked at the end"])
def test_programs_for_two_shapes_count_the_same_steps(ask):
    found = [
        scaled_training(backend, backend == "cupy", MAKES["adam"], ask, lambda i: 5 - i // 2 % 2)
        for backend in ("cupy", "numpy")
    ]
    assert_same_training(*found)
    assert len(found[0][2].steps) == 2


def test_a_scaled_step_waits_for_nothing():
    if not hasattr(cupy, "synchronisations"):
        pytest.skip("counted on the stand-in only")
    _, optimizer, _, step = scaled_step(MAKES["adam"])
    step = mg.jit(step)
    given = [
        (mg.asarray(x), mg.asarray(np.float32(p)))
        for x, p in zip(scaled_batches(), POISON, strict=True)
    ]
    for pair in given[:3]:
        step(*pair)
    before = cupy.synchronisations.copy(), cupy.transfers.copy()
    for pair in given[3:]:
        step(*pair)
    assert set(cupy.synchronisations - before[0]) <= {"Event.synchronize"}
    assert cupy.transfers == before[1]
    assert optimizer.step_count == np.isfinite(POISON).sum()


def test_a_copy_and_a_state_know_which_steps_were_left_out():
    net, optimizer, _, step = scaled_step(MAKES["adam"])
    step = mg.jit(step)
    x = mg.asarray(scaled_batches()[0])
    for poison in (1, 1, 1, np.inf, 1):
        step(x, mg.asarray(np.float32(poison)))
    _, other = copy.deepcopy((net, optimizer))
    step(x, mg.asarray(np.float32(np.inf)))
    step(x, mg.asarray(np.float32(1)))
    assert other.step_count == 4
    assert set(other.flats[0].steps) == {4}
    optimizer.load_state_dict(other.state_dict())
    assert optimizer.step_count == 4
    step(x, mg.asarray(np.float32(np.nan)))
    step(x, mg.asarray(np.float32(1)))
    assert set(optimizer.flats[0].steps) == {5}


# ------------------------------------------------------------------------- sums of chains


def of_both(function, *arrays, runs=3):
    """What a function gives on the host, and its program on the device; and the program's lines."""
    with using("numpy"):
        y = [to_numpy(t.data) for t in function(*map(mg.asarray, arrays))]
    with using("cupy"):
        f = mg.jit(function)
        for _ in range(runs):
            found = [to_numpy(t.data) for t in f(*map(mg.asarray, arrays))]
    assert not f.as_it_is
    return y, found, lines_of(f)


SUMS = {
    "sum": lambda x, b: [mg.sum(mg.exp(x) * b)],
    "rows": lambda x, b: [mg.sum((x - b) ** 2, axis=1)],
    "columns": lambda x, b: [mg.sum(x * x, axis=(0, 1), keepdims=True)],
    "outer": lambda x, b: [mg.sum(b * x[:, :1] + 1, axis=-1)],
    "max": lambda x, b: [mg.max(mg.absolute(x) - b, axis=0)],
    "min": lambda x, b: [mg.min(x * 2)],
    "numbers": lambda x, b: [mg.sum(x > 0), mg.sum(mg.where(x > b, x, 0.5))],
}


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 33, 64), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("function", SUMS.values(), ids=SUMS)
def test_a_sum_computes_the_chain_that_it_adds_up(function, shape):
    generator = np.random.default_rng(1)
    x = generator.normal(size=shape).astype("f4")
    b = generator.normal(size=shape[-1:]).astype("f4")
    want, found, lines = of_both(function, x, b)
    for a, c in zip(want, found, strict=True):
        assert a.dtype == c.dtype
        np.testing.assert_allclose(c, a, rtol=2e-5, atol=1e-5)
    assert not lines["CUDA", "elementwise"]
    assert not any(who == "CuPy" for who, _ in lines)


def test_a_chain_that_others_read_is_kept():
    x = np.random.default_rng(1).normal(size=(4, 6)).astype("f4")

    def function(x):
        y = mg.exp(x) + 1
        return [mg.sum(y, axis=0), y]

    want, found, lines = of_both(function, x)
    for a, c in zip(want, found, strict=True):
        np.testing.assert_allclose(c, a, rtol=2e-5)
    assert lines["CUDA", "elementwise"] == 1


# ------------------------------------------------------------------------- random numbers


def test_each_draw_is_one_launch_and_new_in_each_run():
    def function(x):
        return [
            mg.randn(5, 7),
            mg.rand(33) * x,
            mg.randint(3, 90, (4, 4)),
            mg.rand(2, dtype="float64"),
        ]

    found = {}
    for backend in ("numpy", "cupy"):
        with using(backend), random.stream(3):
            f = mg.jit(function) if backend == "cupy" else function
            x = mg.asarray(np.ones(33, np.float32))
            found[backend] = [[to_numpy(t.data) for t in f(x)] for _ in range(4)]
    for mine, theirs in zip(found["cupy"], found["numpy"], strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6)
    assert len({run[0].tobytes() for run in found["cupy"]}) == 4
    assert lines_of(f) == {
        ("CUDA", "normal"): 1, ("CUDA", "uniform"): 2, ("CUDA", "integers"): 1,
        ("CUDA", "elementwise"): 1,
    }  # fmt: skip


# ------------------------------------------------------------------------- casts


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_and_gradients_are_cast_together(dtype):
    def train(backend):
        with using(backend), random.stream(0):
            net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 1))
            adam = optim.Adam(net, lr=0.01)

            def step(x):
                with mg.autocast(dtype):
                    y = mg.mse_loss(net(x), x[:, :1])
                y.backward()
                optim.clip_grad_norm_(net, 0.1)
                adam.step()
                adam.zero_grad()
                return y

            step = mg.jit(step) if backend == "cupy" else step
            losses = [float(step(mg.asarray(x))) for x in scaled_batches()]
            return losses, {k: to_numpy(p.data) for k, p in net.named_parameters()}, step

    mine, theirs = train("cupy"), train("numpy")
    np.testing.assert_allclose(mine[0], theirs[0], rtol=3e-2)
    for name, x in theirs[1].items():
        np.testing.assert_allclose(mine[1][name], x, rtol=3e-2, atol=6e-3, err_msg=name)
    casts = [c for c in mine[2].steps[0].program.calls if c.name == "scaled"]
    weights = next(c for c in casts if c.inputs[0] is None)
    assert len(weights.outputs) == 6  # of three layers, and by one launch
    gradients = casts[-1]  # cast, and clipped
    assert len(gradients.outputs) == 6
    alone = [
        c
        for c in mine[2].steps[0].program.calls
        if c.name == "elementwise" and [s.name for s in c.params["steps"]] == ["astype"]
        and c.inputs[0].root.array is not None
    ]  # fmt: skip
    assert not alone


def test_casts_of_arguments_are_those_of_numpy():
    def function(x, w):
        with mg.autocast("float16"):
            y = mg.matmul(x, w)
        low = w.astype("float16")
        return [y, low.astype("float32") * 2, (w * 3).astype("float16")]

    generator = np.random.default_rng(2)
    x, w = (generator.normal(size=(4, 4)).astype("f4") for _ in range(2))
    want, found, _ = of_both(function, x, w)
    for a, c in zip(want, found, strict=True):
        assert a.dtype == c.dtype
        np.testing.assert_allclose(c, a, rtol=2e-3, atol=1e-3)


# ------------------------------------------------------------------------- copies


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_arrays_are_put_side_by_side_by_copies(dtype):
    def function(x, y):
        many = [x[i] for i in range(3)] * 4  # of which CuPy would need a table
        swapped = mg.swapaxes(x, axis1=0, axis2=1)
        return [
            mg.concatenate([x, y, x[:, 1:]], axis=1), mg.concatenate([x, y], axis=-2),
            mg.stack(many, axis=1), mg.concatenate([swapped, swapped[1:]], axis=0),
        ]  # fmt: skip

    generator = np.random.default_rng(2)
    x, y = ((generator.normal(size=(3, 20)) * 9).astype(dtype) for _ in range(2))
    want, found, lines = of_both(function, x, y)
    for a, c in zip(want, found, strict=True):
        assert a.dtype == c.dtype
        np.testing.assert_array_equal(c, a)
    assert not any(who == "CuPy" for who, _ in lines)

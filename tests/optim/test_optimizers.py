"""Optimizers: Adam against a loop in Python floats, what it leaves alone, and its state.

Every test of numbers runs with kernels and with formulas.
"""

import gc
import math

import numpy as np
import pytest
from support import host, host_normal, parameter, set_gradient

from minigrad import kernels, nn, optim
from minigrad.autodiff import Tensor, gradients
from minigrad.backend import to_device
from minigrad.errors import DtypeError, GradientError, ShapeError, StateError

TINY = {np.dtype(d): float(np.finfo(d).tiny) for d in ("float32", "float64")}


def adam_loop(w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """The values that one weight takes, by Algorithm 1 of the paper; None is no gradient."""
    m = v = 0.0
    t = 0
    for g in gradients:
        if g is not None:
            t += 1
            g = g + weight_decay * w
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            m_hat = m / (1 - betas[0] ** t)
            v_hat = v / (1 - betas[1] ** t)
            w = w - lr * m_hat / (math.sqrt(v_hat) + eps)
        yield w


def trajectory(model, gradients, **options):
    """The values of all parameters after each step; `gradients` names those that are present."""
    optimizer = optim.Adam(model, **options)
    for step in gradients:
        for name, p in model.items():
            set_gradient(p, step.get(name))
        optimizer.step()
        yield {name: host(p) for name, p in model.items()}


OPTIONS = [
    {},
    {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1},
    {"lr": 0.05, "weight_decay": 0.3},
    {"betas": (0.0, 0.0)},
    {"lr": 0.0},
]


# -------------------------------------------------------------------------------- values


def steps_of(shapes, absent):
    """Twelve steps of gradients, without those that are absent."""
    return [
        {
            n: host_normal(*shape, seed=i)
            for n, shape in shapes.items()
            if i not in absent.get(n, ())
        }
        for i in range(12)
    ]


SHAPES = {"a": (2, 3), "b": (4,), "c": (), "d": (2,)}
# So that neighbours have taken different numbers of steps.
STEPS = steps_of(SHAPES, {"a": (0, 4, 5, 9), "b": (3,), "c": (3, 4)})


@pytest.mark.parametrize("options", OPTIONS)
def test_adam_is_its_loop(path, options):
    model = {name: parameter(*shape) for name, shape in SHAPES.items()}
    before = {name: host(p) for name, p in model.items()}
    found = list(trajectory(model, STEPS, **options))
    for name, shape in SHAPES.items():
        for at in np.ndindex(shape):
            gradients = [float(step[name][at]) if name in step else None for step in STEPS]
            expected = list(adam_loop(float(before[name][at]), gradients, **options))
            got = [values[name][at] for values in found]
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("options", OPTIONS)
def test_float32_is_close_to_float64(path, options):
    single, double = (
        list(trajectory({n: parameter(*s, dtype=d) for n, s in SHAPES.items()}, STEPS, **options))
        for d in ("float32", "float64")
    )
    for name in SHAPES:
        assert single[-1][name].dtype == np.float32
        np.testing.assert_allclose(single[-1][name], double[-1][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
def test_the_kernel_agrees_with_the_formula(monkeypatch, dtype, tolerance):
    def run():
        model = {str(i): parameter(*s, dtype=dtype) for i, s in enumerate([(3, 4), (0,), (), (7,)])}
        optimizer = optim.Adam(model, lr=0.02, weight_decay=0.1)
        for step in range(6):
            for i, p in enumerate(model.values()):
                set_gradient(p, None if step == i else host_normal(*p.shape, seed=step))
            optimizer.step()
        return {name: host(p) for name, p in model.items()} | optimizer.state_dict()

    fast = run()
    monkeypatch.setattr(kernels, "_decision", False)
    slow = run()
    assert fast.keys() == slow.keys()
    for name, x in fast.items():
        np.testing.assert_allclose(x, slow[name], rtol=tolerance, atol=tolerance, strict=True)


def test_the_learning_rate_may_change_between_steps(path):
    p, q = parameter(3, dtype="float32"), parameter(3, dtype="float32")
    optimizer, other = optim.Adam({"w": p}), optim.Adam({"w": q})
    for rate in (0.5, 0.0, 0.25):
        before = host(p)
        for x in (p, q):
            set_gradient(x, np.ones(3))
        optimizer.lr, other.lr = rate, np.float64(rate)  # as a schedule may compute it
        optimizer.step()
        other.step()
        np.testing.assert_allclose(host(p), before - rate, rtol=0, atol=1e-6)
        assert host(p).tobytes() == host(q).tobytes()


def test_small_moments_are_flushed_to_zero(path):
    for dtype, tiny in TINY.items():
        p = nn.Parameter(np.ones(3, dtype))
        optimizer = optim.Adam({"w": p})
        state = optimizer.state_dict()
        state["exp_avg.w"][:] = [tiny, -tiny, 4 * tiny]
        state["exp_avg_sq.w"][:] = [tiny / 2, tiny, 4 * tiny]
        optimizer.load_state_dict(state)
        set_gradient(p, np.zeros(3))
        optimizer.step()
        after = optimizer.state_dict()
        assert (after["exp_avg.w"] != 0).tolist() == [False, False, True]
        assert (after["exp_avg_sq.w"] != 0).tolist() == [False, False, True]
        assert np.isfinite(host(p)).all()


# ------------------------------------------------------------- what is absent, what is zero


def test_absent_gradients_leave_everything_as_it_is(path):
    model = {name: parameter(4, seed=i, dtype="float32") for i, name in enumerate("abc")}
    optimizer = optim.Adam(model, weight_decay=0.1)

    def state():
        return {f"w.{n}": host(p) for n, p in model.items()} | optimizer.state_dict()

    for present in ("abc", "ac", "b", "", "a", "abc", "bc"):
        before = state()
        for name, p in model.items():
            set_gradient(p, host_normal(4) if name in present else None)
        optimizer.step()
        after = state()
        for key, old in before.items():
            unchanged = after[key].tobytes() == old.tobytes()
            assert unchanged == (key[-1] not in present), (key, present)
    assert [int(state()[f"step.{name}"]) for name in "abc"] == [4, 4, 4]


def test_a_gradient_of_zeros_is_not_absent(path):
    p = parameter(2)
    optimizer = optim.Adam({"w": p})
    set_gradient(p, [1.0, 2.0])
    optimizer.step()
    before, state = host(p), optimizer.state_dict()
    set_gradient(p, [0.0, 0.0])
    optimizer.step()
    after = optimizer.state_dict()
    assert after["step.w"] == 2
    np.testing.assert_allclose(after["exp_avg.w"], 0.9 * state["exp_avg.w"], rtol=1e-15)
    assert (host(p) < before).all()  # momentum goes on


def test_frozen_parameters_stay(path):
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    before = host(model.weight)
    optimizer = optim.Adam(model)
    model(to_device(host_normal(4, 3, dtype="float32"))).sum().backward()
    optimizer.step()
    assert host(model.weight).tobytes() == before.tobytes()
    assert optimizer.state_dict()["step.weight"] == 0
    assert optimizer.state_dict()["step.bias"] == 1


def test_zero_grad_makes_gradients_absent():
    p = parameter(2)
    set_gradient(p, [1.0, 2.0])
    optim.Adam({"w": p}).zero_grad()
    assert p.grad is None


# ----------------------------------------------------------------- parameters and gradients


def test_data_that_was_replaced_is_taken_in(path):
    p, q = parameter(3), parameter(2, seed=1)
    optimizer = optim.Adam({"p": p, "q": q}, lr=0.1)
    set_gradient(p, np.ones(3))
    optimizer.step()
    p.data = to_device(np.full(3, 7.0))
    q.data = to_device(np.full(2, 9.0))
    optimizer.step()
    assert (host(p) < 7).all()
    assert (host(p) > 6.8).all()
    assert host(q).tolist() == [9, 9]
    p.data[...] = to_device(np.full(3, -7.0))  # what loading does
    optimizer.step()
    assert (host(p) < -7).all()


def test_data_of_another_shape_is_refused():
    p = parameter(3)
    optimizer = optim.Adam({"p": p})
    p.data = to_device(np.ones(1))
    with pytest.raises(ShapeError, match=r"data of 'p' .* shape \(1,\), it must stay \(3,\)"):
        optimizer.step()
    p.data = to_device(np.ones(3, np.float32))
    with pytest.raises(DtypeError, match=r"data of 'p' .* float32, it must stay float64"):
        optimizer.step()


def test_a_later_optimizer_takes_parameters_over(path):
    """And goes on from where they are; the earlier one says so when it is used again."""
    p, q = parameter(3), parameter(2)
    first = optim.Adam({"p": p, "q": q}, lr=0.1)
    set_gradient(p, np.ones(3))
    first.step()
    before = host(p)
    second = optim.SGD({"p": p}, lr=0.5)
    assert host(p).tobytes() == before.tobytes()
    set_gradient(p, np.ones(3))
    second.step()
    np.testing.assert_allclose(host(p), before - 0.5, rtol=1e-12)
    after, kept = host(p), host(q)
    with pytest.raises(StateError, match=r"^Adam: 'p' belongs to an optimizer \(SGD\) .* after"):
        first.step()
    assert (host(p).tobytes(), host(q).tobytes()) == (after.tobytes(), kept.tobytes())
    del second
    gc.collect()
    first.step()  # one that is gone does not count
    assert (host(p) < after).all()


def test_an_optimizer_may_be_made_again():
    p = parameter(3)
    for _ in range(3):
        optimizer = optim.Adam({"p": p}, lr=0.1)  # the last one lives until here
        before = host(p)
        set_gradient(p, np.ones(3))
        optimizer.step()
        np.testing.assert_allclose(host(p), before - 0.1, rtol=1e-6)


def test_parameters_may_share_memory_with_those_of_another_optimizer():
    p, q = parameter(3), parameter(3, seed=1)
    first, second = optim.SGD({"p": p}, lr=1.0), optim.SGD({"q": q}, lr=1.0)
    q.data = p.data  # as one copies weights into a target network
    set_gradient(q, np.ones(3))
    second.step()
    np.testing.assert_allclose(host(q), host(p) - 1)
    set_gradient(p, np.ones(3))
    first.step()
    np.testing.assert_allclose(host(q), host(p))


def test_dtypes_may_be_mixed(path):
    a, b, c = (parameter(3, dtype=d) for d in ("float32", "float64", "float32"))
    optimizer = optim.Adam({"a": a, "b": b, "c": c}, lr=0.1)
    before = [host(p) for p in (a, b, c)]
    for p in (a, b):
        set_gradient(p, np.ones(3))
    optimizer.step()
    assert [p.dtype for p in (a, b, c)] == ["float32", "float64", "float32"]
    np.testing.assert_allclose(host(a), before[0] - 0.1, rtol=1e-5)
    np.testing.assert_allclose(host(b), before[1] - 0.1, rtol=1e-7)
    assert host(c).tobytes() == before[2].tobytes()
    assert optimizer.state_dict()["exp_avg.b"].dtype == np.float64
    assert optimizer.state_dict()["exp_avg_sq.c"].dtype == np.float32


def test_gradients_may_be_handed_over(path):
    p, q, twin = parameter(3), parameter(2), parameter(3)
    set_gradient(q, [1.0, 1.0])  # and are then all that counts
    before = host(q)
    g = to_device(host_normal(3, seed=2))
    optimizer, other = optim.Adam({"p": p, "q": q}), optim.Adam({"p": twin})
    optimizer.step({"p": g, "q": None})
    other.step({"p": Tensor(g)})
    assert host(p).tobytes() == host(twin).tobytes()
    assert host(q).tobytes() == before.tobytes()


def test_gradients_must_have_the_names_and_shapes_of_parameters():
    p, q = parameter(3), parameter(2)
    optimizer = optim.Adam({"p": p, "q": q})
    with pytest.raises(StateError, match=r"exactly the parameters' names; .* \['q', 'r'\]"):
        optimizer.step({"p": None, "r": None})
    with pytest.raises(ShapeError, match=r"gradient of 'q' must be \(2,\), got \(3,\)"):
        optimizer.step({"p": None, "q": to_device(np.ones(3))})
    with pytest.raises(ShapeError, match=r"gradient of 'q' must be \(2,\), got \(1,\)"):
        optimizer.step({"p": None, "q": [1.0]})
    with pytest.raises(StateError, match=r"expected a mapping of parameters' .* got list"):
        optimizer.step([None, None])


def test_gradients_may_be_numbers(path):
    p, q, twin = parameter(2), parameter(), parameter(2)
    optim.Adam({"p": p, "q": q}, lr=0.1).step({"p": [1.5, 2.0], "q": 3})
    optim.Adam({"p": twin}, lr=0.1).step({"p": to_device(np.array([1.5, 2.0]))})
    assert host(p).tobytes() == host(twin).tobytes()
    assert float(host(q)) == pytest.approx(float(host_normal()) - 0.1, rel=1e-6)


def test_parameters_may_be_a_module_a_mapping_a_list_or_pairs():
    model = nn.Grouped({"日本": nn.Linear(1, 1), "b": nn.Linear(1, 1, bias=False)})
    names = ["models.日本.weight", "models.日本.bias", "models.b.weight"]
    pairs = list(model.named_parameters())
    for parameters in (model, dict(pairs), pairs, iter(pairs), model.parameters()):
        assert list(optim.Adam(parameters).parameters.items()) == pairs
    assert [name for name, _ in pairs] == names
    alone = parameter(1, 3)
    for parameters in (alone, [alone]):
        assert optim.Adam(parameters).parameters == {"parameter": alone}


def test_parameters_need_names_of_their_own():
    a, b = nn.Linear(1, 2), nn.Linear(1, 2)
    with pytest.raises(StateError, match="two parameters are called 'weight', of shapes"):
        optim.Adam([*a.parameters(), *b.parameters()])
    with pytest.raises(StateError, match=r"shape \(2,\) has no name; pass the model"):
        optim.Adam([Tensor(np.ones(2), True), a.weight])
    with pytest.raises(StateError, match=r"shape \(1,\) has no name; pass the model"):
        optim.Adam([parameter(1), parameter(2)])
    with pytest.raises(StateError, match="'x' and 'y' are one and the same parameter"):
        optim.Adam({"x": a.weight, "y": a.weight})
    with pytest.raises(StateError, match="'x' and 'y' are one and the same parameter"):
        optim.Adam([("x", a.weight), ("y", a.weight)])
    with pytest.raises(StateError, match=r"called 'x', of shapes \(2, 1\) and \(2,\)"):
        optim.Adam([("x", a.weight), ("x", a.bias)])
    assert list(optim.Adam({"a": a.weight, "b": b.weight}).parameters) == ["a", "b"]


@pytest.mark.parametrize("nothing", [{}, [], nn.Dropout(), [{"params": []}]])
def test_an_optimizer_needs_parameters(nothing):
    with pytest.raises(StateError, match="there are no parameters"):
        optim.Adam(nothing)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ([{"params": []}, parameter(1)], "dict"),
        ([np.ones(2)], "ndarray"),
        ({"w": [1.0]}, "tuple"),
        ([parameter(1), None], "NoneType"),
    ],
)
def test_what_is_not_a_parameter_is_named(wrong, kind):
    for function in (optim.Adam, lambda parameters: optim.clip_grad_norm_(parameters, 1.0)):
        with pytest.raises(StateError, match=rf"or pairs \(name, .* there is a {kind} among them"):
            function(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -1},
        {"eps": -1e-8},
        {"weight_decay": -0.1},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, -0.1)},
        {"lr": math.nan},
        {"lr": math.inf},
        {"eps": math.nan},
        {"weight_decay": math.nan},
        {"betas": (math.nan, 0.9)},
        {"betas": (0.9, math.nan)},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"must be finite and not negative, and betas in \[0, 1\)"):
        optim.Adam({"w": parameter(1)}, **options)


# -------------------------------------------------------------------------------- state


def test_state_is_kept_under_the_names_of_parameters():
    model = nn.Grouped({"日本": nn.Linear(3, 2)})
    state = optim.Adam(model).state_dict()
    assert {k: (v.shape, str(v.dtype)) for k, v in state.items()} == {
        "exp_avg.models.日本.weight": ((2, 3), "float32"),
        "exp_avg_sq.models.日本.weight": ((2, 3), "float32"),
        "step.models.日本.weight": ((), "int64"),
        "exp_avg.models.日本.bias": ((2,), "float32"),
        "exp_avg_sq.models.日本.bias": ((2,), "float32"),
        "step.models.日本.bias": ((), "int64"),
    }
    assert not any(v.any() for v in state.values())
    state["step.models.日本.bias"][...] = 7  # a copy


def test_training_goes_on_from_a_saved_state_to_the_bit(path):
    def steps(p, q, optimizer, which):
        for i in which:
            set_gradient(p, host_normal(3, 4, seed=i))
            set_gradient(q, host_normal(5, seed=i) if i % 2 else None)
            optimizer.step()

    def fresh():
        p, q = parameter(3, 4, dtype="float32"), parameter(5, dtype="float32")
        return p, q, optim.Adam({"p": p, "q": q}, lr=0.01)

    through = fresh()
    steps(*through, range(8))
    first = fresh()
    steps(*first, range(4))
    saved = first[2].state_dict()
    second = fresh()
    for p, q in zip(second[:2], first[:2], strict=True):
        p.data[...] = q.data
    # In another order, too: state goes by name.
    second[2].load_state_dict(dict(reversed(saved.items())))
    steps(*second, range(4, 8))
    for p, q in zip(second[:2], through[:2], strict=True):
        assert host(p).tobytes() == host(q).tobytes()
    for key, value in second[2].state_dict().items():
        assert value.tobytes() == through[2].state_dict()[key].tobytes(), key


def test_loading_lists_everything_that_does_not_fit_and_changes_nothing():
    p, q = parameter(3), parameter(2)
    optimizer = optim.Adam({"p": p, "q": q})
    state = optimizer.state_dict()
    state["exp_avg.p"][:] = 5
    del state["step.q"]
    state["step.r"] = np.zeros((), np.int64)
    state["exp_avg.q"] = np.zeros(3)
    state["exp_avg_sq.p"] = np.zeros(3, np.float32)
    state["step.p"] = 3
    with pytest.raises(StateError) as caught:
        optimizer.load_state_dict(state)
    assert str(caught.value).splitlines() == [
        "Adam.load_state_dict: 5 entries do not fit; nothing was loaded:",
        "  exp_avg.q must be float64 (2,), got float64 (3,)",
        "  exp_avg_sq.p must be float64 (3,), got float32 (3,)",
        "  missing: step.q",
        "  step.p must be int64 (), got int",
        "  unexpected: step.r",
    ]
    assert not any(v.any() for v in optimizer.state_dict().values())


def test_a_state_with_negative_steps_is_refused():
    optimizer = optim.Adam({"p": parameter(3), "q": parameter(2)})
    state = optimizer.state_dict()
    state["step.p"][...] = -3
    state["step.q"][...] = 3
    with pytest.raises(StateError, match=r"1 entries .*\n  step.p must not be negative, got -3$"):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict()["step.q"] == 0


@pytest.mark.parametrize("wrong", [None, [("step.p", 1)], "state.safetensors"])
def test_a_state_must_be_a_mapping(wrong):
    message = f"Adam.load_state_dict: expected a mapping .* got {type(wrong).__name__}"
    with pytest.raises(StateError, match=message):
        optim.Adam({"p": parameter(3)}).load_state_dict(wrong)


# ------------------------------------------------------------------------------- clipping


def gradients_of(*values):
    """Parameters with these gradients, by name."""
    found = {}
    for i, g in enumerate(values):
        shape = (2,) if g is None else np.shape(g)
        found[f"p{i}"] = p = nn.Parameter(np.zeros(shape, np.float32))
        set_gradient(p, g)
    return found


def test_clipping_scales_all_gradients_by_their_common_norm():
    model = gradients_of([3.0, 0.0], None, [[4.0]], 12.0)
    arrays = [p.grad.data for p in model.values() if p.grad is not None]
    assert optim.clip_grad_norm_(model, 6.5) == 13.0
    assert [host(g).tolist() for g in arrays] == [[1.5, 0.0], [[2.0]], 6.0]  # in place
    assert model["p1"].grad is None
    assert all(g.dtype == np.float32 for g in arrays)
    assert optim.clip_grad_norm_(model, 6.5) == 6.5


@pytest.mark.parametrize("limit", [5.0, 5.1, 1e30, math.inf])
def test_gradients_within_the_limit_stay_to_the_bit(limit):
    model = gradients_of([3.0, 4.0])
    assert optim.clip_grad_norm_(model, limit) == 5.0
    assert host(model["p0"].grad).tolist() == [3, 4]


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_norm_that_is_not_finite_scales_nothing(bad):
    model = gradients_of([1.0, 2.0], [bad, 1.0])
    norm = optim.clip_grad_norm_(model, 0.1)
    assert norm == math.inf if math.isinf(bad) else math.isnan(norm)
    assert host(model["p0"].grad).tolist() == [1, 2]


def test_the_squares_of_large_and_small_gradients_are_not_lost():
    large = gradients_of([3e25, 4e25])
    assert optim.clip_grad_norm_(large, 1.0) == pytest.approx(5e25)
    np.testing.assert_allclose(host(large["p0"].grad), [0.6, 0.8], rtol=1e-6)
    small = gradients_of([3e-30, 4e-30])
    assert optim.clip_grad_norm_(small, 1.0) == pytest.approx(5e-30)


def test_clipping_takes_modules_lists_and_nothing():
    model = nn.Linear(2, 2)
    assert optim.clip_grad_norm_(model, 1.0) == 0.0
    model(to_device(np.ones((1, 2), np.float32))).sum().backward()
    assert optim.clip_grad_norm_(model, 100.0) == pytest.approx(math.sqrt(6))
    nameless = list(gradients_of([6.0], [8.0]).values())
    assert optim.clip_grad_norm_(nameless, 5.0) == 10.0
    assert [host(p.grad).tolist() for p in nameless] == [[3], [4]]
    for limit in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"max_norm must be positive, got {limit}"):
            optim.clip_grad_norm_(model, limit)


def test_clipping_takes_one_parameter_alone():
    p = gradients_of([[3.0], [4.0]])["p0"]
    assert optim.clip_grad_norm_(p, 2.5) == 5.0
    assert host(p.grad).tolist() == [[1.5], [2.0]]
    assert optim.clip_grad_norm_([("w", p)], 5.0) == 2.5


SHARING = {  # pairs of gradients, all of ones, that are views or share memory
    "read-only": lambda a, b: (a + b).sum(),
    "one array": lambda a, b: ((a + b) * to_device(np.ones((2, 3), np.float32))).sum(),
    "a view of the other": lambda a, b: (
        (a.T + b.reshape((3, 2))) * to_device(np.ones((3, 2), np.float32))
    ).sum(),
}


@pytest.mark.parametrize("kind", [float, np.float64])
@pytest.mark.parametrize("case", SHARING)
@pytest.mark.parametrize("order", [1, -1])
def test_clipping_scales_each_gradient_once_whatever_memory_they_share(case, order, kind):
    pair = [nn.Parameter(np.zeros((2, 3), np.float32)) for _ in range(2)]
    for p, g in zip(pair, gradients(SHARING[case](*pair), pair), strict=True):
        p.grad = g
    for p in pair:
        assert host(p.grad).tolist() == [[1.0] * 3] * 2
    assert optim.clip_grad_norm_(pair[::order], kind(math.sqrt(12) / 2)) == math.sqrt(12)
    for p in pair:
        assert p.grad.dtype == np.float32
        np.testing.assert_allclose(host(p.grad), np.full((2, 3), 0.5), rtol=1e-6)


def test_clipping_scales_each_gradient_once_where_they_are_made_by_hand():
    whole, row, frozen, others = (
        host_normal(5),
        host_normal(3),
        host_normal(2),
        to_device(host_normal(4)),
    )
    wide = np.lib.stride_tricks.as_strided(row, (3, 3), (0, row.itemsize))
    frozen.flags.writeable = False
    arrays = [*map(to_device, (whole, whole[1:3], row, wide, frozen, host_normal(3))), others[1:3]]
    grads = [Tensor(g) for g in arrays]
    grads.append(grads[-2])  # one Tensor twice
    parameters = [parameter(*g.shape) for g in grads]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g
    before = [host(g) for g in grads]
    norm = math.sqrt(sum((g**2).sum() for g in before))
    assert optim.clip_grad_norm_(parameters, norm / 2) == pytest.approx(norm)
    for p, g in zip(parameters, before, strict=True):
        np.testing.assert_allclose(host(p.grad), g / 2, rtol=1e-12)
    assert host(others).tolist() == host_normal(4).tolist()


NORMS = {1.0: 6.5, 2.0: 3.774917218, 3.0: 3.305744648, math.inf: 3.0}  # torch's


@pytest.mark.parametrize("norm_type", NORMS)
def test_norms_are_pytorchs(norm_type):
    model = gradients_of([1.0, -2.0], [3.0, 0.5])
    norm = optim.clip_grad_norm_(model, 1.5, norm_type)
    assert norm == pytest.approx(NORMS[norm_type])
    g = np.concatenate([host(p.grad) for p in model.values()])
    np.testing.assert_allclose(g, np.array([1, -2, 3, 0.5]) * 1.5 / norm, rtol=1e-6)
    with pytest.raises(ValueError, match="norm_type must be positive, got 0"):
        optim.clip_grad_norm_(model, 1.5, 0)


@pytest.mark.parametrize("norm_type", [2.0, 3.0, math.inf])
def test_a_norm_that_is_not_finite_may_be_an_error(norm_type):
    model = gradients_of([1.0, 2.0], [math.nan, 1.0])
    assert math.isnan(optim.clip_grad_norm_(model, 0.1, norm_type))
    with pytest.raises(
        GradientError, match=r"norm .* is nan; not finite are those of 'parameter' \(2,\)$"
    ):
        optim.clip_grad_norm_(model, 0.1, norm_type, error_if_nonfinite=True)
    optim.clip_grad_norm_(gradients_of([1.0]), 0.1, norm_type, error_if_nonfinite=True)


def test_clipping_by_value():
    model = gradients_of([3.0, -0.2], None, [[math.nan], [-4.0]])
    optim.clip_grad_value_(model, 0.5)
    assert host(model["p0"].grad).tolist() == [0.5, np.float32(-0.2)]
    assert model["p1"].grad is None
    np.testing.assert_array_equal(host(model["p2"].grad), [[math.nan], [-0.5]])
    assert model["p0"].grad.dtype == np.float32
    with pytest.raises(ValueError, match="clip_value must be positive, got 0"):
        optim.clip_grad_value_(model, 0)

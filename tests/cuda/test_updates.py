"""Steps of optimizers on flat buffers, the norm of many gradients, and what is made of them."""

import math

import cupy
import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels, nn, ops, optim, random
from minigrad.kernels.cuda import updates

rng = np.random.default_rng(3)

# An optimizer's formula, the options in the order of the rule, and which moments there are.
RULES = {
    "sgd": ("sgd_step", optim.SGD, {"momentum": 0.0}),
    "momentum": ("sgd_step", optim.SGD, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1}),
    "nesterov": ("sgd_step", optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    "adagrad": ("adagrad_step", optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
    "rmsprop": ("rmsprop_step", optim.RMSprop, {"weight_decay": 0.1}),
    "rmsprop momentum": ("rmsprop_step", optim.RMSprop, {"momentum": 0.9, "centered": True}),
    "lion": ("lion_step", optim.Lion, {"weight_decay": 0.1}),
    "adam": ("adam_variant_step", optim.Adam, {"weight_decay": 0.1}),
    "adamw": ("adam_variant_step", optim.AdamW, {"weight_decay": 0.1, "maximize": True}),
    "amsgrad": ("adam_variant_step", optim.AdamW, {"amsgrad": True}),
}
SIZE = 4096 + 700
# Parameters of odd sizes, one of them absent, one that ends the first block, small ones.
STARTS = np.array([0, 5, 101, 1000, 4090, *range(4100, 4500, 10)])
STOPS = np.array([5, 101, 900, 4090, 4100, *range(4110, 4510, 10)])
STEPS = np.array([1, 1, 7, 2, 40000, *range(1, 41)])


def buffers(name, dtype):
    """An optimizer, its options, and weights, gradients and moments of SIZE."""
    rule, kind, options = RULES[name]
    parameter = mg.Tensor(np.zeros(1, "float32"), requires_grad=True)
    made = kind({"p": parameter}, **options)
    options = made.options(made.flats[0])
    w, g = (rng.standard_normal(SIZE).astype(dtype) for _ in range(2))
    moments = [
        abs(rng.standard_normal(SIZE)).astype(dtype)
        if m in made.moments(made.param_groups[0])
        else None
        for m in made.slots
    ]
    return rule, made, options, w, g, moments


def by_formula(made, options, w, g, moments, segments):
    w, g, moments = w.copy(), g.copy(), [None if m is None else m.copy() for m in moments]
    for start, stop, step in segments:
        s = slice(start, stop)
        parts = (None if m is None else m[s] for m in moments)
        made.formula(np, w[s], g[s].copy(), *parts, step, **options)
    return [w, *moments]


def on_device(x):
    return None if x is None else cupy.asarray(x)


def numbers_of(count, options):
    found = np.zeros(16)
    found[: 1 + len(options)] = count, *map(float, options.values())
    return cupy.asarray(found)


def agree(found, expected, tolerance):
    for y, want in zip(found, expected, strict=True):
        if want is not None:
            y = cupy.asnumpy(y).astype("float64")
            np.testing.assert_allclose(y, want.astype("float64"), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", RULES)
def test_a_step_of_each_rule_with_all_it_needs_in_device_memory(name):
    rule, made, options, w, g, moments = buffers(name, "float32")
    segments = list(zip(STARTS, STOPS, STEPS, strict=True))
    expected = by_formula(made, options, w, g, moments, segments)
    there = [on_device(x) for x in (w, g, *moments)]
    a, b, c = (*there[2:], None, None, None)[:3]
    places = [cupy.asarray(x) for x in (STARTS, STOPS, STEPS)]
    done = updates.update(
        *there[:2], a, b, c, *places, numbers_of(len(STARTS), options), *[None] * 5,
        rule=rule,
    )  # fmt: skip
    assert done == ()
    agree([there[0], *there[2:]], expected, 3e-6)
    assert (cupy.asnumpy(there[0])[900:1000] == w[900:1000]).all()  # which no segment covers


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float16", 4e-3)])
def test_a_step_whose_segment_is_known_on_the_host(dtype, tolerance):
    for name in ("adam", "sgd"):
        rule, made, options, w, g, moments = buffers(name, dtype)
        expected = by_formula(
            made,
            options,
            *(x.astype("float64") for x in (w, g)),
            [None if m is None else m.astype("float64") for m in moments],
            [(3, 4500, 5)],
        )
        there = [on_device(x) for x in (w, g, *moments)]
        values = list(options.values())
        assert updates.change(rule, *there[:2], there[2:], slice(3, 4500), 5, values) == ()
        agree([there[0], *there[2:]], expected, tolerance)


def test_adam_of_the_programs():
    _, made, options, w, g, (m, v, _) = buffers("adam", "float32")
    expected = by_formula(made, options, w, g, [m, v, None], [(0, SIZE, 3)])
    there = [on_device(x) for x in (w, g, m, v)]
    options = [options[k] for k in ("lr", "beta1", "beta2", "eps")]
    updates.change("adam_step", *there[:2], there[2:], slice(0, SIZE), 3, [*options, 1.0, 0.1])
    agree([there[0], *there[2:]], expected[:3], 3e-6)


def test_clipping_scale_and_what_is_left_out():
    rule, made, options, w, g, moments = buffers("adam", "float32")
    expected = by_formula(made, options, w, g * np.float32(0.25 / 8), moments, [(0, SIZE, 3)])
    places = [cupy.asarray(np.array([x])) for x in (0, SIZE, 3)]
    clip, scale = cupy.asarray(np.float32(0.25)), cupy.asarray(np.float32(8))
    for skipped in (1, 0):
        there = [on_device(x) for x in (w, g, *moments)]
        skip = cupy.asarray(np.bool_(skipped))
        updates.update(
            *there[:4],
            None,
            *places,
            numbers_of(1, options),
            clip,
            scale,
            skip,
            None,
            None,
            rule=rule,
        )
        agree([there[0], *there[2:]], [w, *moments] if skipped else expected, 3e-6)


def test_weights_in_32_bits_with_gradients_and_a_copy_in_16():
    rule, made, options, w, g, moments = buffers("adam", "float32")
    few = g.astype("float16")
    expected = by_formula(made, options, w, few.astype("float32"), moments, [(0, SIZE, 3)])
    there = [on_device(x) for x in (w, few, *moments[:2])]
    low = cupy.zeros(SIZE, "float16")
    places = [cupy.asarray(np.array([x])) for x in (0, SIZE, 3)]
    updates.update(*there, None, *places, numbers_of(1, options), *[None] * 4, low, rule=rule)
    agree([there[0], *there[2:], None], expected, 3e-6)
    assert (cupy.asnumpy(low) == cupy.asnumpy(there[0]).astype("float16")).all()


def test_buffers_that_are_not_aligned():
    rule, made, options, w, g, moments = buffers("adam", "float32")
    expected = by_formula(made, options, w, g, moments, [(2, SIZE - 1, 3)])
    there = []
    for x in (w, g, *moments[:2]):
        there.append(cupy.zeros(SIZE + 1, "float32")[1:])
        there[-1][...] = cupy.asarray(x)
    updates.change(rule, *there[:2], there[2:], slice(2, SIZE - 1), 3, list(options.values()))
    agree([there[0], *there[2:], None], expected, 3e-6)


def test_what_is_declined():
    x, ids = cupy.zeros(8, "float32"), cupy.zeros(8, "int64")
    for w, g in [(x, ids), (x[::2], x[::2]), (x, cupy.zeros(4, "float32"))]:
        assert updates.change("sgd_step", w, g, [], slice(0, 4), 1, [0.1] * 6) is NotImplemented
    assert updates.change("other", x, x, [], slice(0, 4), 1, [0.1] * 6) is NotImplemented


# ------------------------------------------------------------------------------ many arrays


def gradients():
    """More than go into one launch, of many sizes and dtypes, some not aligned."""
    sizes = [1, 3, 0, 17000, 40000, *range(1, 70)]
    found = [cupy.asarray(rng.standard_normal(n).astype("float32")) for n in sizes]
    found[5] = cupy.asarray(rng.standard_normal(33).astype("float16"))
    found[6] = found[3][1:]
    found[7] = cupy.asarray(rng.standard_normal((4, 5)).astype("float32"))
    return found


@pytest.mark.parametrize("most", [1.0, 1e9])
def test_the_norm_of_many_gradients_and_its_factor(most):
    found = gradients()
    flat = np.concatenate([cupy.asnumpy(g).reshape(-1).astype("float64") for g in found])
    norm, factor = updates.clip_factor(*found, max_norm=most)
    expected = math.sqrt(flat @ flat)
    assert float(norm) == pytest.approx(expected, rel=1e-12)
    assert float(factor) == pytest.approx(min(1.0, most / expected), rel=1e-6)
    again, _ = updates.clip_factor(*found, max_norm=most)
    assert float(again) == float(norm)


def test_a_norm_that_is_not_finite_scales_nothing_and_large_ones_do_not_overflow():
    for bad in (math.nan, math.inf):
        norm, factor = updates.clip_factor(cupy.asarray(np.array([1, bad, 2.0])), max_norm=1.0)
        assert not math.isfinite(float(norm))
        assert float(factor) == 1
        assert factor.dtype == "float64"
    large = cupy.asarray(np.full(4, 1e30, "float32"))
    norm, factor = updates.clip_factor(large, max_norm=1.0)
    assert float(norm) == pytest.approx(2e30)
    assert float(factor) == pytest.approx(5e-31)


def test_arrays_are_gathered_into_a_flat_buffer():
    found = gradients()
    starts = np.cumsum([3, *(g.size + i % 2 for i, g in enumerate(found))]).tolist()[:-1]
    flat = cupy.zeros(starts[-1] + found[-1].size + 3, "float32")
    for clip, factor in ((None, 1.0), (cupy.asarray(np.float32(0.5)), 0.5)):
        assert updates.gather(flat, clip, *found, starts=tuple(starts)) == ()
        expected = np.zeros(flat.size, "float32")
        for start, g in zip(starts, found, strict=True):
            expected[start : start + g.size] = (
                cupy.asnumpy(g).reshape(-1).astype("float32") * factor
            )
        np.testing.assert_array_equal(cupy.asnumpy(flat), expected)
    assert updates.gather(flat, None, found[3], starts=(flat.size - 5,)) is NotImplemented


def test_many_arrays_are_scaled_by_one_number():
    found = gradients()
    factor = cupy.asarray(np.float32(0.3))
    for x, y in zip(found, updates.scaled(factor, *found), strict=True):
        want = cupy.asnumpy(x).astype("float64") * 0.3
        np.testing.assert_allclose(cupy.asnumpy(y).astype("float64"), want, rtol=1e-3)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)


# ---------------------------------------------------------------------------- through optimizers


def test_optimizers_take_these_kernels_eagerly(monkeypatch):
    asked = []
    change = updates.change
    monkeypatch.setattr(updates, "change", lambda *args: asked.append(args[0]) or change(*args))
    kernels.find.cache_clear()
    start = [rng.standard_normal(shape).astype("float32") for shape in ((3, 5), (7,), (2, 2))]
    gradients = [rng.standard_normal(x.shape).astype("float32") for x in start]
    found = []
    for module in (np, cupy):
        tensors = {
            name: mg.Tensor(module.asarray(x), requires_grad=True)
            for name, x in zip("abc", start, strict=True)
        }
        adam = optim.AdamW(tensors, lr=lambda t: 0.1 / (t + 1), weight_decay=0.1)
        for step in range(3):
            given = {n: module.asarray(g) for n, g in zip("abc", gradients, strict=True)}
            if step == 1:
                given["b"] = None  # which leaves it a step behind
            adam.step(given)
        found.append([cupy.asnumpy(t.data) for t in tensors.values()])
    kernels.find.cache_clear()
    assert asked == ["adam_variant_step"] * (1 + 2 + 3)
    for expected, y in zip(*found, strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_clipping_fetches_one_number():
    tensors = []
    for g in (rng.standard_normal((3, 4)), rng.standard_normal(9)):
        tensors.append(mg.Tensor(cupy.asarray(g.astype("float32")), requires_grad=True))
        tensors[-1].grad = mg.Tensor(cupy.asarray(g.astype("float32")))
    flat = np.concatenate([cupy.asnumpy(t.grad.data).reshape(-1) for t in tensors])
    norm = optim.clip_grad_norm_(tensors, 0.5)
    assert type(norm) is float
    assert norm == pytest.approx(float(np.linalg.norm(flat.astype("float64"))))
    clipped = np.concatenate([cupy.asnumpy(t.grad.data).reshape(-1) for t in tensors])
    np.testing.assert_allclose(clipped, flat * (0.5 / norm), rtol=1e-6)


def test_clipping_in_a_program_is_a_few_launches_and_waits_for_nothing():
    x = cupy.asarray(np.random.default_rng(1).standard_normal((4, 5)).astype("float32"))
    found = []
    for wrapped in (mg.jit, lambda step: step):
        with random.stream(0):
            model = nn.Linear(5, 3)
        adam = optim.Adam(model, lr=0.1)

        def step(x, model=model, adam=adam):
            ops.sum(model(x) ** 2).backward()
            norm = optim.clip_grad_norm_(model, 0.1)
            adam.step()
            adam.zero_grad()
            return norm

        step = wrapped(step)
        norms = [float(step(x)) for _ in range(4)]
        found.append([*norms, *map(float, cupy.asnumpy(model.weight.data).reshape(-1))])
        if wrapped is mg.jit:
            lines = step.program().splitlines()
    np.testing.assert_allclose(*found, rtol=1e-5)
    norms = [line for line in lines if "norm_and_factor" in line]
    assert len(norms) == 2  # of all gradients together
    assert all("CUDA" in line for line in norms)
    assert len([line for line in lines if "scaled" in line]) == 1


@pytest.mark.parametrize("to", ["float32", "float16", "float64"])
@pytest.mark.parametrize("start", [0, 1], ids=["aligned", "not aligned"])
@pytest.mark.parametrize("factor", [None, 0.125])
def test_arrays_are_cast_together(to, start, factor):
    given = [
        rng.standard_normal(n + start).astype(kind)
        for n, kind in [(1, "float32"), (16391, "float16"), (40, "float32"), (37, "float64")]
        if (kind, to) != ("float64", "float16")
    ]
    there = [on_device(x)[start:] for x in given]
    by = None if factor is None else cupy.asarray(np.float32(factor))
    found = updates.scaled.call(by, *there, dtype=to)
    for y, x in zip(found, given, strict=True):
        assert y.dtype == to
        want = (x[start:].astype("float64") * (factor or 1)).astype(to)
        np.testing.assert_allclose(cupy.asnumpy(y), want, rtol=1e-6)

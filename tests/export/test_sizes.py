"""Lengths that differ from call to call: what follows from them is computed, and what hangs on
them in another way is refused; never is the number of the example taken for that of all calls.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, random
from minigrad.errors import ExportError
from minigrad.export.sizes import Root, Size, choose, fit, fit_real

AXES = {"x": {0: "batch", 1: "length"}}


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def sizes(*names, most=None):
    return choose(dict.fromkeys(names, 3), most or {})


# ------------------------------------------------------------------------------------ formulas


@pytest.mark.parametrize(
    "formula",
    [
        lambda b, t, s: 7,
        lambda b, t, s: b,
        lambda b, t, s: 2 * t + 1,
        lambda b, t, s: -s,
        lambda b, t, s: b * t * s * 4,
        lambda b, t, s: t + s,
        lambda b, t, s: b * (t + s - 3),
        lambda b, t, s: t * s - t,
        lambda b, t, s: 3 * b - 2 * t + s + 5,
    ],
)
def test_a_formula_is_found_and_holds_elsewhere(formula):
    at = sizes("b", "t", "s")
    found = fit([formula(**s) for s in at], at)
    for other in ({"b": 1, "t": 1, "s": 1}, {"b": 101, "t": 57, "s": 3}):
        assert (found.at(other) if type(found) is Size else found) == formula(**other)


@pytest.mark.parametrize(
    "formula",
    [
        lambda b, t: t // 2,
        lambda b, t: -(-t // 3),
        lambda b, t: t**2,
        lambda b, t: max(t, 6),
        lambda b, t: min(b, 5),
        lambda b, t: t % 2,
        lambda b, t: abs(t - 7),
        lambda b, t: (t + 1) * (t + 2),
        lambda b, t: (t - 1) // 2 * 2 + 1,
        lambda b, t: 1 << t,
    ],
)
def test_what_is_no_formula_is_not_taken_for_one(formula):
    at = sizes("b", "t")
    assert fit([formula(**s) for s in at], at) is None


@pytest.mark.parametrize("power", [1.0, -1.0, 0.5, -0.5])
def test_real_numbers_are_powers_of_sizes(power):
    at = sizes("b", "t")
    found = fit_real([0.3 * (s["b"] * s["t"]) ** power for s in at], at)
    assert type(found) is Root
    assert found.factor == pytest.approx(0.3)
    assert (found.size, found.power) == (Size({("b", "t"): 1}), power)
    assert fit_real([np.log(s["t"]) for s in at], at) is None
    assert fit_real([2.5 for _ in at], at) == 2.5


def test_sizes_are_shown_as_one_writes_them():
    assert str(Size({("b", "t"): 2, ("t",): -1, (): 3})) == "2*b*t - t + 3"
    assert str(Size({("t",): 1})) == "t"


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")])
@pytest.mark.parametrize("most", [None, 7, 40])
def test_recordings_tell_all_names_apart(names, most):
    at = sizes(*names, most={"a": most} if most else None)
    table = np.array([[1, *(s[n] for n in names)] for s in at])
    assert np.linalg.matrix_rank(table) == len(names) + 1 < len(at)
    for name in names:
        column = [s[name] for s in at]
        assert column[-1] == max(column)
        assert min(column) >= 2
        assert len(set(column)) >= 3
        assert {n % 2 for n in column} == {0, 1}


# ------------------------------------------------------------------------- models of any length


class Mean(nn.Module):
    def forward(self, x):
        """Over the length, by hand."""
        return x.sum(axis=1) / x.shape[1]


class Scaled(nn.Module):
    def forward(self, x):
        return x @ x.swapaxes(-1, -2) / np.sqrt(x.shape[1])


class Positions(nn.Module):
    def forward(self, x):
        """Made anew in each call."""
        t = mg.arange(x.shape[1], dtype="float32")
        back = np.arange(x.shape[1])[::-1].copy()
        return x * t[:, None] + mg.Tensor(back)[:, None]


class Masked(nn.Module):
    def forward(self, x):
        scores = x @ x.swapaxes(-1, -2)
        T = x.shape[1]
        later = nn.Transformer.generate_square_subsequent_mask(T)
        near = mg.tril(mg.ones((T, T)), k=1) * mg.triu(mg.ones((T, T)), k=-1)
        return mg.softmax(scores + later) @ x + near @ x


class Flattened(nn.Module):
    def forward(self, x):
        B, T, D = x.shape
        return (x.reshape(B * T, D) * 2).reshape(B, T * D), x.reshape(-1), x[:, T - 1], x[:, :-1]


class Joined(nn.Module):
    def forward(self, x):
        first = mg.zeros((len(x), 1, x.shape[2]))
        y = mg.concatenate([first, x, x], axis=1)
        return y[:, : x.shape[1]], mg.broadcast_to(x[:, :1], x.shape), mg.repeat(x, 2, axis=1)


class Summed(nn.Module):
    def forward(self, x):
        return x.mean(), x.var(axis=1), mg.cumsum(x, axis=1), x.sum(axis=(0, 1)), x.std(axis=0)


@pytest.mark.parametrize("kind", [Mean, Scaled, Positions, Masked, Flattened, Joined, Summed])
def test_lengths_that_were_never_recorded(kind, compare):
    others = [floats(1, 1, 4), floats(1, 30, 4), floats(40, 2, 4), floats(5, 5, 4)]
    run = compare(kind(), floats(2, 3, 4), *others, dynamic_axes=AXES)
    assert run.exported.max_lengths == {}


def test_several_inputs_share_lengths_by_name(compare):
    class Cross(nn.Module):
        def forward(self, q, k, bias):
            return mg.softmax(q @ k.swapaxes(1, 2) + bias) @ k, mg.concatenate([q, k], axis=1)

    def inputs(B, T, S):
        return floats(B, T, 4), floats(B, S, 4), floats(T, S)

    axes = {"q": {0: "B", 1: "T"}, "k": {0: "B", 1: "S"}, "bias": {0: "T", 1: "S"}}
    run = compare(
        Cross(), inputs(1, 2, 3), inputs(4, 9, 1), inputs(2, 1, 20), inputs(3, 3, 3),
        dynamic_axes=axes,
    )  # fmt: skip
    assert run.exported.outputs == {"output_0": ("B", "T", 4), "output_1": ("B", "S + T", 4)}


def test_names_of_axes_may_be_left_to_the_export(export):
    run = export(nn.Linear(3, 2), floats(4, 5, 3), dynamic_axes={"x": [0, 1]})
    assert run.exported.inputs == {"x": ("x_0", "x_1", 3)}


def test_without_dynamic_axes_the_batch_is_one(export):
    class Two(nn.Module):
        def forward(self, x, scale, table):
            return x * scale + table.sum()

    run = export(Two(), (floats(2, 3), np.float32([2.0]).reshape(()), floats(5)))
    assert run.exported.inputs == {"x": ("batch", 3), "scale": (), "table": (5,)}


def test_a_fixed_model_takes_its_lengths_only(export):
    run = export(nn.Linear(3, 2), floats(4, 3), dynamic_axes={})
    assert run.exported.inputs == {"x": (4, 3)}
    with pytest.raises(Exception, match="Got: 5 Expected: 4"):
        run(floats(5, 3))


# ------------------------------------------------------------------------------------- tables


def test_a_table_is_as_long_as_is_stated(compare):
    class Model(nn.Module):
        def __init__(self):
            self.positions = nn.SinusoidalPositions()

        def forward(self, x):
            return self.positions(x)

    with pytest.raises(ExportError, match=r"grows with 'length'.*max_lengths=\{'length': 512\}"):
        compare(Model(), floats(2, 3, 4), dynamic_axes=AXES)
    run = compare(
        Model(), floats(2, 3, 4), floats(1, 50, 4), floats(7, 1, 4),
        dynamic_axes=AXES, max_lengths={"length": 50},
    )  # fmt: skip
    assert run.exported.max_lengths == {"length": 50}
    for length in (51, 200):
        with pytest.raises(Exception, match="out of data bounds"):
            run(floats(1, length, 4))
    onnx = pytest.importorskip("onnx")
    props = {p.key: p.value for p in onnx.load(run.path).metadata_props}
    assert props == {"opset": "18", "largest length": "50"}


def test_a_model_of_short_sequences_is_told_so(compare):
    with random.stream(0):
        model = nn.LearnedPositions(6, 4)
    with pytest.raises(ExportError, match=r"length=\d+: OutOfRangeError.*max_lengths"):
        compare(model, floats(2, 3, 4), dynamic_axes=AXES)
    compare(
        model, floats(2, 3, 4), floats(1, 6, 4), floats(9, 1, 4), dynamic_axes=AXES,
        max_lengths={"length": 6},
    )  # fmt: skip


# ------------------------------------------------------------------------------------ refused


def halves(x):
    n = x.shape[1] // 2
    return x[:, :n]


def loop(x):
    y = x[:, 0]
    for t in range(1, x.shape[1]):
        y = y * 0.5 + x[:, t]
    return y


def longer_than_8(x):
    return x * 2 if x.shape[1] > 8 else x + 1


def a_constant_of_the_length(x):
    return x * np.float32(np.log(x.shape[1]))


def reversed_table(x):
    return x * mg.Tensor(np.sin(np.arange(x.shape[1]))[::-1].astype(np.float32).copy())[:, None]


def as_many_outputs(x):
    return tuple(x[:, t] for t in range(x.shape[1]))


def resized(x):
    return nn.functional.interpolate(x.swapaxes(1, 2), scale_factor=1.5, mode="linear")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (halves, r"'template' of 'getitem' \(called at .*test_sizes\.py:\d+\)"),
        (loop, "which ops the model calls depends on the lengths of its inputs"),
        (longer_than_8, "which ops the model calls depends on the lengths of its inputs"),
        (a_constant_of_the_length, "no formula of 'batch', 'length'"),
        (reversed_table, "no formula of 'batch', 'length'"),
        (as_many_outputs, "which ops|how many outputs"),
        (resized, "no formula of|which ops"),
    ],
)
def test_what_hangs_on_lengths_in_another_way_is_refused(model, message, export):
    with pytest.raises(ExportError, match=message):
        export(model, floats(2, 3, 4), dynamic_axes=AXES)
    run = export(model, floats(2, 3, 4), dynamic_axes={})  # but not with the lengths fixed
    for got, wanted in zip(run(floats(2, 3, 4)), outputs(model(mg.Tensor(floats(2, 3, 4)))),
                           strict=True):  # fmt: skip
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-5, atol=1e-6)


def outputs(y):
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dynamic_axes": {"y": [0]}}, "names 'y'; the inputs are x"),
        ({"dynamic_axes": {"x": {2: "n"}}}, "expects an axis of"),
        ({"dynamic_axes": {"x": {0: ""}}}, "expects an axis of"),
        ({"dynamic_axes": {"x": {0: "n", 1: "n"}}}, "'n' is 2 and 3 in the example"),
        ({"max_lengths": {"length": 9}}, "for one of batch"),
        ({"max_lengths": {"batch": 1}}, "expects a number from 2 on"),
        ({"max_lengths": {"batch": 3}}, "too few lengths"),
    ],
)
def test_wrong_options_are_explained(options, message, export):
    with pytest.raises(ExportError, match=message):
        export(nn.Linear(3, 2), floats(2, 3), **options)

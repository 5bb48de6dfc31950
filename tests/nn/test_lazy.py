"""Lazy layers: before the first call, at it, and afterwards. See `test_torch_layers.py` too."""

import copy
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.backend import to_device, to_numpy
from minigrad.errors import CaptureError, ShapeError, StateError


def floats(*shape):
    return to_device(np.random.default_rng([*shape]).normal(size=shape).astype("float32"))


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(4, 3, groups=2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(),
        nn.LazyLinear(5),
    )  # fmt: skip


def plain():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)
    )


X = (3, 2, 5, 5)


def same_state_in_order(a, b):
    assert list(a) == list(b)
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def test_after_the_first_call_they_are_the_plain_layers():
    model = lazy()
    with random.stream(1):
        y = model(floats(*X))
    with random.stream(1):
        other = plain()
    assert [type(m) for m in model] == [type(m) for m in other]
    assert y.shape == (3, 5)
    other(floats(*X))  # which moves the statistics
    same_state_in_order(model.state_dict(), other.state_dict())
    assert repr(model) == repr(other)
    assert [vars(m).keys() for m in model] == [vars(m).keys() for m in other]
    assert model.summary((2, 5, 5)) == other.summary((2, 5, 5))


NEEDS_PARAMETERS = [
    lambda m: m.parameters(),
    lambda m: list(m.named_parameters()),
    lambda m: m.buffers(),
    lambda m: m.state_dict(),
    lambda m: m.requires_grad_(False),
    lambda m: m.summary(),
    lambda m: m.summary((2, 5, 5)),
    lambda m: optim.Adam(m),
    lambda m: optim.EMA(m),
    lambda m: mg.Learner(m, "adam", nn.MSELoss()),
    lambda m: mg.Learner(m, optim.AdamConfig(), nn.MSELoss()),
]


@pytest.mark.parametrize("ask", NEEDS_PARAMETERS)
def test_who_asks_too_early_is_told_to_call_the_model(ask):
    model = lazy()
    with pytest.raises(StateError, match=r"LazyConv2d at '0' has no .* yet.* call the model once"):
        ask(model)
    assert all(m.unmade for m in model if "Lazy" in type(m).__name__)


def test_what_needs_no_parameters_works_before():
    model = lazy().eval()
    model.zero_grad()
    assert model.shapes((2, 5, 5))[""] == ("N", 5)
    assert type(model[0]) is nn.LazyConv2d
    assert type(model[0]) is not type(lazy()[4])
    assert "LazyLinear(out_features=5, bias=True; not called yet)" in repr(model)
    assert repr(model).endswith("lazy layers make their parameters at the first call")
    assert not hasattr(model[0], "weight")
    with pytest.raises(AttributeError, match="LazyLinear has no 'weight' yet: it is made at the f"):
        _ = model[4].weight
    seen = []
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen[0] == "LazyLinear"
    model(floats(*X))
    assert not model[1].training  # as it was set before
    assert model[1].num_batches_tracked.data == 0


def test_a_step_that_is_captured_makes_no_parameters():
    model = lazy()
    for step in (lambda x: model(x).sum(), model):
        with pytest.raises((StateError, CaptureError), match="call the model once"):
            mg.jit(step)(floats(*X))
    made = []

    def hidden(x):  # a model that nobody can see beforehand
        made.append(nn.LazyLinear(2))
        return made[-1](x)

    with pytest.raises(CaptureError, match="LazyLinear makes its parameters at its first call"):
        mg.jit(hidden)(floats(2, 3))
    y = model.eval()(floats(*X))
    np.testing.assert_allclose(
        to_numpy(mg.jit(lambda x: model(x))(floats(*X)).data), to_numpy(y.data), rtol=1e-5
    )


def test_copies_are_lazy_until_they_are_called_themselves():
    model = lazy()
    other = copy.deepcopy(model)
    model(floats(*X))
    assert type(other[0]) is nn.LazyConv2d
    assert other(floats(3, 6, 5, 5)).shape == (3, 5)
    assert other[0].weight.shape == (4, 3, 3, 3)
    assert model[0].weight.shape == (4, 1, 3, 3)
    again = copy.deepcopy(model)
    same_state_in_order(again.state_dict(), model.state_dict())


def test_a_state_makes_parameters():
    source = plain()
    state = source.state_dict()
    model = lazy()
    model.load_state_dict(state)
    assert [type(m) for m in model] == [type(m) for m in source]
    same_state_in_order(model.state_dict(), state)
    np.testing.assert_array_equal(
        to_numpy(model.eval()(floats(*X)).data), to_numpy(source.eval()(floats(*X)).data)
    )
    optim.SGD(model, 0.1)


@pytest.mark.parametrize("change", [
    lambda s: s.pop("4.weight"),
    lambda s: s.pop("0.bias"),
    lambda s: s.update({"4.bias": s["4.bias"][:2]}),
    lambda s: s.update({"0.weight": s["0.weight"].astype("float64")}),
    lambda s: s.update({"0.weight": s["0.weight"][0]}),
    lambda s: s.update({"other": s["4.bias"]}),
])  # fmt: skip
def test_a_state_that_does_not_fit_leaves_all_as_it_was(change):
    state = plain().state_dict()
    change(state)
    model = lazy()
    before = repr(model)
    with pytest.raises(StateError, match="nothing was loaded"):
        model.load_state_dict(state)
    assert repr(model) == before
    assert model(floats(*X)).shape == (3, 5)


def test_without_strict_what_is_not_named_stays_lazy():
    state = plain().state_dict()
    model = lazy()
    model.load_state_dict({k: v for k, v in state.items() if k[0] != "4"}, strict=False)
    assert [type(m) for m in (model[0], model[4])] == [nn.Conv2d, nn.LazyLinear]
    model(floats(*X))
    same_state_in_order({k: v for k, v in model.state_dict().items() if k[0] == "0"},
         {k: v for k, v in state.items() if k[0] == "0"})  # fmt: skip


def test_a_layer_that_is_held_twice_loads_from_either_name():
    layer = nn.LazyLinear(3)
    both = nn.ModuleList([layer, layer])
    state = {f"1.{k}": v for k, v in nn.Linear(2, 3).state_dict().items()}
    both.load_state_dict(state)
    assert both[0].weight.shape == (3, 2)


def test_norms_without_arrays_owe_none():
    for kind in (nn.LazyBatchNorm1d, nn.LazyInstanceNorm1d):
        norm = kind(affine=False, track_running_stats=False)
        assert norm.parameters() == norm.buffers() == []
        assert norm.state_dict() == {}
        norm.load_state_dict({})
        assert norm(floats(2, 3, 4)).shape == (2, 3, 4)
        assert norm.num_features == 3
        assert "Lazy" not in type(norm).__name__


def test_first_values_hang_on_the_seed_of_the_caller():
    def weights(seed, example):
        with random.stream(seed):
            models = {"a": nn.LazyLinear(3), "b": nn.LazyLinear(3)}
            grouped = nn.Grouped(models, example)
            if example is None:
                grouped(["a", "b"], floats(2, 4))
        return [to_numpy(grouped[name].weight.data) for name in "ab"]

    for example in (floats(2, 4), None):
        a, b = weights(1, example)
        assert (a != b).any()
        assert (a != weights(2, example)[0]).any()
        np.testing.assert_array_equal(a, weights(1, example)[0])


def test_what_was_set_and_hooked_before_stays():
    layer = nn.LazyLinear(3)
    layer.tag = "mine"
    seen = []
    remove = layer.register_forward_pre_hook(lambda m, args: seen.append(type(m)))
    layer.register_forward_hook(lambda m, args, y: y * 2)
    x = floats(2, 4)
    y = layer(x)
    remove()
    assert seen == [nn.LazyLinear]  # it comes before the layer knows
    assert layer.tag == "mine"
    np.testing.assert_allclose(
        to_numpy(y.data), 2 * to_numpy(mg.linear(x, layer.weight, layer.bias).data), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.LazyLinear(3)(floats()), ShapeError, r"LazyLinear: x must be"),
        (lambda: nn.LazyConv2d(3, 2)(floats(4, 4)), ShapeError, r"x must be \(N, C, H, W\) or"),
        (lambda: nn.LazyConvTranspose1d(3, 2)(floats(4)), ShapeError, r"\(N, C, L\) or \(C, L\)"),
        (lambda: nn.LazyBatchNorm2d()(floats(4, 4)), ShapeError, r"x must be \(N, C?4?, H, W\)"),
        (lambda: nn.LazyInstanceNorm3d()(floats(4, 4)), ShapeError, r"\(N, C, D, H, W\) or"),
        (lambda: nn.LazyConv2d(3, 2, groups=2), ShapeError, "multiples of groups"),
        (lambda: nn.LazyConv2d(3, 0), ShapeError, "at least 1"),
        (lambda: nn.LazyConv2d(4, 1, groups=2)(floats(1, 3, 2, 2)), ShapeError, "multiples of gr"),
    ],
)
def test_they_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_input_that_does_not_fit_leaves_a_layer_lazy():
    layer = nn.LazyConv2d(4, 1, groups=2)
    with pytest.raises(ShapeError):
        layer(floats(1, 3, 2, 2))
    assert type(layer) is nn.LazyConv2d
    assert layer(floats(1, 2, 2, 2)).shape == (1, 4, 2, 2)


def test_first_calls_from_several_threads_make_one_layer():
    for _ in range(20):
        layer, x, results = nn.LazyLinear(3), floats(2, 500), []
        start = threading.Barrier(4)

        def call(layer=layer, x=x, results=results, start=start):
            start.wait()
            results.append(to_numpy(layer(x).data))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(results) == 4
        for y in results:
            np.testing.assert_allclose(y, to_numpy(layer(x).data), rtol=1e-5, atol=1e-6)


def test_a_model_trains_after_one_call():
    model, x = lazy(), floats(*X)
    model(x)
    optimizer = optim.SGD(model, 0.05)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

"""Modules and layers: what they hold, what they load, what they compute, and its gradients.

Values are compared with the slow loops of `naive.py` or with a formula written out, gradients with
finite differences in float64. Nothing here asks whether arrays lie on the host: inputs are made by
`normal` and `to_device`, and read by `host`.
"""

import math

import naive
import numpy as np
import pytest
from support import host, normal, same_state

import minigrad as mg
from minigrad import nn, no_grad, optim, random
from minigrad.autodiff import Tensor, gradients
from minigrad.backend import is_array, to_device
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError, StateError

STEP = 1e-5  # of central differences


def names(module):
    return [name for name, _ in module.named_parameters()]


def state_of(module):
    return {name: host(p) for name, p in module.named_parameters()}


def near(a, b, tolerance=1e-12):
    """That two arrays agree, relative to the largest entry of `b`."""
    a, b = host(a), host(b)
    scale = np.max(np.abs(b), initial=1.0)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, strict=True)


def check_layer(layer, *inputs, **options):
    """Compare the gradients of a weighted sum of `layer(*inputs)` with finite differences.

    By all floating inputs and all parameters that are not frozen, along random directions.
    """
    xs = [Tensor(x, x.dtype.kind == "f") if is_array(x) else x for x in inputs]
    leaves = {f"input {i}": x for i, x in enumerate(xs) if type(x) is Tensor and x.requires_grad}
    leaves |= {name: p for name, p in layer.named_parameters() if p.requires_grad}

    def value():
        with random.stream(3):  # dropout drops the same every time
            y = layer(*xs, **options)
        return (y * normal(*y.shape, seed=1)).sum()

    found = gradients(value(), leaves)
    for name, x in leaves.items():
        for seed in range(3):
            start, direction = x.data.copy(), normal(*x.shape, seed=100 + seed)
            ends = []
            for sign in (1, -1):
                x.data[...] = start + sign * STEP * direction
                with no_grad():
                    ends.append(value().item())
            x.data[...] = start
            slope = (ends[0] - ends[1]) / (2 * STEP)
            got = np.sum(host(found[name]) * host(direction))
            assert got == pytest.approx(slope, rel=1e-6, abs=1e-7), name


# ------------------------------------------------------------------------- what is inside


class Nest(nn.Module):
    """Modules and parameters wherever a module may hold them."""

    def __init__(self):
        self.z = nn.Linear(2, 2)
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.layers = [nn.Linear(2, 2, bias=False), nn.Dropout(0.5)]
        self.by_name = {"日本": nn.Linear(1, 1), 7: nn.LayerNorm(2)}
        self.deep = ([nn.Parameter(np.zeros(1, np.float32))], (nn.Linear(1, 2),))
        self.a = nn.Linear(2, 1)
        self.constant = Tensor(np.ones(2))  # no name: not a parameter
        self.numbers, self.none = [1, 2], None


NEST = [
    *("z.weight", "z.bias", "scale", "layers.0.weight", "by_name.日本.weight", "by_name.日本.bias"),
    *("by_name.7.weight", "by_name.7.bias", "deep.0.0", "deep.1.0.weight", "deep.1.0.bias"),
    *("a.weight", "a.bias"),
]


def test_parameters_are_found_in_the_order_of_attributes():
    model = Nest()
    assert names(model) == NEST
    assert [name for name, _ in model.named_modules()] == [
        *("", "z", "layers.0", "layers.1", "by_name.日本", "by_name.7", "deep.1.0", "a")
    ]


def test_parameters_know_their_full_names_once_they_are_listed():
    model = Nest()
    assert {p.name for _, p in model.named_parameters()} == {"parameter"}
    assert [p.name for p in model.parameters()] == NEST
    assert [p.name for p in model.a.parameters()] == ["weight", "bias"]


def test_a_parameter_added_later_is_found():
    model = nn.Linear(1, 1, bias=False)
    model.extra = nn.Parameter(np.zeros(2, np.float32))
    assert names(model) == ["weight", "extra"]


def test_tied_parameters_are_listed_once_under_their_first_name():
    model = Nest()
    model.a = model.z
    model.again = model.layers
    model.layers[0].weight = model.z.weight
    assert names(model) == [n for n in NEST if n not in ("layers.0.weight", "a.weight", "a.bias")]
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


def test_modules_may_refer_to_each_other_in_a_circle():
    inner, outer = nn.Linear(1, 1), nn.Module()
    outer.inner, inner.owner = inner, outer
    assert names(outer) == ["inner.weight", "inner.bias"]


def test_two_parameters_of_one_name_are_refused():
    model = nn.Module()
    model.by_key = {1: nn.Linear(2, 3), "1": nn.Linear(4, 5)}
    message = r"called 'by_key.1.weight', of shapes \(3, 2\) and \(5, 4\)"
    for read in (model.parameters, model.state_dict, model.named_parameters):
        with pytest.raises(StateError, match=message):
            read()
    with pytest.raises(StateError, match=message):
        optim.Adam(model)
    model.by_key["1"] = model.by_key[1]  # one and the same is no other
    assert names(model) == ["by_key.1.weight", "by_key.1.bias"]


def test_a_tracked_tensor_that_is_no_parameter_is_refused():
    model = nn.Linear(2, 2)
    model.parts = [mg.ones(3), mg.ones(3, requires_grad=True)]
    with pytest.raises(StateError, match=r"Linear: 'parts.1' requires .* with nn.Parameter\("):
        model.parameters()
    assert [name for name, _ in model.eval().named_modules()] == [""]
    model.parts[1] = nn.Parameter(model.parts[1])
    model.seen = model.weight * 2  # what was computed is no parameter, and is not meant to be one
    assert names(model) == ["weight", "bias", "parts.1"]


def test_modes_reach_everything_below():
    model = Nest()
    assert all(m.training for _, m in model.named_modules())
    assert model.eval() is model
    assert not any(m.training for _, m in model.named_modules())
    assert model.train() is model
    assert all(m.training for _, m in model.named_modules())


def test_a_mode_for_a_while_leaves_each_module_as_it_was():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Linear(2, 2), nn.EmbeddingBag(3, 2)))
    model[1].eval()
    before = [m.training for m in model.modules()]
    assert set(before) == {True, False}
    for training in (False, True):
        with model.in_mode(training) as same:
            assert same is model
            assert {m.training for m in model.modules()} == {training}
            model.train(not training)
        assert [m.training for m in model.modules()] == before
        with pytest.raises(ZeroDivisionError), model.in_mode(training):
            raise ZeroDivisionError
        assert [m.training for m in model.modules()] == before


def test_frozen_parameters_get_no_gradient():
    model = nn.Seq2Seq(5, 4, 2, 6, 1, 1)
    assert model.encoder.requires_grad_(False) is model.encoder
    ids = to_device(np.array([[1, 2]]))
    model(ids, ids).sum().backward()
    for name, p in model.named_parameters():
        assert (p.grad is None) == name.startswith("encoder."), name
    model.zero_grad()
    model.requires_grad_()
    model(ids, ids).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_module_turns_arrays_into_tensors():
    class Sum(nn.Module):
        def forward(self, x, times, extra=None):
            assert type(x) is type(extra) is Tensor
            return x * times + extra

    x = normal(2)
    assert host(Sum()(x, 2, extra=x)).tolist() == (3 * host(x)).tolist()
    assert host(Sum()([1, 2], 3, extra=[[0.5, 1.0]])).tolist() == [[3.5, 7.0]]


def test_a_module_leaves_alone_what_holds_no_numbers():
    class Same(nn.Module):
        def forward(self, *args, **kwargs):
            return [*args, *kwargs.values()]

    given = [[], [[]], ["a"], [1, "a"], [None], [Tensor(1.0)], [normal(2)], (1, 2), 3, None, {1: 2}]
    assert all(x is y for x, y in zip(Same()(*given), given, strict=True))
    assert all(type(x) is Tensor for x in Same()([1], [[True]], x=[np.float32(1), np.bool(0)]))


def test_layers_take_lists():
    with random.stream(1):
        model, attention = nn.Seq2Seq(7, 4, 2, 6, 1, 1), nn.MultiheadAttention(2, 1)
    src, tgt = [[3, 4, 0], [5, 1, 2]], [[1, 6], [1, 2]]
    expected = host(model(to_device(np.array(src)), to_device(np.array(tgt))))
    memory, padding = model.encode(src)
    for logits in (model(src, tgt), model.decode(tgt, memory, padding)):
        np.testing.assert_array_equal(host(logits), expected)
    table = nn.Embedding(5, 3)
    assert host(table(2)).tolist() == host(table.weight)[2].tolist()
    assert host(table([[2]])).tolist() == [[host(table.weight)[2].tolist()]]
    x, padding = [[[0.5, 1.0], [2.0, 3.0]]], [[False, True]]
    array = to_device(np.array(x, np.float32))
    expected = attention(array, array, array, to_device(np.array(padding)))
    assert host(attention(x, x, x, padding)).tolist() == host(expected).tolist()


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define forward"):
        Empty()()


# -------------------------------------------------------------------- state dictionaries


def test_a_state_dictionary_holds_copies_in_order():
    model = Nest()
    state = model.state_dict()
    assert list(state) == NEST
    assert all(type(v) is np.ndarray for v in state.values())
    state["scale"][:] = 5
    assert host(model.scale).tolist() == [1, 1, 1]


def test_loading_gives_the_same_bits_and_keeps_the_arrays():
    a, b = Nest(), Nest()
    for p in a.parameters():
        p.data[...] = normal(*p.shape, seed=5, dtype="float32")
    arrays = [p.data for p in b.parameters()]
    b.load_state_dict(a.state_dict())
    same_state(state_of(b), state_of(a))
    assert all(p.data is x for p, x in zip(b.parameters(), arrays, strict=True))
    c = Nest()
    c.load_state_dict(dict(a.named_parameters()))  # Tensors, and on a device device arrays
    same_state(state_of(c), state_of(a))


def test_loading_lists_everything_that_does_not_fit_and_changes_nothing():
    model = Nest()
    before = state_of(model)
    state = model.state_dict()
    del state["z.bias"], state["deep.0.0"]
    state["extra"] = np.zeros((2, 1))
    state["note"] = "text"
    state["a.weight"] = np.zeros((2, 1), np.float32)
    state["scale"] = np.ones(3)
    state["by_name.7.bias"] = [0.0, 0.0]
    state["layers.0.weight"] = np.full((2, 2), 7, np.float32)  # fits, and is not loaded either
    with pytest.raises(StateError) as caught:
        model.load_state_dict(state)
    assert str(caught.value).splitlines() == [
        "load_state_dict: 7 entries do not fit Nest; nothing was loaded:",
        "  dtype: scale must be (3,) float32, got (3,) float64",
        "  missing: deep.0.0 (1,) float32",
        "  missing: z.bias (2,) float32",
        "  shape: a.weight must be (1, 2) float32, got (2, 1) float32",
        "  shape: by_name.7.bias must be (2,) float32, got list",
        "  unexpected: extra (2, 1) float64",
        "  unexpected: note str",
    ]
    same_state(state_of(model), before)


def test_loading_without_strict_passes_names_over_but_not_shapes():
    model = nn.Linear(2, 2)
    before = state_of(model)
    model.load_state_dict({"bias": np.ones(2, np.float32), "extra": np.ones(1)}, strict=False)
    assert host(model.bias).tolist() == [1, 1]
    np.testing.assert_array_equal(host(model.weight), before["weight"])
    with pytest.raises(StateError, match=r"1 entries .*\n  shape: bias must be \(2,\) float32"):
        model.load_state_dict({"bias": np.ones(1, np.float32)}, strict=False)


@pytest.mark.parametrize("wrong", [None, [("weight", 1)], "model.safetensors"])
def test_a_state_must_be_a_mapping(wrong):
    with pytest.raises(StateError, match=f"expected a mapping .* got {type(wrong).__name__}"):
        nn.Linear(1, 1).load_state_dict(wrong)


class Tied(nn.Module):
    """A weight, a layer and an attention under two names each; `deep` leads back to the top."""

    def __init__(self):
        self.table, self.out = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.out.weight = self.table.weight
        self.first = self.second = nn.MultiheadAttention(4, 2)
        self.deep = {"owner": self, "out": self.out}


def as_pytorch_writes(model):
    """The state of a `Tied`, with every name of every parameter."""
    state = model.state_dict(layout="torch")
    state |= {k.replace("first.", "second."): v for k, v in state.items() if k[:6] == "first."}
    for prefix in ("out", "deep.out"):
        state |= {f"{prefix}.weight": state["table.weight"], f"{prefix}.bias": state["out.bias"]}
    return {k: v.copy() for k, v in state.items()}


def test_tied_parameters_may_stand_under_all_their_names():
    a, b = Tied(), Tied()
    state = as_pytorch_writes(a)
    state["table.weight"][0, 0] = state["out.weight"][0, 0] = np.nan
    state["deep.out.weight"][0, 0] = np.nan
    assert len(state) == 1 + 2 * 2 + 2 * 4
    b.load_state_dict(state)
    a.table.weight.data[0, 0] = np.nan
    same_state(state_of(b), state_of(a))


def test_a_tied_parameter_may_stand_under_its_second_name():
    a, b = Tied(), Tied()
    state = a.state_dict()
    state["out.weight"] = state.pop("table.weight")
    b.load_state_dict(state)
    same_state(state_of(b), state_of(a))


@pytest.mark.parametrize("strict", [True, False])
def test_names_of_a_tied_parameter_must_agree(strict):
    model = Tied()
    before = state_of(model)
    state = as_pytorch_writes(model)
    state["table.weight"] = state["table.weight"] + 1
    state["second.in_proj_bias"][0] = 3
    state["deep.out.weight"] = np.zeros((4, 5), np.float32)
    with pytest.raises(StateError) as caught:
        model.load_state_dict(state, strict)
    assert str(caught.value).splitlines()[1:] == [
        "  conflict: out.weight is tied to table.weight, and its values differ",
        "  conflict: second.q_proj.bias is tied to first.q_proj.bias, and its values differ",
        "  shape: deep.out.weight must be (5, 4) float32, got (4, 5) float32",
    ]
    same_state(state_of(model), before)


def test_a_name_belongs_to_the_parameter_that_is_listed_under_it():
    def make():
        model = nn.Module()
        model.layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
        model.by_key = {1: model.layer, "1": other}
        return model

    a, b = make(), make()
    assert names(a) == ["layer.weight", "layer.bias", "by_key.1.weight", "by_key.1.bias"]
    b.load_state_dict(a.state_dict())
    same_state(state_of(b), state_of(a))


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="'minigrad' or 'torch', got 'keras'"):
        nn.Linear(1, 1).state_dict(layout="keras")


PACKED = {
    "in_proj_weight": (12, 4),
    "in_proj_bias": (12,),
    "out_proj.weight": (4, 4),
    "out_proj.bias": (4,),
}
APART = {"in_proj_bias": (12,), "out_proj.weight": (4, 4), "out_proj.bias": (4,)}
LAYOUTS = [
    ({}, PACKED),
    ({"bias": False}, {k: v for k, v in PACKED.items() if "bias" not in k}),
    ({"kdim": 4, "vdim": 4}, PACKED),
    (
        {"kdim": 3, "vdim": 5},
        {"q_proj_weight": (4, 4), "k_proj_weight": (4, 3), "v_proj_weight": (4, 5)} | APART,
    ),
    (
        {"vdim": 2},
        {"q_proj_weight": (4, 4), "k_proj_weight": (4, 4), "v_proj_weight": (4, 2)} | APART,
    ),
]


@pytest.mark.parametrize(("options", "shapes"), LAYOUTS)
def test_an_attention_is_written_and_read_in_the_layout_of_pytorch(options, shapes):
    a, b = (nn.MultiheadAttention(4, 2, **options) for _ in range(2))
    state = a.state_dict(layout="torch")
    assert [(k, v.shape) for k, v in state.items()] == list(shapes.items())
    b.load_state_dict(state)
    same_state(state_of(b), state_of(a))
    same_state(b.state_dict(layout="torch"), state)


def test_query_key_and_value_are_packed_in_this_order():
    layer = nn.MultiheadAttention(2, 1)
    for value, projection in enumerate([layer.q_proj, layer.k_proj, layer.v_proj]):
        projection.weight.data[...] = value
        projection.bias.data[...] = value
    state = layer.state_dict(layout="torch")
    assert state["in_proj_weight"].tolist() == [[i, i] for i in (0, 0, 1, 1, 2, 2)]
    assert state["in_proj_bias"].tolist() == [0, 0, 1, 1, 2, 2]


def test_packing_reaches_nested_attentions():
    model = nn.Grouped({"日本手話": nn.Seq2Seq(5, 4, 2, 6, 1, 2)})
    state = model.state_dict(layout="torch")
    attentions = ["encoder.layers.0.self_attn"]
    attentions += [f"decoder.layers.{i}.{a}_attn" for i in (0, 1) for a in ("self", "multihead")]
    packed = [name for name in state if "in_proj" in name]
    assert sorted(packed) == sorted(
        f"models.日本手話.{a}.in_proj_{kind}" for a in attentions for kind in ("weight", "bias")
    )
    assert not any("q_proj" in name for name in state)
    other = nn.Grouped({"日本手話": nn.Seq2Seq(5, 4, 2, 6, 1, 2)})
    other.load_state_dict(state)
    same_state(state_of(other), state_of(model))


def test_layouts_may_be_mixed_and_what_cannot_be_unpacked_is_reported():
    a, b = nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2)
    ours, theirs = a.state_dict(), a.state_dict(layout="torch")
    mixed = {k: v for k, v in ours.items() if k[1:] != "_proj.bias"}
    b.load_state_dict(mixed | {"in_proj_bias": theirs["in_proj_bias"]})
    same_state(state_of(b), state_of(a))
    theirs["in_proj_weight"] = theirs["in_proj_weight"][:-1]
    theirs["in_proj_bias"] = 3.0
    with pytest.raises(StateError) as caught:
        b.load_state_dict(theirs)
    lines = str(caught.value).splitlines()
    assert "  unexpected: in_proj_weight (11, 4) float32" in lines
    assert "  unexpected: in_proj_bias float" in lines
    assert "  missing: k_proj.weight (4, 4) float32" in lines


@pytest.mark.parametrize(
    ("options", "packed"),
    [
        ({}, ["in_proj_weight (12, 4)", "in_proj_bias (12,)"]),
        ({"kdim": 3}, ["k_proj_weight (4, 3)"]),
    ],
)
def test_a_projection_in_both_layouts_is_reported(options, packed):
    layer = nn.MultiheadAttention(4, 2, **options)
    before = state_of(layer)
    ours = {k: v + 1 for k, v in layer.state_dict().items()}
    theirs = layer.state_dict(layout="torch")
    both = ours | {k: v for k, v in theirs.items() if any(k in line for line in packed)}
    with pytest.raises(StateError) as caught:
        layer.load_state_dict(both)
    assert str(caught.value).splitlines()[1:] == sorted(
        f"  unexpected: {line} float32" for line in packed
    )
    same_state(state_of(layer), before)
    if not options:  # and so is a packed one with a part of itself
        with pytest.raises(StateError) as caught:
            layer.load_state_dict(theirs | {"k_proj.bias": ours["k_proj.bias"]})
        assert str(caught.value).splitlines()[1:] == [
            "  missing: q_proj.bias (4,) float32",
            "  missing: v_proj.bias (4,) float32",
            "  unexpected: in_proj_bias (12,) float32",
        ]


def test_tied_projections_are_packed_each():
    a, b = nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2)
    for layer in (a, b):
        layer.k_proj.bias = layer.q_proj.bias
    a.q_proj.bias.data[...] = to_device(np.arange(1, 5, dtype="float32"))
    assert "k_proj.bias" not in a.state_dict()
    state = a.state_dict(layout="torch")
    assert state["in_proj_bias"].tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 0, 0, 0, 0]
    b.load_state_dict(state)
    same_state(state_of(b), state_of(a))


def test_the_layout_of_pytorch_has_every_name_of_what_is_tied():
    model = Tied()
    state, packed = model.state_dict(), model.state_dict(layout="torch")
    assert [k for k in state if "first" not in k] == ["table.weight", "out.bias"]
    assert packed.keys() == as_pytorch_writes(model).keys()
    for key in ("out.weight", "deep.out.weight"):
        np.testing.assert_array_equal(packed[key], state["table.weight"])
    packed["out.weight"][...] = 7  # each is a copy
    assert (packed["table.weight"] != 7).any()


def test_an_attention_whose_name_another_module_has_cannot_be_packed():
    model = nn.Module()
    model.first, model.other = nn.MultiheadAttention(4, 2), nn.Linear(1, 1)
    model.by_key = {1: {"q_proj": model.first.q_proj}, "1": model.first}
    assert "by_key.1.in_proj_weight" in model.state_dict(layout="torch")
    layer = nn.MultiheadAttention(4, 2)
    layer.pack_state(packed := layer.state_dict(), "")
    with pytest.raises(StateError, match=r"cannot be packed for PyTorch, as another module has"):
        layer.pack_state(packed, "")


def test_what_was_passed_over_is_reported():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.LazyLinear(2))
    state = model[:2].state_dict()
    for old, new in [("0.weight", "module.0.weight"), ("1.bias", "one.b")]:
        state[new] = state.pop(old) + 1
    state["note"], state["scale"], state[3] = "text", np.ones(7), np.ones(3)
    report = model.load_state_dict(state, strict=False)
    missing, unexpected = report
    assert missing == report.missing_keys == ["0.weight", "1.bias", "2"]
    assert unexpected == report.unexpected_keys == ["module.0.weight", "one.b", "note", "scale", 3]
    assert report.nearest == {"module.0.weight": "0.weight"}
    assert str(report).splitlines() == [
        "missing: 0.weight",
        "missing: 1.bias",
        "missing: 2",
        "unexpected: module.0.weight, perhaps 0.weight",
        "unexpected: one.b",
        "unexpected: note",
        "unexpected: scale",
        "unexpected: 3",
    ]
    with pytest.raises(
        StateError, match=r"\n  unexpected: module.0.weight \(3, 2\) float32, perhaps"
    ):
        model.load_state_dict(state)
    small = nn.Linear(2, 3)
    assert small.load_state_dict(small.state_dict()) == ([], [])
    assert str(small.load_state_dict(small.state_dict())) == "all names matched"


class Foreign:
    """An array of another library, which NumPy may ask for its own."""

    def __init__(self, values, error=None):
        self.values, self.error = values, error
        self.shape, self.dtype = values.shape, f"theirs.{values.dtype}"

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return self.values


def test_arrays_of_other_libraries_are_loaded():
    layer = nn.Linear(2, 3)
    values = {"weight": np.ones((3, 2), np.float32), "bias": np.ones(3, np.float32)}
    layer.load_state_dict({k: Foreign(v) for k, v in values.items()})
    same_state(state_of(layer), values)
    values["bias"] = Foreign(values["bias"] * 2, TypeError("no such dtype"))
    with pytest.raises(StateError, match=r"dtype: bias must be .* got \(3,\) theirs.float32"):
        layer.load_state_dict(values)


# ------------------------------------------------------------------------------- pictures


def test_a_summary_lists_parameters_and_their_sum():
    model = nn.Grouped({"日本": nn.Linear(30, 40), "b": nn.Linear(1, 2, bias=False)})
    model["b"].requires_grad_(False)
    for i, p in enumerate(model.parameters()):
        p.data[...] = i
    model["b"].weight.data[0] = -1.5
    lines = model.summary().splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "parameter shape dtype mean std min max non-zeros count bytes",
        "models.日本.weight (40, 30) float32 0 0 0 0 0 1,200 4,800",
        "models.日本.bias (40,) float32 1 0 1 1 40 40 160",
        "models.b.weight (frozen) (2, 1) float32 0.25 1.75 -1.5 2 2 2 8",
        "total of Grouped 1,242 4,968",
    ]
    widths = [len(line) + 2 * ("日本" in line) for line in lines]
    assert len(set(widths)) == 1


def test_a_representation_shows_the_tree():
    class Pair(nn.Module):
        def __init__(self):
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.1, bias=False)
            self.tables = [nn.Embedding(5, 4, padding_idx=0), nn.Embedding(5, 4)]
            self.norms = {"last": nn.LayerNorm(4), "drop": nn.Dropout(0.25)}

    line = "Linear(in_features=4, out_features=4, bias=False)"
    twos = "mean 2, std 0, min 2, max 2, non-zeros"
    weight = f"  weight: float32 (4, 4), {twos} 16, count 16, bytes 64"
    table = f"    weight: float32 (5, 4), {twos} 20, count 20, bytes 80"
    pair = Pair()
    for p in pair.parameters():
        p.data[...] = 2
    assert repr(pair).splitlines() == [
        "Pair(",
        "  (attention): MultiheadAttention(",
        "    num_heads=2, dropout=0.1",
        f"    (q_proj): {line}",
        f"    {weight}",
        f"    (k_proj): {line}",
        f"    {weight}",
        f"    (v_proj): {line}",
        f"    {weight}",
        f"    (out_proj): {line}",
        f"    {weight}",
        "  )",
        "  (tables.0): Embedding(5, 4, padding_idx=0)",
        table,
        "  (tables.1): Embedding(5, 4)",
        table,
        "  (norms.last): LayerNorm((4,), eps=1e-05)",
        f"    weight: float32 (4,), {twos} 4, count 4, bytes 16",
        f"    bias: float32 (4,), {twos} 4, count 4, bytes 16",
        "  (norms.drop): Dropout(p=0.25)",
        ")",
        "112 parameters, 448 bytes",
    ]


def test_a_module_that_holds_itself_has_a_representation():
    outer, inner = nn.Module(), nn.Dropout()
    outer.inner, inner.owner, inner.me = inner, outer, [inner]
    assert repr(outer).splitlines() == [
        "Module(",
        "  (inner): Dropout(",
        "    p=0.5",
        "    (owner): ...",
        "    (me.0): ...",
        "  )",
        ")",
    ]


# ------------------------------------------------------------- names, shapes, first values

ATTENTION = {
    f"{name}.{kind}": shape
    for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    for kind, shape in (("weight", (4, 4)), ("bias", (4,)))
}
FEED_FORWARD = {
    "linear1.weight": (6, 4),
    "linear1.bias": (6,),
    "linear2.weight": (4, 6),
    "linear2.bias": (4,),
}
PARAMETERS = [
    (lambda: nn.Linear(3, 2), {"weight": (2, 3), "bias": (2,)}),
    (lambda: nn.Linear(3, 2, bias=False), {"weight": (2, 3)}),
    (lambda: nn.Embedding(5, 3), {"weight": (5, 3)}),
    (lambda: nn.LayerNorm((2, 3)), {"weight": (2, 3), "bias": (2, 3)}),
    (lambda: nn.LayerNorm(3, bias=False), {"weight": (3,)}),
    (lambda: nn.LayerNorm(3, elementwise_affine=False), {}),
    (lambda: nn.Dropout(), {}),
    (lambda: nn.SinusoidalPositions(), {}),
    (lambda: nn.MultiheadAttention(4, 2), ATTENTION),
    (
        lambda: nn.MultiheadAttention(4, 2, bias=False, kdim=3, vdim=5),
        {
            "q_proj.weight": (4, 4),
            "k_proj.weight": (4, 3),
            "v_proj.weight": (4, 5),
            "out_proj.weight": (4, 4),
        },
    ),
    (
        lambda: nn.TransformerEncoderLayer(4, 2, 6),
        {f"self_attn.{k}": v for k, v in ATTENTION.items()}
        | FEED_FORWARD
        | {f"norm{i}.{kind}": (4,) for i in (1, 2) for kind in ("weight", "bias")},
    ),
    (
        lambda: nn.TransformerDecoderLayer(4, 2, 6),
        {f"{a}.{k}": v for a in ("self_attn", "multihead_attn") for k, v in ATTENTION.items()}
        | FEED_FORWARD
        | {f"norm{i}.{kind}": (4,) for i in (1, 2, 3) for kind in ("weight", "bias")},
    ),
]


@pytest.mark.parametrize(("make", "shapes"), PARAMETERS)
def test_parameters_have_the_names_and_shapes_of_pytorch(make, shapes):
    found = {name: p.shape for name, p in make().named_parameters()}
    assert list(found.items()) == list(shapes.items())


def test_a_seq2seq_is_an_encoder_and_a_decoder():
    model = nn.Seq2Seq(7, 4, 2, 6, 2, 1)
    encoder, decoder = PARAMETERS[-2][1], PARAMETERS[-1][1]
    norm = {"norm.weight": (4,), "norm.bias": (4,)}
    expected = {"encoder.embed.weight": (7, 4)}
    expected |= {f"encoder.layers.{i}.{k}": v for i in (0, 1) for k, v in encoder.items()}
    expected |= {f"encoder.{k}": v for k, v in norm.items()}
    expected |= {"decoder.embed.weight": (7, 4)}
    expected |= {f"decoder.layers.0.{k}": v for k, v in decoder.items()}
    expected |= {f"decoder.{k}": v for k, v in norm.items()}
    expected |= {"decoder.output_projection.weight": (7, 4), "decoder.output_projection.bias": (7,)}
    assert [(k, p.shape) for k, p in model.named_parameters()] == list(expected.items())


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_sizes_may_be_integers_of_numpy(kind):
    def made(*sizes):
        a, b, c, d = sizes
        with random.stream(1):
            return [
                nn.Linear(a, b),
                nn.Embedding(a, b, padding_idx=c),
                nn.LayerNorm(a),
                nn.LayerNorm((a, b)),
                nn.MultiheadAttention(a, d, kdim=b, vdim=a),
                nn.MultiheadAttention(a, d),
                nn.Seq2Seq(b, a, d, b, c, c),
            ]

    sizes = 150, 110, 1, 2
    for layer, expected in zip(made(*map(kind, sizes)), made(*sizes), strict=True):
        assert repr(layer) == repr(expected)
        same_state(state_of(layer), state_of(expected))
    x, ids = normal(1, 2, 150, dtype="float32"), to_device(np.array([[3, 1]]))
    *_, norm, _, _, attention, model = made(*map(kind, sizes))
    assert norm(x).shape == nn.functional.layer_norm(x, kind(150)).shape == (1, 2, 150)
    assert attention(x, x, x).shape == (1, 2, 150)
    assert model(ids, ids).shape == (1, 2, 110)


def check_uniform(x, bound):
    """That numbers look uniform in [-bound, bound)."""
    x = host(x)
    assert bound * 0.99 < np.max(np.abs(x)) <= bound
    assert abs(np.mean(x)) < 4 * bound / math.sqrt(3 * x.size)
    assert np.std(x) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_initial_weights_are_distributed_as_those_of_pytorch():
    with random.stream(0):
        linear, table = nn.Linear(100, 500), nn.Embedding(100, 50, padding_idx=3)
        attention = nn.MultiheadAttention(50, 5)
        apart = nn.MultiheadAttention(50, 5, kdim=100)
    check_uniform(linear.weight, 1 / math.sqrt(100))
    check_uniform(linear.bias, 1 / math.sqrt(100))
    check_uniform(attention.q_proj.weight, math.sqrt(6 / (50 + 150)))
    check_uniform(apart.k_proj.weight, math.sqrt(6 / (100 + 50)))
    check_uniform(attention.out_proj.weight, 1 / math.sqrt(50))
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        assert not host(getattr(attention, name).bias).any()
    weight = host(table.weight)
    assert not weight[3].any()
    rest = np.delete(weight, 3, axis=0)
    assert abs(np.mean(rest)) < 4 / math.sqrt(rest.size)
    assert np.std(rest) == pytest.approx(1, rel=0.05)


def test_initial_weights_follow_the_stream():
    def made(seed):
        with random.stream(seed):
            return state_of(nn.Seq2Seq(5, 4, 2, 6, 1, 1))

    first = made(1)
    same_state(made(1), first)
    assert not np.array_equal(made(2)["encoder.embed.weight"], first["encoder.embed.weight"])
    # No two layers start alike.
    assert len({v.tobytes() for k, v in first.items() if k.endswith("linear1.weight")}) == 2


# ------------------------------------------------------------------------- values of layers


def test_linear_is_a_loop_over_products():
    layer, x = nn.Linear(3, 2, dtype="float64"), normal(2, 4, 3)
    w, b, expected = host(layer.weight), host(layer.bias), np.empty((2, 4, 2))
    for i, j, o in np.ndindex(2, 4, 2):
        expected[i, j, o] = sum(w[o, k] * host(x)[i, j, k] for k in range(3)) + b[o]
    near(layer(x), expected)
    layer.bias = None
    near(layer(x), expected - b)


def test_embedding_looks_rows_up():
    layer, ids = nn.Embedding(5, 3), np.array([[4, 0], [0, 1]])
    near(layer(to_device(ids)), [[host(layer.weight)[i] for i in row] for row in ids.tolist()], 0)


def test_no_gradient_reaches_the_padding_of_an_embedding():
    layer = nn.Embedding(4, 2, padding_idx=1)
    layer(to_device(np.array([0, 1, 1, 3, 3]))).sum().backward()
    assert host(layer.weight.grad).tolist() == [[1, 1], [0, 0], [0, 0], [2, 2]]


@pytest.mark.parametrize("shape", [5, (5,), (3, 5), [2, 3, 5]])
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_layer_norm_is_its_formula(shape, eps):
    layer, x = nn.LayerNorm(shape, eps=eps, dtype="float64"), normal(2, 3, 5)
    layer.weight.data[...] = normal(*layer.weight.shape, seed=1)
    layer.bias.data[...] = normal(*layer.bias.shape, seed=2)
    axes = tuple(range(-layer.weight.ndim, 0))
    centred = host(x) - host(x).mean(axis=axes, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
    near(layer(x), centred / std * host(layer.weight) + host(layer.bias))


def test_layer_norm_without_weights_only_normalises():
    y = host(nn.LayerNorm(64, elementwise_affine=False)(normal(3, 64)))
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=-1), 1, rtol=1e-4)


def test_layer_norm_takes_no_rows():
    for shape in (4, (3, 4)):
        layer, x = nn.LayerNorm(shape), Tensor(normal(0, 3, 4, dtype="float32"), True)
        y = layer(x)
        assert (y.shape, y.dtype) == ((0, 3, 4), np.float32)
        y.sum().backward()
        assert x.grad.shape == (0, 3, 4)
        assert not host(layer.weight.grad).any()


def slow_attention(layer, query, key, value, seen=None, causal=False):
    """Multi-head attention by the loops of `naive`; `seen` as in the op: True shows."""
    q, k, v = (
        naive.linear(host(x), host(p.weight), None if p.bias is None else host(p.bias))
        for x, p in ((query, layer.q_proj), (key, layer.k_proj), (value, layer.v_proj))
    )
    y = naive.attention(q, k, v, seen, heads=layer.num_heads, causal=causal)
    return naive.linear(y, host(layer.out_proj.weight), host(layer.out_proj.bias))


@pytest.fixture
def attention():
    """Two heads on 4 features, with biases that are not zero."""
    with random.stream(4):
        layer = nn.MultiheadAttention(4, 2, dtype="float64")
    for i, p in enumerate(layer.parameters()):
        if p.ndim == 1:
            p.data[...] = normal(4, seed=i)
    return layer


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_its_loop(attention, causal):
    x = normal(2, 5, 4)
    near(attention(x, x, x, is_causal=causal), slow_attention(attention, x, x, x, causal=causal))


def test_cross_attention_is_its_loop():
    layer = nn.MultiheadAttention(6, 3, kdim=2, vdim=5, dtype="float64")
    query, key, value = normal(2, 3, 6), normal(2, 4, 2), normal(2, 4, 5)
    near(layer(query, key, value), slow_attention(layer, query, key, value))


# Masks of B = 2, H = 2, T = 3 queries and S = 4 keys; True hides.
rng = np.random.default_rng(5)
PADDING = np.array([[False, False, False, True], [False, True, False, True]])
HIDDEN = {"(T, S)": (3, 4), "(B, T, S)": (2, 3, 4), "(B, H, T, S)": (2, 2, 3, 4)}
HIDDEN = {name: rng.random(shape) < 0.3 for name, shape in HIDDEN.items()}
ADDED = {name: rng.normal(size=mask.shape) for name, mask in HIDDEN.items()}


def full(mask):
    """A layer's mask as one that broadcasts to (B, H, T, S)."""
    return mask[:, None] if mask.ndim == 3 else mask


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", [None, *HIDDEN])
def test_boolean_masks_hide_what_is_true(attention, shape, padded, causal):
    query, memory = normal(2, 3, 4), normal(2, 4, 4)
    hidden = np.zeros((2, 2, 3, 4), bool)
    hidden |= PADDING[:, None, None, :] & padded
    if shape:
        hidden |= full(HIDDEN[shape])
    y = attention(
        query,
        memory,
        memory,
        key_padding_mask=to_device(PADDING) if padded else None,
        attn_mask=to_device(HIDDEN[shape]) if shape else None,
        is_causal=causal,
    )
    near(y, slow_attention(attention, query, memory, memory, ~hidden, causal))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", ADDED)
def test_floating_masks_are_added_to_the_scores(attention, shape, padded):
    query, memory = normal(2, 3, 4), normal(2, 4, 4)
    added = np.broadcast_to(full(ADDED[shape]), (2, 2, 3, 4))
    if padded:
        added = np.where(PADDING[:, None, None, :], -np.inf, added)
    y = attention(
        query,
        memory,
        memory,
        key_padding_mask=to_device(PADDING) if padded else None,
        attn_mask=to_device(ADDED[shape]),
    )
    near(y, slow_attention(attention, query, memory, memory, added))


def test_a_mask_does_not_change_the_dtype():
    layer, x = nn.MultiheadAttention(4, 2), normal(2, 3, 4, dtype="float32")
    mask = to_device(np.zeros((3, 3)))
    padding = to_device(np.zeros((2, 3), bool))
    for options in ({}, {"key_padding_mask": padding}):
        y = layer(x, x, x, attn_mask=mask, **options)
        assert y.dtype == np.float32
        near(y, layer(x, x, x), 1e-6)


# Ways to hide everything from query 1 of sample 0, in self-attention over three positions.
NOTHING = {
    "padding": {"key_padding_mask": np.array([[True] * 3, [False] * 3])},
    "booleans": {
        "attn_mask": np.array([[[False] * 3, [True] * 3, [False] * 3], [[False] * 3] * 3])
    },
    "floats": {"attn_mask": np.array([[0.0] * 3, [-np.inf] * 3, [0.0] * 3])},
    "floats and padding": {
        "attn_mask": np.array([[0.0] * 3, [0, 0, -np.inf], [0.0] * 3]),
        "key_padding_mask": np.array([[True, True, False], [False] * 3]),
    },
    "causal and padding": {
        "is_causal": True,
        "key_padding_mask": np.array([[True, True, False], [False] * 3]),
    },
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", NOTHING)
def test_a_query_that_sees_nothing_gives_zeros_and_gets_no_gradient(case, dtype):
    layer = nn.MultiheadAttention(4, 2, dtype=dtype)
    layer.out_proj.bias.data[...] = normal(4, dtype=dtype)
    options = {k: v if v is True else to_device(v) for k, v in NOTHING[case].items()}
    q, k, v = (Tensor(normal(2, 3, 4, seed=i, dtype=dtype), True) for i in range(3))
    y = layer(q, k, v, **options)
    assert np.isfinite(host(y)).all()
    # Zeros before the output projection: only its bias is left.
    assert host(y)[0, 1].tolist() == host(layer.out_proj.bias).tolist()
    y[0, 1].sum().backward()
    for x in (q, k, v):
        assert not host(x.grad).any()
    for name, p in layer.named_parameters():
        assert (name == "out_proj.bias") == bool(host(p.grad).any()), name


def test_the_rest_of_a_batch_does_not_notice_a_sample_that_sees_nothing(attention):
    x = normal(2, 3, 4)
    padding = np.array([[True] * 3, [False, False, True]])
    both = Tensor(x.copy(), True)
    attention(both, both, both, to_device(padding)).sum().backward()
    from_both = {name: host(p.grad) for name, p in attention.named_parameters()}
    attention.zero_grad()
    alone = Tensor(x[1:].copy(), True)
    attention(alone, alone, alone, to_device(padding[1:])).sum().backward()
    near(both.grad[1:], alone.grad)
    assert not host(both.grad)[0].any()
    for name, p in attention.named_parameters():
        more = 3 if name == "out_proj.bias" else 0  # which is added at every position
        near(from_both[name], host(p.grad) + more)


# ---------------------------------------------------------------------------------- dropout


def test_dropout_drops_by_chance_and_keeps_the_mean():
    layer, x = nn.Dropout(0.3), to_device(np.ones((100, 200), np.float32))
    with random.stream(8):
        y = host(layer(x))
    assert y.dtype == np.float32
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    sigma = math.sqrt(0.3 / 0.7 / y.size)
    assert abs(y.mean() - 1) < 4 * sigma


def test_dropout_follows_the_stream():
    layer, x = nn.Dropout(0.5), normal(40)
    with random.stream(8):
        first, second = host(layer(x)), host(layer(x))
    with random.stream(8):
        again = host(layer(x))
    assert first.tolist() == again.tolist()
    assert first.tolist() != second.tolist()


def test_the_gradient_of_dropout_is_its_mask():
    x = Tensor(normal(50), True)
    y = nn.Dropout(0.5)(x)
    y.sum().backward()
    np.testing.assert_array_equal(host(x.grad), np.where(host(y) != 0, 2.0, 0.0))


def test_dropout_passes_everything_in_use_and_draws_nothing():
    x = normal(50)
    with random.stream(8) as stream:
        assert host(nn.Dropout(0.5).eval()(x)).tolist() == host(x).tolist()
        assert host(nn.Dropout(0)(x)).tolist() == host(x).tolist()
        assert nn.functional.dropout(x, 0.5, training=False) is x
        assert stream.next_key() == random.Stream(8).next_key()
    assert not host(nn.Dropout(1)(x)).any()


def test_an_attention_drops_weights_in_training_only():
    layer, x = nn.MultiheadAttention(4, 2, dropout=0.5, dtype="float64"), normal(1, 6, 4)
    assert host(layer(x, x, x)).tolist() != host(layer(x, x, x)).tolist()
    layer.eval()
    near(layer(x, x, x), slow_attention(layer, x, x, x))


# -------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("features", [1, 2, 5, 8])
def test_positions_are_sines_and_cosines(features):
    expected = np.empty((9, features))
    for t, j in np.ndindex(9, features):
        angle = t / 10000 ** (2 * (j // 2) / features)
        expected[t, j] = math.cos(angle) if j % 2 else math.sin(angle)
    near(nn.sinusoids(9, features, "float64"), expected)
    x = normal(2, 9, features)
    near(nn.SinusoidalPositions()(x), host(x) + expected)


def test_positions_extend_to_any_length_and_dtype():
    layer = nn.SinusoidalPositions()
    for T, features, dtype in [
        (3, 4, "f4"),
        (700, 4, "f4"),
        (5, 4, "f4"),
        (5, 4, "f8"),
        (5, 6, "f8"),
    ]:
        x = to_device(np.zeros((1, T, features), dtype))
        np.testing.assert_array_equal(
            host(layer(x))[0], nn.sinusoids(T, features, dtype), strict=True
        )
    assert layer.state_dict() == {}


# ------------------------------------------------------------------------------ transformer


def check_formula(formula, layer, *inputs):
    """That a formula over a layer's parts draws and gives what the layer does."""
    for mode in (True, False):
        layer.train(mode)
        with random.stream(7):
            y = layer(*inputs)
        with random.stream(7):
            near(formula(layer, *inputs), y)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_layer_is_its_formula(activation):
    f = {"relu": mg.relu, "gelu": mg.gelu}[activation]

    def feed_forward(l, x):
        return l.linear2(l.dropout(f(l.linear1(x))))

    def norm_first(l, x, padding):
        n = l.norm1(x)
        x = x + l.dropout(l.self_attn(n, n, n, padding))
        return x + l.dropout(feed_forward(l, l.norm2(x)))

    def norm_last(l, x, padding):
        x = l.norm1(x + l.dropout(l.self_attn(x, x, x, padding)))
        return l.norm2(x + l.dropout(feed_forward(l, x)))

    x, padding = Tensor(normal(2, 3, 4)), to_device(np.array([[False] * 3, [False, False, True]]))
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.3, activation, dtype="float64")
    check_formula(norm_first, layer, x, padding)
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.3, activation, norm_first=False, dtype="float64")
    check_formula(norm_last, layer, x, padding)


def test_a_decoder_layer_is_its_formula():
    def feed_forward(l, x):
        return l.linear2(l.dropout(mg.relu(l.linear1(x))))

    def norm_first(l, x, memory, tgt_padding, padding):
        n = l.norm1(x)
        x = x + l.dropout(l.self_attn(n, n, n, tgt_padding, is_causal=True))
        x = x + l.dropout(l.multihead_attn(l.norm2(x), memory, memory, padding))
        return x + l.dropout(feed_forward(l, l.norm3(x)))

    def norm_last(l, x, memory, tgt_padding, padding):
        x = l.norm1(x + l.dropout(l.self_attn(x, x, x, tgt_padding, is_causal=True)))
        x = l.norm2(x + l.dropout(l.multihead_attn(x, memory, memory, padding)))
        return l.norm3(x + l.dropout(feed_forward(l, x)))

    x, memory = Tensor(normal(2, 3, 4)), Tensor(normal(2, 5, 4))
    padding = to_device(np.array([[False] * 5, [False, False, True, True, True]]))
    tgt_padding = to_device(np.array([[False] * 3, [False, False, True]]))
    layer = nn.TransformerDecoderLayer(4, 2, 6, 0.3, dtype="float64")
    check_formula(norm_first, layer, x, memory, tgt_padding, padding)
    layer = nn.TransformerDecoderLayer(4, 2, 6, 0.3, norm_first=False, dtype="float64")
    check_formula(norm_last, layer, x, memory, tgt_padding, padding)


def test_a_seq2seq_is_its_formula():
    padding = to_device(np.array([[False] * 3, [False, False, True]]))
    positions = to_device(nn.sinusoids(3, 4, "float64"))

    def formula(model, src, tgt):
        encoder, decoder = model.encoder, model.decoder
        memory = encoder.dropout(encoder.embed(src) + positions)
        for layer in encoder.layers:
            memory = layer(memory, padding)
        memory = encoder.norm(memory)
        x = decoder.dropout(decoder.embed(tgt) + positions[:2])
        for layer in decoder.layers:
            x = layer(x, memory, None, padding)
        return decoder.output_projection(decoder.norm(x))

    model = nn.Seq2Seq(7, 4, 2, 6, 2, 2, dropout=0.3, dtype="float64")
    src, tgt = to_device(np.array([[3, 4, 1], [5, 1, 0]])), to_device(np.array([[1, 6], [1, 2]]))
    check_formula(formula, model, src, tgt)
    memory, mask = model.encode(src)
    assert host(mask).tolist() == host(padding).tolist()
    near(model.decode(tgt, memory, mask), model(src, tgt))


def test_the_future_is_not_seen():
    model = nn.Seq2Seq(7, 4, 2, 6, 1, 2)
    src, tgt = to_device(np.array([[3, 4, 1]])), np.array([[1, 6, 2, 5]])
    logits = host(model(src, to_device(tgt)))
    for t in range(1, 4):
        other = tgt.copy()
        other[:, t:] = 3
        np.testing.assert_allclose(
            host(model(src, to_device(other)))[:, :t], logits[:, :t], rtol=1e-5
        )


def test_a_target_may_have_ids_of_its_own():
    model = nn.Seq2Seq(9, 4, 2, 6, 1, 1, tgt_vocab_size=5)
    src, tgt = to_device(np.array([[8, 4, 1]])), to_device(np.array([[1, 4, 2]]))
    assert model(src, tgt).shape == (1, 3, 5)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes["encoder.embed.weight"] == (9, 4)
    assert shapes["decoder.embed.weight"] == shapes["decoder.output_projection.weight"] == (5, 4)
    with pytest.raises(OutOfRangeError):
        mg.backend.to_numpy(
            model(src, to_device(np.array([[1, 5]]))).data
        )  # which waits for a device


def tied():
    """A model whose target embedding is its projection, and a function that gives its loss."""
    with random.stream(3):
        model = nn.Seq2Seq(7, 4, 2, 6, 1, 1, dtype="float64", tie_embeddings=True)
    src, tgt, out = map(to_device, map(np.array, ([[3, 4, 1]], [[1, 6, 2, 0]], [[6, 2, 1, 0]])))
    return model, lambda: nn.functional.cross_entropy(model(src, tgt), out, axis=-1, ignore_index=0)


def test_the_gradient_of_a_tied_embedding_is_the_sum_of_two():
    model, loss = tied()
    weight = model.decoder.output_projection.weight
    assert model.decoder.embed.weight is weight
    both = host(gradients(loss(), {"w": weight})["w"])
    apart = model.decoder.embed.weight = nn.Parameter(to_device(host(weight)))
    one, other = gradients(loss(), {"projection": weight, "embedding": apart}).values()
    near(both, host(one) + host(other))
    assert np.any(host(one))
    assert np.any(host(other))


def test_a_tied_embedding_stays_tied():
    after = []
    for wrap in (lambda step: step, mg.jit):
        model, loss = tied()
        optimizer = optim.Adam(model, lr=0.1)

        def step(loss=loss, optimizer=optimizer):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        run = wrap(step)
        for _ in range(4):
            run()
        assert model.decoder.embed.weight is model.decoder.output_projection.weight
        other, _ = tied()
        other.load_state_dict(model.state_dict())
        assert other.decoder.embed.weight is other.decoder.output_projection.weight
        for name, w in model.named_parameters():
            # Padding's row as well: a projection has it, whatever an embedding does.
            np.testing.assert_array_equal(host(dict(other.named_parameters())[name]), host(w))
        after.append(host(model.decoder.embed.weight))
    near(after[1], after[0], 1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("more", [1, 5])
def test_padding_changes_no_logit(dtype, tolerance, more):
    with random.stream(6):
        model = nn.Seq2Seq(9, 8, 2, 16, 2, 2, dtype=dtype)
    src, tgt = np.array([[3, 4, 5, 1], [6, 1, 0, 0]]), np.array([[1, 7, 8], [1, 2, 0]])
    wide = [to_device(np.pad(ids, ((0, 0), (0, more)))) for ids in (src, tgt)]
    logits = model(to_device(src), to_device(tgt))
    near(model(wide[0], to_device(tgt)), logits, tolerance)
    near(model(*wide)[:, :3], logits, tolerance)
    # And a row alone, without any padding, is what it is in the batch.
    near(model(to_device(src[1:, :2]), to_device(tgt[1:, :2])), logits[1:, :2], tolerance)


def test_padding_takes_no_part_in_training():
    model = nn.Seq2Seq(9, 8, 2, 16, 1, 1, dtype="float64")
    src, tgt, out = np.array([[3, 4, 1]]), np.array([[1, 7]]), np.array([[7, 1]])
    found = []
    for more in (0, 3):
        wide = [to_device(np.pad(ids, ((0, 0), (0, more)))) for ids in (src, tgt, out)]
        loss = nn.functional.cross_entropy(model(*wide[:2]), wide[2], axis=-1, ignore_index=0)
        found.append(gradients(loss, dict(model.named_parameters())))
    for name, g in found[0].items():
        near(found[1][name], g)
    for g in found:
        assert not host(g["encoder.embed.weight"])[0].any()
        assert not host(g["decoder.embed.weight"])[0].any()


# -------------------------------------------------------------------------------- gradients

F64 = {"dtype": "float64"}
IDS = np.array([[1, 3, 0, 3], [2, 2, 1, 0]])
GRADIENTS = {
    "Linear": lambda: (nn.Linear(3, 4, **F64), normal(2, 5, 3)),
    "Linear without bias": lambda: (nn.Linear(3, 4, bias=False, **F64), normal(5, 3)),
    "Embedding": lambda: (nn.Embedding(4, 3, **F64), to_device(IDS)),
    "LayerNorm": lambda: (nn.LayerNorm(6, **F64), normal(2, 3, 6)),
    "LayerNorm over two axes": lambda: (nn.LayerNorm((3, 4), **F64), normal(2, 3, 4)),
    "Dropout": lambda: (nn.Dropout(0.4), normal(4, 5)),
    "positions": lambda: (nn.SinusoidalPositions(), normal(2, 3, 5)),
    "attention": lambda: (
        nn.MultiheadAttention(4, 2, **F64),
        *(normal(2, 3, 4, seed=i) for i in range(3)),
    ),
    "cross-attention with dropout": lambda: (
        nn.MultiheadAttention(4, 2, dropout=0.3, kdim=3, vdim=5, **F64),
        *(normal(2, 3, 4), normal(2, 4, 3), normal(2, 4, 5)),
    ),
    "attention with masks": lambda: (
        nn.MultiheadAttention(4, 2, **F64),
        *(normal(2, 3, 4), normal(2, 4, 4), normal(2, 4, 4, seed=1)),
        *(to_device(PADDING), normal(2, 2, 3, 4)),  # the floating mask is learned, too
    ),
    "attention that sees nothing": lambda: (
        nn.MultiheadAttention(4, 2, **F64),
        *(normal(2, 3, 4), normal(2, 4, 4), normal(2, 4, 4, seed=1)),
        to_device(np.array([[True] * 4, [True, False, False, True]])),
    ),
    "encoder layer": lambda: (
        nn.TransformerEncoderLayer(4, 2, 6, 0.2, "gelu", **F64),
        *(normal(2, 4, 4), to_device(PADDING)),
    ),
    "decoder layer": lambda: (
        nn.TransformerDecoderLayer(4, 2, 6, 0.2, **F64),
        *(normal(2, 3, 4), normal(2, 4, 4), None, to_device(PADDING)),
    ),
    "Seq2Seq": lambda: (
        with_fixed_tables(nn.Seq2Seq(4, 6, 3, 8, 1, 1, dropout=0.1, padding_idx=3, **F64)),
        *(to_device(IDS), to_device(IDS[:, :3])),
    ),
}


def with_fixed_tables(model):
    """A Seq2Seq whose embeddings are not varied: that of the padding must stay zero."""
    for part in (model.encoder, model.decoder):
        part.embed.requires_grad_(False)
    return model


@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients_agree_with_finite_differences(case):
    with random.stream(2):
        layer, *inputs = GRADIENTS[case]()
    check_layer(layer, *inputs)


# ----------------------------------------------------------------------------------- errors

X = np.zeros((2, 3, 4), np.float32)
ERRORS = [
    (lambda: nn.MultiheadAttention(4, 3), ShapeError, "a multiple of num_heads, got 4 and 3"),
    (lambda: nn.MultiheadAttention(4, 0), ValueError, "num_heads to be an integer >= 1, got 0"),
    (lambda: nn.Dropout(1.5), ValueError, r"p must be in \[0, 1\], got 1.5"),
    (
        lambda: nn.MultiheadAttention(4, 2, dropout=2.0),
        ValueError,
        r"MultiheadAttention: dropout must be in \[0, 1\], got 2.0",
    ),
    (
        lambda: nn.MultiheadAttention(4, 2, dropout=math.nan),
        ValueError,
        r"dropout must be in \[0, 1\], got nan",
    ),
    (lambda: nn.TransformerEncoderLayer(4, 2, dropout=-0.1), ValueError, "got -0.1"),
    (lambda: nn.TransformerDecoderLayer(4, 2, dropout=2.0), ValueError, "got 2.0"),
    (lambda: nn.Seq2Seq(5, 4, 2, 6, 0, 0, dropout=2.0), ValueError, "got 2.0"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ShapeError, r"must be in \[-3, 3\), got 3"),
    (
        lambda: nn.TransformerEncoderLayer(4, 2, activation="elu"),
        ValueError,
        "activation must be one of .*'relu'.*, got 'elu'",
    ),
    (lambda: nn.Linear(3, 2)(to_device(X)), ShapeError, r"\(2, 3, 4\) and \(2, 3\)"),
    (lambda: nn.LayerNorm((2, 4))(to_device(X)), ShapeError, r"must be \(2, 4\), got \(2, 3, 4\)"),
    (lambda: nn.Embedding(3, 2)(to_device(X)), DtypeError, "must be integers, got float32"),
    (
        lambda: attend(key_padding_mask=to_device(np.zeros((2, 4), bool))),
        ShapeError,
        r"key_padding_mask must be \(2, 3\) booleans, got \(2, 4\) bool",
    ),
    (
        lambda: attend(key_padding_mask=to_device(np.zeros((2, 3)))),
        ShapeError,
        r"must be \(2, 3\) booleans, got \(2, 3\) float64",
    ),
    (
        lambda: attend(attn_mask=to_device(np.zeros((3, 4), bool))),
        ShapeError,
        r"attn_mask must be \(3, 3\), or .* got \(3, 4\)",
    ),
    (
        lambda: attend(attn_mask=to_device(np.zeros((3, 3, 3), bool))),
        ShapeError,
        r"must broadcast to \(2, 2, 3, 3\)",
    ),
    (lambda: attend(attn_mask=to_device(np.zeros(3, bool))), ShapeError, r"got \(3,\)"),
    (lambda: attend(attn_mask=to_device(np.zeros((3, 3), int))), DtypeError, "got int64"),
    (lambda: nn.Embedding(3, 2)([]), DtypeError, "must be integers, got float32"),
    (lambda: nn.Embedding(3, 2)(1.5), DtypeError, "must be integers, got float32"),
    (lambda: nn.Embedding(3, 2)(None), DtypeError, "numbers only"),
    (lambda: nn.Embedding(3, 2)(["日本"]), DtypeError, "numbers only"),
    (
        lambda: nn.Seq2Seq(5, 4, 2, 6, 1, 1)([], [1, 2]),
        ShapeError,
        r"src must be \(B, S\) and tgt \(B, T\), got \(0,\) and \(2,\)",
    ),
    (
        lambda: nn.Seq2Seq(5, 4, 2, 6, 1, 1)(to_device(IDS[0]), to_device(IDS)),
        ShapeError,
        r"src must be \(B, S\) and tgt \(B, T\), got \(4,\) and \(2, 4\)",
    ),
    (
        lambda: nn.Seq2Seq(5, 4, 2, 6, 1, 1)(to_device(IDS[:1]), to_device(IDS)),
        ShapeError,
        r"got \(1, 4\) and \(2, 4\)",
    ),
]


def attend(**masks):
    return nn.MultiheadAttention(4, 2)(to_device(X), to_device(X), to_device(X), **masks)


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------------------------- hooks


def test_forward_hooks_see_and_replace():
    layer = nn.Linear(2, 2)
    x = mg.ones((1, 2))
    plain = layer(x)
    seen = []
    remove_before = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    remove_after = layer.register_forward_hook(lambda m, args, y: seen.append((m, args, y)))
    remove_replaced = layer.register_forward_hook(lambda m, args, y: y * 0)
    assert not layer(x).detach().numpy().any()
    (m, args, y), = seen  # fmt: skip
    assert m is layer
    assert args[0].numpy().tolist() == [[2, 2]]
    assert y.shape == (1, 2)
    for remove in (remove_before, remove_after, remove_replaced):
        remove()
    assert layer(x).detach().numpy().tolist() == plain.detach().numpy().tolist()
    assert list(layer.state_dict()) == ["weight", "bias"]

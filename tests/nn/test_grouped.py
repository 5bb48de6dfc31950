"""`nn.Grouped`: any assignment of groups gives each sample what its own model gives it, in order.

And groups that are absent from a batch do not change by a bit, nor does what Adam knows of them.
"""

from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, host, normal

import minigrad as mg
from minigrad import kernels, nn, no_grad, optim, random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import GroupError, ShapeError

NAMES = ["日本手話", "日本語対応手話", "c", "d e"]

several = settings(max_examples=40, deadline=None)


@st.composite
def assignments(draw, batches=1):
    """The names of 1 to 4 groups, and for each batch the groups of its 1 to 12 samples."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    found = [
        draw(st.lists(st.sampled_from(names), min_size=1, max_size=12)) for _ in range(batches)
    ]
    return names, found[0] if batches == 1 else found


def linears(names, dtype="float64"):
    with random.stream(1):
        return nn.Grouped({name: nn.Linear(3, 2, dtype=dtype) for name in names})


def agree(a, b):
    close(a, b, rtol=1e-12, atol=1e-12, strict=True)


def rows_by_group(groups):
    return {g: [i for i, other in enumerate(groups) if other == g] for g in dict.fromkeys(groups)}


def without_kernels():
    return mock.patch.object(kernels, "enabled", return_value=False)


# --------------------------------------------------------------------- the three properties


class Tagged(nn.Module):
    """Adds a number of its own, so that a result tells its sample and its model."""

    def __init__(self, number):
        self.number = nn.Parameter(np.array([float(number)]))

    def forward(self, x):
        return x + self.number


@several
@given(assignments())
def test_results_stand_in_the_order_of_the_batch(drawn):
    names, groups = drawn
    model = nn.Grouped({name: Tagged(100 * i) for i, name in enumerate(names)})
    x = to_device(np.arange(len(groups), dtype=float)[:, None])
    y = host(model(groups, x))
    assert y[:, 0].tolist() == [i + 100 * names.index(g) for i, g in enumerate(groups)]


@several
@given(assignments())
def test_values_and_gradients_are_those_of_each_group_alone(drawn):
    names, groups = drawn
    model, weight = linears(names), normal(len(groups), 2, seed=1)
    x = Tensor(normal(len(groups), 3), requires_grad=True)
    y = model(groups, x)
    (y * weight).sum().backward()
    together = {name: p.grad for name, p in model.named_parameters()}
    dx, x.grad = x.grad, None
    model.zero_grad()
    for group, rows in rows_by_group(groups).items():
        rows = to_device(np.array(rows))
        alone = model[group](x[rows])
        agree(y[rows], alone)
        (alone * weight[rows]).sum().backward()
    agree(dx, x.grad)
    for name, p in model.named_parameters():
        assert (p.grad is None) == (together[name] is None) == (name.split(".")[1] not in groups)
        if p.grad is not None:
            agree(together[name], p.grad)


@several
@given(assignments(batches=4), st.booleans(), st.sampled_from(["float32", "float64"]))
def test_absent_groups_stay_as_they_are_to_the_bit(drawn, with_kernels, dtype):
    names, batches = drawn
    model = linears(names, dtype)
    optimizer = optim.Adam(model, lr=0.1, weight_decay=0.01)
    taken = dict.fromkeys(names, 0)

    def state_of(group):
        """Parameters, both moments, and step counts."""
        state = model.state_dict() | optimizer.state_dict()
        return {k: v.copy() for k, v in state.items() if f"models.{group}." in k}

    with nullcontext() if with_kernels else without_kernels():
        for seed, groups in enumerate(batches):
            before = {name: state_of(name) for name in names}
            model(groups, normal(len(groups), 3, seed=seed, dtype=dtype)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            for name in names:
                after = state_of(name)
                assert len(after) == 8
                same = {k: v.tobytes() == after[k].tobytes() for k, v in before[name].items()}
                assert set(same.values()) == {name not in groups}, same
                taken[name] += name in groups
                for kind in ("weight", "bias"):
                    assert after[f"step.models.{name}.{kind}"] == taken[name]


def test_one_loss_over_the_batch_trains_transformers_of_all_groups():
    names = ["a", "b", "absent"]
    with random.stream(2):
        model = nn.Grouped({n: nn.Seq2Seq(9, 8, 2, 16, 1, 1, dtype="float64") for n in names})
    groups = ["b", "a", "b"]
    src = to_device(np.array([[3, 4, 1], [5, 1, 0], [6, 7, 1]]))
    tgt = to_device(np.array([[1, 8, 2, 0], [1, 7, 6, 5], [1, 0, 0, 0]]))
    out = to_device(np.array([[8, 2, 1, 0], [7, 6, 5, 1], [1, 0, 0, 0]]))

    logits = model(groups, src, tgt)
    loss = mg.cross_entropy(logits, out, ignore_index=0)
    loss.backward()
    together = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()

    total = 0.0
    for group, rows in rows_by_group(groups).items():
        rows = to_device(np.array(rows))
        alone = model[group](src[rows], tgt[rows])
        agree(logits[rows], alone)
        part = mg.cross_entropy(alone, out[rows], ignore_index=0, reduction="sum") / 8
        part.backward()
        total += part.item()
    assert loss.item() == pytest.approx(total, rel=1e-12)
    for name, p in model.named_parameters():
        assert (p.grad is None) == (".absent." in name)
        if p.grad is not None:
            agree(together[name], p.grad)


def test_training_a_mixed_batch_lowers_the_loss_of_each_group():
    model = linears(["a", "b"])
    optimizer = optim.Adam(model, lr=0.1)
    groups, x = ["a", "b"] * 4, normal(8, 3)
    target = normal(8, 2, seed=1)

    def losses():
        with no_grad():
            return host(((model(groups, x) - target) ** 2).reshape(4, 2, 2).sum(axis=(0, 2)))

    before = losses()
    for _ in range(20):
        ((model(groups, x) - target) ** 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (losses() < 0.5 * before).all()


# --------------------------------------------------------------------------- one call


def test_a_batch_of_one_group_goes_through_its_model_as_it_is():
    class Seen(nn.Module):
        def forward(self, x):
            self.last = x
            return x * 1

    model, x = nn.Grouped({"a": Seen(), "b": Seen()}), Tensor(normal(3, 2))
    model(["b"] * 3, x)
    assert model["b"].last is x
    assert not hasattr(model["a"], "last")


def test_each_group_is_called_once_with_all_its_samples():
    class Count(nn.Module):
        def __init__(self):
            self.lengths = []

        def forward(self, x):
            self.lengths.append(len(x))
            return x

    model = nn.Grouped({"a": Count(), "b": Count(), "c": Count()})
    model(["a", "c", "a", "c", "a"], normal(5, 2))
    assert [model[g].lengths for g in model.groups] == [[3], [], [2]]


@pytest.mark.parametrize(
    "as_numbers",
    [list, np.array, lambda ids: np.array(ids, np.uint8), lambda ids: Tensor(np.array(ids))],
)
def test_groups_may_be_given_by_number(as_numbers):
    model, x = linears(NAMES), normal(4, 3)
    ids = [2, 0, 3, 0]
    names = [NAMES[i] for i in ids]
    expected = host(model(names, x)).tolist()
    assert host(model(as_numbers(ids), x)).tolist() == expected
    assert host(model(tuple(names), x)).tolist() == expected
    assert host(model(np.array(names), x)).tolist() == expected
    assert host(model(iter(names), x)).tolist() == expected


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            ["c", "ｃ", "x"],
            r"unknown groups 'x', 'ｃ'; known groups: 日本手話, 日本語対応手話, c, d e",
        ),
        (["c", None, "c"], "unknown groups 'None'; known"),
        (["c", 0, "c"], "unknown groups '0'; known"),
        ([["c"], "c", "c"], "unknown groups .*; known"),
        ([0, 1, 4], r"group numbers must be in \[0, 4\), got 0..4; known groups: 日本手話, "),
        (np.array([0, 1, -1]), r"must be in \[0, 4\), got -1..1"),
        (np.array([0.0, 1.0, 2.0]), "unknown groups '0.0', '1.0', '2.0'; known"),
    ],
)
def test_unknown_groups_are_listed_with_the_known_ones(groups, message):
    with pytest.raises(GroupError, match=message):
        linears(NAMES)(groups, normal(3, 3))


def test_an_unknown_group_is_not_found():
    model = linears(NAMES)
    assert model.groups == NAMES
    assert model["c"] is model.models["c"]
    with pytest.raises(GroupError, match="unknown group 'x'; known groups: 日本手話, "):
        model["x"]


@pytest.mark.parametrize(
    ("groups", "inputs", "message"),
    [
        ([], [(0, 3)], r"at least one sample; got 0 groups for inputs of shapes \[\(0, 3\)\]"),
        (["c"], [(2, 3)], r"got 1 groups for inputs of shapes \[\(2, 3\)\]"),
        (["c", "c"], [(2, 3), (1, 3)], r"got 2 groups for inputs of shapes \[\(2, 3\), \(1, 3\)\]"),
        (["c", "c"], [()], r"got 2 groups for inputs of shapes \[\(\)\]"),
        (np.zeros((1, 2), int), [(1, 3)], r"groups must be \(B,\), got \(1, 2\)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(groups, inputs, message):
    with pytest.raises(ShapeError, match=message):
        linears(NAMES)(groups, *(normal(*shape) for shape in inputs))


class Several(nn.Module):
    """Two outputs of other shapes and dtypes from two inputs."""

    def __init__(self, scale):
        self.scale = nn.Parameter(np.array(float(scale)))

    def forward(self, x, ids):
        return x.sum(axis=-1) * self.scale, mg.stack([ids, ids + int(self.scale.item())], axis=1)


def test_several_inputs_and_outputs():
    model = nn.Grouped({"a": Several(2), "b": Several(3)})
    x, ids = to_device(np.arange(8.0).reshape(4, 2)), to_device(np.arange(4))
    sums, pairs = model(["b", "a", "a", "b"], x, ids)
    assert host(sums).tolist() == [1 * 3, 5 * 2, 9 * 2, 13 * 3]
    assert host(pairs).tolist() == [[0, 3], [1, 3], [2, 4], [3, 6]]
    assert pairs.dtype == np.int64
    sums.sum().backward()
    assert [p.grad.item() for p in model.parameters()] == [14, 14]
    alone = model(["a"] * 4, x, ids)
    assert type(alone) is tuple
    assert [y.shape for y in alone] == [(4,), (4, 2)]


def test_a_tuple_of_one_output_stays_a_tuple():
    class One(nn.Module):
        def forward(self, x):
            return (x,)

    model, x = nn.Grouped({"a": One(), "b": One()}), normal(2, 3)
    for groups in (["a", "b"], ["b", "b"]):
        (y,) = model(groups, x)
        assert host(y).tolist() == host(x).tolist()


def test_states_carry_the_names_of_groups():
    model = linears(NAMES[:2])
    state = model.state_dict()
    assert list(state) == [f"models.{n}.{kind}" for n in NAMES[:2] for kind in ("weight", "bias")]
    other = nn.Grouped({n: nn.Linear(3, 2, dtype="float64") for n in NAMES[:2]})
    other.load_state_dict(state)
    x = normal(3, 3)
    groups = [NAMES[1], NAMES[0], NAMES[1]]
    assert host(other(groups, x)).tolist() == host(model(groups, x)).tolist()
    # One group's part fits a model alone.
    alone = nn.Linear(3, 2, dtype="float64")
    prefix = f"models.{NAMES[1]}."
    parts = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    alone.load_state_dict(parts)
    agree(alone(x), model[NAMES[1]](x))


def test_models_may_share_parts():
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.bias = first.bias
    model = nn.Grouped({"a": first, "b": second})
    assert [name for name, _ in model.named_parameters()] == [
        *("models.a.weight", "models.a.bias", "models.b.weight")
    ]
    model(["a", "b", "b"], normal(3, 3, dtype="float32")).sum().backward()
    assert host(first.bias.grad).tolist() == [3, 3]


# ------------------------------------------------------------------------------ the dry run


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("no such luck")


class Gives(nn.Module):
    def __init__(self, result):
        self.result = result

    def forward(self, x):
        return self.result(x)


EXAMPLE = np.zeros((2, 3), np.float32)


def lin(n_in=3, n_out=2, dtype="float32"):
    return nn.Linear(n_in, n_out, dtype=dtype)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            {"a": lin(), "b": lin(), "c": lin(3, 4)},
            r"same shapes and dtypes on the example; 'c' gives \(\(2, 4\), 'float32'\), the others "
            r"give \(\(2, 2\), 'float32'\)",
        ),
        ({"a": lin(3, 4), "b": lin(), "c": lin()}, r"; 'a' gives \(\(2, 4\)"),
        ({"a": lin(), "b": lin(dtype="float64"), "c": lin()}, r"; 'b' gives .*float64"),
        ({"a": lin(), "b": Gives(lambda x: (x[:, :2],)), "c": lin()}, r"; 'b' gives "),
        ({"a": lin(), "b": lin(3, 4)}, r"; 'b' gives "),
        ({"a": lin(), "b": lin(3, 4), "c": lin(), "d": lin(3, 5)}, r"'b' gives .*, 'd' gives "),
        ({"a": lin(), "b": Fails()}, "the model of group 'b' fails on the example: no such luck"),
        ({"a": lin(), "b": lin(4, 2)}, r"group 'b' fails .* and \(2, 4\)"),
        ({"a": Gives(lambda x: [x]), "b": lin()}, "group 'a' fails .* it gives list, not a Tensor"),
        ({"a": Gives(lambda x: None), "b": lin()}, "group 'a' fails .* it gives NoneType"),
        (
            {"a": lin(), "b": Gives(lambda x: x.sum(axis=0))},
            r"group 'b' fails .* it gives shape \(3,\), whose first axis is not the batch",
        ),
    ],
)
def test_the_dry_run_names_the_odd_one_out(models, message):
    with pytest.raises(GroupError, match=message):
        nn.Grouped(models, example=to_device(EXAMPLE))


def test_the_dry_run_passes_models_that_agree():
    model = nn.Grouped({"a": lin(), "b": nn.Linear(3, 2, bias=False)}, example=to_device(EXAMPLE))
    assert all(p.grad is None for p in model.parameters())
    x, ids = to_device(np.ones((2, 3))), to_device(np.arange(2))
    nn.Grouped({"a": Several(1), "b": Several(2)}, example=(x, ids))


def test_the_dry_run_restores_the_modes_it_found():
    frozen, other = nn.Dropout(0.5).eval(), nn.Dropout(0.5)
    nn.Grouped({"a": frozen, "b": other}, example=to_device(EXAMPLE))
    assert (frozen.training, other.training) == (False, True)
    with pytest.raises(GroupError):
        nn.Grouped({"a": frozen, "b": other, "c": Fails()}, example=to_device(EXAMPLE))
    assert (frozen.training, other.training) == (False, True)


def test_the_dry_run_draws_nothing_from_the_stream():
    noisy = Gives(lambda x: mg.dropout(x, random.next_key(), p=0.5))  # in use as in training
    with random.stream(5) as stream:
        nn.Grouped({"a": nn.Dropout(0.5), "b": noisy}, example=to_device(EXAMPLE))
        assert stream.next_key() == random.Stream(5).next_key()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "at least one model"),
        ({"a.b": lin()}, "without a dot and not empty, got 'a.b'"),
        ({"": lin()}, "not empty, got ''"),
        ({3: lin()}, "must be a string .* got 3"),
        ({"a": lin}, "group 'a' must have a Module"),
    ],
)
def test_what_cannot_be_grouped_is_refused(models, message):
    with pytest.raises(GroupError, match=message):
        nn.Grouped(models)

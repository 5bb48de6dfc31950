"""What stands around an optimizer: parts of batches, averages of weights, whose a parameter is."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import host, host_normal, parameter, set_gradient

from minigrad import nn, optim, random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import ShapeError, StateError
from minigrad.sparse import SparseRows


def network(seed=0, dtype="float64"):
    with random.stream(seed):
        return nn.Sequential(nn.Linear(4, 6, dtype=dtype), nn.Tanh(), nn.Linear(6, 3, dtype=dtype))


def tokens(rows, seed):
    """(rows, 5) sequences of inputs, and targets of which -100 does not count."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, 5, 4)), rng.integers(0, 3, (rows, 5))
    y[rng.random((rows, 5)) < 0.4] = -100
    return x, y


def loss_of(model, x, y):
    logits = model(to_device(x)).reshape((-1, 3))
    return nn.functional.cross_entropy(logits, to_device(y.reshape(-1)), ignore_index=-100)


# ------------------------------------------------------------------------------------ accumulation


@given(
    rows=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 9), max_size=4),
    seed=st.integers(0, 100),
    kind=st.sampled_from([optim.SGD, optim.Adagrad, optim.RMSprop]),
)
@settings(deadline=None)
def test_any_split_of_a_batch_gives_what_the_batch_gives(rows, cuts, seed, kind):
    x, y = tokens(rows, seed)
    y[0, 0] = 1  # one token at least counts
    whole, parts = network(), network()
    for model in (whole, parts):
        optimizer = kind(model, lr=0.1)
        if model is whole:
            loss_of(model, x, y).backward()
        else:
            ends = sorted({0, rows, *(c for c in cuts if c < rows)})
            with optim.Accumulate(model) as total:
                for a, b in pairwise(ends):
                    loss_of(model, x[a:b], y[a:b]).backward()
                    total.add(np.sum(y[a:b] != -100))
        optimizer.step()
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        np.testing.assert_allclose(host(p.grad), host(q.grad), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(host(p), host(q), rtol=1e-6, atol=1e-9)


def test_gradients_may_be_handed_over_to_be_accumulated():
    model = nn.Linear(2, 1, bias=False)
    total = optim.Accumulate(model)
    total.add(1, {"weight": to_device(np.array([[1.0, 2.0]], np.float32))})
    total.add(3, {"weight": Tensor(to_device(np.array([[5.0, 2.0]], np.float32)))})
    assert total.weight == 4
    assert total.finish() == 4
    assert host(model.weight.grad).tolist() == [[4.0, 2.0]]
    assert model.weight.grad.dtype == np.float32
    assert total.finish() == 0  # anew
    assert model.weight.grad is None


def test_what_is_absent_in_every_part_stays_absent():
    a, b = parameter(2), parameter(2)
    with optim.Accumulate({"a": a, "b": b}) as total:
        for weight, g in ((1, [1.0, 1.0]), (3, None)):
            set_gradient(a, g)
            total.add(weight)
            assert a.grad is None
    assert host(a.grad).tolist() == [0.25, 0.25]
    assert b.grad is None


def test_a_part_without_weight_does_not_count():
    """Not even if its mean is 0 / 0."""
    p = parameter(2)
    total = optim.Accumulate({"p": p})
    set_gradient(p, [math.nan, 1.0])
    total.add(0)
    assert p.grad is None
    set_gradient(p, [2.0, 4.0])
    total.add(5)
    total.finish()
    assert host(p.grad).tolist() == [2, 4]


def test_sparse_gradients_are_accumulated():
    p = parameter(4, 1)
    with optim.Accumulate({"p": p}) as total:
        for rows in ([0, 2], [2, 3]):
            values = to_device(np.array(rows, float)[:, None])
            p.grad = SparseRows(to_device(np.array(rows)), values, (4, 1))
            total.add(2)
    assert type(p.grad) is SparseRows  # as a walk back leaves it
    assert host(p.grad.rows).tolist() == [0, 2, 3]
    assert host(p.grad.to_dense()).ravel().tolist() == [0, 0, 2, 1.5]


def test_wrong_use_of_accumulation_is_named():
    p = parameter(2)
    total = optim.Accumulate({"p": p})
    for weight in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight must be finite and not negative, got"):
            total.add(weight)
    with pytest.raises(StateError, match=r"there are no parameters \['q'\]"):
        total.add(1, {"q": None})
    with pytest.raises(ShapeError, match=r"gradient of 'p' must be \(2,\), got \(3,\)"):
        total.add(1, {"p": np.ones(3)})
    assert total.weight == 0
    set_gradient(p, [1.0, 1.0])
    with pytest.raises(StateError, match=r"gradients from before; call zero_grad\(\)"), total:
        pass
    p.grad = None


def test_an_error_on_the_way_leaves_no_gradients():
    p = parameter(2)
    total = optim.Accumulate({"p": p})

    def parts():
        with total:
            set_gradient(p, [1.0, 1.0])
            total.add(1)
            raise KeyError

    with pytest.raises(KeyError):
        parts()
    assert (p.grad, total.weight) == (None, 0)


# ---------------------------------------------------------------------------------------- averages


def test_an_average_is_its_loop():
    p = parameter(3)
    ema = optim.EMA({"p": p}, decay=0.9)
    expected = host(p)
    for i in range(5):
        p.data[...] = to_device(host_normal(3, seed=i))
        ema.update()
        expected = 0.9 * expected + 0.1 * host_normal(3, seed=i)
    np.testing.assert_allclose(host(ema.averages["p"]), expected, rtol=1e-14)
    assert ema.updates == 5
    assert repr(ema) == "EMA(1 parameters, 3 numbers; decay=0.9)"


def test_the_decay_may_be_a_function():
    p = parameter(2)
    ema = optim.EMA({"p": p}, decay=lambda t: 0.0 if t == 0 else 1.0)
    first = host_normal(2, seed=1)
    for value in (first, host_normal(2, seed=2)):
        p.data[...] = to_device(value)
        ema.update()
    assert host(ema.averages["p"]).tolist() == first.tolist()
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.5 at update 0"):
        optim.EMA({"p": p}, decay=1.5)


def test_averages_are_swapped_in_and_out():
    model = network(dtype="float32")
    optimizer = optim.Adam(model, lr=0.1)
    ema = optim.EMA(model, decay=0.5)
    for i in range(3):
        x, y = tokens(4, i)
        loss_of(model, x.astype("float32"), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
    before = {n: (p.data, host(p)) for n, p in model.named_parameters()}
    averages = {n: host(a) for n, a in ema.averages.items()}
    assert any((averages[n] != old).any() for n, (_, old) in before.items())

    def evaluate():
        with ema.swapped():
            for n, p in model.named_parameters():
                assert host(p).tobytes() == averages[n].tobytes()
            with pytest.raises(StateError, match="the model has the averages now"):
                ema.update()
            with pytest.raises(StateError, match="the model has the averages already"):
                ema.swapped().__enter__()
            raise KeyError

    with pytest.raises(KeyError):  # an error does not keep them in
        evaluate()
    for n, p in model.named_parameters():
        assert p.data is before[n][0]
        assert host(p).tobytes() == before[n][1].tobytes()
    other = network(seed=1, dtype="float32")
    ema.copy_to(other)
    ema.copy_to()
    with pytest.raises(StateError, match=r"copy_to: .* they differ in \['0.bias', '0.weight', '2."):
        ema.copy_to(nn.Linear(2, 2))
    for m in (model, other):
        assert all(host(p).tobytes() == averages[n].tobytes() for n, p in m.named_parameters())


def test_averages_are_saved():
    model = network()
    ema, other = optim.EMA(model, 0.5), optim.EMA(network(seed=1), 0.5)
    for p in model.parameters():
        p.data += 1
    ema.update()
    state = ema.state_dict()
    assert list(state)[:2] == ["average.0.weight", "average.0.bias"]
    other.load_state_dict(state)
    assert other.updates == 1
    assert all(
        host(other.averages[n]).tobytes() == host(a).tobytes() for n, a in ema.averages.items()
    )
    del state["average.0.bias"]
    with pytest.raises(
        StateError, match=r"EMA.load_state_dict: 1 entries .*\n  missing: average.0.b"
    ):
        other.load_state_dict({**state, "step": np.array(7)})
    assert other.updates == 1


# --------------------------------------------------------------------------------------- ownership


def test_every_parameter_belongs_to_one_optimizer():
    generator, discriminator = nn.Linear(2, 2), nn.Linear(2, 1)
    g, d = optim.Adam(generator), optim.SGD(discriminator)
    assert optim.check_ownership([generator, discriminator], g, d) == {
        "0.weight": "Adam 0", "0.bias": "Adam 0", "1.weight": "SGD 1", "1.bias": "SGD 1",
    }  # fmt: skip
    models = {"g": generator, "d": discriminator}
    named = optim.check_ownership(models, {"generator": g, "discriminator": d})
    assert named["d.bias"] == "discriminator"
    assert optim.check_ownership(generator, g) == {"weight": "Adam 0", "bias": "Adam 0"}
    assert optim.check_ownership(models, [g, d])["g.bias"] == "Adam 0"
    discriminator.bias.requires_grad_(False)
    alone = optim.SGD({"weight": discriminator.weight})
    assert "d.bias" not in optim.check_ownership(models, g, alone)


def test_parameters_of_two_or_no_optimizers_are_listed():
    class Gan(nn.Module):
        def __init__(self):
            self.generator, self.discriminator = nn.Linear(2, 2), nn.Linear(2, 1)
            self.temperature = nn.Parameter(np.ones(()))

    gan = Gan()
    both = {"d": optim.Adam(gan.discriminator), "all": optim.Adam(
        [*gan.generator.named_parameters(), ("x", gan.discriminator.bias)]
    )}  # fmt: skip
    with pytest.raises(StateError) as caught:
        optim.check_ownership(gan, both)
    assert str(caught.value).splitlines()[1:] == [
        "  'discriminator.bias' belongs to d and all",
        "  'temperature' belongs to none",
    ]
    assert "; 2 do not:" in str(caught.value)


def test_a_shared_parameter_is_reported_at_the_next_step_too():
    generator, discriminator = nn.Linear(2, 2), nn.Linear(2, 2)
    d = optim.Adam([*discriminator.named_parameters(), ("g", generator.bias)])
    g = optim.Adam(generator)
    g.step()
    with pytest.raises(StateError, match="Adam: 'g' belongs to an optimizer"):
        d.step()


def test_optimizers_over_disjoint_parts_do_not_meet():
    generator, discriminator = network(1), network(2)
    g, d = optim.Adam(generator, lr=0.1), optim.Adam(discriminator, lr=0.1)
    before = [host(p) for p in discriminator.parameters()]
    x, y = tokens(3, 0)
    loss_of(generator, x, y).backward()
    g.step()
    d.step()
    assert [host(p).tobytes() for p in discriminator.parameters()] == [b.tobytes() for b in before]
    assert (g.step_count, d.step_count) == (1, 0)

"""Learning rates as functions of the step, against values of PyTorch 2.13 and optax 0.2.8."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import nn, optim
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import StateError
from minigrad.optim import schedules as s

# fmt: off
LITERAL = [
    # PyTorch: StepLR, MultiStepLR, ExponentialLR, LinearLR, CosineAnnealingLR, SequentialLR
    (s.Step(0.1, 3), [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001]),
    (s.MultiStep(0.1, (5, 2), 0.5), [0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025]),
    (s.Exponential(0.1, 0.9),
     [0.1, 0.09, 0.081, 0.0729, 0.06561, 0.059049, 0.0531441, 0.04782969, 0.043046721]),
    (s.Linear(0.025, 0.1, 4), [0.025, 0.04375, 0.0625, 0.08125, 0.1, 0.1, 0.1, 0.1, 0.1]),
    (s.Cosine(0.1, 8, 0.01),
     [0.1, 0.09657457896, 0.08681980515, 0.07222075446, 0.055, 0.03777924554, 0.02318019485,
      0.01342542104, 0.01]),
    (s.Warmup(3, s.Cosine(0.1, 6), 0.01),
     [0.01, 0.04, 0.07, 0.1, 0.09330127019, 0.075, 0.05, 0.025, 0.006698729811]),
    # PyTorch: OneCycleLR
    (s.OneCycle(1.0, 10),
     [0.04, 0.52, 1.0, 0.950484632, 0.8117456539, 0.6112620219, 0.3887419781, 0.1882583461,
      0.04951936799, 4e-06]),
    (s.OneCycle(1.0, 10, anneal_strategy="linear"),
     [0.04, 0.52, 1.0, 0.8571434286, 0.7142868571, 0.5714302857, 0.4285737143, 0.2857171429,
      0.1428605714, 4e-06]),
    (s.OneCycle(1.0, 10, 0.4, "linear", three_phase=True),
     [0.04, 0.36, 0.68, 1.0, 0.68, 0.36, 0.04, 0.026668, 0.013336, 4e-06]),
    (s.OneCycle(1.0, 10, 0.5, div_factor=10.0, final_div_factor=100.0, three_phase=True),
     [0.1, 0.2318019485, 0.55, 0.8681980515, 1.0, 0.8681980515, 0.55, 0.2318019485, 0.1, 0.001]),
    # optax: warmup_cosine_decay_schedule, linear_schedule, cosine_decay_schedule, join_schedules
    (s.Warmup(4, s.Cosine(1.0, 6, 0.1)),
     [0.0, 0.25, 0.5, 0.75, 1.0, 0.9397114317, 0.775, 0.55, 0.325, 0.1602885683, 0.1, 0.1]),
    (s.Linear(1.0, 0.2, 5), [1.0, 0.84, 0.68, 0.52, 0.36, 0.2, 0.2, 0.2]),
    (s.Cosine(1.0, 6, 0.1), [1.0, 0.9397114317, 0.775, 0.55, 0.325, 0.1602885683, 0.1, 0.1]),
    (s.Join((0.5, s.Linear(1.0, 0.0, 4)), (3,)), [0.5, 0.5, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
    # by hand
    (s.Constant(0.3), [0.3, 0.3]),
    (s.InverseSquareRoot(1.0, 4), [0, 0.25, 0.5, 0.75, 1, 0.894427191, 0.8164965809]),
    (s.InverseSquareRoot(1.0), [1, 1, 0.7071067812, 0.5773502692, 0.5]),
    (s.Repeat(s.Linear(1.0, 0.0, 2), 3), [1, 0.5, 0, 1, 0.5, 0, 1]),
    (0.5 * s.Linear(1.0, 0.0, 4) * s.Step(1.0, 2, 0.1), [0.5, 0.375, 0.025, 0.0125, 0.0]),
    (s.Warmup(2, 0.4, 0.2), [0.2, 0.3, 0.4, 0.4]),
    (s.Warmup(0, s.Constant(0.4)), [0.4, 0.4]),
]
# fmt: on


@pytest.mark.parametrize(("schedule", "expected"), LITERAL, ids=lambda x: str(x)[:40])
def test_values(schedule, expected):
    found = [schedule(t) for t in range(len(expected))]
    assert all(type(x) is float for x in found)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@given(t=st.integers(0, 10**9), steps=st.integers(1, 1000))
def test_every_schedule_is_bounded_and_holds_its_end(t, steps):
    kinds = [
        s.Linear(1.0, 0.25, steps), s.Cosine(1.0, steps, 0.25), s.InverseSquareRoot(1.0, steps),
        s.OneCycle(1.0, steps), s.OneCycle(1.0, steps, three_phase=True), s.Step(1.0, steps),
        s.Warmup(steps, s.Cosine(1.0, steps)),
        s.Join((s.Constant(0.5), s.Linear(1.0, 0.5, steps)), (steps,)),
    ]  # fmt: skip
    for schedule in kinds:
        assert 0 <= schedule(t) <= 1 + 1e-12, schedule
        assert schedule(t) == schedule(t)
    assert s.Linear(1.0, 0.25, steps)(steps + t) == 0.25
    assert s.Cosine(1.0, steps, 0.25)(steps + t) == 0.25
    assert s.OneCycle(1.0, steps)(steps - 1 + t) == pytest.approx(4e-6)


def test_schedules_can_be_read_and_compared():
    schedule = s.Warmup(100, s.Cosine(0.1, steps=900))
    assert (
        repr(schedule) == "Warmup(steps=100, after=Cosine(lr=0.1, steps=900, end=0.0), start=0.0)"
    )
    assert schedule == s.Warmup(100, s.Cosine(0.1, 900))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: s.Step(0.1, 0),
        lambda: s.Linear(1.0, 0.0, 0),
        lambda: s.Cosine(1.0, -1),
        lambda: s.Warmup(-1, 0.1),
        lambda: s.InverseSquareRoot(1.0, -1),
        lambda: s.OneCycle(1.0, 10, pct_start=1.5),
        lambda: s.OneCycle(1.0, 10, anneal_strategy="cosine"),
        lambda: s.Join((0.1, 0.2), ()),
        lambda: s.Join((0.1, 0.2, 0.3), (5, 3)),
        lambda: s.Repeat(s.Constant(0.1), 0),
        lambda: s.Constant(0.1)(-1),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"^[A-Z]\w+: "):
        wrong()


# ----------------------------------------------------------------------------------- in optimizers


def parameter():
    return nn.Parameter(np.zeros(1))


def descend(optimizer, p, steps=1):
    for _ in range(steps):
        p.grad = Tensor(to_device(np.ones(1)))
        optimizer.step()


def test_the_first_update_has_number_0():
    p = parameter()
    optimizer = optim.SGD({"p": p}, lr=s.Linear(1.0, 0.0, 4))
    seen = []
    for expected in [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]:
        assert optimizer.learning_rates() == [expected]
        before = float(p.data[0])
        descend(optimizer, p)
        seen.append(before - float(p.data[0]))
    np.testing.assert_allclose(seen, [1, 0.75, 0.5, 0.25, 0, 0], atol=1e-12)


def test_other_options_may_follow_a_schedule():
    p = parameter()
    optimizer = optim.SGD({"p": p}, lr=1.0, weight_decay=lambda t: float(t == 1))
    p.data[...] = 8
    descend(optimizer, p, 3)
    assert float(p.data[0]) == (8 - 1) - (1 + 7) - 1


def test_a_resumed_run_goes_on_where_it_was():
    def fresh():
        p, q = parameter(), parameter()
        return p, q, optim.SGD({"p": p, "q": q}, lr=s.Cosine(1.0, 10))

    p, q, first = fresh()
    descend(first, p, 3)
    descend(first, q, 2)  # p's gradient is still there
    p.grad = None
    descend(first, q, 1)
    state = first.state_dict()
    assert (state["step.p"], state["step.q"], state["step"]) == (5, 3, 6)
    _, _, second = fresh()
    second.load_state_dict(state)
    assert second.step_count == 6
    assert second.learning_rates() == first.learning_rates() == [s.Cosine(1.0, 10)(6)]
    # One with a constant rate may load it, too, and the other way round.
    constant = optim.SGD({"p": p, "q": q})
    constant.load_state_dict(state)
    assert constant.step_count == 6
    assert "step" not in constant.state_dict()
    second.load_state_dict({k: v for k, v in state.items() if k != "step"})
    assert second.step_count == 5
    with pytest.raises(StateError, match="step must not be negative, got -1"):
        second.load_state_dict({**state, "step": np.array(-1)})
    assert second.step_count == 5


# -------------------------------------------------------------------------------------- plateaus

METRICS = [1.0, 0.9, 0.95, 0.93, 0.94, 0.88, 0.87, 0.88, 0.89, 0.9, 0.91, 0.92]
# fmt: off
PLATEAUS = [
    ({"patience": 1}, [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]),
    ({"patience": 1, "cooldown": 1, "mode": "max", "threshold": 0.1},
     [1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.0001]),
    ({"patience": 0, "threshold_mode": "abs", "threshold": 0.05, "min_lr": 0.02, "factor": 0.3},
     [1.0, 1.0, 0.3, 0.09, 0.027, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]),
]
# fmt: on


@pytest.mark.parametrize(("options", "expected"), PLATEAUS)
def test_plateaus_are_pytorchs(options, expected):
    optimizer = optim.SGD({"p": parameter()}, lr=1.0)
    plateau = optim.ReduceLROnPlateau(optimizer, **options)
    found, reduced = [], []
    for metric in METRICS:
        reduced.append(plateau.step(np.float32(metric)))
        found.append(optimizer.lr)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    changes = [a != b for a, b in zip([1.0, *found], found, strict=False)]
    assert reduced == changes


@pytest.mark.parametrize(("options", "expected"), PLATEAUS)
@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_plateau_is_resumed(options, expected, at):
    def fresh():
        optimizer = optim.SGD({"p": parameter()}, lr=1.0)
        return optimizer, optim.ReduceLROnPlateau(optimizer, **options)

    _, plateau = fresh()
    for metric in METRICS[:at]:
        plateau.step(metric)
    optimizer, resumed = fresh()
    resumed.load_state_dict(plateau.state_dict())
    for metric, rate in zip(METRICS[at:], expected[at:], strict=True):
        resumed.step(metric)
        assert optimizer.lr == pytest.approx(rate, rel=1e-9)


def test_a_plateau_of_groups():
    groups = [{"params": {"p": parameter()}, "lr": 1.0}, {"params": {"q": parameter()}, "lr": 0.1}]
    optimizer = optim.SGD(groups)
    plateau = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=[0.6, 0.0])
    for metric in (1.0, math.nan, 1.0):
        plateau.step(metric)
    assert optimizer.learning_rates() == [0.6, 0.025]


def test_a_plateau_needs_numbers():
    optimizer = optim.SGD({"p": parameter()}, lr=s.Constant(0.1))
    with pytest.raises(StateError, match="a learning rate of the optimizer is a function"):
        optim.ReduceLROnPlateau(optimizer)
    optimizer.lr = 0.1
    for wrong in ({"factor": 1.0}, {"mode": "less"}, {"min_lr": [0.1, 0.2]}):
        with pytest.raises(ValueError, match="ReduceLROnPlateau: "):
            optim.ReduceLROnPlateau(optimizer, **wrong)
    plateau = optim.ReduceLROnPlateau(optimizer)
    with pytest.raises(StateError, match=r"missing: best"):
        plateau.load_state_dict({})

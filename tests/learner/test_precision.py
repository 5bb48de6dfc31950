"""`Learner(precision=...)`: steps in 16 bits, over parameters of 32."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.backend import modes
from minigrad.learner import Learner, LearnerBuilder

X = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
Y = (X[:, :2] > 0).argmax(axis=1)


def model_of():
    mg.random.seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def learner_of(precision, model=None, **options):
    return Learner(
        model or model_of(), "adam", "cross_entropy", ["accuracy"], precision=precision, verbose=0,
        **options,
    )  # fmt: skip


class Seen(nn.Module):
    """What dtype the products of a model are."""

    def __init__(self):
        super().__init__()
        self.inner, self.dtypes = model_of(), []

    def forward(self, x):
        y = self.inner(x)
        self.dtypes.append(y.dtype.name)
        return y


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("jit", [False, True])
def test_steps_compute_in_it_and_parameters_stay_float32(precision, jit):
    seen = Seen()
    learner = learner_of(precision, seen, jit=jit)
    history = learner.fit((X, Y), (X, Y), epochs=3, batch_size=16)
    assert set(seen.dtypes) == {"float32" if precision[0] in "t" else precision}
    assert {p.dtype for p in seen.parameters()} == {np.dtype(np.float32)}
    assert history["loss"][-1] < history["loss"][0]
    found = learner.predict(X)
    assert found.dtype == np.float32
    assert modes.get().autocast is None
    assert mg.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip_norm": 0.5}])
def test_losses_are_nearly_those_of_float32(options):
    curves = [
        learner_of(p, **options).fit((X, Y), epochs=4, batch_size=16, shuffle=False)["loss"]
        for p in ("float32", "bfloat16", "float16")
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.03)
    np.testing.assert_allclose(curves[0], curves[2], rtol=0.01)


def test_float16_finds_its_scale_and_a_resumed_run_goes_on_with_it(tmp_path):
    def fit(learner, epochs, **options):
        return learner.fit((X, Y), epochs=epochs, batch_size=16, **options)

    def new():
        learner = learner_of("float16")
        scaler = learner.scalers[""]
        scaler.growth_interval = 3
        return learner

    whole = new()
    fit(whole, 4)
    assert whole.scalers[""].get_scale() > 65536
    part = new()
    fit(part, 2)
    part.save(tmp_path / "part")
    rest = new()
    rest.load(tmp_path / "part")
    assert rest.scalers[""].get_scale() == part.scalers[""].get_scale()
    fit(rest, 4, resume="here")
    assert rest.scalers[""].state_dict() == whole.scalers[""].state_dict()
    for p, q in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_step_that_overflows_is_left_out_without_a_warning():
    learner = learner_of("float16")
    learner.scalers[""].load_state_dict({"scale": np.float32(2.0**40), "good_steps": np.int64(0)})
    learner.fit((X, Y), epochs=1, batch_size=16)
    assert learner.optimizer.step_count == 0
    assert learner.scalers[""].get_scale() == 2.0**36


def test_each_optimizer_has_its_scale():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = model_of(), model_of()

        def forward(self, x):
            return self.a(x) + self.b(x)

    class Both(Learner):
        def train_step(self, batch):
            x, y = batch
            loss = mg.cross_entropy(self.model(x), y)
            return {"loss": loss, **self.update(loss, "a")}

    learner = Both(Two(), {"a": "adam", "b": "adam"}, precision="float16", verbose=0)
    before = [p.data.copy() for p in learner.model.b.parameters()]
    learner.fit((X, Y), epochs=2, batch_size=16)
    assert learner.optimizers["a"].step_count == 8
    assert learner.scalers["a"].state_dict()["good_steps"] == 8
    assert learner.scalers["b"].state_dict()["good_steps"] == 0
    for old, p in zip(before, learner.model.b.parameters(), strict=True):
        np.testing.assert_array_equal(old, p.data)


def test_a_builder_knows_it():
    built = (
        LearnerBuilder(verbose=0)
        .precision("bfloat16")
        .build(model_of(), "adam", 1e-2, loss="cross_entropy")
    )
    assert built.learner.precision == "bfloat16"


@pytest.mark.parametrize("wrong", ["half", "fp16", None, 16])
def test_another_one_is_refused(wrong):
    with pytest.raises(ValueError, match=r"float32, tf32, bfloat16, float16"):
        learner_of(wrong)

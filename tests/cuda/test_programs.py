"""`mg.jit` on a device: launches that a CUDA graph repeats, compared with the host's results."""

import copy
import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels, nn, optim, random
from minigrad.backend import to_device, to_numpy, using
from minigrad.errors import BackendError

cupy = pytest.importorskip("cupy")

STEPS = 5


def batches(vocabulary=20, batch=3, length=6, count=STEPS):
    generator = np.random.default_rng(0)
    found = generator.integers(1, vocabulary, (count, 3, batch, length))
    found[:, :, 0, 4:] = 0
    return found


def translator(**options):
    with random.stream(0):
        return nn.Seq2Seq(20, 16, 2, 32, 1, 1, **options)


def training(model, optimizer, clip=None):
    def step(src, tgt, out):
        y = mg.cross_entropy(model(src, tgt), out, ignore_index=0)
        y.backward()
        if clip is not None:
            optim.clip_grad_norm_(optimizer.parameters.values(), clip)
        optimizer.step()
        optimizer.zero_grad()
        return y

    return step


def trained(backend, jit, make=optim.Adam, model=translator, clip=None, **options):
    """Losses of some steps, the parameters after them, and the jitted step."""
    with using(backend), random.stream(1):
        net = model()
        step = training(net, make(net, **{"lr": 0.01} | options), clip)
        step = mg.jit(step) if jit else step
        losses = [float(step(*map(mg.asarray, b))) for b in batches()]
        # The bias of keys has no influence: its gradient is noise, which Adam makes large.
        kept = {k: p for k, p in net.named_parameters() if not k.endswith("k_proj.bias")}
        return losses, {k: to_numpy(p.data) for k, p in kept.items()}, step


def assert_alike(found, wanted, rtol=1e-4):
    np.testing.assert_allclose(found[0], wanted[0], rtol=rtol)
    for name, x in wanted[1].items():
        np.testing.assert_allclose(found[1][name], x, rtol=10 * rtol, atol=1e-3, err_msg=name)


def graphs_of(step):
    """How many graphs and how many functions in between a program has become."""
    parts = step.steps[0].program.parts
    functions = [p for p in parts if hasattr(p, "func")]
    return len(parts) - len(functions), len(functions)


def test_a_training_step_is_one_graph():
    found = trained("cupy", jit=True)
    assert_alike(found, trained("numpy", jit=False))
    assert not found[2].as_it_is
    reasons = [(x.name, x.reason) for x in found[2].steps[0].program.instructions if x.reason]
    assert not reasons
    assert graphs_of(found[2]) == (1, 0)


class Layers(nn.Module):
    """Two linear layers on one-hot ids, called as the translator is."""

    def __init__(self):
        self.first, self.second = nn.Linear(20, 16), nn.Linear(16, 20)

    def forward(self, src, tgt):
        x = (mg.one_hot(src, 20) + mg.one_hot(tgt, 20)).astype("float32")
        return self.second(mg.tanh(self.first(x)))


def layers():
    with random.stream(0):
        return Layers()


@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Lion])
def test_optimizers(make):
    found = trained("cupy", jit=True, make=make, model=layers)
    assert_alike(found, trained("numpy", jit=False, make=make, model=layers))
    assert graphs_of(found[2]) == (1, 0)


def test_an_optimizer_without_a_kernel_steps_behind_the_graph():
    found = trained("cupy", jit=True, make=optim.NAdam, model=layers)
    assert_alike(found, trained("numpy", jit=False, make=optim.NAdam, model=layers))
    assert graphs_of(found[2]) == (1, 1)


def test_clipping_by_the_norm():
    found = trained("cupy", jit=True, clip=0.1)
    assert_alike(found, trained("numpy", jit=False, clip=0.1))


def test_a_schedule_is_followed():
    def lr(step):
        return 0.01 * (step + 1)

    found = trained("cupy", jit=True, lr=lr)
    assert_alike(found, trained("numpy", jit=False, lr=lr))


def test_dropout_is_fresh_in_every_run():
    def model():
        return translator(dropout=0.2)

    found = trained("cupy", jit=True, model=model)
    assert_alike(found, trained("numpy", jit=False, model=model))


def test_a_run_waits_for_nothing():
    with using("cupy"):
        net = translator()
        step = mg.jit(training(net, optim.Adam(net, lr=0.01)))
        given = [tuple(map(mg.asarray, b)) for b in batches()]
        for b in given[:3]:
            step(*b)
        if not hasattr(cupy, "synchronisations"):
            pytest.skip("counted on the stand-in only")
        before = cupy.synchronisations.copy(), cupy.transfers.copy()
        for b in given[3:]:
            step(*b)
        waits = cupy.synchronisations - before[0]
        # The host may be some steps ahead: then it waits for the one that had its slot before.
        assert set(waits) <= {"Event.synchronize"}
        assert cupy.transfers == before[1]


def test_results_stay_when_the_program_runs_again():
    with using("cupy"):
        double = mg.jit(lambda x: (x * 2, x + 1))
        xs = [mg.asarray(np.full(5, float(i), np.float32)) for i in range(5)]
        found = [double(x) for x in xs]
        for i, (a, b) in enumerate(found):
            assert to_numpy(a.data).tolist() == [2.0 * i] * 5
            assert to_numpy(b.data).tolist() == [i + 1.0] * 5


def test_streams_take_turns():
    with using("cupy"):
        net = layers().first
        f = mg.jit(lambda x: mg.tanh(net(x)))
        streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
        cupy.cuda.Device().synchronize()
        for i in range(7):
            with streams[i % 3]:
                x = mg.asarray(np.full((5, 20), i, np.float32))
                found, wanted = f(x), mg.tanh(net(x))
                np.testing.assert_allclose(
                    to_numpy(found.data), to_numpy(wanted.data), rtol=1e-5, atol=1e-6
                )


def test_threads_take_turns():
    with using("cupy"):
        net = layers().first
        f = mg.jit(lambda x: mg.tanh(net(x)))
        xs = [mg.asarray(np.full((5, 20), i, np.float32)) for i in range(8)]
        cupy.cuda.Device().synchronize()
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda x: to_numpy(f(x).data), xs))
        for x, y in zip(xs, found, strict=True):
            wanted = to_numpy(mg.tanh(net(x)).data)
            np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_each_device_has_a_program_of_its_own():
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device")
    double = mg.jit(lambda x: mg.tanh(x) * 2)
    xs = {}
    for name in ("cuda:0", "cuda:1"):
        with using("cupy"), mg.device(name):
            xs[name] = mg.asarray(np.ones((2, 3), np.float32))
            for _ in range(3):
                assert double(xs[name]).data.device.id == int(name[-1])
    assert len(double.steps) == 2
    with using("cupy"), pytest.raises(BackendError, match="of cuda:1, and cuda:0 is in force"):
        double(xs["cuda:1"])


def test_random_numbers_are_drawn_anew():
    def noisy(x):
        return x + mg.randn(64) * mg.rand(64)

    found = {}
    for backend in ("numpy", "cupy"):
        with using(backend), random.stream(3):
            f = mg.jit(noisy) if backend == "cupy" else noisy
            x = mg.asarray(np.ones(64, np.float32))
            found[backend] = [to_numpy(f(x).data) for _ in range(5)]
    for a, b in zip(found["numpy"], found["cupy"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert len({x.tobytes() for x in found["cupy"]}) == 5


def test_gradients_that_are_left():
    with using("cupy"):
        w = mg.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
        w = mg.Tensor(w.data, requires_grad=True)

        @mg.jit
        def step(x):
            w.grad = None
            y = mg.tanh(x @ w).sum()
            y.backward()
            return y

        for i in range(4):
            x = mg.asarray(np.full((4, 2), 0.1 * i, np.float32))
            y = step(x)
            want = mg.Tensor(w.data.copy(), requires_grad=True)
            z = mg.tanh(x @ want).sum()
            z.backward()
            np.testing.assert_allclose(float(y), float(z), rtol=1e-5)
            np.testing.assert_allclose(to_numpy(w.grad.data), to_numpy(want.grad.data), rtol=1e-4)


def test_buffers_are_kept_up_to_date():
    def model():
        with random.stream(0):
            return nn.Sequential(
                nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU()
            )

    states = {}
    x = np.random.default_rng(0).normal(size=(5, 2, 1, 4, 4)).astype(np.float32)
    for backend in ("numpy", "cupy"):
        with using(backend):
            net = model()
            adam = optim.Adam(net, lr=0.01)

            def step(x, net=net, adam=adam):
                y = (net(x) ** 2).mean()
                y.backward()
                adam.step()
                adam.zero_grad()
                return y

            step = mg.jit(step) if backend == "cupy" else step
            losses = [float(step(mg.asarray(v))) for v in x]
            states[backend] = losses, {k: to_numpy(v) for k, v in net.state_dict().items()}
    assert_alike(states["cupy"], states["numpy"])


def test_what_cannot_be_recorded_is_named():
    with using("cupy"):
        f = mg.jit(lambda x: mg.linalg.inv(x) * 2 + 1)
        x = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32) + 4 * np.eye(
            4, dtype="f4"
        )
        for _ in range(4):
            y = f(mg.asarray(x))
        np.testing.assert_allclose(to_numpy(y.data), np.linalg.inv(x) * 2 + 1, rtol=1e-4, atol=1e-5)
        program = f.program()
        if "not recorded" in program:  # CuPy's linear algebra
            assert "inv" in next(line for line in program.splitlines() if "not recorded" in line)


def test_an_id_out_of_range_is_told_at_the_next_transfer():
    with using("cupy"):
        table = nn.Embedding(7, 4)
        f = mg.jit(lambda ids: table(ids).sum())
        good = mg.asarray(np.array([1, 2, 3]))
        for _ in range(3):
            f(good).item()
        y = f(mg.asarray(np.array([1, 9, 3])))
        with pytest.raises(IndexError, match="9"):
            y.item()
        assert np.isfinite(f(good).item())


def test_groups_are_data():
    def model():
        with random.stream(0):
            return nn.Grouped({name: nn.Seq2Seq(20, 16, 2, 32, 1, 1) for name in "ab"})

    splits = [[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1]]
    found = {}
    for backend in ("numpy", "cupy"):
        with using(backend):
            net = model()
            adam = optim.Adam(net, lr=0.01)

            def step(ids, src, tgt, out, net=net, adam=adam):
                y = mg.cross_entropy(net(ids, src, tgt), out, ignore_index=0)
                y.backward()
                adam.step()
                adam.zero_grad()
                return y

            step = mg.jit(step) if backend == "cupy" else step
            losses = [
                float(step(mg.asarray(np.array(s)), *map(mg.asarray, b)))
                for s, b in zip(splits, batches(), strict=True)
            ]
            kept = {k: p for k, p in net.named_parameters() if not k.endswith("k_proj.bias")}
            found[backend] = losses, {k: to_numpy(p.data) for k, p in kept.items()}
            assert backend == "numpy" or len(step.steps) == 1
    assert_alike(found["cupy"], found["numpy"])


def test_what_cupy_computes_under_autocast_is_cast_no_further(monkeypatch):
    """Casts are calls of the program; what is computed in float32 stays so in each run."""
    monkeypatch.setattr(kernels, "_decision", False)

    def f(x):
        with mg.autocast(enabled=False):
            return mg.scaled_dot_product_attention(x, x, x)

    with using("cupy"), mg.autocast("float16"):
        fast, x = mg.jit(f), mg.randn(1, 4, 8)
        for _ in range(4):
            np.testing.assert_allclose(to_numpy(fast(x).data), to_numpy(f(x).data), rtol=1e-5)


def test_arguments_may_lie_as_they_like():
    generator = np.random.default_rng(0)
    with using("cupy"):
        x, y, z = (to_device(generator.normal(size=s)) for s in [(4, 6), (6, 4), (8, 12)])
        fast = mg.jit(lambda x: (mg.tanh(x) * 2 + x.sum(), x, x[1:].T))
        for a in (x, y.T, z[::2, ::2], z[:4, 3:9], x[:, ::-1], x):
            found = [to_numpy(t.data) for t in fast(a)]
            b = to_numpy(a)
            for t, wanted in zip(found, (np.tanh(b) * 2 + b.sum(), b, b[1:].T), strict=True):
                np.testing.assert_allclose(t, wanted, rtol=1e-6)
        assert len(fast.steps) == 1
        nothing, one, mask = np.zeros((0, 3)), np.array(2.5), np.array([True, False])
        for a in map(to_device, (nothing, one, mask, np.arange(3, dtype="int32"))):
            f = mg.jit(lambda x: (x, mg.where(x > 0, x, x * 2)))
            for _ in range(3):
                same, chosen = f(a)
                assert same.dtype == a.dtype
                np.testing.assert_array_equal(to_numpy(same.data), to_numpy(a))
                expected = np.where(to_numpy(a) > 0, to_numpy(a), to_numpy(a) * 2)
                np.testing.assert_array_equal(to_numpy(chosen.data), expected)


def two_trainers():
    """A model with its optimizer and two steps of them, and the same again."""
    for _ in range(2):
        net = layers()
        adam = optim.Adam(net, lr=0.01)
        step = training(net, adam)
        yield net, adam, step, lambda src, tgt, out, step=step: step(tgt, src, out)


def test_two_programs_share_a_model_whose_state_is_loaded_in_between():
    with using("cupy"):
        (net, adam, *steps), (twin, twin_adam, *plain) = two_trainers()
        fast = [mg.jit(step) for step in steps]
        for i, batch in enumerate([*batches(), *batches()]):
            if i == 3:
                kept = [x.state_dict() for x in (net, adam, twin, twin_adam)]
            if i == 7:
                for x, state in zip((net, adam, twin, twin_adam), kept, strict=True):
                    x.load_state_dict(state)
            batch = list(map(mg.asarray, batch))
            for f, g in zip(steps if i == 5 else fast, plain, strict=True):  # once as it is
                y = f(*batch)
                np.testing.assert_allclose(float(y), float(g(*batch)), rtol=1e-4)
        mine, theirs = adam.state_dict(), twin_adam.state_dict()
        for name, x in mine.items():
            np.testing.assert_allclose(x, theirs[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_a_copy_of_a_program_trains_the_copy_of_its_model():
    with using("cupy"):
        net = layers()
        adam = optim.Adam(net, lr=0.01)
        fast = mg.jit(training(net, adam))
        for batch in batches():
            fast(*map(mg.asarray, batch))
        other, _, copy_of_fast = copy.deepcopy((net, adam, fast))
        before = net.state_dict()
        for batch in batches():
            copy_of_fast(*map(mg.asarray, batch))
        assert all((x == before[name]).all() for name, x in net.state_dict().items())
        for batch in batches():
            fast(*map(mg.asarray, batch))
        for name, x in net.state_dict().items():
            np.testing.assert_allclose(x, other.state_dict()[name], rtol=1e-5, err_msg=name)


def test_a_step_that_raises_leaves_all_as_it_was():
    with using("cupy"):
        net = layers()
        adam = optim.Adam(net, lr=0.01)
        step = training(net, adam)

        def raising(src, tgt, out):
            y = step(src, tgt, out)
            if len(src) == 2:
                raise KeyError("here")
            return y

        fast = mg.jit(raising)
        for batch in batches():
            fast(*map(mg.asarray, batch))
        before = net.state_dict() | adam.state_dict()
        with pytest.raises(KeyError, match="here"):
            fast(*(mg.asarray(x[:2]) for x in batches()[0]))
        after = net.state_dict() | adam.state_dict()
        assert all((x == before[name]).all() for name, x in after.items())


def test_sums_that_take_two_launches():
    with using("cupy"):
        f = mg.jit(lambda x: (x.sum(), (x * x).sum(axis=0), x.max(axis=1)))
        generator = np.random.default_rng(0)
        for _ in range(3):
            x = generator.normal(size=(70, 300)).astype("float32")
            total, squares, largest = (to_numpy(y.data) for y in f(mg.asarray(x)))
            np.testing.assert_allclose(total, x.sum(dtype="float64"), rtol=1e-4)
            np.testing.assert_allclose(squares, (x * x).sum(axis=0), rtol=1e-4)
            np.testing.assert_array_equal(largest, x.max(axis=1))


def test_a_program_that_is_gone_leaves_no_memory():
    with using("cupy"):
        f = mg.jit(lambda x: mg.tanh(x @ x).sum())
        x = mg.asarray(np.ones((16, 16), np.float32))
        for _ in range(3):
            f(x).item()
        pool = f.steps[0].program.memory.pool
        assert pool.total_bytes() > 0
        del f
        gc.collect()
        assert pool.total_bytes() == 0


@pytest.mark.parametrize("jit", [False, True])
def test_a_fault_leaves_weights_as_they_are(jit):
    with using("cupy"):
        table = nn.Embedding(7, 4)
        adam = optim.Adam(table, lr=0.1)

        def step(ids):
            y = (table(ids) ** 2).sum()
            y.backward()
            adam.step()
            adam.zero_grad()
            return y

        step = mg.jit(step) if jit else step
        for _ in range(3):
            step(mg.asarray(np.array([1, 2, 3]))).item()
        before = to_numpy(table.weight.data)
        y = step(mg.asarray(np.array([1, 9, 3])))
        with pytest.raises(IndexError, match="9"):
            y.item()
        np.testing.assert_array_equal(to_numpy(table.weight.data), before)
        step(mg.asarray(np.array([1, 2, 3]))).item()
        assert np.isfinite(to_numpy(table.weight.data)).all()
        assert (to_numpy(table.weight.data) != before).any()

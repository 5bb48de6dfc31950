"""`mg.jit`: programs repeat the functions that they were captured from."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, host, refuses, same

import minigrad as mg
from minigrad import kernels, nn, optim, random
from minigrad.backend import to_device
from minigrad.errors import CaptureError, OutOfRangeError
from minigrad.programs.memory import Storage, arrange
from minigrad.programs.step import Step

CALLS = 5


def numbers(seed, *shape, dtype="float32"):
    return to_device(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


class Network(nn.Module):
    """Two linear layers around a norm."""

    def __init__(self, dropout=0.0, dtype="float32"):
        with random.stream(3):
            self.linear1 = nn.Linear(5, 8, dtype=dtype)
            self.norm = nn.LayerNorm(8, dtype=dtype)
            self.linear2 = nn.Linear(8, 3, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.slope = 1.0

    def forward(self, x):
        h = self.norm(mg.relu(self.linear1(x)))
        return self.linear2(self.dropout(h)) * self.slope


def trainer(make_optimizer=optim.Adam, **options):
    """A network, its optimizer, and a step that trains it."""
    model = Network(**options)
    optimizer = make_optimizer(model)

    def step(x, target):
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return model, optimizer, step


def batches(count=CALLS, rows=7, dtype="float32"):
    for i in range(count):
        target = np.random.default_rng(i).integers(0, 3, rows)
        yield numbers(i, rows, 5, dtype=dtype), to_device(target)


def assert_same(model, other, rtol=1e-5):
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        if not p.name.endswith("k_proj.bias"):  # its gradient is 0 but for rounding
            close(p.data, q.data, rtol=rtol, atol=1e-5, err_msg=p.name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_step(dtype):
    model, adam, step = trainer(dtype=dtype)
    twin, twin_adam, plain = trainer(dtype=dtype)
    fast = mg.jit(step)
    for x, target in batches(dtype=dtype):
        close(fast(x, target).item(), plain(x, target).item(), rtol=1e-6)
    assert_same(model, twin)
    mine, theirs = adam.state_dict(), twin_adam.state_dict()
    assert mine.keys() == theirs.keys()
    for key in mine:
        close(mine[key], theirs[key], rtol=1e-4, atol=1e-7, err_msg=key)


def transformer():
    with random.stream(0):
        model = nn.Seq2Seq(19, 8, 2, 16, 2, 2)
    adam = optim.Adam(model)

    def step(src, tgt, out):
        loss = mg.cross_entropy(model(src, tgt), out, ignore_index=0)
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss

    return model, step


def sentences(seed, rows=4, length=6):
    src, tgt, out = np.random.default_rng(seed).integers(1, 19, (3, rows, length))
    src[0, length // 2 :] = out[0, length // 2 :] = 0
    return tuple(map(to_device, (src, tgt, out)))


def test_a_transformer():
    model, step = transformer()
    twin, plain = transformer()
    fast = mg.jit(step)
    for i in range(CALLS):
        batch = sentences(i, length=6 + i % 2)
        close(fast(*batch).item(), plain(*batch).item(), rtol=1e-5)
    assert_same(model, twin, rtol=1e-3)
    assert "attention_grad" in fast.program()


def test_threads_do_not_change_the_bits():
    found = []
    for threads in (1, 2, 3):
        model, step = transformer()
        fast = mg.jit(step, threads=threads)
        losses = [fast(*sentences(i)).item() for i in range(2)]
        program = fast._last.program
        program.threads = threads  # though the work is too small for them to pay
        losses += [fast(*sentences(i)).item() for i in range(2, CALLS)]
        found.append((losses, [host(p).tobytes() for p in model.parameters()]))
    assert found[0] == found[1] == found[2]


def test_a_batch_of_nothing():
    """Where calls are put together there is no formula to go to."""
    norm, linear, table = nn.LayerNorm(8), nn.Linear(8, 8), nn.Embedding(5, 8, padding_idx=0)
    parameters = [*norm.parameters(), *linear.parameters(), *table.parameters()]

    def gradients(ids):
        x = table(ids)
        y = norm(x + linear(x))
        y = norm(y + linear(y)).relu()
        return mg.gradients((y * y).sum(), parameters)

    fast = mg.jit(gradients)
    for ids in (np.zeros((0, 4), np.int64), np.arange(4).reshape(1, 4)):
        ids = to_device(ids)
        expected = gradients(ids)
        for _ in range(3):
            for found, wanted in zip(fast(ids), expected, strict=True):
                close(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [-1, (-1,), (3, -1), (6, 2), (2, 2, 3)], ids=str)
def test_a_copy_in_another_order_is_a_kernel(shape):
    if not kernels.enabled():
        pytest.skip("without kernels NumPy does it")
    fast, x = mg.jit(lambda x: x.T.reshape(shape)), to_device(np.arange(12.0).reshape(3, 4))
    for _ in range(3):
        same(fast(x).numpy(), x.T.reshape(shape))
    assert "NumPy" not in fast.program()


def test_each_kernel_gives_the_same_bits_however_it_is_shared():
    """As above, one instruction after the other, and whether or not threads run at once."""
    machine = pytest.importorskip("minigrad.kernels.machine")
    _, step = transformer()
    fast = mg.jit(step)
    for i in range(2):
        fast(*sentences(i))
    program = fast._last.program
    flats = [flat for update in program.updates for flat in update.optimizer.flats]
    arrays = [a for a in program.memory.keep_alive if isinstance(a, np.ndarray)]
    arrays += [a for f in flats for a in (f.weights, f.gradients, *f.moments.values())]
    arrays = [a for a in arrays if a.flags.writeable]
    compared = 0
    for line in program.instructions:
        if line.record is None:
            line.function()
            continue
        run, record = machine.PROTOTYPE(line.address), line.record.ctypes.data
        before = [a.copy() for a in arrays]
        run(record, 0, 0, 1)
        alone = [a.copy() for a in arrays]
        for parts in (2, 3):
            for a, old in zip(arrays, before, strict=True):
                a[...] = old
            for part in range(parts):
                run(record, 0, part, parts)
            for a, expected in zip(arrays, alone, strict=True):
                assert a.tobytes() == expected.tobytes(), (line.name, line.shapes, parts)
        compared += 1
    assert compared > 100


def test_a_loss_and_its_gradients_by_value_and_grad():
    model = Network()
    loss = lambda model, x, target: nn.functional.cross_entropy(model(x), target)  # noqa: E731
    plain = mg.value_and_grad(loss)
    fast = mg.jit(plain)
    for x, target in batches():
        (value, gradients), (expected, theirs) = fast(model, x, target), plain(model, x, target)
        close(value.data, expected.data, rtol=1e-6)
        assert gradients.keys() == theirs.keys()
        for name, g in gradients.items():
            close(g.data, theirs[name].data, rtol=1e-5, atol=1e-7)
        for p in model.parameters():
            p.data -= 0.1 * gradients[p.name].data  # the program sees what is written here


def test_a_forward_pass_gives_new_arrays_and_no_history():
    model = Network()
    fast = mg.jit(model)
    with mg.no_grad():
        results = [fast(x) for x, _ in batches()]
        for y, (x, _) in zip(results, batches(), strict=True):
            close(y.data, model(x).data, rtol=1e-5, atol=1e-6)
    assert not any(y.requires_grad for y in results)


def test_results_of_every_form():
    @mg.jit
    def f(tree, n):
        x, (y, none) = tree["x"], tree["rest"]
        return {
            "sum": x + y,
            "same": x,
            "view": x[1:].T,
            "n": n,
            "array": (x * n).data,
            "none": none,
        }

    for i in range(4):
        x, y = numbers(i, 3, 2), numbers(i + 9, 2)
        found = f({"x": x, "rest": (y, None)}, n=2)
        assert list(found) == ["sum", "same", "view", "n", "array", "none"]
        same(found["sum"].data, x + y)
        same(found["same"].data, x)
        same(found["view"].data, x[1:].T)
        same(found["array"], x * 2)
        assert (found["n"], found["none"]) == (2, None)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_chains_of_ops_with_views(data):
    """Whatever views lie between ops, and whoever takes over whose memory."""
    names = ["add", "multiply", "relu", "tanh", "sigmoid", "T", "rows", "reshape", "matmul", "sum"]
    chosen = data.draw(st.lists(st.sampled_from(names), max_size=9))

    def f(x, w):
        kept = x
        for name in chosen:
            match name:
                case "T":
                    x = x.T
                case "rows":
                    x = x[::-1]
                case "reshape":
                    x = x.reshape(x.shape[::-1])
                case "matmul":
                    x = (x @ w[: x.shape[1], : x.shape[1]]) * 0.5
                case "sum":
                    x = x + x.sum(axis=0) * 0.1
                case "add":
                    x = x + (kept if kept.shape == x.shape else 1.0)
                case "multiply":
                    x = mg.tanh(x * x)
                case _:
                    x = getattr(mg, name)(x * 0.5)
        return x, kept * 1.0

    fast = mg.jit(f)
    for i in range(4):
        x, w = numbers(i, 3, 4), numbers(i + 7, 4, 4)
        for y, expected in zip(fast(x, w), f(mg.Tensor(x), mg.Tensor(w)), strict=True):
            close(y.data, expected.data, rtol=2e-5, atol=1e-6)


def test_another_shape_dtype_or_number_makes_another_program():
    calls = []

    def f(x, scale=1.0):
        calls.append(x.shape)
        return x * scale

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fast = mg.jit(f)
        for _ in range(3):
            assert fast(np.ones(3, "float32"), scale=3.0).data.tolist() == [3, 3, 3]
            assert fast(np.ones(2), 2.0).dtype == "float64"
            assert fast(np.ones(2, "float32"), 2.0).dtype == "float32"
    assert len(calls) == 9  # each is captured and proved, and proved again


def test_a_setting_that_changed_is_noticed():
    model = Network(dropout=0.5)
    fast = mg.jit(model.forward)
    x = numbers(0, 7, 5)
    model.eval()
    with mg.no_grad():
        for slope in (1.0, 2.0, 2.0, 2.0, 3.0):
            model.slope = slope
            close(fast(x).data, model(x).data, rtol=1e-5)
        model.train()
        assert (fast(x).data != fast(x).data).any()
        model.eval()
        model.linear1.weight.data = model.linear1.weight.data * 2
        close(fast(x).data, model(x).data, rtol=1e-5)
        model.linear1 = nn.Linear(5, 8)
        close(fast(x).data, model(x).data, rtol=1e-5)


def test_a_number_outside_that_changed_is_noticed():
    factor = 2.0

    @mg.jit
    def f(x):
        return x * factor

    for factor in (2.0, 2.0, 2.0, 3.0, 3.0, 4.0):
        assert f(np.ones(1)).item() == factor


def test_dropout_draws_the_same_masks_as_without_jit():
    model, _, step = trainer(dropout=0.4)
    twin, _, plain = trainer(dropout=0.4)
    fast = mg.jit(step)
    with random.stream(5):
        mine = [fast(*batch).item() for batch in batches()]
    with random.stream(5):
        theirs = [plain(*batch).item() for batch in batches()]
    close(mine, theirs, rtol=1e-6)
    assert_same(model, twin)


def test_dropped_attention_weights_are_drawn_anew_in_every_run():
    with random.stream(1):
        attention = nn.MultiheadAttention(8, 2, dropout=0.4)
    x = numbers(0, 3, 7, 8)

    def step(x):
        for p in attention.parameters():
            p.grad = None
        y = attention(x, x, x, is_causal=True)
        (y * y).sum().backward()
        return y, attention.v_proj.weight.grad, attention.k_proj.weight.grad

    fast = mg.jit(step)
    with random.stream(5):
        mine = [[host(a) for a in fast(x)] for _ in range(5)]
    with random.stream(5):
        theirs = [[host(a) for a in step(x)] for _ in range(5)]
    for ours, plain in zip(mine, theirs, strict=True):
        for a, b in zip(ours, plain, strict=True):
            close(a, b, rtol=1e-4, atol=1e-5)
    assert not any(np.allclose(a[0], b[0]) for a, b in itertools.combinations(mine, 2))
    lines = [i for i in fast._last.program.instructions if i.name.startswith("attention")]
    assert len(lines) == 2
    assert all(line.address for line in lines) == kernels.enabled()


def test_the_learning_rate_is_read_in_every_call():
    model, adam, step = trainer()
    twin, twin_adam, plain = trainer()
    fast = mg.jit(step)
    for i, batch in enumerate(batches()):
        adam.lr = twin_adam.lr = 0.01 / (i + 1)
        fast(*batch), plain(*batch)
    assert_same(model, twin)


def test_gradients_that_stay():
    model, plain = Network(), Network()

    def gradients_of(model):
        def f(x):
            for p in model.parameters():
                p.grad = None
            model(x).sum().backward()

        return f

    fast, slow = mg.jit(gradients_of(model)), gradients_of(plain)
    for x, _ in batches():
        fast(x), slow(x)
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            close(p.grad.data, q.grad.data, rtol=1e-5, atol=1e-6)


def test_a_buffer_that_is_given_new_values():
    class Mean(nn.Module):
        def __init__(self):
            self.mean = mg.tensor(np.zeros(2, "float32"))

        def forward(self, x):
            self.mean.data = (0.9 * self.mean + 0.1 * x.mean(axis=0)).data
            return x - self.mean

    module, plain = Mean(), Mean()
    fast = mg.jit(module)
    for i in range(CALLS):
        x = numbers(i, 4, 2)
        close(fast(x).data, plain(x).data, rtol=1e-5, atol=1e-7)
        close(module.mean.data, plain.mean.data, rtol=1e-5)


def test_a_tied_weight_gets_the_sum_of_its_gradients():
    def build():
        with random.stream(1):
            w = nn.Parameter(numbers(0, 4, 4))
        w.name = "w"
        adam = optim.Adam({"w": w})

        def step(x):
            loss = (mg.tanh(x @ w) @ w).sum()
            loss.backward()
            adam.step()
            adam.zero_grad()
            return loss

        return w, step

    (w, step), (v, plain) = build(), build()
    fast = mg.jit(step)
    for i in range(CALLS):
        close(fast(numbers(i, 3, 4)).data, plain(numbers(i, 3, 4)).data, rtol=1e-5)
    close(w.data, v.data, rtol=1e-5)


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.numpy(),
        float,
        lambda x: x.tolist(),
    ],
    ids=["item", "bool", "numpy", "float", "tolist"],
)
def test_reading_a_value_on_the_way_is_refused(read):
    @mg.jit
    def f(x):
        read(x)
        return x

    with pytest.raises(CaptureError, match=r"test_capture\.py:\d+"):
        f(np.ones(1))


@pytest.mark.parametrize("op", [mg.nonzero, mg.unique, lambda x: x[x > 0]])
def test_a_shape_that_depends_on_values_is_refused(op):
    with pytest.raises((CaptureError, mg.errors.ShapeError), match="depends on values"):
        mg.jit(lambda x: op(x))(np.ones(3))


@pytest.mark.parametrize(
    "read",
    [
        np.tanh,
        lambda a: a[0],
        lambda a: a * 2,
        lambda a: 2 / a,
        lambda a: a.sum(),
        lambda a: float(a[0]),
        np.sum,
        np.asarray,
        list,
        lambda a: a.tolist(),
        lambda a: a.astype("float64"),
        lambda a: np.add(a, a),
        memoryview,
        bytes,
        lambda a: 1 if 2.0 in a else 0,
    ],
)
def test_what_numpy_computes_on_the_way_is_refused(read):
    model = nn.Linear(3, 3)

    @mg.jit
    def f(x):
        return x + float(mg.sum(mg.asarray(read(x.data))))

    @mg.jit
    def of_a_parameter(x):
        return x + float(mg.sum(mg.asarray(read(model.bias.data))))

    for g in (f, of_a_parameter):
        with pytest.raises((CaptureError, TypeError), match=r"array|bytes"):
            g(numbers(0, 3))


def test_data_of_a_tensor_serves_ops_and_tensors():
    @mg.jit
    def f(x):
        assert x.data.shape == (3,)
        return mg.exp(x.data) * mg.Tensor(x.data), x.data

    for i in range(CALLS):
        x = numbers(i, 3)
        y, x_again = f(x)
        close(y.data, np.exp(host(x)) * host(x), rtol=1e-5)
        same(x_again, x)


def test_gradients_from_before_are_refused():
    model = Network()

    @mg.jit
    def f(x):
        model(x).sum().backward()

    f(numbers(0, 2, 5))
    with pytest.raises(CaptureError, match="zero_grad"):
        f(numbers(0, 3, 5))


def test_printing_and_growing_lists_are_reported():
    seen = []

    @mg.jit
    def f(x):
        print("loss")
        return x + 1

    @mg.jit
    def g(x):
        seen.append(1)
        return x + 1

    with pytest.warns(UserWarning, match=r"printed 'loss"):
        f(np.ones(2))
    g(np.ones(2))
    with pytest.warns(UserWarning, match=r"runs as it is.* 'seen', which had 1 entries and has 2"):
        g(np.ones(2))
    g(np.ones(2))
    assert seen == [1, 1, 1]


def test_a_gradient_that_only_the_first_call_leaves_is_no_part_of_a_program():
    p, calls = mg.Tensor([1.0, 2.0], requires_grad=True), [0]

    @mg.jit
    def f(x):
        calls[0] += 1
        p.grad = None
        y = (p * x).sum()
        if calls[0] == 1:
            y.backward()
        return y

    x = to_device(np.ones(2))
    f(x)
    assert p.grad is not None
    with pytest.warns(UserWarning, match=r"runs as it is.* 'calls', which was 1 and is 2"):
        assert f(x).item() == 3
    assert p.grad is None


def test_an_id_out_of_range_is_named():
    model = nn.Embedding(4, 2)
    fast = mg.jit(model)
    for ids in ([0, 1], [1, 3]):
        fast(to_device(np.array(ids)))
    with refuses(OutOfRangeError, match="4"):
        fast(to_device(np.array([0, 4])))
    assert fast(to_device(np.array([3, 2]))).shape == (2, 2)


def test_inside_of_transforms_and_profiles_the_function_runs():
    f = mg.jit(lambda x: (x**3).sum())
    assert mg.grad(f)(mg.Tensor([2.0])).item() == 12
    assert mg.vmap(f)(np.ones((4, 2))).shape == (4,)
    with mg.profile() as profile:
        f(np.ones(2))
    assert "power" in str(profile) or "sum" in str(profile)


def test_errors_of_the_function_pass_through_and_leave_nothing_switched():
    @mg.jit
    def f(x):
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        f(np.ones(1))
    assert not mg.backend.modes.get().capturing
    with pytest.raises(CaptureError, match="not been called"):
        mg.jit(lambda x: x).program()


def test_the_program_can_be_read():
    model, _, step = trainer()
    fast = mg.jit(step)
    for batch in batches():
        fast(*batch)
    before = [host(p) for p in model.parameters()]
    text = fast.program()
    for p, old in zip(model.parameters(), before, strict=True):
        same(p.data, old)
    first, second, *lines = text.splitlines()
    assert "ops became" in first
    assert "kernels" in first or "launches" in first
    assert "us" in second
    assert any("float32[7, 5]" in line for line in lines)
    assert lines[-1].split()[3].startswith("adam") or not kernels.in_use()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 20), st.integers(0, 20)), max_size=12)
)
def test_places_that_live_at_the_same_time_do_not_overlap(sizes):
    storages = [Storage(n * 64, min(a, b), max(a, b)) for n, a, b in sizes]
    total = arrange(storages)
    for i, s in enumerate(storages):
        assert s.offset >= 0
        assert s.offset + s.size <= total
        for t in storages[:i]:
            apart = s.last < t.first or t.last < s.first
            assert apart or s.offset + s.size <= t.offset or t.offset + t.size <= s.offset


# ------------------------------------------------------------------------------------------ groups


def grouped(count=3, share=()):
    """A model, its optimizer and a step; the groups share the parts of these paths."""
    models = {}
    for i in range(count):
        with random.stream(i):
            models[f"g{i}"] = nn.Seq2Seq(19, 8, 2, 16, 1, 1)
    for path in share:
        half, part = path.split(".")
        for other in models.values():
            setattr(getattr(other, half), part, getattr(getattr(models["g0"], half), part))
    model = nn.Grouped(models)
    adam = optim.Adam(model)

    def step(groups, src, tgt, out):
        loss = mg.cross_entropy(model(groups, src, tgt), out, ignore_index=0)
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss

    return model, adam, step


SPLITS = [[0, 1, 2, 0], [2, 2, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [2, 1, 1, 1], [2, 2, 2, 2]]


@pytest.mark.parametrize(
    "share",
    [(), ("encoder.layers", "encoder.norm", "encoder.embed", "decoder.embed")],
    ids=["apart", "sharing"],
)
def test_one_program_serves_every_split_of_a_batch(share):
    """What all groups share learns from all rows, and is taken for no group's own."""
    model, _, step = grouped(share=share)
    twin, _, plain = grouped(share=share)
    fast = mg.jit(step)
    for i, ids in enumerate(SPLITS):
        batch = (to_device(np.array(ids)), *sentences(i))
        close(fast(*batch).item(), plain(*batch).item(), rtol=1e-5)
    assert_same(model, twin, rtol=1e-3)
    assert len(fast.steps) == 1


def test_absent_groups_stay_as_they_are_to_the_bit():
    model, adam, step = grouped()
    fast = mg.jit(step)
    for i, ids in enumerate(SPLITS):
        before = {name: host(p).tobytes() for name, p in model.named_parameters()}
        state = {key: x.tobytes() for key, x in adam.state_dict().items()}
        fast(to_device(np.array(ids)), *sentences(i))
        for name, p in model.named_parameters():
            if int(name.split(".")[1][1:]) not in ids:
                assert host(p).tobytes() == before[name], name
        for key, x in adam.state_dict().items():
            if int(key.split(".")[2][1:]) not in ids:
                assert x.tobytes() == state[key], key


def test_what_only_some_groups_share_is_refused():
    model, _, _ = grouped()
    model["g1"].encoder = model["g0"].encoder
    fast = mg.jit(lambda groups, src, tgt: model(groups, src, tgt))
    with pytest.raises(CaptureError, match="share a parameter"):
        fast(to_device(np.array([0, 1, 2, 0])), *sentences(0)[:2])


def test_groups_have_their_own_models_where_nothing_can_be_captured():
    """A step is captured as if all rows were in the first group, and that must not count."""
    model, _, step = grouped()
    twin, _, plain = grouped()
    file = open(__file__, "rb")  # noqa: SIM115

    def reads_a_file(*batch):
        file.tell()
        return step(*batch)

    fast = mg.jit(reads_a_file)
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, ids in enumerate(SPLITS[:3]):
            batch = (to_device(np.array(ids)), *sentences(i))
            close(fast(*batch).item(), plain(*batch).item(), rtol=1e-6)
    assert_same(model, twin, rtol=1e-6)


def test_models_of_groups_may_draw_random_numbers():
    """Each draws its own, the program once for all; so they are compared group by group."""
    models = {}
    for i in range(3):
        with random.stream(i):
            models[f"g{i}"] = nn.Sequential(nn.Linear(6, 400), nn.Dropout(0.25), nn.ReLU())
    model = nn.Grouped(models)
    fast = mg.jit(lambda groups, x: model(groups, x))
    x = to_device(np.ones((4, 6), "float32"))
    for ids in SPLITS:
        for _ in range(3):
            y = fast(to_device(np.array(ids)), x).detach().numpy()
            for row, group in zip(y, ids, strict=True):
                whole = model[f"g{group}"][0](x[:1]).detach().numpy()[0] / 0.75
                kept = row != 0
                close(row[kept], whole[kept], rtol=1e-5)
                possible = whole > 0
                assert not kept[~possible].any()
                assert 0.6 < kept[possible].mean() < 0.9
    assert len(fast.steps) == 1
    # Rows of one group have masks of their own.
    y = fast(to_device(np.array([1, 1, 1, 1])), x).detach().numpy()
    assert len({row.tobytes() for row in y}) == 4


def test_dropout_in_groups_is_proved(monkeypatch):
    """A program that gave something else would be found."""
    model, _, _ = grouped()
    for m in model.models.values():
        for layer in m.encoder.layers:
            layer.dropout.p = 0.5
    fast = mg.jit(lambda groups, src, tgt: model(groups, src, tgt))
    original = Step._function_gives

    def other(self, *arguments):  # what a program gives is compared with
        y, theirs, after = original(self, *arguments)
        return y, [2 * t for t in theirs], after

    monkeypatch.setattr(Step, "_function_gives", other)
    with pytest.raises(CaptureError, match="does not repeat"):
        fast(to_device(np.array([0, 1, 2, 0])), *sentences(0)[:2])


def test_groups_by_name_are_part_of_the_program():
    model, _, step = grouped()
    twin, _, plain = grouped()
    fast = mg.jit(step)
    for i, ids in enumerate([*SPLITS[:2], *SPLITS[:2]]):
        batch = ([f"g{g}" for g in ids], *sentences(i))
        close(fast(*batch).item(), plain(*batch).item(), rtol=1e-5)
    assert_same(model, twin, rtol=1e-3)
    assert len(fast.steps) == 2


def test_groups_that_differ_cannot_share_a_program():
    model = nn.Grouped({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2, bias=False)})
    fast = mg.jit(model)
    with pytest.raises(CaptureError, match="list of names"):
        fast(to_device(np.array([0, 1])), to_device(np.ones((2, 2), "float32")))
    assert fast(["a", "b"], to_device(np.ones((2, 2), "float32"))).shape == (2, 2)


def test_an_op_that_cannot_be_done_by_group_is_named():
    class Scaled(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(np.ones(2, "float32"))

        def forward(self, x):
            return x * self.scale

    fast = mg.jit(nn.Grouped({"a": Scaled(), "b": Scaled()}))
    with pytest.raises(CaptureError, match="multiply"):
        fast(to_device(np.array([0, 1])), to_device(np.ones((2, 2), "float32")))


# ------------------------------------------------------------------------------------------ images


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2),
    st.integers(1, 3), st.integers(1, 3), st.booleans(),
)  # fmt: skip
def test_convolution_and_pooling(kernel, out, stride, padding, dilation, size, step, tie):
    def f(x, w, b, v):
        for t in (w, b, v):
            t.requires_grad_()
        h = mg.relu(mg.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation))
        h = mg.max_pool2d(h, size, step)
        h = mg.relu(mg.conv2d(h, v))
        grads = mg.gradients((h * h).sum(), [w, b, v])
        return h, *grads

    fast = mg.jit(f)
    for i in range(3):
        x = numbers(i, 2, 2, 11, 12)
        if tie:
            x = to_device(np.round(host(x)))
        w, b, v = (
            numbers(i + 1, out, 2, kernel, kernel),
            numbers(i + 2, out),
            numbers(i + 3, 2, out, 1, 1),
        )
        args = x, w, b, v
        for y, expected in zip(fast(*args), f(*map(mg.Tensor, args)), strict=True):
            close(y.data, expected.data, rtol=2e-4, atol=1e-4)


def test_a_step_of_a_convolutional_network():
    def build():
        with random.stream(2):
            weights = {
                "w": nn.Parameter(numbers(1, 4, 1, 3, 3)),
                "b": nn.Parameter(numbers(2, 4)),
                "v": nn.Parameter(numbers(3, 3, 4, 2, 2)),
            }
        adam = optim.Adam(weights)

        def step(x, target):
            h = mg.max_pool2d(mg.relu(mg.conv2d(x, weights["w"], weights["b"])), 2)
            loss = nn.functional.cross_entropy(mg.conv2d(h, weights["v"]).mean(axis=(2, 3)), target)
            loss.backward()
            adam.step()
            adam.zero_grad()
            return loss

        return weights, step

    (mine, step), (theirs, plain) = build(), build()
    fast = mg.jit(step)
    for i in range(CALLS):
        batch = numbers(i, 5, 1, 9, 9), to_device(np.arange(5) % 3)
        close(fast(*batch).item(), plain(*batch).item(), rtol=1e-5)
    for name in mine:
        close(mine[name].data, theirs[name].data, rtol=1e-4, atol=1e-5)
    table = fast.program()
    assert not kernels.in_use() or "max_windows_grad" in table


def test_a_result_that_is_zero_but_for_rounding_is_no_difference():
    @mg.jit
    def f(x, v):
        x.requires_grad_()
        y = mg.softmax(x + v, axis=-1)
        return mg.gradients((y.sum(axis=-1) * 0.1).sum(), x)

    for i in range(3):
        f(numbers(i, 5, 7), numbers(i + 1, 7))


def test_chains_of_elements_are_one_pass():
    def f(x, w):
        return mg.exp(-((x * w + 0.5) ** 2)) / (1.0 + mg.sigmoid(x)) - mg.where(x > 0, x, -w)

    fast = mg.jit(f)
    for i in range(3):
        x, w = numbers(i, 33, 21), numbers(i + 5, 21)
        close(fast(x, w).data, f(mg.Tensor(x), mg.Tensor(w)).data, rtol=1e-5, atol=1e-6)
        y = fast(to_device(np.asfortranarray(host(numbers(i, 21, 21)))), w)
        expected = f(mg.Tensor(numbers(i, 21, 21)), mg.Tensor(w))
        close(y.data, expected.data, rtol=1e-5, atol=1e-6)
    if kernels.in_use():
        assert "elementwise" in fast.program()


def test_a_convolution_without_gradients_is_made_of_kernels():
    w, b = numbers(1, 4, 2, 3, 3), numbers(2, 4)
    fast = mg.jit(lambda x: mg.max_pool2d(mg.relu(mg.conv2d(x, w, b)), 2))
    for i in range(CALLS):
        x = numbers(i, 3, 2, 9, 8)
        expected = mg.max_pool2d(mg.relu(mg.conv2d(x, w, b)), 2)
        close(fast(x).data, expected, rtol=1e-5, atol=1e-5)
    assert not kernels.in_use() or "NumPy" not in fast.program()


def test_a_batch_norm_keeps_its_running_statistics():
    (w, b), (mean, var) = (
        numbers(1, 2, 3),
        (mg.tensor(np.zeros(3, "f")), mg.tensor(np.ones(3, "f"))),
    )
    expected = mean.data.copy(), var.data.copy()

    def step(x):
        return nn.functional.batch_norm(x, mean, var, w, b, training=True)

    fast = mg.jit(step)
    for i in range(CALLS):
        x = numbers(i, 7, 3)
        y = fast(x)
        close(y.data, mg.batch_norm(x, None, None, w, b), rtol=1e-4, atol=1e-5)
        expected = mg.batch_norm_stats(x, *expected)
    close(mean.data, expected[0], rtol=1e-5, atol=1e-6)
    close(var.data, expected[1], rtol=1e-5)


def test_random_numbers_are_drawn_anew_in_each_run():
    def step(x):
        return x + mg.randn(3), mg.rand(2, 3, dtype="float64"), mg.randint(5, shape=(4,))

    fast = mg.jit(step)
    x = numbers(1, 3)
    with random.stream(5):
        found = [fast(x) for _ in range(CALLS)]
    with random.stream(5):
        expected = [step(mg.Tensor(x)) for _ in range(CALLS)]
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            same(a.data, b.data)
            assert a.dtype == b.dtype


def test_ops_of_vmap_are_left_as_they_are():
    w, b = mg.Tensor(numbers(1, 3, 2), requires_grad=True), mg.Tensor(numbers(2, 3))

    def one(x):
        return mg.tanh(w @ x + b) * 2.0

    def step(x):
        jacobians = mg.vmap(mg.jacfwd(one))(x)
        return mg.gradients((jacobians * jacobians).sum(), [w])[0]

    fast = mg.jit(step)
    for i in range(CALLS):
        x = numbers(i, 4, 2)
        close(fast(x).data, step(mg.Tensor(x)).data, rtol=1e-4, atol=1e-5)


def test_groups_with_options_of_their_own_are_refused_by_name():
    model = nn.Grouped({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    parts = [{"params": model["a"], "name": "a", "lr": 1e-2}, {"params": model["b"], "name": "b"}]
    adam = optim.Adam(parts)

    def step(x, groups):
        loss = (model(groups, x) ** 2).mean()
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss

    with pytest.raises(CaptureError, match="other options for some of the groups"):
        mg.jit(step)(numbers(1, 4, 3), to_device(np.array([0, 1, 1, 0])))


def test_a_parameter_that_is_read_after_its_step_is_refused():
    model = nn.Linear(3, 2)
    adam = optim.Adam(model, lr=1e-6)

    def step(x):
        model(x).sum().backward()
        adam.step()
        adam.zero_grad()
        return model(x)

    before = model.state_dict()
    with pytest.raises(CaptureError, match="'weight' is read after an optimizer's step"):
        mg.jit(step)(numbers(1, 4, 3))
    assert all((before[name] == value).all() for name, value in model.state_dict().items())


def test_threads_that_do_not_pay_are_left_alone_for_a_while(monkeypatch):
    if not kernels.enabled():
        pytest.skip("programs run on threads with kernels only")
    from minigrad.kernels import machine

    fast = mg.jit(lambda x: mg.tanh(x) * x)
    x = numbers(1, 40, 50)
    for _ in range(CALLS):
        expected = fast(x).data.copy()
    program = fast._last.program
    together, team, times = machine._Team._together, machine._Team(2), {}

    def late(self, *task):
        together(self, *task)
        came.append(task)
        clock[0] += 1.0

    came, clock = [], [100.0]
    monkeypatch.setattr(machine._Team, "_together", late)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock[0])
    calls = []
    for _ in range(4):
        program.outputs[0][...] = 0
        team.run(program.addresses, program.records, 0, len(program.instructions), times)
        same(program.outputs[0], expected)
        calls.append(len(came))
    assert calls == [0, 1, 1, 1]  # alone at first; once together, which was slow; alone
    clock[0] += machine.SHORTEST
    team.run(program.addresses, program.records, 0, len(program.instructions), times)
    assert len(came) == 2
    assert team.until - clock[0] == 2 * machine.SHORTEST

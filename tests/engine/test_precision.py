"""`mg.autocast`, and TF32: what is computed in 16 bits, and what is not."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim, precision
from minigrad.autodiff import REGISTRY
from minigrad.backend import modes
from minigrad.errors import DtypeError

bfloat16 = precision.half("bfloat16")
HALVES = st.sampled_from(["bfloat16", "float16"])
EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parameter(*shape, seed=0):
    return mg.Tensor(numbers(*shape, seed=seed), requires_grad=True)


# ------------------------------------------------------------------------------------ the table


def test_every_name_in_the_table_is_an_op():
    assert {*precision.WIDE, *precision.NARROW} <= REGISTRY.keys()
    assert not precision.WIDE & precision.NARROW.keys()


def test_every_op_of_losses_and_norms_and_softmaxes_has_a_row():
    for name, op in REGISTRY.items():
        page = op.__module__.rpartition(".")[2]
        inner = name.startswith("_") or name.endswith("_grad")
        if page in ("losses", "norms", "softmaxes") and not inner:
            assert name in precision.WIDE, name
        if page == "convs" and name.startswith("conv"):
            assert name in precision.NARROW, name


@pytest.mark.parametrize(
    "name", [n for n in sorted(precision.WIDE) if n[0] != "_" and REGISTRY[n].arity == 1]
)
def test_what_stays_in_float32_does_so_for_inputs_of_16_bits(name):
    x = mg.tensor([[0.25, 0.5], [0.75, 0.125]]).astype("bfloat16")
    with mg.autocast("bfloat16"):
        y = REGISTRY[name](x)
    y = y[0] if isinstance(y, tuple) else y
    assert y.dtype == np.float32
    expected = REGISTRY[name](x.astype("float32"))
    np.testing.assert_array_equal(y.data, expected.data)


# ---------------------------------------------------------------------------------- the products


@given(half=HALVES, m=st.integers(1, 9), k=st.integers(1, 40), n=st.integers(1, 9))
def test_a_product_rounds_its_operands_and_sums_in_float32(half, m, k, n):
    a, b = numbers(m, k, seed=k), numbers(k, n, seed=n)
    with mg.autocast(half):
        y = mg.matmul(a, b)
    assert y.dtype == precision.half(half)
    rounded = [x.astype(y.dtype).astype(np.float64) for x in (a, b)]
    exact = rounded[0] @ rounded[1]
    allowed = EPS[half] * abs(exact) + k * 2.0**-22 * (abs(rounded[0]) @ abs(rounded[1]))
    assert (abs(np.asarray(y, np.float64) - exact) <= allowed + 1e-7).all()


@given(half=HALVES)
def test_gradients_of_float32_parameters_are_float32(half):
    w, bias, x = parameter(3, 4), parameter(3, seed=1), parameter(5, 4, seed=2)
    with mg.autocast(half):
        y = mg.linear(x, w, bias)
        loss = mg.sum(y * y)
    assert y.dtype == precision.half(half)
    assert loss.dtype == np.float32
    loss.backward()
    assert w.grad.dtype == bias.grad.dtype == x.grad.dtype == np.float32
    found = [w.grad.data, bias.grad.data, x.grad.data]
    for p in (w, bias, x):
        p.grad = None
    mg.sum(mg.linear(x, w, bias) ** 2).backward()
    for mine, theirs in zip(found, (w.grad, bias.grad, x.grad), strict=True):
        scale = abs(theirs.data).max()
        assert abs(mine - theirs.data).max() < 8 * EPS[half] * scale
        assert (mine != theirs.data).any()  # it was computed in 16 bits, after all


def test_float64_is_left_alone():
    a = np.ones((2, 2))
    with mg.autocast("bfloat16"):
        assert mg.matmul(a, a).dtype == np.float64
        assert mg.exp(a).dtype == np.float64


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_convolutions_attention_and_einsum_compute_in_16_bits(half):
    x, w = mg.Tensor(numbers(2, 3, 5, 5)), parameter(4, 3, 3, 3)
    q = mg.Tensor(numbers(2, 4, 6))
    with mg.autocast(half):
        found = [
            mg.conv2d(x, w),
            mg.attention(q, q, q, heads=2),
            mg.einsum("bij,bkj->bik", q, q),
        ]
    exact = [mg.conv2d(x, w), mg.attention(q, q, q, heads=2), mg.einsum("bij,bkj->bik", q, q)]
    for y, e in zip(found, exact, strict=True):
        assert y.dtype == precision.half(half)
        assert abs(y.astype("float32").data - e.data).max() < 16 * EPS[half] * abs(e.data).max()


def test_a_mask_that_is_added_is_not_rounded():
    q, mask = mg.Tensor(numbers(1, 3, 4)), np.full((3, 3), -1e9, np.float32)
    with mg.autocast("float16"):  # in which -1e9 is minus infinity, and would hide all
        y = mg.attention(q, q, q, mask)
    assert abs(y.data).max() > 0.1


# ------------------------------------------------------------------------------------- the block


def test_a_block_ends_and_others_can_lie_in_it():
    a = numbers(2, 2)
    with mg.autocast("bfloat16"):
        assert mg.matmul(a, a).dtype == bfloat16
        with mg.autocast(enabled=False):
            assert mg.matmul(a, a).dtype == np.float32
        with mg.autocast("float16"):
            assert mg.matmul(a, a).dtype == np.float16
        assert mg.matmul(a, a).dtype == bfloat16
    assert mg.matmul(a, a).dtype == np.float32
    with pytest.raises(KeyError), mg.autocast():
        raise KeyError
    assert modes.get().autocast is None


def test_it_decorates():
    @mg.autocast("float16")
    def f(a):
        return mg.matmul(a, a)

    assert [f(numbers(2, 2)).dtype for _ in range(2)] == [np.float16] * 2


def test_other_threads_are_not_concerned():
    found = []
    with mg.autocast():
        thread = threading.Thread(target=lambda: found.append(modes.get().autocast))
        thread.start()
        thread.join()
    assert found == [None]


@pytest.mark.parametrize("wrong", ["cuda", "float32", 16, None, np.float64])
def test_another_dtype_is_refused(wrong):
    with pytest.raises(ValueError, match=r"'bfloat16' or 'float16'"):
        mg.autocast(wrong)


@pytest.mark.parametrize("same", ["bfloat16", bfloat16, bfloat16.type])
def test_a_dtype_may_come_by_name_or_as_itself(same):
    with mg.autocast(same):
        assert modes.get().autocast == bfloat16


def test_without_ml_dtypes_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(DtypeError, match=r"pip install ml_dtypes.*float16"):
        mg.autocast("bfloat16")
    with mg.autocast("float16"):
        assert mg.matmul(numbers(2, 2), numbers(2, 2)).dtype == np.float16


# ------------------------------------------------------------- the backward pass, and transforms


def test_the_backward_pass_may_be_inside_or_behind_the_block():
    found = []
    for inside in (True, False):
        w = parameter(4, 4)
        with mg.autocast("bfloat16"):
            loss = mg.mean(mg.matmul(mg.exp(w), w))
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        found.append(w.grad.data)
    np.testing.assert_array_equal(*found)


def test_what_was_computed_outside_is_not_narrowed_by_a_backward_pass_inside():
    w = parameter(4, 4)
    loss = mg.sum(mg.matmul(w, w))
    with mg.autocast("bfloat16"):
        loss.backward(retain_graph=True)
    inside, w.grad = w.grad, None
    loss.backward()
    np.testing.assert_array_equal(inside.data, w.grad.data)


def test_a_checkpoint_computes_again_as_it_did():
    found = []
    for function in (lambda w: mg.matmul(mg.matmul(w, w), w), None):
        w = parameter(4, 4)
        f = mg.checkpoint(lambda w: mg.matmul(mg.matmul(w, w), w)) if function is None else function
        with mg.autocast("bfloat16"):
            y = f(w)
        mg.sum(y).backward()
        found.append(w.grad.data)
    np.testing.assert_array_equal(*found)


def test_transforms_go_through_it():
    w, xs = numbers(4, 4), numbers(3, 4, seed=1)

    def loss(w, x):
        with mg.autocast("bfloat16"):
            return mg.mean(mg.tanh(mg.matmul(w, x)))

    g = mg.grad(loss)(w, xs[0])
    assert g.dtype == np.float32
    many = mg.vmap(mg.grad(loss), in_axes=(None, 0))(w, xs)
    for x, one in zip(xs, np.asarray(many.data), strict=True):
        np.testing.assert_allclose(one, mg.grad(loss)(w, x).data, rtol=0.05, atol=1e-3)
    value, slope = mg.jvp(lambda w: loss(w, xs[0]), (w,), (w,))
    assert abs(float(slope) - float(np.sum(np.asarray(g) * w))) < 0.02
    exact = float(mg.mean(mg.tanh(mg.matmul(w, xs[0]))))
    assert abs(float(value) - exact) < 0.02


def test_second_derivatives_go_through_it():
    def loss(w):
        with mg.autocast("bfloat16"):
            return mg.sum(mg.matmul(w, w) ** 2)

    w = numbers(3, 3)
    h = np.asarray(mg.hessian(loss)(w))
    exact = np.asarray(mg.hessian(lambda w: mg.sum(mg.matmul(w, w) ** 2))(w))
    assert h.dtype == np.float32
    assert abs(h - exact).max() < 0.05 * abs(exact).max()


# ------------------------------------------------------------------------------------ mg.jit


def test_programs_of_both_are_told_apart():
    a = numbers(4, 4)

    @mg.jit
    def f(a):
        return mg.matmul(a, a)

    for _ in range(3):
        assert f(a).dtype == np.float32
        with mg.autocast("bfloat16"):
            assert f(a).dtype == bfloat16
        with mg.autocast("float16"):
            assert f(a).dtype == np.float16
        np.testing.assert_allclose(f(a).data, a @ a, rtol=1e-6)
    assert not f.as_it_is


def test_a_block_can_lie_in_a_program():
    a = numbers(4, 4)

    @mg.jit
    def f(a):
        with mg.autocast("bfloat16"):
            y = mg.matmul(a, a)
        return y, mg.matmul(a, a)

    for _ in range(3):
        half, whole = f(a)
        assert (half.dtype, whole.dtype) == (bfloat16, np.float32)


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_step_under_jit_is_that_without_it(half, norm_first):
    found = []
    for program in (False, True):
        mg.random.seed(0)
        model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=norm_first)
        optimizer = optim.AdamW(model, lr=0.01)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            with mg.autocast(half):
                loss = mg.mean(mg.cross_entropy(model(x)[:, 0], np.arange(3)))
            loss.backward()
            optimizer.step()
            return loss

        run = mg.jit(step) if program else step
        losses = [float(run(numbers(3, 5, 8, seed=i)).data) for i in range(5)]
        assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
        assert not program or not run.as_it_is
        found.append((losses, [p.data.copy() for p in model.parameters()]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=2e-3)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=0.021)  # Adam turns noise into steps of lr


def test_a_model_learns_under_it():
    mg.random.seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = optim.Adam(model, lr=0.01)
    x = numbers(64, 2)
    target = x[:, :1] * x[:, 1:]
    for _ in range(200):
        optimizer.zero_grad()
        with mg.autocast("bfloat16"):
            loss = mg.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
    assert float(loss.data) < 0.02


# -------------------------------------------------------------------------------------- TF32


def test_the_precision_of_products_is_kept_and_checked():
    assert mg.get_float32_matmul_precision() == "highest"
    with precision.float32_matmul_precision("high"):
        assert mg.get_float32_matmul_precision() == "high"
        a = numbers(3, 3)
        np.testing.assert_allclose(mg.matmul(a, a).data, a @ a)  # on the CPU it changes nothing
    assert mg.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="autocast"):
        mg.set_float32_matmul_precision("medium")
    with pytest.raises(ValueError, match="'highest' or 'high'"):
        mg.set_float32_matmul_precision("tf32")
    assert mg.get_float32_matmul_precision() == "highest"

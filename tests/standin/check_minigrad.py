"""minigrad on the stand-in: the values that NumPy gives, and no trip to the host on the way.

`tests/house/test_standin.py` runs this.
"""

import math

import cupy
import numpy as np
import pytest

import minigrad as mg
from minigrad import backend, random
from minigrad.autodiff import Tensor, gradients
from minigrad.errors import BackendError

KEY = random.key(7)

generator = np.random.default_rng(0)
A, B, C = (generator.uniform(0.2, 0.9, shape) for shape in ((2, 3, 4), (2, 3, 4), (4, 4)))
V = C[0]
IDS = np.array([2, 0, 2])
CUBE = np.array([[[0, 1, 1, 0]], [[1, 0, 0, 1]]])  # for the middle axis of A

# One line for each family of ops: a function of tensors, and what it is called with.
FAMILIES = {
    "arithmetic": (lambda a, b: (a + b) * a / b - a**b + a**3 - 2 / -b, [A, B]),
    "broadcasting": (lambda a, v: a * v + v, [A, V]),
    "scalars": (lambda a: 1 + np.float64(2) * a - np.int64(1), [A]),
    "other dtypes": (lambda a: mg.astype(mg.astype(a, dtype="float32") * 2, dtype="float64"), [A]),
    "half precision": (lambda a: mg.sum(a, axis=0), [A.astype("float16")]),
    "choice": (lambda a, b: mg.where(a > b, mg.maximum(a, b), mg.clip(a, 0.3, 0.6)), [A, B]),
    "size": (lambda a, b: mg.absolute(a - b) + mg.sign(a) + mg.minimum(a, b), [A, B]),
    "exponentials": (lambda a: mg.exp(a) + mg.log(a) + mg.expm1(a) * mg.log1p(a), [A]),
    "roots and waves": (lambda a: mg.sqrt(a) + mg.sin(a) * mg.cos(a) + mg.tanh(a), [A]),
    "activations": (lambda a: mg.relu(a - 0.5) + mg.gelu(a) + mg.sigmoid(mg.erf(a)), [A]),
    "approximate gelu": (lambda a: mg.gelu(a, approximate="tanh"), [A]),
    "masks": (lambda a, b: mg.masked_fill(a, (a > 0.5) & ~(b > 0.5) | mg.isnan(a), 0.5), [A, B]),
    "sums": (lambda a: a.sum(axis=(0, 2)) * a.mean() + mg.logsumexp(a), [A]),
    "spread": (lambda a: a.var(axis=-1, correction=1) + a.std(axis=-1), [A]),
    "extremes": (lambda a: a.max(axis=0) + a.min(axis=0, keepdims=True), [A]),
    "places": (lambda a: mg.argmax(a, axis=1) + mg.argmin(a, axis=1), [A]),
    "verdicts": (lambda a: mg.all(a > 0, axis=1) & mg.any(a > 0.8, axis=1), [A]),
    "shapes": (lambda a: mg.squeeze(mg.expand_dims(a.reshape(6, 4).T, axis=1)).ravel(), [A]),
    "axes": (lambda a: mg.moveaxis(a, 0, -1) + mg.swapaxes(a, 0, 2).transpose(1, 0, 2)[:, :1], [A]),
    "joining": (lambda a, b: mg.concatenate([a, mg.stack([b, a], axis=1)[:, 0]], axis=2), [A, B]),
    "joining many": (lambda v: mg.stack([v * i for i in range(12)]), [V]),
    "cutting": (lambda a: mg.add(*mg.split(a, 2, axis=2)), [A]),
    "triangles": (lambda a: mg.tril(a) - mg.triu(a, k=1), [A]),
    "broadcast_to": (lambda v: mg.broadcast_to(v, (3, 4)), [V]),
    "matmul": (lambda a, c: a @ c, [A, C]),
    "batched matmul": (lambda a, b: a @ mg.swapaxes(b, -1, -2), [A, B]),
    "vectors": (lambda c, v: (c @ v) * (v @ c) + v @ v, [C, V]),
    "linear": (mg.linear, [A, C, V]),
    "einsum": (lambda a, c: mg.einsum("...ij,kj->...ki", a, c) + mg.einsum("ii", c), [A, C]),
    "slices": (lambda a: a[:, ::-1, None, 1::2] + a[0, -1, 0], [A]),
    "index arrays": (lambda c, i: c[i] + c[:, i].T[:, :4] + c[i, i][:, None], [C, IDS]),
    "take": (lambda a, i: mg.take(a, i, axis=1) + mg.take(a, i)[:, None], [A, IDS]),
    "embedding": (lambda i, c: mg.embedding(i, c, padding_idx=0), [IDS, C]),
    "gather": (lambda a, i: mg.take_along_axis(a, i, axis=1) + mg.gather(a, i, axis=1), [A, CUBE]),
    "scatter": (lambda a, i, b: mg.scatter(a, i, b[:, :1], axis=1), [A, CUBE, B]),
    "index_add": (lambda c, i, d: mg.index_add(c, i, d[:3]), [C, IDS, C]),
    "index_set": (lambda c, i, d: mg.index_set(c, i, d[:2], axis=0), [C, IDS[:2], C]),
    "one_hot": (lambda i: mg.one_hot(i, num_classes=4), [IDS]),
    "softmax": (lambda a: mg.softmax(a) + mg.log_softmax(a, axis=1), [A]),
    "layer_norm": (mg.layer_norm, [A, V, V]),
    "dropout": (lambda a: mg.dropout(a, KEY, p=0.4), [A]),
    "cross_entropy": (
        lambda c, i: mg.cross_entropy(c[:3], i, label_smoothing=0.1, ignore_index=0),
        [C, IDS],
    ),
    "attention": (
        lambda q, k, v, m: mg.attention(q, k, v, m, KEY, heads=2, causal=True, dropout=0.2),
        [A, B, A, np.array([True, True, False])],
    ),
    "added mask": (mg.attention, [A, B, B, C[:3, :3]]),
    "scaled_dot_product_attention": (
        lambda q, k: mg.scaled_dot_product_attention(q, k, k, is_causal=True),
        [A, B],
    ),
}


def derivatives(function, arrays):
    """The value, and first and second derivatives, as arrays; None where there is none."""
    xs = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    leaves = [x for x in xs if x.requires_grad]
    y = function(*xs)
    found = [y]
    if y.requires_grad:
        weights = random.uniform(KEY, y.shape, xp=backend.array_module(y.data))
        first = gradients((y * y * weights).sum(), leaves, create_graph=True)
        found += first
        known = [g for g in first if g is not None and g.requires_grad]
        if known:
            found += gradients([(g * g).sum() for g in known], leaves)
        leaves[0].grad = None
        function(*xs).sum().backward()
        found.append(leaves[0].grad)
    return [None if x is None else x.data for x in found]


@pytest.mark.parametrize(("function", "arrays"), FAMILIES.values(), ids=FAMILIES)
def test_values_are_numpys_and_computed_without_a_trip(function, arrays):
    with backend.using("numpy"):
        expected = derivatives(function, arrays)
    on_device = [backend.to_device(a) for a in arrays]
    with cupy.capturing():
        found = derivatives(function, on_device)
    for y, z in zip(found, expected, strict=True):
        if z is None:
            assert y is None
        else:
            assert isinstance(y, cupy.ndarray)
            assert isinstance(z, np.ndarray)
            assert y.dtype == z.dtype
            np.testing.assert_allclose(y.get(), z, rtol=1e-12, atol=1e-13)


def test_a_network_computes_without_a_trip():
    def weight(name, *shape):
        data = random.normal(random.fold(KEY, name), shape, std=0.2, xp=cupy)
        return Tensor(data, requires_grad=True)

    embedding, q, k, v = weight("embedding", 11, 8), *(weight(n, 8, 8) for n in "qkv")
    gain, bias, out = weight("gain", 8), weight("bias", 8), weight("out", 11, 8)
    parameters = [embedding, q, k, v, gain, bias, out]
    ids = mg.tensor(np.array([[1, 4, 2, 0], [3, 9, 10, 5]]))
    cupy.synchronisations.clear()
    cupy.transfers.clear()

    def loss():
        x = mg.embedding(ids, embedding, padding_idx=0)
        h = mg.layer_norm(x, gain, bias)
        seen = (ids != 0)[:, None, None, :]
        h = mg.attention(
            mg.linear(h, q), mg.linear(h, k), mg.linear(h, v), seen, KEY, heads=2, dropout=0.1
        )
        x = x + mg.dropout(mg.gelu(h), random.fold(KEY, 1), p=0.1)
        return mg.cross_entropy(mg.linear(x, out), ids, ignore_index=0, label_smoothing=0.1)

    for _ in range(3):
        loss().backward()
        with mg.no_grad():
            for p in parameters:
                p.data -= 0.1 * p.grad.data
                p.grad = None
    assert not cupy.synchronisations
    assert not cupy.transfers
    assert 0 < loss().item() < 3 * math.log(11)
    assert cupy.synchronisations == {"item": 1}


# ----------------------------------------------------------------------- choosing, and mixing


def test_the_backend_in_force():
    assert backend.get_backend() == "cupy"
    assert "stand-in" in backend.explain()
    with backend.using("numpy"):
        assert backend.xp() is np
        assert isinstance(mg.tensor([1.0]).data, np.ndarray)
        with backend.using("cupy") as xp:
            assert xp is cupy
            assert isinstance(mg.zeros((2,)).data, cupy.ndarray)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mg.tensor([1.0, 2.0]),
        lambda: mg.tensor(np.ones(2)),
        lambda: mg.tensor(cupy.ones(2)),
        lambda: Tensor(1.5),
        lambda: mg.zeros((2, 2)),
        lambda: mg.full((2,), 3),
        lambda: mg.arange(3),
        lambda: mg.rand(2, 3),
        lambda: mg.randn(2, 3),
    ],
)
def test_new_tensors_are_on_the_device(make):
    x = make()
    assert isinstance(x.data, cupy.ndarray)
    assert type(x.numpy()) is np.ndarray
    assert "device='cuda:0'" in repr(x)


def test_tensor_copies_and_from_numpy_stays_on_the_host():
    array = cupy.ones(2)
    assert mg.tensor(array).data is not array
    assert isinstance(mg.from_numpy(np.ones(2)).data, np.ndarray)


def test_a_device_tensor_is_not_converted_in_silence():
    with pytest.raises(TypeError, match="on a device"):
        np.asarray(mg.ones((2,)))
    with pytest.raises(TypeError):
        np.spacing(mg.ones((2,)))
    assert isinstance(np.exp(mg.ones((2,))).data, cupy.ndarray)


def test_gradients_given_as_numbers_or_numpy_arrays_are_moved():
    x = mg.ones((2,), requires_grad=True)
    (x * 2).backward(np.array([1.0, 2.0]))
    (x * 2).backward([1.0, 2.0])
    assert isinstance(x.grad.data, cupy.ndarray)
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 8.0])


@pytest.mark.parametrize("wrap", [lambda x: x, Tensor], ids=["arrays", "tensors"])
@pytest.mark.parametrize(
    "mix",
    [
        lambda d, h: mg.add(d, h),
        lambda d, h: mg.matmul(h, d),
        lambda d, h: mg.where(d > 0, d, h),
        lambda d, h: mg.concatenate([d, h]),
        lambda d, h: mg.multiply(mg.softmax(d), h),
        lambda d, h: mg.linear(d, h),
        lambda d, h: mg.take(d, h.astype("int64"), axis=0),
        lambda d, h: mg.getitem(d, h > 0),
        lambda d, h: mg.embedding(h.astype("int64"), d),
        lambda d, h: mg.cross_entropy(d, h[0].astype("int64")),
        lambda d, h: mg.attention(d[None], d[None], h[None]),
        lambda d, h: mg.layer_norm(d, h[0]),
    ],
)
def test_mixing_host_and_device_raises(mix, wrap):
    device, host = cupy.ones((2, 2)), np.ones((2, 2))
    for d, h in ((device, host), (host, device)):
        with pytest.raises(BackendError, match="were mixed"):
            mix(wrap(d), wrap(h))


def test_operators_of_raw_arrays_leave_tensors_to_minigrad():
    device, host, x = cupy.ones(2), np.ones(2), mg.ones((2,))
    for y in (device + x, x + device, device @ x, device < x, np.float32(2) * x):
        assert type(y) is Tensor
        assert isinstance(y.data, cupy.ndarray)
    with pytest.raises(BackendError, match="were mixed"):
        host + x


def test_lists_are_made_where_the_array_is():
    x = mg.tensor(C)
    for found, expected in (
        (x[[2, 0]], C[[2, 0]]),
        (x[1:, [True, False, True, False]], C[1:, [True, False, True, False]]),
        (x[[]], C[[]]),
        (mg.take(x, [2, 0], axis=0), C[[2, 0]]),
        (x * [1, 2, 3, 4], C * [1, 2, 3, 4]),
        (mg.cross_entropy(x, [0, 1, 2, 3], reduction="none"), -mg.log_softmax(C).diagonal()),
    ):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_masks_wait_for_the_device_but_work():
    x = mg.tensor(C, requires_grad=True)
    cupy.synchronisations.clear()
    y = x[x > 0.5]
    assert set(cupy.synchronisations) == {"a mask as an index"}
    y.sum().backward()
    np.testing.assert_array_equal(y.detach().numpy(), C[C > 0.5])
    np.testing.assert_array_equal(x.grad.numpy(), C > 0.5)


# -------------------------------------------------------------------------------- randomness

DRAWS = {
    "bits": lambda **xp: random.bits(KEY, (3, 5), **xp),
    "uniform": lambda **xp: random.uniform(KEY, (3, 5), -1.0, 2.0, **xp),
    "uniform float64": lambda **xp: random.uniform(KEY, (3, 5), dtype="float64", **xp),
    "bernoulli": lambda **xp: random.bernoulli(KEY, 0.3, (3, 5), **xp),
    "integers": lambda **xp: random.integers(KEY, -5, 12, (3, 5), **xp),
    "normal": lambda **xp: random.normal(KEY, (3, 5), **xp),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_draws_are_bitwise_numpys(draw):
    with cupy.capturing():
        found = draw(xp=cupy)
    expected = draw(xp=np)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.get(), expected)

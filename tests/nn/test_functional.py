"""`nn.functional`: what it adds to the ops of the table, and what PyTorch's users expect of it."""

import inspect
import itertools
import math

import naive
import numpy as np
import pytest
from naive import losses as slow
from naive import pools as loops
from support import close, host, normal

import minigrad as mg
from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError
from minigrad.nn import functional as F
from minigrad.testing import check_gradients, check_op


def test_everything_is_listed_and_nothing_else():
    assert {"batch_norm", "ctc_loss", "dropout2d", "pad", "relu", "softmin"} <= set(F.__all__)
    assert not {"ShapeError", "Tensor", "array_module", "np", "ops"} & set(F.__all__)
    assert all(callable(getattr(F, name)) for name in F.__all__)


# -------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 2, 2)])
def test_batch_norm_in_training_writes_the_statistics_that_it_later_uses(shape):
    x, (w, b) = normal(*shape), (normal(3, seed=2), normal(3, seed=3))
    m, v = (Tensor(to_device(np.array(n))) for n in ([1.0, 2, 3], [1.0, 0.5, 2]))
    arrays = m.data, v.data
    axes = (0, *range(2, len(shape)))
    n, xh = x.size // 3, host(x)
    expected = [
        0.7 * host(m) + 0.3 * xh.mean(axis=axes),
        0.7 * host(v) + 0.3 * xh.var(axis=axes) * n / (n - 1),
    ]
    y = F.batch_norm(x, m, v, w, b, training=True, momentum=0.3)
    close(y, mg.batch_norm(x, weight=w, bias=b))
    assert (m.data, v.data) == arrays or all(
        a is c for a, c in zip((m.data, v.data), arrays, strict=True)
    )
    close(m, expected[0])
    close(v, expected[1])
    frozen = F.batch_norm(x, m, v, w, b)
    column = (3, *[1] * (len(shape) - 2))
    h = (xh - host(m).reshape(column)) / np.sqrt(host(v).reshape(column) + 1e-5)
    close(frozen, h * host(w).reshape(column) + host(b).reshape(column))
    close(m, expected[0])


def test_the_statistics_have_no_history_and_may_be_plain_arrays():
    x = mg.tensor(host(normal(4, 2)), requires_grad=True)
    m, v = to_device(np.zeros(2, "f4")), to_device(np.ones(2, "f4"))
    F.batch_norm(x, m, v, training=True, momentum=1.0)
    close(m, host(x).mean(axis=0), rtol=1e-6)
    assert m.dtype == np.float32
    new = mg.batch_norm_stats(x, m, v)
    assert not any(s.requires_grad for s in new)
    assert [s.dtype for s in new] == [np.float32, np.float32]


def test_a_write_of_statistics_is_noticed_by_a_walk_that_needs_them():
    x, m, v = mg.tensor(host(normal(4, 2)), requires_grad=True), mg.zeros(2), mg.ones(2)
    y = x * m
    F.batch_norm(x, m, v, training=True)
    with pytest.raises(mg.errors.GradientError):
        y.sum().backward()


def test_instance_norm_normalises_each_channel_of_each_example():
    x, (w, b) = normal(2, 3, 4), (normal(3, seed=2), normal(3, seed=3))
    m, v = mg.zeros(3), mg.ones(3)
    y = F.instance_norm(x, m, v, w, b, momentum=0.5)
    close(y, naive.norms.group_norm(host(x), 3, host(w), host(b)))
    close(m, 0.5 * host(x).mean(axis=(0, 2)), rtol=1e-5)
    close(v, 0.5 + 0.5 * host(x).var(axis=2, ddof=1).mean(axis=0), rtol=1e-5)
    close(F.instance_norm(x, m, v, w, b, False), F.batch_norm(x, m, v, w, b))


def test_norms_over_several_axes():
    x, w, b = normal(2, 3, 4), normal(3, 4, seed=2), normal(3, 4, seed=3)
    flat = host(x).reshape(2, 12)
    h = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    close(F.layer_norm(x, (3, 4), w, b), h.reshape(2, 3, 4) * host(w) + host(b))
    size = np.sqrt((flat**2).mean(1) + 0.1)[:, None, None]
    close(F.rms_norm(x, [3, 4], w, 0.1), host(x) / size * host(w))
    close(F.rms_norm(x, 4), mg.rms_norm(x))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_local_response_norm(size):
    x = normal(2, 4, 3)
    y = np.zeros(x.shape)
    for n, c, i in np.ndindex(*x.shape):
        near = range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, 4))
        total = math.fsum(host(x)[n, d, i] ** 2 for d in near)
        y[n, c, i] = host(x)[n, c, i] / (2 + 0.1 * total / size) ** 0.75
    close(F.local_response_norm(x, size, 0.1, k=2.0), y)
    check_gradients(lambda x: F.local_response_norm(x, size, 0.1), x)


def test_normalize_along_several_axes_and_by_the_largest():
    x = normal(2, 3, 4)
    close(
        F.normalize(x, axis=(1, 2)), host(x) / np.linalg.norm(host(x), axis=(1, 2))[:, None, None]
    )
    close(F.normalize(x, math.inf), host(x) / np.abs(host(x)).max(axis=1, keepdims=True))


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.group_norm(x, 2),
        lambda x: F.instance_norm(x.reshape(1, 2, -1)),
        lambda x: F.layer_norm(x, 4),
        lambda x: F.rms_norm(x, 4),
    ],
)
def test_norms_of_half_precision_sum_their_squares_in_more(norm):
    numbers = np.linspace(-3e4, 3e4, 16).reshape(2, 2, 4)
    x = mg.tensor(numbers.astype("f2"), requires_grad=True)
    y = norm(x)
    assert y.dtype == np.float16
    close(y, host(norm(to_device(numbers))), atol=3e-3)
    assert mg.gradients(mg.sum(y * y), x).dtype == np.float16


def test_norms_of_empty_arrays():
    assert F.group_norm(mg.zeros((0, 4, 3)), 2).shape == (0, 4, 3)
    assert F.batch_norm(mg.zeros((0, 4)), mg.zeros(4), mg.ones(4)).shape == (0, 4)
    assert F.rms_norm(mg.zeros((0, 4)), 4).shape == (0, 4)


# -------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize(
    ("drop", "shape", "shared"),
    [
        (F.dropout1d, (20, 30), (1,)),
        (F.dropout1d, (20, 10, 3), (2,)),
        (F.dropout2d, (20, 10, 3, 2), (2, 3)),
        (F.dropout2d, (20, 10, 3), (2,)),
        (F.dropout3d, (20, 10, 3, 2, 2), (2, 3, 4)),
        (F.dropout3d, (40, 3, 2, 2), (1, 2, 3)),
    ],
)
def test_whole_channels_are_dropped(drop, shape, shared):
    x, key = mg.ones(shape, requires_grad=True), random.key(1)
    y = host(drop(x, 0.25, key=key))
    first = y.min(axis=shared, keepdims=True)
    assert (y == first).all()
    assert set(first.ravel().tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert abs(y.mean() - 1) < 0.3
    close(mg.gradients(mg.sum(drop(x, 0.25, key=key)), x), y)
    assert drop(x, 0.25, training=False) is x


def test_alpha_dropout_keeps_mean_and_variance():
    x = mg.randn(300, 300, key=random.key(1))
    y = host(F.alpha_dropout(x, 0.3, training=True, key=random.key(2)))
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02
    assert F.alpha_dropout(x, 0.3) is x
    assert not host(F.alpha_dropout(x, 1.0, training=True)).any()


def test_a_key_draws_the_same_and_without_one_the_stream_goes_on():
    x = mg.ones(50)
    with random.stream(3):
        a, b = F.dropout(x), F.dropout(x)
    with random.stream(3):
        c = F.dropout(x)
        d = F.dropout(x, key=random.key(1))
    assert host(a).tolist() == host(c).tolist() != host(b).tolist()
    assert host(d).tolist() == host(F.dropout(x, key=random.key(1))).tolist()
    assert not host(F.dropout(x, 1.0)).any()


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_draws_classes_by_their_probabilities(hard):
    p = np.array([0.5, 0.2, 0.3])
    x = mg.tensor(np.log(p) * np.ones((4000, 1)), requires_grad=True)
    y = F.gumbel_softmax(x, 0.5, hard, key=random.key(4))
    close(mg.sum(y, axis=-1), np.ones(4000))
    assert not hard or set(host(y).round(9).ravel().tolist()) == {0.0, 1.0}
    share = np.bincount(host(y).argmax(axis=1)) / 4000
    assert abs(share - p).max() < 0.03
    assert host(mg.gradients(mg.sum(y[:, 0]), x)).any()
    assert F.gumbel_softmax(x, axis=0).shape == x.shape


# ------------------------------------------------------------------------- softmax, attention


def test_softmax_over_two_axes_together():
    x = normal(2, 3, 4)
    e = np.exp(host(x))
    p = e / e.sum(axis=(0, 2), keepdims=True)
    close(F.softmax(x, axis=(0, 2)), p)
    close(F.log_softmax(x, axis=(0, 2)), np.log(p))
    check_op(mg.softmax, x, axis=(0, 2))
    check_op(mg.log_softmax, x, axis=(0, 2))


def test_softmax_of_half_precision_sums_in_single():
    x = to_device(np.zeros((1, 70000), "f2"))
    assert F.softmax(x).dtype == np.float16
    assert host(F.softmax(x))[0, 0] == np.float16(1 / 70000)
    close(F.log_softmax(x)[0, 0], np.float16(-math.log(70000)))


def test_causal_attention_is_aligned_at_the_top_left():
    q, k = normal(2, 5, 3), normal(2, 2, 3, seed=2)
    seen = to_device(np.tril(np.ones((5, 2), bool)))
    y = F.scaled_dot_product_attention(q, k, k, is_causal=True)
    close(y, F.scaled_dot_product_attention(q, k, k, seen))
    close(y[:, 0], k[:, 0])


def test_dropout_of_attention_weights():
    q = mg.ones((2, 4, 8))
    attend = F.scaled_dot_product_attention
    key = random.key(5)
    close(attend(q, q, q, None, 0.5, key=key), attend(q, q, q, None, 0.5, key=key))
    assert host(attend(q, q, q, None, 0.5)).tolist() != host(attend(q, q, q)).tolist()
    assert not host(attend(q, q, q, dropout_p=1.0)).any()


def test_a_mask_takes_the_dtype_of_the_queries():
    q = mg.ones((2, 3, 4), requires_grad=True)
    mask = mg.tensor(np.zeros((3, 3)), requires_grad=True)
    y = F.scaled_dot_product_attention(q, q, q, mask)
    assert y.dtype == np.float32
    assert mg.gradients(y.sum(), mask).dtype == np.float64


# ---------------------------------------------------------------------------------- losses


IN_LOOPS = {
    F.cross_entropy: slow.cross_entropy, mg.cross_entropy: slow.cross_entropy,
    F.nll_loss: slow.nll_loss, mg.nll_loss: slow.nll_loss,
}  # fmt: skip


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_classes_are_along_axis_1_unless_it_is_said(loss):
    x, expected = normal(2, 5, 3), IN_LOOPS[loss]
    last, second = np.array([[0, 2, 1, 1, 2]] * 2), np.array([[0, 4, 1]] * 2)
    close(loss(x, to_device(second)), expected(host(x), second, axis=1))
    close(loss(x, to_device(last), axis=-1), expected(host(x), last, axis=-1))
    with pytest.raises(ShapeError, match=r"axis 1 .* \(2, 3\).* fits axis=-1"):
        loss(x, to_device(last))
    close(loss(x[0, 0], to_device(np.array(1))), expected(host(x)[0, 0], np.array(1)))
    same, ids = normal(3, 3, 3), np.array([[0, 1, 2]] * 3)  # both fit
    close(loss(same, to_device(ids)), expected(host(same), ids, axis=1))
    weight = np.array([1.0, 2, 4])
    close(loss(same, to_device(ids), to_device(weight)), expected(host(same), ids, weight, axis=1))


@pytest.mark.parametrize("loss", [mg.cross_entropy, mg.nll_loss])
def test_at_the_top_level_classes_are_along_the_last_axis(loss):
    same, ids = normal(3, 3, 3), np.array([[0, 1, 2]] * 3)
    close(loss(same, to_device(ids)), IN_LOOPS[loss](host(same), ids, axis=-1))
    x, second = normal(2, 5, 3), np.array([[0, 4, 1]] * 2)
    with pytest.raises(ShapeError, match=r"axis -1 .* \(2, 5\).* fits axis=1"):
        loss(x, to_device(second))


def test_probabilities_are_along_axis_1_unless_it_is_said():
    x, p = normal(2, 3, 4), mg.softmax(normal(2, 3, 4, seed=2), axis=1)
    close(F.cross_entropy(x, p), slow.cross_entropy(host(x), host(p), axis=1))
    close(F.cross_entropy(x, p, axis=-1), slow.cross_entropy(host(x), host(p), axis=-1))
    close(mg.cross_entropy(x, p), slow.cross_entropy(host(x), host(p), axis=-1))
    close(F.cross_entropy(x[0, 0], p[0, 0]), slow.cross_entropy(host(x)[0, 0], host(p)[0, 0]))


def test_a_softmax_of_more_than_two_axes_says_which():
    for function in (F.softmax, F.log_softmax, F.softmin):
        with pytest.raises(ShapeError, match=r"say which: axis=-1 is the last, .* axis 0"):
            function(normal(2, 3, 4))
        with pytest.raises(ShapeError, match="axis 1"):
            function(normal(2, 3, 4, 5))
        x = normal(2, 3)
        close(function(x), function(x, 1))
        close(function(x[0]), function(x[0], 0))
        assert host(function([[1.0, 2.0]])).shape == (1, 2)
    with pytest.raises(ShapeError, match="say which"):
        mg.nn.Softmax()(normal(2, 3, 4))
    close(mg.nn.Softmax(1)(normal(2, 3, 4)), mg.softmax(normal(2, 3, 4), axis=1))
    for function in (F.softmax, F.log_softmax, F.softmin):
        assert host(function(mg.tensor(2.0))).shape == ()


@pytest.mark.parametrize("function", [mg.softmax, mg.log_softmax, mg.softmin])
@pytest.mark.parametrize("axis", [-1, 0])
def test_a_softmax_in_another_dtype_converts_first(function, axis):
    x = mg.tensor([[30000.0, 30000.5], [1.0, 2.0]], "float16", requires_grad=True)
    y = function(x, axis=axis, dtype="float64")
    assert y.dtype == np.float64
    close(y, function(mg.astype(x, dtype="float64"), axis=axis), rtol=1e-15)
    close(getattr(F, function.__name__)(x, axis, dtype=np.float64), host(y))
    for create_graph in (False, True):
        g = mg.gradients(mg.sum(y * y), x, create_graph=create_graph, retain_graph=True)
        assert g.dtype == np.float16
    assert function(x, axis=axis, dtype="float32").dtype == np.float32
    check_gradients(lambda x: function(x, axis=axis, dtype="float64"), normal(3, 4))
    with pytest.raises(DtypeError, match="floats"):
        function(x, axis=axis, dtype="int64")


def test_options_of_losses_come_by_name():
    x = normal(2, 3)
    with pytest.raises(TypeError, match=r"mse_loss: after 2 arguments .* by name"):
        F.mse_loss(x, x, "sum")
    with pytest.raises(TypeError, match="kl_div"):
        F.kl_div(x, x, "batchmean")
    close(F.mse_loss(x, x * 2, reduction="sum"), (host(x) ** 2).sum())
    ids = to_device(np.array([0, 2]))
    squares = mg.multi_margin_loss(x, ids, p=2, margin=0.5)
    close(F.multi_margin_loss(x, ids, 2, 0.5), squares)
    assert "(x, target, *, reduction='mean')" in str(inspect.signature(F.mse_loss))


def test_integers_between_whole_limits_stay_integers():
    x = to_device(np.array([-3, 2, 9]))
    assert F.relu6(x).dtype == F.hardtanh(x, -1, 4.0).dtype == np.int64
    assert host(F.relu6(x)).tolist() == [0, 2, 6]
    assert F.hardtanh(x, -0.5, 4).dtype == F.hardtanh(x, 0, math.inf).dtype == np.float32


def test_a_clone_has_the_history_and_an_array_of_its_own():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    assert not np.shares_memory(y.detach().numpy(), x.detach().numpy())
    assert host(mg.gradients(mg.sum(y * y), x)).tolist() == [2.0, 4.0]
    ids = mg.tensor([True, False])
    assert host(ids.clone()).tolist() == [True, False]
    assert not x.copy().requires_grad


def test_transpose_of_a_matrix_is_not_left_as_it_is_in_silence():
    x = mg.tensor(np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"x\.T"):
        x.transpose(0, 1)
    assert x.transpose(1, 0).shape == x.transpose().shape == (3, 2)
    assert x.permute(0, 1).shape == x.transpose((0, 1)).shape == (2, 3)


def test_the_mean_over_targets_that_do_not_count_is_that_of_torch():
    x, ids = normal(2, 3), to_device(np.array([-100, -100]))
    for loss in (F.cross_entropy, F.nll_loss):
        top = getattr(mg, loss.__name__)
        for weight in (None, to_device(np.ones(3))):
            assert math.isnan(host(loss(x, ids, weight)))
            assert host(top(x, ids, weight)) == 0
            assert host(loss(x, ids, weight, reduction="sum")) == 0
    for expected, loss in ((math.nan, F.cross_entropy), (0.0, mg.cross_entropy)):
        fast = mg.jit(loss)
        for _ in range(3):
            np.testing.assert_equal(host(fast(x, ids)), expected)
    zero = to_device(np.array([0.0, 1, 1]))
    assert math.isnan(host(F.cross_entropy(x, to_device(np.array([0, 0])), zero)))


# ------------------------------------------------------------------------------ other shapes


@pytest.mark.parametrize(
    ("pad", "mode", "expected"),
    [
        ((1, 2), "constant", ((0, 0), (0, 0), (1, 2))),
        ((1, 2, 0, 1), "constant", ((0, 0), (0, 1), (1, 2))),
        ((1, 2, 0, 1, 3, 0), "constant", ((3, 0), (0, 1), (1, 2))),
        ((1, 2), "reflect", ((0, 0), (0, 0), (1, 2))),
        ((2, 1, 1, 0), "replicate", ((0, 0), (1, 0), (2, 1))),
        ((2, 4), "circular", ((0, 0), (0, 0), (2, 4))),
    ],
)
def test_pad_counts_from_the_last_axis(pad, mode, expected):
    x = normal(2, 3, 4)
    names = {"replicate": "edge", "circular": "wrap"}
    wanted = np.pad(host(x), expected, mode=names.get(mode, mode))
    close(F.pad(x, pad, mode), wanted)
    check_gradients(lambda x: F.pad(x, pad, mode), x)


def test_pad_crops_where_a_number_is_negative():
    x = normal(2, 3, 4)
    y = np.pad(host(x)[:, 1:, :-2], ((0, 0), (0, 2), (1, 0)), constant_values=7.0)
    close(F.pad(x, (1, -2, -1, 2), value=7.0), y)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_pad_and_crop_in_all_combinations(n, mode):
    """A window on what goes on for ever; but 'circular' goes round what is left, at most once."""
    x = np.arange(1.0, n + 1)
    at = {
        "constant": lambda i: x[i] if 0 <= i < n else 0,
        "reflect": lambda i: x[abs(i) if i < n else 2 * (n - 1) - i],
        "replicate": lambda i: x[min(max(i, 0), n - 1)],
    }
    for before, after in itertools.product(range(-n - 2, n + 3), repeat=2):
        left = x[max(-before, 0) : max(n - max(-after, 0), 0)]
        most = {"reflect": n - 1, "circular": len(left)}.get(mode, math.inf)
        if before + after + n < 0 or max(before, after, 0) > most:
            with pytest.raises(ShapeError, match="pad"):
                F.pad(mg.tensor(x), (before, after), mode)
            continue
        if mode == "circular":
            added = max(before, 0), max(after, 0)
            wanted = np.pad(left, added, "wrap") if left.size else left
        else:
            wanted = np.array([at[mode](i) for i in range(-before, n + after)])
        close(F.pad(mg.tensor(x), (before, after), mode), wanted)


def test_gradients_of_a_pad_that_crops():
    for mode in ("constant", "reflect", "replicate", "circular"):
        check_gradients(lambda x, mode=mode: F.pad(x, (2, -1, -1, 1), mode), normal(2, 3, 4))


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_and_crop_as_pytorch(mode):
    torch = pytest.importorskip("torch")
    x, same = np.arange(1.0, 6)[None], 0
    for pad in itertools.product(range(-6, 7), repeat=2):
        try:
            wanted = torch.nn.functional.pad(torch.tensor(x), pad, mode=mode).numpy()
        except RuntimeError:
            continue
        if mode == "circular" and max(pad) > max(5 + min(*pad, 0), 0):
            continue  # PyTorch gives what was in the memory
        close(F.pad(mg.tensor(x), pad, mode), wanted)
        same += 1
    assert same > 40


def test_what_came_back_several_times_shares_its_gradient():
    for kernel, stride, padding in ((3, 1, 1), (3, 2, 0), ((2, 3), 1, (0, 1))):
        x = normal(2, 3, 5, 6)
        y, ids = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
        options = {"kernel_size": kernel, "stride": stride, "padding": padding}
        back = F.max_unpool2d(y, ids, **options, output_size=x.shape)
        close(back, loops.max_unpool(2)(host(y), host(ids), **options, output_size=x.shape))
    x = mg.tensor([[5.0, 5.0, 2.0]], "float64", requires_grad=True)
    ids = to_device(np.array([[1, 1, 3]]))
    y = F.max_unpool1d(x, ids, 2, 1)
    assert host(y).tolist() == [[0, 5, 0, 2]]
    g = mg.gradients(y, x, np.array([[1.0, 4, 1, 3]]))
    assert host(g).tolist() == [[2, 2, 3]]


def test_unpooling_is_the_way_back_of_pooling():
    x = normal(2, 3, 5, 7)
    y, ids = F.max_pool2d(x, 2, return_indices=True)
    back = host(F.max_unpool2d(y, ids, 2, output_size=x.shape))
    found = np.isin(host(x), host(y))
    assert (back == np.where(found, host(x), 0)).all()


def test_a_smaller_image_without_aliases_is_a_mean_of_all_that_it_covers():
    x = normal(1, 1, 8, 8)
    for mode in ("bilinear", "bicubic"):
        y = F.interpolate(x, (1, 1), mode=mode, antialias=True)
        assert host(F.interpolate(x * 0 + 2.5, (3, 5), mode=mode, antialias=True)) == (
            pytest.approx(np.full((1, 1, 3, 5), 2.5))
        )
        assert y.shape == (1, 1, 1, 1)
        check_gradients(lambda x, m=mode: F.interpolate(x, (3, 2), mode=m, antialias=True), x)


def test_running_extremes_of_equal_numbers_and_of_nan():
    found = mg.cummax(mg.tensor([1.0, 3.0, 3.0, math.nan, 2.0]), 0)
    assert host(found.indices).tolist() == [0, 1, 2, 3, 3]
    assert host(found.values)[:3].tolist() == [1, 3, 3]
    assert np.isnan(host(found.values)[3:]).all()
    x = mg.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    g = mg.gradients(mg.sum(mg.cummax(x, 0).values), x)
    assert host(g).tolist() == [1, 1, 2, 0]
    assert mg.cummin(mg.tensor(3), 0).values.item() == 3


def test_a_running_sum_of_exponentials_does_not_overflow():
    x = to_device(np.array([1e4, -1e4, 1e4, -math.inf]))
    close(mg.logcumsumexp(x, 0), [1e4, 1e4, 1e4 + math.log(2), 1e4 + math.log(2)])
    lowest = to_device(np.array([-math.inf, -math.inf, 0.0]))
    assert host(mg.logcumsumexp(lowest, 0)).tolist() == [-math.inf, -math.inf, 0]


def test_a_product_with_zeros_has_all_its_derivatives():
    x, v = mg.ones(2, "float64", requires_grad=True), mg.tensor([0.0, 0.0, 3.0], "float64", True)
    y = mg.scatter_reduce(x, to_device(np.array([0, 0, 0])), v, 0, "prod")
    (g,) = mg.gradients(mg.sum(y), [v], create_graph=True)
    assert host(g).tolist() == [0, 0, 0]
    assert host(mg.gradients(g[0], v)).tolist() == [0, 3, 0]


def test_ties_at_a_target_share_the_gradient():
    x, v = mg.tensor([2.0, 1.0], requires_grad=True), mg.tensor([2.0, 2.0, 0.0], requires_grad=True)
    ids = to_device(np.array([0, 0, 1]))
    y = mg.scatter_reduce(x, ids, v, 0, "amax")
    gx, gv = mg.gradients(y, [x, v], np.array([3.0, 1.0]))
    assert host(gx).tolist() == [1, 1]
    assert host(gv).tolist() == [1, 1, 0]
    gx, gv = mg.gradients(mg.sum(mg.scatter_reduce(x, ids, v, 0, "amax", False)), [x, v])
    assert (host(gx).tolist(), host(gv).tolist()) == ([0, 0], [0.5, 0.5, 1])


def test_reduced_integers_stay_integers():
    x, ids = to_device(np.array([7, 5])), to_device(np.array([0, 0]))
    v = to_device(np.array([2, -3]))
    for reduce, expected in (("sum", 6), ("prod", -42), ("mean", 2), ("amax", 7), ("amin", -3)):
        y = mg.scatter_reduce(x, ids, v, 0, reduce)
        assert y.dtype == np.int64
        assert host(y).tolist() == [expected, 5]


def test_index_put_takes_what_an_index_takes():
    x = normal(3, 4)
    y = host(x).copy()
    y[1, ::2] = 7
    close(mg.index_put(x, (1, slice(None, None, 2)), 7.0), y)
    close(mg.index_put(x, [[0, 0, 2]], 1.0, accumulate=True), host(x) + np.array([[2], [0], [1]]))
    mask = host(x) > 0
    close(mg.index_put(x, (to_device(mask),), 0.0), np.where(mask, 0, host(x)))
    value = mg.tensor(3.0, "float64", requires_grad=True)
    twice = mg.index_put(x, (to_device(np.array([1, 1])),), value)
    assert host(mg.gradients(mg.sum(twice), value)) == 4  # once for each place


def test_one_hot_counts_the_classes_itself():
    ids = mg.tensor([[0, 2], [1, 0]])
    assert F.one_hot(ids).shape == (2, 2, 3)
    assert F.one_hot(ids, 5).shape == (2, 2, 5)
    assert host(F.one_hot(ids))[0].tolist() == [[1, 0, 0], [0, 0, 1]]


def test_bilinear():
    x1, x2, w, b = normal(2, 5, 3), normal(2, 5, 4), normal(6, 3, 4), normal(6)
    expected = np.einsum("...i,oij,...j->...o", *map(host, (x1, w, x2))) + host(b)
    close(F.bilinear(x1, x2, w, b), expected)


# ---------------------------------------------------------------------------------- errors

X, Q, TWO = np.ones((2, 3)), np.ones((3, 2, 2)), np.array([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: F.batch_norm(X[:1], None, None, training=True), ValueError, "more than 1|(1, 3)"),
        (lambda: F.batch_norm(X, None, None), ValueError, "batch_norm|running_mean"),
        (lambda: F.batch_norm(X[0], None, None, training=True), ShapeError, "(N, C, ...)|(3,)"),
        (lambda: F.batch_norm(X, X[0], X[0], X[0, :2]), ShapeError, "(3,)|(2,)"),
        (lambda: mg.batch_norm(X, X[0]), ValueError, "both"),
        (lambda: F.group_norm(X, 2), ShapeError, "3 channels|2 groups"),
        (lambda: F.group_norm(X[:1, :1], 1), ValueError, "more than 1"),
        (lambda: F.instance_norm(X), ValueError, "more than 1"),
        (lambda: F.instance_norm(X, use_input_stats=False), ValueError, "running_mean"),
        (lambda: F.layer_norm(X, (2,)), ShapeError, "layer_norm|(2,)|(2, 3)"),
        (lambda: F.layer_norm(X, (5, 2, 3)), ShapeError, "layer_norm|(5, 2, 3)"),
        (lambda: F.rms_norm(X, (2,)), ShapeError, "rms_norm|(2,)|(2, 3)"),
        (lambda: F.rms_norm(X, 3, X[0, :1]), ShapeError, "rms_norm|(3,)"),
        (lambda: F.local_response_norm(X, 2), ShapeError, "(2, 3)"),
        (lambda: F.dropout(X, 1.5, training=False), ValueError, "dropout|1.5"),
        (lambda: F.dropout(X, -0.1), ValueError, "dropout|-0.1"),
        (lambda: F.alpha_dropout(X, 1.5), ValueError, "1.5"),
        (lambda: F.dropout1d(X[0]), ShapeError, "dropout1d|2 or 3|(3,)"),
        (lambda: F.gumbel_softmax(X, 0), ValueError, "tau"),
        (lambda: F.softmax(X, axis=2), OutOfRangeError, "softmax|axis 2"),
        (lambda: F.scaled_dot_product_attention(X, X, X, None, 2.0), ValueError, "dropout_p|2.0"),
        (lambda: F.scaled_dot_product_attention(X, X.T, X), ShapeError, "(2, 3)|(3, 2)"),
        (lambda: F.scaled_dot_product_attention(X, X, X, np.ones((1, 1, 2, 2))), ShapeError,
         "attn_mask|(2, 2)|(1, 1, 2, 2)"),
        (lambda: F.pad(X, (1,)), ShapeError, "pad|(1,)"),
        (lambda: F.pad(X, (1, 1), "mirror"), ValueError, "'reflect'|'mirror'"),
        (lambda: F.pad(X, (3, 0), "reflect"), ShapeError, "(3, 0)|'reflect'"),
        (lambda: F.pad(X, (4, 0), "circular"), ShapeError, "(4, 0)|'circular'"),
        (lambda: F.pad(X, (-2, -2)), ShapeError, "(-2, -2)"),
        (lambda: F.pad(X, (1, 1), "reflect", 1.0), ValueError, "value"),
        (lambda: F.one_hot(np.zeros(0, int)), ShapeError, "num_classes"),
        (lambda: F.scaled_dot_product_attention(Q, Q[:2], Q[:2], enable_gqa=True), ShapeError,
         "enable_gqa|(3, 2, 2)|(2, 2, 2)"),
        (lambda: F.scaled_dot_product_attention(X, X, X, enable_gqa=True), ShapeError, "axis -3"),
        (lambda: F.interpolate(np.ones((1, 1, 2, 2), "u1"), 3, mode="bicubic"), DtypeError,
         "blends|uint8|astype"),
        (lambda: F.interpolate(Q[None], 3, mode="nearest", antialias=True), ValueError,
         "antialias|'nearest'"),
        (lambda: F.interpolate(Q, 3, mode="bicubic"), ShapeError, "'bicubic'|(3, 2, 2)|'linear'"),
        (lambda: F.lp_pool1d(Q, math.inf, 2), ValueError, "norm_type|max_pool"),
        (lambda: F.lp_pool2d(Q, 0, 2), ValueError, "norm_type|0"),
        (lambda: F.max_unpool1d(Q, np.zeros((3, 2), int), 2), ShapeError, "indices|(3, 2, 2)"),
        (lambda: F.max_unpool1d(Q[0], np.full((2, 2), 9), 2), OutOfRangeError, "9|[0, 4)"),
        (lambda: F.max_unpool1d(TWO, np.zeros((1, 2), int), 2), ShapeError, "repeated|another"),
        (lambda: F.max_unpool1d(TWO, np.array([[0, 2]]), 2, output_size=(7,)), ShapeError,
         "output_size|(4,)|(7,)"),
        (lambda: F.multilabel_margin_loss(X, np.full((2, 3), 3)), OutOfRangeError, "3|[0, 3)"),
        (lambda: F.multilabel_margin_loss(Q, Q), ShapeError, "(N, C)|(3, 2, 2)"),
        (lambda: F.gaussian_nll_loss(X, X.T, X), ShapeError, "gaussian_nll_loss|(3, 2)"),
        (lambda: mg.index_put(X, ([0, 0],), X), ShapeError, "named twice|accumulate=True"),
        (lambda: mg.index_put(X, ([2],), 1.0), OutOfRangeError, "2"),
        (lambda: mg.index_fill(X, [0], X[0], 0), ShapeError, "index_fill|one number|(3,)"),
        (lambda: mg.index_fill(X.astype(int), [0], 0.5, 0), DtypeError, "0.5|int64"),
        (lambda: mg.index_fill(X.astype(int), [0], math.nan, 0), DtypeError, "nan|int64"),
        (lambda: mg.scatter_reduce(X, [[0]], X, 0, "max"), ValueError, "'amax'|'max'"),
        (lambda: mg.scatter_reduce(X, [[0, 0, 0, 0]], X, 0, "sum"), ShapeError, "(1, 4)|(2, 3)"),
        (lambda: mg.scatter_reduce(X, [[2]], X, 0, "prod"), OutOfRangeError, "2|[-2, 2)"),
        (lambda: mg.index_reduce(X, [0], X, 0, "mean"), ShapeError, "(1,)|(2, 3)"),
        (lambda: mg.cummax(X, 2), OutOfRangeError, "cummax|axis 2"),
        (lambda: mg.logcumsumexp(X, 2), OutOfRangeError, "logcumsumexp|axis 2"),
        (lambda: mg.diag_embed(X, axis1=1, axis2=1), ShapeError, "diag_embed"),
        (lambda: mg.linalg.solve_triangular(X, X, upper=True), ShapeError, "square|(2, 3)"),
        (lambda: mg.linalg.solve_triangular(Q, Q[:, :1], upper=True), ShapeError,
         "rows|(3, 1, 2)"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected_and_what_came(call, error, fragments):
    with pytest.raises(error) as caught:
        call()
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


# -------------------------------------------------------------------------- one weight vector


def test_linear_takes_a_weight_of_one_axis():
    x, w, b = normal(2, 4, 3), normal(3, seed=2), normal(1, seed=3)[0]
    close(F.linear(x, w, b), (host(x) * host(w)).sum(-1) + host(b), rtol=1e-12)
    check_gradients(F.linear, x, w)
    with pytest.raises(ShapeError, match="linear"):
        F.linear(x, w[:2])


# --------------------------------------------------------------------- numbers drawn under vmap


def dropped(x):
    return F.dropout(x * x, 0.5, key=random.key(3))


def test_each_example_of_each_vmap_drops_elements_of_its_own():
    nested = mg.vmap(mg.vmap(dropped))(mg.ones((3, 4, 40)))
    assert len({tuple(row) for row in host(nested).reshape(12, 40).tolist()}) == 12
    shared = mg.vmap(lambda x: F.dropout1d(x, key=random.key(3)))(mg.ones((5, 40, 7)))
    assert (host(shared) == host(shared)[..., :1]).all()
    assert len({tuple(row) for row in host(shared)[..., 0].tolist()}) == 5
    alike = mg.vmap(lambda i, x: dropped(x) + i, (0, None))(mg.zeros(4), mg.ones(40))
    assert (host(alike) == host(alike)[0]).all()  # of what all examples share there is one draw


@pytest.mark.parametrize("function", [dropped, lambda x: F.alpha_dropout(x, 0.5, True)])
def test_the_gradient_drops_what_was_dropped_under_vmap(function):
    def drawn_alike(x):
        with random.stream(5):
            return function(x)

    x = Tensor(normal(3, 2, 20), requires_grad=True)
    y = mg.vmap(mg.vmap(drawn_alike))(x)
    g = mg.gradients(y.sum(), x)  # the walk back is after vmap has ended
    inside = mg.vmap(mg.vmap(mg.grad(lambda v: drawn_alike(v).sum())))(x)
    close(g, inside, rtol=1e-12)
    slopes = mg.jacrev(mg.vmap(mg.vmap(drawn_alike)))(x.detach())
    close(slopes.reshape(120, 120), np.diag(host(g).ravel()), rtol=1e-12)


def test_a_jacobian_is_that_of_a_single_draw():
    x = normal(30)
    once = host(dropped(x)) != 0
    for jacobian in (mg.jacrev, mg.jacfwd):
        found = host(jacobian(dropped)(x))
        np.testing.assert_allclose(found, np.diag(4 * host(x) * once), rtol=1e-12)


@pytest.mark.parametrize("mask", [False, True])
def test_attention_under_vmap_drops_weights_of_its_own(mask):
    q, m = normal(4, 3, 2), normal(4, 3, 3, seed=2)

    def attend(q, m):
        options = {"dropout_p": 0.5, "key": random.key(2)}
        return F.scaled_dot_product_attention(q, q, q, m if mask else None, **options)

    same = mg.stack([q[0]] * 4)
    apart = host(mg.vmap(attend)(same, mg.stack([m[0]] * 4)))
    assert len({tuple(example.ravel()) for example in apart}) == 4
    check_gradients(mg.vmap(attend), q, m) if mask else check_gradients(
        lambda q: mg.vmap(attend)(q, m), q
    )
    reverse, forward = (j(mg.vmap(attend))(q, m) for j in (mg.jacrev, mg.jacfwd))
    close(reverse, forward, rtol=1e-9, atol=1e-12)


def test_samples_of_classes_differ_from_example_to_example():
    y = mg.vmap(lambda x: F.gumbel_softmax(x, key=random.key(1)))(mg.zeros((6, 4)))
    assert len({tuple(row) for row in host(y).tolist()}) == 6


def test_third_derivatives_of_attention_forward_and_reverse():
    def loss(x):
        return (F.scaled_dot_product_attention(x, x, x, is_causal=True) ** 2).sum()

    x = normal(3, 2)
    forward = mg.jacfwd(mg.hessian(loss))(x)
    close(forward, mg.jacrev(mg.jacfwd(mg.jacrev(loss)))(x), rtol=1e-8, atol=1e-10)

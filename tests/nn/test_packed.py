"""Packed sequences, without PyTorch; `test_torch_layers.py` holds them against PyTorch's."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, host, normal

import minigrad as mg
from minigrad import nn
from minigrad.autodiff import Tensor, gradients
from minigrad.backend import to_device
from minigrad.errors import CaptureError, DtypeError, ShapeError
from minigrad.nn.utils import rnn
from minigrad.testing import check_gradients

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def test_the_path_is_that_of_pytorch():
    assert nn.utils.rnn.pack_padded_sequence is rnn.pack_padded_sequence
    assert importlib.import_module("minigrad.nn.utils.rnn").__all__ == nn.packing.__all__
    assert all(getattr(rnn, n) is getattr(nn.packing, n) for n in rnn.__all__)


def test_an_example():
    x = np.array([[1, 2, 0], [3, 4, 5], [6, 0, 0]])  # (B, T)
    packed = rnn.pack_padded_sequence(to_device(x), [2, 3, 1], True, False)
    assert packed.data.tolist() == [3, 1, 6, 4, 2, 5]
    assert packed.batch_sizes == (3, 2, 1)
    assert packed.batch_sizes.tolist() == list(packed.batch_sizes.numpy()) == [3, 2, 1]
    assert packed.batch_sizes.shape == (3,)
    assert packed.sorted_indices.tolist() == [1, 0, 2]
    assert packed.unsorted_indices.tolist() == [1, 0, 2]
    y, lengths = rnn.pad_packed_sequence(packed, True, padding_value=9, total_length=4)
    assert y.tolist() == [[1, 2, 9, 9], [3, 4, 5, 9], [6, 9, 9, 9]]
    assert lengths.tolist() == [2, 3, 1]
    assert lengths.dtype == y.dtype == np.int64
    assert [s.tolist() for s in rnn.unpack_sequence(packed)] == [[1, 2], [3, 4, 5], [6]]
    ordered = rnn.pack_padded_sequence(to_device(x[[1, 0, 2]]), np.array([3, 2, 1]), True)
    assert ordered.data.tolist() == packed.data.tolist()
    assert ordered.sorted_indices is ordered.unsorted_indices is None
    assert [s.tolist() for s in rnn.unpack_sequence(ordered)] == [[3, 4, 5], [1, 2], [6]]


@settings(deadline=None)
@given(LENGTHS)
def test_what_is_packed_comes_back(lengths):
    xs = [normal(n, 2, seed=i) for i, n in enumerate(lengths)]
    back = rnn.unpack_sequence(rnn.pack_sequence(xs, enforce_sorted=False))
    for x, y in zip(xs, back, strict=True):
        np.testing.assert_array_equal(host(x), host(y))
    padded = rnn.pad_sequence(xs, padding_value=3.0)
    assert padded.shape == (max(lengths), len(lengths), 2)
    for b, x in enumerate(rnn.unpad_sequence(padded, lengths)):
        np.testing.assert_array_equal(host(x), host(xs[b]))
        assert (host(padded)[lengths[b] :, b] == 3).all()
    left = host(rnn.pad_sequence(xs, True, padding_side="left"))
    for b, x in enumerate(xs):
        np.testing.assert_array_equal(left[b, max(lengths) - len(x) :], host(x))
        assert not left[b, : max(lengths) - len(x)].any()


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
@settings(max_examples=25, deadline=None)
@given(lengths=LENGTHS)
def test_each_packed_sequence_goes_its_own_way(kind, bidirectional, lengths):
    layer = kind(2, 3, 2, bidirectional=bidirectional, dtype="float64")
    xs = [normal(n, 2, seed=i) for i, n in enumerate(lengths)]
    tracked = [Tensor(x, requires_grad=True) for x in xs]
    sizes = (2 * (1 + bidirectional), len(xs), 3)
    states = tuple(normal(*sizes, seed=i) for i in (7, 8)[: 1 + (kind is nn.LSTM)])
    y, ends = layer(rnn.pack_sequence(tracked, enforce_sorted=False), states)
    assert type(y) is rnn.PackedSequence
    ends = ends if isinstance(ends, tuple) else (ends,)
    alone_loss = 0.0
    for b, one in enumerate(rnn.unpack_sequence(y)):
        alone, alone_ends = layer(xs[b], tuple(v[:, b] for v in states))
        close(one, alone, atol=1e-12)
        alone_ends = alone_ends if isinstance(alone_ends, tuple) else (alone_ends,)
        for end, alone_end in zip(ends, alone_ends, strict=True):
            close(end[:, b], alone_end, atol=1e-12)
        alone_loss = alone_loss + (alone * alone).sum() + alone_ends[0].sum()
    loss = (y.data * y.data).sum() + ends[0].sum()
    names = dict(layer.named_parameters())
    together = gradients(loss, [*tracked, *names.values()])
    apart = gradients(alone_loss, list(names.values()))
    for g, h, name in zip(together[len(xs) :], apart, names, strict=True):
        close(g, h, atol=1e-10, err_msg=name)


def test_gradients_to_second_order():
    layer = nn.GRU(2, 2, bidirectional=True, dtype="float64").requires_grad_(False)

    def function(x, h):
        packed = rnn.pack_padded_sequence(x, [1, 3], enforce_sorted=False)
        y, end = layer(packed, h)
        both = mg.concatenate([rnn.pad_packed_sequence(y)[0].reshape(-1), end.reshape(-1)])
        return both if type(x) is Tensor else both.data

    check_gradients(function, normal(3, 2, 2), normal(2, 2, 2))


def test_lengths_may_be_all_that_holds_integers():
    x = normal(4, 3)
    wanted = rnn.pack_padded_sequence(x, [4, 2, 1]).data
    for lengths in (
        (4, 2, 1), np.array([4, 2, 1], "int32"), to_device(np.array([4, 2, 1])),
        Tensor([4, 2, 1]), [np.int64(4), Tensor(2), 1],
    ):  # fmt: skip
        np.testing.assert_array_equal(host(rnn.pack_padded_sequence(x, lengths).data), host(wanted))


def test_a_packed_sequence_may_be_made_by_hand():
    packed = rnn.pack_padded_sequence(normal(4, 3, 2), [2, 4, 1], enforce_sorted=False)
    data = packed.data * 2
    made = rnn.PackedSequence(data, packed.batch_sizes, packed.sorted_indices)
    assert made.unsorted_indices.tolist() == packed.unsorted_indices.tolist()
    close(rnn.pad_packed_sequence(made)[0], 2 * host(rnn.pad_packed_sequence(packed)[0]))
    close(packed._replace(data=data).data, made.data)
    bare = rnn.PackedSequence(normal(5, 2), np.array([3, 2]))
    assert rnn.pad_packed_sequence(bare)[1].tolist() == [2, 2, 1]
    assert rnn.invert_permutation(to_device(np.array([2, 0, 1]))).tolist() == [1, 2, 0]
    assert rnn.invert_permutation(None) is None


def test_layers_that_know_steps_alone_work_on_the_data():
    packed = rnn.pack_padded_sequence(normal(4, 3, 2), [4, 2, 1])
    linear = nn.Linear(2, 5, dtype="float64")
    y, lengths = rnn.pad_packed_sequence(packed._replace(data=linear(packed.data)))
    assert y.shape == (4, 3, 5)
    assert lengths.tolist() == [4, 2, 1]


def test_sizes_are_part_of_a_program():
    layer = nn.LSTM(2, 3, bidirectional=True)
    step = mg.jit(lambda packed: rnn.pad_packed_sequence(layer(packed)[0])[0])
    for lengths in ([4, 2, 1], [4, 2, 1], [4, 2, 1], [3, 3, 1], [4, 2, 2], [4, 2, 1]):
        x = normal(4, 3, 2, seed=sum(lengths)).astype("float32")
        packed = rnn.pack_padded_sequence(x, lengths)
        close(step(packed), rnn.pad_packed_sequence(layer(packed)[0])[0].detach(), rtol=1e-5)


def test_packing_within_a_captured_step():
    layer = nn.GRU(2, 3)

    def step(x, lengths):
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(packed)[0])[0]

    fast = mg.jit(step)
    for lengths in ([1, 4, 2], [1, 4, 2], [1, 4, 2], [4, 1, 1]):
        x = normal(4, 3, 2, seed=lengths[0]).astype("float32")
        close(fast(x, lengths), step(x, lengths).detach(), rtol=1e-5, atol=1e-6)
    with pytest.raises(CaptureError, match="lengths; as a list they are part of a program"):
        mg.jit(step)(x, np.array([4, 2, 1]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rnn.pack_padded_sequence(normal(4, 3), [1, 3, 2]), ShapeError,
         r"lengths must fall, got \[1 3 2\]; enforce_sorted=False sorts"),
        (lambda: rnn.pack_padded_sequence(normal(4, 3), [3, 2]), ShapeError, "3 sequences and 2"),
        (lambda: rnn.pack_padded_sequence(normal(3, 4), [3, 2, 1]), ShapeError,
         "4 sequences and 3 lengths; with batch_first=True there are 3"),
        (lambda: rnn.pack_padded_sequence(normal(4, 2), [5, 2]), ShapeError, "from 1 to 4"),
        (lambda: rnn.pack_padded_sequence(normal(4, 2), [4, 0]), ShapeError, "from 1 to 4"),
        (lambda: rnn.pack_padded_sequence(normal(4, 2), [4.0, 2.0]), DtypeError, "integers in one"),
        (lambda: rnn.pack_padded_sequence(normal(4), [4]), ShapeError, r"\(T, B, ...\)"),
        (lambda: rnn.pack_padded_sequence(normal(4, 0), []), ShapeError, "from 1 to 4"),
        (lambda: rnn.pad_packed_sequence(rnn.pack_sequence([normal(4)]), total_length=3),
         ShapeError, "3 is less than the longest, 4"),
        (lambda: rnn.pad_packed_sequence(normal(4, 2)), TypeError, "expected a PackedSequence"),
        (lambda: rnn.unpack_sequence([normal(4, 2)]), TypeError, "expected a PackedSequence"),
        (lambda: rnn.pad_sequence([]), ShapeError, "there are no sequences"),
        (lambda: rnn.pad_sequence([normal(2, 3), normal(2, 4)]), ShapeError, "alike beyond"),
        (lambda: rnn.pad_sequence([normal(2)], padding_side="top"), ValueError, "'left' or"),
        (lambda: rnn.pack_sequence([normal(1), normal(2)]), ShapeError, "lengths must fall"),
        (lambda: rnn.unpad_sequence(normal(4, 2), [5, 1]), ShapeError, "2 lengths from 0 to 4"),
        (lambda: rnn.PackedSequence(normal(4, 2), [1, 3]), ShapeError, "not rise"),
        (lambda: rnn.PackedSequence(normal(4, 2), [3, 2]), ShapeError, "adds up to, 5"),
        (lambda: nn.GRU(3, 2)(rnn.pack_sequence([normal(4, 2)])), ShapeError, r"be \(steps, 3\)"),
        (lambda: nn.GRU(2, 2)(rnn.pack_sequence([normal(4, 2)]), normal(1, 2, 2)), ShapeError,
         r"first state must have shape \(1, 1, 2\)"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()

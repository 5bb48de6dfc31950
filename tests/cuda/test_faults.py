"""Faults on a device: told at the next transfer, as the host tells them, and nothing waits."""

import contextlib
import re

import cupy
import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.autodiff import Tensor
from minigrad.errors import MinigradError

X, TABLE = np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(0, 1, 10).reshape(5, 2)
IDS = np.array([[0, 1], [5, -7]])
LOGITS, TARGETS = np.linspace(-1, 1, 12).reshape(4, 3), np.array([0, 3, 1, 2])
LABELS = np.array([0, -100, 7, 2])
UP = np.array([0.5, 1.5])

# Each: a function of arrays, and its arrays. The last one of integers has what is wrong.
FAULTS = {
    "embedding": (lambda w, i: mg.embedding(i, w), [TABLE, IDS]),
    "embedding, negative": (lambda w, i: mg.embedding(i, w), [TABLE, np.array([0, -1])]),
    "embedding, gradient": (
        lambda w, i: mg.sum(mg.embedding(i, w.requires_grad_())).backward(),
        [TABLE, IDS],
    ),
    "take": (lambda x, i: mg.take(x, i, axis=1), [X, np.array([3, 4])]),
    "take, flattened": (lambda x, i: mg.take(x, i), [X, np.array(12)]),
    "take_along_axis": (
        lambda x, i: mg.take_along_axis(x, i, axis=1), [X, np.array([[0], [4], [1]])],
    ),
    "gather": (lambda x, i: mg.gather(x, i, axis=0), [X, IDS]),
    "index_select": (lambda x, i: mg.index_select(x, i, 0), [X, np.array([1, -4])]),
    "getitem": (lambda x, i: x[i], [X, np.array([2, 3])]),
    "getitem, second axis": (lambda x, i: x[..., i], [X, np.array([[0], [-5]])]),
    "getitem, after a mask": (
        lambda x, i: x[mg.Tensor(backend.to_device(np.array([True, False, True]))), i],
        [X, np.array([0, 4])],
    ),
    "index_put": (lambda x, i: mg.index_put(x, (i,), 2.0), [X, np.array([0, 3])]),
    "index_add": (lambda x, i: mg.index_add(x, i, 1.0), [X, np.array([0, 3])]),
    "index_set": (lambda x, i: mg.index_set(x, i, 1.0, axis=1), [X, np.array([0, 5])]),
    "scatter": (lambda x, i: mg.scatter(x, i, 1.0, axis=0), [X, IDS]),
    "scatter_add": (lambda x, i: mg.scatter_add(x, i, 1.0, axis=0), [X, IDS]),
    "scatter_reduce": (
        lambda x, i: mg.scatter_reduce(x, i, x[:2, :2], 0, "amax"),
        [X, IDS],
    ),
    "one_hot": (lambda i: mg.one_hot(i, num_classes=4), [IDS]),
    "cross_entropy": (mg.cross_entropy, [LOGITS, TARGETS]),
    "cross_entropy, ignored": (mg.cross_entropy, [LOGITS, LABELS]),
    "nll_loss": (mg.nll_loss, [LOGITS, TARGETS]),
    "multi_margin_loss": (mg.multi_margin_loss, [LOGITS, TARGETS]),
    "unravel_index": (lambda i: mg.stack(mg.unravel_index(i, (2, 2))), [IDS]),
    "ravel_multi_index": (lambda i: mg.ravel_multi_index((i, i), (2, 9)), [IDS]),
    "int32": (lambda w, i: mg.embedding(i, w), [TABLE, IDS.astype("int32")]),
    "uint8": (lambda w, i: mg.embedding(i, w), [TABLE, IDS.astype("uint8")]),
    "not contiguous": (lambda w, i: mg.embedding(i, w), [TABLE, IDS.T]),
    "vmap": (lambda w, i: mg.vmap(lambda j: mg.take(w, j, axis=0))(i), [TABLE, IDS[:1] + 4]),
    "an index named twice": (lambda x, i: mg.index_set(x, i, x[:2]), [X, np.array([1, 1])]),
    "twice, counted from the end": (
        lambda x, i: mg.index_set(x, i, x[:2]), [X, np.array([2, -1])],
    ),
    "scattered twice": (
        lambda x, i: mg.scatter(x, i, x[:2, :2], axis=-1), [X, np.array([[0, 1], [3, 3]])],
    ),
    "put twice": (lambda x, i: mg.index_put(x, (i, i), x[0, :2]), [X, np.array([1, 1])]),
    "probabilities": (lambda x: mg.binary_cross_entropy(x, x * 0), [UP]),
    "masked_scatter": (lambda x: mg.masked_scatter(x, x > -2, x[0]), [X]),
    "edges": (lambda x: mg.histogram(x, x[::-1])[0], [UP]),
    "weights": (lambda x, i: mg.cov(x, fweights=i), [X, np.array([1, -1, 1, 1])]),
}  # fmt: skip


def of(arrays, move=backend.to_device):
    return [Tensor(move(a)) for a in arrays]


@contextlib.contextmanager
def no_waiting():
    """Nothing in the block waits for the device, where there is a way to tell."""
    with cupy.capturing() if hasattr(cupy, "capturing") else contextlib.nullcontext():
        yield


WAITING = ("getitem, after a mask",)  # for how many there are
TEXTS = {
    "masked_scatter": "more elements are to be replaced",  # which are not counted on a device
    "vmap": "take: index 5 at position (0, 1) is out of range [-5, 5)",  # NumPy says less
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_at_the_next_transfer_as_on_the_host(name):
    function, arrays = FAULTS[name]
    with backend.using("numpy"), pytest.raises((MinigradError, ValueError)) as expected:
        function(*of(arrays, np.asarray))
    on_device = of(arrays)
    probe = mg.ones((2,))
    with no_waiting() if name not in WAITING else contextlib.nullcontext():
        function(*on_device)  # may give anything
    line = function.__code__.co_firstlineno if hasattr(function, "__code__") else 0
    with pytest.raises((MinigradError, ValueError)) as caught:
        (probe + 1).numpy()
    assert isinstance(expected.value, type(caught.value))
    told, text = str(caught.value), str(expected.value).partition(" (inputs: ")[0]
    if name in TEXTS:
        assert TEXTS[name] in told
    else:
        assert told.startswith(text)
    at = re.search(r" \(on the device, in the call at (.*):(\d+)\)$", told)
    assert at, told
    assert at[1] == __file__
    assert not line or line <= int(at[2]) <= line + 3 or "vmap" in told
    # It is over, and what comes after works.
    assert (probe + 1).numpy().tolist() == [2, 2]
    found = mg.embedding(backend.to_device(np.array([[1], [0]])), backend.to_device(TABLE))
    np.testing.assert_array_equal(backend.to_numpy(found), TABLE[[[1], [0]]])


def test_of_many_faults_the_first_is_told():
    ids = np.zeros(1500, "int64")
    ids[[1400, 300, 700, 1100]] = [-9, 9, 99, 10**12]
    mg.take(mg.ones((5,)), backend.to_device(ids))
    mg.take(mg.ones((5,)), backend.to_device(ids[::-1] * 2))
    with pytest.raises(MinigradError, match="take: index 9 at position 300 is out of range"):
        mg.ones((2,)).numpy()
    mg.ones((2,)).numpy()


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.item(), float, bool, int, lambda x: x.tolist(), repr, lambda x: x.numpy(),
        lambda x: backend.to_numpy(x.data), lambda x: format(x, ".2f"), lambda x: 1.0 in x[None],
    ],
)  # fmt: skip
def test_whatever_waits_tells_it(read):
    x = mg.ones(()) * 3
    mg.one_hot(backend.to_device(np.array([2])), num_classes=2)
    with pytest.raises(MinigradError, match="one_hot: index 2 at position 0 is out of range"):
        read(x)
    read(x)


def test_calls_are_forgotten_but_for_those_of_programs():
    from minigrad.kernels.cuda import faults

    def tell(position, value):
        return MinigradError(f"{value} at {position}")

    def found(number):
        faults.words()[...] = backend.to_device(np.array([number, 5, 7, 0]))
        with pytest.raises(MinigradError) as caught:
            faults.check()
        return str(caught.value)

    with faults.lasting():
        lasting = faults.note(tell, "here:1")
    first = faults.note(tell, "here:2")
    assert found(first) == "7 at 5 (on the device, in the call at here:2)"
    for _ in range(faults.KEPT):
        faults.note(tell, "there:1")
    assert found(lasting) == "7 at 5 (on the device, in the call at here:1)"
    assert "7 at position 5" in found(first)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda x, ids: mg.embedding(ids, x), "embedding: index 1 at position 0 is out of range"),
        (lambda x, ids: mg.take(x, ids, axis=0), "take: index 1 at position 0 is out of range"),
        (lambda x, ids: x[ids], "index 1 is out of bounds for axis 0 with size 0"),
        (lambda x, ids: mg.cross_entropy(x.T, ids), "cross_entropy: index 1 at position 0"),
    ],
)
def test_an_id_into_nothing_is_told_once_and_at_once(use, message):
    x = mg.zeros((0, 2))
    with pytest.raises(MinigradError, match=message):
        use(x, backend.to_device(np.array([1, 2])))
    assert mg.ones((2,)).numpy().tolist() == [1, 1]  # nothing is left to tell


def test_a_step_on_the_device_that_is_fine_stays_so():
    weight = Tensor(backend.to_device(TABLE), requires_grad=True)
    ids = backend.to_device(np.abs(IDS) % 5)
    for _ in range(3):
        with no_waiting():
            loss = mg.cross_entropy(mg.embedding(ids.reshape(-1), weight), ids.reshape(-1) % 2)
            loss.backward()
    assert loss.item() > 0

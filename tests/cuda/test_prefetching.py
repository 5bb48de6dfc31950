"""The loader's prefetching on CuPy; tests/data/test_prefetch.py has its promises about order."""

from typing import NamedTuple

import cupy
import numpy as np
import pytest
from support import host, same

import minigrad as mg
from minigrad import data, nn
from minigrad.learner import Learner

X = np.arange(60, dtype=np.float32).reshape(20, 3)
WORKERS = [{}, {"num_workers": 2, "worker_type": "thread"}]


class Pair(NamedTuple):
    x: object
    rest: dict


class Rows(data.Dataset):
    """Items with parts of all kinds."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return Pair(
            X[i],
            {
                "name": str(i),
                "number": i,
                "tensor": mg.from_numpy(X[i, ::-1]),  # not contiguous
                "nothing": np.zeros((0, 2)),
                "half": X[i].astype("float16"),
                "swapped": X[i].astype(">f8"),
                "flag": i % 2 == 0,
            },
        )


def parts(batch):
    return [batch.x, *batch.rest.values()]


@pytest.mark.parametrize("options", WORKERS)
@pytest.mark.parametrize("as_arrays", [False, True])
def test_batches_are_those_without(options, as_arrays):
    with mg.device("cuda"):
        one = list(data.DataLoader(Rows(), 3, True, as_arrays=as_arrays, **options))
        two = list(
            data.DataLoader(Rows(), 3, True, as_arrays=as_arrays, pin_memory=True, **options)
        )
    assert len(one) == len(two) == 7
    for a, b in zip(one, two, strict=True):
        assert type(b) is Pair
        for x, y in zip(parts(a), parts(b), strict=True):
            assert type(x) is type(y)
            if not isinstance(x, list):
                assert isinstance(y if as_arrays else y.data, cupy.ndarray)
                same(x, y, strict=True)
            else:
                assert x == y


def test_what_is_there_already_stays():
    with mg.device("cuda"):
        x = cupy.asarray(X)
        for batch in data.DataLoader(data.TensorDataset(x), 5, pin_memory=True):
            assert isinstance(batch[0].data, cupy.ndarray)
    with mg.device("cpu"):
        [x] = data.DataLoader(X, 20, pin_memory=True)
        assert type(x.data) is np.ndarray
    with mg.device("cuda"):
        assert all(
            type(x) is np.ndarray
            for x in data.DataLoader(X, 5, pin_memory=True).as_numpy_iterator()
        )


class Stream(data.IterableDataset):
    def __iter__(self):
        return iter(X)


@pytest.mark.parametrize("dataset", [X, Stream()], ids=["rows", "stream"])
def test_going_on_in_the_midst_of_an_epoch(dataset):
    with mg.device("cuda"):
        whole = list(data.DataLoader(dataset, 3, pin_memory=True))
        loader = data.DataLoader(dataset, 3, pin_memory=True)
        for number, _ in enumerate(loader):
            if number == 2:
                break
        state = loader.state_dict()
        assert state["batch"] == 3
        other = data.DataLoader(dataset, 3, pin_memory=True)
        other.load_state_dict(state)
        for x, y in zip(whole[3:], other, strict=True):
            same(x, y)


def test_a_batch_is_overwritten_by_none_that_follows():
    with mg.device("cuda"):
        kept = list(data.DataLoader(X, 1, pin_memory=True))
    same(np.concatenate([host(x) for x in kept]), X)


def test_a_learner_prefetches():
    def train(device):
        with mg.device(device), mg.random.stream(0):
            model = nn.Linear(3, 1)
            learner = Learner(model, "sgd", loss="mse_loss", verbose=0, jit=False)
            learner.fit((X / 60, X[:, :1] / 60), epochs=2, batch_size=4)
        return host(model.weight)

    np.testing.assert_allclose(train("cuda"), train("cpu"), rtol=1e-4)

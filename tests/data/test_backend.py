"""The loader on whichever array module computes: it hands out arrays of the backend in force.

Nothing here asks whether arrays lie on the host; inputs are made by `device` and read by `host`.
"""

import numpy as np
import pytest
from support import host

import minigrad as mg
from minigrad import data
from minigrad.backend import array_module, to_device, xp

X, Y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10)
WORKERS = [{}, {"num_workers": 2, "worker_type": "thread"}, {"num_workers": 1}]


class Rows(data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        return {"x": X[i], "y": i, "name": str(i)}


@pytest.mark.parametrize("options", WORKERS)
@pytest.mark.parametrize("pin", [False, True])
def test_batches_are_of_the_backend_in_force(options, pin):
    loader = data.DataLoader(Rows(), 4, True, pin_memory=pin, **options)
    for batch in loader:
        assert type(batch["x"]) is type(batch["y"]) is mg.Tensor
        assert array_module(batch["x"].data, batch["y"].data) is xp()
        assert not batch["x"].requires_grad
        np.testing.assert_array_equal(host(batch["x"]), X[host(batch["y"])])
        assert batch["name"] == [str(i) for i in host(batch["y"])]
        assert array_module((batch["x"] * 2).data) is xp()
    arrays = data.DataLoader(Rows(), 4, as_arrays=True)
    assert all(array_module(b["x"]) is xp() and type(b["x"]) is not mg.Tensor for b in arrays)


@pytest.mark.parametrize("options", WORKERS[:2])
def test_data_on_the_device_stay_there(options):
    dataset = data.TensorDataset(mg.Tensor(to_device(X)), to_device(Y))
    assert array_module(dataset[3][0].data) is xp()
    seen = []
    for x, y in data.DataLoader(dataset, 4, True, **options):
        assert array_module(x.data, y.data) is xp()
        np.testing.assert_array_equal(host(x), X[host(y)])
        seen += host(y).tolist()
    assert sorted(seen) == list(range(10))
    items = [dataset[i] for i in range(4)]
    [(x, y)] = data.DataLoader(items, 4)
    assert array_module(x.data) is xp()
    [x_train, x_test] = data.train_test_split(to_device(X))
    assert array_module(x_train) is array_module(x_test) is xp()
    [ragged] = data.DataLoader(
        [to_device(X[0]), to_device(X[0, :1])], 2, collate_fn=data.PaddedCollate()
    )
    assert host(ragged).tolist() == [[0, 1], [0, 0]]


def test_numpy_on_request():
    for x in data.DataLoader(X, 4, shuffle=True).as_numpy_iterator():
        assert type(x) is np.ndarray
    with mg.backend.using("numpy"):
        [x] = data.DataLoader(X, 10)
        assert type(x.data) is np.ndarray

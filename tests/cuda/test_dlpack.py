"""Arrays on a device are handed over by DLPack, with the stream and the device asked for."""

import cupy
import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import to_numpy
from minigrad.errors import MinigradError


def test_what_is_asked_for_is_passed_on():
    x = mg.arange(6.0).reshape(2, 3)
    assert x.__dlpack_device__() == (2, 0)
    for options in (
        {"stream": 1, "max_version": (1, 0)},
        {"stream": 1, "dl_device": (2, 0), "copy": False},
        {"dl_device": (1, 0), "max_version": (1, 0)},
    ):
        assert "dltensor" in repr(x.__dlpack__(**options))


def test_memory_is_shared_on_the_device():
    x = mg.arange(3.0)
    other = cupy.from_dlpack(x)
    other[...] = 7.0
    assert x.tolist() == [7, 7, 7]
    y = mg.from_dlpack(other, device="cuda", copy=False)
    y.data[...] = 8.0
    assert x.tolist() == [8, 8, 8]
    z = mg.from_dlpack(x, copy=True)
    z.data[...] = 9.0
    assert x.tolist() == [8, 8, 8]


def test_numpy_gets_a_copy_if_it_asks_for_one():
    x = mg.arange(3.0)
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(x)
    copied = np.from_dlpack(x, device="cpu")
    assert copied.tolist() == [0, 1, 2]
    with pytest.raises((BufferError, ValueError)):
        np.from_dlpack(x, device="cpu", copy=False)


def test_between_host_and_device():
    array = np.arange(3.0)
    there = mg.from_dlpack(array, device="cuda:0")
    assert there.device == "cuda:0"
    back = mg.from_dlpack(there, device="cpu")
    assert type(back.data) is np.ndarray
    np.testing.assert_array_equal(to_numpy(back.data), array)
    for source, device in ((array, "cuda"), (there, "cpu")):
        with pytest.raises(BufferError, match=f"to {device} it is copied"):
            mg.from_dlpack(source, device=device, copy=False)


def test_a_copy_to_the_host_tells_faults():
    x = mg.arange(3.0)
    mg.one_hot(mg.tensor([5]), num_classes=2)
    with pytest.raises(MinigradError, match="one_hot: index 5"):
        np.from_dlpack(x, device="cpu")

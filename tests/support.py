"""What tests of several files share."""

import contextlib
import importlib
import pkgutil
from dataclasses import dataclass

import numpy as np
import pytest

from minigrad import nn, optim
from minigrad.autodiff import Tensor
from minigrad.backend import synchronize, to_device, to_numpy


def host(x):
    """The values that a Tensor or array has now, on the host."""
    return np.array(to_numpy(x.data if type(x) is Tensor else x))


def close(a, b, **options):
    np.testing.assert_allclose(host(a), host(b), **options)


def same(a, b, **options):
    np.testing.assert_array_equal(host(a), host(b), **options)


@contextlib.contextmanager
def refuses(error, match=None):
    """`pytest.raises`, in which a device is waited for: it tells faults when it is."""
    with pytest.raises(error, match=match) as caught:  # noqa: PT012
        yield caught
        synchronize()


def same_state(a, b):
    """That two dictionaries have the same arrays under the same names."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


def host_normal(*shape, seed=0, dtype="float64"):
    """Normal numbers, others for each shape and seed, as a NumPy array."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def normal(*shape, seed=0, dtype="float64"):
    """The same as an array of the backend in force."""
    return to_device(host_normal(*shape, seed=seed, dtype=dtype))


def parameter(*shape, seed=0, dtype="float64"):
    return nn.Parameter(host_normal(*shape, seed=seed, dtype=dtype))


def every_kernel():
    """Every kernel of the pages that there are, by 'page.name'."""
    from minigrad import kernels
    from minigrad.kernels.machine import Kernel

    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": kernel
        for inner in pkgutil.iter_modules(kernels.__path__, "minigrad.kernels.")
        for module in [importlib.import_module(inner.name)]
        for name, kernel in vars(module).items()
        if type(kernel) is Kernel and kernel.__module__ == module.__name__
    }


def set_gradient(p, g):
    p.grad = None if g is None else Tensor(to_device(np.asarray(g, p.dtype)))


# Every optimizer, some in several ways: its class and options.
EVERY = {
    "SGD": (optim.SGD, {}),
    "SGD momentum": (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    "Adam": (optim.Adam, {"weight_decay": 0.1}),
    "AMSGrad": (optim.Adam, {"weight_decay": 0.1, "amsgrad": True}),
    "AdamW": (optim.AdamW, {"weight_decay": 0.3}),
    "AdamW up": (optim.AdamW, {"weight_decay": 0.3, "maximize": True}),
    "Adagrad": (optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
    "RMSprop": (optim.RMSprop, {}),
    "RMSprop all": (optim.RMSprop, {"momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    "Lion": (optim.Lion, {}),
    "Adafactor": (optim.Adafactor, {"weight_decay": 0.1}),
    "SparseAdam": (optim.SparseAdam, {}),
    "NAdam": (optim.NAdam, {"weight_decay": 0.1}),
    "RAdam": (optim.RAdam, {"weight_decay": 0.3, "decoupled_weight_decay": True}),
    "Adamax": (optim.Adamax, {}),
    "Adadelta": (optim.Adadelta, {"weight_decay": 0.1}),
    "ASGD": (optim.ASGD, {"t0": 2, "lambd": 0.1}),
    "Rprop": (optim.Rprop, {}),
}


def names_in(directory):
    """What is in a directory, hidden files too."""
    return sorted(path.name for path in directory.iterdir())


def same_arrays(got, expected):
    """That loaded arrays are those that were saved, and such as one can go on with."""
    assert sorted(got) == sorted(expected)
    for name, array in expected.items():
        assert type(got[name]) is np.ndarray
        assert got[name].dtype == array.dtype.newbyteorder("=")
        assert got[name].shape == array.shape
        np.testing.assert_array_equal(got[name], array)  # NaN equals NaN
        assert got[name].flags.writeable
        assert got[name].flags.c_contiguous
        assert got[name].flags.aligned


@dataclass
class Result:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()

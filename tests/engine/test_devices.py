"""Tensors and models move between devices and dtypes, and say where they are.

What needs a device, as moving to one does, is in tests/cuda/test_moving.py.
"""

import numpy as np
import pytest
from support import close, host

import minigrad as mg
from minigrad import nn, optim
from minigrad.devices import Device
from minigrad.errors import BackendError, OutOfMemoryError, StateError


def test_a_device_is_a_text_with_its_parts():
    assert (mg.device("cpu").type, mg.device("cpu").index) == ("cpu", None)
    assert (Device("cuda").type, Device("cuda").index) == ("cuda", None)
    assert (Device("cuda:3").type, Device("cuda:3").index) == ("cuda", 3)
    assert Device("cuda:3") == "cuda:3"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:1", 0, None])
def test_what_is_no_device(name):
    with pytest.raises(BackendError, match=r"device: expected 'cpu', 'cuda' or .*got"):
        Device(name)


def test_on_the_host():
    with mg.device("cpu"):
        x = mg.ones((2, 3), requires_grad=True)
    assert x.device == "cpu"
    assert type(x.data) is np.ndarray
    assert x.to("cpu") is x.cpu() is x.to(x) is x
    assert mg.zeros(2, device="cpu").device == "cpu"


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.to("float64"),
        lambda x: x.to(np.float64),
        lambda x: x.to(np.dtype("float64")),
        lambda x: x.to(dtype="float64"),
        lambda x: x.to(x.device, "float64"),
        lambda x: x.to(device=x.device, dtype="float64", non_blocking=True),
        lambda x: x.to(mg.zeros(3, dtype="float64")),
        lambda x: x.to(mg.zeros(3, dtype="float64").data),
    ],
)
def test_to_a_dtype_and_back_goes_the_gradient(move):
    x = mg.ones((2, 3), requires_grad=True)
    y = move(x)
    assert y.dtype == "float64"
    (y * y).sum().backward()
    assert x.grad.dtype == "float32"
    close(x.grad, np.full((2, 3), 2.0))


def test_what_to_does_not_take():
    x = mg.ones(2)
    for wrong in ("flaot32", "gpu:0", object()):
        with pytest.raises(BackendError, match="expected"):
            x.to(wrong)
    with pytest.raises(BackendError, match="to: name a device"):
        x.to()
    with pytest.raises(BackendError, match="two dtypes were given"):
        x.to("float32", "float64")
    with pytest.raises(BackendError, match=r"Module.to: expected a device"):
        nn.Linear(2, 2).to("flaot32")


def test_a_module_goes_to_a_dtype_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weight, mean = model[0].weight, model[1].running_mean
    weight.grad = mg.ones(weight.shape)
    before = host(weight)
    assert model.to("float64") is model
    assert model[0].weight is weight
    assert weight.dtype == weight.grad.dtype == mean.dtype == np.float64
    assert model[1].num_batches_tracked.dtype == np.int64, "integers stay what they are"
    close(weight, before)
    assert model(mg.ones((5, 3), dtype="float64")).dtype == np.float64
    assert {p.dtype for p in model.to("float32").parameters()} == {np.dtype("float32")}


def test_tied_parameters_stay_tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[1].bias.data = model[0].bias.data  # not the tensor, but its array
    model.to("float64")
    assert model[1].weight is model[0].weight
    assert model[1].bias.data is model[0].bias.data


def test_a_lazy_layer_cannot_move_yet():
    with pytest.raises(StateError, match="call the model once"):
        nn.Sequential(nn.LazyLinear(3)).to("float64")


def test_a_model_moves_before_its_optimizer():
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model, lr=0.1)
    model(mg.ones((1, 3))).sum().backward()
    optimizer.step()
    model.zero_grad()
    model.to("float64")
    model(mg.ones((1, 3), dtype="float64")).sum().backward()
    with pytest.raises(TypeError, match="make another optimizer"):
        optimizer.step()
    new = optim.Adam(model, lr=0.1)
    new.step()
    assert {p.dtype for p in model.parameters()} == {np.dtype("float64")}


def test_a_step_that_is_captured_moves_nothing():
    @mg.jit
    def step(x):
        return (x.to(x.device) * 2).to("float64")

    for _ in range(4):
        assert step(mg.ones(3)).dtype == np.float64


# ----------------------------------------------------------------------------------- memory


def test_a_report_lists_what_is_held():
    before = {x.nbytes for x in mg.memory.live()}
    nbytes = max(before, default=0) + 4096
    x = mg.zeros(nbytes, dtype="uint8", device="cpu")
    largest = mg.memory.live()[0]
    assert largest[:4] == (nbytes, "uint8", (nbytes,), "a tensor")
    text = str(mg.memory.memory_report("cpu"))
    assert str(largest) in text
    assert "used" in text.splitlines()[0]
    del x
    assert all(x.nbytes != nbytes for x in mg.memory.live())


def test_who_holds_it():
    model = nn.Linear(1000, 333)
    x = mg.ones((7, 1000), requires_grad=True)
    y = mg.exp(x) * 3.0
    names = {live.shape: live.what for live in mg.memory.live()}
    assert names[333, 1000] == "'parameter'"
    model.parameters()
    names = {live.shape: live.what for live in mg.memory.live()}
    assert names[333, 1000] == "'weight'"
    found = [live.what for live in mg.memory.live() if live.shape == (7, 1000)]
    assert "gives 'multiply'" in found
    assert "kept by 'exp'" in found
    optimizer = optim.SGD(model, momentum=0.9)
    # (On a device parameters have some room between them.)
    found = {live.what for live in mg.memory.live() if live.shape >= (333 * 1001,)}
    assert "weights of SGD" in found
    assert "momentum_buffer of SGD" in found
    del y, optimizer


def test_the_line_is_known_once_it_is_tracked():
    with mg.track_memory():
        x = mg.exp(mg.ones((13, 1001)))
    y = mg.exp(mg.ones((13, 1002)))
    by_shape = {live.shape: live for live in mg.memory.live()}
    assert "test_devices.py:" in by_shape[13, 1001].line
    assert by_shape[13, 1002].line == ""
    assert "made at" in str(by_shape[13, 1001])
    with mg.detect_anomaly():
        z = mg.exp(mg.ones((13, 1003)))
    assert "test_devices.py:" in {live.shape: live for live in mg.memory.live()}[13, 1003].line
    del x, y, z


@pytest.fixture
def greedy():
    """An op that finds no memory, forward with n=1 and backward always."""

    @mg.primitive
    def greedy(xp, x, *, n):
        if n:
            raise MemoryError("Unable to allocate 8.00 EiB")
        return x + 0.0

    def rule(g, _y, _x, *, n):
        raise MemoryError

    return greedy.vjps(rule)


def test_an_op_without_memory_says_who_has_it(greedy):
    kept = mg.ones((777, 1234), device="cpu")
    with mg.track_memory(), pytest.raises(OutOfMemoryError) as caught:
        greedy(kept, n=1)
    assert isinstance(caught.value, MemoryError)
    text = str(caught.value)
    assert text.startswith(
        "greedy: there is not enough memory (inputs: float32 (777, 1234)); Unable to allocate 8.00"
    )
    assert "float32 (777, 1234)  a tensor" in text
    assert "Make the batch smaller" in text
    kept.requires_grad_()
    y = greedy(kept, n=0).sum()
    with pytest.raises(OutOfMemoryError, match=r"the rule of 'greedy': there is not enough memory"):
        y.backward()


def test_numpy_without_memory():
    x = mg.Tensor(np.ones((1 << 20, 1), "float32"))
    wide = mg.Tensor(np.broadcast_to(np.float32(1), (1, 1 << 40)))
    with pytest.raises(
        OutOfMemoryError, match=r"add: .*float32 \(1048576, 1\), float32 \(1, 10995"
    ):
        mg.add(x, wide)


def test_limits_are_for_devices():
    with mg.device("cpu"):
        with pytest.raises(BackendError, match="ulimit"):
            mg.memory.set_memory_limit(0.5)
        mg.memory.empty_cache()
        assert mg.memory.memory_report().device == "cpu"

"""Tensors and models move to a device and back, with their gradients."""

import cupy
import numpy as np
import pytest
from support import close, host

import minigrad as mg
from minigrad import backend, nn, optim
from minigrad.errors import BackendError, CaptureError


@pytest.fixture(autouse=True)
def on_the_host():
    with backend.using("numpy"):
        yield


def test_there_and_back_goes_the_gradient():
    x = mg.randn(3, 4, requires_grad=True)
    y = x.to("cuda:0")
    assert isinstance(y.data, cupy.ndarray)
    assert y.device == "cuda:0"
    assert (y.device.type, y.device.index) == ("cuda", 0)
    assert y.to("cuda") is y.cuda() is y.cuda(0) is y.to(y) is y
    (y * y).sum().cpu().backward()
    assert type(x.grad.data) is np.ndarray
    close(x.grad, 2 * host(x))
    x.grad = None
    (g,) = mg.gradients((x.cuda().cpu() ** 3).sum(), [x], create_graph=True)
    (g * g).sum().backward()  # second derivatives cross, too
    close(x.grad, 2 * 3 * host(x) ** 2 * 6 * host(x), rtol=1e-5)


def test_to_a_device_and_a_dtype():
    x = mg.ones(3, requires_grad=True)
    y = x.to("cuda", "float64")
    assert (y.device, y.dtype) == ("cuda:0", np.float64)
    z = mg.ones(3).to(y)
    assert (z.device, z.dtype) == ("cuda:0", np.float64)
    y.sum().backward()
    assert (x.grad.device, x.grad.dtype) == ("cpu", np.float32)


def test_what_is_made_in_a_block_is_made_there():
    device = mg.device("cuda:0")
    with device:
        assert mg.zeros(2).device == "cuda:0"
        assert nn.Linear(2, 2).weight.device == "cuda:0"
        with mg.device("cpu"), device:
            assert mg.rand(2).device == "cuda:0"
        with mg.device("cpu"):
            assert mg.rand(2).device == "cpu"
        assert mg.tensor([1, 2]).device == "cuda:0"
    assert mg.zeros(2).device == "cpu"
    with pytest.raises(ZeroDivisionError), device:
        _ = 1 / 0
    assert mg.zeros(2).device == "cpu"


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: mg.zeros(2, **o), lambda **o: mg.ones((2,), **o), lambda **o: mg.empty(2, **o),
        lambda **o: mg.full(2, 7.0, **o), lambda **o: mg.eye(3, **o), lambda **o: mg.arange(3, **o),
        lambda **o: mg.tensor([1.0], **o), lambda **o: mg.asarray(np.ones(2), **o),
        lambda **o: mg.asarray(mg.ones(2), **o), lambda **o: mg.rand(2, **o),
        lambda **o: mg.randn(2, **o), lambda **o: mg.randint(0, 9, (2,), **o),
    ],
)  # fmt: skip
def test_factories_take_a_device(make):
    with mg.random.stream(3):
        here = make(device="cpu")
    with mg.random.stream(3), mg.device("cuda"):
        there = make()
    with mg.random.stream(3):
        named = make(device="cuda:0")
    assert (here.device, there.device, named.device) == ("cpu", "cuda:0", "cuda:0")
    if host(here).dtype.kind != "f" or np.isfinite(host(there)).all():  # empty has rubbish
        close(named, there)


def test_a_device_that_is_not_there():
    count = cupy.cuda.runtime.getDeviceCount()
    for act in (
        lambda name: mg.ones(2).to(name),
        lambda name: mg.zeros(2, device=name),
        lambda name: nn.Linear(2, 2).to(name),
        lambda name: mg.device(name).__enter__(),
    ):
        with pytest.raises(BackendError, match=rf"no 'cuda:{count}' here; there is 'cuda:0'"):
            act(f"cuda:{count}")
    assert mg.zeros(2).device == "cpu"


def test_devices_are_not_mixed():
    with pytest.raises(BackendError, match=r"x\.to\('cuda'\) or x\.to\('cpu'\)"):
        mg.ones(2) + mg.ones(2, device="cuda")
    with pytest.raises(BackendError, match=r"x\.to"):
        nn.Linear(2, 2)(mg.ones((1, 2), device="cuda"))


if cupy.cuda.runtime.getDeviceCount() > 1:

    def test_of_several_devices_one_computes():
        with mg.device("cuda:1"):
            x = mg.ones((2, 3), requires_grad=True)
            y = x * 2
            assert x.device == y.device == "cuda:1"
            assert x.to("cuda") is x
        with mg.device("cuda:0"):
            for act in (lambda: x * 2, lambda: mg.ones((2, 3)) + x):
                with pytest.raises(BackendError, match=r"with mg.device\('cuda:1'\):"):
                    act()
            z = x.to("cuda")
            assert z.device == "cuda:0"
            z.sum().backward()
        assert x.grad.device == "cuda:1"
        close(x.grad, np.ones((2, 3)))
        model = nn.Linear(2, 2).to("cuda:0")
        optimizer = optim.SGD(model)
        model.to("cuda:1")
        with mg.device("cuda:1"):
            model(mg.ones((1, 2))).sum().backward()
            with pytest.raises(BackendError, match="has moved to cuda:1"):
                optimizer.step()


def test_a_model_moves_in_place_and_trains():
    def train(model, device):
        optimizer = optim.Adam(model, lr=0.1)
        for i in range(3):
            x = mg.Tensor(np.sin(np.arange(12.0) + i).reshape(4, 3).astype("float32")).to(device)
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            model.zero_grad()
        return optimizer

    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    twin = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    twin.load_state_dict(model.state_dict())
    weight = model[1].weight
    assert model.to("cuda:0") is model
    assert model[1].weight is weight
    assert {x.device for x in (*model.parameters(), *model.buffers())} == {"cuda:0"}
    ours, theirs = train(model, "cuda"), train(twin, "cpu")
    for name, x in twin.state_dict().items():
        close(model.state_dict()[name], x, rtol=1e-4, atol=1e-5)

    model.cpu()
    model(mg.ones((4, 3))).sum().backward()
    with pytest.raises(BackendError, match=r"has moved to cpu; .*load_state_dict"):
        ours.step()
    new = optim.Adam(model, lr=0.1)
    new.load_state_dict(ours.state_dict())
    twin(mg.ones((4, 3))).sum().backward()
    new.step()
    theirs.step()
    for name, x in twin.state_dict().items():
        close(model.state_dict()[name], x, rtol=1e-4, atol=1e-5)


def test_gradients_move_with_a_model():
    model = nn.Linear(3, 2)
    model(mg.ones((1, 3))).sum().backward()
    before = host(model.weight.grad)
    model.cuda()
    assert model.weight.grad.device == "cuda:0"
    close(model.weight.grad, before)


def test_a_transformer_that_has_run_moves():
    """What a model keeps beside parameters and buffers, as a table of positions, follows."""
    model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
    src, tgt = mg.randn(2, 5, 8), mg.randn(2, 4, 8)
    before = host(model(src, tgt))
    model.to("cuda")
    close(model(src.to("cuda"), tgt.to("cuda")), before, rtol=1e-4, atol=1e-5)
    model.to("cpu")
    close(model(src, tgt), before)


def test_under_vmap():
    x = mg.randn(3, 4, requires_grad=True)
    y = mg.vmap(lambda row: (row.to("cuda") * 2).to("cpu").sum())(x)
    y.sum().backward()
    close(x.grad, np.full((3, 4), 2.0))


def test_no_move_is_captured():
    @mg.jit
    def step(x):
        return (x * 2).to("cuda").sum()

    with pytest.raises(CaptureError, match=r"x\.to\('cuda:0'\).*move it before the step"):
        step(mg.ones(3))

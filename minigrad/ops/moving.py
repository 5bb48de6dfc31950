"""The op behind `Tensor.to`: the same numbers on another device."""

from minigrad.autodiff import Tensor, primitive
from minigrad.backend import refuse_while_capturing
from minigrad.devices import Device, device_of, move

__all__: list[str] = []


@primitive
def _moved(xp, x, *, target, source):
    """`x`, which is on the device `source`, on `target`; the gradient goes the way back."""
    return move(x, Device(target))


_moved.vjps(lambda g, _y, _x, *, target, source: moved(g, Device(source)))


def moved(x, device: Device):
    """A Tensor or array on a device; itself if it is there already.

    Raises:
        BackendError: there is no such device.
        CaptureError: it would have to move, and a step is being captured.
    """
    array = x._data if type(x) is Tensor else x
    source = device_of(array)
    if device.type == "cuda" and device.index is None:
        with device.entered() as module:
            device = Device(f"cuda:{module.cuda.runtime.getDevice()}")
    if source == device:
        return x
    refuse_while_capturing(
        f"x.to('{device}')", f"moves the tensor from {source}; move it before the step"
    )
    with source.entered():  # an op is called on the device where its inputs are
        return _moved(x, target=str(device), source=str(source))


def to(x, device: Device | None, dtype) -> Tensor:
    """The Tensor `x` on a device and in a dtype; None leaves it as it is."""
    if device is not None:
        x = moved(x, device)
    if dtype is not None and dtype != x.dtype:
        with device_of(x._data).entered():
            x = x.astype(dtype)
    return x

"""The stand-in's devices, of which `minigrad.backend` asks the name."""

from cupy._devices import COUNT, Device, present  # noqa: F401
from cupy._ndarray import count, synchronisations


class runtime:
    """CUDA's runtime, as far as it is asked."""

    @staticmethod
    def getDeviceCount() -> int:
        return COUNT

    @staticmethod
    def getDevice() -> int:
        return present()

    @staticmethod
    def getDeviceProperties(device: int) -> dict[str, bytes]:
        return {"name": b"stand-in"}

    @staticmethod
    def deviceSynchronize() -> None:
        count(synchronisations, "deviceSynchronize")

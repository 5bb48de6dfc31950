"""The stand-in's one device, of which `minigrad.backend` asks the name."""

from cupy._ndarray import count, synchronisations


class runtime:
    """CUDA's runtime, as far as it is asked."""

    @staticmethod
    def getDeviceCount() -> int:
        return 1

    @staticmethod
    def getDeviceProperties(device: int) -> dict[str, bytes]:
        return {"name": b"stand-in"}

    @staticmethod
    def deviceSynchronize() -> None:
        count(synchronisations, "deviceSynchronize")

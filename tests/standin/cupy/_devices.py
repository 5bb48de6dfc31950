"""The stand-in's devices, two of them: which one is present, and which one an array lies on."""

import threading

COUNT = 2

_local = threading.local()


def present() -> int:
    """The device that computes in this thread."""
    return _stack()[-1]


def _stack() -> list[int]:
    if not hasattr(_local, "stack"):
        _local.stack = [0]
    return _local.stack


class Device:
    """A device by its number; in a `with` block, or after `use`, it is the present one."""

    def __init__(self, device: "int | Device | None" = None):
        self.id = present() if device is None else int(getattr(device, "id", device))

    def use(self) -> None:
        if not 0 <= self.id < COUNT:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        _stack()[-1] = self.id

    def __enter__(self) -> "Device":
        _stack().append(present())
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        _stack().pop()

    compute_capability = "90"

    @property
    def attributes(self) -> dict[str, int]:
        return {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": 227 * 1024}

    @property
    def mem_info(self) -> tuple[int, int]:
        from cupy.cuda import runtime

        return runtime.memGetInfo()

    def synchronize(self) -> None:
        from cupy.cuda import runtime

        runtime.deviceSynchronize()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __int__(self) -> int:
        return self.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

"""What CUDA's runtime raises."""


class CUDARuntimeError(RuntimeError):
    """An error of the runtime, with its name."""

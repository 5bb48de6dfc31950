"""What computes here, and with how many threads."""

import os
import platform
import sys

from minigrad import backend, kernels
from minigrad.kernels import get_num_threads, set_num_threads

__all__ = ["get_num_threads", "set_num_threads", "show_config"]


def show_config() -> str:
    """What computes here, line by line: print it, and put it into a report of an error.

    Threads have one owner. Eager products use the threads of the BLAS as it was told to; the
    programs of `mg.jit` use `get_num_threads()` threads of their own, on each of which the BLAS is
    single-threaded meanwhile.
    """
    decided = kernels.in_use()
    use = "not decided yet" if decided is None else "in use" if decided else "off"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": ", ".join(
            f"{name} {found}"
            for name in ("minigrad", "numpy", "scipy", "numba", "cupy-cuda12x", "cupy-cuda13x")
            if (found := _version(name)) is not None
        ),
        "backend": backend.explain(),
        "kernels": f"{use}; MINIGRAD_KERNELS={os.environ.get('MINIGRAD_KERNELS', '')!r}",
        "threads": f"{get_num_threads()} for programs of mg.jit, {cores} cores for this process",
        "BLAS": _blas(),
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}}  {value}" for name, value in lines.items())


def _version(package: str) -> str | None:
    from importlib import metadata  # 10 ms that `import minigrad` does without

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    """The library behind NumPy's products, as NumPy was built."""
    import numpy as np

    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name = f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()
    if "minigrad.kernels.blas" in sys.modules:
        from minigrad.kernels import blas

        name += "; programs call " + blas.source()
    return name

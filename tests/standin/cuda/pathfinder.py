"""In place of `cuda.pathfinder`: it finds the stand-in for cuBLAS, and nothing else."""

from typing import NamedTuple

from cupy._cublas import library


class DynamicLibNotFoundError(RuntimeError):
    """A library is nowhere."""


class LoadedDL(NamedTuple):
    """A library that was found."""

    abs_path: str


def load_nvidia_dynamic_lib(name: str) -> LoadedDL:
    """Where a library lies."""
    if name != "cublas":
        raise DynamicLibNotFoundError(f"the stand-in has no library {name!r}")
    return LoadedDL(str(library()))

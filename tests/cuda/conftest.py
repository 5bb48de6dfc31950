"""Kernels for CUDA: on a device, or on the stand-in that `tests/house/test_standin.py` puts there.

    pytest -m gpu tests/cuda

Without CuPy, or without a device for it, nothing is collected here.
"""

from importlib.util import find_spec

import pytest


def _device():
    if find_spec("cupy") is None:
        return False
    import cupy

    return cupy.is_available()


if not _device():
    collect_ignore_glob = ["*.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "cuda":
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def on_the_device():
    """New arrays are CuPy's."""
    from minigrad.backend import using

    with using("cupy"):
        yield

"""What holds for every test: their order, and that the ops which one makes end with it."""

import sys

import on_device
import pytest

LONG = ("test_standin.py", "test_kernels_and_formulas.py", "test_cuda_sources.py")


def pytest_configure(config):
    # With `-n`: a process that has nothing left to do takes over tests of another, which as it is
    # would be given nearly all long ones.
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "worksteal"
    if on_device.asked_for(config):
        on_device.begin(config)


def pytest_collection_modifyitems(config, items):
    """Long tests first: last, they would keep one process busy after the others have ended."""
    if on_device.asked_for(config):
        on_device.mark(items)
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def own_ops():
    """An op that a test makes is gone after it."""
    from minigrad.operations import REGISTRY  # not before a plugin has put a backend in place

    before = set(REGISTRY)
    yield
    if faults := sys.modules.get("minigrad.kernels.cuda.faults"):
        faults.check()  # one that no test has waited for is a fault of that test
    for name in REGISTRY.keys() - before:
        if "." in name:  # it has its module before its name; ours have not
            del REGISTRY[name]

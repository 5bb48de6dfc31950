"""Compiling ahead: what is compiled, who is told, and what happens when a helper fails."""

import numpy as np
import pytest
from support import every_kernel

from minigrad import kernels
from minigrad.errors import StateError
from minigrad.kernels import updates, warming


def test_names_that_stand_for_nothing_are_refused():
    with pytest.raises(ValueError, match="expected 'all' or one of transformer, search"):
        kernels.warm_up("x")


def test_all_means_every_kernel_once():
    names = warming.names_of("all")
    assert len(names) == len(set(names))
    loops = {kernel.loop.__name__ for kernel in every_kernel().values()}
    assert loops | {*updates.RULES, "run"} <= set(names)
    assert set(warming.TRANSFORMER) <= loops
    assert {name for name in names if not name.startswith("search.")} == loops | {
        *updates.RULES, "run"
    }  # fmt: skip


@pytest.mark.parametrize("name", [*warming.KERNELS, *updates.RULES, "run"])
def test_what_is_compiled_is_then_there(name, monkeypatch):
    """Both the loop for programs, and what is called on arrays."""
    compiled, calls = [], []
    if (kernel := warming.KERNELS.get(name)) is not None:
        address = kernel.address
        monkeypatch.setattr(kernel, "address", lambda t: compiled.append(t) or address(t))
        if kernel._direct is not None:
            call = kernel.call
            monkeypatch.setattr(
                kernel, "call", lambda *a, **o: calls.append(a[0].dtype) or call(*a, **o)
            )
    warming.compile_one(name)
    if kernel is not None:
        assert compiled[0] == np.float32
        given = [np.float32]
        assert calls == (given if kernel.example is not None else [])


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled here, without compiling; the first begins as if it were not on disk."""
    found = []
    monkeypatch.setattr(warming, "compile_one", found.append)
    return found


def test_every_kernel_is_reported_once_it_is_there(compiled):
    told = []
    warming._Warming(["a", "b", "c"], told.append, helpers=0).work()
    assert compiled == ["a", "b", "c"]
    assert [(w.name, w.done, w.total) for w in told] == [("a", 1, 3), ("b", 2, 3), ("c", 3, 3)]


def test_what_a_helper_dies_of_is_done_here(compiled, monkeypatch):
    monkeypatch.setattr(warming.sys, "executable", "/nonexistent/python")
    warming_up = warming._Warming(["a", "b", "c"], None, helpers=2)
    warming_up.begins("a")
    warming_up.work()
    assert sorted(compiled) == ["a", "b", "c"]


def test_an_error_of_the_report_comes_to_the_caller(compiled):
    def fail(warm):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        warming._Warming(["a", "b"], fail, helpers=0).work()
    assert compiled == ["a"]


def test_a_very_long_message_of_the_library_is_cut_where_it_is_shown():
    error = StateError("begin" + "x" * 100_000 + "end")
    assert len(str(error)) < 4000
    assert str(error).startswith("begin")
    assert str(error).endswith("xend")
    assert len(error.args[0]) == 100_008

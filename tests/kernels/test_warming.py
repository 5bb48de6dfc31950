"""Compiling ahead: what is compiled, who is told, and what happens when a helper fails."""

import pytest

from minigrad import kernels
from minigrad.errors import StateError
from minigrad.kernels import cpu, machine, warming


def test_names_that_stand_for_nothing_are_refused():
    with pytest.raises(ValueError, match="expected 'all' or one of transformer, search"):
        kernels.warm_up("x")


def test_all_means_every_kernel_once():
    names = warming.names_of("all")
    assert len(names) == len(set(names))
    assert set(machine.HANDLERS) | set(cpu.__all__) - {"warm_up", "adam_step"} <= set(names)
    assert set(warming.TRANSFORMER) <= {*machine.HANDLERS, "run"}


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

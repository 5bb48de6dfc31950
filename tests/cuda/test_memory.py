"""Memory on a device: reports, limits, and errors that say who has it."""

import cupy
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.errors import OutOfMemoryError


@pytest.fixture(autouse=True)
def on_the_host():
    with backend.using("numpy"):
        yield


def test_a_report_of_a_device():
    with mg.device("cuda"):
        x = mg.zeros((1000, 999))
        report = mg.memory.memory_report()
        assert report.device == "cuda:0"
        assert 0 < report.free <= report.total
        assert report.pools["of CuPy"] == (report.used, report.cached)
        mine = [live for live in report.largest if live.shape == (1000, 999)]
        assert mine[0].nbytes == 3_996_000
        assert str(report).startswith("cuda:0: ")
        assert "pool of CuPy: " in str(report)
    assert mg.memory.memory_report("cuda").total == report.total
    assert x.shape not in [live.shape for live in mg.memory.memory_report("cpu").largest]


def test_limits_and_the_cache():
    pool = cupy.get_default_memory_pool()
    with mg.device("cuda"):
        try:
            mg.memory.set_memory_limit(1 << 30)
            assert pool.get_limit() == mg.memory.memory_report().limit == 1 << 30
            mg.memory.set_memory_limit(0.5)
            total = cupy.cuda.runtime.memGetInfo()[1]
            assert abs(pool.get_limit() - total / 2) <= 1
            for wrong in (-1, 1.5):
                with pytest.raises(ValueError, match="a fraction from"):
                    mg.memory.set_memory_limit(wrong)
        finally:
            mg.memory.set_memory_limit(None)
        assert mg.memory.memory_report().limit is None
        mg.memory.empty_cache()


def test_private_pools_are_reported_while_their_owner_lives():
    class Program:
        pass

    class Pool:
        def used_bytes(self):
            return 300

        def total_bytes(self):
            return 500

    owner = Program()
    mg.memory.register_pool("of a program", Pool(), owner)
    report = mg.memory.memory_report("cuda")
    assert report.pools["of a program"] == (300, 200)
    assert report.used == 300 + report.pools["of CuPy"][0]
    del owner
    assert "of a program" not in mg.memory.memory_report("cuda").pools


def test_a_device_that_is_full_says_who_has_it():
    x = mg.ones((1000, 1000), device="cuda")
    pool = cupy.get_default_memory_pool()
    with mg.device("cuda"), mg.track_memory():
        y = mg.exp(x)
        mg.memory.empty_cache()
        mg.memory.set_memory_limit(pool.total_bytes() + 1_000_000)
        try:
            with pytest.raises(OutOfMemoryError) as caught:
                mg.log(y)
        finally:
            mg.memory.set_memory_limit(None)
    text = str(caught.value)
    assert text.startswith("log: there is not enough memory (inputs: float32 (1000, 1000)); ")
    assert "pool of CuPy: " in text
    assert "float32 (1000, 1000)  gives 'exp'" in text or "float32 (1000, 1000)  a tensor" in text
    assert "test_memory.py:" in text
    assert isinstance(caught.value.__cause__, MemoryError)

"""Which array module computes: the order in which it is chosen, and what is said about it."""

import contextvars
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.backend import array_module, is_array, to_device, to_numpy
from minigrad.errors import BackendError

ABSENT = "CuPy cannot be imported (No module named 'cupy')"


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """No choice made yet; what a test sets with `set_backend` ends with it."""
    monkeypatch.delenv("MINIGRAD_BACKEND", raising=False)
    token = backend.modes.set(backend.Modes())
    yield
    backend.modes.reset(token)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(backend, "_cupy_or_reason", lambda: (None, ABSENT))


@pytest.fixture
def present(monkeypatch):
    """A stand-in for CuPy, just enough to be chosen."""
    cupy = SimpleNamespace(__name__="cupy")
    monkeypatch.setattr(backend, "_cupy_or_reason", lambda: (cupy, "a CUDA device computes (X1)"))


# -------------------------------------------------------------------------- the order of choice


def test_auto_takes_cupy_where_it_computes(present):
    assert backend.get_backend() == "cupy"
    assert backend.explain() == "backend cupy (the default: auto); a CUDA device computes (X1)"


def test_auto_takes_numpy_otherwise(absent):
    assert backend.get_backend() == "numpy"
    assert backend.explain() == f"backend numpy (the default: auto); cupy was rejected: {ABSENT}"


def test_the_environment_is_stronger_than_auto(present, monkeypatch):
    monkeypatch.setenv("MINIGRAD_BACKEND", "numpy")
    assert backend.get_backend() == "numpy"
    assert backend.explain() == "backend numpy (MINIGRAD_BACKEND); CuPy was not tried"


def test_the_program_is_stronger_than_the_environment(present, monkeypatch):
    monkeypatch.setenv("MINIGRAD_BACKEND", "numpy")
    backend.set_backend("cupy")
    assert backend.get_backend() == "cupy"
    assert backend.explain().startswith("backend cupy (chosen by the caller: cupy)")
    backend.set_backend("auto")
    assert backend.get_backend() == "cupy"


def test_a_block_is_stronger_than_what_was_set(present):
    backend.set_backend("cupy")
    with backend.using("numpy") as xp:
        assert xp is np
        assert backend.get_backend() == "numpy"
        with backend.using("cupy"):
            assert backend.get_backend() == "cupy"
        assert backend.get_backend() == "numpy"
    assert backend.get_backend() == "cupy"


def test_a_block_ends_with_an_exception(present):
    with pytest.raises(ZeroDivisionError), backend.using("numpy"):
        raise ZeroDivisionError
    assert backend.get_backend() == "cupy"


def test_a_choice_stays_in_its_context(present):
    contextvars.copy_context().run(backend.set_backend, "numpy")
    assert backend.get_backend() == "cupy"


def test_recording_and_backend_are_switched_apart(absent):
    with mg.no_grad(), backend.using("numpy"):
        assert not backend.modes.get().recording
        with mg.enable_grad():
            assert backend.modes.get() == backend.Modes(True, "numpy")


# --------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "choose", [backend.set_backend, lambda name: backend.using(name).__enter__()]
)
def test_an_unknown_name_is_refused(choose):
    with pytest.raises(
        BackendError, match=r"unknown backend 'torch'; expected one of auto, numpy, cupy"
    ):
        choose("torch")
    assert backend.modes.get() == backend.Modes()


def test_an_unknown_name_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("MINIGRAD_BACKEND", "jax")
    with pytest.raises(BackendError, match="MINIGRAD_BACKEND: unknown backend 'jax'"):
        backend.xp()


def test_cupy_asked_for_by_name_and_absent(absent, monkeypatch):
    with pytest.raises(BackendError) as caught:
        backend.set_backend("cupy")
    assert (
        str(caught.value) == f"backend 'cupy' (chosen by the caller): {ABSENT}; or choose 'numpy'"
    )
    assert backend.get_backend() == "numpy", "nothing has changed"
    with pytest.raises(BackendError), backend.using("cupy"):
        pass
    monkeypatch.setenv("MINIGRAD_BACKEND", "cupy")
    assert backend.explain() == f"backend cupy (MINIGRAD_BACKEND) cannot be used: {ABSENT}"
    with pytest.raises(BackendError, match=r"\(MINIGRAD_BACKEND\).*cannot be imported"):
        mg.zeros(2)


PROBE = """
import sys
{setup}
from minigrad import backend
print(backend.explain())
print("cupy" in sys.modules)
"""

BROKEN = """
from types import ModuleType
class Missing(ModuleType):
    def arange(self, *args, **options):
        raise RuntimeError("no device")
sys.modules["cupy"] = Missing("cupy")
"""


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("sys.modules['cupy'] = None", "auto); cupy was rejected: CuPy cannot be imported"),
        (BROKEN, "CuPy is installed, but no CUDA device answers (no device)"),
    ],
    ids=["not installed", "no device"],
)  # fmt: skip
def test_the_reason_is_found_by_trying(setup, said):
    code = PROBE.format(setup=setup)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said in found.stdout


# ------------------------------------------------------------------------------------ arrays


class DeviceArray:
    """Stands for an array on a device."""

    def __init__(self, data):
        self.data, self.shape = data, np.shape(data)

    def get(self):
        return np.array(self.data)


@pytest.fixture
def cupy(monkeypatch):
    module = SimpleNamespace(ndarray=DeviceArray, asarray=DeviceArray, __name__="cupy")
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_an_array_says_which_module_it_belongs_to(cupy):
    assert array_module(np.ones(2), 1.0, None) is np
    assert array_module() is np
    assert array_module(DeviceArray([1]), 1.0) is cupy
    assert is_array(DeviceArray([1]))
    assert not any(map(is_array, [1.0, [1.0], np.float64(1), mg.Tensor(1.0)]))


def test_host_and_device_are_not_mixed(cupy):
    with pytest.raises(BackendError, match=r"\(1,\), \(2,\).*to_device\(x\) or to_numpy\(x\)"):
        array_module(DeviceArray([1]), np.ones(2))


def test_moving(cupy, monkeypatch):
    x = np.ones(2)
    assert to_numpy(x) is x
    assert to_numpy(DeviceArray([1, 2])).tolist() == [1, 2]
    assert to_numpy(2.0).shape == ()
    monkeypatch.setattr(backend, "_cupy_or_reason", lambda: (cupy, ""))
    with backend.using("numpy"):
        assert to_device(x) is x
    with backend.using("cupy"):
        assert type(to_device(x)) is DeviceArray


def test_show_config_says_what_computes():
    text = mg.show_config()
    for word in ("python", "numpy", "numba", "backend", "kernels", "threads", "BLAS"):
        assert word in text


def test_the_number_of_threads():
    before = mg.get_num_threads()
    try:
        mg.set_num_threads(3)
        assert mg.get_num_threads() == 3
        mg.set_num_threads(0)
        assert mg.get_num_threads() >= 1
        with pytest.raises(ValueError, match="got -1"):
            mg.set_num_threads(-1)
    finally:
        mg.set_num_threads(before)

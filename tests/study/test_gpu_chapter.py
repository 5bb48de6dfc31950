"""The stand-in of the chapter: its numbers beside minigrad's, its fence, its clocks, its graphs."""

import os
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.study.book import FOLDER, namespace

ROOT = FOLDER.parents[2]


@pytest.fixture(scope="module")
def ours():
    module = ModuleType("gpu")
    vars(module).update(namespace("gpu"))
    return module


@pytest.fixture(scope="module")
def formulas():
    return namespace("attention")


@pytest.mark.parametrize("T", [1, 5])
def test_attention_and_its_rule(ours, formulas, T):
    q, k, v, g = np.random.default_rng(T).normal(size=(4, T, 6))
    mask = np.tri(T, dtype=bool)
    there = [ours.device.asarray(x) for x in (g, q, k, v, mask)]
    tensors = [mg.Tensor(x, requires_grad=True) for x in (q, k, v)]
    y = mg.scaled_dot_product_attention(tensors[0], tensors[1], tensors[2], is_causal=True)
    found = formulas["attention"](ours.device, *there[1:])
    np.testing.assert_allclose(found.get(), y.data, rtol=1e-12)
    grads = formulas["attention_grad"](ours.device, *there)
    for a, b in zip(grads, mg.gradients(y, tensors, g), strict=True):
        np.testing.assert_allclose(a.get(), b.data, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(x=st.lists(st.floats(-20, 20), min_size=1, max_size=5))
def test_launches_a_kernel_and_a_graph_give_the_same(ours, x):
    there = ours.device.asarray(x)
    graph = ours.Graph(ours.silu, there)
    there.held[...] = x = -np.array(x)
    graph.launch()
    exact = mg.silu(x)
    for y in (ours.silu(there), ours.silu_kernel(there), graph.y):
        np.testing.assert_allclose(y.get(), exact, rtol=1e-12, atol=1e-300)


def test_arrays_do_not_mix(ours):
    x, y = np.ones(2), ours.device.asarray(np.ones(2))
    for f in (lambda: x + y, lambda: y + x, lambda: ours.device.exp(x)):
        with pytest.raises(TypeError, match="lies on the host; copy it with asarray"):
            f()
    with pytest.raises(TypeError, match="lies on the device; copy it with get"):
        np.exp(np.asarray(y))
    np.testing.assert_array_equal((2.0 - y).get(), [1, 1])


def test_the_host_waits_where_it_looks(ours):
    x, clock = ours.device.asarray(np.ones(10_000_000, "float32")), ours.clock
    clock.host = clock.device = clock.launches = 0
    y = ours.silu(x)
    assert (clock.host, clock.launches) == (4 * ours.LAUNCH, 4)
    assert clock.device > clock.host
    y.get()
    assert clock.host == clock.device


def test_a_graph_keeps_its_numbers(ours):
    x, rate = ours.device.asarray(3.0), 2.0
    graph = ours.Graph(lambda x: x * rate, x)
    rate, x.held[...] = 5.0, 4.0
    before = ours.clock.launches
    graph.launch()
    assert graph.y.get() == 8.0
    assert ours.clock.launches == before
    assert ours.log is None


def test_few_launches_are_faster_until_arrays_are_large(ours):
    many, graph, one = (np.array(times) for times in ours.curves.values())
    assert np.all(one < graph)
    assert np.all(graph <= many)
    assert many[0] / one[0] > 3
    assert graph[-1] / many[-1] > 0.9


@pytest.mark.parametrize("name", ["modules", "attention", "vmap", "kernels", "gpu"])
def test_a_chapter_where_there_is_a_device(name):
    """CuPy is the strict stand-in of the tests, and the backend in force."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "standin")])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py")],
        env=os.environ | {"PYTHONPATH": path, "MINIGRAD_BACKEND": "cupy"},
        capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if name == "gpu":
        first, second, third, *_ = done.stdout.splitlines()
        assert first.startswith("backend cupy")
        assert second.startswith("off by ")
        assert float(second.split()[-1]) < 1e-12
        assert third == "launches of the stand-in: 0"

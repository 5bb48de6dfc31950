"""Streams, graphs and memory of the stand-in: what is done when, and what is refused."""

import gc

import cupy
import cupyx
import numpy as np
import pytest
from cupy.cuda import Event, MemoryPool, Stream, runtime, using_allocator

HOST = np.arange(6, dtype="float32").reshape(2, 3)
ADD_ONE = cupy.RawModule(
    code="""
    extern "C" __global__ void add_one(float* y, const float* x) {
        y[threadIdx.x] = x[threadIdx.x] + 1;
    }
    """
).get_function("add_one")


@pytest.fixture
def x():
    return cupy.asarray(HOST)


def captured(step, pool=None, stream=None):
    """The graph of `step`, and what it returned."""
    stream, pool = stream or Stream(non_blocking=True), pool or MemoryPool()
    with using_allocator(pool.malloc), stream:
        stream.begin_capture()
        try:
            results = step()
        finally:
            graph = stream.end_capture()
    return graph, results


# ------------------------------------------------------------------------------- graphs

STEPS = {
    "ufunc": (lambda x: cupy.exp(x) * 2.0 - x, lambda h: np.exp(h) * 2 - h),
    "reduction": (lambda x: x.sum(axis=1) / x.max(), lambda h: h.sum(1) / h.max()),
    "views": (lambda x: x.T[1:].reshape(-1)[::2], lambda h: h.T[1:].reshape(-1)[::2]),
    "a copy of a view": (lambda x: cupy.ascontiguousarray(x.T), lambda h: h.T),
    "in place": (lambda x: x.copy().__iadd__(x), lambda h: h + h),
    "where": (lambda x: cupy.where(x > 2, x, 0.0), lambda h: np.where(h > 2, h, 0)),
    "indices": (lambda x: x[:, x[0].astype("int64") % 2], lambda h: h[:, [0, 1, 0]]),
    "take": (lambda x: cupy.take(x, x[0].astype("int64") % 2, axis=0), lambda h: h[[0, 1, 0]]),
    "concatenate": (lambda x: cupy.concatenate([x, x + 1.0]), lambda h: np.concatenate([h, h + 1])),
    "zeros": (lambda x: cupy.zeros(3, "float32") + x, lambda h: h),
    "arange": (lambda x: cupy.arange(3) + x, lambda h: np.arange(3) + h),
    "integer products": (lambda x: x.astype("int64") @ x.T.astype("int64"), lambda h: h @ h.T),
    "sort": (lambda x: cupy.sort(-x, axis=1), lambda h: np.sort(-h, axis=1)),
    "two results": (lambda x: cupy.split(x * 2.0, 3, axis=1)[1], lambda h: h[:, 1:2] * 2),
}  # fmt: skip


@pytest.mark.parametrize(("step", "expected"), STEPS.values(), ids=STEPS)
def test_a_graph_computes_when_it_is_launched(x, step, expected):
    before = step(cupy.asarray(HOST))
    graph, y = captured(lambda: step(x))
    assert (y.shape, y.dtype) == (before.shape, before.dtype)
    for factor in (1.0, 3.0):
        x[...] = cupy.asarray(HOST * np.float32(factor))
        graph.launch()
        np.testing.assert_allclose(y.get(), expected(HOST * factor), rtol=1e-6)


def test_nothing_runs_before(x):
    y = cupy.zeros((2, 3), "float32")

    def step():
        z = x + 1.0
        ADD_ONE((1,), (6,), (y, z))
        y.__imul__(2.0)
        y[0] = 5.0
        cupy.add.at(y, cupy.zeros(1, "int64"), 1.0)
        y.fill(9.0)
        return z

    graph, z = captured(step)
    assert (y.get() == 0).all()
    assert np.isnan(z.get()).all()
    graph.launch()
    assert (y.get() == 9).all()
    np.testing.assert_array_equal(z.get(), HOST + 1)


def test_memory_of_a_capture_belongs_to_the_graph(x):
    y = cupy.zeros((2, 3), "float32")

    def step():
        z = x + 1.0  # nobody else keeps it, and the kernel gets its address as a number
        ADD_ONE((1,), (6,), (y.data.ptr, z.data.ptr))

    pool = MemoryPool()
    graph, _ = captured(step, pool)
    gc.collect()
    pool.free_all_blocks()
    graph.launch()
    np.testing.assert_array_equal(y.get(), HOST + 2)
    assert pool.used_bytes() > 0
    del graph
    assert pool.used_bytes() == 0
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


REFUSED = {
    "a product": (lambda x: x @ x.T, NotImplementedError),
    "dot": (lambda x: cupy.dot(x, x.T), NotImplementedError),
    "tensordot": (lambda x: cupy.tensordot(x, x, 2), NotImplementedError),
    "einsum": (lambda x: cupy.einsum("ij,kj", x, x), NotImplementedError),
    "solve": (lambda x: cupy.linalg.inv(x[:2, :2]), NotImplementedError),
    "float": (lambda x: float(x[0, 0]), RuntimeError),
    "item": (lambda x: x[0, 0].item(), RuntimeError),
    "bool": (lambda x: bool(x[0, 0]), RuntimeError),
    "get": (lambda x: x.get(), RuntimeError),
    "set": (lambda x: x.set(HOST), RuntimeError),
    "set on a stream": (lambda x: x.set(HOST, cupy.cuda.get_current_stream()), RuntimeError),
    "asarray": (lambda x: cupy.asarray(HOST), RuntimeError),
    "asarray of a number": (lambda x: cupy.asarray(2.0), RuntimeError),
    "a mask": (lambda x: x[x > 1], RuntimeError),
    "nonzero": (lambda x: cupy.nonzero(x), RuntimeError),
    "unique": (lambda x: cupy.unique(x), RuntimeError),
    "many": (lambda x: cupy.concatenate([x] * 9), RuntimeError),
    "repr": (lambda x: repr(x), RuntimeError),
}


@pytest.mark.parametrize(("step", "error"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_captured(x, step, error):
    with pytest.raises(error, match="captur"):
        captured(lambda: step(x))
    step(x)


@pytest.mark.parametrize("wait", [Stream.synchronize, lambda stream: stream.done])
def test_waiting_spoils_a_capture(wait):
    stream = Stream(non_blocking=True)
    with using_allocator(MemoryPool().malloc), stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            wait(stream)
        with pytest.raises(RuntimeError, match="Invalidated"):
            stream.end_capture()
        assert not stream.is_capturing()


def test_captures_that_are_wrong(x):
    with pytest.raises(RuntimeError, match="null stream"):
        Stream.null.begin_capture()
    with pytest.raises(RuntimeError, match="does not capture"):
        Stream(non_blocking=True).end_capture()
    stream = Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="default pool"):
            x + 1.0
        with pytest.raises(RuntimeError, match="capturing already"):
            stream.begin_capture()
        stream.end_capture()


def test_a_graph_forks_and_joins(x):
    main, side = Stream(non_blocking=True), Stream(non_blocking=True)
    y = cupy.zeros((2, 3), "float32")

    def step(joins):
        begun, ended = Event(), Event()
        z = x + 1.0
        begun.record(main)
        side.wait_event(begun)
        with side:
            y[...] = z
        ended.record(side)
        if joins:
            main.wait_event(ended)
        return z * 2.0

    with pytest.raises(RuntimeError, match="unjoined"):
        captured(lambda: step(False), stream=main)
    graph, z = captured(lambda: step(True), stream=main)
    assert not side.is_capturing()
    assert (y.get() == 0).all()
    graph.launch()
    np.testing.assert_array_equal(y.get(), HOST + 1)
    np.testing.assert_array_equal(z.get(), 2 * HOST + 2)


# ------------------------------------------------------------------------------ streams


def test_a_stream_is_waited_for(x):
    side = Stream(non_blocking=True)
    with side:
        y = x + 1.0
        done = side.record()
    assert np.isnan(y.get()).all()  # the null stream did not wait
    Stream.null.wait_event(done)
    np.testing.assert_array_equal(y.get(), HOST + 1)
    with side:
        z = y + 1.0
        np.testing.assert_array_equal(z.get(), HOST + 2)  # its own stream does


def test_what_is_page_locked_is_read_later(x):
    side = Stream(non_blocking=True)
    slot, plain = cupyx.zeros_pinned((2, 3), "float32"), np.zeros((2, 3), "float32")
    for source, expected in ((slot, 7.0), (plain, 0.0)):
        source[...] = 0
        x.set(source, side)
        source[...] = 7
        side.synchronize()
        assert (x.get() == expected).all()


def test_events():
    side, x = Stream(non_blocking=True), cupy.zeros(3)
    start, end = Event(), Event()
    start.record(side)
    with side:
        x += 1.0
    end.record(side)
    with pytest.raises(RuntimeError, match="NotReady"):
        cupy.cuda.get_elapsed_time(start, end)
    asked = 0
    while not end.done:
        asked += 1
    assert 0 < asked < 10
    assert cupy.cuda.get_elapsed_time(start, end) >= 0
    assert (x.get() == 1).all()
    with pytest.raises(RuntimeError, match="without timing"):
        cupy.cuda.get_elapsed_time(Event(disable_timing=True), end)


def test_get_without_blocking(x):
    side = Stream(non_blocking=True)
    out = cupyx.empty_pinned((2, 3), "float32")
    assert x.get(stream=side, out=out, blocking=False) is out
    assert np.isnan(out).all()
    side.synchronize()
    np.testing.assert_array_equal(out, HOST)


def test_copies_by_address(x):
    y, side = cupy.zeros((2, 3), "float32"), Stream(non_blocking=True)
    runtime.memcpyAsync(y.data.ptr, x.data.ptr, x.nbytes, runtime.memcpyDeviceToDevice, side.ptr)
    assert (y.get() == 0).all()
    side.synchronize()
    np.testing.assert_array_equal(y.get(), HOST)


# ------------------------------------------------------------------------------- memory


def test_pools_count():
    pool = MemoryPool()
    with using_allocator(pool.malloc):
        x = cupy.empty(1000, "uint8")
        y = x[10:] + x[10:]
        assert pool.used_bytes() == 2 * 1024
        assert x.data.ptr % 512 == 0
        assert y.base is None
        assert x[1:].base is x
    del x, y
    assert (pool.used_bytes(), pool.total_bytes()) == (0, 2048)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


def test_the_default_pool_counts_and_has_limits():
    pool = cupy.get_default_memory_pool()
    gc.collect()
    before = pool.used_bytes()
    x = cupy.zeros(1 << 20, "uint8")
    assert pool.used_bytes() == before + (1 << 20)
    view = x[5:]
    del x
    gc.collect()
    assert pool.used_bytes() == before + (1 << 20)
    del view
    assert pool.used_bytes() == before
    pool.set_limit(size=before + 4096)
    try:
        with pytest.raises(
            cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 8,192"
        ):
            cupy.zeros(8192, "uint8")
    finally:
        pool.set_limit(size=0)
    assert pool.get_limit() == 0
    free, total = runtime.memGetInfo()
    assert 0 < free < total


def test_a_block_is_handed_out_again():
    pool = MemoryPool()
    first = pool.malloc(100)
    address = first.ptr
    del first
    assert pool.malloc(200).ptr == address


def test_arrays_by_pointer():
    block = MemoryPool().malloc(64)
    x = cupy.ndarray((2, 3), "float32", memptr=block + 16)
    x[...] = cupy.asarray(HOST)
    y = cupy.ndarray((3, 2), "float32", memptr=block + 16, strides=(4, 12))
    np.testing.assert_array_equal(y.get(), HOST.T)
    assert x.data.ptr == block.ptr + 16
    unowned = cupy.cuda.UnownedMemory(x.data.ptr, 24, x)
    z = cupy.ndarray(6, "float32", memptr=cupy.cuda.MemoryPointer(unowned, 0))
    del x, y, block
    np.testing.assert_array_equal(z.get(), HOST.ravel())

"""Training steps and kernels on a GPU, beside PyTorch, JAX and the speed of a plain copy.

    python -m benchmarks.gpu [--only NAME ...] [--minutes M] [--small] [--save] [--json FILE]

Needs NumPy, CuPy and Numba; PyTorch and JAX take part where they are installed. Everything is
verified before it is timed: steps by the losses of the first three from the same weights and
batches, kernels by their formulas. Steps are timed in turn in one run, several at once with one
wait at the end, as in training; "host" is how long one call keeps the host. What does not fit into
the minutes is left out, and said so. `--small` is for trying the script: shapes are tiny.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, parser, table
from minigrad import nn, optim, random
from minigrad.backend import to_numpy
from minigrad.nn import sinusoids

LR = 1e-3
# Vocabulary, d_model, heads, d_ff, layers of encoder and of decoder, length, batch.
SIZES = {
    "tiny": (168, 16, 2, 32, 4, 10, 8),
    "long": (168, 64, 4, 256, 4, 50, 32),
    "large": (512, 256, 8, 1024, 6, 50, 32),
    "xl": (8000, 512, 8, 2048, 6, 128, 64),
}
# How far losses may be from PyTorch's: they are sums in another order, of numbers rounded so.
AGREEMENT = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 3e-2}
COMPILED = {"torch.compile": None, "torch.compile, reduce-overhead": "reduce-overhead"}


class Pace:
    """How often things are timed: rounds, seconds of steps in one, calls of a kernel in one."""

    rounds, seconds, calls = 7, 0.15, 50

    @classmethod
    def try_only(cls) -> None:
        """As little as shows that everything runs."""
        cls.rounds, cls.seconds, cls.calls = 1, 0.0, 1
        SIZES["tiny"] = SIZES["long"] = (20, 16, 2, 32, 1, 6, 3)


class Clock:
    """The minutes that are left."""

    def __init__(self, minutes: float):
        self.end = time.perf_counter() + 60 * minutes

    def left(self) -> float:
        return self.end - time.perf_counter()


# ------------------------------------------------------------------------------------ steps


def batches_of(size: str, count: int = 4) -> list[tuple[np.ndarray, ...]]:
    vocabulary, *_, length, batch = SIZES[size]
    generator, found = np.random.default_rng(0), []
    for _ in range(count):
        src, tgt, out = generator.integers(1, vocabulary, (3, batch, length))
        src[::3, length * 3 // 4 :] = out[::3, length * 3 // 4 :] = 0  # some are shorter
        found.append((src, tgt, out))
    return found


def our_model(size: str) -> nn.Module:
    vocabulary, d_model, heads, d_ff, layers, *_ = SIZES[size]
    with random.stream(0):
        return nn.Seq2Seq(vocabulary, d_model, heads, d_ff, layers, layers)


class Runner:
    """A step as a function of a batch's number that does not wait, and what waits for the device.

    Attributes:
        step: gives the loss, in whatever the library has for it.
        wait: blocks until all is done.
        close: gives memory back.
    """

    def __init__(self, step: Callable, wait: Callable, close: Callable = lambda: None):
        self.step, self.wait, self.close = step, wait, close

    def losses(self, count: int = 3) -> list[float]:
        return [float(self.step(i)) for i in range(count)]


def our_runner(loss: Callable, model: nn.Module, batches: list, precision: str) -> Runner:
    """Ours: `mg.jit` of forward, backward and Adam."""
    import cupy

    adam = optim.Adam(model, lr=LR)

    def step(*batch: Any) -> mg.Tensor:
        with mg.autocast("bfloat16", enabled=precision == "bfloat16"):
            y = loss(model, *batch)
        y.backward()
        adam.step()
        adam.zero_grad()
        return y

    jitted = mg.jit(step)
    given = [tuple(mg.asarray(x) for x in b) for b in batches]

    def close() -> None:
        given.clear()
        cupy.get_default_memory_pool().free_all_blocks()

    runner = Runner(
        lambda i: jitted(*given[i % len(given)]), cupy.cuda.runtime.deviceSynchronize, close
    )
    runner.jitted = jitted
    return runner


def translator_loss(model: nn.Module, src: Any, tgt: Any, out: Any) -> mg.Tensor:
    return mg.cross_entropy(model(src, tgt), out, ignore_index=0)


def torch_runner(
    loss: Callable, parameters: Any, batches: list, precision: str, mode: Any
) -> Runner:
    """PyTorch's: eager for the mode "", else `torch.compile` of forward and backward."""
    import torch

    adam = torch.optim.Adam(parameters, lr=LR, fused=True)
    given = [tuple(torch.from_numpy(x).cuda() for x in b) for b in batches]
    compiled = loss if mode == "" else torch.compile(loss, mode=mode)

    def step(i: int) -> Any:
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            y = compiled(*given[i % len(given)])
        adam.zero_grad(set_to_none=True)
        y.backward()
        adam.step()
        return y.detach()

    def close() -> None:
        given.clear()
        torch.cuda.empty_cache()

    return Runner(step, torch.cuda.synchronize, close)


def torch_translator(size: str, batches: list, precision: str, mode: Any) -> Runner:
    import torch
    from torch.nn import functional as F

    from benchmarks.peers import torch_seq2seq as peer

    vocabulary, d_model, heads, d_ff, layers, length, _ = SIZES[size]
    config = {"d_model": d_model, "n_heads": heads, "d_ff": d_ff, "n_layers": layers}
    twin = peer.Seq2Seq(vocabulary, config, sinusoids(length, d_model))
    state = our_model(size).state_dict(layout="torch")
    twin.load_state_dict({k: torch.from_numpy(to_numpy(v)) for k, v in state.items()})
    twin.cuda()
    for coder in (twin.encoder, twin.decoder):
        coder.positions = coder.positions.cuda()

    def loss(src: Any, tgt: Any, out: Any) -> Any:
        with torch.device("cuda"):
            logits = twin(src, tgt)
        return F.cross_entropy(logits.flatten(0, 1), out.flatten(), ignore_index=0)

    return torch_runner(loss, twin.parameters(), batches, precision, mode)


def jax_translator(size: str, batches: list) -> Runner:
    import jax

    from benchmarks.peers import jax_seq2seq

    _, d_model, heads, _, layers, length, _ = SIZES[size]
    state = {k: to_numpy(v) for k, v in our_model(size).state_dict().items()}
    whole = jax_seq2seq.Trainer(state, sinusoids(length, d_model), heads, layers, LR)
    given = [tuple(map(jax.numpy.asarray, b)) for b in batches]
    last: list[Any] = []

    def step(i: int) -> Any:
        whole.weights, *whole.moments, whole.count, loss = whole._step(
            whole.weights, *whole.moments, whole.count, *given[i % len(given)]
        )
        last[:] = [loss]
        return loss

    return Runner(step, lambda: jax.block_until_ready((last, whole.weights)))


def timed(runners: dict[str, Runner]) -> dict[str, list[float]]:
    """Seconds a step, by rounds in which they take turns."""
    counts, found = {}, {name: [] for name in runners}
    for name, runner in runners.items():
        runner.step(0)
        runner.wait()
        began = time.perf_counter()
        runner.step(0)
        runner.wait()
        counts[name] = max(1, min(200, int(Pace.seconds / (time.perf_counter() - began))))
    for _ in range(Pace.rounds):
        for name, runner in runners.items():
            began = time.perf_counter()
            for i in range(counts[name]):
                runner.step(i)
            runner.wait()
            found[name].append((time.perf_counter() - began) / counts[name])
    return found


def ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def host_time(runner: Runner) -> float:
    """Seconds that one call keeps the host, the device being idle."""
    found = []
    for i in range(Pace.calls):
        runner.wait()
        began = time.perf_counter()
        runner.step(i)
        found.append(time.perf_counter() - began)
    runner.wait()
    return statistics.median(found)


def compared(
    what: str,
    precision: str,
    made: dict[str, Callable[[], Runner]],
    targets: dict[str, float],
    clock: Clock,
) -> Iterator[dict[str, Any]]:
    """Rows of one step in all libraries; the first of `made` is ours."""
    runners: dict[str, Runner] = {}
    reference = None
    for name, make in made.items():
        if name != "minigrad" and clock.left() < (60 if "compile" in name else 15):
            print(f"left out, for want of time: {what}, {precision}, {name}", flush=True)
            continue
        try:
            runner = make()
            losses = runner.losses()
        except Exception as error:
            if name == "minigrad":
                raise
            print(f"{what}, {precision}, {name} fails: {error!r:.200}", flush=True)
            continue
        reference = reference or losses
        np.testing.assert_allclose(losses, reference, rtol=AGREEMENT[precision], err_msg=name)
        runners[name] = runner
    times = timed(runners)
    ours = times["minigrad"]
    for name, found in times.items():
        row = {
            "what": f"step {what}, {precision}", "library": name,
            "ms": statistics.median(found) * 1e3, "theirs / ours": ratio(found, ours),
            "target": targets.get(name), "share": None,
        }  # fmt: skip
        yield row
    compiled = [times[name] for name in COMPILED if name in times]
    if compiled and "compiled" in targets:
        best = min(compiled, key=statistics.median)
        yield {
            "what": f"step {what}, {precision}", "library": "the better of torch.compile's",
            "ms": statistics.median(best) * 1e3, "theirs / ours": ratio(best, ours),
            "target": targets["compiled"], "share": None,
        }  # fmt: skip
    if what == "tiny":
        yield {
            "what": "host time of a replayed step", "library": "minigrad",
            "ms": host_time(runners["minigrad"]) * 1e3, "theirs / ours": None,
            "target": "<= 0.05 ms", "share": None,
        }  # fmt: skip
    for runner in runners.values():
        runner.close()


def has(name: str) -> bool:
    """Whether a library is installed, and PyTorch built for the GPU."""
    try:
        module = __import__(name)
    except ImportError:
        return False
    return name != "torch" or module.cuda.is_available()


def steps_of_translator(size: str, precision: str, clock: Clock) -> Iterator[dict[str, Any]]:
    batches = batches_of(size)
    made: dict[str, Callable[[], Runner]] = {
        "minigrad": lambda: our_runner(translator_loss, our_model(size), batches, precision)
    }
    large = size in ("large", "xl")
    if has("torch"):
        made["PyTorch, eager"] = lambda: torch_translator(size, batches, precision, "")
        if large:
            for name, mode in COMPILED.items():
                made[name] = lambda mode=mode: torch_translator(size, batches, precision, mode)
    if size == "long" and precision == "float32" and has("jax"):
        made["JAX, jit"] = lambda: jax_translator(size, batches)
    targets: dict[str, float] = {"JAX, jit": 1.2}
    if size in ("tiny", "long"):
        targets["PyTorch, eager"] = {"tiny": 20, "long": 8}[size]
    if large:
        targets["compiled"] = 0.8 if precision == "bfloat16" else 1.2
    with precise(precision):
        yield from compared(size, precision, made, targets, clock)


class precise:
    """TF32 in all libraries inside a `with` block, where `precision` says so."""

    def __init__(self, precision: str):
        self.word = "high" if precision in ("tf32", "bfloat16") else "highest"

    def _set(self, word: str) -> None:
        mg.set_float32_matmul_precision(word)
        if has("torch"):
            import torch

            torch.set_float32_matmul_precision(word)

    def __enter__(self) -> None:
        self._set(self.word)

    def __exit__(self, *error: object) -> None:
        self._set("highest")


def steps_of_images(name: str, clock: Clock) -> Iterator[dict[str, Any]]:
    from benchmarks.images import BATCHES, NETWORKS, Network

    channels, pools, linear, side, batch = NETWORKS[name]
    generator = np.random.default_rng(0)
    batches = [
        (generator.random((batch, 1, side, side), np.float32), generator.integers(0, 10, batch))
        for _ in range(BATCHES)
    ]

    def model() -> nn.Module:
        with random.stream(0):
            return Network(channels, pools, linear)

    def loss_of(net: nn.Module, x: Any, y: Any) -> mg.Tensor:
        return nn.functional.cross_entropy(net(x), y)

    def theirs() -> Runner:
        import torch
        from torch.nn import functional as F

        state = {
            k: torch.nn.Parameter(torch.from_numpy(to_numpy(p)).cuda())
            for k, p in model().state_dict().items()
        }

        def loss(x: Any, y: Any) -> Any:
            for k in range(len(channels) - 1):
                x = F.conv2d(x, state[f"kernels.{k}"], state[f"shifts.{k}"]).relu()
                x = F.max_pool2d(x, 2) if k < pools else x
            x = x.flatten(1)
            for k in range(len(linear) - 1):
                x = F.linear(x, state[f"linear.{k}.weight"], state[f"linear.{k}.bias"])
                x = x.relu() if k < len(linear) - 2 else x
            return F.cross_entropy(x, y)

        return torch_runner(loss, state.values(), batches, "float32", "")

    made = {"minigrad": lambda: our_runner(loss_of, model(), batches, "float32")}
    if has("torch"):
        import torch

        torch.backends.cudnn.allow_tf32 = False
        made["PyTorch, eager"] = theirs
    yield from compared(f"{name} CNN", "float32", made, {"PyTorch, eager": 3}, clock)


# ---------------------------------------------------------------------------------- kernels


def seconds_on_device(call: Callable[[], Any]) -> float:
    """Seconds a call on the device, the median over rounds of several."""
    import cupy

    stream = cupy.cuda.get_current_stream()
    call()
    found = []
    for _ in range(Pace.rounds):
        began, ended = cupy.cuda.Event(), cupy.cuda.Event()
        began.record(stream)
        for _ in range(Pace.calls):
            call()
        ended.record(stream)
        ended.synchronize()
        found.append(cupy.cuda.get_elapsed_time(began, ended) / 1e3 / Pace.calls)
    return statistics.median(found)


def launcher(kernel: Any, inputs: tuple, params: dict) -> tuple[Callable[[], None], list]:
    """What launches a kernel on arrays that are there, and its outputs."""
    import cupy

    from minigrad.kernels.cuda.machine import Eager

    like = kernel.outputs(*inputs, **params)
    likes = like if type(like) is tuple else (like,)
    outputs = [cupy.empty(v.shape, v.dtype) for v in likes]
    asks = Eager(kernel.needs(*inputs, **params))
    calls = [x.ready() for x in kernel.launched(asks, outputs, *inputs, **params)]

    def call() -> None:
        for launch in calls:
            launch()

    call.keep = asks
    return call, outputs


def kernel_rows(small: bool) -> Iterator[dict[str, Any]]:
    """Kernels that move memory, beside a copy of as many bytes."""
    import cupy

    from minigrad.kernels import find

    mib = 1 << (8 if small else 20)
    a, b = (cupy.zeros(128 * mib, "uint8") for _ in range(2))
    stream = cupy.cuda.get_current_stream()

    def copy() -> None:
        cupy.cuda.runtime.memcpyAsync(a.data.ptr, b.data.ptr, a.nbytes, 3, stream.ptr)

    rate = 2 * a.nbytes / seconds_on_device(copy)
    print(f"a copy reads and writes {rate / 1e9:.0f} GB/s", flush=True)
    key = random.key(1)
    generator = np.random.default_rng(0)
    for dtype in ("float32", "bfloat16"):
        if dtype == "bfloat16" and not has("ml_dtypes"):
            continue
        item = 4 if dtype == "float32" else 2
        n = 64 * mib // item

        def array(*shape: int, dtype: str = dtype) -> Any:
            host = generator.standard_normal(shape, np.float32)
            return cupy.asarray(host).astype(mg.precision.half(dtype) if dtype[0] == "b" else dtype)

        for d in (256,) if small else (256, 1024, 8192):
            x = array(max(n // d, 1), d)
            weight, bias = array(d), array(d)
            ids = cupy.asarray(generator.integers(0, d, x.shape[0]))
            g = array(*x.shape)
            one = cupy.ones((), x.dtype)
            cases = [
                (f"softmax of {d}", "softmaxes.softmax", (x,), {"axis": -1}, 2, mg.ops.softmax),
                (f"softmax's gradient, {d}", "softmaxes.softmax_grad", (g, x), {"axis": -1}, 3,
                 mg.ops.softmaxes.softmax_grad),
                (f"layer norm of {d}", "norms.layer_norm", (x, weight, bias), {"eps": 1e-5}, 2,
                 mg.ops.layer_norm),
                (f"layer norm's gradient, {d}", "norms.layer_norm_grad", (g, x, weight),
                 {"eps": 1e-5}, 3, mg.ops.layer_norm_grad),
            ]  # fmt: skip
            cases += cross_entropy_cases(d, x, ids, one)
            for what, name, inputs, params, passes, op in cases:
                kernel = find(f"cuda.{name}")
                call, outputs = launcher(kernel, inputs, {**op.static, **params})
                call()
                close(outputs, op.formula(cupy, *inputs, **{**op.static, **params}), dtype, what)
                seconds = seconds_on_device(call)
                share = passes * x.nbytes / seconds / rate
                yield kernel_row(f"{what}, {dtype}", seconds, share)
        x = array(n)
        dropout = find("cuda.noise.dropout")
        params = {**mg.ops.noise.dropout.static, "p": 0.1}
        call, (y,) = launcher(dropout, (x, key), params)
        call()
        close([y], mg.ops.noise.dropout.formula(cupy, x, key, **params), dtype, "dropout")
        seconds = seconds_on_device(call)
        yield kernel_row(f"dropout, {dtype}", seconds, 2 * x.nbytes / seconds / rate)
    yield from adam_row(16 * mib, rate)


def cross_entropy_cases(d: int, x: Any, ids: Any, g: Any) -> list[tuple]:
    losses = mg.ops.losses
    forward, backward = losses.cross_entropy_rows, losses.cross_entropy_rows_grad
    rows = x[:, 0].copy()
    return [
        (f"cross entropy of {d}", "losses.cross_entropy_rows", (x, ids), {}, 1, forward),
        (f"cross entropy's gradient, {d}", "losses.cross_entropy_rows_grad", (rows, x, ids), {}, 2,
         backward),
    ]  # fmt: skip


def adam_row(n: int, rate: float) -> Iterator[dict[str, Any]]:
    """Adam on float32: 7 times 4 bytes a parameter."""
    import cupy

    from minigrad.kernels import find
    from minigrad.kernels.cuda.machine import Eager

    generator = np.random.default_rng(0)
    w, g = (cupy.asarray(generator.standard_normal(n, np.float32)) for _ in range(2))
    m, v = cupy.zeros_like(w), cupy.zeros_like(w)
    want = [to_numpy(x).astype(np.float64) for x in (w, g, m, v)]
    optim.adam.adam_step(
        np, want[0], want[1], want[2], want[3], 1,
        lr=LR, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
    )  # fmt: skip
    words = [cupy.asarray(np.array([x])) for x in (0, n, 1)]
    numbers = np.zeros(16)
    numbers[:7] = 1, LR, 0.9, 0.999, 1e-8, 1.0, 0.0
    inputs = (w, g, m, v, None, *words, cupy.asarray(numbers), *[None] * 5)
    kernel = find("cuda.updates.update")
    calls = [x.ready() for x in kernel.launched(Eager(()), [], *inputs, rule="adam_step")]
    calls[0]()
    np.testing.assert_allclose(to_numpy(w), want[0], rtol=1e-5, atol=1e-6)
    seconds = seconds_on_device(calls[0])
    yield kernel_row("Adam, float32", seconds, 7 * w.nbytes / seconds / rate)


def kernel_row(what: str, seconds: float, share: float) -> dict[str, Any]:
    return {
        "what": what, "library": "minigrad", "ms": seconds * 1e3, "theirs / ours": None,
        "target": ">= 80 %", "share": f"{100 * share:.0f} %",
    }  # fmt: skip


def close(found: list, wanted: Any, dtype: str, what: str) -> None:
    """Raise unless a kernel gives what its formula does."""
    wanted = wanted if type(wanted) is tuple else (wanted,)
    rtol = 1e-4 if dtype == "float32" else 2e-2
    for a, b in zip(found, wanted, strict=True):
        a, b = (to_numpy(v).astype(np.float64) for v in (a, b))
        size = float(np.abs(b).max()) or 1.0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * size, err_msg=what)


def attention_rows(small: bool) -> Iterator[dict[str, Any]]:
    """Forward and backward, causal, heads of 64, length 1024; beside PyTorch's SDPA."""
    import cupy

    from minigrad.kernels import find

    batch, heads, length = (1, 2, 64) if small else (8, 16, 1024)
    d = 64 * heads
    generator = np.random.default_rng(0)
    hosts = [generator.standard_normal((batch, length, d), np.float32) for _ in range(4)]
    for precision in ("tf32", "bfloat16"):
        if precision == "bfloat16" and not has("ml_dtypes"):
            continue
        kind = np.dtype("float32") if precision == "tf32" else mg.precision.half("bfloat16")
        with precise(precision):
            q, k, v, g = (cupy.asarray(x).astype(kind) for x in hosts)
            op = mg.ops.attention
            params = {**op.static, "heads": heads, "causal": True}
            forward, outs = launcher(
                find("cuda.attention.attention"), (q, k, v, None, None), params
            )
            grad = mg.ops.attentions.attention_grad
            backward, _ = launcher(
                find("cuda.attention.attention_grad"),
                (g, q, k, v, None, None),
                {**grad.static, "heads": heads, "causal": True},
            )

            def ours(forward: Callable = forward, backward: Callable = backward) -> None:
                forward()
                backward()

            ours()
            wide = [x.astype("float32") for x in (q, k, v)]
            close(outs[:1], op.formula(cupy, *wide, None, None, **params), "bfloat16", "attention")
            seconds = seconds_on_device(ours)
            flops = 3.5 * 2 * 2 * batch * heads * length * length * 64 / 2
            row = {
                "what": f"attention, length {length}, causal, {precision}", "library": "minigrad",
                "ms": seconds * 1e3, "theirs / ours": 1.0, "target": None,
                "share": f"{flops / seconds / 1e12:.0f} TFLOP/s",
            }  # fmt: skip
            yield row
            if has("torch") and not small:
                theirs = sdpa(hosts, heads, precision)
                yield row | {
                    "library": "PyTorch, SDPA", "ms": theirs * 1e3,
                    "theirs / ours": theirs / seconds, "target": 0.5,
                    "share": f"{flops / theirs / 1e12:.0f} TFLOP/s",
                }  # fmt: skip


def sdpa(hosts: list, heads: int, precision: str) -> float:
    """Seconds of PyTorch's scaled_dot_product_attention, forward and backward."""
    import torch

    kind = torch.float32 if precision == "tf32" else torch.bfloat16
    batch, length, d = hosts[0].shape
    q, k, v, g = (
        torch.from_numpy(x).cuda().to(kind).view(batch, length, heads, d // heads).transpose(1, 2)
        for x in hosts
    )
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]

    def call() -> None:
        y = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=True)
        torch.autograd.grad(y, leaves, g)

    for _ in range(3):
        call()
    found = []
    for _ in range(Pace.rounds):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(20):
            call()
        ended.record()
        torch.cuda.synchronize()
        found.append(began.elapsed_time(ended) / 1e3 / 20)
    return statistics.median(found)


# ------------------------------------------------------------------------------------- main


def sections(small: bool, clock: Clock) -> dict[str, Callable[[], Iterator[dict[str, Any]]]]:
    """What is measured, in the order in which it is."""
    found: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "tiny": lambda: steps_of_translator("tiny", "float32", clock),
        "long": lambda: steps_of_translator("long", "float32", clock),
        "digits": lambda: steps_of_images("digits", clock),
        "MNIST": lambda: steps_of_images("MNIST", clock),
        "kernels": lambda: kernel_rows(small),
        "attention": lambda: attention_rows(small),
    }
    if not small:
        for size in ("large", "xl"):
            for precision in ("tf32", "bfloat16"):
                found[f"{size} {precision}"] = lambda s=size, p=precision: steps_of_translator(
                    s, p, clock
                )
    return found


def main() -> None:
    arguments = parser(__doc__, rounds=Pace.rounds)
    arguments.add_argument("--only", nargs="+", metavar="NAME", help="some of the sections")
    arguments.add_argument("--minutes", type=float, default=6.5, help="(default 6.5)")
    arguments.add_argument("--small", action="store_true", help="tiny shapes, to try the script")
    options = arguments.parse_args()
    import cupy

    Pace.rounds = options.rounds
    if options.small:
        Pace.try_only()
    clock = Clock(options.minutes)
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{device}, CuPy {cupy.__version__}", flush=True)
    rows, failed = [], []
    with mg.backend.using("cupy"):
        for name, section in sections(options.small, clock).items():
            if options.only and name not in options.only:
                continue
            if clock.left() < 5:
                print(f"left out, for want of time: {name}", flush=True)
                continue
            began = len(rows)
            try:
                rows.extend(section())
            except Exception as error:
                failed.append(name)
                print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
            if rows[began:]:
                print(table(rows[began:]), end="\n\n", flush=True)
    peers = {n: sys.modules[n].__version__ for n in ("torch", "jax") if n in sys.modules}
    if rows:
        finish("gpu", rows, options, device=device, cupy=cupy.__version__, peers=peers)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

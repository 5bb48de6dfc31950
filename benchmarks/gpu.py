"""Training steps and kernels on a GPU, beside PyTorch, JAX and the speed of a plain copy.

    python -m benchmarks.gpu [--only NAME ...] [--minutes M] [--small] [--save] [--json FILE]

Needs NumPy, CuPy and Numba (and ml_dtypes for bfloat16); PyTorch and JAX take part where they are
installed. Everything is verified before it is timed: steps by the losses of the first three from
the same weights and batches, kernels by their formulas. Steps are timed in turn in one run, several
at once with one wait at the end, as in training; "host" is how long one call keeps the host. What
does not fit into the minutes is left out, and said so. Products are of float32 in all libraries, or
with TF32 in all. The last table has the project's targets, and which are met; the file of `--json`
is written after every section. `--small` is for trying the script: shapes are tiny.
"""

import argparse
import gc
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import minigrad as mg
from benchmarks import device_kernels
from benchmarks.harness import finish, keep, no_device, parser, table
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
PEERS = "torch", "jax"
EAGER, COMPILE = "PyTorch, eager", "the better of torch.compile's"
HOST, MOST = "host time of a replayed step", 0.05  # ms
COMPILED = {"torch.compile": None, "torch.compile, reduce-overhead": "reduce-overhead"}


class Pace(device_kernels.Pace):
    """How often things are timed; and seconds of steps in a round."""

    seconds = 0.15

    @classmethod
    def try_only(cls) -> None:
        """As little as shows that everything runs."""
        device_kernels.Pace.rounds, device_kernels.Pace.calls, cls.seconds = 1, 1, 0.0
        SIZES["tiny"] = SIZES["long"] = (20, 16, 2, 32, 1, 6, 3)


class Clock:
    """The minutes that are left."""

    def __init__(self, minutes: float):
        self.end = time.perf_counter() + 60 * minutes

    def left(self) -> float:
        return self.end - time.perf_counter()

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Break off what takes longer, so that it does not keep all that comes after it.

        Only where the system has an alarm (not on Windows), and between two steps of Python.

        Raises:
            TimeoutError: it took longer.
        """
        if not hasattr(signal, "setitimer") or threading.current_thread().name != "MainThread":
            yield
            return
        seconds = max(min(seconds, self.left()), 0.1)

        def ring(*_: Any) -> None:
            raise TimeoutError(f"broken off after {seconds:.0f} s")

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


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

    adam = torch.optim.Adam(list(parameters), lr=LR, fused=True)
    given = [tuple(torch.from_numpy(x).cuda() for x in b) for b in batches]
    compiled = loss if mode == "" else torch.compile(loss, mode=mode)

    def step(i: int) -> Any:
        if mode == "reduce-overhead":  # what its graphs gave in the last step may be written over
            torch.compiler.cudagraph_mark_step_begin()
        adam.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            y = compiled(*given[i % len(given)])
        y.backward()
        adam.step()
        return y.detach()

    def close() -> None:
        given.clear()
        if mode != "":
            torch.compiler.reset()
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
        logits = twin(src, tgt)
        return F.cross_entropy(logits.flatten(0, 1), out.flatten(), ignore_index=0)

    return torch_runner(loss, twin.parameters(), batches, precision, mode)


def jax_translator(size: str, batches: list) -> Runner:
    import jax

    from benchmarks.peers import jax_seq2seq

    jax.config.update("jax_default_matmul_precision", "highest")  # else TF32, unlike the others

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
    reference, wrong = None, ""
    for name, make in made.items():
        if name != "minigrad" and clock.left() < (60 if "compile" in name else 15):
            print(f"left out, for want of time: {what}, {precision}, {name}", flush=True)
            continue
        print(f"{what}, {precision}: {name} ...", flush=True)
        try:
            with clock.at_most(90 if "compile" in name else 60):
                runner = make()
                losses = runner.losses()
        except Exception as error:
            if name == "minigrad":
                raise
            print(f"{what}, {precision}, {name} fails: {error!r:.200}", flush=True)
            continue
        reference = reference or losses
        if not np.allclose(losses, reference, rtol=AGREEMENT[precision], atol=0):
            wrong = f"losses of {what}, {precision}: {reference} are ours, {losses} those of {name}"
            print(wrong, flush=True)
            runner.close()
            continue
        runners[name] = runner
    if wrong and len(runners) == 1:  # nobody agrees with us
        raise AssertionError(wrong)
    times = timed(runners)
    ours = times["minigrad"]
    for name, found in times.items():
        row = {
            "what": f"step {what}, {precision}", "library": name,
            "ms": statistics.median(found) * 1e3, "theirs / ours": ratio(found, ours),
            "target": targets.get(name), "rate": None,
        }  # fmt: skip
        yield row
    compiled = [times[name] for name in COMPILED if name in times]
    if compiled and "compiled" in targets:
        best = min(compiled, key=statistics.median)
        yield {
            "what": f"step {what}, {precision}", "library": COMPILE,
            "ms": statistics.median(best) * 1e3, "theirs / ours": ratio(best, ours),
            "target": targets["compiled"], "rate": None,
        }  # fmt: skip
    if what == "tiny":
        yield {
            "what": HOST, "library": "minigrad",
            "ms": host_time(runners["minigrad"]) * 1e3, "theirs / ours": None,
            "target": MOST, "rate": None,
        }  # fmt: skip
    for runner in runners.values():
        runner.close()
    if wrong:
        raise AssertionError(wrong)


def has(name: str) -> bool:
    """Whether a library is installed, and sees the GPU."""
    try:
        module = __import__(name)
    except ImportError:
        return False
    return module.cuda.is_available() if name == "torch" else module.default_backend() == "gpu"


def steps_of_translator(size: str, precision: str, clock: Clock) -> Iterator[dict[str, Any]]:
    if precision == "bfloat16" and not device_kernels.has_bfloat16():
        print(f"left out: {size}, bfloat16, as ml_dtypes is not installed", flush=True)
        return
    batches = batches_of(size)
    made: dict[str, Callable[[], Runner]] = {
        "minigrad": lambda: our_runner(translator_loss, our_model(size), batches, precision)
    }
    large = size in ("large", "xl")
    if has("torch"):
        made[EAGER] = lambda: torch_translator(size, batches, precision, "")
        if large:
            for name, mode in COMPILED.items():
                made[name] = lambda mode=mode: torch_translator(size, batches, precision, mode)
    if size == "long" and precision == "float32" and has("jax"):
        made["JAX, jit"] = lambda: jax_translator(size, batches)
    targets: dict[str, float] = {"JAX, jit": 1.2}
    if size in ("tiny", "long"):
        targets[EAGER] = {"tiny": 20, "long": 8}[size]
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
            torch.backends.cudnn.allow_tf32 = word == "high"

    def __enter__(self) -> None:
        self._set(self.word)

    def __exit__(self, *error: object) -> None:
        self._set("highest")


def steps_of_images(name: str, clock: Clock) -> Iterator[dict[str, Any]]:
    from benchmarks import images

    channels, pools, linear, *_ = images.NETWORKS[name]
    batches = images.batches_of(name)

    def theirs() -> Runner:
        import torch

        from benchmarks.peers import torch_images

        state = {
            k: torch.nn.Parameter(torch.from_numpy(to_numpy(p)).cuda())
            for k, p in images.model_of(name).state_dict().items()
        }
        loss = torch_images.loss_of(state, len(channels) - 1, pools, len(linear) - 1)
        return torch_runner(loss, state.values(), batches, "float32", "")

    made = {
        "minigrad": lambda: our_runner(images.loss_of, images.model_of(name), batches, "float32")
    }
    if has("torch"):
        made[EAGER] = theirs
    with precise("float32"):
        yield from compared(f"{name} CNN", "float32", made, {EAGER: 3}, clock)


# ---------------------------------------------------------------------------------- kernels


def kernel_rows(small: bool) -> Iterator[dict[str, Any]]:
    """Kernels that move memory, beside a copy of as many bytes."""
    size, widths = (1 << 14, (64,)) if small else (64 * device_kernels.MIB, (256, 1024, 8192))
    for dtype in ("float32", "bfloat16") if device_kernels.has_bfloat16() else ("float32",):
        cases = device_kernels.with_targets(size, dtype, widths)
        for row in device_kernels.rows_of(cases, small):
            share = row["of the limit, %"] / 100
            yield {
                "what": f"{row['kernel']}, {row['shape']}, {dtype}", "library": "minigrad",
                "ms": row["us"] / 1e3, "theirs / ours": share, "target": device_kernels.TARGET,
                "rate": row["rate"],
            }  # fmt: skip


def attention_rows(small: bool) -> Iterator[dict[str, Any]]:
    """Forward and backward, causal, heads of 64, length 1024; beside PyTorch's SDPA."""
    batch, heads, length = (1, 2, 64) if small else (8, 16, 1024)
    for precision in ("tf32", "bfloat16"):
        if precision == "bfloat16" and not device_kernels.has_bfloat16():
            continue
        dtype = "float32" if precision == "tf32" else precision
        with precise(precision):
            seconds = flops = 0.0
            # Products of TF32 have 11 bits, as those of float16.
            for case in device_kernels.of_attention(dtype, batch, heads, length):
                case.verify("bfloat16")
                seconds += device_kernels.seconds_on_device(case.call)
                flops += case.products
            row = {
                "what": f"attention, length {length}, causal, {precision}", "library": "minigrad",
                "ms": seconds * 1e3, "theirs / ours": 1.0, "target": None,
                "rate": f"{flops / seconds / 1e12:.0f} TFLOP/s",
            }  # fmt: skip
            yield row
            if has("torch") and not small:
                theirs = sdpa((batch, heads, length, 64), dtype)
                yield row | {
                    "library": "PyTorch, SDPA", "ms": theirs * 1e3,
                    "theirs / ours": theirs / seconds, "target": 0.5,
                    "rate": f"{flops / theirs / 1e12:.0f} TFLOP/s",
                }  # fmt: skip


def sdpa(shape: tuple[int, int, int, int], dtype: str) -> float:
    """Seconds of PyTorch's scaled_dot_product_attention, forward and backward.

    Args:
        shape: batch, heads, length, features of a head.
    """
    import torch

    kind = getattr(torch, dtype)
    batch, heads, length, d = shape
    q, k, v, g = (  # as layers lay them out: heads of a row side by side
        torch.randn(batch, length, heads, d, device="cuda", dtype=kind).transpose(1, 2)
        for _ in range(4)
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


# What the project wants to show, with the rows that show it: what, library, at least.
TARGETS: list[tuple[str, str, list[tuple[str, str, float]]]] = [
    (
        "step tiny / long: PyTorch eager / ours", ">= 20 / >= 8",
        [("step tiny, float32", EAGER, 20), ("step long, float32", EAGER, 8)],
    ),
    ("step long: JAX jit / ours", ">= 1.2", [("step long, float32", "JAX, jit", 1.2)]),
    (
        "step large and xl, TF32 in both: torch.compile / ours", ">= 1.2",
        [(f"step {size}, tf32", COMPILE, 1.2) for size in ("large", "xl")],
    ),
    (
        "the same in bfloat16: torch.compile / ours", ">= 0.8",
        [(f"step {size}, bfloat16", COMPILE, 0.8) for size in ("large", "xl")],
    ),
    (
        "softmax, layer norm, cross entropy, Adam, dropout: least share of the copy's bandwidth",
        ">= 0.8",
        [(name, "minigrad", device_kernels.TARGET)
         for name in ("softmax", "layer_norm", "cross_entropy", "adam_step", "dropout")],
    ),
    (
        "attention forward + backward, length 1024, causal, bf16 and TF32: PyTorch SDPA / ours",
        ">= 0.5",
        [(f"attention, length 1024, causal, {p}", "PyTorch, SDPA", 0.5)
         for p in ("bfloat16", "tf32")],
    ),
    (
        "digits CNN and MNIST CNN step: PyTorch eager / ours", ">= 3",
        [(f"step {name} CNN, float32", EAGER, 3) for name in ("digits", "MNIST")],
    ),
]  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The project's targets, what was measured of them, and whether they are met."""

    def least(what: str, library: str) -> float | None:
        found = [
            row["theirs / ours"]
            for row in rows
            if row["what"].startswith(what) and row["library"] == library
        ]
        return min(found, default=None)

    table = []
    for text, target, parts in TARGETS:
        found = [least(what, library) for what, library, _ in parts]
        shown = " / ".join("not measured" if x is None else f"{x:.3g}" for x in found)
        pairs = zip(found, (limit for *_, limit in parts), strict=True)
        met = [None if x is None else x >= limit for x, limit in pairs]
        table.append({"": text, "target": target, "measured": shown, "met": word(met)})
    host = [row["ms"] for row in rows if row["what"] == HOST]
    table.append({
        "": "host time of one replayed step", "target": "<= 50 us",
        "measured": f"{1e3 * host[0]:.3g} us" if host else "not measured",
        "met": word([x <= MOST for x in host]),
    })  # fmt: skip
    return table


def word(met: list[bool | None]) -> str:
    """Whether a target is met, in each of its parts."""
    words = {True: "yes", False: "no", None: ""}
    if all(x == met[0] for x in met):
        return words[met[0]] if met else ""
    return " / ".join(words[x] or "-" for x in met)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    found = parser(__doc__, rounds=Pace.rounds, host=False)
    found.add_argument("--only", nargs="+", metavar="NAME", help="some of the sections")
    found.add_argument("--minutes", type=float, default=6.5, help="(default 6.5)")
    found.add_argument("--small", action="store_true", help="tiny shapes, to try the script")
    return found.parse_args(arguments)


def free() -> None:
    """Give memory back, ours and PyTorch's, before the next section."""
    import cupy

    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and has("torch"):
        sys.modules["torch"].cuda.empty_cache()


def main() -> None:
    options = parse()
    if missing := no_device():
        sys.exit(f"benchmarks.gpu needs a GPU: {missing}")
    import cupy

    # JAX would take most of the memory for itself.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device_kernels.Pace.rounds = options.rounds
    if options.small:
        Pace.try_only()
    clock = Clock(options.minutes)
    made = sections(options.small, clock)
    if unknown := [name for name in options.only or () if name not in made]:
        sys.exit(f"no section {', '.join(unknown)}; there are {', '.join(made)}")
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{device}, CuPy {cupy.__version__}", flush=True)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    more = {"device": device, "cupy": cupy.__version__, "failed": failed, "small": options.small}
    with mg.backend.using("cupy"):
        for name in options.only or made:
            if clock.left() < 5:
                print(f"left out, for want of time: {name}", flush=True)
                continue
            print(f"\n{name}, {clock.left():.0f} s are left", flush=True)
            began = len(rows)
            try:
                rows.extend(made[name]())
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
                print(f"{name} failed: {failed[name]}", flush=True)
            print(table(rows[began:]), flush=True)
            free()
            more["peers"] = {n: sys.modules[n].__version__ for n in PEERS if n in sys.modules}
            more["targets"] = summary(rows)
            if options.json:
                keep(options.json, "gpu", rows, **more)
    notes = [table(summary(rows))]
    notes += [f"{name} failed: {text}" for name, text in failed.items()]
    print()
    finish("gpu", rows, options, notes, **more)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

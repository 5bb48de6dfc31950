"""Who watches the ops: `detect_anomaly` finds the first bad number, `profile` takes the time,
`track_memory` notes who made what.

All are an `Observer` of every call of an op (`called`) and of every node in a backward pass
(`pulled_back`), for the length of a `with` block. Outside of one nothing is spent on it.
"""

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import kernels, memory
from minigrad.arguments import Like
from minigrad.autodiff import Node, Op, Slot, Tensor, caller
from minigrad.backend import Observer, array_module, describe, is_array, to_numpy, watched
from minigrad.batched import base
from minigrad.errors import AnomalyError
from minigrad.sparse import SparseRows
from minigrad.writes import overlap

# ---------------------------------------------------------------------------------- anomalies


class _Anomalies(Observer):
    """The observer behind `detect_anomaly`."""

    def __init__(self):
        self.lines: dict[int, str] = {}  # of each node: the line that called its op
        self.sums: dict[int, list[int]] = {}  # of each node: checksums of what it keeps

    def called(
        self, op: Op, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        line = caller()
        outputs = y if isinstance(y, tuple) else (y,)
        for v in outputs:
            memory.note_line(v._data if type(v) is Tensor else v, line)
            if _made_bad(v, arrays):
                raise AnomalyError(
                    f"'{op.__name__}' at {line} gave {_bad(v)}; its inputs were:\n"
                    f"{_listing(arrays)}"
                )
        if type(outputs[0]) is Tensor and outputs[0].edge is not None:
            node = outputs[0].edge.node
            self.lines[node.serial] = line
            self.sums[node.serial] = _checksums(node)

    def pulled_back(self, node: Node, g: Any, found: list, seconds: float) -> None:
        line = self.lines.get(node.serial, "a line before detect_anomaly began")
        if node.serial in self.sums:
            for i, (a, b) in enumerate(zip(self.sums[node.serial], _checksums(node), strict=True)):
                if a != b:
                    what = f"input {i}" if i < len(node.saved) else "the output"
                    raise AnomalyError(
                        f"{what} of '{node.op.__name__}', called at {line}, has changed since, and "
                        f"its gradient needs the old values; it shares memory with an array that "
                        f"was written to behind our back: give the tensor a copy"
                    )
        gs = g if isinstance(g, tuple) else (g,)
        for parent, v in found:
            if _made_bad(v, gs):
                whose = f"an input of shape {tuple(v.shape)}"
                if type(parent) is Tensor:
                    whose = f"leaf {repr(parent.name) if parent.name else f'of shape {v.shape}'}"
                raise AnomalyError(
                    f"the rule of '{node.op.__name__}', which was called at {line}, gave {_bad(v)} "
                    f"as the gradient of {whose}; the gradient that came was:\n"
                    f"{_listing([v for v in gs if v is not None])}\n"
                    f"and what the op had kept:\n{_listing(node.saved)}"
                )


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Inside the `with` block, raise at the first op that makes a number that is not finite.

    Forward or backward: a NaN, or an infinity where none came in. The message names the op, the
    line that called it, and the statistics of what came in. Arrays that nodes keep are also checked
    for changes that nobody announced, by checksums. Everything is slower for it.

    Raises:
        AnomalyError: as soon as an op gives NaN or infinity, or a backward pass meets an array
            that has changed.
    """
    with watched(_Anomalies()):
        yield


def _made_bad(y: Any, inputs: Any) -> bool:
    """Whether `y` has a NaN, or an infinity that is none of the `inputs`', as a mask has them."""
    y = _numbers(y)
    if y.dtype.kind not in "fV" or np.isfinite(y).all():
        return False
    came = (_numbers(x) for x in inputs if is_array(x) or type(x) in (Tensor, float))
    return bool(np.isnan(y).any()) or not any(
        x.dtype.kind in "fV" and np.isinf(x).any() for x in came
    )


def _bad(x: Any) -> str:
    """How many elements are not finite, and the first of them."""
    x = _numbers(x)
    bad = np.argwhere(~np.isfinite(x))
    value = x[tuple(bad[0])]
    return (
        f"{len(bad)} of {x.size} elements not finite, the first of them {value} at "
        f"{tuple(map(int, bad[0]))}"
    )


def _numbers(x: Any) -> np.ndarray:
    x = base(x.data if type(x) is Tensor else x)
    return to_numpy(x.values if type(x) is SparseRows else x)


def _listing(values: Any) -> str:
    """One line of statistics for each array."""
    lines = []
    for i, x in enumerate(values):
        if not is_array(x) and type(x) is not Tensor:
            lines.append(f"  {i}: {x!r}" if np.isscalar(x) else f"  {i}: {describe(x)}, not kept")
            continue
        v = _numbers(x)
        line = f"  {i}: {describe(v)}"
        if v.size and v.dtype.kind in "fiu":
            finite = v[np.isfinite(v)].astype(float)
            if finite.size:
                line += f", from {finite.min():.6g} to {finite.max():.6g}, mean {finite.mean():.6g}"
            line += f", {int(np.isnan(v).sum())} NaN, {int(np.isinf(v).sum())} infinite"
            line += f", {int((v == 0).sum())} zero"
        lines.append(line)
    return "\n".join(lines) or "  none"


def _checksums(node: Node) -> list[int]:
    """One number for each array that a node keeps."""
    kept = [*node.saved, *(node.output if isinstance(node.output, tuple) else (node.output,))]
    arrays: list[Any] = [np.ascontiguousarray(_numbers(x)) if is_array(x) else b"" for x in kept]
    return [zlib.crc32(x) for x in arrays]


# ------------------------------------------------------------------------------------- memory


class _Lines(Observer):
    """The observer behind `track_memory`."""

    def called(
        self, op: Op, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        line = caller()
        for v in y if isinstance(y, tuple) else (y,):
            memory.note_line(v._data if type(v) is Tensor else v, line)

    def pulled_back(self, node: Node, g: Any, found: list, seconds: float) -> None:
        line = f"{caller()}, by the rule of '{node.op.__name__}'"
        for _, v in found:
            memory.note_line(v._data if type(v) is Tensor else v, line)


def track_memory() -> AbstractContextManager[None]:
    """Inside the `with` block the line that made a tensor is noted, for `mg.memory` to tell.

    Reports and errors about memory name it then, of gradients too.
    """
    return watched(_Lines())


# ------------------------------------------------------------------------------------ profile


@dataclass
class Row:
    """What one op cost. Seconds; bytes of what the calls gave, and of what their nodes keep."""

    op: str
    calls: int = 0
    forward: float = 0.0
    given: int = 0
    kept: int = 0
    passes: int = 0
    backward: float = 0.0
    declined: int = 0


@dataclass
class Profile(Observer):
    """What `profile` has seen, one row an op; `print` it, or `save_trace` it."""

    rows: dict[str, Row] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def called(
        self, op: Op, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        row = self.rows.setdefault(op.__name__, Row(op.__name__))
        outputs = y if isinstance(y, tuple) else (y,)
        arrays_out = [v.data if type(v) is Tensor else v for v in outputs]
        given = sum(v.nbytes for v in arrays_out if hasattr(v, "nbytes"))
        row.calls += 1
        row.forward += seconds
        row.given += given
        if type(outputs[0]) is Tensor and outputs[0].edge is not None:
            row.kept += _kept(outputs[0].edge.node)
        declined = bool(op.kernel) and not by_kernel
        row.declined += declined
        shapes = [list(a.shape) for a in arrays if is_array(a)]
        self._event(op.__name__, "forward", seconds, shapes=shapes, bytes=given, declined=declined)

    def pulled_back(self, node: Node, g: Any, found: list, seconds: float) -> None:
        row = self.rows.setdefault(node.op.__name__, Row(node.op.__name__))
        row.passes += 1
        row.backward += seconds
        self._event(node.op.__name__, "backward", seconds)

    def _event(self, name: str, kind: str, seconds: float, **args: Any) -> None:
        now = time.perf_counter()
        self.events.append(
            {
                "name": name, "cat": kind, "ph": "X", "pid": 0, "tid": int(kind == "backward"),
                "ts": (now - seconds) * 1e6, "dur": seconds * 1e6, "args": args,
            }
        )  # fmt: skip

    def __str__(self) -> str:
        """A table, the costliest op first."""
        head = ("op", "calls", "forward ms", "gives MB", "keeps MB", "backward ms", "declined")
        cells = [head]
        rows = sorted(self.rows.values(), key=lambda r: -(r.forward + r.backward))
        total = Row("total")
        for row in rows:
            for name in ("calls", "forward", "given", "kept", "passes", "backward", "declined"):
                setattr(total, name, getattr(total, name) + getattr(row, name))
        for row in (*rows, total):
            cells.append(
                (
                    row.op, str(row.calls), f"{row.forward * 1e3:.3f}", f"{row.given / 1e6:.3f}",
                    f"{row.kept / 1e6:.3f}", f"{row.backward * 1e3:.3f}", str(row.declined),
                )
            )  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        )

    def save_trace(self, path: str | Path) -> None:
        """Write a trace that Perfetto (ui.perfetto.dev) and Chrome (chrome://tracing) open."""
        start = min((event["ts"] for event in self.events), default=0.0)
        events = [event | {"ts": event["ts"] - start} for event in self.events]
        names = [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": tid, "args": {"name": name}}
            for tid, name in enumerate(("forward", "backward"))
        ]
        text = json.dumps({"traceEvents": [*names, *events], "displayTimeUnit": "ms"})
        from minigrad.runs import atomic_write

        atomic_write(Path(path), text.encode())


@contextmanager
def profile() -> Iterator[Profile]:
    """Inside the `with` block, note the time and bytes of every op, forward and backward.

        with minigrad.profile() as p:
            loss = loss_fn(model, batch)
            loss.backward()
        print(p)
        p.save_trace("step.json")

    The time of an op on a device is that of its launch.
    """
    found = Profile()
    with watched(found):
        yield found


def _kept(node: Node) -> int:
    """Bytes of the arrays that a node keeps; what two nodes share counts for both."""
    kept = [*node.saved, *(node.output if isinstance(node.output, tuple) else (node.output,))]
    return sum(x.nbytes for x in kept if is_array(x) and hasattr(x, "nbytes"))


# ------------------------------------------------------------------------------------- answers


def explain(op: Op, *inputs: Any, **params: Any) -> str:
    """One line: whether this call is computed by a kernel or by the formula, and why.

    Raises:
        TypeError: it is no Tensor.
    """
    if not isinstance(op, Op):
        raise TypeError(
            f"explain: expected an op, got {type(op).__name__}; a function that is made of ops has "
            f"no kernel of its own: profile() shows what it calls"
        )
    inputs, params = op.bind(inputs, dict(params))
    arrays = [x.data if type(x) is Tensor else x for x in inputs]
    module = array_module(*(a for a in arrays if is_array(a)))
    came = ", ".join(map(describe, arrays))
    if not op.kernel:
        return f"{op.__name__}({came}): formula; the op has no kernel"
    if not kernels.enabled():
        return f"{op.__name__}({came}): formula; kernels are off in this process"
    name = module.__name__
    if name not in op.kernel:
        return f"{op.__name__}({came}): formula; there is no kernel for arrays of {name}"
    if op.compute_by_kernel(module, arrays, params) is NotImplemented:
        return f"{op.__name__}({came}): formula; the kernel declined{_why(arrays)}"
    return f"{op.__name__}({came}): kernel"


def _why(arrays: list) -> str:
    """What of the inputs a kernel commonly does not take."""
    reasons = []
    for i, a in enumerate(arrays):
        if is_array(a) and a.dtype.kind in "fV" and a.dtype not in (np.float32, np.float64):
            reasons.append(f"input {i} is {a.dtype}")
        elif is_array(a) and not a.flags.c_contiguous:
            reasons.append(f"input {i} is not contiguous")
    return f" ({', '.join(reasons)})" if reasons else " (this combination of arguments)"


def explain_grad(loss: Tensor, parameter: Tensor) -> str:
    """Why `parameter` does or does not get a gradient from `loss`: where the path ends.

    Walks from the loss to the parameter without changing anything.

    Raises:
        TypeError: one of the two is no Tensor.
    """
    for what, x in (("loss", loss), ("parameter", parameter)):
        if type(x) is not Tensor:
            raise TypeError(f"explain_grad: the {what} must be a Tensor, and is {describe(x)}")
    name = parameter.name or f"the tensor of shape {parameter.shape}"
    if not loss.requires_grad:
        if loss.dtype.kind in "iub":
            return f"the loss has no history: it is {loss.dtype}, and integers have no gradient"
        return (
            "the loss has no history: it was computed under no_grad, from detached tensors, or "
            "from nothing that requires gradients"
        )
    if not parameter.requires_grad:
        return f"{name} has requires_grad=False; switch it on with requires_grad_() before use"
    target = parameter.edge or parameter
    paths: dict[int, tuple[Node | None, Node]] = {}
    stack: list[tuple[Node | None, Any]] = [(None, loss.edge or loss)]
    ends, constants, others = [], [], []
    while stack:
        child, at = stack.pop()
        if at == target if type(at) is Slot else at is target:
            return f"{name} gets a gradient, along {_path(paths, child)}" + (
                "; it is no leaf, so .grad stays None: call retain_grad() on it before backward"
                if parameter.edge is not None
                else ""
            )
        if type(at) is Tensor:
            ends.append(at.name or f"a leaf of shape {at.shape}")
            continue
        node = at.node
        if node.serial in paths:
            continue
        paths[node.serial] = (child, node)
        if node.freed_by is not None:
            return (
                f"the graph between the loss and {name} was freed by the backward pass at "
                f"{node.freed_by}; ask before it, or pass retain_graph=True there"
            )
        for i, (parent, x) in enumerate(zip(node.parents, node.saved, strict=True)):
            if parent is not None:
                stack.append((node, parent))
                continue
            where = f"input {i} of '{node.op.__name__}' ({_path(paths, node)})"
            if is_array(x) and overlap(x, parameter.data):
                constants.append(where)
            elif is_array(x) or type(x) is Like:
                others.append(f"{describe(x)} as {where}")
    if constants:
        return (
            f"{name} took part as a constant only: its array came without its history as "
            f"{constants[0]}; it was detached there, used under no_grad, or used before it "
            f"required gradients"
        )
    leaves = ", ".join(sorted(set(ends))[:8]) or "no leaf at all"
    return (
        f"{name} took no part in the loss: the paths from the loss end at {leaves}. Either it was "
        f"not used, or what was made of it was detached, cast to integers, compared, or computed "
        f"under no_grad before it was used"
        + (f". Without history came in {'; '.join(others[:4])}" if others else "")
    )


def _path(paths: dict[int, tuple[Node | None, Node]], node: Node | None) -> str:
    """'sum <- multiply <- matmul': the ops from the loss down to `node`."""
    names: list[str] = []
    while node is not None:
        names.append(node.op.__name__)
        node = paths[node.serial][0]
    if len(names) > 24:
        names[12:-12] = [f"... {len(names) - 24} more ..."]
    return " <- ".join(["loss", *reversed(names)])

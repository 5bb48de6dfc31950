"""What a `Learner` does as one of several processes: shares, agreements, and figures of all.

A batch is shared by all; each process computes the gradients of its share, and they are averaged by
what the shares weigh. Where a process has no share of a batch it follows: it takes part in whatever
sums the others make, and in the step of each optimizer that comes of them.
"""

import copy
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad import distributed, optim
from minigrad.autodiff import Tensor
from minigrad.backend import array_module, is_array, to_numpy
from minigrad.errors import DistributedError, StateError
from minigrad.learner.batches import samples_of
from minigrad.learner.metrics import Mean, Metric
from minigrad.optim.reducing import STEP, agreed
from minigrad.trees import flatten
from minigrad.writes import wrote


class Share(NamedTuple):
    """A process's part of a batch; None where it has none. What it weighs, and what all do."""

    batch: Any
    weight: float
    total: float


class Together:
    """The group of processes, as a learner uses it.

    Args:
        optimizers: by name.
    """

    def __init__(self, optimizers: Mapping[str, optim.Optimizer]):
        self.averages = {
            name: optim.AverageGradients(optimizer, name=name)
            for name, optimizer in optimizers.items()
        }

    @property
    def group(self) -> distributed.Group:
        """All processes; it is not kept here, so that a learner can be copied."""
        return distributed.group()

    # -- before a training

    def begin(self, model: Any, facts: Mapping[str, Any]) -> None:
        """Have all train the same: compare what is to be trained, and take over rank 0's numbers.

        Args:
            facts: what else has to be the same, by name: text, numbers.

        Raises:
            DistributedError: the models, the optimizers or the facts differ.
        """
        state = {**dict(model.named_parameters()), **_buffers(model)}
        layouts = {}
        for name, average in self.averages.items():
            average.prepare()
            kind = type(average.optimizer).__name__
            layouts[f"optimizer {name}".strip()] = f"{kind}: {average.layout}"
        shapes = ", ".join(f"{name} {x.dtype} {tuple(x.shape)}" for name, x in state.items())
        self.compare({"model": shapes, **layouts, **facts})
        for optimizer in (a.optimizer for a in self.averages.values()):
            for flat in optimizer.flats:
                flat.adopt()
                for array in (flat.weights, *flat.moments.values()):
                    self._take_over(array)
        owned = {id(p) for a in self.averages.values() for p in a.optimizer.parameters.values()}
        for x in state.values():
            if id(x) not in owned:
                self._take_over(x.data)
        sums = {name: _checksum(x.data) for name, x in state.items()}
        self.compare({"numbers": zlib.crc32(repr(sorted(sums.items())).encode())})

    def _take_over(self, x: Any) -> None:
        if x.size:
            whole = x if x.flags.c_contiguous else x.copy(order="C")
            self.group.broadcast(whole)
            if whole is not x:
                x[...] = whole
            wrote(x)

    def compare(self, facts: Mapping[str, Any]) -> None:
        """Raise DistributedError, naming the first fact that is not the same everywhere."""
        digests = {name: zlib.crc32(str(value).encode()) for name, value in facts.items()}
        everyone = self.group.gather(digests, "compare what is trained")
        names = list(dict.fromkeys(name for one in everyone for name in one))
        if differing := [n for n in names if len({one.get(n) for one in everyone}) > 1]:
            shown = _cut(str(facts.get(differing[0], "absent")))
            texts = self.group.gather(shown, "how it differs")
            listing = "\n  ".join(f"rank {rank}: {text}" for rank, text in enumerate(texts))
            raise DistributedError(
                f"Learner: the processes do not train the same; they differ in "
                f"{', '.join(differing)}. {differing[0]} is\n  {listing}"
            )

    # -- in a training

    def shares(self, batches: Any, weigh: Callable[[Any], float]) -> Iterator[Share]:
        """This process's shares of all batches, until nobody has one any more."""
        end = object()
        given = iter(batches)
        while True:
            batch = next(given, end)
            has = batch is not end and batch is not None
            weight = _plain(weigh(batch)) if has else 0
            said = self.group.gather([batch is not end, has, weight], "the next batch")
            if not any(more for more, _, _ in said):
                return
            if any(has for _, has, _ in said):
                yield Share(batch if has else None, weight, sum(w for _, _, w in said))

    def follow(self, descend: Callable[[str], Any]) -> list[dict]:
        """Take part in a step without a share; what all say at its end.

        Args:
            descend: makes the step of an optimizer, by name.
        """
        while True:
            said = self.group.gather({"do": "wait"}, STEP)
            do, name = agreed(said)
            if do == "end":
                return said
            if self.averages[name].follow(said):
                descend(name)

    def end(self, figures: Mapping[str, float], states: Sequence[Any], weight: float) -> list[dict]:
        """Say what came of a step, and hear it of all."""
        return self.group.gather(
            {"do": "end", "figures": dict(figures), "metrics": list(states), "weight": weight}, STEP
        )

    def average_buffers(self, model: Any, weight: float) -> None:
        """Give every process the same buffers: means by weight, and the largest of integers."""
        kinds: dict[Any, list[Any]] = {}
        for x in _buffers(model).values():
            kinds.setdefault((array_module(x.data), x.dtype), []).append(x.data)
        if not kinds:
            return
        weights = self.group.gather(weight, "weights of buffers")
        part = weight / (sum(weights) or 1)
        for (xp, dtype), arrays in kinds.items():
            floats = dtype.kind in "fcV"
            flat = xp.concatenate([x.reshape(-1) for x in arrays])
            if floats:
                flat = (flat * part).astype(dtype)
            elif dtype.kind == "b":
                flat = flat.astype("uint8")
            self.group.all_reduce(flat, "sum" if floats else "max")
            start = 0
            for x in arrays:
                x[...] = flat[start : start + x.size].reshape(x.shape).astype(dtype)
                start += x.size
                wrote(x)

    def signal(self, received: int | None) -> int | None:
        """A signal that some process has received; None if there was none."""
        return max(self.group.gather(received or 0, "interrupts")) or None

    def merged(self, means: dict[str, Mean], metrics: Sequence[Metric]) -> None:
        """Let means and metrics, each of one process's batches, be those of all."""
        mine = [{n: m.state_dict() for n, m in means.items()}, [m.state_dict() for m in metrics]]
        everyone = self.group.gather(mine, "figures of a pass")
        means.clear()
        for found, _ in everyone:
            for name, state in found.items():
                other = Mean(name)
                other.load_state_dict(state)
                means[name] = means[name].merge(other) if name in means else other
        for i, metric in enumerate(metrics):
            merge_states(metric, [states[i] for _, states in everyone], anew=True)


def merge_states(metric: Metric, states: Iterable[Any], anew: bool = False) -> None:
    """Take in what metrics of other processes have seen; with `anew`, nothing else."""
    if anew:
        metric.reset()
    for state in states:
        other = copy.copy(metric)
        other.reset()
        other.load_state_dict(state)
        metric.merge(other)


def figures_of(said: Sequence[dict]) -> dict[str, float]:
    """The means of all processes' figures of a step, by their weights."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for one in said:
        for name, value in one.get("figures", {}).items():
            pairs.setdefault(name, []).append((value, one["weight"]))
    found = {}
    for name, those in pairs.items():
        total = sum(w for _, w in those)
        # What has no weight may be NaN; where nothing has any, all count alike.
        found[name] = (
            sum(v * w for v, w in those if w) / total
            if total
            else sum(v for v, _ in those) / len(those)
        )
    return found


def shared(batches: Any) -> Any:
    """Batches of which each process gets its share: loaders share by themselves."""
    return batches if hasattr(batches, "shared") else Sliced(batches)


class Sliced:
    """Batches that all processes have: of the rows of each, every n-th."""

    shared = True

    def __init__(self, batches: Any):
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return (None if batch is None else _rows(batch) for batch in self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        if name in ("set_epoch", "state_dict", "load_state_dict"):
            return getattr(self.batches, name)
        raise AttributeError(name)


def _rows(batch: Any) -> Any:
    """This process's rows of a batch of arrays; None if there are none for it."""
    leaves, rebuild = flatten(batch)
    n, group = samples_of(batch), distributed.group()
    for x in leaves:
        if not (is_array(x) or type(x) is Tensor) or x.shape[:1] != (n,):
            raise StateError(
                f"Learner: a batch has to be shared by {group.size} processes, and is not all "
                f"arrays of {n} rows; give arrays, a data set or a DataLoader, or batches that "
                f"have an attribute `shared` and are the share of this process already"
            )
    if group.rank >= n:
        return None
    return rebuild([x[group.rank :: group.size] for x in leaves])


def _buffers(model: Any) -> dict[str, Any]:
    return {name: b for name, b in model.named_buffers() if type(b) is Tensor}


def _plain(weight: Any) -> float:
    """A weight as JSON has it; integers stay what they are."""
    number = float(weight)
    return int(number) if number.is_integer() else number


def _checksum(x: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(x)).tobytes())


def _cut(text: str) -> str:
    return text if len(text) < 600 else f"{text[:600]} ... ({len(text)} characters)"

"""Gradients averaged over processes, while the backward pass still goes on.

Gradients are summed in the flat buffers of the optimizer, in buckets of neighbours, from the last
parameters to the first: the order in which a backward pass comes to them. When the last gradient of
a bucket is there, its sum begins, and goes on beside the rest of the pass. (The way of S. Li et
al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020.)

Before that the processes tell each other which parameters their losses depend on, and afterwards
which have a gradient: what has one in no process has none, and no bucket goes over the network for
nothing.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minigrad import distributed
from minigrad.autodiff import Node, Slot, Tensor, as_array, wrap
from minigrad.backend import Observer, refuse_while_capturing, to_numpy, watched
from minigrad.errors import DistributedError, StateError
from minigrad.optim.flat import Flat, rows_in
from minigrad.optim.optimizer import Optimizer
from minigrad.sparse import SparseRows

BUCKET_BYTES = 25 << 20  # so large that a start costs nothing beside it, so small that many overlap
STEP = "a step"  # the one name of all that processes say within a step


class Bucket(NamedTuple):
    """Neighbours in a flat buffer: parameters `first` to `last` of `flat`.

    Attributes:
        numbers: theirs among all parameters of the optimizer.
        bits: these numbers as a mask.
    """

    flat: Flat
    first: int
    last: int
    numbers: range
    bits: int


class AverageGradients:
    """The mean of all processes' gradients, weighted, as one process would have it of all samples.

        average = optim.AverageGradients(optimizer)
        with average(weight=len(y)):          # how many samples or tokens the mean `loss` is over
            loss(model(x), y).backward()
        optimizer.step()

    Afterwards every parameter has the mean as its `.grad`, the same numbers in all processes; who
    had no gradient counts as zeros, and where all had none there is none. These gradients lie in
    the optimizer's buffer: they are there until its next step. A process without samples takes part
    with a weight of 0. In a process of its own nothing happens.

    In the block there is one backward pass at most. Or there is none, and the gradients are there
    already: those of a step of `mg.jit`, which cannot have the sum in it.

    Args:
        optimizer: whose parameters it is about.
        bucket_bytes: how much is summed at once.
        name: that of the optimizer, the same in all processes.

    Raises:
        StateError: a second backward pass in the block.
        DistributedError: the processes do not do the same.
        ValueError: a weight is negative or not finite.
    """

    def __init__(self, optimizer: Optimizer, bucket_bytes: int = BUCKET_BYTES, name: str = ""):
        self.optimizer, self.bucket_bytes, self.name = optimizer, bucket_bytes, name
        self._flats: list[Flat] = []
        self._rest()

    def _rest(self) -> None:
        self._begun = False
        self._scale, self._weight = 0.0, 0.0
        self._wanted = 0  # parameters that take part somewhere
        self._coming = 0  # parameters that the backward pass in progress is going to reach
        self._filled = 0  # parameters whose gradient is in the buffer
        self._left: list[int] = []  # parameters of each bucket whose gradient is to come, as a mask
        self._started: dict[int, Any] = {}  # buckets under way

    @contextmanager
    def __call__(self, weight: float = 1.0) -> Iterator[None]:
        """Average what the block gives to `.grad`, or what is there already."""
        if distributed.world_size() == 1:
            yield
            return
        refuse_while_capturing(
            "AverageGradients",
            "talks to other processes, which a program cannot; have the step leave its gradients "
            "in .grad, and average them and call the optimizer outside of it",
        )
        weight = float(weight)
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"AverageGradients: weight must be finite and not negative, got {weight}"
            )
        self.prepare()
        self._rest()
        self._weight = weight
        with watched(_Watch(self)):
            yield
        self._finish(self._say("finish", self._present()))

    def follow(self, said: list[dict]) -> bool:
        """Take part, without samples, in what others have said; whether it is over.

        Args:
            said: of all processes, as `group.gather(..., STEP)` gives it.
        """
        self.prepare()
        if not self._begun:
            self._rest()
        if agreed(said)[0] == "begin":
            self._begin(said)
            return False
        self._finish(said)
        return True

    # -- what there is

    def prepare(self) -> None:
        """Lay out the buckets, if the optimizer has other buffers than before."""
        flats = self.optimizer.flats
        if len(flats) == len(self._flats) and all(map(lambda a, b: a is b, flats, self._flats)):
            return
        self._flats = list(flats)
        names = [name for flat in flats for name in flat.parameters]
        self.parameters = [p for flat in flats for p in flat.parameters.values()]
        self._number = {id(p): n for n, p in enumerate(self.parameters)}
        self._places: list[Any] = []  # of each parameter in its buffer
        for flat in flats:
            pairs = zip(flat.starts.tolist(), flat.stops.tolist(), strict=True)
            self._places += [(flat, slice(a, b)) for a, b in pairs]
        self.buckets = list(_buckets(flats, self.bucket_bytes))
        self._bucket_of = {n: i for i, b in enumerate(self.buckets) for n in b.numbers}
        self.layout = ", ".join(
            f"{name} {p.dtype} {p.shape}" for name, p in zip(names, self.parameters, strict=True)
        )

    def _present(self) -> int:
        """The mask of the parameters that have a gradient here, and one that counts."""
        if not self._weight:
            return 0
        return sum(1 << n for n, p in enumerate(self.parameters) if p.grad is not None)

    def _say(self, do: str, mask: int) -> list[dict]:
        """Tell the others, and hear what they do; who has no backward pass waits for theirs."""
        said: dict[str, Any] = {"do": do, "of": self.name, "weight": self._weight}
        said["mask"] = f"{mask:x}"
        if do == "finish" and mask:
            sparse = [n for n, p in enumerate(self.parameters) if rows_in(p.grad) is not None]
            said |= {"sparse": sparse} if sparse else {}
        while True:
            everyone = distributed.group().gather(said, STEP)
            if agreed(everyone)[0] == do:
                return everyone
            self._begin(everyone)  # others have their backward pass, and there is none here

    # -- the sums

    def _begin(self, said: list[dict]) -> None:
        """The weights of all are known, and who has which parameters to come."""
        self._begun = True
        self._scale = self._weighed(said)
        self._wanted = _or(said)
        if not self._coming:
            self._fill_present()
        self._left = [bucket.bits & self._coming for bucket in self.buckets]
        self._start_ready()

    def _weighed(self, said: list[dict]) -> float:
        total = sum(one.get("weight", 0.0) for one in said)
        return self._weight / total if total else 0.0

    def complete(self, number: int, g: Any) -> None:
        """The gradient of a parameter is there: into the buffer with it."""
        self._fill(number, g)
        self._left[self._bucket_of[number]] &= ~(1 << number)
        self._start_ready()

    def _fill(self, number: int, g: Any) -> None:
        """Copy a gradient into its place, with its share in the mean; zeros for None."""
        flat, place = self._places[number]
        self._filled |= 1 << number
        g = None if g is None else as_array(g)
        if g is None or type(g) is SparseRows:
            flat.gradients[place] = 0
        elif g.dtype == flat.gradients.dtype and g.dtype.itemsize >= 4:
            flat.xp.multiply(g.reshape(-1), self._scale, out=flat.gradients[place])
        else:
            flat.gradients[place] = g.reshape(-1) * self._scale

    def _fill_present(self) -> None:
        for n, p in enumerate(self.parameters if self._weight else ()):
            if p.grad is not None and not self._filled >> n & 1:
                self._fill(n, p.grad)

    def _start_ready(self) -> None:
        """Begin the sums of buckets that are complete, in their order: it is the same everywhere.

        Those that are under way get a moment of this process: MPI works in its calls only.
        """
        for i, bucket in enumerate(self.buckets):
            if i in self._started or not bucket.bits & self._wanted:
                continue
            if self._left[i]:
                break
            self._start(i)
        for request in self._started.values():
            request.poke()

    def _start(self, i: int) -> None:
        bucket = self.buckets[i]
        for number in bucket.numbers:
            if not self._filled >> number & 1:
                self._fill(number, None)
        flat = bucket.flat
        part = flat.gradients[flat.starts[bucket.first] : flat.stops[bucket.last]]
        self._started[i] = distributed.group().start(part)

    def _finish(self, said: list[dict]) -> None:
        """Sum what is left, wait, and give every parameter its mean."""
        scale = self._weighed(said)
        if self._begun and scale != self._scale:
            raise DistributedError("AverageGradients: the weights changed within a step")
        self._scale, took_part = scale, _or(said)
        self._fill_present()
        for i, bucket in enumerate(self.buckets):
            if i not in self._started and bucket.bits & (self._wanted | took_part):
                self._start(i)
        for request in self._started.values():
            request.wait()
        sparse = sorted({n for one in said for n in one.get("sparse", ())})
        for n, p in enumerate(self.parameters):
            if n in sparse:
                p.grad = self._sparse(n, p)
            elif took_part >> n & 1:
                flat, place = self._places[n]
                p.grad = wrap(flat.gradients[place].reshape(p.shape))
            else:
                p.grad = None
        self._rest()

    def _sparse(self, number: int, p: Tensor) -> Any:
        """The mean of a gradient that is sparse in some processes: their rows, and the rest."""
        mine = rows_in(p.grad) if self._weight else None
        own: dict[str, Any] = {"whole": bool(self._weight) and p.grad is not None and mine is None}
        if mine is not None:
            values = to_numpy(mine.values).astype("float64") * self._scale
            own |= {"rows": to_numpy(mine.rows).tolist(), "values": values.tolist()}
        everyone = distributed.group().gather(own, "rows of a gradient")
        flat, place = self._places[number]
        xp, total = flat.xp, SparseRows(*_no_rows(flat.xp, p), p.shape)
        for one in everyone:
            if "rows" in one:
                values = np.array(one["values"], "float64").reshape(-1, *p.shape[1:])
                rows = xp.asarray(np.array(one["rows"], np.int64))
                total = total + SparseRows(rows, xp.asarray(values.astype(p.dtype)), p.shape)
        if any(one["whole"] for one in everyone):  # their sum is in the buffer
            return wrap(total + flat.gradients[place].reshape(p.shape))
        return total


class _Watch(Observer):
    """Looks on at the backward pass in a block: which gradients are complete, and when.

    A gradient is when all nodes that add to it have been gone through. That is seen at the node
    after the last of them, when it has been added up.
    """

    def __init__(self, average: AverageGradients):
        self.average = average
        self.depth = 0  # passes within the pass, as those of `checkpoint`
        self.uses: dict[int, int] = {}  # of each parameter by number: nodes that still add to it
        self.latest: dict[int, Any] = {}
        self.ready: list[int] = []

    def walks_back(self, found: list) -> None:
        self.depth += 1
        if self.depth > 1:
            return
        average = self.average
        if average._begun:
            raise StateError(
                "AverageGradients: there was a second backward pass in the block; add the losses "
                "up, or use optim.Accumulate and average what it gives"
            )
        if old := [p.name or "a parameter" for p in average.parameters if p.grad is not None]:
            raise StateError(
                f"AverageGradients: {old[0]} has a gradient from before; call zero_grad() first"
            )
        self.uses = _uses([target for target, _ in found], average._number)
        mask = sum(1 << n for n in self.uses) if average._weight else 0
        # Hooks see a gradient at the end of the pass, and may give another.
        average._coming = mask
        average._begin(average._say("begin", mask))

    def walked_back(self) -> None:
        self.depth -= 1
        if not self.depth:
            self._pass_on()

    def pulled_back(self, node: Any, g: Any, found: list, seconds: float) -> None:
        if self.depth > 1 or not self.average._weight:
            return
        self._pass_on()
        numbers = self.average._number
        for target, part in found:
            if type(target) is Tensor and (n := numbers.get(id(target))) is not None:
                self.latest.setdefault(n, part)
        for parent in node.parents or ():
            if type(parent) is Tensor and (n := numbers.get(id(parent))) is not None:
                self.uses[n] -= 1
                if not self.uses[n] and not getattr(parent, "_hooks", None):
                    self.ready.append(n)

    def added_up(self, target: Any, g: Any, total: Any) -> None:
        if self.depth == 1 and type(target) is Tensor:
            n = self.average._number.get(id(target))
            if n is not None:
                self.latest[n] = total

    def _pass_on(self) -> None:
        for n in self.ready:
            if n in self.latest:
                self.average.complete(n, self.latest[n])
        self.ready.clear()


def _no_rows(xp: Any, p: Tensor) -> tuple[Any, Any]:
    return xp.zeros(0, xp.int64), xp.zeros((0, *p.shape[1:]), p.dtype)


def _uses(targets: Sequence[Any], numbers: dict[int, int]) -> dict[int, int]:
    """How many times each parameter is an input of the nodes that lead to `targets`."""
    uses: dict[int, int] = {}
    seen: set[int] = set()
    stack = [t.node for t in targets if type(t) in (Node, Slot)]
    while stack:
        node = stack.pop()
        if node.serial in seen:
            continue
        seen.add(node.serial)
        for parent in node.parents or ():
            if type(parent) is Tensor:
                if (n := numbers.get(id(parent))) is not None:
                    uses[n] = uses.get(n, 0) + 1
            elif parent is not None:
                stack.append(parent.node)
    return uses


def _buckets(flats: Sequence[Flat], most: int) -> Iterator[Bucket]:
    """Stretches of about `most` bytes, from the last parameter to the first."""
    number = sum(len(flat.parameters) for flat in flats)
    for flat in reversed(flats):
        last = len(flat.parameters) - 1
        for i in range(last, -1, -1):
            number -= 1
            size = int(flat.stops[last] - flat.starts[i]) * flat.gradients.itemsize
            if size >= most or not i:
                numbers = range(number, number + last - i + 1)
                yield Bucket(flat, i, last, numbers, ((1 << len(numbers)) - 1) << number)
                last = i - 1


def _or(said: Sequence[dict]) -> int:
    mask = 0
    for one in said:
        mask |= int(one.get("mask", "0"), 16)
    return mask


def agreed(said: Sequence[dict]) -> tuple[str, str]:
    """What all do that do not wait, and of which optimizer.

    Raises:
        DistributedError: it is not the same.
    """
    busy = [(one["do"], one.get("of", "")) for one in said if one["do"] != "wait"]
    kinds = set(busy)
    if len(kinds) > 1 and {do for do, _ in kinds} == {"begin", "finish"}:
        # Who has no backward pass is at its end already, and waits there.
        kinds = {("begin", of) for _, of in kinds}
    if len(kinds) != 1:
        listing = ", ".join(
            f"rank {rank}: {one['do']} {one.get('of', '')}".rstrip()
            for rank, one in enumerate(said)
        )
        raise DistributedError(
            f"the processes do not do the same in a step ({listing}); each must make the updates "
            f"of the same optimizers in the same order"
        )
    return kinds.pop()

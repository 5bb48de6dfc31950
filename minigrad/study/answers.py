"""What a record says when it is asked: of a call, of a leaf, and why that has its gradient."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.study.sources import Line, Source
from minigrad.study.steps import Call, Place, Pull, Seed, Update
from minigrad.study.values import layout_of

if TYPE_CHECKING:
    from minigrad.study.record import Record

MOST_PATHS = 12  # that `why` tells


class Seen:
    """One call as whoever asks sees it.

    Attributes:
        record, step: which call it is.
        call: its step.
    """

    def __init__(self, record: "Record", step: int):
        call = record.steps[step]
        assert type(call) is Call
        self.record, self.step, self.call = record, step, call

    @property
    def inputs(self) -> list[Any]:
        """Arrays; what else came is a text."""
        return [
            x["text"] if "text" in x else self.record.values[x["value"]].numbers()
            for x in self.call.inputs
        ]

    @property
    def outputs(self) -> list[np.ndarray]:
        return [self.record.values[v].numbers() for v in self.call.outputs]

    @property
    def output(self) -> np.ndarray:
        """The first of `outputs`, which of most ops is the only one."""
        return self.outputs[0]

    @property
    def pull(self) -> Pull | None:
        """The step at which the first walk back came through; None if none did."""
        steps = self.record.pulls.get(self.step)
        if not steps:
            return None
        found = self.record.steps[steps[0]]
        assert type(found) is Pull
        return found

    @property
    def gradient(self) -> np.ndarray | None:
        """What came to the first output that got a gradient; None if no walk back came through."""
        if (pull := self.pull) is None:
            return None
        return next((self.record.values[v].numbers() for v in pull.came if v is not None), None)

    @property
    def gradients(self) -> list[np.ndarray | None]:
        """What the rule gave for each input; None where it was not asked, or gave nothing."""
        found: list[np.ndarray | None] = [None] * len(self.call.inputs)
        if (pull := self.pull) is not None:
            for g in pull.gave:
                found[g["input"]] = self.record.values[g["value"]].numbers()
        return found

    @property
    def line(self) -> Line:
        """The user's line that called it."""
        return self.record.lines[self.call.line]

    @property
    def formula(self) -> Source | None:
        return None if self.call.formula is None else self.record.sources[self.call.formula]

    @property
    def rule(self) -> Source | None:
        """The first rule that answered."""
        pull = self.pull
        return self.record.sources[pull.rules[0]["source"]] if pull and pull.rules else None

    @property
    def by(self) -> str:
        """Who answered: 'kernel' or 'formula'."""
        return self.call.by

    def __repr__(self) -> str:
        return f"<step {self.step}: {self.record.told(self.step)}>"


class Parameter:
    """A leaf as whoever asks sees it."""

    def __init__(self, record: "Record", number: int):
        self.record, self.number, self.leaf = record, number, record.leaves[number]

    @property
    def value(self) -> np.ndarray:
        """As it was at first."""
        return self.record.values[self.leaf.value].numbers()

    @property
    def gradient(self) -> np.ndarray | None:
        """What arrived in all; None if nothing did."""
        found = self.leaf.gradient
        return None if found is None else self.record.values[found].numbers()

    @property
    def update(self) -> Update | None:
        """What the optimizer did to it; None if there was no step of one."""
        return next(
            (s for s in self.record.steps if type(s) is Update and s.leaf == self.number), None
        )

    def __repr__(self) -> str:
        layout = layout_of(self.record.values[self.leaf.value])
        return f"<{self.leaf.kind} {self.leaf.name} {layout}>"


@dataclass(frozen=True)
class Way:
    """One way from the loss down to a parameter.

    Attributes:
        steps: of the pulls, the loss first.
        ops: their names.
        sizes: the norm of the gradient that each gave to the next; the last went to the parameter.
    """

    steps: tuple[int, ...]
    ops: tuple[str, ...]
    sizes: tuple[float, ...]

    @property
    def size(self) -> float:
        """The norm of what arrived at the parameter by its last edge."""
        return self.sizes[-1]

    def __str__(self) -> str:
        parts = [f"{op} ({size:.3g})" for op, size in zip(self.ops, self.sizes, strict=True)]
        if len(parts) > 24:
            parts[12:-12] = [f"... {len(parts) - 24} more ..."]
        return " <- ".join(["loss", *parts])


class Why:
    """Why a leaf has the gradient that it has.

    Along a path stands what each rule gave to the next op, all that came to it by other paths
    included: where paths meet, gradients are summed, and only the sum goes on.

    Attributes:
        paths: the largest first where they part; at most `MOST_PATHS`.
        count: how many there are.
        gradient: the norm of what arrived in all; None if nothing did.
        reason: why there is no path; empty if there is one.
    """

    def __init__(self, record: "Record", number: int):
        self.record, self.leaf = record, record.leaves[number]
        self.name = record.name_of({"leaf": number})
        self._above: dict[int, list[_Gift]] = {}  # of each pull: who gave what came to it
        self._mine: list[_Gift] = []  # those to the leaf
        self._follow(number)
        self._counts: dict[int | None, int] = {None: 1}
        for i, gifts in self._above.items():  # a pull comes after those that gave to it
            self._counts[i] = sum(self._counts[giver] for giver, _ in gifts)
        found = self.leaf.gradient
        self.gradient = None if found is None else record.values[found].norm()
        self.count = sum(self._counts[giver] for giver, _ in self._mine)
        self.paths = list(itertools.islice(self._walk(), MOST_PATHS))
        self.reason = "" if self.count else self._no_path(number)

    def _follow(self, number: int) -> None:
        """Find who gave to whom. In each walk back the first gift to a place has no `total`."""
        waiting: dict[Any, list[_Gift]] = {}  # what has arrived at a place
        for i, s in enumerate(self.record.steps):
            if type(s) is Seed:
                begun: set[Any] = set()
                for g in s.gradients:
                    key = _key(g["to"])
                    if key == ("leaf", number):
                        self._mine.append((None, g["value"]))
                        continue
                    if key not in begun:
                        waiting[key] = []
                    begun.add(key)
                    waiting[key].append((None, g["value"]))
            elif type(s) is Pull:
                where = ("call", s.call) if s.before is None else ("before", s.before)
                self._above[i] = [
                    gift
                    for k, v in enumerate(s.came)
                    if v is not None
                    for gift in waiting.pop((*where, k), ())
                ]
                for g in s.gave:
                    key = _key(g["to"])
                    if key == ("leaf", number):
                        self._mine.append((i, g["value"]))
                    elif g["total"] is None:
                        waiting[key] = [(i, g["value"])]
                    else:
                        waiting.setdefault(key, []).append((i, g["value"]))

    def _walk(self) -> Iterator[Way]:
        """Paths, depth first, the larger gradient first."""
        values, steps = self.record.values, self.record.steps
        norm = functools.cache(lambda v: values[v].norm())
        below: tuple[tuple[int, float], ...] = ()
        stack: list[tuple[list[_Gift] | None, Any]] = [(self._mine, below)]
        while stack:
            gifts, below = stack.pop()
            if gifts is None:
                steps_of, sizes = zip(*below, strict=True)
                yield Way(steps_of, tuple(getattr(steps[i], "op", "") for i in steps_of), sizes)
                continue
            for giver, value in sorted(gifts, key=lambda gift: norm(gift[1])):
                if giver is not None and self._counts[giver]:
                    stack.append((self._above[giver], ((giver, norm(value)), *below)))
                elif giver is None and below:
                    stack.append((None, below))
                elif giver is None:
                    yield Way((), ("itself",), (norm(value),))

    def _no_path(self, number: int) -> str:
        """Where the way ends, for a leaf without a gradient."""
        steps, leaf = self.record.steps, self.leaf
        if not any(type(s) is Seed for s in steps):
            return "there was no backward pass in this record"
        mine = {i for i, v in enumerate(self.record.values) if v.leaf == number}
        readers = [
            i for i in self.record.forward
            if type(s := steps[i]) is Call and any(x.get("value") in mine for x in s.inputs)
        ]  # fmt: skip
        if not readers:
            return "no op of this run has read it"
        called = ", ".join(
            f"{getattr(steps[i], 'op', '')} at {self.record.line_of(i)}" for i in readers[:4]
        )
        if not leaf.tracked:
            return (
                f"it was read by {called}, as a constant: it does not require gradients, or was "
                f"detached, or read under no_grad"
            )
        reached = [i for i in readers if i in self.record.pulls]
        if reached:
            return f"it was read by {called}, and the rules gave no gradient for it"
        return f"it was read by {called}, and from there no way leads to where the walk back began"

    def __str__(self) -> str:
        if self.reason:
            return f"{self.name} got no gradient: {self.reason}"
        size = "" if self.gradient is None else f", in all {self.gradient:.3g}"
        head = f"{self.name} reached the loss by {self.count} path{'s' * (self.count != 1)}{size}"
        rest = self.count - len(self.paths)
        more = [f"  ... {rest} more"] if rest else []
        return "\n".join([head, *(f"  {p}" for p in self.paths), *more])

    __repr__ = __str__


_Gift = tuple[int | None, int]  # the pull that gave it, None at the beginning; and its value


def _key(place: Place) -> Any:
    if "leaf" in place:
        return "leaf", place["leaf"]
    if place["call"] is None:
        return "before", place["before"], place["output"]
    return "call", place["call"], place["output"]

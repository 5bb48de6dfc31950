"""What the engine did in one run, as data: to be walked through, asked, saved and loaded."""

import contextlib
import functools
import hashlib
import itertools
import json
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minigrad
from minigrad.autodiff import Tensor, as_array
from minigrad.errors import DataError
from minigrad.runs import atomic_write
from minigrad.study import values
from minigrad.study.checked import check_record
from minigrad.study.sources import Line, Source
from minigrad.study.values import Value

FORMAT, VERSION = "minigrad.study", 1
FULL = 4096  # up to how many elements of an array are saved
MOST_PATHS = 12  # that `why` tells

# {"call": step, "output": k}, {"leaf": i}, or of what was computed before the record
# {"call": None, "before": which node, "output": k}.
Place = Mapping[str, Any]


@dataclass
class Leaf:
    """An array that no recorded op made.

    Attributes:
        name: a parameter's or argument's; empty if nobody has named it.
        kind: 'parameter', 'argument' or 'constant'.
        value: its first state.
        tracked: whether gradients are wanted.
        gradient: what `.grad` was after the last backward pass that came here; or, where it was
            not set, what the last walk back gave.
    """

    name: str
    kind: str
    value: int
    tracked: bool = False
    gradient: int | None = None


@dataclass
class Call:
    """An op was called. Values are numbers of `Record.values`; see the properties of `Seen`.

    Attributes:
        inputs: {"value": number}, or {"text": what else it was}.
        line: of the user, a number of `Record.lines`; `site`: in a layer, if that is another.
        formula: a number of `Record.sources`.
        by: who answered, 'kernel' or 'formula'.
        within: the step of the pull whose rule made the call, or of the call whose formula did;
            None for one that the user made.
        tracked: whether it left a node, through which the walk back can come.
    """

    op: str
    inputs: list[dict[str, Any]]
    params: dict[str, str]
    outputs: list[int]
    line: int
    site: int | None
    formula: int | None
    by: str
    seconds: float
    within: int | None
    tracked: bool
    kind: str = "call"


@dataclass
class Seed:
    """A backward pass began, with these gradients."""

    gradients: list[dict[str, Any]]
    kind: str = "seed"


@dataclass
class Pull:
    """The rule of a call's node was asked on the walk back.

    Attributes:
        call: the step of the call; None if it was made before the record, and then `before` says
            which of those it was.
        rules: {"input": k or None for a joint rule, "source": number}.
        came: the gradient of each output; None where none came.
        gave: {"input", "to", "value", "unbroadcast", "total"}, as the format has it.
        kept: of each input, whether the node had kept it.
        freed: how many bytes were let go of afterwards; None if they were kept.
    """

    call: int | None
    op: str
    rules: list[dict[str, Any]]
    came: list[int | None]
    gave: list[dict[str, Any]]
    kept: list[bool]
    seconds: float
    freed: int | None = None
    before: int | None = None
    kind: str = "pull"


@dataclass
class Update:
    """What an optimizer did to one parameter; without a gradient it left it alone."""

    optimizer: str
    settings: dict[str, str]
    step: int
    parameter: str
    leaf: int | None
    before: int
    after: int
    gradient: int | None
    moments: dict[str, list[int]]
    formula: int | None
    kind: str = "update"


@dataclass
class Write:
    """A tensor was given other values, not by an op."""

    leaf: int | None
    value: int
    line: int
    kind: str = "write"


Step = Call | Seed | Pull | Update | Write
KINDS: dict[str, Any] = {
    "call": Call, "seed": Seed, "pull": Pull, "update": Update, "write": Write,
}  # fmt: skip


class Record:
    """What the engine did: steps in the order in which they happened, and the arrays in them.

    `print(record)` lists the steps. `op`, `parameter` and `why` answer questions, `save` writes it
    as JSON, `page` as a page for a browser, `walk` goes through it in a terminal; a notebook shows
    the page.

    Attributes:
        steps: `Call`, `Seed`, `Pull`, `Update` and `Write`.
        values: every state of every array; `Value.numbers()` gives one.
        leaves: the arrays that came from outside.
        outputs: the values that the function returned.
        program: how `mg.jit` would do it, as data; `program_note` says why there is none.
        truncated: whether the run went on after the record was full.
        result: what the function returned; None once loaded from a file.
    """

    def __init__(
        self,
        title: str,
        steps: list[Step],
        values: list[Value],
        leaves: list[Leaf],
        sources: Sequence[Source],
        lines: Sequence[Line],
        outputs: list[int],
        *,
        program: dict[str, Any] | None = None,
        program_note: str = "",
        truncated: bool = False,
        seconds: float = 0.0,
        result: Any = None,
        later: "Callable[[Record], None] | None" = None,
    ):
        """`later(record)` completes steps, values, leaves and lines when they are asked for."""
        self.title, self.sources, self._lines, self.outputs = title, sources, lines, outputs
        self.program, self.program_note = program, program_note
        self.truncated, self.seconds, self.result = truncated, seconds, result
        self._steps, self._values, self._leaves, self._later = steps, values, leaves, later
        self._owners: dict[int, tuple[Any, int]] = {}

    def _complete(self) -> None:
        if (later := self._later) is not None:
            self._later = None
            later(self)

    @property
    def steps(self) -> list[Step]:
        self._complete()
        return self._steps

    @property
    def values(self) -> list[Value]:
        self._complete()
        return self._values

    @property
    def leaves(self) -> list[Leaf]:
        self._complete()
        return self._leaves

    @property
    def lines(self) -> Sequence[Line]:
        self._complete()
        return self._lines

    @lines.setter
    def lines(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    # -- questions

    @functools.cached_property
    def forward(self) -> list[int]:
        """The steps that are calls on the way forward: not those that rules made."""
        return [i for i, s in enumerate(self.steps) if type(s) is Call and s.within is None]

    @functools.cached_property
    def pulls(self) -> dict[int, list[int]]:
        """For each call that was walked back through: the steps at which."""
        found: dict[int, list[int]] = {}
        for i, s in enumerate(self.steps):
            if type(s) is Pull and s.call is not None:
                found.setdefault(s.call, []).append(i)
        return found

    def op(self, name: str, number: int = 0) -> "Seen":
        """Call `number`, counted from 0, of the op `name`, on the way forward.

        Raises:
            DataError: there are not so many.
        """
        found = [i for i in self.forward if getattr(self.steps[i], "op", None) == name]
        if not -len(found) <= number < len(found):
            names = sorted({s.op for i in self.forward if type(s := self.steps[i]) is Call})
            raise DataError(
                f"op: '{name}' was called {len(found)} times, and number {number} was asked for "
                f"(they count from 0)"
                + ("" if found else f"; there are {', '.join(names) or 'no calls at all'}")
            )
        return Seen(self, found[number])

    def parameter(self, which: Any) -> "Parameter":
        """A leaf by its name, by the end of it (as 'weight'), or by its Tensor or array.

        Raises:
            DataError: there is none, or several end so.
        """
        self._complete()
        name = which.name if type(which) is Tensor else which
        for one in (which, as_array(which)) if type(which) is Tensor else (which,):
            reach, number = self._owners.get(id(one), (None, 0))
            if reach is not None and reach() is one:
                return Parameter(self, number)
        if not isinstance(name, str):
            name = ""
        exact = [i for i, leaf in enumerate(self.leaves) if name and leaf.name == name]
        ends = [
            i for i, leaf in enumerate(self.leaves)
            if name and leaf.name.endswith(f".{name}")
        ]  # fmt: skip
        found = exact or ends
        if len(found) != 1:
            names = ", ".join(leaf.name for leaf in self.leaves if leaf.name) or "none with a name"
            what = f"'{name}'" if name else "a tensor without a name"
            raise DataError(
                f"parameter: {what} is {'several' if found else 'none'} of the leaves that took "
                f"part; there are {names}"
            )
        return Parameter(self, found[0])

    def note(self, owner: Any, leaf: int) -> None:
        """A tensor or array is that leaf: so that it can be asked for, as long as it lives."""
        with contextlib.suppress(TypeError):  # some arrays cannot be watched like this
            self._owners[id(owner)] = weakref.ref(owner), leaf

    def why(self, parameter: Any) -> "Why":
        """The paths by which a parameter reached the loss, with the gradient along each.

        Raises:
            DataError: it did not take part, and has no name that a leaf has.
        """
        return Why(self, self.parameter(parameter).number)

    def line_of(self, step: int) -> Line | None:
        """The user's line of a step; of a pull, that which called its op."""
        s = self.steps[step]
        if type(s) is Pull:
            return None if s.call is None else self.line_of(s.call)
        return self.lines[s.line] if isinstance(s, Call | Write) else None

    def name_of(self, place: Place) -> str:
        """What a gradient goes to, as text."""
        if "leaf" in place:
            leaf = self.leaves[place["leaf"]]
            return leaf.name or f"{leaf.kind} {self.values[leaf.value].shape}"
        if place["call"] is None:
            return "what was computed before the record"
        call = self.steps[place["call"]]
        assert type(call) is Call
        return call.op

    # -- as text, page and file

    def __str__(self) -> str:
        """A line for each step."""
        lines = [f"{self.title}: {len(self.steps)} steps, {len(self.values)} arrays"]
        lines += [f"{i:5}  {self.told(i)}" for i in range(len(self.steps))]
        if self.truncated:
            lines.append("       the run went on; the record was full")
        return "\n".join(lines)

    def told(self, step: int) -> str:
        """One step in a line."""
        s: Any = self.steps[step]
        if type(s) is Call:
            came = ", ".join(
                x["text"] if "text" in x else _layout(self.values[x["value"]]) for x in s.inputs
            )
            gave = ", ".join(_layout(self.values[v]) for v in s.outputs)
            inside = "" if s.within is None else "  | "
            where = f"  {self.lines[s.line]}" if s.within is None else ""
            return f"{inside}{s.op}({came}) -> {gave}  by {s.by}{where}"
        if type(s) is Seed:
            return f"backward begins at {', '.join(self.name_of(g['to']) for g in s.gradients)}"
        if type(s) is Pull:
            gave = ", ".join(
                f"{self.name_of(g['to'])} {'+=' if g['total'] is not None else '='} "
                f"{_layout(self.values[g['value']])}"
                for g in s.gave
            )
            return f"rule of {s.op}: {gave or 'nothing'}"
        if type(s) is Update:
            size = "left alone" if s.gradient is None else _layout(self.values[s.after])
            return f"{s.optimizer} {s.parameter}: {size}"
        where = self.leaves[s.leaf].name if s.leaf is not None else ""
        return f"written {where} {_layout(self.values[s.value])}  {self.lines[s.line]}"

    def to_json(self, full: int = FULL) -> dict[str, Any]:
        """All of it as plain data.

        Args:
            full: up to how many elements an array keeps all its numbers; a larger one has
                statistics and a picture.
        """
        return {
            "title": self.title,
            "minigrad": minigrad.__version__,
            "seconds": self.seconds,
            "truncated": self.truncated,
            "values": [values.to_json(v, full) for v in self.values],
            "sources": [s._asdict() for s in self.sources],
            "lines": [line._asdict() for line in self.lines],
            "leaves": [asdict(leaf) for leaf in self.leaves],
            "steps": [vars(s) for s in self.steps],
            "outputs": self.outputs,
            "program": self.program,
            "program_note": self.program_note,
        }

    def save(self, path: str | Path, full: int = FULL) -> None:
        """Write it as JSON, with a checksum, atomically; `load` reads it.

        Args:
            full: as for `to_json`.

        Raises:
            RunError: it cannot be written.
        """
        body = _text(self.to_json(full))
        digest = hashlib.sha256(body.encode("utf-8")).hexdigest()
        head = f'{{"format":"{FORMAT}","version":{VERSION},"sha256":"{digest}","record":'
        atomic_write(path, f"{head}{body}}}\n".encode())

    def page(self, path: str | Path, lang: str = "en") -> None:
        """Write it as one HTML file, which needs no network.

        Raises:
            RunError: it cannot be written.
        """
        from minigrad.study.page import page

        atomic_write(path, page(self, lang).encode("utf-8"))

    def walk(self, lang: str | None = None) -> None:
        """Go through it in the terminal, forward and back, by the arrow keys."""
        from minigrad.study.terminal import walk

        walk(self, lang)

    def _repr_html_(self) -> str:
        from minigrad.study.page import fragment

        return fragment(self)


def load(path: str | Path) -> Record:
    """The record that `Record.save` has written.

    Raises:
        DataError: the file is damaged, or no such record.
        OSError: it cannot be read.
    """
    raw = Path(path).read_bytes()
    try:
        found = json.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"load: {path} is no record: it is not JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(
            f"load: {path} is no record of minigrad.study; write one by record.save(path)"
        )
    if type(found.get("version")) is not int or found["version"] != VERSION:
        raise DataError(
            f"load: {path} has version {found.get('version')!r} of the format, expected {VERSION}; "
            f"record it again with this version of minigrad"
        )
    body: Any = found.get("record")
    try:
        written = _text(body)
    except RecursionError as error:
        raise DataError(f"load: {path} is no record: it is nested too deeply") from error
    if hashlib.sha256(written.encode("utf-8")).hexdigest() != found.get("sha256"):
        raise DataError(f"load: {path} is damaged: it does not have the checksum that it names")
    try:
        check_record(body)
        return _from_json(body)
    except (DataError, ImportError) as error:  # of bfloat16
        raise DataError(f"load: {path} is no record: {error}") from error


def _from_json(body: dict[str, Any]) -> Record:
    steps = []
    for step in body["steps"]:
        steps.append(KINDS[step["kind"]](**step))
    return Record(
        body["title"],
        steps,
        [values.from_json(v) for v in body["values"]],
        [Leaf(**leaf) for leaf in body["leaves"]],
        [Source(**s) for s in body["sources"]],
        [Line(**line) for line in body["lines"]],
        body["outputs"],
        program=body["program"],
        program_note=body["program_note"],
        truncated=body["truncated"],
        seconds=body["seconds"],
    )


def _text(data: Any) -> str:
    """JSON in one way, so that a checksum of it can be compared."""
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def _layout(v: Value) -> str:
    return f"{v.dtype}{list(v.shape)}"


# ------------------------------------------------------------------------------------- answers


class Seen:
    """One call as whoever asks sees it.

    Attributes:
        record, step: which call it is.
        call: its step.
    """

    def __init__(self, record: Record, step: int):
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

    def __init__(self, record: Record, number: int):
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
        return f"<{self.leaf.kind} {self.leaf.name} {_layout(self.record.values[self.leaf.value])}>"


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

    def __init__(self, record: Record, number: int):
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

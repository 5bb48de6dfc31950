"""What the engine did in one run, as data: to be walked through, asked, saved and loaded."""

import contextlib
import functools
import hashlib
import json
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import minigrad
from minigrad.autodiff import Tensor, as_array
from minigrad.errors import DataError
from minigrad.runs import atomic_write
from minigrad.study import values
from minigrad.study.answers import Parameter, Seen, Why
from minigrad.study.checked import check_record
from minigrad.study.sources import Line, Source
from minigrad.study.steps import KINDS, Call, Leaf, Place, Pull, Seed, Step, Update, Write
from minigrad.study.values import Value, layout_of

FORMAT, VERSION = "minigrad.study", 1
FULL = 4096  # up to how many elements of an array are saved


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
            if not found:
                there = ", ".join(names) or "no calls at all"
                raise DataError(f"op: '{name}' was not called; there are {there}")
            times = f"{len(found)} times" if len(found) > 1 else "once"
            raise DataError(
                f"op: '{name}' was called {times}, and number {number} was asked for; they count "
                f"from 0"
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

    def __repr__(self) -> str:
        return f"<record of {self.title}: {len(self.steps)} steps>"

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
                x["text"] if "text" in x else layout_of(self.values[x["value"]]) for x in s.inputs
            )
            gave = ", ".join(layout_of(self.values[v]) for v in s.outputs)
            inside = "" if s.within is None else "  | "
            where = f"  {self.lines[s.line]}" if s.within is None else ""
            return f"{inside}{s.op}({came}) -> {gave}  by {s.by}{where}"
        if type(s) is Seed:
            return f"backward begins at {', '.join(self.name_of(g['to']) for g in s.gradients)}"
        if type(s) is Pull:
            gave = ", ".join(
                f"{self.name_of(g['to'])} {'+=' if g['total'] is not None else '='} "
                f"{layout_of(self.values[g['value']])}"
                for g in s.gave
            )
            return f"rule of {s.op}: {gave or 'nothing'}"
        if type(s) is Update:
            size = "left alone" if s.gradient is None else layout_of(self.values[s.after])
            return f"{s.optimizer} {s.parameter}: {size}"
        where = self.leaves[s.leaf].name if s.leaf is not None else ""
        return f"written {where} {layout_of(self.values[s.value])}  {self.lines[s.line]}"

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

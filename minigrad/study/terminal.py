"""A record, step by step, in a terminal.

    walk(record)        reads keys until one leaves: arrows, Home, End, `/` to search, `q`;
                        Enter goes from a call to its rule and back

What a key does is `after`, what is on the screen is `render`; neither touches the terminal.
"""

import ast
import base64
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, ConsoleDimensions, Group
from rich.layout import Layout
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from minigrad.study.messages import language, say
from minigrad.study.pictures import Heat, blocks
from minigrad.study.sources import Source
from minigrad.study.values import Value

if TYPE_CHECKING:
    from minigrad.study.record import Record

__all__ = ["Item", "State", "after", "items", "keys_of", "render", "walk"]

FORWARD, BACK = ("right", "l", "n", " "), ("left", "h", "p")
JUMP = 10  # steps, by Page Up and Page Down
SMALL = 64  # elements that are shown as numbers; of more, statistics and a picture


@dataclass(frozen=True)
class State:
    """Where one is in a record.

    Attributes:
        at: the step.
        chosen: which of its `items` is shown in full.
        typed: what is being searched for; None while nothing is typed.
        sought: what was searched for last.
        message: one line, until the next key.
        done: whether to leave.
    """

    at: int = 0
    chosen: int = 0
    typed: str | None = None
    sought: str = ""
    message: str = ""
    done: bool = False


@dataclass(frozen=True)
class Item:
    """One array of a step, or what came instead of one.

    Attributes:
        role: what it is to the step, as text.
        name: its own name, or where it comes from or goes.
        value: a number of `Record.values`; None for what is no array.
        note: what else there is to say.
    """

    role: str
    name: str
    value: int | None
    note: str = ""


# -------------------------------------------------------------------------------------- keys


def after(record: "Record", state: State, key: str, lang: str) -> State:
    """The state after a key: a character, or 'left', 'enter' and so on."""
    state = replace(state, message="")
    if state.typed is not None:
        return _typing(record, state, state.typed, key, lang)
    last = len(record.steps) - 1
    moves = {
        **dict.fromkeys(FORWARD, 1), **dict.fromkeys(BACK, -1),
        "pagedown": JUMP, "pageup": -JUMP, "home": -last, "end": last,
    }  # fmt: skip
    if key in moves:
        at = min(max(state.at + moves[key], 0), last)
        return replace(state, at=at, chosen=_first(record, at) if at != state.at else state.chosen)
    if key in ("up", "k", "down", "j"):
        most = len(items(record, state.at, lang)) - 1
        chosen = state.chosen + (1 if key in ("down", "j") else -1)
        return replace(state, chosen=min(max(chosen, 0), max(most, 0)))
    if key == "enter" and (other := _counterpart(record, state.at)) is not None:
        return replace(state, at=other, chosen=_first(record, other))
    if key == "/":
        return replace(state, typed="")
    if key in ("q", "Q", "closed"):
        return replace(state, done=True)
    return state


def _typing(record: "Record", state: State, typed: str, key: str, lang: str) -> State:
    if key == "closed":
        return replace(state, done=True)
    if key == "escape":
        return replace(state, typed=None)
    if key == "backspace":
        return replace(state, typed=typed[:-1] if typed else None)
    if key != "enter":
        return replace(state, typed=typed + key) if len(key) == 1 else state
    sought = typed or state.sought  # nothing typed: the same again
    state = replace(state, typed=None, sought=sought)
    if not sought:
        return state
    found = _found(record, sought.lower())
    if not found:
        return replace(state, message=say("walk.not_found", lang, text=sought))
    at = next((i for i in found if i > state.at), found[0])  # round the end
    return replace(state, at=at, chosen=_first(record, at))


def _found(record: "Record", text: str) -> list[int]:
    """The steps with `text` in the name of the op or parameter; if none, in the user's line."""
    by_name, by_line = [], []
    for i, s in enumerate(record.steps):
        if text in f"{getattr(s, 'op', '')} {getattr(s, 'parameter', '')}".lower():
            by_name.append(i)
        line = record.line_of(i)
        # With a space after it, so that one can ask for ':12 ' without ':123'.
        if line is not None and text in f"{line} {line.text}".lower():
            by_line.append(i)
    return by_name or by_line


def _counterpart(record: "Record", step: int) -> int | None:
    """The rule of a call, the call of a rule; of a call in a rule that rule. None if there is none.

    Of an update, the rule that gave the last part of the gradient.
    """
    s: Any = record.steps[step]
    if s.kind == "call":
        return s.within if s.within is not None else next(iter(record.pulls.get(step, ())), None)
    if s.kind == "pull":
        return s.call
    if s.kind == "update" and s.leaf is not None:
        given = (
            i
            for i in range(step - 1, -1, -1)
            if (before := record.steps[i]).kind == "pull"
            if any(g["to"].get("leaf") == s.leaf for g in getattr(before, "gave", ()))
        )
        return next(given, None)
    return None


def _first(record: "Record", step: int) -> int:
    """The item to look at first: the output of a call, the gradient that came in."""
    s: Any = record.steps[step]
    return len(s.inputs) if s.kind == "call" else 0


# -------------------------------------------------------------------------------------- items


def items(record: "Record", step: int, lang: str) -> list[Item]:
    """What a step has to show, in order."""
    s: Any = record.steps[step]
    if s.kind == "call":
        return _of_call(record, s, lang)
    if s.kind == "pull":
        return _of_pull(record, s, lang)
    if s.kind == "seed":
        role = say("walk.gradient", lang)
        return [
            Item(role, say("walk.to", lang, name=record.name_of(g["to"])), g["value"])
            for g in s.gradients
        ]
    if s.kind == "update":
        return _of_update(record, s, lang)
    name = "" if s.leaf is None else record.leaves[s.leaf].name
    return [Item(say("walk.after", lang), name, s.value)]


def _of_call(record: "Record", s: Any, lang: str) -> list[Item]:
    names = _arguments(None if s.formula is None else record.sources[s.formula])
    found = []
    for i, x in enumerate(s.inputs):
        role = f"{say('walk.input', lang)} {names[i] if i < len(names) else i}"
        if "text" in x:
            found.append(Item(role, x["text"], None))
        else:
            arrived = s.within is not None and x["value"] in getattr(
                record.steps[s.within], "came", ()
            )
            origin = say("walk.came", lang) if arrived else _origin(record, x["value"], lang)
            found.append(Item(role, origin, x["value"]))
    found += [Item(say("walk.output", lang), "", v) for v in s.outputs]
    return found


def _of_pull(record: "Record", s: Any, lang: str) -> list[Item]:
    found = [Item(say("walk.came", lang), "", v) for v in s.came if v is not None]
    for g in s.gave:
        note = ""
        if g["unbroadcast"] is not None:
            note = say("walk.summed", lang, shape=tuple(g["unbroadcast"]))
        to = say("walk.to", lang, name=record.name_of(g["to"]))
        found.append(Item(say("walk.gave", lang), to, g["value"], note))
        if g["total"] is not None:
            found.append(Item(say("walk.total", lang), to, g["total"]))
    return found


def _of_update(record: "Record", s: Any, lang: str) -> list[Item]:
    found = [Item(say("walk.before", lang), s.parameter, s.before)]
    if s.gradient is not None:
        found.append(Item(say("walk.gradient", lang), "", s.gradient))
    for name, values in s.moments.items():
        for when, v in zip(("walk.before", "walk.after"), values, strict=False):
            found.append(Item(name, say(when, lang), v))
    return [*found, Item(say("walk.after", lang), s.parameter, s.after)]


def _arguments(source: Source | None) -> list[str]:
    """The names of a formula's inputs: the arguments of its function but `xp`."""
    try:
        found: Any = ast.parse(source.text).body[0] if source is not None else None
    except SyntaxError:
        return []
    if isinstance(found, ast.Expr):
        found = found.value
    if not isinstance(found, ast.FunctionDef | ast.Lambda):
        return []
    return [a.arg for a in (*found.args.posonlyargs, *found.args.args) if a.arg != "xp"]


def _origin(record: "Record", value: int, lang: str) -> str:
    """Where an array came from."""
    v = record.values[value]
    if v.made is not None:
        op = getattr(record.steps[v.made], "op", "")
        return say("walk.from", lang, op=op, step=v.made)
    if v.leaf is not None:
        leaf = record.leaves[v.leaf]
        return leaf.name or say("walk.constant", lang)
    return say("walk.outside", lang)


# ------------------------------------------------------------------------------------- screen


def render(record: "Record", state: State, lang: str, width: int, height: int) -> Layout:
    """The screen: where one is, what happened there, its source beside the chosen array."""
    shown = items(record, state.at, lang)
    head = _head(record, state, lang, width)
    most = max(2, (height - len(head) - 8) // 2)
    rows = _rows(record, shown, state.chosen, most)
    screen = Layout()
    screen.split_column(
        Layout(Group(*head), size=len(head)),
        Layout(rows, size=min(len(shown), most) + 1),
        Layout(name="body"),
        Layout(_foot(state, lang), size=1),
    )
    room = height - len(head) - min(len(shown), most) - 2
    wide = width >= 80
    tall = (room if wide else room // 2) - 2
    parts = [
        Layout(_source(record, state.at, lang, tall)),
        Layout(_value(record, shown, state.chosen, lang, tall, width // 2 if wide else width)),
    ]
    body = screen["body"]
    (body.split_row if wide else body.split_column)(*parts)
    return screen


def _head(record: "Record", state: State, lang: str, width: int) -> list[Text]:
    s: Any = record.steps[state.at]
    count = len(record.steps)
    phase, what, notes = _told(record, s, lang)
    place = say("walk.step", lang, at=state.at, last=count - 1)
    top = Text(no_wrap=True, overflow="ellipsis")
    top.append(f"{record.title}  ", "bold").append(f"{place}  ").append(phase, "bold reverse")
    done = round((state.at + 1) / count * (width - 1))
    bar = Text("━" * done, "cyan").append("─" * (width - 1 - done), "dim")
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(what, "bold cyan").append("  " + "  ".join(notes) if notes else "")
    where = Text(no_wrap=True, overflow="ellipsis")
    if (called := record.line_of(state.at)) is not None:
        where.append(f"{called}  ", "dim").append(called.text)
    if s.kind == "call" and s.site is not None:
        where.append("   " + say("walk.site", lang, line=record.lines[s.site]), "dim")
    return [top, bar, line, where]


def _told(record: "Record", s: Any, lang: str) -> tuple[str, str, list[str]]:
    """The phase of a step, what happened in it, and notes."""
    if s.kind == "call":
        by = say("walk.kernel" if s.by == "kernel" else "walk.formula", lang)
        notes = [by, f"{s.seconds * 1e3:.3f} ms"]
        notes += [f"{name}={value}" for name, value in s.params.items()]
        if s.within is None:
            return say("walk.forward", lang), s.op, notes
        outer: Any = record.steps[s.within]
        if outer.kind == "call":
            phase = _told(record, outer, lang)[0]
            return phase, s.op, [say("walk.inside", lang, op=outer.op), *notes]
        return say("walk.backward", lang), s.op, [say("walk.within", lang, op=outer.op), *notes]
    if s.kind == "seed":
        return say("walk.backward", lang), say("walk.seed", lang), []
    if s.kind == "pull":
        notes = [f"{s.seconds * 1e3:.3f} ms"]
        if s.freed:
            notes.append(say("walk.freed", lang, count=f"{s.freed:,}"))
        return say("walk.backward", lang), say("walk.rule", lang, op=s.op), notes
    if s.kind == "update":
        notes = [say("walk.steps", lang, count=s.step)]
        notes += [f"{name}={value}" for name, value in s.settings.items()]
        if s.gradient is None:
            notes = [say("walk.left_alone", lang)]
        return say("walk.update", lang), f"{s.optimizer} {s.parameter}", notes
    return say("walk.write", lang), say("walk.write", lang), []


def _rows(record: "Record", shown: list[Item], chosen: int, most: int) -> Table:
    """The items around the chosen one, `most` of them."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(5):
        table.add_column(no_wrap=True, overflow="ellipsis")
    first = min(max(0, chosen - most // 2), max(0, len(shown) - most))
    for i, item in enumerate(shown[first : first + most], first):
        value = None if item.value is None else record.values[item.value]
        layout = "" if value is None else f"{value.dtype}{list(value.shape)}"
        style = "bold reverse" if i == chosen else ""
        mark = ">" if i == chosen else " "
        table.add_row(mark, item.role, layout, item.name, item.note, style=style)
    return table


def _foot(state: State, lang: str) -> Text:
    if state.typed is not None:
        return Text(say("walk.search", lang, text=state.typed) + "_", "bold", no_wrap=True)
    if state.message:
        return Text(state.message, "bold red", no_wrap=True)
    return Text(say("walk.keys", lang), "dim", no_wrap=True, overflow="ellipsis")


def _source(record: "Record", step: int, lang: str, tall: int) -> Panel:
    """The formula of a call or an update, the rules of a pull."""
    s: Any = record.steps[step]
    numbers = [r["source"] for r in s.rules] if s.kind == "pull" else [getattr(s, "formula", None)]
    found = [record.sources[n] for n in dict.fromkeys(numbers) if n is not None]
    kind = say("walk.source_rule" if s.kind == "pull" else "walk.source_formula", lang)
    if not found:
        return Panel(Text(say("walk.no_source", lang), "dim"), title=kind)
    text = "\n\n".join(source.text for source in found)
    if text.count("\n") >= tall:
        text = "\n\n".join(without_docstring(source.text) for source in found)
    code = Syntax(text, "python", theme="ansi_dark", background_color="default", word_wrap=True)
    return Panel(code, title=f"{kind}  {found[0].file}:{found[0].line}", title_align="left")


def without_docstring(text: str) -> str:
    """A function's text without its docstring."""
    try:
        function = ast.parse(text).body[0]
    except (SyntaxError, IndexError):
        return text
    match function:
        case ast.FunctionDef(body=[ast.Expr(value=ast.Constant(value=str())) as said, _, *_]):
            lines = text.splitlines()
            return "\n".join(lines[: said.lineno - 1] + lines[said.end_lineno :])
    return text


def _value(
    record: "Record", shown: list[Item], chosen: int, lang: str, tall: int, wide: int
) -> Panel:
    """The chosen array: its numbers, or statistics and a picture."""
    item = shown[chosen] if chosen < len(shown) else None
    if item is None or item.value is None:
        return Panel(Text(item.name if item else say("walk.nothing", lang)))
    value = record.values[item.value]
    title = f"{item.role} {item.name}".strip()
    return Panel(Group(*_numbers(value, lang, tall, wide - 4)), title=title, title_align="left")


def _numbers(value: Value, lang: str, tall: int, wide: int) -> Iterator[Any]:
    yield Text(f"{value.dtype}{list(value.shape)}", "dim")
    if value.array is not None and value.numbers().size <= SMALL:
        numbers = value.numbers()
        if numbers.dtype.kind == "V":
            numbers = numbers.astype(np.float32)
        yield Text(np.array2string(numbers, precision=4, max_line_width=max(20, wide)))
        if value.numbers().size < 4:
            return
    figures = value.described()
    told = {
        name: "-" if figures[name] is None else f"{figures[name]:.4g}"
        for name in ("low", "high", "mean", "std", "zeros", "nan", "infinite")
    }
    yield Text(say("walk.figures", lang, **told))
    picture = _matrix(figures["picture"])
    if picture.size > 1:
        yield Heat("", blocks(picture, max(2, tall - 5), max(2, wide // 2 - 1)))


def _matrix(picture: dict[str, Any]) -> np.ndarray:
    """The numbers of a picture, as near as it has them."""
    raw = np.frombuffer(base64.b64decode(picture["data"]), np.uint8).reshape(picture["shape"])
    low, high = picture["low"], picture["high"]
    return np.where(raw == 255, np.nan, low + raw.astype(np.float64) / 254 * (high - low))


# ----------------------------------------------------------------------------------- terminal


def walk(record: "Record", lang: str | None = None) -> None:
    """Go through a record by keys, until one leaves; without a terminal, print its steps.

    Raises:
        ValueError: there is no such language.
    """
    lang, console = language(lang), Console()
    interactive = sys.stdin.isatty() and console.is_terminal and not console.is_dumb_terminal
    if not interactive or not record.steps:
        if not interactive:
            print(say("walk.no_terminal", lang))
        print(record)
        return
    state = State(chosen=_first(record, 0))
    with _ended_by_signals(), _keyboard() as keys, console.screen(hide_cursor=True) as screen:
        size = None
        for key in keys:
            now = _size(console)
            if key is None and now == size:
                continue
            if key is not None:
                state = after(record, state, key, lang)
            if state.done:
                return
            size = console.size = now
            screen.update(render(record, state, lang, *size))


def _size(console: Console) -> ConsoleDimensions:
    """Columns and lines as they are now: what COLUMNS and LINES say stays, whatever the window."""
    try:
        return ConsoleDimensions(*os.get_terminal_size(console.file.fileno()))
    except (OSError, ValueError):
        return console.size


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the process by an exception, so that all is put back."""

    def end(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {}
    try:
        for name in names:
            number = getattr(signal, name)
            before[number] = signal.signal(number, end)
    except ValueError:  # only the main thread may
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SEQUENCE = re.compile(r"\x1b[\[O]([\d;]*)([A-Za-z~])")
NAMES = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
NUMBERED = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "pageup", "6": "pagedown"}
CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}


def keys_of(text: str) -> tuple[list[str], str]:
    """The keys that a terminal has sent, and what may be the beginning of one more.

    An unknown sequence is no key.
    """
    found, at = [], 0
    while at < len(text):
        if text[at] != "\x1b":
            if text[at] in CONTROLS or text[at].isprintable():
                found.append(CONTROLS.get(text[at], text[at]))
            at += 1
        elif match := SEQUENCE.match(text, at):
            number, letter = match.groups()
            name = NUMBERED.get(number.split(";")[0]) if letter == "~" else NAMES.get(letter)
            found += [name] if name else []
            at = match.end()
        elif re.fullmatch(r"\x1b([\[O][\d;]*)?", text[at:]):
            return found, text[at:]
        else:
            found.append("escape")
            at += 1
    return found, ""


if sys.platform == "win32":
    import msvcrt
    import time

    ARROWS = {
        "H": "up", "P": "down", "M": "right", "K": "left", "G": "home", "O": "end",
        "I": "pageup", "Q": "pagedown",
    }  # fmt: skip

    @contextmanager
    def _keyboard() -> Iterator[Iterator[str | None]]:
        """Keys as they are pressed; None now and then, when the window may have another size."""

        def keys() -> Iterator[str | None]:
            yield None
            while True:
                for _ in range(10):
                    if msvcrt.kbhit():
                        break
                    time.sleep(0.02)
                else:
                    yield None
                    continue
                c = msvcrt.getwch()
                if c == "\x03":
                    raise KeyboardInterrupt
                if c in "\x00\xe0":
                    if name := ARROWS.get(msvcrt.getwch()):
                        yield name
                elif c == "\x1b":
                    yield "escape"
                else:
                    yield from keys_of(c)[0]

        yield keys()

else:
    import codecs
    import select
    import termios
    import tty

    def _keyboard() -> AbstractContextManager[Iterator[str | None]]:
        """Keys as they are pressed; None now and then, when the window may have another size."""
        return _posix_keyboard(sys.stdin.fileno())

    @contextmanager
    def _posix_keyboard(fd: int) -> Iterator[Iterator[str | None]]:
        before = termios.tcgetattr(fd)
        try:
            tty.setcbreak(fd)  # Ctrl-C still interrupts
            mode = termios.tcgetattr(fd)
            off = bytes([os.fpathconf(fd, "PC_VDISABLE")])
            mode[6][termios.VSUSP] = off  # Ctrl-Z would leave the terminal as it is here
            termios.tcsetattr(fd, termios.TCSADRAIN, mode)
            yield _posix_keys(fd)
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    def _posix_keys(fd: int) -> Iterator[str | None]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        yield None
        while True:
            ready, _, _ = select.select([fd], [], [], 0.05 if rest else 0.25)
            if not ready:
                if rest:  # it was no beginning
                    rest = ""
                    yield "escape"
                yield None
                continue
            raw = os.read(fd, 1024)
            if not raw:
                yield "closed"
                return
            found, rest = keys_of(rest + decoder.decode(raw))
            yield from found

"""Where things stand: the formulas and rules that answered, and the lines that called them."""

import ast
import contextlib
import functools
import inspect
import linecache
import os
import site
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import minigrad

ROOT = Path(minigrad.__file__).parent  # of the package


class Source(NamedTuple):
    """A piece of a program: what it is called, where it begins, and its text."""

    name: str
    file: str
    line: int
    text: str


class Line(NamedTuple):
    """One line of a program; `text` is empty where the file cannot be read."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def path_of(file: str) -> str:
    """A file's path as it is shown: relative, and with slashes, on every machine."""
    if file.startswith("<"):
        return file
    path = Path(os.path.abspath(file))
    searched = map(Path, sys.path)
    ours = ROOT.parent if ROOT in path.parents else None
    for root in (ours, Path.cwd(), *_libraries(), *searched):
        if root is not None and root in path.parents:
            return path.relative_to(root).as_posix()
    return path.name


@functools.cache
def _libraries() -> tuple[Path, ...]:
    """Where installed packages and Python's own are."""
    found = [*getattr(site, "getsitepackages", list)(), os.path.dirname(os.__file__), sys.prefix]
    return tuple(Path(os.path.abspath(f)) for f in found)


def line_at(file: str, number: int) -> Line:
    return Line(path_of(file), number, linecache.getline(file, number).strip())


class Sources(Sequence[Source]):
    """The texts of functions, each looked up when it is asked for; see `source_of`."""

    def __init__(self, functions: Iterable[tuple[Callable, str]]):
        self._functions = tuple(functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [source_of(*f) for f in self._functions[i]]
        return source_of(*self._functions[i])


@functools.lru_cache(maxsize=4096)
def source_of(function: Callable, name: str) -> Source:
    """The text of a function; of a lambda what stands for it. Empty where there is no file."""
    function = inspect.unwrap(getattr(function, "func", function))
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        return Source(name, "", 0, "")
    file = code.co_filename
    try:
        lines, first = inspect.getsourcelines(code)
    except (OSError, TypeError, SyntaxError):  # typed into a prompt, or the file is gone
        return Source(name, path_of(file), code.co_firstlineno, "")
    text = textwrap.dedent("".join(lines)).rstrip()
    if code.co_name == "<lambda>" and (found := _lambda(file, code)) is not None:
        first, text = found
    closed = zip(code.co_freevars, function.__closure__ or (), strict=True)
    for free, cell in closed:  # one text may serve many: say for which this one stands
        with contextlib.suppress(ValueError):  # not set yet
            if isinstance(x := cell.cell_contents, str | int | float):
                text = f"# {free} = {_cut(repr(x))}\n{text}"
    return Source(name, path_of(file), first, text)


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."


@functools.lru_cache(maxsize=64)
def _lambdas(file: str) -> tuple[str, list[ast.Lambda]]:
    """The text of a file, and all that is a lambda in it."""
    text = "".join(linecache.getlines(file))
    return text, [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]


def _lambda(file: str, code: CodeType) -> tuple[int, str] | None:
    """The first line of a lambda and its text, found by where its body stands."""
    # Of each instruction line, last line, column and last column, which are 0 for its beginning.
    inside = [(p[0], p[2]) for p in code.co_positions() if None not in p and p[3]]
    if not inside:
        return None
    text, nodes = _lambdas(file)
    fitting = [
        node
        for node in nodes
        if all(
            (node.lineno, node.col_offset) <= place <= (node.end_lineno, node.end_col_offset)
            for place in inside
        )
    ]
    if not fitting:
        return None
    node = max(fitting, key=lambda n: (n.lineno, n.col_offset))  # the innermost
    segment = ast.get_source_segment(text, node)
    return None if segment is None else (node.lineno, textwrap.dedent(segment))


def rules_of(op: Any, inputs: list[int]) -> list[tuple[int | None, Callable]]:
    """Which rule answers for which of an op's `inputs`; None is all of them, jointly."""
    if op.joint_rule is not None:
        return [(None, op.joint_rule)]
    rules = op.rules or ()
    return [(i, rules[min(i, len(rules) - 1)]) for i in inputs] if rules else []

"""The book: ten chapters that build an engine up to the real one, each a file that runs.

    for cell, outputs in run(read("tape")):     the texts and the code in order, and what it gives
    namespace("tape")                           what the code of a chapter defines

A chapter is `NAME.py` here: its docstring and its top-level strings are text in Markdown, all else
is code. Its texts in Japanese are in `ja/NAME.md`, in the same order, a line `---` between two.
`[[minigrad.graph.Node.pull_back]]` in a text leads to the engine.
"""

import ast
import functools
import importlib
import importlib.util
import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from minigrad.study import pictures
from minigrad.study.pictures import Picture

__all__ = ["CHAPTERS", "Cell", "Chapter", "file_of", "find", "namespace", "read", "resolve", "run"]

CHAPTERS = (
    "numbers", "broadcasting", "tape", "rules", "memory",
    "modules", "attention", "vmap", "kernels", "gpu",
)  # fmt: skip

FOLDER = Path(__file__).parent
REFERENCE = re.compile(r"\[\[([\w.]+)\]\]")


_JAPANESE = "[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"


@dataclass(frozen=True)
class Cell:
    """A text or a piece of code of a chapter, and the line of the file where it begins."""

    kind: str  # "text" or "code"
    source: str
    line: int
    body: tuple[ast.stmt, ...] = ()  # of code; the lines are those of the file


@dataclass(frozen=True)
class Chapter:
    """A chapter as it was read; its first cell is its introduction, which begins with its title."""

    name: str
    path: Path
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        return self.cells[0].source.splitlines()[0].removeprefix("#").strip().removesuffix(".")

    @property
    def number(self) -> int:
        return CHAPTERS.index(self.name) + 1

    @property
    def texts(self) -> list[str]:
        return [cell.source for cell in self.cells if cell.kind == "text"]


def find(name: str) -> str:
    """The name of a chapter from its name or its number.

    Raises:
        ValueError: there is no such chapter.
    """
    if name in CHAPTERS:
        return name
    if name.isdecimal() and 1 <= int(name) <= len(CHAPTERS):
        return CHAPTERS[int(name) - 1]
    listed = ", ".join(f"{i} {chapter}" for i, chapter in enumerate(CHAPTERS, 1))
    raise ValueError(f"there is no chapter {name!r}; there are {listed}")


def file_of(name: str, folder: Path = FOLDER) -> Path:
    """The file of a chapter: `numbers_.py` of numbers, as the standard library has a `numbers`.

    Run as a file, a chapter has its folder first on the path, and NumPy would import it from there.
    """
    return folder / f"{name}_.py" if name in sys.stdlib_module_names else folder / f"{name}.py"


def read(name: str, lang: str = "en", folder: Path = FOLDER) -> Chapter:
    """The chapter `name`, with its texts in English or, where `lang` is "ja", in Japanese.

    Raises:
        FileNotFoundError: the file of the chapter, or of its texts, is not there.
        ValueError: the file has no docstring, or the texts in Japanese are more or fewer.
    """
    path = file_of(name, folder)
    source = path.read_text(encoding="utf-8")
    chapter = Chapter(name, path, tuple(_cells(source, ast.parse(source, str(path)).body)))
    if not chapter.cells or chapter.cells[0].kind != "text":
        raise ValueError(f"{path.name}: a chapter begins with a docstring: title, introduction")
    return chapter if lang == "en" else _translated(chapter, folder / lang / f"{name}.md")


def _cells(source: str, statements: list[ast.stmt]) -> Iterator[Cell]:
    """Texts, and what is between them; comments belong to the code."""
    lines = source.splitlines()

    def code(first: int, last: int, body: list[ast.stmt]) -> Iterator[Cell]:
        while first < last and not lines[first - 1].strip():
            first += 1
        if body:
            yield Cell("code", "\n".join(lines[first - 1 : last]).rstrip(), first, tuple(body))

    start, waiting = 1, list[ast.stmt]()
    for statement in statements:
        match statement:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield from code(start, statement.lineno - 1, waiting)
                yield Cell("text", text.strip(), statement.lineno)
                start, waiting = (statement.end_lineno or statement.lineno) + 1, []
            case _:
                waiting.append(statement)
    yield from code(start, len(lines), waiting)


def _translated(chapter: Chapter, path: Path) -> Chapter:
    texts = [t.strip() for t in re.split(r"^---$", path.read_text(encoding="utf-8"), flags=re.M)]
    if len(texts) != len(chapter.texts):
        raise ValueError(
            f"{path.parent.name}/{path.name} has {len(texts)} texts, and {chapter.path.name} has "
            f"{len(chapter.texts)}; write one for each, a line --- between two"
        )
    # A line break between two characters of Japanese would be shown as a space.
    others = (re.sub(f"(?<={_JAPANESE})\n(?={_JAPANESE})", "", text) for text in texts)
    cells = (
        replace(cell, source=next(others)) if cell.kind == "text" else cell
        for cell in chapter.cells
    )
    return replace(chapter, cells=tuple(cells))


# --------------------------------------------------------------------------------------- running


class _Outputs(io.TextIOBase):
    """What a cell gives, in order: texts that it prints, and pictures."""

    def __init__(self) -> None:
        self.found: list[str | Picture] = []

    def write(self, text: str) -> int:
        if self.found and isinstance(self.found[-1], str):
            self.found[-1] += text
        elif text:
            self.found.append(text)
        return len(text)

    def writable(self) -> bool:
        return True


def _module_of(name: str) -> ModuleType:
    """A new one. Not of ours: an op of a chapter must not stand for the engine's of that name."""
    return ModuleType(f"book.{name}")


def run(
    chapter: Chapter, module: ModuleType | None = None
) -> Iterator[tuple[Cell, list[str | Picture]]]:
    """Each cell, once it has run, with its outputs in order: texts, and pictures.

    All cells share the names of one module, a new one unless it is given.
    """
    module = module or _module_of(chapter.name)
    module.__file__ = str(chapter.path)
    for cell in chapter.cells:
        outputs = _Outputs()
        if cell.kind == "code":
            tree = ast.Module(list(cell.body), [])
            with redirect_stdout(outputs), pictures.handed_to(outputs.found.append):
                exec(compile(tree, chapter.path, "exec", dont_inherit=True), vars(module))
        yield cell, outputs.found


def namespace(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """What the code of a chapter defines, all of which is run; nothing is printed.

    Raises:
        FileNotFoundError: there is no such chapter.
    """
    module = _module_of(name)
    for _ in run(read(name, folder=folder), module):
        pass
    return vars(module)


# ------------------------------------------------------------------------------------- references


def resolve(reference: str) -> str:
    """'minigrad/graph.py:288 Node.pull_back' of 'minigrad.graph.Node.pull_back'.

    Raises:
        LookupError: there is no such module, or no such name in it.
    """
    file, line, path = _place(reference)
    return file if path == "" else f"{file}:{line} {path}"


def linked(chapter: Chapter, text: str, show: Callable[[str], str] = "`{}`".format) -> str:
    """A text of a chapter with its references resolved, each shown by `show`.

    Raises:
        LookupError: one leads nowhere; it names the chapter.
    """

    def shown(match: re.Match) -> str:
        try:
            return show(resolve(match[1]))
        except LookupError as error:
            raise LookupError(f"chapter {chapter.name}: {match[0]}: {error.args[0]}") from None

    return REFERENCE.sub(shown, text)


@functools.cache
def _place(reference: str) -> tuple[str, int, str]:
    """The file, the line and the path of names in it to which a reference leads."""
    module, file = reference, None
    while module and (file := _file_of(module)) is None:
        module = module.rpartition(".")[0]
    if file is None:
        raise LookupError("there is no such module of minigrad")
    path = reference[len(module) + 1 :]
    shown = Path(*file.parts[-len(module.split(".")) - (file.name == "__init__.py") :])
    if not path:
        return shown.with_suffix(".py").as_posix(), 1, ""
    scope: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    found = None
    for name in path.split("."):
        found = _definition(scope, name)
        if found is None:
            break
        scope = getattr(found, "body", [])
    if found is not None:
        return shown.as_posix(), found.lineno, path
    return _place(_home(module, path))


def _file_of(module: str) -> Path | None:
    if module.partition(".")[0] not in ("minigrad", "jsl"):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # of something in a module, which is no package
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _definition(scope: list[ast.stmt], name: str) -> ast.stmt | None:
    """The statement of a module or a class that defines `name`; of several the last."""
    found: ast.stmt | None = None
    for node in scope:
        match node:
            case ast.FunctionDef() | ast.ClassDef() if node.name == name:
                found = node
            case ast.Assign() if any(
                isinstance(part, ast.Name) and part.id == name
                for target in node.targets
                for part in ast.walk(target)
            ):
                found = node
            case ast.AnnAssign(target=ast.Name(id=target)) if target == name:
                found = node
            case ast.If() | ast.Try():
                inner = [*node.body, *getattr(node, "orelse", [])]
                found = _definition(inner, name) or found
    return found


def _home(module: str, path: str) -> str:
    """Where that is defined which `module` only imports, as `minigrad.Tensor` is."""
    value: Any = importlib.import_module(module)
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise LookupError(f"there is no {path} in {module}") from None
    home = f"{getattr(value, '__module__', module)}.{getattr(value, '__qualname__', path)}"
    if not hasattr(value, "__qualname__"):
        home = f"{getattr(value, '__module__', module)}.{getattr(value, '__name__', path)}"
    if home == f"{module}.{path}":
        raise LookupError(f"there is no definition of {path} in {module}")
    return home

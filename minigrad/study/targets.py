"""What can be recorded from the command line: an example, a function of a file, a whole file.

EXAMPLES                    the names of `minigrad.examples`
recorded("digits_cnn")      the record of one training step of it
recorded("train.py:step")   of a function without arguments; "train.py": of the whole file
recorded("step.json")       a record that was saved
"""

import difflib
import importlib
import importlib.util
import inspect
import runpy
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType

import click

import minigrad
from minigrad.study.messages import say
from minigrad.study.record import Record, load
from minigrad.study.recording import study

__all__ = ["EXAMPLES", "UserError", "module_at", "near", "recorded"]

EXAMPLES = tuple(
    sorted(
        file.stem
        for file in (Path(minigrad.__file__).parent / "examples").glob("*.py")
        if file.stem not in ("__init__", "command")
    )
)


class UserError(Exception):
    """The user's own code raised `error`; `show` says so as Python does."""

    def __init__(self, error: BaseException, path: Path):
        self.error, self.path = error, path

    def show(self) -> None:
        """Print the traceback, from the user's file on."""
        found: TracebackType | None = self.error.__traceback__
        while found is not None and found.tb_frame.f_code.co_filename != str(self.path):
            found = found.tb_next
        traceback.print_exception(self.error.with_traceback(found))


def recorded(what: str, lang: str) -> tuple[Record, str]:
    """A record, and a name for files that are made of it.

    Raises:
        UsageError: there is no such thing, or it cannot be called or read.
        UserError: the user's code raised something.
    """
    if what in EXAMPLES:
        return _of_example(what, lang), what
    path, function = split(what)
    if not path.is_file():
        raise click.UsageError(say("cli.no_file", lang, path=path))
    if path.suffix == ".json" and function is None:
        return _saved(path, lang), path.stem
    if path.suffix != ".py":
        raise click.UsageError(say("cli.not_python", lang, path=path))
    path = path.resolve()
    if function is None:
        with _users_code(path):
            found, name = study(_whole, path), path.stem
        found.title = path.name
    else:
        called = function_in(module_at(path), function, path, lang)
        with _users_code(path):
            found, name = study(called), f"{path.stem}.{function}"
    if not found.steps:
        raise click.UsageError(say("cli.empty", lang, name=what))
    return found, name


def split(what: str) -> tuple[Path, str | None]:
    """FILE and FUNCTION of 'FILE:FUNCTION'; a drive has a colon, too."""
    file, _, function = what.rpartition(":")
    if file and function.isidentifier() and not Path(what).exists():
        return Path(file), function
    return Path(what), None


def near(name: str, names: Iterable[str], lang: str) -> str:
    """'near it: ...', of the names that look like `name`; empty where none does."""
    found = difflib.get_close_matches(name, list(names), 3)
    return say("cli.near", lang, names=", ".join(found)) if found else ""


def _of_example(name: str, lang: str) -> Record:
    # They stand a floor above this one, so that only their names are known here.
    module = importlib.import_module(f"minigrad.examples.{name}")
    try:
        step = module.one_step()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise click.UsageError(say("cli.example", lang, name=name, error=error)) from None
    record = study(minigrad.jit(step.func), *step.args)  # arrays are a program's arguments
    record.title = name
    return record


def _saved(path: Path, lang: str) -> Record:
    try:
        return load(path)
    except (OSError, ValueError) as error:
        raise click.UsageError(say("cli.record", lang, path=path, error=error)) from None


# ------------------------------------------------------------------------------------- files


def module_at(path: Path) -> ModuleType:
    """The module that a file defines, its folder first among those that it imports from.

    Raises:
        UserError: the file raised something.
    """
    path = path.resolve()
    name = path.stem if path.stem not in sys.modules else f"study of {path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _users_code(path):
        spec.loader.exec_module(module)
    return module


def function_in(module: ModuleType, name: str, path: Path, lang: str) -> Callable:
    """The function of that name, which must need no arguments.

    Raises:
        UsageError: there is none, or it needs some; it lists those that do not.
    """
    found = getattr(module, name, None)
    if not callable(found):
        there = [
            other
            for other, value in vars(module).items()
            if callable(value) and not inspect.isclass(value)
            if getattr(value, "__module__", "") == module.__name__ and not needed(value)
        ]
        listed = ", ".join(there) or say("cli.nothing", lang)
        told = say("cli.no_function", lang, path=path.name, name=name, there=listed)
        raise click.UsageError(told)
    if arguments := needed(found):
        told = ", ".join(arguments)
        raise click.UsageError(
            say("cli.needs_arguments", lang, path=path.name, name=name, arguments=told)
        )
    return found


def needed(function: Callable) -> list[str]:
    """The arguments without which it cannot be called."""
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _whole(path: Path) -> None:
    """Run a file as Python runs it."""
    arguments, sys.argv = sys.argv, [str(path)]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as error:
        if error.code:  # else it has only ended early
            raise
    finally:
        sys.argv = arguments


@contextmanager
def _users_code(path: Path) -> Iterator[None]:
    """Inside, `import` finds what is beside `path`, and what is raised is a UserError."""
    sys.path.insert(0, str(path.parent))
    try:
        yield
    except Exception as error:
        raise UserError(error, path) from error
    finally:
        sys.path.remove(str(path.parent))

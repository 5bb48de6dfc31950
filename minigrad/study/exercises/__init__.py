"""Exercises, and checkers that say what is wrong as a teacher would.

    words                           what is said of any answer, in English and Japanese
    comparing  relations            how an answer differs from the right one, and what that may mean
    checking                        an exercise, and what comes of an answer to it
    numbers broadcasting tape rules memory modules attention vmap kernels gpu
                                    a page of exercises for each chapter of the book

`check(name, function)` gives a `Verdict`; `check_file(path)` one for each exercise in a file;
`stub(name)` the text of a file to begin with.
"""

import linecache
import sys
import tokenize
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from minigrad.errors import MinigradError
from minigrad.study.exercises import (
    attention,
    broadcasting,
    gpu,
    kernels,
    memory,
    modules,
    numbers,
    rules,
    tape,
    vmap,
)  # fmt: skip
from minigrad.study.exercises.checking import Exercise, Verdict
from minigrad.study.exercises.words import WORDS
from minigrad.study.messages import language

__all__ = ["EXERCISES", "Exercise", "Verdict", "check", "check_file", "named", "stub"]

PAGES = (numbers, broadcasting, tape, rules, memory, modules, attention, vmap, kernels, gpu)

EXERCISES: dict[str, Exercise] = {e.name: e for page in PAGES for e in page.EXERCISES}


def named(name: str) -> Exercise:
    """The exercise of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(EXERCISES)}")
    return EXERCISES[name]


def check(name: str, function: Callable, lang: str | None = None) -> Verdict:
    """What is to be said of `function` as an answer to the exercise `name`.

    Args:
        lang: 'en' or 'ja'; None for that of the environment.

    Raises:
        ValueError: there is no such exercise, or no such language.
    """
    return named(name).check(function, lang)


def check_file(
    path: str | Path, names: Sequence[str] | None = None, lang: str | None = None
) -> dict[str, Verdict]:
    """Verdicts, in the book's order, on the functions in a Python file that are named as exercises.

    The file is run.

    Args:
        names: only these; one that is not in the file gets a verdict that says so.

    Raises:
        ValueError: there is no exercise of such a name, or no such language.
        MinigradError: there is no such file, it stops with an error, or nothing in it is named as
            an exercise; the message is for who wrote the file.
    """
    lang = language(lang)
    wanted = [named(name).name for name in names or ()]
    there = vars(_loaded(Path(path)))
    wanted = [name for name in EXERCISES if name in (wanted or there)]
    if not wanted:
        raise MinigradError(
            f"check: nothing in {path} is named as an exercise; name a function as one of "
            f"{', '.join(EXERCISES)}"
        )
    return {
        name: check(name, there[name], lang) if name in there else _absent(name, lang)
        for name in wanted
    }


def _absent(name: str, lang: str) -> Verdict:
    wrong, absent = (WORDS[key][lang].format(name=name) for key in ("wrong", "absent"))
    return Verdict(False, f"{wrong}\n\n{absent}", "absent")


def _loaded(path: Path) -> ModuleType:
    """A file, run as a module that nobody else can import, with its folder's files at hand."""
    if not path.is_file():
        raise MinigradError(f"check: there is no file {path}; see `exercise NAME --write FILE`")
    linecache.checkcache(str(path))  # it may have been edited since
    module = ModuleType(f"answers_in_{path.stem}")
    module.__file__ = str(path)
    sys.path.insert(0, str(path.parent))
    sys.modules[module.__name__] = module  # dataclasses look there
    try:
        with tokenize.open(path) as file:
            source = file.read()
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        if not isinstance(error, SystemExit) or error.code:  # else it has only ended early
            raise MinigradError(_stopped(path, error)) from error
    finally:
        sys.path.remove(str(path.parent))
        del sys.modules[module.__name__]
    return module


def _stopped(path: Path, error: BaseException) -> str:
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    source = linecache.getline(str(path), line).strip() if line else ""
    where = f"{path}:{line}" if line else f"{path}"
    return f"check: {where} stops with {type(error).__name__}: {error}" + (
        f"\n    {source}" if source else ""
    )


def stub(name: str, lang: str | None = None) -> str:
    """The text of a Python file to begin with: the task, and the function to write.

    Raises:
        ValueError: there is no such exercise, or no such language.
    """
    return named(name).stub[language(lang)]

"""For those who study: one step of the engine, recorded, to walk through; a book; exercises.

    record = mg.study(f, *args)     what the engine did, op by op and rule by rule
    python -m minigrad.study        the book, and where it begins

    recording   study: one run of a function as a `Record`; recorder: the observer that writes it
    record      Record: asked, saved, shown; answers: what it says, checked: what it must be
    steps       what it consists of, with values, sources and programs; see FORMAT.md
    page        it in a browser; terminal: by the arrow keys
    book        ten chapters, each a file that runs; chapters, pictures: how they are shown
    exercises   a function to write each, and what is wrong with it
    targets     what the command line can record

The module itself is what `mg.study` names, and may be called: that is `minigrad.study.study`.
"""

import sys
from types import ModuleType
from typing import Any

from minigrad.study.record import Record, load
from minigrad.study.recording import study

__all__ = ["Record", "load", "study"]


class _Study(ModuleType):
    """A module that may be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return study(*args, **kwargs)


sys.modules[__name__].__class__ = _Study

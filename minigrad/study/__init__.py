"""For those who study: one step of the engine, recorded, to walk through; a book; exercises.

    record = mg.study(f, *args)     what the engine did, op by op and rule by rule
    python -m minigrad.study        the book, and where it begins

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

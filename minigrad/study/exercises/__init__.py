"""Exercises, and checkers that say what is wrong as a teacher would."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exercise:
    """A function to write; texts are {"en": ..., "ja": ...}."""

    name: str
    chapter: str
    title: dict[str, str]
    task: dict[str, str]
    stub: Any
    check: Callable


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what is to be said of it."""

    right: bool
    text: str
    mistake: str = ""


EXERCISES: dict[str, Exercise] = {}


def check(name: str, function: Callable, lang: str | None = None) -> Verdict:
    """What is to be said of an answer."""
    return EXERCISES[name].check(function, lang)

"""What the values of options may be.

click has all of this in English; here it speaks the language of the moment.
"""

import pathlib
import re
from contextlib import suppress
from typing import Any

import click

from jsl.messages import Said, listed, say

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # C:/ is a drive


class Integer(click.IntRange):
    """An integer of at least `min`, and of at most `max` if that is given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            if self.max is None:
                reason = say("usage.integer", value=value, low=self.min)
            else:
                reason = say("usage.integers", value=value, low=self.min, high=self.max)
        self.fail(reason, param, ctx)


class IntegerOr(Integer):
    """An integer, or a word in place of it."""

    def __init__(self, word: str, low: int, high: int | None = None):
        super().__init__(low, high)
        self.word = word

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == self.word:
            return value
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            reason = say("usage.or", word=self.word, reason=Said(error.message))
        self.fail(reason, param, ctx)


class Positive(click.ParamType):
    """A positive floating-point number."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with suppress(ValueError):
            if 0 < float(value) < float("inf"):
                return float(value)
        self.fail(say("usage.number", value=value), param, ctx)


class NotNegative(Positive):
    """A floating-point number that is 0 or more."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with suppress(ValueError):
            if 0 <= float(value) < float("inf"):
                return float(value)
        self.fail(say("usage.not_negative", value=value), param, ctx)


class Share(Positive):
    """A floating-point number from 0 to below 1."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with suppress(ValueError):
            if 0 <= float(value) < 1:
                return float(value)
        self.fail(say("usage.share", value=value), param, ctx)


class Several(click.ParamType):
    """Some of several words, with commas between them; or "none"."""

    name = "names"

    def __init__(self, choices: tuple[str, ...]):
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        words = [word.strip() for word in value.split(",")]
        if words == ["none"]:
            return ()
        if unknown := [word for word in words if word not in self.choices]:
            choices = listed([*self.choices, "none"])
            self.fail(say("usage.choice", value=unknown[0], choices=choices), param, ctx)
        return tuple(words)


class Path(click.Path):
    """A path; whether it can be read is found out where it is, in the language of the moment."""

    def __init__(self):
        super().__init__(path_type=pathlib.Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip() or "\0" in str(value):
            self.fail(say("usage.path", value=value), param, ctx)
        return super().convert(value, param, ctx)


class Run(Path):
    """A directory of a run, or its URI in an object store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not _URI.match(str(value)):
            return found
        from minigrad import runs

        return str(value) if runs.is_uri(str(value)) else runs.local("jsl", str(value))


class Choice(click.Choice):
    """One of several words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            choices = listed(self.choices)
        self.fail(say("usage.choice", value=value, choices=choices), param, ctx)

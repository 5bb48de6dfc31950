"""Options from a TOML file, as `--config FILE` takes them.

    backend = "numpy"          # for every command that has the option

    [train]
    corpus = "corpus.tsv"      # as on the command line: relative to where jsl is called
    batch-size = 16            # or batch_size

A key is a long name of an option. What stands in the file is a default, and is checked like
everything that is given: the command line wins over it, and a command's own table over what is
above all tables. The whole file is checked, whichever command is called.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from jsl import options
from jsl.errors import UsageError
from jsl.messages import listed, say

# What an option takes in TOML by its type, and how that is called; the first that fits.
KINDS: tuple[tuple[type, tuple[type, ...], str], ...] = (
    (options.IntegerOr, (int, str), "settings.integer_or"),
    (click.types.IntParamType, (int,), "settings.integer"),
    (click.types.FloatParamType, (int, float), "settings.number"),
    (options.Positive, (int, float), "settings.number"),
    (click.types.BoolParamType, (bool,), "settings.flag"),
    (click.ParamType, (str,), "settings.text"),
)

KEPT = "jsl.settings"  # where a context has the `Settings`

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]")
_KEY = re.compile(r"""\s*([\w."'-]+)\s*=""")


class Settings:
    """The options that a file gives to a command and to all that stand below it.

    Attributes:
        path: of the file.
        lines: of its keys, by their place, where they can be found.
        places: of the keys, by the words that lead to a command and the name of its option.
        defaults: as `click.Context.default_map` has them.

    Raises:
        UsageError: it cannot be read, or there is a key or a value in it that no option takes.
    """

    def __init__(self, path: Path, command: click.Command, context: click.Context):
        self.path = path
        self.lines: dict[tuple[str, ...], int] = {}
        try:
            text = path.read_bytes().decode("utf-8-sig")
            table = tomllib.loads(text)
        except OSError as error:
            reason = error.strerror or error  # without the path once more
            raise UsageError(say("settings.unreadable", path=path, reason=reason)) from error
        except UnicodeDecodeError as error:
            raise UsageError(say("settings.not_utf8", path=path, offset=error.start)) from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(say("settings.not_toml", path=path, reason=error)) from error
        self.lines = lines_of(text)
        self.known: set[str] = set()
        self.places: dict[tuple[str, ...], tuple[str, ...]] = {}
        above = {key: value for key, value in table.items() if type(value) is not dict}
        self.defaults = self._of(command, context, table, above, ())
        for key in above:
            if key not in self.known:
                self._unknown((key,), self.known)

    def _of(
        self,
        command: click.Command,
        context: click.Context,
        table: Mapping[str, Any],
        above: Mapping[str, Any],
        place: tuple[str, ...],
    ) -> dict[str, Any]:
        """The defaults of a command, whose table has this place in the file."""
        known = keys_of(command)
        self.known |= known.keys()
        names = command.list_commands(context) if isinstance(command, click.Group) else []
        for key in table:
            if key not in names and key not in known and (place or key not in above):
                self._unknown((*place, key), [*known, *names])
        own = {key: value for key, value in table.items() if place and key not in names}
        defaults: dict[str, Any] = {}
        for given, whence in ((above, ()), (own, place)):
            for name, key in self._chosen(known, given, whence).items():
                self.places[*place, name] = (*whence, key)
                defaults[name] = self._value(known[key], given[key], (*whence, key))
        for name in names:
            inner = table.get(name, {})
            if type(inner) is not dict:
                self._refuse((*place, name), say("settings.table", name=name))
            below = command.get_command(context, name)  # type: ignore[attr-defined]
            assert below is not None
            defaults[name] = self._of(below, context, inner, above, (*place, name))
        return defaults

    def _chosen(
        self, known: Mapping[str, click.Option], given: Iterable[str], place: tuple[str, ...]
    ) -> dict[str, str]:
        """The options that some keys are of, by name, and for each its key."""
        found: dict[str, str] = {}
        for key in given:
            if key in known:
                name = str(known[key].name)
                if name in found:
                    twice = say("settings.twice", names=listed((found[name], key)))
                    self._refuse((*place, key), twice)
                found[name] = key
        return found

    def _value(self, option: click.Option, value: Any, place: tuple[str, ...]) -> Any:
        kinds, word = next((k, w) for kind, k, w in KINDS if isinstance(option.type, kind))
        many = option.multiple or option.nargs != 1
        values = value if many and type(value) is list else [value]
        if (type(value) is list) != many or any(type(item) not in kinds for item in values):
            expected = say(word)
            expected = say("settings.list", of=expected) if many else expected
            wrong = say("settings.value", name=place[-1], expected=expected, found=repr(value))
            self._refuse(place, wrong)
        return value

    def _unknown(self, place: tuple[str, ...], known: Iterable[str]) -> NoReturn:
        known = sorted({name.replace("_", "-") for name in known})
        near = difflib.get_close_matches(place[-1].replace("_", "-"), known, 1)
        hint = (
            say("schema.nearest", name=near[0])
            if near
            else say("settings.known", names=listed(known))
        )
        self._refuse(place, say("settings.unknown", name=".".join(place), nearest=hint))

    def _refuse(self, place: tuple[str, ...], reason: str) -> NoReturn:
        raise UsageError(say("settings.problem", path=self.where(place), reason=reason))

    def where(self, place: tuple[str, ...]) -> str:
        """The file, with the line of a key if that could be found."""
        line = self.lines.get(place)
        return str(self.path) if line is None else f"{self.path}:{line}"


def keys_of(command: click.Command) -> dict[str, click.Option]:
    """The options that a file may give to a command, by each of their keys."""
    return {
        key: option
        for option in command.params
        if isinstance(option, click.Option) and option.name != "config"
        if not (option.is_flag and option.is_eager)  # it shows something and exits
        for name in option.opts
        if name.startswith("--")
        for key in (name[2:], name[2:].replace("-", "_"))
    }


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Where the keys of a TOML text are, as far as that shows without reading TOML."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            parts = _parts(key[1])
            for end in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:end]), number)
    return lines


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip(" \t\"'") for part in key.split("."))


def take(context: click.Context, path: Path) -> None:
    """Make of a file's options the defaults of a command: what is called for `--config`.

    Raises:
        UsageError: the file is not as it should be, or there was one before the command's name too.
    """
    if context.resilient_parsing:
        return
    if KEPT in context.meta:
        raise UsageError(say("settings.two"))
    root = context.find_root()
    settings = context.meta[KEPT] = Settings(path, root.command, root)
    defaults = settings.defaults
    for name in names_of(context):
        defaults = defaults[name]
    context.default_map = defaults


def names_of(context: click.Context) -> tuple[str, ...]:
    """The words that lead to a command, without that of the program: ("corpus", "check")."""
    if context.parent is None:
        return ()
    return (*names_of(context.parent), str(context.info_name))


def origin(context: click.Context | None, option: click.Parameter) -> str | None:
    """The file, and the line, that gave an option its value; None if it is not from a file."""
    if context is None or KEPT not in context.meta:
        return None
    if context.get_parameter_source(str(option.name)) is not ParameterSource.DEFAULT_MAP:
        return None
    settings: Settings = context.meta[KEPT]
    return settings.where(settings.places[*names_of(context), str(option.name)])

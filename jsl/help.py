"""Commands and options whose help is a text of `jsl.messages`, in the language of the moment.

    @command("help.verify")                     the command `jsl verify`, described by that text
    @option("--epochs", help="help.train.epochs", type=...)
    def verify(epochs): ...

A command or an option without a text cannot be made. What click itself says in a page of help is
said here in its place, and lines are broken as Japanese breaks them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import zip_longest
from typing import Any

import click
from click.core import ParameterSource

from jsl import options
from jsl.messages import LANGUAGES, TEXTS, Said, columns, listed, say, use_language

# What Japanese does not begin a line with, and what it does not end one with.
_CLOSING = r":;,.)\]>、。，．・？！：；）」』】〕〉》”’ーぁぃぅぇぉっゃゅょァィゥェォッャュョ"
_OPENING = "（「『【〔〈《“‘"
_PIECE = re.compile(rf" +|[{_OPENING}]*(?:[!-~]+|[^ ])[{_CLOSING}]*")


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text of paragraphs, each of at most `width` columns where that can be."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [""] if lines else []
        line = ""
        for piece in _PIECE.findall(" ".join(paragraph.split())):
            if line.strip() and columns(line) + columns(piece.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece if line or piece.strip() else ""
        lines.append(line.rstrip())
    return lines


class Formatter(click.HelpFormatter):
    """A page of help whose width is counted in columns of a terminal, of which あ takes two."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, prefix or say("help.usage") + " ")

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        for line in wrapped(text, self.width - self.current_indent):
            self.write(f"{indent}{line}".rstrip() + "\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        rows = list(rows)
        indent = " " * self.current_indent
        first = min(max(columns(term) for term, _ in rows), col_max) + col_spacing
        for term, text in rows:
            lines = wrapped(text, max(self.width - self.current_indent - first, 10))
            if columns(term) + col_spacing > first:
                self.write(f"{indent}{term}\n")
                term = ""
            for line in lines:
                self.write(f"{indent}{term}{' ' * (first - columns(term))}{line}".rstrip() + "\n")
                term = ""


class Context(click.Context):
    formatter_class = Formatter


class Text:
    """An attribute that is set to a key of `TEXTS`, and is the text of that key when it is read."""

    def __init__(self, needed: bool = True):
        self.needed = needed

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"_{name}_key"

    def __set__(self, of: Any, key: str | None) -> None:
        if key not in TEXTS and (self.needed or key is not None):
            raise KeyError(f"{of.name}: its help should be a key of jsl.messages, got {key!r}")
        setattr(of, self.key, key)

    def __get__(self, of: Any, kind: type | None = None) -> Any:
        return self if of is None else say(getattr(of, self.key))


class Option(click.Option):
    """An option with help."""

    help: Any = Text()  # type: ignore[assignment]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None:
            return None
        extra = self.get_help_extra(ctx)
        notes: list[str] = []
        if "default" in extra:
            notes.append(say("help.default", value=extra["default"]))
        if "range" in extra:
            notes.append(extra["range"])
        if "required" in extra:
            notes.append(say("help.required"))
        return record[0], f"{self.help}  [{'; '.join(notes)}]" if notes else self.help


def option(*names: str, help: str, **settings: Any) -> Callable:
    """`click.option`, its `help` a key of `TEXTS`."""
    return click.option(*names, cls=Option, help=help, **settings)


def _choose_language(context: click.Context, option: click.Parameter, value: str | None) -> None:
    source = context.get_parameter_source("lang")
    before = context.parent and context.parent.get_parameter_source("lang")
    if source is ParameterSource.DEFAULT_MAP and before is ParameterSource.COMMANDLINE:
        return
    if value:
        use_language(value)


def _take_settings(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None:
        from jsl import settings

        settings.take(context, value)


def _debug(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        context.meta[DEBUG] = True


DEBUG = "jsl.debug"  # whether a context has this is asked by `main`


def common() -> list[click.Parameter]:
    """The options that stand before or after a command's name alike."""
    return [
        Option(
            ["--config"],
            type=options.Path(),
            expose_value=False,
            is_eager=True,
            callback=_take_settings,
            help="help.config",
        ),
        Option(
            ["--lang"],
            type=options.Choice(LANGUAGES),
            expose_value=False,
            is_eager=True,
            callback=_choose_language,
            help="help.lang",
        ),
        Option(["--debug"], is_flag=True, expose_value=False, callback=_debug, help="help.debug"),
    ]


class _Page(click.Command):
    """What commands and groups of commands have in common: the page of help."""

    context_class = Context
    help: Any = Text()
    epilog: Any = Text(needed=False)

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.epilog = "help.exit_codes"
        self.params += common()

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        found = super().get_help_option(ctx)
        if found is not None:  # it is made once
            found.help = say("help.help")
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        with formatter.section(say("help.options")):
            formatter.write_dl([record for record in records if record])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(self.epilog)


class Command(_Page):
    """A command that takes what it declares and nothing more."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True  # else click refuses them, in English
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            ctx.fail(say("usage.extra", words=listed(rest)))
        return rest


class Commands(_Page, click.Group):
    """Commands under one name; the name alone gives help, but is no success.

    Those of `modules` are imported when they are called: the module's command has the name under
    which it is here, and its description is "help." and that name.
    """

    command_class = Command

    def __init__(self, *arguments: Any, modules: Mapping[str, str] | None = None, **settings: Any):
        super().__init__(*arguments, **settings)
        self.modules = dict(modules or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, *self.modules])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.modules:
            return getattr(import_module(self.modules[cmd_name]), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        texts: dict[str, str] = {
            name: say(f"help.{name}") for name in self.modules
        }  # without an import
        texts |= {name: str(command.help) for name, command in self.commands.items()}
        with formatter.section(say("help.commands")):
            formatter.write_dl([(name, first_sentence(texts[name])) for name in sorted(texts)])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None:
            known = Said(say("list.separator").join(self.list_commands(ctx)))  # all of them
            ctx.fail(say("usage.command", name=args[0], known=known))
        return super().resolve_command(ctx, args)


def command(key: str) -> Callable[[Callable], Command]:
    """Makes a command of a function; the last part of the key of its description is its name."""
    return click.command(key.rpartition(".")[2], cls=Command, help=key)


def group(key: str) -> Callable[[Callable], Commands]:
    """Makes a name for several commands, as `jsl corpus`; `add_command` puts one below it."""
    return click.group(key.rpartition(".")[2], cls=Commands, help=key)


def first_sentence(text: str) -> str:
    """A text as far as its first full stop."""
    found = re.match(r".*?(?:。|\.(?=\s|$))", text, re.DOTALL)
    return found[0] if found else text


def early_language(arguments: Sequence[str]) -> None:
    """Take notice of --lang before anything is said of the words that stand before it."""
    for word, value in zip_longest(arguments, arguments[1:]):
        if word == "--":
            return
        given = value if word == "--lang" else word.removeprefix("--lang=")
        if word.startswith("--lang") and given in LANGUAGES:
            use_language(given)


def pages(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """The contexts of a command and of all that stand below it, in order of their names."""
    context = Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from pages(found, below, context)

"""What the values of options may be, and what to say of a command line that is wrong.

click has all of this in English; here it speaks the language of the moment.
"""

from typing import Any

import click

from jsl.messages import say


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


class Number(click.ParamType):
    """A floating-point number."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return float(value)
        except ValueError:
            self.fail(say("usage.number", value=value), param, ctx)


class Choice(click.Choice):
    """One of several words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            choices = say("list.separator").join(self.choices)
        self.fail(say("usage.choice", value=value, choices=choices), param, ctx)


class Commands(click.Group):
    """Commands under one name; the name alone gives help, but is no success."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None:
            known = say("list.separator").join(self.list_commands(ctx))
            ctx.fail(say("usage.command", name=args[0], known=known))
        return super().resolve_command(ctx, args)


def explain(error: click.UsageError) -> str:
    """What is wrong with a command line."""
    match error:
        case click.MissingParameter(param=click.Parameter() as param):
            return say("usage.missing", name=param.opts[0])
        case click.BadParameter(param=click.Parameter() as param):
            return say("usage.value", name=param.opts[0], reason=error.message)
        case click.NoSuchOption(possibilities=near) if near:
            near = say("list.separator").join(near)
            return say("usage.option_near", name=error.option_name, near=near)
        case click.NoSuchOption():
            return say("usage.option", name=error.option_name)
        case click.BadOptionUsage():
            return say("usage.option_value", name=error.option_name)
        case _:
            return error.format_message()


def show(error: click.UsageError) -> None:
    """Print to standard error what is wrong with a command line, and where to find help."""
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    command = error.ctx.command_path if error.ctx else "jsl"
    click.echo(say("usage.help", command=f"{command} --help"), err=True)
    click.echo(say("cli.error", error=explain(error)), err=True)

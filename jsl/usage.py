"""What to say of a command line that is wrong: what click knows of it, in our languages."""

import click

from jsl.messages import Said, listed, say


def name_of(parameter: click.Parameter) -> str:
    """What a person calls an option or an argument: --load, DIR."""
    is_option = isinstance(parameter, click.Option)
    return parameter.opts[0] if is_option else parameter.human_readable_name


def explain(error: click.UsageError) -> str:
    """What is wrong with a command line."""
    from jsl import settings

    match error:
        case click.MissingParameter(param=click.Parameter() as param):
            return say("usage.missing", name=name_of(param))
        case click.BadParameter(param=click.Parameter() as param):
            said = say("usage.value", name=name_of(param), reason=Said(error.message))
            path = settings.origin(error.ctx, param)
            return say("settings.problem", path=path, reason=said) if path else said
        case click.NoSuchOption(possibilities=near) if near:
            return say("usage.option_near", name=error.option_name, near=listed(near))
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

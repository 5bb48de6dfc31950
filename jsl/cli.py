"""The command line `jsl`: its commands are in `jsl.commands`, a file each.

Exit codes: 0 it worked, 2 the command line itself is wrong, 141 nobody reads the output any more,
129 or 143 a training was ended by SIGHUP or SIGTERM, 1 everything else. There is no traceback
without `--debug`.
What a command needs is imported when it runs, so that help is quick.
"""

import errno
import os
import sys
import traceback
from contextlib import suppress

import click

from jsl.commands import MODULES
from jsl.errors import JslError, UsageError
from jsl.help import DEBUG, Commands, Option, early_language
from jsl.messages import say

# Of standard output that was closed, as by `| head -1`: what a shell says of a program that the
# signal SIGPIPE, number 13, has ended.
CLOSED = 128 + 13


@click.version_option(
    package_name="minigrad", message="%(version)s", cls=Option, help="help.version"
)
@click.group(
    "jsl",
    cls=Commands,
    help="help.jsl",
    modules=MODULES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def cli() -> None:
    """The commands under their one name."""


def main() -> None:
    """Run the command line; turns errors into messages and exit codes."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # Whatever a console's code page is, and whatever bytes a shell has put into an argument.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = outcome()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError as error:  # nothing can be said any more
        code = CLOSED if is_closed(error) else 1
        hush()
    sys.exit(code)


def outcome() -> int | str:
    """The exit code of what the command line asks for; OSError if messages cannot be written."""
    debug = "--debug" in sys.argv[1:]
    early_language(sys.argv[1:])
    context = None
    try:
        if "_JSL_COMPLETE" in os.environ:  # a shell asks for completions
            cli.main(prog_name="jsl")
        # Not by `cli.main`, which makes of a closed output an exit with 1.
        with cli.make_context("jsl", sys.argv[1:]) as context:
            cli.invoke(context)
        return 0
    except SystemExit as error:
        return error.code or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        from jsl import usage

        usage.show(error)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo(say("cli.interrupted"), err=True)
        return 1
    except Exception as error:
        if is_closed(error):
            raise
        from minigrad.errors import MinigradError

        if debug or (context is not None and DEBUG in context.meta):
            traceback.print_exc()
        if isinstance(error, MemoryError):
            click.echo(say("cli.memory", error=error), err=True)
            return 1
        expected = isinstance(error, JslError | MinigradError | OSError)
        key = "cli.error" if expected else "cli.unexpected"
        click.echo(say(key, error=error if str(error) else type(error).__name__), err=True)
        return 2 if isinstance(error, UsageError) else 1


def is_closed(error: BaseException) -> bool:
    """Whether an error is that of writing where nobody reads any more."""
    if isinstance(error, BrokenPipeError):
        return True
    # On Windows it is "Invalid argument", without the name of a file.
    if os.name == "nt" and isinstance(error, OSError):
        return error.errno == errno.EINVAL and error.filename is None
    return False


def hush() -> None:
    """Let what is still to be written go nowhere, so that Python does not fail over it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())

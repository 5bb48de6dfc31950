"""Several processes that carry out one command, started by `mpiexec`: they speak with one voice."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import click

from jsl.errors import JslError
from jsl.help import option
from jsl.messages import say

if TYPE_CHECKING:
    from minigrad.distributed import Group


def distributed_option(command: Callable) -> Callable:
    """Whether the processes of an `mpiexec` work together."""
    return option(
        "--distributed/--no-distributed", "together", default=None, help="help.train.distributed"
    )(command)


@contextmanager
def as_one(together: bool | None) -> Iterator["Group"]:
    """The processes that `mpiexec` has started; rank 0 says what there is to be said.

    An error that all of them meet is raised in rank 0, and the others end without a word. One that
    some do not meet ends all, with the rank and the error.

    Args:
        together: None: as `minigrad.distributed.init` finds out.

    Raises:
        JslError: there are none, and there should be.
    """
    from minigrad.distributed import DistributedError, init

    try:
        group = init(together)
    except DistributedError as error:
        raise JslError(str(error)) from error
    if group.size == 1:
        yield group
        return
    try:
        if group.rank == 0:
            click.echo(say("train.processes", count=group.size))
            yield group
        else:
            with (
                open(os.devnull, "w", encoding="utf-8") as nowhere,
                redirect_stdout(nowhere),
                redirect_stderr(nowhere),
            ):
                yield group
    except Exception as error:
        try:
            group.gather(None, "end with an error")
        except DistributedError:
            if isinstance(error, DistributedError):
                time.sleep(1.0)  # who met an error of its own says it better, and ends this one
            group.end(f"failed: {error}")
        if group.rank:
            sys.exit(1)
        raise

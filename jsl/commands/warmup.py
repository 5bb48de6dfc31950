"""`jsl warmup`: compile the kernels, for all runs to come on this machine."""

import time
from typing import Any

import click

from jsl.help import command
from jsl.messages import say


@command("help.warmup")
def warmup() -> None:
    from minigrad import kernels

    began = time.perf_counter()

    def report(kernel: Any) -> None:
        if kernel.seconds is not None:
            click.echo(say("warmup.kernel", name=kernel.name, seconds=kernel.seconds))

    kernels.warm_up("search and transformer", report)
    click.echo(say("train.compiled", seconds=time.perf_counter() - began))

"""What is shown while kernels are compiled and while epochs go by."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from jsl.messages import listed, say

if TYPE_CHECKING:
    from jsl.train import Progress

KNOWN = 5  # epochs after which it is known how long one takes


def prepare_kernels() -> None:
    """Compile the kernels, or load them from the cache of an earlier run, before the clock runs."""
    from minigrad import kernels

    began = time.perf_counter()
    if sys.stderr and sys.stderr.isatty():
        from rich.console import Console

        names: list[str] = []
        with Console(stderr=True).status("") as status:

            def show(kernel: Any) -> None:
                if kernel.seconds is None:
                    names.append(kernel.name)
                elif kernel.name in names:
                    names.remove(kernel.name)
                text = say(
                    "train.compiling", done=kernel.done, total=kernel.total, names=listed(names)
                )
                status.update(text)

            kernels.warm_up("transformer", show)
    else:
        said = False

        def report(kernel: Any) -> None:
            nonlocal said
            if kernel.seconds is not None:
                return
            if not said:
                click.echo(say("train.compiling_once", total=kernel.total))
            said = True
            click.echo(say("train.compile", name=kernel.name, done=kernel.done, total=kernel.total))

        kernels.warm_up("transformer", report)
    click.echo(say("train.compiled", seconds=time.perf_counter() - began))


@contextmanager
def progress_lines(epochs: int) -> Iterator[Callable[["Progress"], None]]:
    """A bar on a terminal; elsewhere about twenty plain lines in all."""
    done = 0
    seconds: deque[float] = deque(maxlen=20)  # of the last epochs; the first ones watch steps

    def line(p: "Progress") -> str:
        seconds.append(p.seconds)
        left = ""
        if done >= KNOWN or p.epoch == p.epochs:
            # Most epochs take as long as the median; those that watch a step take longer.
            rest = round(sorted(seconds)[len(seconds) // 2] * (p.epochs - p.epoch))
            left = say("train.left", time=f"{rest // 60}:{rest % 60:02d}")
        valid = p.valid_loss_per_token
        return say(
            "train.epoch",
            epoch=p.epoch,
            epochs=p.epochs,
            token=p.loss_per_token,
            sentence=p.loss_per_sentence,
            valid="" if valid is None else say("train.valid", loss=valid),
            speed=p.tokens_per_second,
            left=left,
        )

    if sys.stdout and sys.stdout.isatty():  # it is None if it was closed
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        last = ""
        # The line comes first and wraps, so that a narrow terminal hides none of it.
        text = TextColumn("{task.description}", table_column=Column(overflow="fold"))
        with Bar(text, BarColumn(bar_width=12), transient=True) as bar:
            task = bar.add_task("", total=epochs)

            def report(p: "Progress") -> None:
                nonlocal done, last
                done += 1
                last = line(p)
                bar.update(task, advance=1, description=last)

            yield report
        if last:
            click.echo(last)
    else:
        every = max(1, epochs // 20)

        def report(p: "Progress") -> None:
            nonlocal done
            done += 1
            text = line(p)
            if done % every == 0 or done == 1 or p.epoch == p.epochs:
                click.echo(text)

        yield report

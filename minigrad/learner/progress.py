"""How far it is: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from minigrad.learner.batches import length_of

__all__ = ["Progress", "loop", "shown"]


def shown(logs: Mapping[str, float]) -> str:
    """Figures as text: `loss 0.5123  accuracy 0.9`."""
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())


def duration(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pace(seconds: float, steps: int) -> str:
    """What a step takes: `12 ms/step`."""
    each = seconds / max(steps, 1)
    for size, unit in ((1, "s"), (1e-3, "ms")):
        if each >= size:
            return f"{each / size:.3g} {unit}/step"
    return f"{each * 1e6:.3g} us/step"


class Progress:
    """One line for each epoch; on a terminal it is a bar while the epoch runs.

    Args:
        verbose: 0 shows nothing, 1 bars on a terminal and lines elsewhere, 2 lines always.
        file: where to; by default the standard output.

    Raises:
        ValueError: `verbose` is none of these.
    """

    def __init__(self, verbose: int = 1, file: TextIO | None = None):
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 0, 1 or 2, got {verbose!r}")
        self.verbose, self.file = verbose, file or sys.stdout
        self.bar = verbose == 1 and self.file.isatty()
        self._rich: Any = None
        self._last = 0.0

    def __deepcopy__(self, memo: dict) -> "Progress":
        """That of a copied learner, which writes to the same place."""
        new = memo[id(self)] = Progress(self.verbose, self.file)
        return new

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.verbose:
            print(text, file=self.file, flush=True)

    @contextmanager
    def epoch(self, title: str, total: int | None, done: int = 0) -> Iterator[None]:
        """Around the steps of an epoch, of which there are `total`, if that is known.

        Args:
            done: how many of them there were before.
        """
        self.began, self.total = time.perf_counter(), total
        self.steps = self._first = done
        if not self.bar:
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(compact=True), TextColumn("{task.fields[figures]}"),
        )  # fmt: skip
        with Bar(*columns, console=Console(file=self.file), transient=True) as self._rich:
            self._task = self._rich.add_task(title, total=total, completed=done, figures="")
            try:
                yield
            finally:
                self._rich = None

    def step(self, logs: Mapping[str, float]) -> None:
        """One more step is done."""
        self.steps += 1
        now = time.perf_counter()
        if self._rich is not None and (now - self._last > 0.1 or self.steps == self.total):
            self._last = now
            self._rich.update(self._task, completed=self.steps, figures=shown(logs))

    def end(self, title: str, logs: Mapping[str, float]) -> None:
        """The line of an epoch that is over."""
        seconds = time.perf_counter() - self.began
        count = f"{self.steps}/{self.total}" if self.total else f"{self.steps}"
        each = pace(seconds, self.steps - self._first)
        self.say(f"{title}  {count}  {duration(seconds)}  {each}  {shown(logs)}")


def loop(iterable: Iterable[Any], title: str = "", verbose: int = 1) -> Iterator:
    """The items of `iterable`, with progress shown: for training loops written by hand.

    for x, y in mg.learner.loop(loader, "epoch 1"):
        ...
    """
    progress = Progress(verbose)
    total = length_of(iterable)
    with progress.epoch(title, total):
        for item in iterable:
            yield item
            progress.step({})
    progress.end(title, {})

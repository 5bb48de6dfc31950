"""Ctrl-C, SIGTERM and SIGHUP, put off to a place where a training can stop and go on later."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

__all__ = ["Interrupts"]

# A terminal that is closed sends SIGHUP; Windows has none.
SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


class Interrupts:
    """Inside a `with` block, the first signal is noted and raised by `check`, a second at once.

    Handlers are those from before afterwards. Only the main thread may have any: in others the
    block does nothing. Blocks of one object can lie in each other: then the outermost counts, as
    where a program has more to do after a training that should not be lost either:

        with learner.interrupts as interrupts:
            learner.fit(data, epochs=10)      # with on_interrupt="stop"
            figures = learner.evaluate(held_out)
            with interrupts.ignored():
                learner.save("models/a")

    Attributes:
        received: the number of the first signal.
        count: how many there were.
        patience: how many are noted before the next is raised at once.
        noted: called with that number at once, whatever the program is doing: to say that it will
            stop. None for nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.count, self.patience = 0, 1
        self.noted: Callable[[int], None] | None = None
        self._before: dict[int, Any] = {}
        self._blocks = 0
        self._ignoring = False

    def __enter__(self) -> Self:
        self._blocks += 1
        if self._blocks > 1:
            return self
        self.received, self.count = None, 0
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # Whoever ignores a signal, as nohup does, goes on ignoring it. (None: a handler
                # that is not Python's and could not be put back.)
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        self._blocks -= 1
        if self._blocks:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Inside this block signals do nothing: for what is over in an instant, as saving."""
        before, self._ignoring = self._ignoring, True
        try:
            yield
        finally:
            self._ignoring = before

    def _note(self, number: int, frame: Any) -> None:
        if self._ignoring:
            return
        self.count += 1
        if self.count > self.patience:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
        if self.noted is not None:
            self.noted(number)

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a signal in this block."""
        if self._before and self.received is not None:
            raise KeyboardInterrupt

"""Ctrl-C and SIGTERM, put off to a place where a training can stop and go on later."""

import signal
import threading
from typing import Any, Self


class Interrupts:
    """Inside a `with` block, the first signal is noted and raised by `check`, a second at once.

    Handlers are those from before afterwards. Only the main thread may have any: in others the
    block does nothing.

    Attributes:
        received: the number of the signal.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.received = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # Whoever ignores a signal, as nohup does, goes on ignoring it. (None: a handler
                # that is not Python's and could not be put back.)
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a signal in this block."""
        if self._before and self.received is not None:
            raise KeyboardInterrupt

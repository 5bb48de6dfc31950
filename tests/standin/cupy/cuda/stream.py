"""Streams, events and graphs, and what may pass while a graph is recorded.

Work for the null stream, and for any stream that is not `non_blocking`, is done at once. What a
`non_blocking` stream is given waits, until somebody waits for that stream or for an event behind
it: whoever forgets to wait reads rubbish, and a host array that is overwritten too early is copied
as it is then. While a stream is recorded nothing is done at all; `Graph.launch` does it.
"""

import itertools
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cupy.cuda._errors import CUDARuntimeError

synchronisations: Counter[str] = Counter()  # what made the host wait: how often
transfers: Counter[str] = Counter()  # what moved data between host and device: how often

MOST = 20_000  # works that wait; then they are done, so that memory does not fill up

_lock = threading.RLock()
_numbers = itertools.count(1)
_streams: "weakref.WeakValueDictionary[int, Stream]" = weakref.WeakValueDictionary()
_refusing = False


@contextmanager
def capturing() -> Iterator[None]:
    """Inside the `with` block a synchronisation or a transfer is a RuntimeError."""
    global _refusing
    before, _refusing = _refusing, True
    try:
        yield
    finally:
        _refusing = before


def count(account: Counter[str], what: str) -> None:
    """Put `what` on an account, after what the stream has to do; or raise, while capturing."""
    if _refusing:
        raise RuntimeError(f"{what}: the current stream is capturing")
    refuse_upload(what)
    account[what] += 1
    get_current_stream()._finish()


def refuse_upload(what: str) -> None:
    """Raise if the current stream is capturing."""
    if get_current_stream().is_capturing():
        raise RuntimeError(f"{what}: the current stream is capturing")


def refuse_library(name: str) -> None:
    """Raise if the current stream is capturing, as CuPy's wrappers of `name` do."""
    if get_current_stream().is_capturing():
        raise NotImplementedError(
            f"calling {name} API during stream capture is currently unsupported"
        )


class _Recording:
    """What was submitted while a stream was capturing.

    Attributes:
        keeps: arrays that were made meanwhile; their memory belongs to the graph.
        joined: other streams that wait for an event of the recording, and are not waited for.
    """

    def __init__(self, origin: "Stream"):
        self.origin = origin
        self.works: list[Callable[[], None]] = []
        self.keeps: list[Any] = []
        self.joined: set[Stream] = set()
        self.everybody = [origin]
        self.wrong = ""


class Stream:
    """A queue of work for the device."""

    null: "Stream"

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ):
        self.ptr = 0 if null else next(_numbers) << 8
        self.device_id = 0
        self._waits = non_blocking
        self._queue: deque[Callable[[], None]] = deque()
        self._submitted = self._done = 0
        self._recording: _Recording | None = None
        self._before: list[Stream] = []
        _streams[self.ptr] = self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.ptr == self.ptr

    def __hash__(self) -> int:
        return hash(self.ptr)

    def __repr__(self) -> str:
        return f"<Stream {self.ptr}>"

    def __enter__(self) -> "Stream":
        _current().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current().pop()

    def use(self) -> "Stream":
        """Make it the current stream of this thread."""
        _current()[-1] = self
        return self

    # -- work

    def _submit(self, work: Callable[[], None]) -> None:
        if self._recording is not None:
            self._recording.works.append(work)
        elif self._waits:
            with _lock:
                self._queue.append(work)
                self._submitted += 1
            if len(self._queue) > MOST:
                self._finish()
        else:
            work()

    def _finish(self, upto: int | None = None) -> None:
        with _lock:
            upto = self._submitted if upto is None else upto
            while self._done < upto:
                self._done += 1
                self._queue.popleft()()

    @property
    def done(self) -> bool:
        """Whether nothing waits. Asking again and again makes it true in the end."""
        self._not_while_capturing("query")
        if not self._queue:
            return True
        self._finish(self._done + 1)
        return False

    def synchronize(self) -> None:
        """Let the host wait for it."""
        self._not_while_capturing("synchronize")
        count(synchronisations, "synchronize")
        self._finish()

    def _not_while_capturing(self, what: str) -> None:
        if self._recording is not None:
            self._recording.wrong = what
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is "
                f"capturing ({what})"
            )

    # -- events

    def record(self, event: "Event | None" = None) -> "Event":
        """Put an event behind what the stream was given so far."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        """Let what comes next wait for an event."""
        recording = event._recording
        if recording is not None and recording.origin._recording is recording:
            if self._recording is None:
                self._recording = recording  # it is recorded, too
                recording.everybody.append(self)
                recording.joined.add(self)
            elif self._recording is not recording:
                raise CUDARuntimeError("cudaErrorStreamCaptureMerge: two captures would be merged")
            elif self is recording.origin and event._stream is not None:
                recording.joined.discard(event._stream)
        elif self._recording is not None:
            self._recording.wrong = "wait_event"
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureIsolation: dependency created on uncaptured work in another "
                "stream"
            )
        else:
            reach = event._reach  # as it stands now
            self._submit(reach)

    def launch_host_func(self, function: Callable[[Any], None], argument: Any) -> None:
        """Call a function when all before is done."""
        self._submit(lambda: function(argument))

    def add_callback(self, function: Callable[..., None], argument: Any) -> None:
        """The older `launch_host_func`."""
        self._not_while_capturing("add_callback")
        self._submit(lambda: function(self, 0, argument))

    # -- capture

    def is_capturing(self) -> bool:
        return self._recording is not None

    def begin_capture(self, mode: int | None = None) -> None:
        """From here on record what the stream is given."""
        if self.ptr == 0:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnsupported: the null stream cannot be captured"
            )
        if self._recording is not None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is capturing already")
        self._recording = _Recording(self)

    def end_capture(self) -> "Graph":
        """The graph of what was recorded."""
        recording = self._recording
        if recording is None or recording.origin is not self:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream does not capture")
        for stream in recording.everybody:
            stream._recording = None
        if recording.wrong:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error "
                f"during capture ({recording.wrong})"
            )
        if recording.joined:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnjoined: capturing stream has unjoined work"
            )
        return Graph(recording)


class ExternalStream:
    """A stream by its address."""

    def __new__(cls, ptr: int, device_id: int = -1) -> Any:
        return _streams[ptr]


class Event:
    """A point in the work of a stream."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ):
        self.ptr = next(_numbers) << 8
        self._timing = not disable_timing
        self._recording: _Recording | None = None
        self._stream: Stream | None = None
        self._reached: list[float] = [0.0]  # when; what belongs to the latest `record`
        self._behind = 0

    def record(self, stream: Stream | None = None) -> None:
        """Put it behind what a stream, by default the current one, was given so far."""
        stream = get_current_stream() if stream is None else stream
        self._stream, self._recording = stream, stream._recording
        if self._recording is None:
            self._reached = reached = []
            stream._submit(lambda: reached.append(time.perf_counter()))
            self._behind = stream._submitted

    @property
    def _reach(self) -> Callable[[], None]:
        """A function that goes on with its stream until it is there."""
        stream, behind, reached = self._stream, self._behind, self._reached
        return lambda: None if reached or stream is None else stream._finish(behind)

    @property
    def done(self) -> bool:
        """Whether it is reached. Asking again and again makes it true in the end."""
        self._not_in_a_graph("query")
        if not self._reached and self._stream is not None:
            self._stream._finish(self._stream._done + 1)
            return False
        return True

    def synchronize(self) -> None:
        """Let the host wait for it."""
        self._not_in_a_graph("synchronize")
        count(synchronisations, "Event.synchronize")
        self._reach()

    def _not_in_a_graph(self, what: str) -> None:
        recording = self._recording
        if recording is not None and recording.origin._recording is recording:
            recording.wrong = what
            raise CUDARuntimeError(
                f"cudaErrorCapturedEvent: operation not permitted on an event last recorded in a "
                f"capturing stream ({what})"
            )


def get_elapsed_time(start: Event, end: Event) -> float:
    """Milliseconds from one event to another."""
    for event in (start, end):
        if not event._timing:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event without timing")
        if not event._reached:
            raise CUDARuntimeError("cudaErrorNotReady: device not ready")
    return (end._reached[0] - start._reached[0]) * 1e3


class Graph:
    """Work that was recorded."""

    def __init__(self, recording: _Recording):
        self._works, self._keeps = recording.works, recording.keeps
        self.graph = self.graphExec = next(_numbers) << 8

    def launch(self, stream: Stream | None = None) -> None:
        """Do all of it, on a stream or the current one."""
        stream = get_current_stream() if stream is None else stream
        stream._submit(self._run)

    def _run(self) -> None:
        for work in self._works:
            work()

    def upload(self, stream: Stream | None = None) -> None:
        """Nothing is faster here for having been brought to the device before."""
        assert not get_current_stream().is_capturing()


_local = threading.local()


def _current() -> list[Stream]:
    if not hasattr(_local, "stack"):
        _local.stack = [Stream.null]
    return _local.stack


def get_current_stream(device_id: int = -1) -> Stream:
    """The stream of this thread."""
    return _current()[-1]


def submit(work: Callable[[], None], stream: Stream | None = None) -> None:
    """Do something for a stream or the current one: now, later, or whenever a graph is launched."""
    (get_current_stream() if stream is None else stream)._submit(work)


def later() -> bool:
    """Whether what is submitted now is not done now."""
    stream = get_current_stream()
    return stream._recording is not None or stream._waits


def keep(array: Any) -> None:
    """Have the graph that is recorded, if there is one, own the memory of an array."""
    recording = get_current_stream()._recording
    if recording is not None:
        recording.keeps.append(array)


def by_address(ptr: int) -> Stream:
    """A stream by its address."""
    return _streams[ptr]


def finish_all() -> None:
    """Do all that waits on any stream."""
    for stream in list(_streams.values()):
        stream._not_while_capturing("deviceSynchronize")
        stream._finish()


Stream.null = Stream(null=True)

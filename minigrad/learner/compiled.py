"""Steps as programs, where they can be; as they are elsewhere."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import modes
from minigrad.errors import CaptureError
from minigrad.programs import PLAIN, Jitted, jit

if TYPE_CHECKING:
    from minigrad.learner.learner import Learner


class Compiled:
    """Runs the steps of a learner: compiled, until one shows that it cannot be.

    A program repeats what a step did with arrays, and nothing else. So a step that also reads
    figures, prints, or changes the learner's numbers and lists runs as it is.

    Attributes:
        plain: the kinds of steps that run as they are.
    """

    def __init__(self) -> None:
        self.plain: set[str] = set()
        self._programs: dict[str, Jitted] = {}

    def __deepcopy__(self, memo: dict) -> "Compiled":
        """That of a copied learner, whose programs are its own."""
        new = memo[id(self)] = Compiled()
        new.plain |= self.plain
        return new

    def run(self, learner: "Learner", kind: str, batch: Any, key: random.Key, fast: bool) -> Any:
        """What the method `kind` of `learner` gives for `batch`, with random draws from `key`."""
        with learner.computing():
            return self._run(learner, kind, batch, key, fast)

    def _run(self, learner: "Learner", kind: str, batch: Any, key: random.Key, fast: bool) -> Any:
        if fast and kind not in self.plain:
            learner.by_program = True
            try:
                with random.stream(key):
                    return self._compiled(learner, kind, batch)
            except CaptureError as error:
                self._goes_on_plain(learner, kind, str(error))
            finally:
                learner.by_program = False
        with random.stream(key):
            return _step(learner, getattr(learner, kind), batch)

    def _compiled(self, learner: "Learner", kind: str, batch: Any) -> Any:
        if (program := self._programs.get(kind)) is not None:
            return program(batch)
        bound = functools.partial(_step, learner, getattr(learner, kind))
        bound.__qualname__ = f"{type(learner).__name__}.{kind}"  # type: ignore[attr-defined]
        program = self._programs[kind] = jit(bound)
        program.report = functools.partial(self._goes_on_plain, learner, kind)
        with _without_effects(learner):
            return program(batch)

    def _goes_on_plain(self, learner: "Learner", kind: str, reason: str) -> None:
        self.plain.add(kind)
        self._programs.pop(kind, None)
        learner.say(f"{kind} runs without jit, so more slowly: {reason.removeprefix('jit: ')}")


def _step(learner: "Learner", method: Callable, batch: Any) -> Any:
    learner.begin_step()
    if not modes.get().capturing:
        return method(batch)
    before = dict(vars(learner))
    found = method(batch)
    for name, x in vars(learner).items():
        if name != "_updated" and (name not in before or before[name] is not x):
            raise CaptureError(f"jit: the step sets learner.{name}")
    return found


@contextmanager
def _without_effects(learner: "Learner") -> Iterator[None]:
    """A first capture: should it fail, the learner's numbers and lists, and the model's buffers,
    are as they were.

    Raises CaptureError also where `jit` would only warn that the step did something beside.
    """
    names, before = set(vars(learner)), {}
    buffers = [(b, b._data) for _, b in learner.model.named_buffers() if isinstance(b, Tensor)]
    for name, x in vars(learner).items():
        if type(x) in PLAIN:
            before[name] = x
        elif type(x) in (list, dict):
            before[name] = x.copy()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="jit: while ", category=UserWarning)
            yield
    except (CaptureError, UserWarning) as error:
        if isinstance(error, UserWarning) and not str(error).startswith("jit: while "):
            raise
        for buffer, values in buffers:
            buffer._data = values
        for name in vars(learner).keys() - names:
            delattr(learner, name)
        for name, x in before.items():
            now = getattr(learner, name)
            if type(x) is list:
                now[:] = x
            elif type(x) is dict:
                now.clear()
                now.update(x)
            else:
                setattr(learner, name, x)
        raise CaptureError(str(error)) from error

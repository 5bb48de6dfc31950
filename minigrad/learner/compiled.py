"""Steps as programs, where they can be; as they are elsewhere."""

import functools
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import modes
from minigrad.capture import PLAIN, jit
from minigrad.errors import CaptureError

if TYPE_CHECKING:
    from minigrad.learner.learner import Learner

CAPTURES = 8


class Compiled:
    """Runs the steps of a learner: compiled, until one shows that it cannot be.

    A program repeats what a step did with arrays, and nothing else. So a step that also reads
    figures, prints, or changes the learner's numbers and lists runs as it is; and where somebody
    else changes a number of the learner, the step is captured anew.

    Attributes:
        plain: the kinds of steps that run as they are.
    """

    def __init__(self) -> None:
        self.plain: set[str] = set()
        self._programs: dict[str, tuple[Any, Callable]] = {}
        self._captures: Counter[str] = Counter()

    def __deepcopy__(self, memo: dict) -> "Compiled":
        """That of a copied learner, whose programs are its own."""
        new = memo[id(self)] = Compiled()
        new.plain |= self.plain
        return new

    def run(self, learner: "Learner", kind: str, batch: Any, key: random.Key, fast: bool) -> Any:
        """What the method `kind` of `learner` gives for `batch`, with random draws from `key`."""
        if fast and kind not in self.plain:
            try:
                with random.stream(key):
                    return self._compiled(learner, kind, batch)
            except CaptureError as error:
                self.plain.add(kind)
                self._programs.pop(kind, None)
                text = str(error).removeprefix("jit: ")
                learner.say(f"{kind} runs without jit, so more slowly: {text}")
        with random.stream(key):
            return _step(learner, getattr(learner, kind), (), batch)

    def _compiled(self, learner: "Learner", kind: str, batch: Any) -> Any:
        numbers = _numbers(learner)
        known, program = self._programs.get(kind, (None, None))
        if program is not None and known == numbers:
            return program(batch)
        self._captures[kind] += 1
        if self._captures[kind] > CAPTURES:
            changed = [
                k for (k, old), (_, new) in zip(known or (), numbers, strict=False) if old != new
            ]
            raise CaptureError(f"jit: learner.{changed[0]} changes again and again")
        bound = functools.partial(_step, learner, getattr(learner, kind), _methods(learner))
        bound.__qualname__ = f"{type(learner).__name__}.{kind}"  # type: ignore[attr-defined]
        self._programs[kind] = numbers, (program := jit(bound))
        with _without_effects(learner):
            return program(batch)


def _step(learner: "Learner", method: Callable, methods: tuple, batch: Any) -> Any:
    """A step; `methods` are only there for `jit` to see what else it depends on."""
    learner.begin_step()
    if modes.get().capture is None:
        return method(batch)
    before = dict(vars(learner))
    found = method(batch)
    for name, x in vars(learner).items():
        if name != "_updated" and (name not in before or before[name] is not x):
            raise CaptureError(f"jit: the step sets learner.{name}")
    return found


def _numbers(learner: "Learner") -> tuple:
    """The learner's settings: its attributes that are numbers, texts and the like."""
    return tuple((k, v) for k, v in vars(learner).items() if type(v) in PLAIN)


def _methods(learner: "Learner") -> tuple:
    """What subclasses define: steps may call it, and it may depend on globals."""
    own = [c for c in type(learner).__mro__ if not c.__module__.startswith("minigrad.learner")]
    names = dict.fromkeys(n for c in own for n, v in vars(c).items() if inspect.isfunction(v))
    return tuple(getattr(learner, name) for name in names if not name.startswith("__"))


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

"""Calls of one kind that do not need each other, as one: each waits until the first is needed."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from minigrad.programs.values import Call, Value


def waited_for(
    calls: Sequence[Call],
    kinds: Mapping[Call, Hashable],
    joined: Callable[[Any, list[Call]], Call],
    makes: Callable[[Call], list[Value]] = lambda call: call.outputs,
    full: Callable[[list[Call]], bool] = lambda calls: False,
) -> list[Call]:
    """The calls with those of a kind put together, where something needs what one of them makes.

    Args:
        kinds: of the calls that may wait; all others stay.
        joined: `joined(kind, calls)` is the call in place of several.
        makes: what a call makes there.
        full: whether no more may wait with some.
    """
    found: list[Call] = []
    waiting: dict[Hashable, list[Call]] = {}

    def go(kind: Hashable) -> None:
        found.append(joined(kind, waiting.pop(kind)))

    for call in calls:
        roots = {x.root for x in call.reads}
        over = None if call.into is None else call.into.root  # what it writes over
        for kind, others in list(waiting.items()):
            made = {y.root for c in others for y in makes(c)}
            if roots & made or over in made or over in {x.root for c in others for x in c.reads}:
                go(kind)
        own = kinds.get(call)
        if own is None:
            found.append(call)
            continue
        waiting.setdefault(own, []).append(call)
        if full(waiting[own]):
            go(own)
    for kind in list(waiting):
        go(kind)
    return found

"""Copies of what follows a model's parameters: made together with the model, or not at all."""

import copy
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

from minigrad.errors import StateError


class Follower:
    """Reads or changes parameters that belong to a model.

    `copy.deepcopy((model, follower))` gives one with the same state that follows the copied model.
    Alone, its copy would follow copies of parameters that no model has, so that nothing would be
    trained, without a word.

    Attributes:
        parameters: by name, or as pairs (name, parameter).
        called: what messages call one.
    """

    parameters: Any
    called = "follower"

    def __deepcopy__(self, memo: dict) -> Self:
        """One that follows the copied parameters.

        Raises:
            StateError: those have not been copied before it.
        """
        found = self.parameters
        pairs = list(found.items() if isinstance(found, Mapping) else found)
        missing = [name or "parameter" for name, p in pairs if id(p) not in memo]
        if missing:
            who = type(self).__name__
            raise StateError(
                f"deepcopy: {who} follows {len(pairs)} parameters, of which {len(missing)} have "
                f"not been copied before it, such as '{missing[0]}'; copy both, the model first: "
                f"model, {self.called} = copy.deepcopy((model, {self.called})). For a second {who} "
                f"of the same parameters make one, and have it load_state_dict(state_dict())"
            )
        new = memo[id(self)] = object.__new__(type(self))
        vars(new).update({k: copy.deepcopy(v, memo) for k, v in vars(self).items()})
        return new

    def __copy__(self) -> NoReturn:
        raise StateError(
            f"copy: two {type(self).__name__}s with one state would disagree about it; "
            f"copy.deepcopy((model, {self.called})) gives a model and one of their own"
        )


def copied(function: Callable, memo: dict) -> Callable:
    """`function` with copies of what it closes over, its defaults and its `self`.

    (`copy.deepcopy` gives a plain function as it is, so that a copied step would go on to train
    the model of the original.) What it reads from the globals is the same as before.
    """
    if id(function) in memo:
        return memo[id(function)]
    if isinstance(function, functools.partial):
        args = copy.deepcopy((function.args, function.keywords, vars(function)), memo)
        partial = functools.partial(copied(function.func, memo), *args[0], **args[1])
        vars(partial).update(args[2])
        return partial
    if not isinstance(function, types.FunctionType):
        return copy.deepcopy(function, memo)
    old = function.__closure__ or ()
    cells = tuple(types.CellType() for _ in old)
    new = types.FunctionType(function.__code__, function.__globals__, closure=cells or None)
    memo[id(function)] = functools.update_wrapper(new, function)
    del new.__wrapped__  # type: ignore[attr-defined]
    new.__defaults__, new.__kwdefaults__ = copy.deepcopy(
        (function.__defaults__, function.__kwdefaults__), memo
    )
    for cell, before in zip(cells, old, strict=True):
        try:
            x = before.cell_contents
        except ValueError:  # not set yet
            continue
        is_function = isinstance(x, types.FunctionType | functools.partial)
        cell.cell_contents = copied(x, memo) if is_function else copy.deepcopy(x, memo)
    return new

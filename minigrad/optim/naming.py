"""Which parameters an optimizer is given, and under which names."""

from collections.abc import Iterable, Mapping
from typing import Any

from minigrad.autodiff import Tensor
from minigrad.errors import StateError
from minigrad.nn.module import Module

Parameters = Module | Mapping[str, Tensor] | Iterable[Any] | Tensor


def pairs_of(parameters: Parameters) -> list[tuple[str | None, Tensor]]:
    """All parameters with their names, None where nobody gave one.

    Args:
        parameters: a Module, a mapping of name to parameter, the list from `parameters()`, pairs
            (name, parameter), or one parameter alone.
    """
    if isinstance(parameters, Module):
        parameters = parameters.named_parameters()
    elif isinstance(parameters, Mapping):
        parameters = parameters.items()
    elif type(parameters) is Tensor:
        parameters = [parameters]
    found = []
    for x in parameters:
        match x:
            case Tensor():
                found.append((None if x.name == "parameter" else x.name, x))
            case (str(), Tensor()):
                found.append(x)
            case _:
                raise StateError(
                    f"optimizer: expected a Module, a mapping of names, parameters, or pairs "
                    f"(name, parameter); there is a {type(x).__name__} among them"
                )
    return found


def named(pairs: list[tuple[str | None, Tensor]]) -> dict[str, Tensor]:
    """Parameters by name, each once.

    Raises:
        StateError: there are none, one has no name, two have the same, or one is there twice.
    """
    if not pairs:
        raise StateError("optimizer: there are no parameters; give a model or a list that has some")
    found: dict[str, Tensor] = {}
    names: dict[int, str] = {}
    for name, p in pairs:
        if name is None and len(pairs) > 1:
            raise StateError(
                f"optimizer: a parameter of shape {p.shape} has no name; pass the model, "
                f"model.parameters(), or a dictionary of names"
            )
        name = name or "parameter"
        if name in found and found[name] is not p:
            raise StateError(
                f"optimizer: two parameters are called '{name}', of shapes "
                f"{found[name].shape} and {p.shape}; pass a dictionary of names, or groups that "
                f"have a 'name' each"
            )
        if name in found or names.setdefault(id(p), name) != name:
            raise StateError(
                f"optimizer: '{names[id(p)]}' and '{name}' are one and the same parameter; list "
                f"it once"
            )
        found[name] = p
    return found


def groups_of(parameters: Parameters) -> list[dict[str, Any]]:
    """What an optimizer is given as a list of groups: one group, unless it is a list of them.

    Each has under 'params' its pairs of name and parameter, after the name of the group if it has
    one: 'encoder.weight'.
    """
    if not isinstance(parameters, Module | Mapping | Tensor):
        parameters = list(parameters)
        if parameters and all(isinstance(x, dict) for x in parameters):
            return [_group(x) for x in parameters]
    return [{"params": pairs_of(parameters)}]


def _group(group: dict[str, Any]) -> dict[str, Any]:
    if "params" not in group:
        raise StateError(
            f"optimizer: a group of parameters must have 'params', and has {sorted(group)}; for "
            f"parameters by name pass the dictionary alone, outside a list"
        )
    pairs = pairs_of(group["params"])
    if prefix := group.get("name"):
        pairs = [(f"{prefix}.{name or 'parameter'}", p) for name, p in pairs]
    return {**group, "params": pairs}

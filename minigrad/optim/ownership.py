"""Whose a parameter is."""

from collections.abc import Iterable, Mapping

from minigrad.autodiff import Tensor
from minigrad.errors import StateError
from minigrad.nn import Module
from minigrad.optim.naming import pairs_of
from minigrad.optim.optimizer import Optimizer


def check_ownership(
    model: Module | Iterable[Module] | Mapping[str, Module],
    *optimizers: Optimizer | Iterable[Optimizer] | Mapping[str, Optimizer],
) -> dict[str, str]:
    """Which optimizer each parameter belongs to, by name; every one must belong to exactly one.

        check_ownership([generator, discriminator], g_optimizer, d_optimizer)

    Args:
        model: a module, several, or a dictionary of several.
        optimizers: or lists of them; or dictionaries, whose keys are their names in the result.

    Raises:
        StateError: lists the parameters that two optimizers have, and those that none has and that
            are not frozen.
    """
    named: dict[str, Optimizer] = {}
    for x in optimizers:
        if isinstance(x, Mapping):
            named.update(x)
            continue
        for one in [x] if isinstance(x, Optimizer) else x:
            named[f"{type(one).__name__} {len(named)}"] = one
    parameters = _parameters(model)
    owners: dict[str, list[str]] = {name: [] for name in parameters}
    for name, p in parameters.items():
        for who, optimizer in named.items():
            if any(q is p for q in optimizer.parameters.values()):
                owners[name].append(who)
    problems = []
    for name, found in owners.items():
        if len(found) > 1:
            problems.append(f"'{name}' belongs to {' and '.join(found)}")
        elif not found and parameters[name].requires_grad:
            problems.append(f"'{name}' belongs to none")
    if problems:
        listing = "\n  ".join(problems)
        raise StateError(
            f"check_ownership: every parameter must belong to one optimizer, unless it is frozen "
            f"with requires_grad_(False); {len(problems)} do not:\n  {listing}"
        )
    return {name: found[0] for name, found in owners.items() if found}


def _parameters(model: Module | Iterable[Module] | Mapping[str, Module]) -> dict[str, Tensor]:
    """Parameters by name; those of several models after the model's own name or number."""
    if isinstance(model, Module):
        return {name or "parameter": p for name, p in pairs_of(model)}
    models = model.items() if isinstance(model, Mapping) else enumerate(model)
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, module in models:
        for name, p in pairs_of(module):
            if id(p) not in seen:
                seen.add(id(p))
                found[f"{key}.{name or 'parameter'}"] = p
    return found

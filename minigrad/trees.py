"""Nested tuples, lists and dictionaries: taken apart into leaves, and put together again.

A leaf is whatever is not one of those: an array, a tensor, a number, a module. None is no leaf; it
stands for something absent and stays where it is, as in JAX.
"""

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any


def taken_apart(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of `tree`, and its shape, which can be compared and hashed; see `filled`."""
    leaves: list[Any] = []
    shape = _shape(tree, leaves)
    return leaves, shape


def filled(shape: Any, leaves: list[Any]) -> Any:
    """The tree of that shape with these leaves."""
    return _filled(shape, iter(leaves))


def flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of `tree`, and a function that makes such a tree from as many other leaves."""
    leaves, shape = taken_apart(tree)

    def rebuild(others: list[Any]) -> Any:
        if len(others) != len(leaves):
            raise ValueError(f"expected {len(leaves)} leaves, got {len(others)}")
        return filled(shape, others)

    return leaves, rebuild


def leaves_of(tree: Any) -> list[Any]:
    """The leaves of `tree`, from left to right; dictionaries in their own order."""
    return flatten(tree)[0]


def tree_map(function: Callable, tree: Any) -> Any:
    """A tree of `function(leaf)`."""
    leaves, rebuild = flatten(tree)
    return rebuild([function(leaf) for leaf in leaves])


def paths(tree: Any, prefix: str = "") -> list[str]:
    """For each leaf where it stands, such as `[0]['weight']`: for messages."""
    if isinstance(tree, Mapping):
        return [p for k, v in tree.items() for p in paths(v, f"{prefix}[{k!r}]")]
    if isinstance(tree, tuple | list):
        return [p for i, v in enumerate(tree) for p in paths(v, f"{prefix}[{i}]")]
    return [] if tree is None else [prefix]


def matched(tree: Any, like: Any, what: str) -> list[Any]:
    """For each leaf of `like` what stands there in `tree`: dictionaries go by key, not by order.

    None in `tree` stands for all leaves below. Raises ValueError, naming `what`, if they differ.
    """
    if tree is None:
        return [None] * len(leaves_of(like))
    if isinstance(like, Mapping):
        if not isinstance(tree, Mapping) or set(tree) != set(like):
            came = f"keys {list(tree)}" if isinstance(tree, Mapping) else type(tree).__name__
            raise ValueError(f"{what}: expected a mapping with the keys {list(like)}, got {came}")
        return [v for k in like for v in matched(tree[k], like[k], f"{what}[{k!r}]")]
    if isinstance(like, tuple | list):
        if not isinstance(tree, tuple | list) or len(tree) != len(like):
            came = f"{len(tree)}" if isinstance(tree, tuple | list) else type(tree).__name__
            raise ValueError(f"{what}: expected a {type(like).__name__} of {len(like)}, got {came}")
        pairs = enumerate(zip(tree, like, strict=True))
        return [v for i, pair in pairs for v in matched(*pair, f"{what}[{i}]")]
    if like is None:
        raise ValueError(f"{what}: expected None, got {type(tree).__name__}")
    if isinstance(tree, tuple | list):
        raise ValueError(f"{what}: expected one array, got a {type(tree).__name__} of {len(tree)}")
    return [tree]


def prefixed(prefix: Any, tree: Any, what: str) -> list[Any]:
    """One value of `prefix` for each leaf of `tree`; a value stands for all the leaves below it.

    `prefix` is a tree of ints and None. Raises ValueError, naming `what`, if it does not fit.
    """
    if isinstance(tree, tuple | list | Mapping) and isinstance(prefix, tuple | list | Mapping):
        keys = list(tree) if isinstance(tree, Mapping) else range(len(tree))
        if len(prefix) != len(tree) or isinstance(prefix, Mapping) != isinstance(tree, Mapping):
            raise ValueError(f"{what}: {prefix!r} does not fit {len(tree)} values")
        if isinstance(tree, Mapping) and set(prefix) != set(tree):
            raise ValueError(f"{what}: the keys {list(prefix)} do not fit {list(tree)}")
        return [v for k in keys for v in prefixed(prefix[k], tree[k], what)]
    if isinstance(prefix, tuple | list | Mapping):
        raise ValueError(f"{what}: {prefix!r} does not fit a {type(tree).__name__}")
    if not (prefix is None or isinstance(prefix, Integral)):
        raise ValueError(f"{what}: expected an int or None, got {prefix!r}")
    return [prefix] * len(leaves_of(tree))


_LEAF = object()


def _shape(tree: Any, leaves: list[Any]) -> Any:
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return dict, tuple([(k, _shape(v, leaves)) for k, v in tree.items()])
    if isinstance(tree, tuple | list):
        return type(tree), tuple([_shape(v, leaves) for v in tree])
    leaves.append(tree)
    return _LEAF


def _filled(shape: Any, leaves: Any) -> Any:
    if shape is None:
        return None
    if shape is _LEAF:
        return next(leaves)
    kind, parts = shape
    if kind is dict:
        return {k: _filled(v, leaves) for k, v in parts}
    parts = [_filled(v, leaves) for v in parts]
    return (
        kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    )  # a NamedTuple takes them singly

"""What the engine does, written down while it does it."""

from collections.abc import Callable
from typing import Any


def study(f: Callable, *args: Any, **kwargs: Any) -> Any:
    """A record of one run of `f(*args, **kwargs)`."""
    raise NotImplementedError

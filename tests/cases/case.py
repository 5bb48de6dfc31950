"""One line of the table of ops."""

from typing import Any, NamedTuple


class Case(NamedTuple):
    """What `check_op` is called with."""

    op: Any
    loop: Any  # the value the slow way
    calls: Any  # a strategy for strategies.Call
    order: int = 2

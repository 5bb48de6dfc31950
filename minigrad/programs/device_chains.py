"""Chains of element-by-element ops on a device, as one launch."""

from minigrad.programs.values import Graph


def chains(graph: Graph) -> None:
    """Put each elementwise call together with those that only it reads."""

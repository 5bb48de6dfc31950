"""The functions of `minigrad.nn.parametrization`, under the path that they have in PyTorch."""

from minigrad.nn.parametrization import (
    ParametrizationList,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)

__all__ = [
    "ParametrizationList", "is_parametrized", "register_parametrization",
    "remove_parametrizations",
]  # fmt: skip

"""The option --backend, and the backend that a command computes with."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from jsl import options
from jsl.errors import JslError
from jsl.help import option
from jsl.messages import say

backend_option = option(
    "--backend",
    type=options.Choice(["auto", "cupy", "numpy"]),
    default=None,
    help="help.backend",
)


def asked_for_auto(name: str | None) -> bool:
    """Whether the option, or else the environment, leaves the choice to the machine."""
    return (name or os.environ.get("MINIGRAD_BACKEND")) == "auto"


def what_computes() -> str:
    """One line: the backend in force, and why it is not the other one."""
    from minigrad import backend

    choice = backend.choice()
    if choice.cupy == "not tried":
        by_environment = choice.source == "MINIGRAD_BACKEND"
        return say("backend.asked", source=choice.source if by_environment else "--backend")
    detail = choice.detail
    if choice.cupy == "computes":
        return say("backend.computes", detail=detail)
    if choice.cupy == "absent":
        return say("backend.absent", detail=detail)
    return say("backend.no_device", detail=detail) if detail else say("backend.wrong")


@contextmanager
def using_backend(name: str | None, default: str) -> Iterator[None]:
    """The backend that was asked for by option, or else by the environment, or else the default.

    Raises:
        JslError: it cannot be used here.
    """

    from minigrad import backend
    from minigrad.errors import BackendError

    if name is None and not os.environ.get("MINIGRAD_BACKEND") and default != "auto":
        name = default
    with ExitStack() as stack:
        try:
            if name is not None:
                stack.enter_context(backend.using(name))
            backend.get_backend()
        except BackendError as error:
            raise JslError(say("cli.backend", reason=error)) from error
        yield

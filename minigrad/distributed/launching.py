"""Whether this process is one of several that an `mpiexec` started: read from the environment.

Nothing is imported for that, so that a process of its own pays nothing.
"""

import os
from typing import NamedTuple

from minigrad.errors import DistributedError

# Rank and number of processes, as MPICH, Intel MPI and MS-MPI have them; and Open MPI.
_LAUNCHERS = [
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
]
SWITCH, TIMEOUT = "MINIGRAD_DISTRIBUTED", "MINIGRAD_DISTRIBUTED_TIMEOUT"
SECONDS = 1800.0  # an epoch's longest wait of one process for another, with room


class Place(NamedTuple):
    """Number `rank` of `size` processes."""

    rank: int
    size: int


def launched() -> Place | None:
    """The place that a launcher gave this process; None without one."""
    for rank, size in _LAUNCHERS:
        if os.environ.get(rank, "").isdigit() and os.environ.get(size, "").isdigit():
            return Place(int(os.environ[rank]), int(os.environ[size]))
    return None


def wanted(enabled: bool | None) -> Place | None:
    """The place to take in a group of processes; None to stay alone.

    Args:
        enabled: None asks the environment: `MINIGRAD_DISTRIBUTED`, 0 or 1, and the launcher's.

    Raises:
        DistributedError: a group is wanted, and nobody started one; or the switch is neither.
    """
    who = f"init: enabled={enabled}"
    if enabled is None and (switch := os.environ.get(SWITCH)):
        if switch not in ("0", "1"):
            raise DistributedError(f"{SWITCH}: expected 0 or 1, got {switch!r}")
        enabled, who = switch == "1", f"{SWITCH}={switch}"
    if enabled is False:
        return None
    place = launched()
    if place is None and enabled:
        raise DistributedError(
            f"{who} wants several processes, and this one was started alone; start it by "
            f"`mpiexec -n 2 python ...`"
        )
    return place if place is not None and (place.size > 1 or enabled) else None


def timeout() -> float:
    """How many seconds a process waits for the others.

    Raises:
        DistributedError: `MINIGRAD_DISTRIBUTED_TIMEOUT` is no number above 0.
    """
    given = os.environ.get(TIMEOUT)
    if given is None:
        return SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise DistributedError(f"{TIMEOUT}: expected seconds above 0, got {given!r}")
    return seconds

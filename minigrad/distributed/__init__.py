"""Several processes that train one model: over MPI on CPUs, over NCCL on GPUs.

    mpiexec -n 4 python train.py        # or: mpiexec -n 4 jsl train ...

A `Learner` and its loaders do by themselves what this takes. In a loop written by hand:

    from minigrad import distributed

    distributed.init()                                  # alone, if nobody started several
    loader = data.DataLoader(items, batch_size=32)      # of each batch of 32, this process's share
    average = optim.AverageGradients(optimizer)
    for batch in loader:
        with average(weight=len(batch[0])):             # over all processes, by their weights
            loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Names are PyTorch's. A process that no `mpiexec` has started is a group of one: nothing is imported,
and nothing done. Each process of a machine that has GPUs computes on one of its own. Who raises an
error that nobody catches ends all processes and says so; who waits for longer than
`MINIGRAD_DISTRIBUTED_TIMEOUT` seconds raises DistributedError.
"""

import os
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor, wrap
from minigrad.backend import is_array, refuse_while_capturing, xp
from minigrad.distributed.devices import take_device
from minigrad.distributed.groups import Group, Processes, checked
from minigrad.distributed.launching import timeout, wanted
from minigrad.errors import DistributedError, GradientError
from minigrad.kernels import get_num_threads, set_num_threads

__all__ = [
    "DistributedError", "Group", "all_gather", "all_reduce", "barrier", "broadcast", "group",
    "init", "is_initialized", "local_rank", "rank", "world_size",
]  # fmt: skip

_group: Group | None = None
_alone = Group()


def init(enabled: bool | None = None) -> Group:
    """Be one of the processes that `mpiexec` has started; the group, which is one of one without.

    A second call gives the same group. With GPUs, this process computes on the one that has the
    number `local_rank()`.

    Args:
        enabled: True: it is an error to be alone; False: to stay alone; None: as the launcher's
            environment says, and MINIGRAD_DISTRIBUTED, 0 or 1.

    Raises:
        DistributedError: there is no group and there must be one, or MPI does not work.
    """
    global _group
    if _group is not None:
        if enabled is False:
            raise DistributedError(
                f"init: this process is one of {_group.size} already, and cannot be alone any "
                f"more; set MINIGRAD_DISTRIBUTED=0 for that"
            )
        return _group
    if (place := wanted(enabled)) is None:
        return _alone
    _group = Processes(place, timeout())
    # Processes of one machine share its cores, if mpiexec has not given each its own.
    mine = max(1, (os.cpu_count() or 1) // _group.local_size)
    set_num_threads(min(get_num_threads(), mine))
    if (module := xp()) is not np:
        take_device(module, _group.local_rank, _group.local_size)
    return _group


def group() -> Group:
    """The group that `init` made; of one before that."""
    return _group or _alone


def is_initialized() -> bool:
    """Whether `init` has made this process one of several."""
    return _group is not None


def rank() -> int:
    """The number of this process, from 0 on."""
    return group().rank


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return group().local_rank


def world_size() -> int:
    """How many processes there are."""
    return group().size


def all_reduce(x: Any, op: str = "sum") -> Any:
    """The sum of the arrays or Tensors `x` of all processes, which have one shape and dtype.

    Args:
        op: 'sum', 'max' or 'min'.

    Raises:
        DistributedError: the others do something else, or are gone.
        GradientError: `x` is tracked: this has no derivative here.
        ValueError: an unknown `op`.
    """
    array = _array("all_reduce", x)
    checked("all_reduce", array, op)
    found = array.copy(order="C")
    group().all_reduce(found, op)
    return wrap(found) if type(x) is Tensor else found


def broadcast(x: Any, src: int = 0) -> Any:
    """The array or Tensor `x` of the process `src`; the others give one of its shape and dtype.

    Raises:
        DistributedError: the others do something else, or are gone; or there is no such process.
    """
    if not 0 <= src < world_size():
        raise DistributedError(f"broadcast: there is no rank {src} among {world_size()} processes")
    found = _array("broadcast", x).copy(order="C")
    group().broadcast(found, src)
    return wrap(found) if type(x) is Tensor else found


def all_gather(said: Any) -> list[Any]:
    """What each process says, in the order of ranks: numbers, strings, lists, dictionaries.

    Raises:
        DistributedError: the others do something else, or are gone.
        TypeError: `said` is nothing that JSON has.
    """
    refuse_while_capturing("distributed.all_gather")
    return group().gather(said, "all_gather")


def barrier() -> None:
    """Come back when all processes are here.

    Raises:
        DistributedError: the others do something else, or are gone.
    """
    group().barrier()


def _array(who: str, x: Any) -> Any:
    refuse_while_capturing(
        f"distributed.{who}", "talks to other processes, which a program cannot; call it outside"
    )
    if type(x) is Tensor and x.requires_grad:
        raise GradientError(f"{who}: a tracked Tensor came; give x.detach()")
    if not is_array(x) and type(x) is not Tensor:
        x = np.asarray(x)
    return x.data if type(x) is Tensor else x

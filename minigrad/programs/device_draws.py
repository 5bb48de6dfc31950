"""Random numbers that a program draws on a device: a kernel for each draw of `minigrad.random`."""

import functools
from typing import Any

from minigrad import random
from minigrad.kernels.cuda import noise
from minigrad.programs.values import Call

KERNELS = {
    random.normal: noise.normal, random.uniform: noise.uniform, random.integers: noise.integers,
}  # fmt: skip


def drawn_by_kernels(calls: list[Call], machine: Any) -> list[Call]:
    """The calls, with kernels in the place of draws."""
    return [_by_kernel(c, machine) if type(c.op) is functools.partial else c for c in calls]


def _by_kernel(call: Call, machine: Any) -> Call:
    kernel = KERNELS.get(call.op.func)
    if kernel is None or call.op.args:
        return call
    params = {k: v for k, v in call.op.keywords.items() if k != "xp"}
    new = Call(call.name, kernel, call.inputs, params, call.outputs, parts=(call,))
    return new if machine.takes(kernel, new) else call

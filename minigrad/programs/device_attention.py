"""On a device attention tells its derivative of the weights: it need not find their sums again."""

from typing import Any

import numpy as np

from minigrad import ops
from minigrad.kernels.instructions import Drawn
from minigrad.kernels.layouts import Empty
from minigrad.ops.attentions import attention_grad
from minigrad.programs.values import Call, Graph, Value


def tell(graph: Graph) -> None:
    """Each derivative of an attention gets two more inputs, what that gave and what it kept."""
    made: list[Call] = []
    for call in graph.plain():
        if call.op is ops.attention:
            made.append(call)
        elif call.op is attention_grad:
            for maker in made:
                same = all(map(_same, maker.inputs, call.inputs[1:]))
                if same and maker.settings == call.settings and _told(graph, maker, call):
                    made.remove(maker)
                    break


def _same(a: Any, b: Any) -> bool:
    """Whether two inputs are one array, or one key."""
    if type(a) is Value and type(b) is Value:
        return (a.root, a.offset, a.shape, a.strides) == (b.root, b.offset, b.shape, b.strides)
    return a is b or (type(a) is Drawn and type(b) is Drawn and a.index == b.index) or a == b


def _told(graph: Graph, maker: Call, call: Call) -> bool:
    """Put calls that tell, and are told, in the place of both; unless there is no kernel."""
    options = maker.settings | {"keep": True}
    for kernel in graph.machine.twins(maker.op):
        likes = kernel.outputs(*maker.inputs, **options)
        if likes is None:
            continue
        y, kept = maker.outputs[0], _made(likes[1])
        forward = Call(maker.name, maker.op, maker.inputs, options, [y, kept])
        backward = Call(call.name, call.op, [*call.inputs, y, kept], call.settings, call.outputs)
        if graph.machine.kernels_for(forward) and graph.machine.kernels_for(backward):
            graph.replace([maker], forward)
            graph.replace([call], backward)
            return True
    return False


def _made(like: Empty) -> Value:
    """A value of the program's own."""
    value = Value(np.empty(like.shape, like.dtype))
    value.made = True
    return value

"""Chains of element-by-element ops on a device: one launch each.

A call takes in the calls that made its inputs, where these are of its own shape. What others read,
too, is written by the same launch, if they come later.
"""

from typing import Any, NamedTuple

from minigrad.autodiff import Op
from minigrad.kernels.cuda.elementwise import NUMBER, Step, elementwise, knows
from minigrad.programs.values import Call, Graph, Value

MOST_STEPS, MOST_ARRAYS = 48, 14


class Chain(NamedTuple):
    """Steps over inputs, as `minigrad.kernels.cuda.elementwise` has them.

    Attributes:
        results: by the number of a step, the value that it makes.
    """

    inputs: list[Any]
    steps: list[Step]
    results: dict[int, Value]

    def take(self, x: Any) -> int:
        """The number of an input, which is listed once."""
        for i, known in enumerate(self.inputs):
            if known is x or (type(x) is Value and type(known) is Value and _same(known, x)):
                return -1 - i
        self.inputs.append(x)
        return -len(self.inputs)

    def with_steps_of(self, other: "Chain") -> None:
        """Do what `other` does first."""
        moved = [self.take(x) for x in other.inputs]
        shift = len(self.steps)
        for step in other.steps:
            sources = tuple(s + shift if s >= 0 else moved[-1 - s] for s in step.sources)
            self.steps.append(step._replace(sources=sources))
        self.results.update({i + shift: v for i, v in other.results.items()})

    def made(self, x: Value) -> int:
        """The number of the step that makes `x`."""
        return next(i for i, v in self.results.items() if v.root is x.root)


def _same(x: Value, y: Value) -> bool:
    layout = (x.root, x.offset, x.shape, x.strides, x.dtype)
    return layout == (y.root, y.offset, y.shape, y.strides, y.dtype)


def chains(graph: Graph) -> None:
    """Make chains of all calls that can be steps of one."""
    made: dict[Call, Chain] = {}
    for call in graph.plain():
        if type(call.op) is not Op or len(call.outputs) != 1 or not graph.has(call):
            continue
        y = call.outputs[0]
        sources = [x for x in call.inputs if type(x) is Value or isinstance(x, NUMBER)]
        if not y.size or len(sources) != len(call.inputs) or not call.reads:
            continue
        if not knows(call.name, sources, y.dtype, **call.params):
            continue
        makers = dict.fromkeys(graph.maker.get(x.root) for x in call.reads)
        before = [m for m in makers if m in made and _may_join(graph, m, call)]
        while True:
            chain = _joined(graph, call, [made[m] for m in before])
            arrays = sum(type(x) is Value for x in chain.inputs) + len(chain.results)
            if not before or (len(chain.steps) <= MOST_STEPS and arrays <= MOST_ARRAYS):
                break
            before.pop()
        kept = tuple(i for i, v in chain.results.items())
        params = {"steps": chain.steps, "kept": kept}
        new = Call(
            "elementwise", elementwise, chain.inputs, params, [chain.results[i] for i in kept]
        )
        if not graph.machine.takes(elementwise, new):
            continue
        graph.replace([*before, call], new)
        made[new] = chain


def _may_join(graph: Graph, maker: Call, call: Call) -> bool:
    """Whether what `maker` makes can be made at the place of `call`, and all of it is needed so."""
    y = call.outputs[0]
    for v in maker.outputs:
        if v.shape != y.shape:
            return False
        if any(graph.index[c] < graph.index[call] for c in graph.readers.get(v.root, ())):
            return False
    return all(
        x.shape == y.shape and x.root.size == x.size and x.strides == x.root.strides
        for x in call.reads
        if graph.maker.get(x.root) is maker
    )


def _joined(graph: Graph, call: Call, before: list[Chain]) -> Chain:
    """The chain of a call and of those that made its inputs."""
    chain = Chain([], [], {})
    for other in before:
        chain.with_steps_of(other)
    inside = {v.root for v in chain.results.values()}
    numbers = tuple(
        chain.made(x) if type(x) is Value and x.root in inside else chain.take(x)
        for x in call.inputs
    )
    y = call.outputs[0]
    chain.steps.append(Step(call.name, numbers, y.dtype, tuple(call.params.items())))
    for i, v in list(chain.results.items()):
        others = [c for c in graph.readers.get(v.root, ()) if c is not call]
        if v.root not in graph.kept and not others:
            del chain.results[i]  # nobody else reads it
    chain.results[len(chain.steps) - 1] = y
    return chain

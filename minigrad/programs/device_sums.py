"""Sums, means, largest and smallest of what a chain makes, on a device: as one launch with it."""

from minigrad import ops
from minigrad.kernels.cuda.elementwise import elementwise
from minigrad.kernels.cuda.reductions import reduce
from minigrad.programs.values import Call, Graph

HOW = {ops.sum: "sum", ops.mean: "mean", ops.max: "max", ops.min: "min"}
SETTINGS = {"axis", "keepdims", "dtype"}


def sums_of_chains(graph: Graph) -> None:
    """Let each reduction compute the chain whose result nobody else reads."""
    for call in graph.plain():
        how = HOW.get(call.op)
        if how is None or len(call.inputs) != 1 or not call.reads:
            continue
        settings, (x,) = call.settings, call.reads
        chain = graph.maker.get(x.root)
        if chain is None or chain.op is not elementwise or len(chain.outputs) != 1:
            continue
        if graph.only_reader(x) is not call or chain.into is not None or call.into is not None:
            continue
        y = chain.outputs[0]
        if (x.shape, x.strides, x.offset) != (y.shape, y.strides, y.offset):
            continue
        if any(v is not None for k, v in settings.items() if k not in SETTINGS):
            continue
        params = {"steps": chain.params["steps"], "what": how}
        params |= {k: settings[k] for k in SETTINGS & settings.keys()}
        new = Call(call.name, reduce, chain.inputs, params, call.outputs)
        if chain.params["kept"] == (len(params["steps"]) - 1,) and graph.machine.takes(reduce, new):
            graph.replace([chain, call], new)

"""Small products on a device that do not need each other, as one launch.

A small product takes no longer than its launch, and a step has hundreds. So each waits until
something needs what it makes, and goes then with all others of its kind that wait: queries, keys
and values; and at the end the gradients of all weights, each with that of its bias, which is the
sum of the rows of one of its factors.
"""

from typing import NamedTuple

from minigrad import ops
from minigrad.kernels.cuda.products import Problem, products_together
from minigrad.kernels.products import product
from minigrad.programs.device_waiting import waited_for
from minigrad.programs.values import Call, Value

SMALL = 1 << 26  # multiplications and additions up to which a launch counts more than its pace
MOST_BYTES = 1 << 26  # of inputs that are kept while products wait
MOST = 256  # products of a launch


class Kind(NamedTuple):
    """What products of one launch have in common: how factors lie, and their dtype."""

    flip_a: bool
    flip_b: bool
    dtype: str


def together(calls: list[Call]) -> list[Call]:
    """The calls with small products put together, each where the first of them is needed."""
    small = list(filter(_may_wait, calls))
    sums = _sums(calls, small)
    skipped = set(sums.values())

    def full(waiting: list[Call]) -> bool:
        held = {x.root: x.root.size * x.root.dtype.itemsize for c in waiting for x in c.reads}
        return len(waiting) == MOST or sum(held.values()) > MOST_BYTES

    return waited_for(
        [c for c in calls if c not in skipped],
        {c: _kind(c) for c in small},
        joined=lambda kind, products: _joined(kind, products, sums),
        makes=lambda product: _makes(product, sums),
        full=full,
    )


def _kind(call: Call) -> Kind:
    _, flip_a, _, flip_b = call.params["layout"]
    return Kind(flip_a, flip_b, call.outputs[0].dtype.name)


def _may_wait(call: Call) -> bool:
    """Whether a call is a small product that writes to no memory of others."""
    p = call.params
    if call.op is not product or call.into is not None or p["add"] or p.get("by_row"):
        return False
    return 0 < p["m"] * p["n"] * p["k"] <= SMALL


def _sums(calls: list[Call], small: list[Call]) -> dict[Call, Call]:
    """By products, the calls that sum the rows of their first factor: gradients of biases."""
    index = {call: i for i, call in enumerate(calls)}
    readers: dict[Value, list[int]] = {}
    for i, call in enumerate(calls):
        for x in call.reads:
            readers.setdefault(x.root, []).append(i)
    of_rows = {}
    for call in calls:
        if call.op is ops.sum and _sums_rows(call):
            x = call.reads[0]
            of_rows[x.root, x.offset, x.size, x.shape[-1]] = call
    found = {}
    for call in small:
        p, a = call.params, call.inputs[0]
        lda, flip_a, *_ = p["layout"]
        own = of_rows.get((a.root, a.offset, p["m"] * p["k"], p["m"]))
        if own is None or not flip_a or lda != p["m"] or own.outputs[0].dtype != a.dtype:
            continue
        # Nobody may read the sum before the product is there.
        if all(i > index[call] for i in readers.get(own.outputs[0].root, ())):
            found[call] = of_rows.pop((a.root, a.offset, p["m"] * p["k"], p["m"]))
    return found


def _sums_rows(call: Call) -> bool:
    """Whether a sum is over all axes but the last, of what lies in rows."""
    if len(call.reads) != 1 or len(call.inputs) != 1 or not call.reads[0].c_contiguous:
        return False
    x, settings = call.reads[0], call.settings
    axis = settings.get("axis")
    others = (v for k, v in settings.items() if k not in ("axis", "keepdims"))
    if axis is None or x.ndim < 2 or any(v not in (None, False) for v in others):
        return False
    axes = axis if isinstance(axis, tuple) else (axis,)
    return {a % x.ndim for a in axes} == set(range(x.ndim - 1))


def _makes(call: Call, sums: dict[Call, Call]) -> list[Value]:
    own = sums.get(call)
    return call.outputs if own is None else [*call.outputs, *own.outputs]


def _joined(kind: Kind, calls: list[Call], sums: dict[Call, Call]) -> Call:
    """One call in place of several products, and of the sums that belong to them."""
    problems, inputs, outputs, parts = [], [], [], []
    for call in calls:
        p, (a, b, bias) = call.params, call.inputs
        lda, _, ldb, _ = p["layout"]
        own = sums.get(call)
        problems.append(
            Problem(p["m"], p["n"], p["k"], lda, ldb, bias is not None, p["relu"], own is not None)
        )
        inputs += [a, b] if bias is None else [a, b, bias]
        outputs += _makes(call, sums)
        parts += [part for c in (call, own) if c is not None for part in c.parts or (c,)]
    params = {"problems": problems, "flip_a": kind.flip_a, "flip_b": kind.flip_b}
    return Call("products", products_together, inputs, params, outputs, parts=tuple(parts))

"""The table of ops: every op, one line each, in a file a family."""

from cases import (
    activations,
    batching,
    combined,
    convs,
    elementwise,
    indexing,
    layers,
    linalg,
    losses,
    pools,
    products,
    reductions,
    shaping,
    sorting,
    special,
)

FAMILIES = [
    activations,
    batching,
    combined,
    convs,
    elementwise,
    indexing,
    layers,
    linalg,
    losses,
    pools,
    products,
    reductions,
    shaping,
    sorting,
    special,
]
CASES = [case for family in FAMILIES for case in family.CASES]
ALIASES = {name: own for family in FAMILIES for name, own in family.ALIASES.items()}

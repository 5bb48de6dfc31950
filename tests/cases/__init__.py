"""The table of ops: every op, one line each, in a file a family."""

from cases import (
    activations,
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
)

FAMILIES = [
    activations,
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
]
CASES = [case for family in FAMILIES for case in family.CASES]
ALIASES = {name: own for family in FAMILIES for name, own in family.ALIASES.items()}

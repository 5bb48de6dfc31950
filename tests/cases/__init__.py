"""The table of ops: every op, one line each, in a file a family."""

from cases import (
    activations,
    arithmetic,
    assembling,
    batching,
    convs,
    differences,
    elementwise,
    fft,
    indexing,
    layers,
    linalg,
    losses,
    pools,
    products,
    reductions,
    selecting,
    shaping,
    sorting,
    statistics,
)

FAMILIES = [
    activations,
    arithmetic,
    assembling,
    batching,
    convs,
    differences,
    elementwise,
    fft,
    indexing,
    layers,
    linalg,
    losses,
    pools,
    products,
    reductions,
    selecting,
    shaping,
    sorting,
    statistics,
]
CASES = [case for family in FAMILIES for case in family.CASES]
ALIASES = {name: own for family in FAMILIES for name, own in family.ALIASES.items()}

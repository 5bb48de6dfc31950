"""Jacobians of a small network for a batch of 512, in units of a batched forward and backward.

    python -m benchmarks.jacobians [--rounds N] [--save] [--json FILE]

The unit is what one row of the Jacobian would cost by hand: one forward and backward pass of the
whole batch, for one output. `vmap(jacfwd(f))` should cost less than five of them an output.
"""

from itertools import pairwise

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, measure, parser

BATCH, SIZES = 512, (16, 32, 8)


def network(w, x):
    for matrix in w[:-1]:
        x = mg.tanh(x @ matrix)
    return x @ w[-1]


def main() -> None:
    options = parser(__doc__, rounds=15).parse_args()
    generator = np.random.default_rng(0)
    w = [generator.standard_normal((n, m), np.float32) / n**0.5 for n, m in pairwise(SIZES)]
    xs = generator.standard_normal((BATCH, SIZES[0]), np.float32)
    f = lambda x: network(w, x)  # noqa: E731

    def one_row():
        x = mg.Tensor(xs, requires_grad=True)
        return mg.gradients(network(w, x)[:, 0].sum(), x)

    def rows_by_hand():
        x = mg.Tensor(xs, requires_grad=True)
        y = network(w, x)
        rows = [mg.gradients(y[:, i].sum(), x, retain_graph=True).numpy() for i in range(SIZES[-1])]
        return np.stack(rows, axis=1)

    candidates = {
        "one row: forward and backward": one_row,
        "all rows, one backward each": rows_by_hand,
        "vmap(jacrev(f))": lambda: mg.vmap(mg.jacrev(f))(xs),
        "vmap(jacfwd(f))": lambda: mg.vmap(mg.jacfwd(f))(xs),
    }
    expected = rows_by_hand()
    for name in ("vmap(jacrev(f))", "vmap(jacfwd(f))"):
        np.testing.assert_allclose(candidates[name](), expected, rtol=1e-3, atol=1e-4, err_msg=name)
    found = measure(candidates, rounds=options.rounds, seconds=0.1)
    unit = found["one row: forward and backward"]
    rows = [
        {
            "what": name,
            "ms": timing.median * 1e3,
            "units": timing.ratio(unit),
            "units an output": timing.ratio(unit) / (1 if timing is unit else SIZES[-1]),
        }
        for name, timing in found.items()
    ]
    finish("jacobians", rows, options, batch=BATCH, sizes=SIZES)


if __name__ == "__main__":
    main()

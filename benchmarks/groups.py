"""One step with 32 groups in a batch of 256, beside one group and beside a loop over groups.

    python -m benchmarks.groups [--rounds N] [--threads N] [--save] [--json FILE]

Forward, backward and Adam of `nn.Grouped` of 32 transformers of the size tiny. The group of each
row is data, so that one captured program serves every split. "A loop" is the same step op by op:
each group's rows through its own model, one after the other; the BLAS has one thread for it, since
its second would go on waiting into the turns of the programs. Losses and weights of the first steps
must agree before anything is timed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, measure, parser
from benchmarks.train_step import SIZES, loss_of_one, trainer
from minigrad import nn, random
from minigrad.kernels import blas

GROUPS, BATCH = 32, 256


def grouped() -> nn.Grouped:
    """The models, with the same weights in every call."""
    vocabulary, d_model, heads, ff, layers, *_ = SIZES["tiny"]
    with random.stream(0):
        return nn.Grouped(
            {
                f"group {i}": nn.Seq2Seq(vocabulary, d_model, heads, ff, layers, layers)
                for i in range(GROUPS)
            }
        )


def loss_of(model, groups, src, tgt, out):
    return mg.cross_entropy(model(groups, src, tgt), out, ignore_index=0)


def prepare(jit: bool) -> tuple[nn.Grouped, Callable]:
    """Models and a step on them."""
    model = grouped()
    return model, trainer(model, loss_of, jit=jit)


def verify(programs: Any, loop: Any, splits: list[np.ndarray], batch: tuple) -> None:
    """Some steps with each split on both; raise unless losses and weights agree."""
    (ours, step), (theirs, eager) = programs, loop
    for ids in (*splits, *splits):
        a, b = step(ids, *batch).item(), eager(ids, *batch).item()
        np.testing.assert_allclose(a, b, rtol=1e-4)
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, atol=1e-3, err_msg=name)


def main() -> None:
    options = parser(__doc__, rounds=15, threads=2).parse_args()
    mg.set_num_threads(options.threads)
    mg.kernels.warm_up()
    vocabulary, *_, length, _ = SIZES["tiny"]
    generator = np.random.default_rng(0)
    batch = tuple(generator.integers(1, vocabulary, (3, BATCH, length)))
    many, one = generator.integers(0, GROUPS, BATCH), np.zeros(BATCH, np.int64)
    programs, loop = prepare(jit=True), prepare(jit=False)
    verify(programs, loop, [many, one], batch)
    step, eager = programs[1], loop[1]
    plain = trainer(grouped()["group 0"], loss_of_one)
    with blas.one_thread():
        found = measure(
            {
                "one program, 32 groups": lambda: step(many, *batch).item(),
                "one program, one group": lambda: step(one, *batch).item(),
                "a model without groups": lambda: plain(*batch).item(),
                "a loop, 32 groups": lambda: eager(many, *batch).item(),
                "a loop, one group": lambda: eager(one, *batch).item(),
            },
            rounds=options.rounds,
        )
    unit = found["one program, one group"]
    rows = [
        {"step": name, "ms": timing.median * 1e3, "times one group": timing.ratio(unit)}
        for name, timing in found.items()
    ]
    finish("groups", rows, options, threads=options.threads, groups=GROUPS, batch=BATCH)


if __name__ == "__main__":
    main()

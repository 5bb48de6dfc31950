"""What one op costs on small arrays, forward and backward, beside PyTorch eager in the same run.

    python -m benchmarks.overhead [--rounds N] [--threads N] [--save] [--json FILE]

Chains of 100 calls on float32 (80, 16): at that size the engine is what one pays for, not the
arithmetic, nor threads, which only PyTorch is told about. Values and gradients are compared before
anything is timed. A note tells what `mg.jit` takes before each call of the translator's training
step to see whether anything that the step has read is another now; the limit is 5 us. Another tells
how many times as long a step takes that `mg.study` records, and one after it, for the translator
and a network of convolutions; the limits are 3, and 1.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, measure, parser
from jsl.config import PRESETS
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.train import Trainer
from minigrad import optim
from minigrad.examples import command, digits_cnn

LENGTH = 100


class Chain(NamedTuple):
    """One op applied over and over: `ours(x, w)` and `theirs(x, w)`."""

    name: str
    ours: Callable
    theirs: Callable
    ops: int = 1  # how many ops a link of the chain has


def chains(torch) -> list[Chain]:
    F = torch.nn.functional
    return [
        Chain("tanh(x @ w)", lambda x, w: mg.tanh(x @ w), lambda x, w: torch.tanh(x @ w), 2),
        Chain("x @ w", lambda x, w: x @ w, lambda x, w: x @ w),
        Chain("tanh(x)", lambda x, w: mg.tanh(x), lambda x, w: torch.tanh(x)),
        Chain("relu(x)", lambda x, w: mg.relu(x), lambda x, w: torch.relu(x)),
        Chain("x + w[0]", lambda x, w: x + w[0], lambda x, w: x + w[0], 2),
        Chain("x * 0.5", lambda x, w: x * 0.5, lambda x, w: x * 0.5),
        Chain("x + x", lambda x, w: x + x, lambda x, w: x + x),
        Chain("linear(x, w)", lambda x, w: mg.linear(x, w), lambda x, w: F.linear(x, w)),
        Chain("softmax(x)", lambda x, w: mg.softmax(x), lambda x, w: torch.softmax(x, -1)),
    ]


def prepare(link, x, w, count: int = LENGTH):
    """The chain's forward pass, and forward with backward, as functions without arguments."""

    def forward():
        y = x
        for _ in range(count):
            y = link(y, w)
        return y

    def both():
        x.grad = w.grad = None
        forward().sum().backward()

    return forward, both


def main() -> None:
    options = parser(__doc__, rounds=25, threads=2).parse_args()
    import torch

    torch.set_num_threads(options.threads)
    generator = np.random.default_rng(0)
    start = generator.standard_normal((80, 16), np.float32)
    weight = generator.standard_normal((16, 16), np.float32) / 4
    rows = []
    for chain in chains(torch):
        x, w = (mg.Tensor(v.copy(), requires_grad=True) for v in (start, weight))
        tx, tw = (torch.tensor(v, requires_grad=True) for v in (start, weight))
        forward, both = prepare(chain.ours, x, w)
        their_forward, their_both = prepare(chain.theirs, tx, tw)
        verify(chain, (x, w), (tx, tw))
        found = measure(
            {
                "ours": forward,
                "theirs": their_forward,
                "ours both": both,
                "theirs both": their_both,
            },
            rounds=options.rounds,
            seconds=0.03,
        )
        per_op = 1e6 / (LENGTH * chain.ops)
        rows.append(
            {
                "chain of": chain.name,
                "forward, us an op": found["ours"].median * per_op,
                "PyTorch": found["theirs"].median * per_op,
                "ratio": found["ours"].ratio(found["theirs"]),
                "with backward, us an op": found["ours both"].median * per_op,
                "PyTorch ": found["theirs both"].median * per_op,
                "ratio ": found["ours both"].ratio(found["theirs both"]),
            }
        )
    notes = [guard_note(options.rounds), study_note(options.rounds)]
    finish("overhead", rows, options, notes, threads=options.threads)


def guard_note(rounds: int) -> str:
    """What comparing all that the translator's step reads costs a call of its program."""
    model, training = PRESETS["tiny"]
    corpus = load_corpus(starter_corpus_path(), model.max_seq_len)
    trainer = Trainer(corpus, model, replace(training, epochs=3))
    trainer.run()
    guard = trainer._compiled._programs["train_step"].steps[0].guard
    if not guard.holds():
        raise AssertionError(f"nothing was changed, and yet: {guard.changed}")

    def hold() -> None:
        for _ in range(1000):
            guard.holds()

    found = measure({"holds": hold}, rounds=rounds, seconds=0.03)["holds"].median * 1e3
    return (
        f"`mg.jit` looks {found:.2g} us before each call of the translator's training step whether "
        f"what the step has read is still the same (limit: 5 us)."
    )


def study_note(rounds: int) -> str:
    """What recording costs a training step, and what it leaves behind for those that follow."""
    parts = []
    for name, make in (("translator's", translator_step), ("digits CNN's", cnn_step)):
        (plain, *batch), (recorded, *_) = make(), make()
        expected, found = plain(*batch), mg.study(recorded, *batch).result
        if expected.data.tobytes() != found.data.tobytes():
            raise AssertionError(f"a recorded step of the {name} gave {found}, not {expected}")
        times = measure(
            {
                "plain": lambda plain=plain, batch=batch: plain(*batch),
                "recorded": lambda step=recorded, batch=batch: mg.study(step, *batch),
                "afterwards": lambda step=recorded, batch=batch: step(*batch),
            },
            rounds=rounds,
            seconds=0.1,
        )
        ratios = [times[kind].ratio(times["plain"]) for kind in ("recorded", "afterwards")]
        parts.append(f"the {name} {ratios[0]:.2f} times as long, and {ratios[1]:.2f} afterwards")
    return f"A training step that `mg.study` records takes {'; '.join(parts)} (limits: 3, and 1)."


def translator_step() -> tuple:
    """A step of the translator's training, not compiled, and its batch."""
    model, training = PRESETS["tiny"]
    corpus = load_corpus(starter_corpus_path(), model.max_seq_len)
    trainer = Trainer(corpus, model, training)
    trainer.model.train()
    batch = trainer.prepare(next(iter(trainer.batches)))
    return lambda *batch: trainer.train_step(batch)["loss"], *batch


def cnn_step() -> tuple:
    """A step of the training of `minigrad.examples.digits_cnn` on noise, and its batch."""
    model = digits_cnn.network(0)
    loss_of = lambda x, y: mg.nn.functional.cross_entropy(model(x), y)  # noqa: E731
    step = command.training_step(model, optim.Adam(model), loss_of, *command.noise(10, 8))
    return step.func, *step.args


def verify(chain: Chain, ours, theirs) -> None:
    """Raise unless a short chain gives the same value and gradients here and there."""
    forward, both = prepare(chain.ours, *ours, count=5)
    their_forward, their_both = prepare(chain.theirs, *theirs, count=5)
    np.testing.assert_allclose(
        forward().detach().numpy(), their_forward().detach().numpy(), rtol=1e-4, atol=1e-6
    )
    both()
    their_both()
    for a, b in zip(ours, theirs, strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()

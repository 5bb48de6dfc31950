"""Pixels changed until a network sees another digit (exercise 2).

The network of `digits_cnn` is trained on four fifths of the digits. Then it stays as it is, and a
picture x of the others gets a change d: ten steps of gradient descent on the input, down the slope
of

    cross entropy(network(x + d), target) + c mean |d|.

As in the lecture, d starts as x itself plus a little noise, the learning rate is 0.01 for losses
averaged over one picture, and one picture is led to "1". Success is measured over all pictures
held out and all nine other digits.
"""

import argparse
import functools
from pathlib import Path

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data
from minigrad.examples import command, digits_cnn

STEPS, RATE, C = 10, 0.01, 0.1


def attack(
    model, x: np.ndarray, target: np.ndarray, start: np.ndarray, steps: int = STEPS, rate=RATE
) -> tuple[np.ndarray, np.ndarray]:
    """Changes d of pictures x (B, 1, 8, 8), and the losses (steps + 1, B) on the way.

    Every picture goes down its own slope: the sum of the losses has the gradients of each.
    """

    step = mg.jit(functools.partial(slope_of, model))
    d, losses = start, []
    pictures, wanted = mg.tensor(x), mg.tensor(target)
    for i in range(steps + 1):
        found, slope = step(pictures, mg.tensor(d, requires_grad=True), wanted)
        losses.append(found.detach().numpy().copy())
        if i < steps:
            d = d - rate * slope.numpy()
    return d, np.stack(losses)


def slope_of(model, x, d, target):
    """The losses (B,) of changed pictures, and their slope by the changes d."""
    losses = F.cross_entropy(model(x + d), target, reduction="none")
    losses = losses + C * mg.abs(d).mean(axis=(1, 2, 3))
    return losses, mg.gradients(losses.sum(), [d])[0]


def run(
    epochs: int = 10,
    seed: int = 0,
    out: Path | None = None,
    samples: int | None = None,
    steps: int = STEPS,
) -> command.Figures:
    """Train, lead the lecture's picture to "1", then all pictures to all other digits."""
    x, y = (v[:samples] for v in data.digits())
    x_train, x_test, y_train, y_test = data.train_test_split(x, y, test_size=0.2, random_state=1)
    model = digits_cnn.train(x_train, y_train, epochs, seed).model.eval()
    noise = np.random.default_rng(seed).uniform(0, 0.05, x_test.shape).astype("float32")
    seen = predicted(model, x_test)

    i = int(np.random.default_rng(seed=999).integers(0, len(x_test)))
    one = slice(i, i + 1)
    d, losses = attack(model, x_test[one], np.array([1]), (x_test + noise)[one], steps)
    print("the lecture's picture, to 1: " + " ".join(f"{v:.3f}" for v in losses[:, 0]))
    if out is not None:
        after = predicted(model, x_test[one] + d)[0]
        titles = [f"seen as {seen[i]}", "the change", f"seen as {after}"]
        command.grid(
            np.concatenate([x_test[one], d, x_test[one] + d]), out, "adversarial.png", titles
        )

    fooled, shrunk, pairs = 0, 0.0, 0
    for target in range(10):
        others = seen != target
        d, path = attack(
            model, x_test[others], np.full(others.sum(), target), (x_test + noise)[others], steps
        )
        fooled += int((predicted(model, x_test[others] + d) == target).sum())
        shrunk += float((path[0] - path[-1]).sum())
        pairs += int(others.sum())
    return {
        "first loss": float(losses[0, 0]),
        "last loss": float(losses[-1, 0]),
        "success rate over all targets": fooled / pairs,
        "mean fall of the loss": shrunk / pairs,
        "accuracy before": float((seen == y_test).mean()),
    }


def predicted(model, x: np.ndarray) -> np.ndarray:
    """The digits that the network sees."""
    with mg.no_grad():
        return model(mg.tensor(x)).numpy().argmax(axis=1)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=STEPS, help=f"(default {STEPS})")


def one_step():
    """A step of the attack on a network that has not learned yet, for those who study it."""
    model, x = digits_cnn.network(0).eval(), command.digits(4)[0]
    d = mg.Tensor(np.full_like(x, 0.01), requires_grad=True)
    return functools.partial(slope_of, model, x, d, np.full(4, 1))


if __name__ == "__main__":
    command.main(__doc__, run, epochs=10, more=_more)

"""A convolutional network for handwritten digits of 8 x 8 pixels (exercises 1, 3, 4, 6 and 8).

Three convolutions of 3 x 3 with 4, 8 and 8 channels and one linear layer; Adam with 0.001, batches
of 10. First on all 1797 digits, evaluated on the same; then with a fifth of them held out.
"""

from pathlib import Path

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, nn, optim, random
from minigrad.examples import command

BATCH = 10


def network(seed: int) -> nn.Module:
    """(B, 1, 8, 8) -> (B, 10): 8 pixels become 6, 4 and 2 a side."""
    with random.stream(seed):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(),
            nn.Conv2d(4, 8, 3), nn.ReLU(),
            nn.Conv2d(8, 8, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip
        return command.glorot_(model)


def train(x, y, epochs: int, seed: int, valid=None, verbose: int = 1) -> "mg.Learner":
    """A trained learner."""
    model = network(seed)
    learner = mg.Learner(
        model,
        optim.Adam(model, lr=1e-3),
        loss="cross_entropy",
        metrics=[mg.learner.SparseCategoricalAccuracy()],
        verbose=verbose,
    )
    learner.fit((x, y), valid, epochs=epochs, batch_size=BATCH, seed=seed)
    return learner


def run(
    epochs: int = 5, seed: int = 0, out: Path | None = None, samples: int | None = None
) -> command.Figures:
    """Train on all, and on four fifths."""
    x, y = (v[:samples] for v in data.digits())
    everything = train(x, y, epochs, seed)
    x_train, x_test, y_train, y_test = data.train_test_split(x, y, test_size=0.2, random_state=1)
    held_out = train(x_train, y_train, epochs, seed, valid=(x_test, y_test))
    if out is not None:
        some = np.random.default_rng(999).integers(0, len(x_test), 20)
        seen = held_out.predict(x_test[some]).argmax(axis=1)
        titles = [
            f"{a} seen as {b}" if a != b else f"{a}"
            for a, b in zip(y_test[some], seen, strict=True)
        ]
        command.grid(x_test[some], out, "digits_cnn.png", titles)
    found = everything.evaluate((x, y))
    test = held_out.evaluate((x_test, y_test))
    return {
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "accuracy on what was held out": test["accuracy"],
        "loss on what was held out": test["loss"],
    }


def one_step():
    """A step of the training, for those who study it."""
    model = network(0)
    return command.training_step(
        model, optim.Adam(model, lr=1e-3), lambda x, y: F.cross_entropy(model(x), y),
        *command.digits(BATCH),
    )  # fmt: skip


if __name__ == "__main__":
    command.main(__doc__, run, epochs=5)

"""MNIST by a convolutional network, and how many steps it takes a second (exercise 10).

Convolutions of 3 x 3 with 32, 64 and 64 channels, pooling of 2 x 2 after the first two, and linear
layers of 64 and 10; Adam with 0.001, batches of 32. The files of MNIST are read from --data; where
to get them is in the message that comes if they are not there. --backend cupy trains on a GPU.
"""

import argparse
import contextlib
import time
from pathlib import Path

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import backend, data, nn, optim, random
from minigrad.examples import command

BATCH = 32


def network(seed: int) -> nn.Module:
    """(B, 1, 28, 28) -> (B, 10): 28 pixels become 26, 13, 11, 5 and 3 a side."""
    with random.stream(seed):
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        return command.glorot_(model)


def run(
    epochs: int = 5,
    seed: int = 0,
    out: Path | None = None,
    folder: Path = Path("mnist"),
    on: str | None = None,
    samples: int | None = None,
    check: bool = True,
) -> command.Figures:
    """Train on 60,000 digits, evaluate on the other 10,000."""
    train, test = (data.MNIST(folder, train=part, check=check) for part in (True, False))
    (x, y), held_out = train.arrays(), test.arrays()
    x, y = x[:samples], y[:samples]
    with backend.using(on) if on else contextlib.nullcontext():
        model = network(seed)
        learner = mg.Learner(
            model,
            optim.Adam(model, lr=1e-3),
            loss="cross_entropy",
            metrics=[mg.learner.SparseCategoricalAccuracy()],
        )
        timer = Timer()
        learner.callbacks.append(timer)
        learner.fit((x, y), epochs=epochs, batch_size=BATCH, seed=seed)
        found = learner.evaluate(held_out, batch_size=500)
        if out is not None:
            wrong = learner.predict(held_out[0], batch_size=500).argmax(axis=1) != held_out[1]
            command.grid(held_out[0][wrong][:50], out, "mnist_cnn_wrong.png")
    return {
        "test accuracy": found["accuracy"],
        "test loss": found["loss"],
        "steps a second": timer.rate(),
    }


class Timer(mg.learner.Callback):
    """How many steps a second, without the first ten, in which kernels are compiled."""

    SKIPPED = 10

    def __init__(self):
        self.steps, self.began = 0, 0.0

    def on_batch_end(self, learner, logs):
        self.steps += 1
        if self.steps == self.SKIPPED:
            self.began = time.perf_counter()
        self.ended = time.perf_counter()

    def rate(self) -> float:
        return (self.steps - self.SKIPPED) / max(self.ended - self.began, 1e-9)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=Path("mnist"), dest="folder", metavar="DIR",
        help="where the four files of MNIST are (default mnist)",
    )  # fmt: skip
    parser.add_argument("--backend", dest="on", choices=["numpy", "cupy"], help="(default: auto)")
    parser.add_argument("--samples", type=int, help="train on the first N digits only")


def one_step():
    """A step of the training, for those who study it, on noise."""
    model = network(0)
    return command.training_step(
        model, optim.Adam(model, lr=1e-3), lambda x, y: F.cross_entropy(model(x), y),
        *command.noise(BATCH, 28),
    )  # fmt: skip


if __name__ == "__main__":
    command.main(__doc__, run, epochs=5, more=_more)

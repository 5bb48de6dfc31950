"""Points of five classes told apart by a network of 2-10-8-5, in three idioms.

The same weights, batches and formulas in PyTorch's idiom (`loss.backward()`, `optimizer.step()`),
in JAX's (`value_and_grad`, gradients as data) and with the Learner (Keras's `fit`): the losses of
all steps are identical, to the last bit.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, nn, optim, random
from minigrad.examples import command

BATCH = 10
Losses = list[float]


def network(seed: int) -> nn.Module:
    with random.stream(seed):
        model = nn.Sequential(
            nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 5)
        )
        return command.glorot_(model)


def torch_idiom(model: nn.Module, batches: Iterable, epochs: int) -> Losses:
    """Gradients gather in `.grad`."""
    optimizer = optim.Adam(model, lr=1e-3)

    @mg.jit
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return [step(x, y).item() for _ in range(epochs) for x, y in batches]


def jax_idiom(model: nn.Module, batches: Iterable, epochs: int) -> Losses:
    """Gradients are what a function gives: a mapping of parameters' names."""
    optimizer = optim.Adam(model, lr=1e-3)

    def loss_of(model, x, y):
        return F.cross_entropy(model(x), y)

    @mg.jit
    def step(x, y):
        loss, gradients = mg.value_and_grad(loss_of)(model, x, y)
        optimizer.update(model, gradients)
        return loss

    return [step(x, y).item() for _ in range(epochs) for x, y in batches]


def learner_idiom(model: nn.Module, batches: Iterable, epochs: int) -> Losses:
    """The loop is the Learner's; a callback looks on."""
    losses: Losses = []

    class Listen(mg.learner.Callback):
        def on_batch_end(self, learner, logs):
            losses.append(float(logs["loss"]))

    learner = mg.Learner(
        model, optim.Adam(model, lr=1e-3), loss="cross_entropy", callbacks=[Listen()], verbose=0
    )
    learner.fit(batches, epochs=epochs)
    return losses


IDIOMS: dict[str, Callable[[nn.Module, Iterable, int], Losses]] = {
    "torch": torch_idiom,
    "jax": jax_idiom,
    "learner": learner_idiom,
}


def accuracy(model: nn.Module, x: Any, y: Any) -> float:
    """The share of points whose largest output is that of their class."""
    with mg.no_grad():
        return float((model(mg.tensor(x)).numpy().argmax(axis=1) == y).mean())


def run(
    epochs: int = 5,
    seed: int = 0,
    out: Path | None = None,
    samples: int = 3000,
    idioms: Iterable[str] = tuple(IDIOMS),
) -> command.Figures:
    """Train in each idiom from the same weights; raises unless all losses are the same."""
    x, y = data.ToyDataGenerator(dim=2, n_class=5).sample(samples)
    found = {}
    for name in idioms:
        model = network(seed)
        batches = data.DataLoader(data.TensorDataset(x, y), BATCH, shuffle=True, seed=seed)
        found[name] = IDIOMS[name](model, batches, epochs)
        print(f"{name:8} {len(found[name])} steps, last loss {found[name][-1]!r}")
    losses = next(iter(found.values()))
    if any(other != losses for other in found.values()):
        raise AssertionError("the idioms differ in their losses")
    if out is not None:
        picture(model, x, y, out)
    return {"accuracy": accuracy(model, x, y), "first loss": losses[0], "last loss": losses[-1]}


def picture(model: nn.Module, x: Any, y: Any, out: Path) -> None:
    """The points, on the classes that the model sees around them."""
    if (plot := command.pictures(out)) is None:
        return
    import numpy as np

    sides = [np.linspace(v.min() - 0.3, v.max() + 0.3, 200) for v in x.T]
    places = np.stack(np.meshgrid(*sides), axis=-1).astype("float32")
    with mg.no_grad():
        seen = model(mg.tensor(places)).numpy().argmax(axis=-1)
    figure, axis = plot.subplots(figsize=(4, 4))
    axis.contourf(*sides, seen, levels=np.arange(6) - 0.5, cmap="tab10", alpha=0.3, vmax=9)
    axis.scatter(*x.T, c=y, s=3, cmap="tab10", vmax=9)
    command.save(plot, figure, out / "toy_classifier.png")


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idioms", nargs="+", choices=IDIOMS, default=list(IDIOMS), help="(default all)"
    )


def one_step():
    """A step of the training, for those who study it."""
    model, (x, y) = network(0), data.ToyDataGenerator(dim=2, n_class=5).sample(BATCH)
    return command.training_step(
        model, optim.Adam(model, lr=1e-3), lambda x, y: F.cross_entropy(model(x), y), x, y
    )


if __name__ == "__main__":
    command.main(__doc__, run, epochs=5, more=_more)
